//! This server on a member without a cluster: each command is applied at once.

use std::sync::Mutex;

use bytes::Bytes;
use kontiki_etcd::engine::{ClusterMember, ProposeError, ReadError, Role, Standing};
use kontiki_etcd::{Engine, Machine, MemberAddresses, Profile, Server};
use raft_core::types::{ClusterId, EntryId, LogIndex, NodeId, Term};
use raft_node::{Committed, Replies, StateMachine};
use tokio::net::TcpListener;
use tokio::task::JoinHandle;

const TERM: Term = Term::new(2);
const CLUSTER: ClusterId = ClusterId(0x1234_5678_9abc_def0);

/// The server; it is stopped when dropped.
pub struct Solo {
    server: JoinHandle<()>,
    endpoint: String,
}

impl Solo {
    /// Starts it on a free port.
    pub async fn start() -> Solo {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
        let endpoint = listener.local_addr().expect("it is bound").to_string();
        let machine = Machine::new();
        let store = machine.store();
        let state = State { machine, last: LogIndex::new(1) };
        let engine = SoloEngine { endpoint: endpoint.clone(), state: Mutex::new(state) };
        let profile = Profile { name: "solo".to_owned(), backend: "none".to_owned() };
        let server = Server::new(engine, store, profile);
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
    endpoint: String,
    state: Mutex<State>,
}

struct State {
    machine: Machine,
    last: LogIndex,
}

impl Engine for SoloEngine {
    async fn propose(&self, command: Bytes) -> Result<Bytes, ProposeError> {
        let mut state = self.state.lock().expect("applying does not panic");
        state.last = state.last.next();
        let committed = Committed { id: EntryId::new(TERM, state.last), command };
        let mut replies = Replies::default();
        state.machine.apply(&[committed], &mut replies);
        Ok(replies.into_answers().remove(0))
    }

    async fn barrier(&self) -> Result<LogIndex, ReadError> {
        Ok(self.state.lock().expect("applying does not panic").last)
    }

    fn standing(&self) -> Standing {
        let last = self.state.lock().expect("applying does not panic").last;
        Standing {
            cluster: CLUSTER,
            node: node(),
            role: Role::Leader,
            term: TERM,
            leader: Some(node()),
            commit: last,
            applied: last,
            last,
            durable: last,
        }
    }

    fn members(&self) -> Vec<ClusterMember> {
        let addresses = MemberAddresses {
            name: "solo".to_owned(),
            peer_url: "http://127.0.0.1:1".to_owned(),
            client_url: format!("http://{}", self.endpoint),
        };
        vec![ClusterMember { node: node(), learner: false, metadata: addresses.encode() }]
    }
}

fn node() -> NodeId {
    NodeId::new(7).expect("not zero")
}
