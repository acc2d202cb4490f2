//! The limits of the transport, each with its name and number.

use std::time::Duration;

/// The most envelopes that wait for one peer. Further ones are dropped.
pub const MAX_QUEUED_ENVELOPES: usize = 4096;

/// The most bytes, payloads and overhead, that wait for one peer. An empty queue accepts one
/// envelope of any size that a frame can carry.
pub const MAX_QUEUED_BYTES: usize = 32 << 20;

/// The bytes that an envelope counts in addition to its payloads: about its size in the queue.
pub const ENVELOPE_OVERHEAD_BYTES: usize = 128;

/// The most bytes that one write takes from a queue; the rest waits for the next write.
pub const MAX_WRITE_BYTES: usize = 1 << 20;

/// The bytes by which a receive buffer grows at a time.
pub const READ_BLOCK_BYTES: usize = 64 << 10;

/// The most connections that are in their handshake at the same time. Further ones are closed at
/// once.
pub const MAX_HANDSHAKES: usize = 64;

/// The most members that are peers at the same time; more than a membership may have.
pub const MAX_PEERS: usize = 128;

/// The most nodes outside the membership that are connected at the same time. They do not count
/// against [`MAX_PEERS`].
pub const MAX_UNKNOWN_PEERS: usize = 16;

/// The most connections with one peer. Two are usual where both dialed; others are left over from
/// before a restart of the peer, and the oldest is closed.
pub const MAX_LINKS_PER_PEER: usize = 4;

/// How long parts of a snapshot go over the ordinary connection after the peer could not be reached
/// for a second one.
pub const BULK_PAUSE: Duration = Duration::from_secs(10);

/// After so many keep-alives in a row, a connection for the parts of snapshots is closed.
pub const MAX_BULK_SILENCES: u32 = 20;
/// How long envelopes that were accepted for a peer may still be written after it was removed from
/// the cluster.
pub const FAREWELL_LIMIT: Duration = Duration::from_secs(1);

/// The time limits of the transport. The defaults suit members in one data center.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TcpOptions {
    /// How long a connection attempt may take.
    pub connect_timeout: Duration,
    /// How long a whole handshake may take, from the accepted or dialed connection to the last
    /// verdict.
    pub handshake_timeout: Duration,
    /// After this time without a frame to send, a keep-alive is sent.
    pub keep_alive_every: Duration,
    /// A connection on which nothing arrived for this time is closed. It should be several times
    /// `keep_alive_every`.
    pub idle_limit: Duration,
    /// The pause after the first failed attempt to reach a peer. Each further pause is twice as
    /// long.
    pub back_off_min: Duration,
    /// The longest pause between two attempts, before jitter takes up to half of it away.
    pub back_off_max: Duration,
}

impl Default for TcpOptions {
    fn default() -> TcpOptions {
        TcpOptions {
            connect_timeout: Duration::from_secs(1),
            handshake_timeout: Duration::from_secs(2),
            keep_alive_every: Duration::from_millis(500),
            idle_limit: Duration::from_secs(3),
            back_off_min: Duration::from_millis(20),
            back_off_max: Duration::from_millis(500),
        }
    }
}

impl TcpOptions {
    /// The pause after this many failures in a row. Jitter takes up to half of the pause away, so
    /// that members that failed together do not retry together. It is computed from `salt`, which
    /// is made from the ids of both ends.
    pub fn back_off(&self, failures: u32, salt: u64) -> Duration {
        let doubled = self.back_off_min.saturating_mul(1 << failures.saturating_sub(1).min(16));
        let whole = doubled.min(self.back_off_max);
        let share = mixed(salt ^ u64::from(failures)) >> 32;
        whole - whole.mul_f64(share as f64 / f64::from(u32::MAX) / 2.0)
    }
}

/// Spreads nearby numbers over all of them (the finalizer of SplitMix64).
fn mixed(number: u64) -> u64 {
    let mut mixed = number.wrapping_add(0x9e37_79b9_7f4a_7c15);
    mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    mixed ^ (mixed >> 31)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pauses_grow_to_their_limit_and_differ_between_peers() {
        let options = TcpOptions::default();
        for failures in 1..100 {
            let whole = options.back_off_min.saturating_mul(1 << (failures - 1).min(16));
            let whole = whole.min(options.back_off_max);
            let pauses: Vec<Duration> = (0..8).map(|s| options.back_off(failures, s)).collect();
            assert!(pauses.iter().all(|pause| *pause <= whole && *pause >= whole / 2));
            assert!(pauses.iter().any(|pause| *pause != pauses[0]), "no jitter");
        }
    }
}
