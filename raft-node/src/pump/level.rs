//! The feature level of the cluster: when a leader raises it, and what it means here.
//!
//! A leader raises the level by itself, by one entry, once every voter and learner has announced a
//! program that supports the next one. The level is in force from the moment the entry is applied.
//! From the moment it is appended, no node joins whose program does not support it. To know what is
//! in its log, a leader does neither until it has applied an entry of its own term: then it has
//! applied every entry of earlier terms.
//!
//! A member that meets a level beyond its own program's stops before it stores the entry. It may
//! also find the level in its snapshot or in its log when it starts; then it does not start, or
//! stops when it applies the entry.

use raft_core::storage::record::{decode_level, encode_level};
use raft_core::types::{Entry, EntryKind, Term};

use super::effects::Effects;
use super::event::Clients;
use super::planted::planted;
use super::session_entries::is_of_session;
use super::turn_proposals::Origin;
use super::{Pump, StopReason};
use crate::Committed;
use crate::features::{FEATURE_LEVEL, SESSIONS, level_of_version};

/// The levels that a member knows, besides the one in force.
#[derive(Debug)]
pub(super) struct Level {
    /// The newest level that this member's program supports.
    supported: u32,
    /// The level that this member has appended last as a leader, and in which term.
    appended: (Term, u32),
}

impl Default for Level {
    fn default() -> Level {
        Level { supported: FEATURE_LEVEL, appended: (Term::ZERO, 0) }
    }
}

impl<C: Clients> Pump<C> {
    /// Supports feature levels up to this one, as an older program does; for tests of clusters
    /// whose members run different programs.
    pub fn support_levels_up_to(&mut self, level: u32) {
        self.level.supported = level;
    }

    /// The feature level of the cluster, as far as this member has applied the log.
    pub fn feature_level(&self) -> u32 {
        self.engine.level
    }

    /// Whether this member has applied every entry of earlier terms that its log holds.
    pub(super) fn knows_level(&self) -> bool {
        self.raft.term_at(self.applying.applied()) == Some(self.raft.term())
    }

    /// The greatest level in the log of this leader, which knows its level.
    pub(super) fn level_in_log(&self) -> u32 {
        let (term, level) = self.level.appended;
        let is_own = term == self.raft.term();
        if is_own { level.max(self.engine.level) } else { self.engine.level }
    }

    /// Proposes a higher level if this member leads, and all members support it.
    pub(super) fn raise_level_if_due(&mut self) {
        if self.engine.level >= self.level.supported
            || !self.raft.is_leader()
            || self.hands_over()
            || self.changing.is_some()
            || !self.knows_level()
        {
            return;
        }
        let Some(membership) = self.raft.membership() else { return };
        let supports = |node| {
            if node == self.identity.node {
                return self.level.supported;
            }
            self.announced.version(node).map_or(0, level_of_version)
        };
        let all = membership.members().map(supports).min().unwrap_or(0);
        let all = all.min(self.level.supported);
        let level = if planted!(self, LevelRaisedTooEarly) { self.level.supported } else { all };
        if level > self.level_in_log() {
            self.level.appended = (self.raft.term(), level);
            let kind = EntryKind::FeatureLevel;
            self.proposed.add_of_kind(
                kind,
                Origin::Engine { from: None, count: 1 },
                vec![encode_level(level)],
            );
        }
    }

    /// Stops this member if an entry is of a kind, or raises the level to one, that its program
    /// does not support. Returns whether the entries may be stored.
    pub(super) fn supports_all(&mut self, entries: &[Entry], effects: &mut Effects<C>) -> bool {
        let special = entries.iter().filter(|entry| is_of_level(entry.kind));
        for entry in special {
            if let Some(reason) = self.why_unsupported(entry) {
                self.stop(reason, effects);
                return false;
            }
        }
        true
    }

    /// Why this program cannot apply an entry, if it cannot.
    fn why_unsupported(&self, entry: &Entry) -> Option<StopReason> {
        let Entry { id, kind, ref payload } = *entry;
        let supported = self.level.supported;
        match kind {
            EntryKind::FeatureLevel => match decode_level(payload) {
                Ok(level) if level <= supported => None,
                Ok(level) => Some(StopReason::NewerLevel { id, level, supported }),
                Err(_) => Some(StopReason::UnknownEntry { id, kind }),
            },
            _ if is_of_session(kind) && supported >= SESSIONS => None,
            _ => Some(StopReason::UnknownEntry { id, kind }),
        }
    }

    /// Applies an entry that belongs to the engine. A command that it has the state machine run is
    /// added to `commands`.
    pub(super) fn apply_to_engine(
        &mut self,
        entry: &Entry,
        commands: &mut Vec<Committed>,
    ) -> Result<(), StopReason> {
        if let Some(reason) = self.why_unsupported(entry) {
            return Err(reason);
        }
        if is_of_session(entry.kind) {
            return self.apply_session_entry(entry, commands);
        }
        if let Ok(level) = decode_level(&entry.payload) {
            self.engine.level = self.engine.level.max(level);
        }
        Ok(())
    }

    /// A level that a leader has proposed is not in its log after all.
    pub(super) fn forget_appended_level(&mut self) {
        self.level.appended = (Term::ZERO, 0);
    }
}

/// Whether entries of this kind are written only from some feature level on.
fn is_of_level(kind: EntryKind) -> bool {
    !matches!(kind, EntryKind::Noop | EntryKind::Command | EntryKind::Membership)
}
