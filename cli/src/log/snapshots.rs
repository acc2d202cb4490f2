//! The snapshots beside a member's log, as `show` and `verify` print them.

use kontiki::{SnapshotDir, StoredSnapshot, UnusableSnapshot};
use serde::Serialize;

use super::Damage;
use crate::failure::{Failure, chain};

/// A snapshot in the output.
#[derive(Debug, PartialEq, Eq, Serialize)]
pub struct ShownSnapshot {
    file: String,
    /// The last entry that it includes.
    index: u64,
    term: u64,
    /// The bytes of its file, the member that took it and the voters at its last entry; not shown
    /// if it is damaged.
    bytes: Option<u64>,
    node: Option<u64>,
    voters: Vec<u64>,
    damage: Option<Damage>,
}

/// Checks all snapshots of a directory from the first byte to the last, the newest first. Without a
/// directory there are none.
///
/// # Errors
/// The directory or a file cannot be read.
pub fn check(dir: Option<&SnapshotDir>) -> Result<Vec<ShownSnapshot>, Failure> {
    let Some(dir) = dir else { return Ok(Vec::new()) };
    let path = dir.path().display();
    let listed = dir.list();
    let listed = listed.map_err(|error| Failure::of(format!("{path} cannot be read"), &error))?;
    let shown = listed.into_iter().map(|last| {
        let file = dir.path_of(last);
        let file = file.file_name().unwrap_or_default().to_string_lossy().into_owned();
        let (index, term) = (last.index.get(), last.term.get());
        let unknown = ShownSnapshot {
            file,
            index,
            term,
            bytes: None,
            node: None,
            voters: Vec::new(),
            damage: None,
        };
        match dir.check(last) {
            Ok(sound) => unknown.with(&sound),
            Err(error) => ShownSnapshot { damage: Some(damage(&error)), ..unknown },
        }
    });
    Ok(shown.collect())
}

/// The damage of a snapshot; or that it cannot be used for another reason, such as a newer version.
fn damage(error: &UnusableSnapshot) -> Damage {
    Damage { place: error.path.display().to_string(), entry: None, message: chain(error) }
}

impl ShownSnapshot {
    fn with(self, sound: &StoredSnapshot) -> ShownSnapshot {
        let voters = sound.head.membership.parts().voters.iter();
        ShownSnapshot {
            bytes: Some(sound.file_bytes),
            node: Some(sound.head.writer.node.get()),
            voters: voters.map(|voter| voter.get()).collect(),
            ..self
        }
    }

    /// What is wrong with it, if something is.
    pub fn damage(&self) -> Option<&Damage> {
        self.damage.as_ref()
    }

    /// One line of the text output.
    pub fn line(&self) -> String {
        let ShownSnapshot { index, term, .. } = self;
        match (self.bytes, self.node) {
            (Some(bytes), Some(node)) => {
                format!("up to {index}@{term}: {bytes} bytes, taken by node {node}")
            }
            _ => format!("up to {index}@{term}: it cannot be used"),
        }
    }
}
