//! The member's side of the transport: which peers it admits, and what they send.

use std::sync::Arc;

use raft_core::types::{Identity, NodeId};

use super::Member;
use super::executor::forward_not_sent;
use super::scheduler::{Driven, drive};
use crate::transport::{Envelope, Inbound, PeerRejected};

/// Handed to the transport, which drops it when it ends.
pub(crate) struct MemberInbound(pub(crate) Arc<Member>);

impl Inbound for MemberInbound {
    fn identity(&self) -> Identity {
        self.0.identity
    }

    fn admit(&self, peer: Identity) -> Result<(), PeerRejected> {
        self.0.admission.admit(peer)
    }

    fn confirm(&self, peer: Identity) -> Result<(), PeerRejected> {
        let status = self.0.publisher.latest();
        self.0.admission.confirm(peer, status.raft.membership.as_deref())
    }

    fn is_member(&self, node: NodeId) -> bool {
        let status = self.0.publisher.latest();
        status.raft.membership.as_ref().is_some_and(|membership| membership.contains(node))
    }

    fn deliver(&self, from: NodeId, envelope: Envelope) {
        self.enqueue(from, std::iter::once(envelope));
    }

    fn deliver_all(&self, from: NodeId, envelopes: &mut Vec<Envelope>) {
        self.enqueue(from, envelopes.drain(..));
    }

    fn not_sent(&self, to: NodeId, envelopes: &mut Vec<Envelope>) {
        let mut is_any_wanted = false;
        for envelope in envelopes.drain(..) {
            if let Some(event) = forward_not_sent(to, &envelope) {
                self.0.mailbox.push(event);
                is_any_wanted = true;
            }
        }
        if is_any_wanted {
            self.0.mailbox.wake_driver();
        }
    }
}

impl MemberInbound {
    /// The thread that delivers also takes the turn: no task is woken for it.
    fn enqueue(&self, from: NodeId, envelopes: impl Iterator<Item = Envelope>) {
        let member = &self.0;
        if !member.is_finished() {
            member.mailbox.deliver(from, envelopes, member.limits.inbound_bytes);
            drive(member);
        }
    }
}
