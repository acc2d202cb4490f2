//! The counts of the transport, for the recorder of the `metrics` facade and for direct access.

use std::sync::atomic::{AtomicU64, Ordering};

use metrics::counter;

/// An event that is counted. Refused connections and frames are counted by their reason.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
#[non_exhaustive]
pub enum Counted {
    /// A connection was made to a peer, and both sides accepted it.
    Dialed,
    /// A peer's connection was accepted, and both sides agreed.
    Accepted,
    /// Bytes of frames were written.
    SentBytes,
    /// Envelopes were written.
    Sent,
    /// Bytes were read after a handshake.
    ReceivedBytes,
    /// Envelopes were read and delivered to the member.
    Received,
    /// Dropped: the peer's queue was full.
    DroppedFull,
    /// Dropped: the peer has no connection and no address is known.
    DroppedNoRoute,
    /// Dropped: the peer could not be reached, or its connection ended while the envelopes waited.
    DroppedUnreachable,
    /// Dropped: too large for a frame, or the entries do not match the span.
    DroppedUnsendable,
    /// Dropped: the peer speaks an older version, which has no such message.
    DroppedVersion,
    /// Refused: the first bytes were not a handshake.
    RefusedGarbage,
    /// Refused: no common version.
    RefusedVersion,
    /// Refused: another cluster, in the handshake or in a frame.
    RefusedCluster,
    /// Refused: not the node that the dialer wanted to reach, or a node that claims this member's
    /// own id.
    RefusedNode,
    /// Refused: the peer has lost its store.
    RefusedStore,
    /// Refused: the peer was removed from the cluster.
    RefusedRemoved,
    /// Refused: too many peers or handshakes.
    RefusedNoRoom,
    /// Refused: a frame over the limits.
    RefusedOversized,
    /// Refused: a frame that is damaged or does not parse.
    RefusedFrame,
    /// The peer refused this member.
    RefusedByPeer,
    /// A handshake took too long, or broke.
    HandshakeFailed,
    /// A peer could not be reached.
    DialFailed,
    /// A connection was closed because nothing arrived on it for too long.
    Idle,
}

const LAST: Counted = Counted::Idle;

/// The counts since the transport was bound.
#[derive(Debug)]
pub struct Counters {
    values: [AtomicU64; LAST as usize + 1],
}

impl Counters {
    /// All counts at zero.
    pub(crate) fn new() -> Counters {
        Counters { values: std::array::from_fn(|_| AtomicU64::new(0)) }
    }

    /// The number of events, or of bytes.
    pub fn get(&self, counted: Counted) -> u64 {
        self.values[counted as usize].load(Ordering::Relaxed)
    }

    /// Adds, here and in `metrics`.
    pub(crate) fn add(&self, counted: Counted, count: usize) {
        if count == 0 {
            return;
        }
        self.values[counted as usize].fetch_add(count as u64, Ordering::Relaxed);
        match counted.names() {
            (name, "") => counter!(name).increment(count as u64),
            (name, reason) => counter!(name, "reason" => reason).increment(count as u64),
        }
    }
}

impl Counted {
    /// The name in `metrics`, and the label that says why.
    fn names(self) -> (&'static str, &'static str) {
        let (dropped, refused) = ("kontiki_net_dropped_total", "kontiki_net_refused_total");
        match self {
            Counted::Dialed => ("kontiki_net_dialed_total", ""),
            Counted::Accepted => ("kontiki_net_accepted_total", ""),
            Counted::SentBytes => ("kontiki_net_sent_bytes_total", ""),
            Counted::Sent => ("kontiki_net_sent_total", ""),
            Counted::ReceivedBytes => ("kontiki_net_received_bytes_total", ""),
            Counted::Received => ("kontiki_net_received_total", ""),
            Counted::DroppedFull => (dropped, "queue_full"),
            Counted::DroppedNoRoute => (dropped, "no_route"),
            Counted::DroppedUnreachable => (dropped, "unreachable"),
            Counted::DroppedUnsendable => (dropped, "unsendable"),
            Counted::DroppedVersion => (dropped, "version"),
            Counted::RefusedGarbage => (refused, "garbage"),
            Counted::RefusedVersion => (refused, "version"),
            Counted::RefusedCluster => (refused, "cluster"),
            Counted::RefusedNode => (refused, "node"),
            Counted::RefusedStore => (refused, "store"),
            Counted::RefusedRemoved => (refused, "removed"),
            Counted::RefusedNoRoom => (refused, "no_room"),
            Counted::RefusedOversized => (refused, "oversized"),
            Counted::RefusedFrame => (refused, "frame"),
            Counted::RefusedByPeer => (refused, "by_peer"),
            Counted::HandshakeFailed => ("kontiki_net_handshake_failed_total", ""),
            Counted::DialFailed => ("kontiki_net_dial_failed_total", ""),
            Counted::Idle => ("kontiki_net_idle_total", ""),
        }
    }
}
