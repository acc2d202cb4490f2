//! File descriptors: raises a member's limit as far as possible, and keeps some in reserve.
//!
//! Shells and containers often start a process with a soft limit of 1024, far below the hard limit.
//! Clients get the descriptors above [`RESERVE`], so that the log can open a segment and the
//! transport can connect to a peer however many clients connect.

use kontiki_etcd::ServerLimits;
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

/// How many descriptors are kept for the log, the peers, and the process itself.
const RESERVE: u64 = 256;

/// The minimum number of clients, even if they use a part of the reserve.
const FEWEST_CLIENTS: usize = 16;

/// Raises the limit on open files as far as the system allows. Returns the new limit; `None` if
/// there is none.
pub fn raise() -> Option<u64> {
    let limit = getrlimit(Resource::Nofile);
    let wanted = Rlimit { current: limit.maximum, maximum: limit.maximum };
    match setrlimit(Resource::Nofile, wanted) {
        Ok(()) => limit.maximum,
        Err(error) => {
            let limit = limit.current;
            tracing::warn!(%error, ?limit, "the limit on open files stays as it is");
            limit
        }
    }
}

/// Reduces the client limit so that the reserve stays free with this many descriptors.
pub fn leave_reserve(limits: ServerLimits, descriptors: Option<u64>) -> ServerLimits {
    let Some(descriptors) = descriptors else { return limits };
    let left = usize::try_from(descriptors.saturating_sub(RESERVE)).unwrap_or(usize::MAX);
    let connections = limits.connections.min(left.max(FEWEST_CLIENTS));
    if connections < limits.connections {
        tracing::warn!(
            connections,
            descriptors,
            "fewer clients than configured may connect: raise the limit on open files (ulimit -n)"
        );
    }
    ServerLimits { connections, ..limits }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn connections(wanted: usize, descriptors: Option<u64>) -> usize {
        let limits = ServerLimits { connections: wanted, ..ServerLimits::default() };
        leave_reserve(limits, descriptors).connections
    }

    #[test]
    fn clients_get_the_descriptors_above_the_reserve() {
        assert_eq!(connections(10_000, None), 10_000);
        assert_eq!(connections(10_000, Some(1 << 20)), 10_000);
        assert_eq!(connections(10_000, Some(1024)), 768);
        assert_eq!(connections(10_000, Some(64)), 16);
        assert_eq!(connections(8, Some(64)), 8);
    }
}
