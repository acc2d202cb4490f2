//! Counters and gauges of the `metrics` facade, published on the tick.

use metrics::{counter, gauge};

use super::status::NodeStatus;

/// Publishes every tenth tick (100 ms).
const PUBLISH_TICKS: u64 = 10;

/// When to publish next.
#[derive(Debug, Default)]
pub(crate) struct Metrics {
    calls: u64,
}

impl Metrics {
    pub(crate) fn publish(&mut self, status: &NodeStatus, inbound_dropped: u64) {
        self.calls += 1;
        if !self.calls.is_multiple_of(PUBLISH_TICKS) && !status.closed {
            return;
        }
        let node = status.identity.node.to_string();
        let counters = &status.counters;
        let totals = [
            ("kontiki_proposed_total", counters.proposed),
            ("kontiki_forwarded_total", counters.forwarded),
            ("kontiki_applied_total", counters.applied),
            ("kontiki_entries_written_total", counters.entries_written),
            ("kontiki_writes_total", counters.writes),
            ("kontiki_bytes_written_total", counters.bytes_written),
            ("kontiki_cold_fetches_total", counters.cold_fetches),
            ("kontiki_failed_fetches_total", counters.failed_fetches),
            ("kontiki_snapshots_taken_total", counters.snapshots_taken),
            ("kontiki_snapshots_failed_total", counters.snapshots_failed),
            ("kontiki_envelopes_sent_total", counters.sent),
            ("kontiki_envelopes_delivered_total", counters.delivered),
            ("kontiki_envelopes_malformed_total", counters.malformed),
            ("kontiki_inbound_dropped_total", inbound_dropped),
        ];
        for (name, total) in totals {
            counter!(name, "node" => node.clone()).absolute(total);
        }
        for (why, total) in &counters.rejected {
            let labels = [("node", node.clone()), ("why", why.name().to_owned())];
            counter!("kontiki_rejected_total", &labels).absolute(*total);
        }
        let levels = [
            ("kontiki_term", status.raft.soft_state.term.get()),
            ("kontiki_commit_index", status.raft.commit.get()),
            ("kontiki_applied_index", status.applied.get()),
            ("kontiki_durable_index", status.raft.durable.get()),
            ("kontiki_snapshot_index", status.snapshot.map_or(0, |taken| taken.last.index.get())),
            ("kontiki_proposals_waiting", status.proposals_waiting),
            ("kontiki_tail_bytes", status.tail_bytes),
        ];
        for (name, level) in levels {
            gauge!(name, "node" => node.clone()).set(level as f64);
        }
    }
}
