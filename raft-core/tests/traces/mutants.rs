//! The tests of the tests: every planted bug must break a law in the trace that is named for it.
//!
//! A difference in an output alone is not enough: any change causes one. The named trace must end
//! with a broken law, which shows that the check of that law finds the bug it is meant for.

use std::path::Path;

use raft_core::consensus::Mutant;

use super::runner::{self, Outcome, Planted, Script};
use super::{read, traces};

/// Each bug, the law that must catch it, and the trace in which it does.
const KILLERS: [(Mutant, &str, &str); 43] = [
    (Mutant::VoteBeforeDurable, "L6", "election/one_vote_in_a_term_across_restarts"),
    (
        Mutant::CandidateAsksBeforeDurable,
        "L6",
        "election/candidate_asks_once_its_own_vote_is_durable",
    ),
    (Mutant::LateCompletionConfirmsRewritten, "L6", "writes/late_completion_confirms_nothing_new"),
    (Mutant::CommitOldTermByCounting, "L4", "commit/figure_8_old_entry_is_overwritten"),
    (Mutant::AckBeforeSync, "L6", "append/one_answer_for_all_that_one_sync_made_durable"),
    (Mutant::HeartbeatReportsVerified, "L6", "append/heartbeat_reports_what_is_durable"),
    (Mutant::LeaderCountsBeforeSync, "L6", "commit/leader_counts_itself_only_when_durable"),
    (Mutant::VoteByLengthAlone, "L4", "election/later_term_beats_longer_log"),
    (Mutant::TruncateWithoutConflict, "L3", "append/late_append_truncates_nothing"),
    (Mutant::CommitBeyondVerified, "L5", "append/commit_stays_below_what_is_verified"),
    (Mutant::ReadBeforeOwnTermCommit, "L15", "read_index/new_leader_reads_after_its_first_commit"),
    (Mutant::ReadWithoutMajority, "L15", "read_index/deposed_leader_answers_no_read"),
    (Mutant::StaleVoteCounted, "L1", "election/vote_of_an_earlier_term_is_not_counted"),
    (Mutant::VoteForgottenOnStepDown, "L7", "election/stepping_down_keeps_the_vote"),
    (Mutant::StaleAppendAccepted, "L10", "append/append_of_an_earlier_term_is_refused"),
    (Mutant::AppliedBeforeDurable, "L6", "commit/follower_applies_only_what_its_disk_has"),
    (
        Mutant::ContradictionIgnored,
        "L10",
        "append/leader_without_a_committed_entry_stops_its_follower",
    ),
    (Mutant::StaleSendCounted, "L12", "replication/stale_outcome_of_a_send_moves_nothing"),
    (Mutant::InstallDropsWhatFollows, "L6", "snapshot/snapshot_within_the_log_keeps_what_follows"),
    (Mutant::InstallKeepsAnotherLog, "L3", "snapshot/snapshot_replaces_a_log_that_contradicts_it"),
    (Mutant::TransferBeforeCaughtUp, "K28", "transfer/target_is_brought_up_to_date_first"),
    (Mutant::ProposalDuringTransfer, "K28", "transfer/leader_hands_over_without_waiting"),
    (Mutant::TransferNeverAbandoned, "K28", "transfer/transfer_that_takes_too_long_is_abandoned"),
    (Mutant::TransferVoteByTrust, "L4", "transfer/voter_compares_logs_in_a_transfer_too"),
    (
        Mutant::MembershipInForceOnceCommitted,
        "L13",
        "membership/membership_is_in_force_before_it_is_committed",
    ),
    (
        Mutant::ChangeBeforeTermCommitted,
        "L17",
        "membership/no_change_before_the_leader_commits_in_its_term",
    ),
    (Mutant::TwoChangesAtOnce, "L17", "membership/one_change_at_a_time"),
    (
        Mutant::JointLeftBeforeCommitted,
        "L17",
        "membership/joint_membership_is_left_only_once_it_is_committed",
    ),
    (Mutant::JointCountedTogether, "L6", "membership/joint_membership_needs_both_majorities"),
    (
        Mutant::RemovedLeaderCountsItself,
        "L6",
        "membership/removed_leader_leads_until_its_removal_is_committed",
    ),
    (
        Mutant::RemovedLeaderLeadsOn,
        "K23",
        "membership/removed_leader_leads_until_its_removal_is_committed",
    ),
    (
        Mutant::TruncatedMembershipKept,
        "L13",
        "membership/truncated_membership_is_no_longer_in_force",
    ),
    (Mutant::LearnerCampaigns, "K22", "election/learner_neither_votes_nor_campaigns"),
    (
        Mutant::LeavingLeaderAccepts,
        "K23",
        "membership/leader_that_is_removed_accepts_no_more_proposals",
    ),
    (
        Mutant::RemovedMembersNotTold,
        "K23",
        "membership/removed_member_gets_entries_until_its_removal_is_committed",
    ),
    (Mutant::ChangeToSilentVoters, "K43", "membership/voters_to_come_must_answer"),
    (Mutant::LeaseFromAcknowledgement, "L15", "lease/lease_runs_from_the_start_of_its_round"),
    (Mutant::LeaseKeptOverTransfer, "L15", "lease/leader_that_asks_for_an_election_has_no_lease"),
    (
        Mutant::LeaseBeforeOwnTermCommit,
        "L15",
        "lease/new_leader_has_a_lease_after_its_first_commit",
    ),
    (Mutant::PauseNotSeen, "L15", "lease/leader_that_was_paused_has_no_lease"),
    (Mutant::RestartForgetsPromise, "L15", "lease/restarted_member_waits_before_it_votes"),
    (Mutant::PromiseEndsWithTerm, "L15", "lease/promise_outlives_its_term"),
    (Mutant::BoundMemberCampaigns, "L15", "lease/bound_member_does_not_vote_for_itself"),
];

#[test]
fn every_planted_bug_breaks_its_law() {
    let mut survivors = Vec::new();
    println!("{:<34} {:<4} {:<52} traces that notice", "planted bug", "law", "killer");
    for (mutant, law, killer) in KILLERS {
        let why = broken_law(mutant, killer);
        let noticed = traces().iter().filter(|path| notices(mutant, path)).count();
        println!("{:<34} {law:<4} {killer:<52} {noticed}", format!("{mutant:?}"));
        match why {
            Some(why) if why.contains(&format!("{law}: ")) => {}
            Some(why) => survivors.push(format!("{mutant:?}: {killer} breaks another law: {why}")),
            None => survivors.push(format!("{mutant:?} survives {killer}")),
        }
    }
    assert!(survivors.is_empty(), "{}", survivors.join("\n"));
}

#[test]
fn every_planted_bug_has_a_killer() {
    for mutant in Mutant::ALL {
        assert!(KILLERS.iter().any(|(known, ..)| *known == mutant), "{mutant:?} has no killer");
    }
}

fn broken_law(mutant: Mutant, killer: &str) -> Option<String> {
    let root = Path::new("tests/traces");
    let script = Script::parse(&read(&root.join(killer).with_extension("trace"))).expect("sound");
    match runner::run(&script, Planted { bug: Some(mutant) }) {
        Outcome::Broke { why, .. } => Some(why),
        Outcome::Ran(_) => None,
    }
}

/// Whether a trace differs from its text with the bug in it.
fn notices(mutant: Mutant, path: &Path) -> bool {
    let text = read(path);
    let script = Script::parse(&text).expect("sound");
    match runner::run(&script, Planted { bug: Some(mutant) }) {
        Outcome::Broke { .. } => true,
        Outcome::Ran(blocks) => Script { blocks }.write() != text,
    }
}
