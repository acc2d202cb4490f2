//! Connects to a peer when envelopes wait for it, and retries with growing pauses.

use std::convert::Infallible;
use std::io;
use std::sync::Arc;

use thiserror::Error;
use tokio::net::TcpStream;
use tokio::sync::oneshot;
use tokio::time;

use crate::acceptor::counted;
use crate::connection;
use crate::counters::Counted;
use crate::handshake::{self, Agreed, HandshakeError};
use crate::peer::Peer;
use crate::shared::{Remote, Shared};

/// Why a peer could not be reached.
#[derive(Debug, Error)]
enum DialError {
    #[error("its address is not text of the form host:port: {0:?}")]
    Address(String),
    #[error("{address} cannot be reached: {error}; retried as long as envelopes wait for it")]
    Connect { address: String, error: io::Error },
    #[error("{address}: {error}")]
    Handshake { address: String, error: HandshakeError },
}

/// Dials whenever envelopes wait and no connection can carry them, until the member no longer sends
/// to the peer. Then the connection that was dialed ends, too.
pub async fn run(shared: Arc<Shared>, peer: Arc<Peer>, ended: oneshot::Receiver<()>) {
    tokio::select! {
        _ = ended => {}
        never = dial_for_ever(&shared, &peer) => match never {},
    }
    shared.forget_if_unused(&peer);
}

async fn dial_for_ever(shared: &Shared, peer: &Peer) -> Infallible {
    let mut failures = 0;
    loop {
        let address = peer.wanted().await;
        match dial(shared, peer, &address).await {
            Ok((agreed, stream)) => {
                failures = 0;
                shared.forget(Remote::Node(peer.node));
                shared.counters.add(Counted::Dialed, 1);
                let Agreed { identity, version, .. } = agreed;
                tracing::debug!(peer = %identity, version, "connected to a peer");
                connection::run(shared, peer, agreed, stream).await;
            }
            Err(error) => {
                failures += 1;
                shared.note(Remote::Node(peer.node), error.counted(), &error);
                shared.note_unreachable(peer, peer.give_up());
            }
        }
        let own = shared.inbound.identity().node.get();
        let salt = own.rotate_left(32) ^ peer.node.get();
        time::sleep(shared.options.back_off(failures.max(1), salt)).await;
    }
}

async fn dial(
    shared: &Shared,
    peer: &Peer,
    address: &[u8],
) -> Result<(Agreed, TcpStream), DialError> {
    let text = std::str::from_utf8(address).ok().filter(|text| text.contains(':'));
    let Some(text) = text else {
        return Err(DialError::Address(String::from_utf8_lossy(address).into_owned()));
    };
    let failed = |error| DialError::Connect { address: text.to_owned(), error };
    let connect = time::timeout(shared.options.connect_timeout, TcpStream::connect(text));
    let connected = connect.await.unwrap_or_else(|_| Err(io::ErrorKind::TimedOut.into()));
    let mut stream = connected.and_then(checked).map_err(failed)?;
    let handshake = handshake::dial(&mut stream, shared.inbound.as_ref(), peer.node);
    let outcome = time::timeout(shared.options.handshake_timeout, handshake).await;
    let outcome = outcome.unwrap_or_else(|_| Err(io::Error::from(io::ErrorKind::TimedOut).into()));
    match outcome {
        Ok(agreed) => Ok((agreed, stream)),
        Err(error) => Err(DialError::Handshake { address: text.to_owned(), error }),
    }
}

/// If no process listens on the port, and the system uses it for the outgoing connection, the
/// connection is to itself. It would keep the peer from listening on that port.
fn checked(stream: TcpStream) -> io::Result<TcpStream> {
    if stream.local_addr()? == stream.peer_addr()? {
        return Err(io::ErrorKind::ConnectionRefused.into());
    }
    stream.set_nodelay(true)?;
    Ok(stream)
}

impl DialError {
    fn counted(&self) -> Counted {
        match self {
            DialError::Address(_) | DialError::Connect { .. } => Counted::DialFailed,
            DialError::Handshake { error, .. } => counted(error),
        }
    }
}
