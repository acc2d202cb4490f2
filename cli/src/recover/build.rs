//! Builds the directory of the new cluster's only member.

use std::fs;
use std::io;
use std::path::Path;
use std::time::{SystemTime, UNIX_EPOCH};

use kontiki::storage::WriteBatch;
use kontiki::{LogConfig, Recovery, SnapshotDir, StoredSnapshot};
use serde::Serialize;

use super::survivors::{Held, Survivors};
use crate::failure::{Failure, chain};
use crate::log::partial::Partial;
use crate::log::place::open_failure;
use crate::log::transfer::{Owner, transfer, unwritten};
use crate::serve::origin::{RECOVERED, record_name, recorded_name};

/// The version of that file.
const VERSION: u32 = 1;

/// What was done; kept in the new directory.
#[derive(Debug, Serialize)]
pub struct Record {
    version: u32,
    /// Seconds since 1970.
    time: u64,
    program: String,
    node: u64,
    old_cluster_id: String,
    cluster_id: String,
    from: String,
    compared_with: Vec<String>,
    last_index: u64,
    last_term: u64,
    known_commit: u64,
    old_membership: String,
}

impl Record {
    /// The output for people.
    pub fn text(&self, dir: &Path) -> String {
        let Record { node, old_cluster_id, cluster_id, last_index, last_term, .. } = self;
        let dir = dir.display();
        format!(
            "cluster {old_cluster_id} continues as cluster {cluster_id}, of node {node} alone, \
             with all entries up to {last_index}@{last_term}\n\
             start it with: kontiki serve --dir {dir} (and the other settings of the member)\n\
             new members start with empty directories; never start {} again\n",
            self.from
        )
    }
}

/// Builds the directory and moves it to its place.
///
/// # Errors
///
/// Something cannot be read or written. The target was not created.
pub async fn build(survivors: &Survivors, to: &Path) -> Result<Record, Failure> {
    let held = survivors.first();
    let recovery = Recovery::of(&held.survivor)
        .map_err(|error| Failure::of(held.named.dir.display(), &error))?;
    let partial = Partial::begin(to)?;
    let dir = partial.path();
    copy_log(held, &recovery, &dir).await?;
    if let Some(snapshot) = &held.snapshot {
        copy_snapshot(held, snapshot, &recovery, &dir)
            .map_err(|error| Failure::of("the snapshot cannot be copied", &error))?;
    }
    let record = record(survivors, &recovery);
    keep_names(held, &recovery, &record, &dir)
        .map_err(|error| Failure::of(format!("{} cannot be written", dir.display()), &error))?;
    partial.finish()?;
    Ok(record)
}

/// Copies the log for the new owner, and appends the membership of that member alone.
async fn copy_log(held: &Held, recovery: &Recovery, dir: &Path) -> Result<(), Failure> {
    let inspection = held.looked.inspection.as_ref();
    let backend = &inspection.result().info.backend;
    let config = LogConfig::from_name(backend, dir.join("log"));
    let config = config.map_err(|error| open_failure(&error))?;
    let owner = Owner { identity: Some(recovery.identity), hard_state: recovery.hard_state };
    transfer(inspection, owner, &config, "the log").await?;
    let mut log = config.open().map_err(|error| open_failure(&error))?;
    let batch = WriteBatch::of_entries(vec![recovery.entry.clone()]);
    log.write(batch).await.map_err(unwritten)?;
    log.close().await.map_err(unwritten)?;
    drop(log);
    let copy = config.inspect().map_err(|error| open_failure(&error))?;
    match &copy.result().damage {
        None if copy.result().recovered.bounds.last == recovery.entry.id => Ok(()),
        None => Err(Failure::new("the last entry of the copy is not the one that was written")),
        Some(damage) => Err(Failure::new(format!("the copy is damaged: {}", chain(damage)))),
    }
}

/// Copies the snapshot under a head of the new cluster. Every byte of it is checked.
fn copy_snapshot(
    held: &Held,
    snapshot: &StoredSnapshot,
    recovery: &Recovery,
    dir: &Path,
) -> io::Result<()> {
    let from = held.looked.snapshots.as_ref().expect("the snapshot was found there");
    let mut reader = from.open(snapshot.head.last).map_err(io::Error::other)?;
    let to = SnapshotDir::own(dir.join("snapshots"))?;
    let mut new = to.create(recovery.snapshot_head(reader.head()))?;
    io::copy(&mut reader, &mut new)?;
    reader.finish().map_err(io::Error::other)?;
    new.keep().map(drop)
}

fn record(survivors: &Survivors, recovery: &Recovery) -> Record {
    let held = survivors.first();
    let survivor = &held.survivor;
    let time = SystemTime::now().duration_since(UNIX_EPOCH);
    let others = survivors.all()[1..].iter().map(|other| other.named.dir.display().to_string());
    Record {
        version: VERSION,
        time: time.map_or(0, |time| time.as_secs()),
        program: format!("kontiki {}", env!("CARGO_PKG_VERSION")),
        node: survivor.identity.node.get(),
        old_cluster_id: survivor.identity.cluster.to_string(),
        cluster_id: recovery.identity.cluster.to_string(),
        from: held.named.dir.display().to_string(),
        compared_with: others.collect(),
        last_index: survivor.last.index.get(),
        last_term: survivor.last.term.get(),
        known_commit: survivor.commit.index.get(),
        old_membership: survivor.membership.to_string(),
    }
}

/// Writes the record, and keeps the cluster's name if the survivor's directory has it.
fn keep_names(held: &Held, recovery: &Recovery, record: &Record, dir: &Path) -> io::Result<()> {
    let text = toml::to_string(record).expect("strings and numbers are TOML");
    fs::write(dir.join(RECOVERED), text)?;
    match recorded_name(&held.named.dir, &held.survivor.identity) {
        Ok(Some(name)) => record_name(dir, &recovery.identity, &name),
        _ => Ok(()),
    }
}
