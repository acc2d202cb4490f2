//! The handle of a running member: propose, read, watch, shut down.

use std::future::poll_fn;
use std::sync::Arc;
use std::task::{Context, Poll};

use bytes::Bytes;
use raft_core::storage::Store;
use raft_core::types::{EntryId, LogIndex, Membership, NodeId, StoreId};
use tokio::sync::broadcast::error::RecvError;
use tokio::sync::{Mutex, broadcast, watch};

use crate::application::StateMachine;
use crate::config::NodeConfig;
use crate::member::Member;
use crate::member::clients::ReadAnswer;
use crate::member::scheduler::drive;
use crate::member::status::{NodeEvent, NodeStatus};
use crate::pump::{ChangeError, Event, Limits, TransferError};
use crate::requests::batcher::Next;
use crate::requests::consistency::Consistency;
use crate::requests::error::{ProposeError, ReadError, SnapshotError};
use crate::requests::reply::OpenBatch;
use crate::sessions::{SessionAnswer, SessionError, SessionRequest};
use crate::start::{HasEnded, StartError, start};
use crate::transport::Transport;

/// A running member. Cloning gives another handle to the same one; when the last handle is dropped,
/// the member closes.
///
/// ```
/// use bytes::Bytes;
/// use raft_node::{
///     Committed, Fatal, InProcessNetwork, Node, NodeConfig, Replies, StateMachine, bootstrap,
/// };
/// # use raft_core::types::{Membership, NodeId};
///
/// /// Remembers the last command.
/// struct Last(Bytes);
///
/// impl StateMachine for Last {
///     fn apply(&mut self, commands: &[Committed], replies: &mut Replies) -> Result<(), Fatal> {
///         for committed in commands {
///             replies.push(std::mem::replace(&mut self.0, committed.command.clone()));
///         }
///         Ok(())
///     }
///
///     fn read(&self, _query: &[u8]) -> Bytes {
///         self.0.clone()
///     }
/// }
///
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
/// let id = NodeId::new(1).ok_or("not zero")?;
/// let membership = Membership::of_voters([(id, Bytes::new())])?;
/// let mut store = log_memory::MemoryLog::new();
/// bootstrap(&mut store, "an example", id, &membership).await?;
/// let transport = InProcessNetwork::new().transport();
/// let machine = Box::new(Last(Bytes::new()));
/// let node = Node::start(NodeConfig::default(), Box::new(store), transport, machine).await?;
///
/// node.wait_for_leader().await.ok_or("the member ended")?;
/// assert_eq!(node.propose("one".into()).await?, "", "there was none before");
/// assert_eq!(node.propose("two".into()).await?, "one");
/// assert_eq!(node.read(Bytes::new()).await?, "two");
/// node.shutdown().await;
/// # Ok(())
/// # }
/// ```
#[derive(Clone)]
pub struct Node {
    inner: Arc<Inner>,
}

struct Inner {
    member: Arc<Member>,
    has_ended: Mutex<Vec<HasEnded>>,
}

impl Drop for Inner {
    fn drop(&mut self) {
        self.member.post(Event::Close);
    }
}

impl Node {
    /// Starts a member on the runtime of the caller. The store must have been bootstrapped before.
    ///
    /// # Errors
    /// Nothing was changed, and nothing runs. Whether to try again depends on the error.
    pub async fn start(
        config: NodeConfig,
        store: Box<dyn Store>,
        transport: Box<dyn Transport>,
        machine: Box<dyn StateMachine>,
    ) -> Result<Node, StartError> {
        let (member, has_ended) = start(config, store, transport, machine, false).await?;
        Ok(Node { inner: Arc::new(Inner { member, has_ended: Mutex::new(has_ended) }) })
    }

    /// Like [`Node::start`], but the log may be blank: the store was prepared to join a running
    /// cluster ([`join`](crate::join)). The member waits until a leader sends it the log, which
    /// happens once the cluster's membership has it ([`Node::change_membership`]). It does not vote
    /// before. A member that has joined may be started either way.
    ///
    /// # Errors
    /// As for [`Node::start`].
    pub async fn join(
        config: NodeConfig,
        store: Box<dyn Store>,
        transport: Box<dyn Transport>,
        machine: Box<dyn StateMachine>,
    ) -> Result<Node, StartError> {
        let (member, has_ended) = start(config, store, transport, machine, true).await?;
        Ok(Node { inner: Arc::new(Inner { member, has_ended: Mutex::new(has_ended) }) })
    }

    /// Proposes a command at any member, and waits until it is applied here; returns the state
    /// machine's answer. If too many proposals wait already, it first waits until it fits into the
    /// quota, in the order of arrival. While no leader is known it fails at once instead.
    ///
    /// Dropping the future does not withdraw the command.
    ///
    /// # Errors
    /// Each states whether the command may have been applied, and whether to try again: see
    /// [`ProposeError`].
    pub async fn propose(&self, command: Bytes) -> Result<Bytes, ProposeError> {
        let size = self.check_size(&command)?;
        self.inner.member.quotas.proposals.acquire(size).await;
        self.hand_in(command).await
    }

    /// Like [`Node::propose`], but does not wait for the quota.
    ///
    /// # Errors
    /// [`ProposeError::Busy`] if it would have to wait; nothing happened. Otherwise those of
    /// [`Node::propose`].
    pub async fn try_propose(&self, command: Bytes) -> Result<Bytes, ProposeError> {
        let size = self.check_size(&command)?;
        if !self.inner.member.quotas.proposals.try_acquire(size) {
            return Err(ProposeError::Busy);
        }
        self.hand_in(command).await
    }

    /// Proposes many commands, in order; the answers come in the same order, each as from
    /// [`Node::propose`]. Other clients' commands may be applied between them, and some of them may
    /// fail while others succeed.
    pub async fn propose_many(
        &self,
        commands: impl IntoIterator<Item = Bytes>,
    ) -> Vec<Result<Bytes, ProposeError>> {
        let member = &self.inner.member;
        let mut replies = Vec::new();
        for command in commands {
            replies.push(match self.check_size(&command) {
                Ok(size) => {
                    member.quotas.proposals.acquire(size).await;
                    let (reply, next) = member.mailbox.propose(command, None);
                    self.follow(next);
                    Ok(reply)
                }
                Err(error) => Err(error),
            });
        }
        let mut results = Vec::with_capacity(replies.len());
        for reply in replies {
            results.push(match reply {
                Ok(reply) => reply.await,
                Err(error) => Err(error),
            });
        }
        results
    }

    fn check_size(&self, command: &Bytes) -> Result<u64, ProposeError> {
        let (size, limit) = (command.len() as u64, self.inner.member.limits.command_bytes);
        if size > limit { Err(ProposeError::TooLarge { size, limit }) } else { Ok(size) }
    }

    /// The limits of this member.
    pub(crate) fn limits(&self) -> &Limits {
        &self.inner.member.limits
    }

    /// The size of the command of a request of a session.
    pub(crate) fn check_request_size(&self, command: &Bytes) -> Result<u64, SessionError> {
        let (size, limit) = (command.len() as u64, self.limits().command_bytes);
        if size > limit { Err(SessionError::TooLarge { size, limit }) } else { Ok(size) }
    }

    /// Makes a request of a session, with a command of so many bytes, and waits for the answer.
    pub(crate) async fn make(
        &self,
        request: SessionRequest,
        size: u64,
    ) -> Result<SessionAnswer, SessionError> {
        let member = &self.inner.member;
        member.quotas.proposals.acquire(size).await;
        let mut open = OpenBatch::new();
        let reply = open.join(size as u32, None);
        member.mailbox.push(Event::Session { request, client: open.seal() });
        drive(member);
        reply.await
    }

    /// Puts a command into the mailbox, and waits for the answer.
    async fn hand_in(&self, command: Bytes) -> Result<Bytes, ProposeError> {
        let mailbox = &self.inner.member.mailbox;
        let mut command = Some(command);
        let join = |context: &mut Context<'_>| {
            let command = command.take().expect("polled once");
            Poll::Ready(mailbox.propose(command, Some(context.waker())))
        };
        let (reply, next) = poll_fn(join).await;
        self.follow(next);
        reply.await
    }

    fn follow(&self, next: Next) {
        match next {
            Next::TakeTurn => drive(&self.inner.member),
            Next::WakeDriver => self.inner.member.mailbox.wake_driver(),
            Next::Nothing => {}
        }
    }

    /// Queries the state machine for its current state: the answer includes everything that was
    /// answered to any client of the cluster before the call (a linearizable read).
    ///
    /// # Errors
    /// Nothing was changed; see [`ReadError`] for whether to try again.
    pub async fn read(&self, query: Bytes) -> Result<Bytes, ReadError> {
        Ok(self.ask(Some(query), Consistency::Linearizable).await?.answer)
    }

    /// Queries the state machine for a state that is as new as `consistency` says. The answer comes
    /// with an index, with which a later read at any member can ask for a state that is not older.
    ///
    /// ```no_run
    /// # async fn example(one: raft_node::Node, other: raft_node::Node) -> Result<(),
    /// raft_node::ReadError> { use raft_node::Consistency;
    ///
    /// let first = one.read_with("key".into(), Consistency::Lease).await?;
    /// let at_least = Consistency::AtLeast { index: first.index };
    /// let second = other.read_with("key".into(), at_least).await?;
    /// assert!(second.index >= first.index);
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    /// Nothing was changed; see [`ReadError`] for whether to try again.
    pub async fn read_with(
        &self,
        query: Bytes,
        consistency: Consistency,
    ) -> Result<ReadAnswer, ReadError> {
        self.ask(Some(query), consistency).await
    }

    /// Waits until everything that was answered to any client of the cluster before the call has
    /// been applied here. A program that shares its state machine's state may then read it
    /// directly. Returns an index that was committed when the call returned, and includes all that.
    ///
    /// # Errors
    /// As for [`Node::read`].
    pub async fn barrier(&self) -> Result<LogIndex, ReadError> {
        Ok(self.ask(None, Consistency::Linearizable).await?.index)
    }

    async fn ask(
        &self,
        query: Option<Bytes>,
        consistency: Consistency,
    ) -> Result<ReadAnswer, ReadError> {
        let member = &self.inner.member;
        let size = query.as_ref().map_or(0, Bytes::len) as u64;
        if size > member.limits.read_bytes {
            return Err(ReadError::TooLarge { size, limit: member.limits.read_bytes });
        }
        if !member.quotas.reads.try_acquire(size) {
            return Err(ReadError::Busy);
        }
        let (reply, next) = member.mailbox.read(query, consistency);
        self.follow(next);
        reply.await
    }

    /// Hands the leadership of this member over to another voter, and waits until that one leads.
    /// Proposals of this member's clients wait meanwhile, and then go to the next leader; proposals
    /// that other members forward are refused meanwhile.
    ///
    /// # Errors
    /// Each states what happened: see [`TransferError`]. It may be tried again.
    pub async fn transfer(&self, to: NodeId) -> Result<(), TransferError> {
        let mut events = self.events();
        let mut status = self.watch_status();
        let own = self.status().identity.node;
        self.inner.member.post(Event::Transfer { to });
        loop {
            let event = tokio::select! {
                event = events.recv() => event,
                _ = status.wait_for(|now| now.closed) => return Err(TransferError::Closed),
            };
            match event {
                Ok(NodeEvent::TransferFailed { to: failed, why }) if failed == to => {
                    return Err(why);
                }
                Ok(NodeEvent::Stopped(_)) | Err(RecvError::Closed) => {
                    return Err(TransferError::Closed);
                }
                // The newest status shows what a missed event may have said.
                Ok(_) | Err(RecvError::Lagged(_)) => {}
            }
            match self.status().raft.soft_state.leader {
                Some(leader) if leader == to => return Ok(()),
                Some(leader) if leader != own => return Err(TransferError::OtherLeader(leader)),
                _ => {}
            }
        }
    }

    /// Changes the membership to `target`, the whole way, and waits until that is committed;
    /// returns the membership then. This member must lead. New members become learners first; the
    /// new voters among them are brought up to date, and only then do the voters change. The
    /// cluster serves all the time. [`Membership::target`] gives the parts from which to build a
    /// target.
    ///
    /// A leader that the change leaves without a vote hands over once the change is committed, and
    /// stops if it was removed.
    ///
    /// One change is made at a time. [`NodeStatus::change`] and [`NodeEvent::ChangeStage`] show its
    /// progress. Dropping the future does not cancel the change; [`Node::cancel_change`] does.
    ///
    /// # Errors
    /// Each states what became of the change, and whether to ask again: see [`ChangeError`]. The
    /// same change may always be asked for again: what is done already is not done again.
    pub async fn change_membership(
        &self,
        target: Membership,
    ) -> Result<Arc<Membership>, ChangeError> {
        self.change(None, target).await
    }

    /// As [`Node::change_membership`], if `from` is the membership in force. A target is a whole
    /// set, so this keeps a change that was planned before another one from undoing that one.
    ///
    /// # Errors
    /// [`ChangeError::OtherMembership`] if another membership is in force; nothing happened.
    /// Otherwise those of [`Node::change_membership`].
    pub async fn change_membership_from(
        &self,
        from: Arc<Membership>,
        target: Membership,
    ) -> Result<Arc<Membership>, ChangeError> {
        self.change(Some(from), target).await
    }

    async fn change(
        &self,
        from: Option<Arc<Membership>>,
        target: Membership,
    ) -> Result<Arc<Membership>, ChangeError> {
        let member = &self.inner.member;
        let mut open = OpenBatch::new();
        let reply = open.join(0, None);
        let (target, client) = (Arc::new(target), open.seal());
        member.mailbox.push(Event::ChangeMembership { from, target, client });
        drive(member);
        reply.await
    }

    /// Gives up the change of the membership that this leader makes, unless the new voters are in
    /// the log already: they are in force from then on. Members that were added as learners stay.
    /// The call of [`Node::change_membership`] returns [`ChangeError::Cancelled`] if this was in
    /// time.
    pub fn cancel_change(&self) {
        let member = &self.inner.member;
        member.mailbox.push(Event::CancelChange);
        drive(member);
    }

    /// The store of another member: from the membership, or from a handshake with it since. `None`
    /// if this member has neither; a node that was added and has never been started has none.
    pub fn store_of(&self, node: NodeId) -> Option<StoreId> {
        self.inner.member.admission.store_of(node)
    }

    /// Takes a snapshot of everything that is applied here now, and waits until it is durable.
    /// Returns the last entry that it includes. Returns at once if the newest snapshot includes
    /// everything already.
    ///
    /// Dropping the future does not stop the snapshot.
    ///
    /// # Errors
    /// No snapshot was taken; see [`SnapshotError`] for whether to try again.
    pub async fn snapshot(&self) -> Result<EntryId, SnapshotError> {
        let member = &self.inner.member;
        let mut open = OpenBatch::new();
        let reply = open.join(0, None);
        member.mailbox.push(Event::TakeSnapshot { client: open.seal() });
        drive(member);
        reply.await
    }

    /// The member as of its last tick or change of role.
    pub fn status(&self) -> Arc<NodeStatus> {
        self.inner.member.publisher.latest()
    }

    /// A receiver of the member's status, with which a caller can wait for a change.
    ///
    /// ```no_run
    /// # async fn example(node: raft_node::Node) -> Result<(), Box<dyn std::error::Error>> {
    /// // Until this member has applied a hundred entries, or has ended.
    /// let mut status = node.watch_status();
    /// status.wait_for(|now| now.closed || now.applied.get() >= 100).await?;
    /// # Ok(())
    /// # }
    /// ```
    pub fn watch_status(&self) -> watch::Receiver<Arc<NodeStatus>> {
        self.inner.member.publisher.watch()
    }

    /// Waits until a leader is known, and returns it; `None` if the member ends first.
    pub async fn wait_for_leader(&self) -> Option<NodeId> {
        let mut status = self.watch_status();
        let known = |now: &Arc<NodeStatus>| now.closed || now.raft.soft_state.leader.is_some();
        let now = status.wait_for(known).await.ok()?;
        now.raft.soft_state.leader.filter(|_| !now.closed)
    }

    /// The member's events from now on. A receiver that lags 256 events behind misses the oldest.
    pub fn events(&self) -> broadcast::Receiver<NodeEvent> {
        self.inner.member.publisher.subscribe()
    }

    /// Closes the member: proposals that wait are answered [`ProposeError::Unknown`], the write in
    /// flight is finished, and the store is closed when this returns, so that it may be opened
    /// again. A member that has stopped by itself is already closed; this then returns once its
    /// tasks and threads are gone.
    pub async fn shutdown(&self) {
        let member = &self.inner.member;
        member.post(Event::Close);
        drive(member);
        let mut has_ended = self.inner.has_ended.lock().await;
        for ended in has_ended.drain(..) {
            // An error means that the part has ended, too.
            let _ = ended.await;
        }
        member.admission.saved().await;
    }
}
