//! Takes the connections of peers. Whoever connects has a bounded time to say who it is, and only a
//! bounded number may be about it at once.

use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time;

use crate::connection;
use crate::counters::Counted;
use crate::handshake::{self, HandshakeError, Refusal};
use crate::options::MAX_HANDSHAKES;
use crate::shared::{Shared, Who};

/// The pause after the system refused to hand over a connection, most often for want of file
/// descriptors: trying again at once would only burn time.
const PAUSE_AFTER_ERROR: Duration = Duration::from_millis(50);

/// Accepts for ever.
pub async fn run(shared: Arc<Shared>, listener: TcpListener) {
    let handshakes = Arc::new(Semaphore::new(MAX_HANDSHAKES));
    loop {
        match listener.accept().await {
            Ok((stream, from)) => admit(&shared, stream, from, &handshakes),
            Err(error) => {
                tracing::warn!(%error, "a connection could not be accepted");
                time::sleep(PAUSE_AFTER_ERROR).await;
            }
        }
    }
}

fn admit(shared: &Arc<Shared>, stream: TcpStream, from: SocketAddr, handshakes: &Arc<Semaphore>) {
    match Arc::clone(handshakes).try_acquire_owned() {
        Ok(permit) => shared.spawn(serve(Arc::clone(shared), stream, from.ip(), permit)),
        Err(_) => {
            let why = "too many connections are in their handshake";
            shared.note(Who::Address(from.ip()), Counted::RefusedNoRoom, &why);
        }
    }
}

async fn serve(
    shared: Arc<Shared>,
    mut stream: TcpStream,
    from: IpAddr,
    permit: OwnedSemaphorePermit,
) {
    let who = Who::Address(from);
    let _ = stream.set_nodelay(true);
    let room = |node| shared.peer(node).map(|_| ());
    let handshake = handshake::accept(&mut stream, shared.inbound.as_ref(), room);
    let outcome = time::timeout(shared.options.handshake_timeout, handshake).await;
    drop(permit);
    let identity = match outcome {
        Ok(Ok(identity)) => identity,
        Ok(Err(error)) => return shared.note(who, counted(&error), &error),
        Err(_) => {
            return shared.note(who, Counted::HandshakeFailed, &"the handshake took too long");
        }
    };
    let Ok(peer) = shared.peer(identity.node) else { return };
    shared.forget(who);
    shared.forget(Who::Node(peer.node));
    shared.counters.add(Counted::Accepted, 1);
    tracing::info!(peer = %identity, %from, "a peer has connected");
    connection::run(&shared, &peer, identity, stream).await;
}

/// Under which name a failed handshake is counted.
pub fn counted(error: &HandshakeError) -> Counted {
    use raft_node::Stranger;
    match error {
        HandshakeError::Garbage(_) => Counted::RefusedGarbage,
        HandshakeError::RefusedByPeer { .. } => Counted::RefusedByPeer,
        HandshakeError::Broken(_) => Counted::HandshakeFailed,
        HandshakeError::Refused(refusal) => match refusal {
            Refusal::Version { .. } => Counted::RefusedVersion,
            Refusal::WrongNode { .. } => Counted::RefusedNode,
            Refusal::NoRoom => Counted::RefusedNoRoom,
            Refusal::Stranger(Stranger::OtherCluster { .. }) => Counted::RefusedCluster,
            Refusal::Stranger(Stranger::OwnId(_)) => Counted::RefusedNode,
            Refusal::Stranger(Stranger::OtherStore { .. }) => Counted::RefusedStore,
        },
    }
}
