//! The laws that need more than one member, or a disk, to be checked (docs/laws.md).

use std::collections::BTreeMap;
use std::sync::Arc;

use raft_core::consensus::{
    Body, Message, Output, ReadId, Removal, RoleName, Source, Status, Verdict, Write,
};
use raft_core::types::{HardState, LogIndex, Membership, NodeId, Term};

use super::member::{Image, Member};

type Members = BTreeMap<NodeId, Member>;

/// The facts about a cluster against which the laws are checked.
#[derive(Default)]
pub struct ClusterLaws {
    /// The leader of each term.
    leaders: BTreeMap<Term, NodeId>,
    /// Every vote that was shown to any member.
    votes: BTreeMap<(NodeId, Term), NodeId>,
    /// Every entry that was ever committed.
    committed: BTreeMap<LogIndex, Committed>,
    /// The membership in force at each leader after its last step.
    led_with: BTreeMap<NodeId, Arc<Membership>>,
    /// How many ticks each leader has spent in a transfer.
    transfers: BTreeMap<NodeId, u32>,
    /// For each leader, its term, and how many ticks ago each of its peers answered.
    answered: BTreeMap<NodeId, (Term, BTreeMap<NodeId, u32>)>,
    /// The greatest commit index that each leader has sent to each peer.
    commit_sent: BTreeMap<(NodeId, NodeId), LogIndex>,
    /// What each read without an answer must see, and the member that reads.
    reads: BTreeMap<ReadId, (NodeId, LogIndex)>,
}

#[derive(Clone, Copy)]
struct Committed {
    /// The entry's term.
    term: Term,
    /// The term of the member that was first to have it committed.
    by: Term,
}

impl ClusterLaws {
    /// Records that a read starts now: it must see everything committed so far.
    pub fn note_read(&mut self, id: NodeId, read: ReadId) {
        let last = self.committed.last_key_value().map_or(LogIndex::ZERO, |(index, _)| *index);
        self.reads.insert(read, (id, last));
    }

    /// Removes the reads of a member that restarts, since it has lost them.
    pub fn forget_reads_of(&mut self, id: NodeId) {
        self.reads.retain(|_, (reader, _)| *reader != id);
    }

    /// Records that a tick of a member has passed: a transfer lasts at most an election timeout
    /// (K28).
    pub fn note_tick(&mut self, id: NodeId, member: &Member) {
        let hands_over = member.raft.as_ref().is_some_and(|raft| raft.transfer_target().is_some());
        let ticks = self.transfers.entry(id).or_default();
        *ticks = if hands_over { *ticks + 1 } else { 0 };
        let limit = member.config.election_ticks_min;
        assert!(*ticks < limit, "K28: {id} hands over for {ticks} ticks");
        if let Some((_, peers)) = self.answered.get_mut(&id) {
            peers.values_mut().for_each(|ticks| *ticks += 1);
        }
    }

    /// Records that a member gets an answer to an append from a peer.
    pub fn note_answer(&mut self, id: NodeId, from: NodeId, term: Term) {
        if let Some((of, peers)) = self.answered.get_mut(&id)
            && *of == term
            && let Some(ticks) = peers.get_mut(&from)
        {
            *ticks = 0;
        }
    }

    /// How many reads have no answer yet.
    pub fn open_reads(&self) -> usize {
        self.reads.len()
    }

    /// Checks that an output promises only what is durable on the member's disk.
    pub fn check_output(&mut self, id: NodeId, output: &Output, members: &Members) {
        let member = &members[&id];
        match output {
            Output::Write(write) => {
                self.check_truncation(id, write, &member.issued);
                check_proposals(id, write, member);
                check_step(id, write, member);
                self.check_voters_answer(id, write, member);
            }
            Output::Send { to, message } => {
                self.note_commit_sent(id, *to, message);
                check_promise(id, *to, message, member);
                check_timeout_now(id, *to, message, members);
                self.check_vote(id, *to, message);
            }
            Output::SendEntries { to, message, .. } => {
                self.note_commit_sent(id, *to, message);
                check_term_durable(id, message, &member.disk);
            }
            Output::Apply { upto } => {
                assert!(
                    *upto < member.disk.first_of_log() || *upto <= member.disk.last(),
                    "L6: {id} applies {upto}, which is not durable"
                );
            }
            Output::ReadReady { read, index } => {
                let floor = self.reads.remove(read).map_or(LogIndex::ZERO, |(_, floor)| floor);
                assert!(*index >= floor, "L15: read {} at {index} misses {floor}", read.0);
            }
            Output::ReadRefused { read, .. } => drop(self.reads.remove(read)),
            Output::Became(now) => check_candidate(id, now.role, member),
            _ => {}
        }
    }

    fn note_commit_sent(&mut self, id: NodeId, to: NodeId, message: &Message) {
        if let Body::Append { commit, .. } = message.body {
            let sent = self.commit_sent.entry((id, to)).or_default();
            *sent = commit.max(*sent);
        }
    }

    /// The voters to come that answered within the shortest election timeout are a majority (K43).
    fn check_voters_answer(&self, id: NodeId, write: &Write, member: &Member) {
        let Some(Source::Membership(next)) = write.append.as_ref().map(|append| &append.source)
        else {
            return;
        };
        let Some((_, peers)) = self.answered.get(&id).filter(|_| next.is_joint()) else { return };
        let limit = member.config.election_ticks_min;
        let voters = &next.parts().voters;
        let answers =
            |node: &&NodeId| **node == id || peers.get(*node).is_some_and(|ticks| *ticks < limit);
        let answering = voters.iter().filter(answers).count();
        let is_enough = 2 * answering > voters.len();
        assert!(is_enough, "K43: {id} appends {next}, of which {answering} voters answer");
    }

    /// Keeps the list of a leader's peers. One that it no longer sends to was told that its removal
    /// is committed (K23).
    fn check_peers(&mut self, id: NodeId, status: &Status) {
        let term = status.soft_state.term;
        if status.soft_state.role != RoleName::Leader {
            self.answered.remove(&id);
            return;
        }
        let (of, before) = self.answered.remove(&id).unwrap_or_default();
        let before = if of == term { before } else { BTreeMap::new() };
        let peers: BTreeMap<NodeId, u32> = status
            .peers
            .iter()
            .map(|peer| (peer.id, before.get(&peer.id).copied().unwrap_or(0)))
            .collect();
        for gone in before.keys().filter(|gone| !peers.contains_key(gone)) {
            let sent = self.commit_sent.get(&(id, *gone)).copied().unwrap_or_default();
            let left = status.membership_index;
            assert!(sent >= left, "K23: {id} does not tell {gone} that its removal is committed");
        }
        self.answered.insert(id, (term, peers));
    }

    /// No member truncates a committed entry that it has.
    fn check_truncation(&self, id: NodeId, write: &Write, image: &Image) {
        let Some(Removal::TruncateAfter(last)) = write.removal else { return };
        for (index, entry) in self.committed.range(last.next()..) {
            let has = image.term(*index) == Some(entry.term);
            assert!(!has, "L10: {id} truncates {index}@{}, which is committed", entry.term);
        }
    }

    fn check_vote(&mut self, id: NodeId, to: NodeId, message: &Message) {
        let candidate = match message.body {
            Body::Vote { .. } => id,
            Body::VoteResponse { granted: true } => to,
            _ => return,
        };
        let first = *self.votes.entry((id, message.term)).or_insert(candidate);
        let term = message.term;
        assert_eq!(first, candidate, "L7: {id} votes twice in term {term}");
    }

    /// Checks the laws between the members after each step of one of them.
    pub fn check_state(&mut self, id: NodeId, members: &Members) {
        let member = &members[&id];
        let Some(raft) = &member.raft else { return };
        let status = raft.status();
        assert_eq!(status.last.index, member.issued.last(), "the runner lost the log");
        let slowest = status.peers.iter().map(|peer| peer.matched).min();
        let wanted = slowest.unwrap_or(status.commit);
        assert_eq!(raft.stored_by_all(), wanted, "{id}: a peer still waits for entries");
        check_membership(id, &status, &member.issued);
        self.check_peers(id, &status);
        if raft.is_leader() {
            let first = *self.leaders.entry(raft.term()).or_insert(id);
            assert_eq!(first, id, "L1: two leaders in term {}", raft.term());
        }
        self.check_committed(id, members);
        for (other, peer) in members.iter().filter(|(other, _)| **other != id) {
            check_log_matching((id, &member.issued), (*other, &peer.issued));
        }
        self.check_leaders(members);
    }

    /// A committed entry never changes, and a majority of disks has it when its leader commits it.
    fn check_committed(&mut self, id: NodeId, members: &Members) {
        let member = &members[&id];
        let Some(raft) = &member.raft else { return };
        let status = raft.status();
        let known = self.committed.last_key_value().map_or(LogIndex::ZERO, |(index, _)| *index);
        // A step that commits may also replace the membership with which the copies were counted,
        // or end the leadership; so the copies are counted with both.
        let before = self.led_with.remove(&id);
        if raft.is_leader() {
            let now = status.membership.clone().expect("a leader has a membership");
            self.led_with.insert(id, now);
        }
        for membership in before.iter().chain(self.led_with.get(&id)) {
            if status.commit > known {
                check_copies(id, status.commit, membership, members);
            }
        }
        let first = member.issued.boundary.index.get() + 1;
        for index in (first..=status.commit.get()).map(LogIndex::new) {
            let term = member.issued.term(index).expect("committed entries are in the log");
            let new = Committed { term, by: raft.term() };
            let old = *self.committed.entry(index).or_insert(new);
            let was = old.term;
            assert_eq!(was, term, "L5: {id} commits {index}@{term}, which was {index}@{was}");
        }
    }

    /// A leader of a later term has every entry that was committed before.
    fn check_leaders(&self, members: &Members) {
        for (id, member) in members {
            let Some(raft) = member.raft.as_ref().filter(|raft| raft.is_leader()) else { continue };
            for (index, entry) in &self.committed {
                let covered = *index <= member.issued.boundary.index;
                let has = covered || member.issued.term(*index) == Some(entry.term);
                let term = entry.term;
                assert!(has || raft.term() <= entry.by, "L4: leader {id} lacks {index}@{term}");
            }
        }
    }
}

/// No member follows a leader whose log has another entry where one is committed here. A follower
/// can detect such a leader only where the logs meet in an append, so this is checked only in the
/// traces that show such a case.
pub fn check_follows_no_other_history(id: NodeId, members: &Members) {
    let Some(raft) = &members[&id].raft else { return };
    let leader = raft.leader().filter(|leader| *leader != id);
    let Some(leader) = leader.and_then(|leader| members[&leader].raft.as_ref()) else { return };
    for index in (1..=raft.commit().get()).map(LogIndex::new) {
        let own = raft.term_at(index);
        let theirs = leader.term_at(index);
        let same = own.is_none() || theirs.is_none() || own == theirs;
        assert!(same, "L10: {id} follows {}, which has another entry {index}", leader.id());
    }
}

fn check_copies(id: NodeId, commit: LogIndex, membership: &Membership, members: &Members) {
    let term = members[&id].issued.term(commit);
    for half in membership.halves() {
        let has = |node: &&NodeId| {
            let disk = &members[*node].disk;
            commit < disk.first_of_log() || disk.term(commit) == term
        };
        let copies = half.iter().filter(has).count();
        let needed = half.len() / 2 + 1;
        assert!(copies >= needed, "L6: {id} commits {commit}, of which {copies} disks hold a copy");
    }
}

/// The newest membership in the log is in force, and once it is committed, it leads out no member
/// that does not vote.
fn check_membership(id: NodeId, status: &Status, issued: &Image) {
    let newest = issued.memberships.last().map(|(_, membership)| membership);
    let newest = newest.or(issued.base.as_ref());
    assert_eq!(status.membership.as_ref(), newest, "L13: {id} has another membership in force");
    let Some(now) = newest.filter(|_| status.membership_index <= status.commit) else { return };
    let leads = status.soft_state.role == RoleName::Leader;
    let may_lead = now.is_joint() || now.is_voter(id);
    assert!(!leads || may_lead, "K23: {id} leads, and {now} is committed");
}

/// Memberships change one step at a time, each once the one before it is committed.
fn check_step(id: NodeId, write: &Write, member: &Member) {
    let Some(Source::Membership(next)) = write.append.as_ref().map(|append| &append.source) else {
        return;
    };
    let Some(raft) = &member.raft else { return };
    let newest = member.issued.memberships.last();
    let at = newest.map_or(member.issued.boundary.index, |(at, _)| *at);
    assert!(at <= raft.commit(), "L17: {id} appends {next}, and {at} is not committed");
    let own = raft.term_at(raft.commit()) == Some(raft.term());
    assert!(own, "L17: {id} appends {next} before it has committed an entry of its term");
    let Some(before) = newest.map(|(_, before)| before).or(member.issued.base.as_ref()) else {
        return;
    };
    let same = before.parts().voters == next.parts().voters;
    let follows =
        if next.is_joint() { next.parts().outgoing == before.parts().voters } else { same };
    let leaves = !(before.is_joint() && next.is_joint());
    assert!(follows && leaves, "L17: {id} appends {next} after {before}");
}

/// A candidate votes in a membership that is in force at its commit index or after it.
fn check_candidate(id: NodeId, role: RoleName, member: &Member) {
    let campaigns = matches!(role, RoleName::PreCandidate | RoleName::Candidate);
    let Some(raft) = member.raft.as_ref().filter(|_| campaigns) else { return };
    let commit = raft.commit();
    let later = member.issued.memberships.iter().filter(|(at, _)| *at > commit);
    let mut live = later.map(|(_, later)| later).chain(raft.membership_at(commit));
    assert!(live.any(|live| live.is_voter(id)), "K22: {id} campaigns, and is no voter");
}

/// Only a voter whose disk holds the leader's whole log is asked to campaign (K28).
fn check_timeout_now(id: NodeId, to: NodeId, message: &Message, members: &Members) {
    if message.body != Body::TimeoutNow {
        return;
    }
    let last = members[&id].issued.last();
    let term = members[&id].issued.term(last);
    let disk = &members[&to].disk;
    let has_all = disk.term(last) == term || last < disk.first_of_log();
    assert!(has_all, "K28: {id} asks {to} to campaign, which lacks {last}");
}

/// No proposals are appended while a leader hands over (K28), or after the entry that takes its
/// vote away (K23).
fn check_proposals(id: NodeId, write: &Write, member: &Member) {
    let source = write.append.as_ref().map(|appended| &appended.source);
    let Some(raft) = member.raft.as_ref().filter(|_| source == Some(&Source::Proposals)) else {
        return;
    };
    let target = raft.transfer_target();
    assert!(target.is_none(), "K28: {id} appends proposals while it hands over to {target:?}");
    let newest = member.issued.memberships.last().map(|(_, newest)| newest);
    let votes = newest.is_none_or(|newest| newest.is_voter(id));
    assert!(votes, "K23: {id} appends proposals, and is no voter");
}

/// Checks that nothing is promised that a power cut could undo.
fn check_promise(id: NodeId, to: NodeId, message: &Message, member: &Member) {
    let disk = &member.disk;
    match &message.body {
        Body::PreVote { .. } | Body::PreVoteResponse { .. } => return,
        Body::Vote { .. } => check_vote_durable(id, id, message.term, disk),
        Body::VoteResponse { granted: true } => check_vote_durable(id, to, message.term, disk),
        Body::AppendResponse { verdict: Verdict::Accepted { matched }, .. } => {
            for index in (disk.first_of_log().get()..=matched.get()).map(LogIndex::new) {
                let same = disk.term(index) == member.issued.term(index);
                let durable = same && disk.term(index).is_some();
                assert!(
                    durable,
                    "L6: {id} acknowledges {matched}, but {index} is not durable there"
                );
            }
        }
        _ => {}
    }
    check_term_durable(id, message, disk);
}

fn check_vote_durable(id: NodeId, candidate: NodeId, term: Term, disk: &Image) {
    let vote = HardState { term, vote: Some(candidate) };
    assert_eq!(disk.hard_state, vote, "L6: {id} shows a vote that is not durable on its disk");
}

fn check_term_durable(id: NodeId, message: &Message, disk: &Image) {
    let durable = disk.hard_state.term >= message.term;
    assert!(durable, "L6: {id} shows term {}, which is not durable on its disk", message.term);
}

/// Where two logs have an entry in common, they are equal up to it.
fn check_log_matching(one: (NodeId, &Image), other: (NodeId, &Image)) {
    let last = one.1.last().min(other.1.last());
    let first = one.1.boundary.index.max(other.1.boundary.index);
    let mut met = false;
    for index in (first.get() + 1..=last.get()).rev().map(LogIndex::new) {
        let same = one.1.term(index) == other.1.term(index);
        met |= same;
        assert!(same || !met, "L3: the logs of {} and {} differ at {index}", one.0, other.0);
        let alike = one.1.membership(index) == other.1.membership(index);
        assert!(!same || alike, "L3: {} and {} have two memberships at {index}", one.0, other.0);
    }
}
