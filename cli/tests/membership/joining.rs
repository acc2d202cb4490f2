//! `kontiki serve --join`.

use super::{status, wait_for_role, wait_until_caught_up};
use crate::members::{Member, cluster, has_file_log, stop_all};
use crate::tool::{failure, kontiki, text};

#[test]
fn two_nodes_that_join_at_once_get_different_ids_and_the_log() {
    if !has_file_log() {
        return;
    }
    let dir = tempfile::tempdir().expect("a temporary directory");
    let cluster = cluster(dir.path());
    let mut members = cluster.start(&["--bootstrap"]);
    members[0].wait_for("there is a leader");
    assert_eq!(cluster.ask(&["put", "a", "1"]), "OK\n");

    // Any member's endpoint will do, also beside one at which nothing listens.
    let to = format!("127.0.0.1:1,{}", cluster.client(2));
    let start = |id| Member::start(&cluster.joining(id, &to));
    let joined: Vec<Member> = [4, 5].into_iter().map(start).collect();
    for (member, id) in joined.iter().zip([4, 5]) {
        member.wait_for("joined the cluster as a learner");
        wait_for_role(&cluster.client(id), "learner");
        wait_until_caught_up(&cluster, &cluster.client(id));
        let own = cluster.client(id);
        let got = kontiki(&["get", "a", "--endpoints", &own]);
        assert_eq!(text(&got.stdout), "1\n", "{}", text(&got.stderr));
    }
    let id =
        |at| status(&cluster.client(at)).expect("it answers")["id"].as_u64().expect("a number");
    let mut ids = [id(4), id(5)];
    ids.sort_unstable();
    assert_eq!(ids, [4, 5]);

    // The directory alone is enough for a restart, and the flag does no harm.
    let before = id(4);
    for member in joined {
        assert_eq!(member.stop(), Some(0));
    }
    members.push(Member::start(&["--dir".to_owned(), cluster.own_dir(4)]));
    members.push(Member::start(&cluster.joining(5, &to)));
    members[4].wait_for("has joined already");
    for at in [4, 5] {
        wait_for_role(&cluster.client(at), "learner");
    }
    assert_eq!(id(4), before);
    stop_all(members);
}

#[test]
fn a_node_that_cannot_join_says_why() {
    if !has_file_log() {
        return;
    }
    let dir = tempfile::tempdir().expect("a temporary directory");
    let cluster = cluster(dir.path());
    let refused = |flags: &[String]| {
        let flags: Vec<&str> = flags.iter().map(String::as_str).collect();
        failure(&[&["serve"][..], &flags].concat())
    };
    let silent = refused(&cluster.joining(1, "127.0.0.1:1"));
    assert!(silent.contains("the cluster at 127.0.0.1:1 cannot be joined"), "{silent}");
    assert!(silent.contains("onnection refused"), "{silent}");

    // Two clusters of one member.
    let found = |id: u16, name: &str| {
        let member = format!("{id}={},{}", cluster.peer(id), cluster.client(id));
        let (id, dir) = (id.to_string(), cluster.own_dir(id));
        let flags = ["--id", &id, "--cluster", name, "--dir", &dir, "--member", &member];
        let flags = flags.iter().chain(&["--bootstrap"]).map(|&flag| flag.to_owned());
        Member::start(&flags.collect::<Vec<_>>())
    };
    let one = found(1, "one");
    one.wait_for("there is a leader");
    let two = found(2, "two");
    two.wait_for("there is a leader");
    assert_eq!(two.stop(), Some(0));
    let other = refused(&cluster.joining(2, &cluster.client(1)));
    assert!(other.contains("the directory is not empty: it belongs to member 2"), "{other}");

    let mut named = cluster.joining(3, &cluster.client(1));
    named.extend(["--id".to_owned(), "3".to_owned()]);
    let said = refused(&named);
    assert!(said.contains("leave out --id"), "{said}");
    assert_eq!(one.stop(), Some(0));
}
