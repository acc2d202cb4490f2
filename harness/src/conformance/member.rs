//! A running member on the store under test: the engine's own write path, with a [`Gate`] in front
//! of the store's writes, a state machine that records its commands, and peers that a check
//! controls.

use std::collections::BTreeSet;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use bytes::Bytes;
use raft_core::consensus::{Body, Message, Round, Verdict};
use raft_core::storage::LogReader;
use raft_core::types::{Entry, EntryId, LogIndex, LogSpan, Membership, NodeId, Term};
use raft_node::{
    Committed, Content, Envelope, Fatal, Inbound, Limits, Node, NodeConfig, NodeStatus,
};
use raft_node::{ProposeError, Replies, StateMachine, Timing, Transport, bootstrap};
use tokio::sync::watch;
use tokio::task::JoinHandle;

use super::contents::in_short;
use super::gate::Gate;
use super::report::{Checked, broken};
use super::samples::{index, node, sized_entry};
use super::subject::Subject;

/// The answer to a client.
pub(crate) type Answer = Result<Bytes, ProposeError>;

/// A number of ticks that never pass, so that no check depends on how long anything takes.
const NEVER: u32 = 1 << 30;

/// A member of the engine that runs on the subject's store.
pub(crate) struct Member {
    pub(crate) gate: Arc<Gate>,
    pub(crate) node: Node,
    pub(crate) peers: Arc<Peers>,
    applied: Arc<Mutex<Vec<Applied>>>,
    reader: Box<dyn LogReader>,
}

/// What remains of a member whose handle was dropped.
pub(crate) struct StoppedMember {
    pub(crate) gate: Arc<Gate>,
    applied: Arc<Mutex<Vec<Applied>>>,
}

/// What the other members of the cluster do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum PeerBehavior {
    /// There are no other members.
    Alone,
    /// Two members vote for this one, and acknowledge at once everything that it sends.
    Agreeing,
    /// Two members send only what the check makes them send; this member follows them.
    Leading,
}

/// A command that the state machine applied.
struct Applied {
    id: EntryId,
    command: Bytes,
    /// Whether the store had acknowledged it by then.
    is_durable: bool,
}

impl Member {
    /// Starts a member on the subject's store. It becomes leader and idle, unless its peers lead.
    pub(crate) async fn start(
        log: &mut Subject,
        behavior: PeerBehavior,
        limits: Limits,
    ) -> Checked<Member> {
        let (journal, way, model) = (log.journal().clone(), log.way(), log.model.clone());
        let (gate, mut store) = Gate::before(log.lend(), model, journal, way);
        let size = if behavior == PeerBehavior::Alone { 1 } else { 3 };
        let voters = (1..=size).map(|number| (node(number), Bytes::new()));
        let membership =
            Membership::of_voters(voters).expect("a membership of voters only is valid");
        if let Err(error) = bootstrap(store.as_mut(), "persist", node(1), &membership).await {
            gate.check()?;
            return broken(13, format!("no member can be made of the store: {error}"));
        }
        let (reader, applied) = (store.reader(), Arc::default());
        let machine = RecordingMachine { gate: Arc::clone(&gate), applied: Arc::clone(&applied) };
        let peers = Peers::new(behavior, Arc::clone(&gate));
        let transport = Box::new(PeersTransport(Arc::clone(&peers)));
        let config = NodeConfig { timing: timing(behavior), limits, ..NodeConfig::default() };
        let node = match Node::start(config, store, transport, Box::new(machine)).await {
            Ok(node) => node,
            Err(error) => {
                gate.check()?;
                return broken(18, format!("no member starts on the store: {error}"));
            }
        };
        log.note("a member of the engine runs on the store");
        let member = Member { gate, node, peers, applied, reader };
        if behavior != PeerBehavior::Leading {
            member.wait_until_idle().await?;
        }
        Ok(member)
    }

    /// Waits until the member leads and has nothing left to write.
    async fn wait_until_idle(&self) -> Checked {
        let leads = self.node.wait_for_leader().await.is_some();
        if !leads || self.node.barrier().await.is_err() {
            return self.report_failure("the member does not become leader");
        }
        Ok(())
    }

    /// Waits until the engine has requested `asked` writes in total.
    pub(crate) async fn wait_for_asked(&self, asked: u64) -> Checked {
        self.gate.wait_for_asked(asked).await;
        if self.gate.asked() >= asked {
            Ok(())
        } else {
            self.report_failure("the member ended while a write was waited for")
        }
    }

    /// Waits until entries up to `upto` were sent to the peers, which acknowledge them at once.
    pub(crate) async fn wait_for_sent(&self, upto: LogIndex) -> Checked {
        let mut sent = self.peers.sent.subscribe();
        self.or_ended(async { sent.wait_for(|sent| *sent >= upto).await.is_ok() }).await
    }

    /// Waits for an acknowledgement in a term, up to an index.
    pub(crate) async fn wait_for_ack(&self, term: Term, upto: LogIndex) -> Checked {
        let mut acks = self.peers.acks.subscribe();
        let is_it = |ack: &Ack| ack.term == term && ack.matched >= upto;
        self.or_ended(async { acks.wait_for(|acks| acks.iter().any(is_it)).await.is_ok() }).await
    }

    /// Waits until there are `count` acknowledgements.
    pub(crate) async fn wait_for_acks(&self, count: usize) -> Checked {
        let mut acks = self.peers.acks.subscribe();
        self.or_ended(async { acks.wait_for(|acks| acks.len() >= count).await.is_ok() }).await
    }

    /// Waits for an event that the end of the member would prevent. If the member ends, that is an
    /// error.
    async fn or_ended(&self, awaited: impl Future<Output = bool>) -> Checked {
        let has_come = tokio::select! {
            has_come = awaited => has_come,
            () = self.gate.wait_for_end() => false,
        };
        if has_come {
            Ok(())
        } else {
            self.report_failure("the member ended while its messages were awaited")
        }
    }

    /// The engine did not do what it does on a sound store: reports the failure of the store that
    /// caused it, or panics if the engine itself is at fault.
    fn report_failure<T>(&self, what: &str) -> Checked<T> {
        self.gate.check()?;
        match &self.node.status().stopped {
            // The parts of a member that run the store have such names.
            Some(why) if why.starts_with("the log") && why.contains(" panicked: ") => {
                broken(20, format!("the member stopped: {why}"))
            }
            Some(why) => broken(11, format!("the member stopped because it could not read: {why}")),
            None => panic!("the engine, not the store: {what}"),
        }
    }

    /// Clients, each in its own task, propose the commands with these numbers.
    pub(crate) fn propose(
        &self,
        numbers: impl IntoIterator<Item = u64>,
    ) -> Vec<(u64, JoinHandle<Answer>)> {
        let client = |number| {
            let (node, command) = (self.node.clone(), command(number));
            (number, tokio::spawn(async move { node.propose(command).await }))
        };
        numbers.into_iter().map(client).collect()
    }

    /// Waits until `clients` clients wait for their answers.
    pub(crate) async fn wait_for_waiting(&self, clients: u64) -> Checked {
        self.wait_for(|status| status.proposals_waiting >= clients).await
    }

    /// Waits until the condition holds for the status.
    pub(crate) async fn wait_for(&self, holds: impl Fn(&NodeStatus) -> bool) -> Checked {
        let mut watched = self.node.watch_status();
        let found = watched.wait_for(|status| status.closed || holds(status)).await;
        if found.is_ok_and(|status| holds(&status)) {
            Ok(())
        } else {
            self.report_failure("the member ended while the check waited for it")
        }
    }

    /// Lets the engine's clock tick a few times, so that it has done whatever it may do now.
    pub(crate) async fn tick(&self) {
        let mut watched = self.node.watch_status();
        for _ in 0..4 {
            // A member that has ended does not tick; the check continues and will notice it.
            if watched.changed().await.is_err() {
                return;
            }
        }
    }

    /// Checks that all these clients are answered correctly: each client's command must be in
    /// the store, and no other client may have the same answer.
    pub(crate) async fn all_answered(
        &mut self,
        clients: Vec<(u64, JoinHandle<Answer>)>,
    ) -> Checked<Vec<LogIndex>> {
        let mut answered = Vec::new();
        for (number, client) in clients {
            let answer = client.await.expect("no client panics");
            answered.push(self.check_answer(number, answer).await?);
        }
        let mut sorted = answered.clone();
        sorted.sort_unstable();
        sorted.dedup();
        assert_eq!(sorted.len(), answered.len(), "the engine: two clients have one answer");
        Ok(answered)
    }

    /// The answer is the index of the command's entry, which must be readable.
    async fn check_answer(&mut self, number: u64, answer: Answer) -> Checked<LogIndex> {
        let index = match answer {
            Ok(answer) => index_of(&answer),
            Err(error) => {
                return self.report_failure(&format!("proposal {number} was answered: {error}"));
            }
        };
        let shown = match self.reader.read(index..index.next(), u64::MAX).await {
            Ok(found) => match found.first() {
                Some(entry) if entry.payload == command(number) => return Ok(index),
                Some(entry) => in_short(entry),
                None => return broken(10, format!("a read of {index} alone returned nothing")),
            },
            Err(error) => error.to_string(),
        };
        broken(
            11,
            format!("proposal {number} was answered, but a reader shows at {index}: {shown}"),
        )
    }

    /// The number of times that the state machine applied this command.
    pub(crate) fn times_applied(&self, number: u64) -> usize {
        let wanted = command(number);
        lock(&self.applied).iter().filter(|applied| applied.command == wanted).count()
    }

    /// Shuts the member down, and returns the store to the subject; it must hold what it
    /// acknowledged.
    pub(crate) async fn shut_down(self, log: &mut Subject) -> Checked {
        self.node.shutdown().await;
        assert!(self.gate.is_back(), "the engine: shut down, but the store is in use");
        let is_closed = self.gate.is_closed();
        self.drop_handle().return_store(log).await?;
        assert!(is_closed, "the engine: shut down, but the store was not closed");
        Ok(())
    }

    /// Drops the handle of the member, which then shuts down.
    pub(crate) fn drop_handle(self) -> StoppedMember {
        let Member { gate, applied, .. } = self;
        StoppedMember { gate, applied }
    }
}

impl StoppedMember {
    /// Waits until the engine releases the store, and returns it to the subject; it must hold what
    /// it acknowledged.
    pub(crate) async fn return_store(self, log: &mut Subject) -> Checked {
        let store = self.gate.take_back().await;
        self.gate.check()?;
        let applied = std::mem::take(&mut *lock(&self.applied));
        assert!(
            applied.iter().all(|one| one.is_durable),
            "the engine breaks L6: applied too early"
        );
        assert!(
            applied.is_sorted_by(|one, next| one.id.index < next.id.index),
            "the engine: applied twice"
        );
        log.take_back(store, self.gate.model()).await
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

fn timing(behavior: PeerBehavior) -> Timing {
    let (election_ticks_min, election_ticks_max) = match behavior {
        PeerBehavior::Alone => (2, 4),
        PeerBehavior::Agreeing => (10, 20),
        PeerBehavior::Leading => (NEVER, NEVER + 1),
    };
    Timing {
        heartbeat_ticks: 1,
        election_ticks_min,
        election_ticks_max,
        stall_ticks: NEVER,
        ..Timing::default()
    }
}

/// Limits under which no request is given up because it takes too long.
pub(crate) fn limits_without_timeouts() -> Limits {
    let ticks = u64::from(NEVER);
    Limits { proposal_ticks: ticks, read_ticks: ticks, ..Limits::default() }
}

/// The command with this number, of up to a few hundred bytes.
fn command(number: u64) -> Bytes {
    sized_entry(number, 0, 0, 16 + (number * 131 % 300) as usize).payload
}

fn index_of(answer: &[u8]) -> LogIndex {
    let text = std::str::from_utf8(answer).expect("the state machine answers with a number");
    index(text.parse().expect("the state machine answers with a number"))
}

/// A state machine that records its commands, and answers with the index.
struct RecordingMachine {
    gate: Arc<Gate>,
    applied: Arc<Mutex<Vec<Applied>>>,
}

impl StateMachine for RecordingMachine {
    fn apply(&mut self, commands: &[Committed], replies: &mut Replies) -> Result<(), Fatal> {
        let mut applied = lock(&self.applied);
        for Committed { id, command } in commands {
            let is_durable = self.gate.has_acknowledged(*id);
            applied.push(Applied { id: *id, command: command.clone(), is_durable });
            replies.push(Bytes::from(id.index.to_string()));
        }
        Ok(())
    }

    fn read(&self, _query: &[u8]) -> Bytes {
        Bytes::new()
    }

    fn is_cheap(&self) -> bool {
        true
    }
}

/// The other members, if there are any.
pub(crate) struct Peers {
    behavior: PeerBehavior,
    gate: Arc<Gate>,
    inbound: Mutex<Option<Arc<dyn Inbound>>>,
    /// The last index that was sent.
    sent: watch::Sender<LogIndex>,
    /// All acknowledgements of this member to its leaders.
    acks: watch::Sender<Vec<Ack>>,
}

/// An acknowledgement, and what the store held when it was sent.
#[derive(Clone, Debug)]
pub(crate) struct Ack {
    pub(crate) term: Term,
    pub(crate) matched: LogIndex,
    pub(crate) held: Vec<EntryId>,
}

impl Peers {
    fn new(behavior: PeerBehavior, gate: Arc<Gate>) -> Arc<Peers> {
        let (sent, acks) = (watch::Sender::default(), watch::Sender::default());
        Arc::new(Peers { behavior, gate, inbound: Mutex::default(), sent, acks })
    }

    /// All acknowledgements so far.
    pub(crate) fn acks(&self) -> Vec<Ack> {
        self.acks.borrow().clone()
    }

    /// One of the peers, as the leader of a term, sends entries that follow `prev`.
    pub(crate) fn lead(&self, from: NodeId, term: Term, prev: EntryId, entries: Vec<Entry>) {
        let span = LogSpan::of_term(prev, term, entries.len() as u64);
        let body = Body::Append { span, commit: index(1), round: Round(0) };
        self.send(from, Message::new(term, body), entries);
    }

    fn send(&self, from: NodeId, message: Message, entries: Vec<Entry>) {
        // The member may take a turn, and send messages, before this returns.
        let inbound = lock(&self.inbound).clone();
        if let Some(inbound) = inbound {
            let cluster = inbound.identity().cluster;
            let content = Content::Raft { message, entries: entries.into() };
            inbound.deliver(from, Envelope { cluster, content });
        }
    }

    fn receive(&self, to: NodeId, message: Message) {
        let term = message.term;
        if self.behavior == PeerBehavior::Leading {
            return self.note_ack(&message);
        }
        let (term, answer) = match message.body {
            Body::PreVote { .. } => (term, Body::PreVoteResponse { asked: term, granted: true }),
            Body::Vote { .. } => (term, Body::VoteResponse { granted: true }),
            Body::Append { span, round, .. } => {
                let verdict = Verdict::Accepted { matched: span.last() };
                self.sent.send_modify(|sent| *sent = span.last().max(*sent));
                (term, Body::AppendResponse { verdict, round })
            }
            _ => return,
        };
        self.send(to, Message::new(term, answer), Vec::new());
    }

    fn note_ack(&self, message: &Message) {
        if let Body::AppendResponse { verdict: Verdict::Accepted { matched }, .. } = message.body {
            let held = self.gate.model().entries.iter().map(|entry| entry.id).collect();
            let ack = Ack { term: message.term, matched, held };
            self.acks.send_modify(|acks| acks.push(ack));
        }
    }
}

/// The member's transport, which delivers messages to its peers.
struct PeersTransport(Arc<Peers>);

impl Transport for PeersTransport {
    fn start(&mut self, inbound: Arc<dyn Inbound>) {
        *lock(&self.0.inbound) = Some(inbound);
    }

    fn send(&mut self, to: NodeId, _address: Option<&[u8]>, envelope: Envelope) -> bool {
        if let Content::Raft { message, .. } = envelope.content {
            self.0.receive(to, message);
        }
        true
    }

    fn retain(&mut self, _members: &BTreeSet<NodeId>) {}

    fn connect(&mut self, _node: NodeId, _address: Option<&[u8]>) {}
}

impl Drop for PeersTransport {
    fn drop(&mut self) {
        *lock(&self.0.inbound) = None;
    }
}
