//! Connections on which the test itself speaks, byte by byte, as a peer does.

use std::net::SocketAddr;

use bytes::Buf;
use raft_core::types::{ClusterId, Identity, StoreId};
use raft_net::Hello;
use raft_net::wire::{self, Chunks};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::time::timeout;

use crate::member::{CLUSTER, PATIENCE, envelope, node};

pub fn hello(cluster: ClusterId, number: u64, store: u64, meant: u64) -> [u8; 44] {
    let identity = Identity { cluster, node: node(number), store: StoreId(store) };
    Hello { identity, meant: node(meant), highest: wire::HIGHEST_VERSION.into() }.encode()
}

/// A connection on which the test itself has done a peer's handshake with node 1.
pub async fn shaken(address: SocketAddr, number: u64) -> TcpStream {
    shaken_by(address, hello(CLUSTER, number, number, 1)).await
}

/// The same with this hello.
pub async fn shaken_by(address: SocketAddr, hello: [u8; 44]) -> TcpStream {
    let mut stream = TcpStream::connect(address).await.expect("it listens");
    stream.write_all(&hello).await.expect("connected");
    let mut answer = [0; 44 + 7];
    stream.read_exact(&mut answer).await.expect("hello and verdict");
    assert_eq!(answer[44], 0, "welcome");
    let mut verdict = vec![0; 3];
    verdict.extend(crc32c::crc32c(&verdict).to_le_bytes());
    stream.write_all(&verdict).await.expect("connected");
    stream
}

pub fn frame(sequence: u64) -> Vec<u8> {
    let mut chunks = Chunks::new();
    let envelope = envelope(CLUSTER, sequence, 9);
    wire::encode(&envelope, wire::HIGHEST_VERSION, &mut chunks).expect("within the limits");
    chunks.copy_to_bytes(chunks.remaining()).to_vec()
}

/// Reads one frame; a keep-alive has no body.
pub async fn body_bytes(stream: &mut TcpStream) -> usize {
    let mut prefix = [0; wire::PREFIX_BYTES];
    stream.read_exact(&mut prefix).await.expect("a frame");
    let length = |at: usize| u32::from_le_bytes(prefix[at..at + 4].try_into().expect("four"));
    let mut rest = vec![0; length(4) as usize + length(8) as usize];
    stream.read_exact(&mut rest).await.expect("all of it");
    length(8) as usize
}

/// Reads until the other side closes; `false` when it does not.
pub async fn is_closed(stream: &mut TcpStream) -> bool {
    let mut rest = Vec::new();
    timeout(PATIENCE, stream.read_to_end(&mut rest)).await.is_ok()
}
