//! A replicated key-value store over HTTP, in three parts: the data store, the API, and the use of
//! Raft.
//!
//! Each member is one process:
//!
//! ```text
//! cargo run --example kv -- 1      (and 2 and 3, in other terminals)
//! curl -X PUT localhost:9001 -H 'content-type: application/json' \
//!     -d '{"key":"raft","value":"logs"}'
//! curl 'localhost:9002/?key=raft'
//! ```
//!
//! Each member keeps its log and its snapshots in `kv-data/<n>`; stop one, or all, and start them
//! again.

use std::collections::BTreeMap;
use std::error::Error;

use axum::extract::{Query, State};
use axum::http::StatusCode;
use axum::routing::get;
use axum::{Json, Router};
use kontiki::{
    Application, LogConfig, Membership, NodeConfig, NodeId, ProposeError, ReadError, TcpOptions,
    TcpTransport, TypedError, TypedNode,
};
use serde::{Deserialize, Serialize};

// ---- the data store ----

#[derive(Clone, Default, Serialize, Deserialize)]
struct Store {
    pairs: BTreeMap<String, String>,
}

#[derive(Serialize, Deserialize)]
struct Put {
    key: String,
    value: String,
}

#[derive(Serialize, Deserialize)]
struct Get {
    key: String,
}

impl Application for Store {
    type Command = Put;
    /// The value before the put.
    type Response = Option<String>;
    type Query = Get;
    type Answer = Option<String>;

    fn apply(&mut self, put: Put) -> Option<String> {
        self.pairs.insert(put.key, put.value)
    }

    fn read(&self, get: Get) -> Option<String> {
        self.pairs.get(&get.key).cloned()
    }
}

// ---- the API ----

type Failure = (StatusCode, String);

/// `PUT / {"key", "value"}` returns the previous value, once the new one is committed.
async fn put(
    State(node): State<TypedNode<Store>>,
    Json(put): Json<Put>,
) -> Result<Json<Option<String>>, Failure> {
    node.propose(&put).await.map(Json).map_err(failure)
}

/// `GET /?key=k` returns the current value at any member (a linearizable read).
async fn find(
    State(node): State<TypedNode<Store>>,
    Query(get): Query<Get>,
) -> Result<Json<String>, Failure> {
    let missing = (StatusCode::NOT_FOUND, format!("there is no key {:?}", get.key));
    node.read(&get).await.map_err(failure)?.map(Json).ok_or(missing)
}

/// The text says whether the request may have taken effect, and so whether to repeat it.
fn failure(error: TypedError) -> Failure {
    let status = match &error {
        TypedError::Propose(ProposeError::TooLarge { .. }) => StatusCode::PAYLOAD_TOO_LARGE,
        TypedError::Propose(ProposeError::Unknown) => StatusCode::GATEWAY_TIMEOUT,
        TypedError::Read(ReadError::Timeout) => StatusCode::GATEWAY_TIMEOUT,
        _ => StatusCode::SERVICE_UNAVAILABLE,
    };
    (status, error.to_string())
}

// ---- the use of Raft ----

/// Three members on this machine: member n listens for its peers at port 8000 + n.
fn membership() -> Result<Membership, Box<dyn Error>> {
    let address = |n| format!("127.0.0.1:{}", 8000 + n).into();
    let members = (1..=3).filter_map(|n| Some((NodeId::new(n)?, address(n))));
    Ok(Membership::of_voters(members)?)
}

async fn start(number: u64) -> Result<TypedNode<Store>, Box<dyn Error>> {
    let id = NodeId::new(number).filter(|_| number <= 3).ok_or("the members are 1, 2 and 3")?;
    let mut log = LogConfig::from_name("file", format!("kv-data/{number}/log"))?.open()?;
    // Does nothing on a log that was bootstrapped before.
    kontiki::bootstrap(log.as_mut(), "kv-example", id, &membership()?).await?;
    let peers = format!("127.0.0.1:{}", 8000 + number);
    let transport = Box::new(TcpTransport::bind(&peers, TcpOptions::default())?);
    let snapshots = Some(format!("kv-data/{number}/snapshots").into());
    let config = NodeConfig { snapshots, ..NodeConfig::default() };
    Ok(TypedNode::start(config, log, transport, Store::default()).await?)
}

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), Box<dyn Error>> {
    let number = std::env::args().nth(1).and_then(|text| text.parse().ok());
    let number: u64 = number.ok_or("the argument is the member's number: 1, 2 or 3")?;
    let node = start(number).await?;
    let api = Router::new().route("/", get(find).put(put)).with_state(node.clone());
    let address = format!("127.0.0.1:{}", 9000 + number);
    let listener = tokio::net::TcpListener::bind(&address).await?;
    println!("member {number} serves http://{address}");
    let stop = async {
        // If there is no signal handler, the member runs until it is killed, which loses no data.
        let _ = tokio::signal::ctrl_c().await;
    };
    axum::serve(listener, api).with_graceful_shutdown(stop).await?;
    node.node().shutdown().await;
    Ok(())
}
