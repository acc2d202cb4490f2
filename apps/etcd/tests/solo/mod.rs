//! This server on a member without a cluster: each command is applied at once, unless the test
//! makes it fail first.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex};

use bytes::Bytes;
use kontiki::types::{ClusterId, EntryId, LogIndex, NodeId, StoreId, Term};
use kontiki::{Committed, Replies, StateMachine};
use kontiki_etcd::engine::{
    ChangeError, ClusterMember, Membership, MembershipStatus, NodeEvent, ProposeError, ReadError,
    Role, SnapshotError, Standing, TakenSnapshot, TransferError,
};
use kontiki_etcd::{Engine, Machine, MemberAddresses, Profile, Server, ServerLimits};
use tokio::net::TcpListener;
use tokio::sync::broadcast;
use tokio::task::JoinHandle;

const TERM: Term = Term::new(2);
/// The server's own id, and that of another leader.
const NODE: u64 = 7;
const OTHER: u64 = 8;
const CLUSTER: ClusterId = ClusterId(0x1234_5678_9abc_def0);

/// The server; it is stopped when dropped.
pub struct Solo {
    server: JoinHandle<()>,
    endpoint: String,
}

/// The behaviour of a server.
#[derive(Default)]
pub struct Setup {
    /// Where another leader listens; without one, the server leads itself.
    pub leader: Option<String>,
    /// The failures of the first proposals, in order.
    pub failures: VecDeque<ProposeError>,
    /// The server's limits.
    pub limits: ServerLimits,
    /// For each of the first barriers, whether it passes. Later ones pass.
    pub barriers: VecDeque<bool>,
    /// The changes of the membership fail at first because the leader changes: for each of these,
    /// whether it is made nevertheless.
    pub interrupted: VecDeque<bool>,
}

impl Solo {
    /// Starts it on a free port; it leads itself, and nothing fails.
    pub async fn start() -> Solo {
        Solo::start_with(Setup::default()).await
    }

    /// Starts it on a free port.
    pub async fn start_with(setup: Setup) -> Solo {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
        let endpoint = listener.local_addr().expect("it is bound").to_string();
        let mut members = vec![(NODE, endpoint.clone())];
        members.extend(setup.leader.map(|leader| (OTHER, leader)));
        let machine = Machine::new();
        let store = machine.store();
        let (failures, barriers) = (setup.failures, setup.barriers);
        let interrupted = setup.interrupted;
        let voters = Membership::of_voters([(node(NODE), Bytes::new())]);
        let membership = Arc::new(voters.expect("sound"));
        let last = LogIndex::new(1);
        let state = State { machine, last, failures, barriers, membership, interrupted };
        let engine = SoloEngine { members, state: Mutex::new(state) };
        let profile = Profile { name: "solo".to_owned(), backend: "none".to_owned() };
        let server = Server::with_limits(engine, store, profile, setup.limits).let_urls_in();
        let server = tokio::spawn(async move {
            server.serve(listener, std::future::pending()).await.expect("it serves");
        });
        Solo { server, endpoint }
    }

    /// Where it listens.
    pub fn endpoint(&self) -> &str {
        &self.endpoint
    }
}

impl Drop for Solo {
    fn drop(&mut self) {
        self.server.abort();
    }
}

struct SoloEngine {
    /// The members with their client addresses; the last one leads.
    members: Vec<(u64, String)>,
    state: Mutex<State>,
}

struct State {
    machine: Machine,
    last: LogIndex,
    failures: VecDeque<ProposeError>,
    barriers: VecDeque<bool>,
    membership: Arc<Membership>,
    interrupted: VecDeque<bool>,
}

impl Engine for SoloEngine {
    async fn propose(&self, command: Bytes) -> Result<Bytes, ProposeError> {
        let mut state = self.state.lock().expect("applying does not panic");
        if let Some(failure) = state.failures.pop_front() {
            return Err(failure);
        }
        state.last = state.last.next();
        let committed = Committed { id: EntryId::new(TERM, state.last), command };
        let mut replies = Replies::default();
        let batch = [committed];
        state.machine.apply(&batch, &mut replies).expect("applied");
        while state.machine.is_unfinished() {
            state.machine.apply(&batch, &mut replies).expect("applied");
        }
        Ok(replies.into_answers().remove(0))
    }

    async fn barrier(&self) -> Result<LogIndex, ReadError> {
        let mut state = self.state.lock().expect("applying does not panic");
        match state.barriers.pop_front() {
            Some(false) => Err(ReadError::Timeout),
            _ => Ok(state.last),
        }
    }

    async fn snapshot(&self) -> Result<TakenSnapshot, SnapshotError> {
        Err(SnapshotError::Unsupported)
    }

    async fn change(
        &self,
        from: Arc<Membership>,
        target: Membership,
    ) -> Result<Arc<Membership>, ChangeError> {
        let mut state = self.state.lock().expect("applying does not panic");
        if from != state.membership {
            return Err(ChangeError::OtherMembership);
        }
        let interrupted = state.interrupted.pop_front();
        if interrupted != Some(false) {
            let mut parts = target.parts().clone();
            parts.highest = parts.highest.max(Some(from.highest()));
            state.membership = Arc::new(Membership::new(parts).expect("sound"));
        }
        match interrupted {
            Some(_) => Err(ChangeError::LeaderChanged { hint: None }),
            None => Ok(Arc::clone(&state.membership)),
        }
    }

    fn cancel_change(&self) {}

    async fn transfer(&self, _to: NodeId) -> Result<(), TransferError> {
        Err(TransferError::Closed)
    }

    fn events(&self) -> broadcast::Receiver<NodeEvent> {
        broadcast::channel(1).1
    }

    fn membership(&self) -> MembershipStatus {
        let state = self.state.lock().expect("applying does not panic");
        let now = Some(Arc::clone(&state.membership));
        MembershipStatus { now, ..MembershipStatus::default() }
    }

    fn store_of(&self, _node: NodeId) -> Option<StoreId> {
        None
    }

    fn standing(&self) -> Standing {
        let last = self.state.lock().expect("applying does not panic").last;
        let leader = self.members.last().map_or(NODE, |(node, _)| *node);
        Standing {
            cluster: CLUSTER,
            node: node(NODE),
            role: if leader == NODE { Role::Leader } else { Role::Follower },
            term: TERM,
            leader: Some(node(leader)),
            commit: last,
            applied: last,
            last,
            durable: last,
            snapshot: None,
        }
    }

    fn members(&self) -> Vec<ClusterMember> {
        let members = self.members.iter().map(|(number, endpoint)| {
            let addresses = MemberAddresses {
                name: format!("solo-{number}"),
                peer_url: "http://127.0.0.1:1".to_owned(),
                client_url: format!("http://{endpoint}"),
                votes_soon: false,
            };
            let metadata = addresses.encode();
            ClusterMember { node: node(*number), learner: false, metadata }
        });
        members.collect()
    }
}

fn node(number: u64) -> NodeId {
    NodeId::new(number).expect("not zero")
}
