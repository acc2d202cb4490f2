//! Random traces: after any faults, a cluster whose network and disks work again soon agrees.
//!
//! There are no golden outputs here: the laws are checked after each step, and at the end
//! `converge` requires one leader, equal and committed logs, and no read without an answer. A run
//! also fails if members exchange messages without end. A failure prints the trace, which can be
//! shortened and stored as a golden one.

use proptest::prelude::*;

use super::runner::{self, Outcome, Planted, Script};

/// How many nodes may join a cluster.
const NEWCOMERS: u64 = 2;

/// Some of the nodes, with commas between them; at least one.
fn some_of(nodes: u64) -> impl Strategy<Value = Vec<u64>> {
    prop::collection::btree_set(1..=nodes, 1..=nodes as usize)
        .prop_map(|nodes| nodes.into_iter().collect())
}

/// A change of the membership: some nodes vote, and some of the others are learners.
fn change(nodes: u64) -> impl Strategy<Value = String> {
    let all = nodes + NEWCOMERS;
    (1..=nodes, some_of(all), some_of(all)).prop_map(|(node, voters, others)| {
        let list = |nodes: Vec<u64>| {
            nodes.iter().map(|node| node.to_string()).collect::<Vec<_>>().join(",")
        };
        let learners: Vec<u64> =
            others.into_iter().filter(|other| !voters.contains(other)).collect();
        format!("change {node} voters={} learners={}", list(voters), list(learners))
    })
}

/// One line with a fault or a delay in a cluster of `nodes`.
fn fault(nodes: u64) -> impl Strategy<Value = String> {
    let one = move || 1..=nodes + NEWCOMERS;
    let newcomer = nodes + 1..=nodes + NEWCOMERS;
    prop_oneof![
        6 => one().prop_map(|n| format!("deliver to={n}")),
        6 => (one(), one()).prop_map(|(n, m)| format!("deliver from={n} to={m} count=1")),
        6 => one().prop_map(|n| format!("durable {n}")),
        2 => (one(), 1u64..12).prop_map(|(n, seq)| format!("durable {n} upto={seq}")),
        3 => one().prop_map(|n| format!("drop to={n}")),
        3 => one().prop_map(|n| format!("keep to={n} count=1")),
        3 => one().prop_map(|n| format!("copy from={n}")),
        3 => one().prop_map(|n| format!("late to={n}")),
        4 => (one(), 1u64..40).prop_map(|(n, ticks)| format!("tick {n} {ticks}")),
        2 => (1u64..30).prop_map(|ticks| format!("tick all {ticks}")),
        1 => (one(), 1u64..60).prop_map(|(n, ticks)| format!("pause {n} {ticks}")),
        4 => one().prop_map(|n| format!("campaign {n}")),
        4 => (one(), 1u64..4).prop_map(|(n, count)| format!("propose {n} {count}")),
        3 => (one(), any::<u64>()).prop_map(|(n, name)| format!("read {n} {name}")),
        2 => (one(), one()).prop_map(|(n, m)| format!("transfer {n} {m}")),
        5 => change(nodes),
        2 => newcomer.prop_map(|n| format!("join {n}")),
        2 => one().prop_map(|n| format!("crash {n}")),
        1 => one().prop_map(|n| format!("crash {n} kept")),
        3 => one().prop_map(|n| format!("restart {n}")),
        1 => (one(), one()).prop_map(|(n, m)| format!("partition {n} {m}")),
        1 => Just("heal".to_string()),
        2 => Just("stabilize".to_string()),
        1 => one().prop_map(|n| format!("hold {n}")),
        2 => one().prop_map(|n| format!("fetch {n}")),
        1 => one().prop_map(|n| format!("fetch {n} rewritten")),
        2 => one().prop_map(|n| format!("purge {n} all")),
        2 => (one(), 1u64..12).prop_map(|(n, upto)| format!("purge {n} {upto}")),
        3 => (one(), one()).prop_map(|(n, m)| format!("install {n} from={m}")),
        1 => one().prop_map(|n| format!("fetch {n} compacted")),
    ]
}

fn trace() -> impl Strategy<Value = String> {
    let settings = prop_oneof![
        4 => Just(""),
        1 => Just(" prevote=off"),
        1 => Just(" quorum=off"),
        1 => Just(" lease=100"),
        1 => Just(" lease=1000 quorum=off"),
        2 => Just(" inflight=3 append=2"),
        1 => Just(" inflight_bytes=2 stall=20"),
    ];
    (1u64..=5, settings).prop_flat_map(|(nodes, settings)| {
        prop::collection::vec(fault(nodes), 0..120).prop_map(move |lines| {
            let lines: String = lines.iter().map(|line| format!("maybe {line}\n")).collect();
            let joins = nodes + 1..=nodes + NEWCOMERS;
            let joins: String = joins.map(|n| format!("maybe join {n}\n")).collect();
            let again = (1..=nodes + NEWCOMERS).map(|n| format!("restart {n}\n"));
            let again: String = again.collect();
            let cluster = format!("cluster nodes={nodes} timers=default{settings}");
            format!(
                "# A random trace.\n{cluster}\n{lines}{joins}{again}maybe late\nconverge\n---\n"
            )
        })
    })
}

proptest! {
    #![proptest_config(ProptestConfig {
        cases: 400,
        failure_persistence: None,
        ..ProptestConfig::default()
    })]

    #[test]
    fn a_cluster_agrees_once_its_faults_end(text in trace()) {
        let script = Script::parse(&text).expect("a claim and a block");
        if let Outcome::Broke { line, why } = runner::run(&script, Planted::default()) {
            prop_assert!(false, "line {line}: {why}\n{text}");
        }
    }
}
