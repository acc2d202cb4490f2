//! The feature level of the cluster: when it is raised, and what a member does that meets a newer
//! one.

use raft_core::storage::record::encode_level;
use raft_core::types::MembershipParts;

use super::changes::voters;
use super::*;
use crate::features::{FEATURE_LEVEL, FIRST_LEVEL};
use crate::pump::{ChangeError, StopReason};
use crate::{EngineState, PROTOCOL_VERSION};

/// The last version of the wire format whose programs support the first level only.
const OLDER: u16 = 3;

pub(super) fn raise(index: u64, term: u64, level: u32) -> Entry {
    Entry::new(id(index, term), EntryKind::FeatureLevel, encode_level(level))
}

/// The entries of a write that raise the level.
fn raised(effects: &Effects<Names>) -> Vec<Entry> {
    let entries = effects.write.iter().flat_map(|batch| &batch.append);
    entries.filter(|entry| entry.kind == EntryKind::FeatureLevel).cloned().collect()
}

impl Rig {
    /// A leader whose level is not raised yet, although all other members announce this program.
    fn with_programs(announced: &[u64]) -> Rig {
        let mut rig = Rig::settled(3);
        announced.iter().for_each(|number| rig.announce(*number, PROTOCOL_VERSION));
        rig
    }

    /// A leader at the newest level.
    pub(super) fn raised() -> Rig {
        let mut rig = Rig::with_programs(&[1, 2]);
        rig.ticks(1);
        rig.written();
        rig.acknowledge(9);
        assert_eq!(rig.pump.feature_level(), FEATURE_LEVEL);
        rig
    }
}

#[test]
fn a_leader_raises_the_level_once_all_members_have_announced_a_program_that_supports_it() {
    let mut rig = Rig::with_programs(&[1]);
    assert_eq!(raised(&rig.ticks(3)), [], "the program of member 2 is not known");
    rig.announce(2, OLDER);
    assert_eq!(raised(&rig.ticks(3)), [], "it does not support the level");
    rig.announce(2, PROTOCOL_VERSION);
    let effects = rig.ticks(3);
    assert_eq!(raised(&effects), [raise(9, 5, FEATURE_LEVEL)], "once");
    assert_eq!(rig.pump.feature_level(), FIRST_LEVEL, "it is not committed");
    rig.written();
    rig.acknowledge(9);
    assert_eq!(rig.pump.feature_level(), FEATURE_LEVEL);
    rig.ticks(3);
    assert_eq!(rig.last(), 9, "it is raised once");
}

#[test]
fn a_learner_with_an_older_program_keeps_the_level_down() {
    let mut rig = Rig::with_programs(&[]);
    rig.announce(1, OLDER);
    rig.announce(2, OLDER);
    let parts = voters(&[1, 2, 3]).parts().clone();
    let learners = [node(4)].into();
    let parts = MembershipParts { learners, highest: None, ..parts };
    let target = Arc::new(Membership::new(parts).expect("sound"));
    assert_eq!(rig.change(&target), None);
    rig.written();
    rig.acknowledge(9);
    rig.announce(1, PROTOCOL_VERSION);
    rig.announce(2, PROTOCOL_VERSION);
    rig.announce(4, OLDER);
    assert_eq!(raised(&rig.ticks(3)), []);
    rig.announce(4, PROTOCOL_VERSION);
    assert_eq!(raised(&rig.ticks(1)).len(), 1);
}

#[test]
fn a_node_does_not_join_if_its_program_does_not_support_the_level() {
    let parts = voters(&[1, 2, 3]).parts().clone();
    let learners = [node(4)].into();
    let parts = MembershipParts { learners, highest: None, ..parts };
    let target = Arc::new(Membership::new(parts).expect("sound"));
    let mut rig = Rig::with_programs(&[1, 2]);
    rig.ticks(1);
    rig.announce(4, OLDER);
    let older = Some(ChangeError::OlderProgram(node(4)));
    assert_eq!(rig.change(&target), older, "the level is appended, and not in force yet");
    let mut rig = Rig::raised();
    rig.announce(4, OLDER);
    assert_eq!(rig.change(&target), older);
    assert_eq!(rig.last(), 9, "nothing was appended");
    rig.announce(4, PROTOCOL_VERSION);
    assert_eq!(rig.change(&target), None);
}

/// What went wrong: a leader that handed over in a turn with other proposals forgot the level in
/// its log, and let a node with an older program join.
#[test]
fn a_level_that_is_in_the_log_is_not_forgotten_when_a_turn_is_put_back() {
    let mut rig = Rig::with_programs(&[1, 2]);
    assert_eq!(raised(&rig.ticks(1)).len(), 1);
    rig.written();
    rig.turn_of(&mut vec![
        Event::Propose { commands: commands(1), group: 1 },
        Event::Transfer { to: node(1) },
    ]);
    assert_eq!((rig.last(), rig.pump.level_in_log()), (9, FEATURE_LEVEL));
}

/// A leader that has not applied what earlier leaders appended does not know the level.
#[test]
fn a_leader_changes_nothing_before_it_knows_the_level() {
    let mut rig = Rig::leading(3, Limits::default());
    [1, 2].into_iter().for_each(|number| rig.announce(number, PROTOCOL_VERSION));
    assert_eq!(raised(&rig.ticks(3)), []);
    rig.acknowledge(8);
    assert_eq!(raised(&rig.ticks(3)), [], "the first entry of its term is not durable here");
    rig.written();
    assert_eq!(raised(&rig.ticks(1)).len(), 1);
}

#[test]
fn a_member_stops_before_it_stores_a_level_that_its_program_does_not_support() {
    let mut rig = Rig::new(3, Limits::default());
    rig.pump.support_levels_up_to(FIRST_LEVEL);
    let effects = rig.append((1, 5), id(7, 4), vec![entry(8, 5), raise(9, 5, 2)], 7);
    assert!(effects.write.is_none());
    let reason = effects.stop.expect("it stops");
    assert!(matches!(reason, StopReason::NewerLevel { level: 2, supported: 1, .. }), "{reason:?}");
    assert_eq!(
        reason.to_string(),
        "entry 9@5 raises the feature level of the cluster to 2, and this program supports levels \
         up to 1: start this member with a newer program"
    );
}

#[test]
fn a_member_that_starts_with_a_newer_level_in_its_log_stops() {
    let start = Start { last: at(9), commit: at(9), ..Rig::start(3) };
    let mut rig = Rig::starting_from(start, Limits::default());
    let fetch = rig.ticks(1).fetches[0];
    let entries = vec![entry(8, 4), raise(9, 4, FEATURE_LEVEL + 1)];
    let effects = rig.turn(Event::Fetched { fetch: fetch.id, result: Ok(entries) });
    assert!(matches!(effects.stop, Some(StopReason::NewerLevel { .. })), "{:?}", effects.stop);
    assert!(effects.apply.is_none());
}

/// The state machine keeps its state, and has applied everything up to 8; the engine's own state is
/// in the log only.
#[test]
fn entries_that_the_state_machine_has_are_applied_to_the_engine_only() {
    let start = Start { last: at(9), commit: at(9), ..Rig::start(3) };
    let mut rig = Rig::starting_from(start, Limits { snapshot_entries: 1, ..Limits::default() });
    rig.pump.resume(EngineState::default(), at(8));
    rig.pump.enable_snapshots(None);
    let effects = rig.ticks(1);
    assert!(effects.snapshot.is_none(), "the state machine is ahead of the engine");
    let fetch = effects.fetches[0];
    let entries = vec![raise(8, 4, 2), entry(9, 4)];
    let effects = rig.turn(Event::Fetched { fetch: fetch.id, result: Ok(entries) });
    let batch = effects.apply.expect("a batch");
    assert_eq!(batch.commands.iter().map(|one| one.id).collect::<Vec<_>>(), [id(9, 4)]);
    let plan = rig.turn(Event::Applied { recorded: Vec::new() }).snapshot.expect("it is due");
    assert_eq!(plan.engine.level, 2);
}
