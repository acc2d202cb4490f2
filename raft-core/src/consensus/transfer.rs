//! Leadership transfer: the leader hands over to a voter of its cluster.
//!
//! Thesis, section 3.10 (K28). A leader that was asked to hand over works in three steps:
//!
//! ```text
//!   refuse proposals --> bring the target up to date --> TimeoutNow --> the target campaigns
//!         ^                                                                   |
//!         +-- not deposed within the shortest election timeout: it leads on <-+
//! ```
//!
//! The target campaigns without a pre-vote, and its vote requests say that the leader asked for the
//! election, so that voters answer although they hear a leader (K24). Safety does not depend on any
//! of this: a campaign that no leader asked for is an ordinary election, and votes compare logs as
//! always (L4).
//!
//! A TimeoutNow may be lost, so it is repeated with each heartbeat. A leader that is deposed
//! forgets the transfer with the rest of its role. Absent: which member to hand over to, and the
//! proposals that wait meanwhile; both belong to the node.

use alloc::vec::Vec;

use super::message::Body;
use super::output::Output;
use super::planted::planted;
use super::raft::Raft;
use super::refusal::{Rejection, TransferRefusal};
use super::role::{Role, Transfer};
use crate::types::NodeId;

impl Raft {
    /// The member to which this leader is handing over, if it is.
    pub fn transfer_target(&self) -> Option<NodeId> {
        match &self.role {
            Role::Leader(leader) => leader.transfer.as_ref().map(|transfer| transfer.to),
            _ => None,
        }
    }

    // ---- the leader ----

    /// Starts a transfer, or refuses it by name. A second request for the same target changes
    /// nothing.
    pub(super) fn on_transfer(&mut self, to: NodeId, out: &mut Vec<Output>) {
        if let Err(why) = self.check_transfer(to) {
            return out.push(Output::TransferRefused { to, why });
        }
        let Role::Leader(leader) = &mut self.role else { return };
        if leader.transfer.is_none() {
            leader.transfer = Some(Transfer { to, waited: 0, is_asked: false });
            self.ask_target(out);
        }
    }

    fn check_transfer(&self, to: NodeId) -> Result<(), TransferRefusal> {
        let (Role::Leader(_), Some(membership)) = (&self.role, self.membership()) else {
            return Err(TransferRefusal::NotLeader { hint: self.leader() });
        };
        let other = self.transfer_target().filter(|other| *other != to);
        if to == self.id() {
            Err(TransferRefusal::ToItself)
        } else if !membership.contains(to) {
            Err(TransferRefusal::NotAMember)
        } else if !membership.parts().voters.contains(&to) {
            Err(TransferRefusal::NotAVoter)
        } else if let Some(other) = other {
            Err(TransferRefusal::UnderWay { to: other })
        } else {
            Ok(())
        }
    }

    /// A peer has answered: if it is the target, and has caught up, it is asked to campaign.
    pub(super) fn continue_transfer(&mut self, from: NodeId, out: &mut Vec<Output>) {
        let Role::Leader(leader) = &self.role else { return };
        let is_awaited = |transfer: &Transfer| transfer.to == from && !transfer.is_asked;
        if leader.transfer.as_ref().is_some_and(is_awaited) {
            self.ask_target(out);
        }
    }

    /// Asks the target to campaign, if its log is this leader's: otherwise it could not win.
    fn ask_target(&mut self, out: &mut Vec<Output>) {
        let last = self.log.last();
        let early = planted!(self, TransferBeforeCaughtUp);
        let Role::Leader(leader) = &mut self.role else { return };
        let Some(transfer) = &mut leader.transfer else { return };
        let to = transfer.to;
        let has_all = leader.peers.get(&to).is_some_and(|peer| peer.matched == last);
        if has_all || early {
            transfer.is_asked = true;
            leader.asked_to_campaign = true;
            self.send_now(to, Body::TimeoutNow, out);
        }
    }

    /// One tick of a leader: it leads on if the target was not elected within the shortest election
    /// timeout. Until then it repeats the request with each heartbeat.
    pub(super) fn tick_transfer(&mut self, sends_heartbeat: bool, out: &mut Vec<Output>) {
        let limit = self.config.election_ticks_min;
        let for_ever = planted!(self, TransferNeverAbandoned);
        let Role::Leader(leader) = &mut self.role else { return };
        let Some(transfer) = &mut leader.transfer else { return };
        transfer.waited += 1;
        let to = transfer.to;
        if transfer.waited >= limit && !for_ever {
            leader.transfer = None;
            out.push(Output::TransferAbandoned { to });
        } else if sends_heartbeat {
            self.ask_target(out);
        }
    }

    // ---- the target ----

    /// The leader of this term asks this member to campaign at once.
    pub(super) fn on_timeout_now(&mut self, from: NodeId, out: &mut Vec<Output>) {
        if self.leader().is_some_and(|leader| leader != from) {
            return self.reject(from, Rejection::SecondLeader, out);
        }
        if !self.may_campaign() {
            return self.reject(from, Rejection::MayNotCampaign, out);
        }
        self.leave_leader(out);
        self.become_candidate(true, out);
    }
}
