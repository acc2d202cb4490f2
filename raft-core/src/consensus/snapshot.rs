//! Peers whose log ends before the leader's log begins.
//!
//! Section 7 of the paper; thesis, chapter 5. Entries below the boundary were purged, so no append
//! can bring such a peer up to date. It is reported once, and asked with each heartbeat whether it
//! has the boundary now.
//!
//! Absent so far: taking, sending and installing snapshots. Until they exist, no log is purged.

use alloc::vec::Vec;

use super::output::Output;
use super::progress::Pace;
use super::raft::Raft;
use super::role::Role;
use crate::types::NodeId;

impl Raft {
    /// No append can help the peer: what it lacks was purged. Reported once, until it accepts an
    /// append.
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
