//! The snapshots beside a member's log, as `show` and `verify` check them.

use std::fs;
use std::io::Write;
use std::path::{Path, PathBuf};

use kontiki::types::{ClusterId, EntryId, Identity, StoreId};
use kontiki::{Membership, SnapshotDir, SnapshotHead};

use super::{a_member, failure, id, json, kontiki, node, output, path, text};

/// Adds a snapshot of 300,000 bytes, which the member took after an entry.
fn add_snapshot(member: &Path, last: EntryId) -> PathBuf {
    let dir = SnapshotDir::own(member.join("snapshots")).expect("owned");
    let members = Membership::of_voters([(node(1), "host1:1".into())]).expect("sound");
    let head = SnapshotHead {
        writer: Identity { cluster: ClusterId(1), node: node(1), store: StoreId(1) },
        last,
        membership: members,
        feature_level: 1,
        sessions: Default::default(),
        salt: 1,
    };
    let mut new = dir.create(head).expect("created");
    new.write_all(&[7; 300_000]).expect("written");
    new.keep().expect("kept");
    dir.path_of(last)
}

#[tokio::test]
async fn show_and_verify_check_the_snapshots_of_a_member() {
    let dir = tempfile::tempdir().expect("a directory");
    a_member("file", &dir.path().join("1"), 1).await;
    let (member, log) = (path(dir.path(), "1"), path(dir.path(), "1/log"));
    let file = add_snapshot(&dir.path().join("1"), id(17, 3));
    for verb in ["show", "verify"] {
        let shown = &json(&["log", verb, &member, "--json"])["snapshots"][0];
        assert_eq!(shown["file"], "snap-0000000000000011-0000000000000003");
        assert_eq!((&shown["index"], &shown["term"]), (&17.into(), &3.into()));
        assert_eq!((&shown["node"], &shown["voters"]), (&1.into(), &serde_json::json!([1])));
        let said = output(&["log", verb, &member]);
        assert!(said.contains("up to 17@3: 300"), "{said}");
        assert!(json(&["log", verb, &log, "--json"])["snapshots"][0].is_null(), "not a member");
    }
    let mut bytes = fs::read(&file).expect("read");
    bytes[200_000] ^= 1;
    fs::write(&file, bytes).expect("written");
    let damaged = format!("the snapshot {} is damaged at byte", file.display());
    for verb in ["show", "verify"] {
        let failed = kontiki(&["log", verb, &member]);
        assert_eq!(failed.status.code(), Some(1), "{verb}");
        let said = text(&failed.stdout);
        assert!(said.contains(&damaged) && said.contains("17@3: it cannot be used"), "{said}");
        let snapshot = &json(&["log", verb, &member, "--json"])["snapshots"][0];
        let message = snapshot["damage"]["message"].as_str().expect("a message");
        assert!(message.starts_with(&damaged) && snapshot["bytes"].is_null(), "{snapshot}");
    }
    let verdict = json(&["log", "verify", &member, "--json"]);
    assert_eq!(
        (&verdict["sound"], verdict["damage"].as_array().map(Vec::len)),
        (&false.into(), Some(1))
    );
    assert!(failure(&["log", "verify", &member]).contains("is damaged in 1 place"));
}
