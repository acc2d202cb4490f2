//! A connection after its handshake: it reads and writes frames until either side ends it.
//!
//! One task does both, so a burst costs it one wake. It writes only while its link is the newest of
//! the peer. It drains the peer's queue into one vectored write, and delivers everything from one
//! read together. If there is nothing to send, it sends a keep-alive; if nothing arrives for too
//! long, it ends the connection.

use std::io::{Error, ErrorKind, IoSlice};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use bytes::{Buf, BytesMut};
use raft_core::types::ClusterId;
use raft_node::Envelope;
use thiserror::Error;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::net::tcp::{ReadHalf, WriteHalf};
use tokio::time::{self, MissedTickBehavior};

use crate::counters::Counted;
use crate::handshake::Agreed;
use crate::options::{MAX_BULK_SILENCES, READ_BLOCK_BYTES};
use crate::peer::{Lane, Link, Peer};
use crate::shared::{Remote, Shared};
use crate::wire::{self, Chunks, Frame, FrameReader, Unsendable, WireError};

/// The most pieces that one system call writes.
const MAX_SLICES: usize = 256;

/// If the receive buffer has less free space than this, it is extended before a read.
const MIN_READ_BYTES: usize = READ_BLOCK_BYTES / 8;

/// Why a connection ended.
#[derive(Debug, Error)]
enum Ended {
    #[error("the connection broke: {0}")]
    Broken(#[from] Error),
    #[error("closed by the peer")]
    ClosedByPeer,
    #[error("the peer sent nothing for too long")]
    Idle,
    #[error("replaced by newer connections, or the peer is a member no longer")]
    Replaced,
    #[error("refused, and the connection closed: {0}")]
    Refused(#[from] WireError),
    #[error("a frame of cluster {0}, which is not the one of the handshake")]
    OtherCluster(ClusterId),
}

/// Runs a connection with this peer to its end.
pub async fn run(shared: &Shared, peer: &Peer, agreed: Agreed, mut stream: TcpStream) {
    let link = Attached { shared, peer, link: peer.attach() };
    let (mut incoming, mut outgoing) = stream.split();
    let heard = AtomicBool::new(true);
    let ended = tokio::select! {
        ended = read(shared, agreed, &mut incoming, &heard) => ended,
        ended = write(shared, peer, &link.link, agreed, &mut outgoing) => ended,
        ended = watch(shared, &heard) => ended,
        () = link.link.close.notified() => Err(Ended::Replaced),
    };
    drop(link);
    let Err(why) = ended;
    let remote = Remote::Node(peer.node);
    match &why {
        Ended::Refused(WireError::HeaderTooLong(_) | WireError::BodyTooLong(_)) => {
            shared.note(remote, Counted::RefusedOversized, &why);
        }
        Ended::Refused(_) => shared.note(remote, Counted::RefusedFrame, &why),
        Ended::OtherCluster(_) => shared.note(remote, Counted::RefusedCluster, &why),
        Ended::Idle => shared.note(remote, Counted::Idle, &why),
        Ended::Broken(_) | Ended::ClosedByPeer | Ended::Replaced => {
            tracing::debug!(peer = %remote, "{why}");
        }
    }
}

/// A type without a value: the loops below end only with an error.
enum Never {}

/// A link that is removed from its peer however the connection ends, also when the task is aborted.
struct Attached<'a> {
    shared: &'a Shared,
    peer: &'a Peer,
    link: Arc<Link>,
}

impl Drop for Attached<'_> {
    fn drop(&mut self) {
        let dropped = self.peer.detach(&self.link);
        self.shared.note_unreachable(self.peer, dropped);
    }
}

async fn read(
    shared: &Shared,
    Agreed { identity: peer, version, .. }: Agreed,
    incoming: &mut ReadHalf<'_>,
    heard: &AtomicBool,
) -> Result<Never, Ended> {
    let mut frames = FrameReader::new(version);
    let mut buffer = BytesMut::with_capacity(READ_BLOCK_BYTES);
    let mut arrived = Vec::new();
    loop {
        let missing = frames.missing(&buffer);
        make_room(&mut buffer, missing);
        let count = incoming.read_buf(&mut buffer).await?;
        if count == 0 {
            return Err(Ended::ClosedByPeer);
        }
        heard.store(true, Ordering::Relaxed);
        let outcome = take_frames(&mut frames, &mut buffer, peer.cluster, &mut arrived);
        shared.counters.add(Counted::ReceivedBytes, count);
        shared.counters.add(Counted::Received, arrived.len());
        if !arrived.is_empty() {
            shared.inbound.deliver_all(peer.node, &mut arrived);
        }
        outcome?;
    }
}

/// Keeps using the buffer's block while it has space, because payloads that are still in use keep
/// the whole block in memory.
fn make_room(buffer: &mut BytesMut, missing: usize) {
    if buffer.capacity() - buffer.len() < missing.max(MIN_READ_BYTES) {
        buffer.reserve(missing.max(READ_BLOCK_BYTES));
    }
}

fn take_frames(
    frames: &mut FrameReader,
    buffer: &mut BytesMut,
    cluster: ClusterId,
    arrived: &mut Vec<Envelope>,
) -> Result<(), Ended> {
    while let Some(frame) = frames.next(buffer)? {
        let (of, envelope) = match frame {
            Frame::KeepAlive(of) => (of, None),
            Frame::Envelope(envelope) => (envelope.cluster, Some(envelope)),
        };
        if of != cluster {
            return Err(Ended::OtherCluster(of));
        }
        arrived.extend(envelope);
    }
    Ok(())
}

async fn write(
    shared: &Shared,
    peer: &Peer,
    link: &Arc<Link>,
    Agreed { identity, version, .. }: Agreed,
    outgoing: &mut WriteHalf<'_>,
) -> Result<Never, Ended> {
    let mut tick = time::interval(shared.options.keep_alive_every);
    tick.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let (mut batch, mut chunks, mut silent) = (Vec::new(), Chunks::new(), false);
    let mut silences = 0;
    loop {
        peer.take(link, &mut batch);
        if batch.is_empty() {
            if peer.ends(link) {
                return Err(Ended::Replaced);
            }
            tokio::select! {
                () = link.wake.notified() => continue,
                _ = tick.tick() => {
                    if !std::mem::replace(&mut silent, true) {
                        continue;
                    }
                    silences += 1;
                    if peer.lane == Lane::Bulk && silences >= MAX_BULK_SILENCES {
                        // The peer may be writing on this connection, so it is the peer that
                        // closes it.
                        outgoing.shutdown().await?;
                        std::future::pending::<()>().await;
                    }
                    wire::keep_alive(identity.cluster, version, &mut chunks);
                }
            }
        } else {
            silences = 0;
        }
        encode_all(shared, peer, version, &mut batch, &mut chunks);
        shared.counters.add(Counted::SentBytes, chunks.remaining());
        write_all(outgoing, &mut chunks).await?;
        silent = false;
    }
}

/// Encodes envelopes in the version of the connection. What cannot be encoded is counted, logged
/// once for each peer, and returned to the member.
fn encode_all(
    shared: &Shared,
    peer: &Peer,
    version: u8,
    batch: &mut Vec<Envelope>,
    chunks: &mut Chunks,
) {
    let mut sent = 0;
    for envelope in batch.drain(..) {
        let Err(wrong) = wire::encode(&envelope, version, chunks) else {
            sent += 1;
            continue;
        };
        let counted = match wrong {
            Unsendable::Version { .. } => Counted::DroppedVersion,
            _ => Counted::DroppedUnsendable,
        };
        shared.note(Remote::Node(peer.node), counted, &wrong);
        shared.inbound.not_sent(peer.node, &mut vec![envelope]);
    }
    shared.counters.add(Counted::Sent, sent);
}

async fn write_all(outgoing: &mut WriteHalf<'_>, chunks: &mut Chunks) -> Result<(), Error> {
    while chunks.has_remaining() {
        let mut slices = [IoSlice::new(&[]); MAX_SLICES];
        let count = chunks.slices(&mut slices);
        match outgoing.write_vectored(&slices[..count]).await? {
            0 => return Err(ErrorKind::WriteZero.into()),
            written => chunks.advance(written),
        }
    }
    Ok(())
}

/// Ends when nothing arrived for the idle limit, or up to half of it longer. It checks twice in
/// that time, instead of setting a timer at each read.
async fn watch(shared: &Shared, heard: &AtomicBool) -> Result<Never, Ended> {
    let mut silences = 0;
    loop {
        time::sleep(shared.options.idle_limit / 2).await;
        silences = if heard.swap(false, Ordering::Relaxed) { 0 } else { silences + 1 };
        if silences == 2 {
            return Err(Ended::Idle);
        }
    }
}
