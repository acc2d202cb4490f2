//! Purging the log up to a snapshot, starting a log after one, and peers that need one.
//!
//! Section 7 of the paper; thesis, chapter 5. The log may be purged up to the last entry of a
//! durable snapshot. The node chooses how far, since entries that a slow peer still needs should
//! stay for a while (K29). Only applied entries are purged (L9). An election needs the id of the
//! last entry only, and the boundary keeps that id.
//!
//! Entries below the boundary cannot be sent, so no append can bring a peer that lacks them up to
//! date. Such a peer is reported once, and asked with each heartbeat whether it has the boundary
//! now.
//!
//! Absent: the bytes of snapshots, their files, and how they are sent.

use alloc::sync::Arc;
use alloc::vec::Vec;

use super::output::Output;
use super::planted::planted;
use super::progress::Pace;
use super::raft::Raft;
use super::role::Role;
use crate::types::{EntryId, LogIndex, Membership, NodeId};

impl Raft {
    /// A durable snapshot includes everything up to `upto`: the log is purged up to it.
    pub(super) fn on_purge(&mut self, upto: LogIndex, out: &mut Vec<Output>) {
        assert!(upto <= self.applicable, "L9: purged up to {upto}, beyond what was applied");
        if upto <= self.log.boundary().index {
            return;
        }
        let term = self.log.term(upto).expect("what was applied is in the log");
        self.purge_log_upto(EntryId::new(term, upto));
        self.note_purged_peers(out);
    }

    /// Reports the peers to which not every purged entry was sent. Waiting for their next refusal
    /// would not suffice: a heartbeat asks about the boundary, which is above the last entry that
    /// was sent to them, so their refusal would count as that of an entry that was not sent yet.
    fn note_purged_peers(&mut self, out: &mut Vec<Output>) {
        let boundary = self.log.boundary().index;
        let Role::Leader(leader) = &self.role else { return };
        let behind = leader.peers.iter().filter(|(_, peer)| peer.next <= boundary);
        let behind: Vec<NodeId> = behind.map(|(node, _)| *node).collect();
        for node in behind {
            self.need_snapshot(node, out);
        }
    }

    /// The state machine was restored from a durable snapshot that ends at `last`, so the log
    /// starts after that entry from now on (section 7; Figure 13, steps 6 to 8; K30). A snapshot
    /// includes committed entries only, so neither its sender nor the term in which it is sent
    /// matters.
    pub(super) fn on_install(
        &mut self,
        from: NodeId,
        last: EntryId,
        membership: Arc<Membership>,
        out: &mut Vec<Output>,
    ) {
        if last.index <= self.applicable {
            return;
        }
        let own = self.log.term(last.index);
        if let Some(term) = own.filter(|term| last.index <= self.commit && *term != last.term) {
            return self.stop_at(EntryId::new(term, last.index), Some(last), from, out);
        }
        if last.term > self.term() {
            self.become_follower(last.term, None, out);
        }
        let holds_last = (own == Some(last.term) && !planted!(self, InstallDropsWhatFollows))
            || (own.is_some() && planted!(self, InstallKeepsAnotherLog));
        if holds_last {
            // Equal ids mean equal logs up to there (law L3), so the entries that follow may stay.
            self.purge_log_upto(last);
            self.note_purged_peers(out);
        } else {
            self.start_log_at(last, membership, out);
        }
        self.writes.install(last.index);
        self.applicable = last.index;
        let has_risen = last.index > self.commit;
        self.commit = self.commit.max(last.index);
        self.release_committed(out);
        // A later leader may have committed entries of this leader's term; then the snapshot is the
        // first to show it here.
        if let Role::Leader(leader) = &self.role
            && has_risen
            && self.commit >= leader.first_of_term
        {
            self.on_own_term_committed(out);
        }
    }

    /// The peers that only a snapshot can help; empty unless this member leads.
    pub fn peers_in_need_of_a_snapshot(&self) -> impl Iterator<Item = NodeId> + '_ {
        let peers = match &self.role {
            Role::Leader(leader) => Some(&leader.peers),
            _ => None,
        };
        let peers = peers.into_iter().flatten();
        peers.filter(|(_, peer)| peer.pace == Pace::Snapshot).map(|(node, _)| *node)
    }

    /// Drops the whole log, which lacks the snapshot's last entry.
    fn start_log_at(&mut self, last: EntryId, base: Arc<Membership>, out: &mut Vec<Output>) {
        if self.is_leader() {
            // A leader has every committed entry (L4), so the sender is wrong; but the state
            // machine was restored already, and this log does not lead to its state.
            self.become_follower(self.term(), None, out);
        }
        self.reset_log_to(last, base);
        if let Role::Follower(follower) = &mut self.role {
            follower.verified = follower.verified.min(last.index);
        }
    }

    /// No append can help the peer: the entries that it lacks were purged. This is reported once,
    /// until the peer accepts an append.
    pub(super) fn need_snapshot(&mut self, to: NodeId, out: &mut Vec<Output>) {
        let boundary = self.log.boundary().index;
        let Role::Leader(leader) = &mut self.role else { return };
        let Some(peer) = leader.peers.get_mut(&to) else { return };
        if peer.pace != Pace::Snapshot {
            peer.on_compacted(boundary);
            out.push(Output::SnapshotNeeded { to });
        }
    }
}
