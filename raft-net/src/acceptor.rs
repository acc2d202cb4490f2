//! Accepts the connections of peers. The time of a handshake is bounded, and so is the number of
//! connections in their handshake.

use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time;

use crate::connection;
use crate::counters::Counted;
use crate::handshake::{self, Agreed, HandshakeError, Refusal};
use crate::options::MAX_HANDSHAKES;
use crate::shared::{Remote, Shared};

/// The pause after the system failed to accept a connection, most often because no file descriptor
/// is free. Retrying at once would only use processor time.
const PAUSE_AFTER_ERROR: Duration = Duration::from_millis(50);

/// Accepts connections until the task is ended.
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
            shared.note(Remote::Address(from.ip()), Counted::RefusedNoRoom, &why);
        }
    }
}

async fn serve(
    shared: Arc<Shared>,
    mut stream: TcpStream,
    from: IpAddr,
    permit: OwnedSemaphorePermit,
) {
    let remote = Remote::Address(from);
    let _ = stream.set_nodelay(true);
    let has_capacity = |node| shared.check_capacity(node);
    let handshake = handshake::accept(&mut stream, shared.inbound.as_ref(), has_capacity);
    let outcome = time::timeout(shared.options.handshake_timeout, handshake).await;
    drop(permit);
    let agreed = match outcome {
        Ok(Ok(agreed)) => agreed,
        Ok(Err(error)) => return shared.note(remote, counted(&error), &error),
        Err(_) => {
            return shared.note(remote, Counted::HandshakeFailed, &"the handshake took too long");
        }
    };
    let Agreed { identity, version, .. } = agreed;
    let peer = match shared.connected_peer(identity.node) {
        Ok(peer) => peer,
        Err(refusal) => return shared.note(remote, Counted::RefusedNoRoom, &refusal),
    };
    shared.forget(remote);
    shared.forget(Remote::Node(peer.node));
    shared.counters.add(Counted::Accepted, 1);
    tracing::debug!(peer = %identity, version, %from, "a peer has connected");
    connection::run(&shared, &peer, agreed, stream).await;
    shared.forget_if_unused(&peer);
}

/// The count to which a failed handshake belongs.
pub fn counted(error: &HandshakeError) -> Counted {
    use raft_node::PeerRejected;
    match error {
        HandshakeError::Garbage(_) => Counted::RefusedGarbage,
        HandshakeError::RefusedByPeer { .. } => Counted::RefusedByPeer,
        HandshakeError::Broken(_) => Counted::HandshakeFailed,
        HandshakeError::Refused(refusal) => match refusal {
            Refusal::Version { .. } | Refusal::Older { .. } => Counted::RefusedVersion,
            Refusal::WrongNode { .. } => Counted::RefusedNode,
            Refusal::TooMany => Counted::RefusedNoRoom,
            Refusal::Rejected(PeerRejected::OtherCluster { .. }) => Counted::RefusedCluster,
            Refusal::Rejected(PeerRejected::OwnId(_)) => Counted::RefusedNode,
            Refusal::Rejected(PeerRejected::Removed(_)) => Counted::RefusedRemoved,
            Refusal::Rejected(PeerRejected::OtherStore { .. }) => Counted::RefusedStore,
        },
    }
}
