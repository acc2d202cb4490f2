//! The envelopes that wait to be sent to one peer: bounded in number and in bytes, so that a peer
//! that cannot be reached takes a known amount of memory. When the queue is full, the newest is
//! dropped, because the peer needs the older ones first.

use std::collections::VecDeque;

use raft_node::{Content, Envelope, SnapshotMessage};

use crate::options::{ENVELOPE_OVERHEAD_BYTES, MAX_QUEUED_BYTES, MAX_QUEUED_ENVELOPES};

/// Envelopes in the order in which they were pushed.
#[derive(Debug, Default)]
pub struct SendQueue {
    waiting: VecDeque<Envelope>,
    bytes: usize,
}

impl SendQueue {
    /// Whether nothing waits.
    pub fn is_empty(&self) -> bool {
        self.waiting.is_empty()
    }

    /// Puts an envelope at the end. Returns `false` if the queue was full and the envelope was
    /// dropped.
    pub fn push(&mut self, envelope: Envelope) -> bool {
        let bytes = self.bytes + size(&envelope);
        let full = self.waiting.len() >= MAX_QUEUED_ENVELOPES || bytes > MAX_QUEUED_BYTES;
        if full && !self.is_empty() {
            return false;
        }
        self.bytes = bytes;
        self.waiting.push_back(envelope);
        true
    }

    /// Moves the first envelopes to `taken`: at least one, and until they have this many bytes.
    pub fn take(&mut self, bytes: usize, taken: &mut Vec<Envelope>) {
        let mut count = 0;
        while count < bytes
            && let Some(envelope) = self.waiting.pop_front()
        {
            count += size(&envelope);
            taken.push(envelope);
        }
        self.bytes -= count;
    }

    /// Takes everything.
    pub fn take_all(&mut self) -> Vec<Envelope> {
        self.bytes = 0;
        std::mem::take(&mut self.waiting).into()
    }
}

/// About how many bytes an envelope takes.
fn size(envelope: &Envelope) -> usize {
    let one = |bytes: usize| bytes + ENVELOPE_OVERHEAD_BYTES;
    let payloads: usize = match &envelope.content {
        Content::SessionForward(requests) => {
            requests.iter().map(|(_, payload)| one(payload.len())).sum()
        }
        Content::Raft { entries, .. } => {
            entries.bytes() as usize + entries.len() * ENVELOPE_OVERHEAD_BYTES
        }
        Content::Forward(forward) => forward.commands.iter().map(|c| one(c.len())).sum(),
        Content::Snapshot(SnapshotMessage::Chunk { bytes, .. }) => bytes.len(),
        Content::ForwardAnswer(_) | Content::Snapshot(_) => 0,
    };
    one(payloads)
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;
    use raft_core::types::{ClusterId, Term};
    use raft_node::Forward;

    use super::*;

    fn envelope(sequence: u64, bytes: usize) -> Envelope {
        let commands = vec![Bytes::from(vec![0; bytes])];
        let forward = Forward { term: Term::new(1), start: 1, sequence, commands };
        Envelope { cluster: ClusterId(1), content: Content::Forward(forward) }
    }

    #[test]
    fn both_bounds_hold_and_the_newest_is_dropped() {
        let mut queue = SendQueue::default();
        let pushed = (0..MAX_QUEUED_ENVELOPES + 9).filter(|n| queue.push(envelope(*n as u64, 1)));
        assert_eq!(pushed.count(), MAX_QUEUED_ENVELOPES);
        let mut taken = Vec::new();
        queue.take(usize::MAX, &mut taken);
        assert_eq!((taken.len(), &taken[0]), (MAX_QUEUED_ENVELOPES, &envelope(0, 1)));
        assert_eq!((queue.is_empty(), queue.bytes), (true, 0));

        let quarter = MAX_QUEUED_BYTES / 4;
        let pushed = (0..9).filter(|n| queue.push(envelope(*n, quarter))).count();
        assert_eq!((pushed, queue.take_all().len()), (3, 3));
        assert!(queue.push(envelope(0, MAX_QUEUED_BYTES)), "an empty queue takes any one");
        assert!(!queue.push(envelope(1, 1)));
    }
}
