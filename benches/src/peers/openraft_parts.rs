//! What openraft needs from its user: a log, a state machine that answers with nothing, and a
//! network between members of one process.

use std::collections::{BTreeMap, VecDeque};
use std::fmt::{self, Debug, Display};
use std::io;
use std::ops::{Bound, RangeBounds};
use std::path::Path;
use std::sync::mpsc::{Receiver, Sender, channel};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use bytes::Bytes;
use futures_util::{Stream, StreamExt, TryStreamExt};
use openraft::alias::{EntryOf, LogIdOf, SnapshotMetaOf, SnapshotOf, StoredMembershipOf, VoteOf};
use openraft::base::{BoxFuture, BoxStream};
use openraft::entry::RaftEntry;
use openraft::errors::{RPCError, ReplicationClosed, StreamingError, Unreachable};
use openraft::network::RPCOption;
use openraft::raft::{
    AppendEntriesRequest, AppendEntriesResponse, SnapshotResponse, StreamAppendResult, VoteRequest,
    VoteResponse,
};
use openraft::storage::{EntryResponder, IOFlushed, RaftLogStorage, RaftStateMachine};
use openraft::{
    EmptyNode, LogState, OptionalSend, Raft, RaftLogReader, RaftNetworkFactory, RaftNetworkV2,
    RaftSnapshotBuilder,
};

use crate::floor::{Aligned, FILE_BYTES, Layout, RawFile, Verb};

/// The command that is proposed.
#[derive(Clone, PartialEq, Eq)]
pub struct Command(pub Bytes);

impl Debug for Command {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} bytes", self.0.len())
    }
}

impl Display for Command {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        Debug::fmt(self, f)
    }
}

openraft::declare_raft_types!(
    /// The types of the measured cluster.
    pub Types: D = Command, R = (), NodeId = u64, Node = EmptyNode
);

/// A member.
pub type Member = Raft<Types, Machine>;

/// A log that its readers share.
#[derive(Clone)]
pub struct SharedLog {
    log: Arc<Mutex<Log>>,
    /// The channel to the thread that makes writes durable.
    disk: Option<Sender<Write>>,
}

#[derive(Default)]
struct Log {
    entries: VecDeque<EntryOf<Types>>,
    purged: Option<LogIdOf<Types>>,
    vote: Option<VoteOf<Types>>,
}

/// The bytes of a write for the disk's thread, and the callback after it.
type Write = (Vec<u8>, IOFlushed<Types>);

impl SharedLog {
    /// A log in memory; each write is finished at once.
    pub fn in_memory() -> SharedLog {
        SharedLog { log: Arc::default(), disk: None }
    }

    /// A log whose payloads also go to a pre-written file in `dir`. A thread writes all payloads
    /// that wait together, and syncs them with this verb. The log does not read them again.
    pub fn in_file(dir: &Path, name: &str, verb: Verb) -> io::Result<SharedLog> {
        let file = RawFile::create(dir, name, Layout::Prewritten, verb, FILE_BYTES)?;
        let (disk, writes) = channel();
        std::thread::Builder::new().name(name.to_owned()).spawn(move || sync_all(file, writes))?;
        Ok(SharedLog { log: Arc::default(), disk: Some(disk) })
    }

    fn lock(&self) -> MutexGuard<'_, Log> {
        self.log.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Writes and syncs until the log is dropped.
fn sync_all(mut file: RawFile, writes: Receiver<Write>) {
    while let Ok(first) = writes.recv() {
        let mut group = vec![first];
        group.extend(writes.try_iter());
        let bytes: Vec<u8> = group.iter().flat_map(|(bytes, _)| bytes).copied().collect();
        let synced = file.write_and_sync(&Aligned::new(&bytes));
        let failure = synced.err().map(|error| error.kind());
        for (_, flushed) in group {
            flushed.io_completed(failure.map_or(Ok(()), |kind| Err(kind.into())));
        }
    }
}

impl Log {
    fn first(&self) -> u64 {
        self.purged.as_ref().map_or(0, |id| id.index + 1)
    }

    fn range(&self, range: impl RangeBounds<u64>) -> Vec<EntryOf<Types>> {
        let first = self.first();
        let start = match range.start_bound() {
            Bound::Included(start) => *start,
            Bound::Excluded(start) => start + 1,
            Bound::Unbounded => first,
        };
        let end = match range.end_bound() {
            Bound::Included(end) => end + 1,
            Bound::Excluded(end) => *end,
            Bound::Unbounded => u64::MAX,
        };
        let from = start.saturating_sub(first) as usize;
        let to = (end.saturating_sub(first) as usize).min(self.entries.len());
        self.entries.range(from.min(to)..to).cloned().collect()
    }
}

impl RaftLogReader<Types> for SharedLog {
    async fn try_get_log_entries<RB>(&mut self, range: RB) -> io::Result<Vec<EntryOf<Types>>>
    where
        RB: RangeBounds<u64> + Clone + Debug + OptionalSend,
    {
        Ok(self.lock().range(range))
    }

    async fn read_vote(&mut self) -> io::Result<Option<VoteOf<Types>>> {
        Ok(self.lock().vote)
    }
}

impl RaftLogStorage<Types> for SharedLog {
    type LogReader = SharedLog;

    async fn get_log_state(&mut self) -> io::Result<LogState<Types>> {
        let log = self.lock();
        let last = log.entries.back().map(|entry| entry.log_id());
        Ok(LogState { last_purged_log_id: log.purged, last_log_id: last.or(log.purged) })
    }

    async fn get_log_reader(&mut self) -> SharedLog {
        self.clone()
    }

    async fn save_vote(&mut self, vote: &VoteOf<Types>) -> io::Result<()> {
        self.lock().vote = Some(*vote);
        Ok(())
    }

    async fn append<I>(&mut self, entries: I, flushed: IOFlushed<Types>) -> io::Result<()>
    where
        I: IntoIterator<Item = EntryOf<Types>> + OptionalSend,
        I::IntoIter: OptionalSend,
    {
        let Some(disk) = &self.disk else {
            self.lock().entries.extend(entries);
            flushed.io_completed(Ok(()));
            return Ok(());
        };
        let mut bytes = Vec::new();
        let mut log = self.log.lock().unwrap_or_else(PoisonError::into_inner);
        for entry in entries {
            if let openraft::EntryPayload::Normal(command) = &entry.payload {
                bytes.extend_from_slice(&command.0);
            }
            log.entries.push_back(entry);
        }
        drop(log);
        disk.send((bytes, flushed)).map_err(|_| io::Error::other("the disk's thread has ended"))
    }

    async fn truncate_after(&mut self, last: Option<LogIdOf<Types>>) -> io::Result<()> {
        let mut log = self.lock();
        let kept = last.map_or(0, |last| last.index + 1).saturating_sub(log.first());
        log.entries.truncate(kept as usize);
        Ok(())
    }

    async fn purge(&mut self, upto: LogIdOf<Types>) -> io::Result<()> {
        let mut log = self.lock();
        let count = (upto.index + 1).saturating_sub(log.first()) as usize;
        let count = count.min(log.entries.len());
        log.entries.drain(..count);
        log.purged = Some(upto);
        Ok(())
    }
}

/// A state machine that answers every command with nothing.
#[derive(Clone, Default)]
pub struct Machine {
    applied: Option<LogIdOf<Types>>,
    membership: StoredMembershipOf<Types>,
}

impl RaftStateMachine<Types> for Machine {
    type SnapshotData = ();
    type SnapshotBuilder = Machine;

    async fn applied_state(
        &mut self,
    ) -> io::Result<(Option<LogIdOf<Types>>, StoredMembershipOf<Types>)> {
        Ok((self.applied, self.membership.clone()))
    }

    async fn apply<Strm>(&mut self, mut entries: Strm) -> io::Result<()>
    where
        Strm: Stream<Item = io::Result<EntryResponder<Types>>> + Unpin + OptionalSend,
    {
        while let Some((entry, responder)) = entries.try_next().await? {
            self.applied = Some(entry.log_id());
            if let Some(membership) = entry.get_membership() {
                self.membership = StoredMembershipOf::<Types>::new(self.applied, membership);
            }
            if let Some(responder) = responder {
                responder.send(());
            }
        }
        Ok(())
    }

    async fn get_snapshot_builder(&mut self) -> Machine {
        self.clone()
    }

    async fn install_snapshot(
        &mut self,
        meta: &SnapshotMetaOf<Types>,
        _snapshot: (),
    ) -> io::Result<()> {
        self.applied = meta.last_log_id;
        self.membership = meta.last_membership.clone();
        Ok(())
    }

    async fn get_current_snapshot(&mut self) -> io::Result<Option<SnapshotOf<Types, ()>>> {
        Ok(None)
    }
}

impl RaftSnapshotBuilder<Types> for Machine {
    type SnapshotData = ();

    /// The policy requests no snapshot.
    async fn build_snapshot(&mut self) -> io::Result<SnapshotOf<Types, ()>> {
        Err(io::ErrorKind::Unsupported.into())
    }
}

/// The members of one process, by their ids.
#[derive(Clone, Default)]
pub struct Network {
    members: Arc<Mutex<BTreeMap<u64, Member>>>,
}

impl Network {
    /// Makes this member reachable.
    pub fn add(&self, id: u64, member: Member) {
        self.members().insert(id, member);
    }

    /// Makes all members unreachable.
    pub fn clear(&self) {
        self.members().clear();
    }

    fn members(&self) -> MutexGuard<'_, BTreeMap<u64, Member>> {
        self.members.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl RaftNetworkFactory<Types> for Network {
    type Network = Link;

    async fn new_client(&mut self, target: u64, _node: &EmptyNode) -> Link {
        Link { network: self.clone(), target }
    }
}

/// The connection to one member: direct calls, without copying.
pub struct Link {
    network: Network,
    target: u64,
}

impl Link {
    fn member(&self) -> Result<Member, RPCError<Types>> {
        let member = self.network.members().get(&self.target).cloned();
        member.ok_or_else(|| RPCError::Unreachable(gone(&io::Error::other("no such member"))))
    }
}

fn gone(error: &(impl std::error::Error + 'static)) -> Unreachable<Types> {
    Unreachable::new(error)
}

impl RaftNetworkV2<Types> for Link {
    type SnapshotData = ();

    async fn append_entries(
        &mut self,
        request: AppendEntriesRequest<Types>,
        _option: RPCOption,
    ) -> Result<AppendEntriesResponse<Types>, RPCError<Types>> {
        let answered = self.member()?.append_entries(request).await;
        answered.map_err(|error| RPCError::Unreachable(gone(&error)))
    }

    fn stream_append<'s, S>(
        &'s mut self,
        input: S,
        _option: RPCOption,
    ) -> BoxFuture<
        's,
        Result<BoxStream<'s, Result<StreamAppendResult<Types>, RPCError<Types>>>, RPCError<Types>>,
    >
    where
        S: Stream<Item = AppendEntriesRequest<Types>> + OptionalSend + Unpin + 'static,
    {
        let member = self.member();
        Box::pin(async move {
            let answers = member?.stream_append(input);
            let answers =
                answers.map(|one| one.map_err(|error| RPCError::Unreachable(gone(&error))));
            Ok(Box::pin(answers) as BoxStream<_>)
        })
    }

    async fn vote(
        &mut self,
        request: VoteRequest<Types>,
        _option: RPCOption,
    ) -> Result<VoteResponse<Types>, RPCError<Types>> {
        let answered = self.member()?.vote(request).await;
        answered.map_err(|error| RPCError::Unreachable(gone(&error)))
    }

    async fn full_snapshot(
        &mut self,
        _vote: VoteOf<Types>,
        _snapshot: SnapshotOf<Types, ()>,
        _cancel: impl Future<Output = ReplicationClosed> + OptionalSend + 'static,
        _option: RPCOption,
    ) -> Result<SnapshotResponse<Types>, StreamingError<Types>> {
        let none = io::Error::from(io::ErrorKind::Unsupported);
        Err(StreamingError::Unreachable(gone(&none)))
    }
}
