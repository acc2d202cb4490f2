//! What the surviving directories hold, and which of them is the best to continue with.

use std::fmt::Write;

use kontiki::{StoredSnapshot, Survivor};
use serde::Serialize;

use crate::failure::{Failure, chain};
use crate::log::copy::check_sound;
use crate::log::place::{Kind, Looked, Named};

/// One member's directory, locked.
pub struct Held {
    /// Its directory, as it was named.
    pub named: Named,
    /// Its log.
    pub looked: Looked,
    /// Its newest snapshot.
    pub snapshot: Option<StoredSnapshot>,
    /// What it holds.
    pub survivor: Survivor,
}

/// The directories that were named. Invariant: there is one at least, and all are of one cluster.
pub struct Survivors {
    all: Vec<Held>,
}

/// A directory in the output.
#[derive(Serialize)]
pub struct Shown {
    dir: String,
    node: u64,
    cluster: String,
    last_index: u64,
    last_term: u64,
    commit: u64,
    undecided: u64,
    snapshot: Option<u64>,
    membership: String,
    is_best: bool,
}

impl Survivors {
    /// Locks and inspects the directories.
    ///
    /// # Errors
    ///
    /// One cannot be read, is damaged, is in use, or belongs to another cluster than the first.
    pub fn look(named: &[String]) -> Result<Survivors, Failure> {
        let all = named.iter().map(|typed| look(Named::parse(typed)));
        let all: Vec<Held> = all.collect::<Result<_, _>>()?;
        let first = &all[0];
        for (at, other) in all.iter().enumerate().skip(1) {
            let [one, two] = [first, other].map(|held| held.survivor.identity);
            let [here, there] = [first, other].map(|held| held.named.dir.display());
            if one.cluster != two.cluster {
                let text = format!("{here} and {there} are of different clusters");
                return Err(Failure::new(text).advise("name the members of one cluster"));
            }
            if let Some(same) = all[..at].iter().find(|it| it.survivor.identity.node == two.node) {
                let same = same.named.dir.display();
                let text = format!("{same} and {there} are both of node {}", two.node);
                return Err(Failure::new(text).advise("name each member once"));
            }
        }
        Ok(Survivors { all })
    }

    /// The directory to continue with.
    pub fn first(&self) -> &Held {
        &self.all[0]
    }

    /// All directories.
    pub fn all(&self) -> &[Held] {
        &self.all
    }

    /// The one to continue with: the newest log that holds everything that is known to be
    /// committed; the first of several.
    ///
    /// # Errors
    ///
    /// No log holds everything that the others know to be committed.
    fn best(&self) -> Result<&Held, Failure> {
        let is_whole = |held: &&Held| {
            !self.all.iter().any(|other| held.survivor.lacks_committed_of(&other.survivor))
        };
        let best = self.all.iter().filter(is_whole).reduce(|best, other| {
            if other.survivor.is_newer_than(&best.survivor) { other } else { best }
        });
        best.ok_or_else(|| {
            Failure::new("each of these logs lacks entries that another one knows to be committed")
                .advise("their members did not run as one cluster, or lost a part of their files")
        })
    }

    /// Refuses to continue with a directory although another one holds more.
    pub fn check_first_is_best(&self) -> Result<(), Failure> {
        let (first, best) = (self.first(), self.best()?);
        if std::ptr::eq(first, best) {
            return Ok(());
        }
        let (here, there) = (first.named.dir.display(), best.named.dir.display());
        let text = if first.survivor.lacks_committed_of(&best.survivor) {
            let commit = best.survivor.commit;
            format!("the log in {here} lacks {commit}, which {there} knows to be committed")
        } else {
            let [ours, theirs] = [first, best].map(|held| held.survivor.last);
            format!("the log in {here} ends at {ours}, and the one in {there} at {theirs}")
        };
        Err(Failure::new(text)
            .advise(format!("acknowledged writes would be lost: name {there} first")))
    }

    /// What the operator should know before a new cluster is made.
    pub fn warning(&self) -> String {
        let Survivor { identity, membership, .. } = &self.first().survivor;
        let others = membership.members().filter(|node| *node != identity.node);
        let others: Vec<String> = others.map(|node| node.to_string()).collect();
        let named = if others.is_empty() { "none".to_owned() } else { others.join(", ") };
        format!(
            "this makes a new cluster of node {} alone. What only other members hold is lost, and \
             the other members of the old cluster ({named}) can never join it: their directories \
             are of use only for another recovery",
            identity.node
        )
    }

    /// The output as JSON.
    pub fn shown(&self) -> Vec<Shown> {
        let best = self.best().ok().map(|best| best.survivor.identity.node);
        let shown = self.all.iter().map(|held| {
            let Survivor { identity, last, commit, membership, .. } = &held.survivor;
            Shown {
                dir: held.named.dir.display().to_string(),
                node: identity.node.get(),
                cluster: identity.cluster.to_string(),
                last_index: last.index.get(),
                last_term: last.term.get(),
                commit: commit.index.get(),
                undecided: held.survivor.undecided(),
                snapshot: held.snapshot.as_ref().map(|it| it.head.last.index.get()),
                membership: membership.to_string(),
                is_best: best == Some(identity.node),
            }
        });
        shown.collect()
    }

    /// The output for people.
    pub fn table(&self) -> String {
        let mut text = String::new();
        for shown in self.shown() {
            let Shown { dir, node, last_index, last_term, commit, membership, .. } = shown;
            let snapshot = match shown.snapshot {
                Some(last) => format!("a snapshot up to {last}"),
                None => "no snapshot".to_owned(),
            };
            let _ = writeln!(
                text,
                "node {node} in {dir}: the last entry is {last_index}@{last_term}; entries up to \
                 {commit} are known to be committed, {} after it may be; {snapshot}; {membership}",
                shown.undecided
            );
        }
        let _ = match self.best() {
            Ok(best) => {
                let Survivor { identity, .. } = &best.survivor;
                writeln!(text, "best: node {} in {}", identity.node, best.named.dir.display())
            }
            Err(failure) => writeln!(text, "{failure}"),
        };
        let membership = &self.first().survivor.membership;
        let voters = membership.members().filter(|node| membership.is_voter(*node)).count();
        if self.all.len() > voters / 2 {
            let _ = writeln!(
                text,
                "these are {} of {voters} voters, which may be a majority: if they can be started, \
                 the cluster needs no recovery",
                self.all.len()
            );
        }
        text
    }
}

fn look(named: Named) -> Result<Held, Failure> {
    let dir = named.dir.display().to_string();
    if named.kind()? != Kind::Member {
        let text = format!("{dir} is not the directory of one member");
        return Err(Failure::new(text).advise("name the directory that holds its `log`"));
    }
    let looked = named.look()?;
    check_sound(&looked)?;
    let snapshot = snapshot_of(&looked)?;
    let head = snapshot.as_ref().map(|snapshot| &snapshot.head);
    let survivor = Survivor::of(looked.inspection.result(), head);
    let survivor = survivor.map_err(|error| {
        Failure::new(format!("{dir} cannot be continued with: {error}")).advise(
            "if it was stopped while it installed a snapshot, start the member once: it completes \
             the installation without the others. Otherwise name another member's directory",
        )
    })?;
    Ok(Held { named, looked, snapshot, survivor })
}

/// The newest snapshot. A damaged one that is newer is refused: it may hold what the log no longer
/// has.
fn snapshot_of(looked: &Looked) -> Result<Option<StoredSnapshot>, Failure> {
    let Some(dir) = &looked.snapshots else { return Ok(None) };
    let (newest, damaged) = dir.newest().map_err(|error| Failure::new(chain(&error)))?;
    match damaged.first() {
        None => Ok(newest),
        Some(damaged) => Err(Failure::new(chain(&damaged.unusable))
            .advise("a new cluster is not made out of a damaged directory: name another member's")),
    }
}
