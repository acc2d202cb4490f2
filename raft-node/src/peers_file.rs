//! The store ids of a member's peers in a file of its directory.
//!
//! The format is in `docs/formats/peers.md`. The file is replaced as a whole, so a crash leaves the
//! old content or the new one.

use std::fs;
use std::io;
use std::path::PathBuf;

use raft_core::types::{ClusterId, NodeId, StoreId};
use xxhash_rust::xxh3::xxh3_64;

use crate::member::admission::{PeerRecord, PeerStores};

const MAGIC: [u8; 8] = *b"KTKPEERS";
const VERSION: u32 = 1;
const HEAD_BYTES: usize = 24;
const PEER_BYTES: usize = 16;
const CHECKSUM_BYTES: usize = 8;

/// The most peers that a file may hold; far more than a membership has.
const MAX_PEERS: usize = 4096;

/// The name of the file in the member's directory.
const NAME: &str = "peers";

/// The record of peers in a member's directory: `DIR/peers`.
#[derive(Debug)]
pub struct PeersFile {
    dir: PathBuf,
}

impl PeersFile {
    /// The file in this directory, which must exist and belong to the member alone.
    pub fn in_dir(dir: impl Into<PathBuf>) -> PeersFile {
        PeersFile { dir: dir.into() }
    }

    fn path(&self) -> PathBuf {
        self.dir.join(NAME)
    }
}

impl PeerRecord for PeersFile {
    fn load(&self, cluster: ClusterId) -> io::Result<PeerStores> {
        let bytes = match fs::read(self.path()) {
            Ok(bytes) => bytes,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(PeerStores::new()),
            Err(error) => return Err(error),
        };
        let (of, stores) = decode(&bytes).map_err(|why| {
            let text = format!("{}: {why}", self.path().display());
            io::Error::new(io::ErrorKind::InvalidData, text)
        })?;
        Ok(if of == cluster { stores } else { PeerStores::new() })
    }

    fn save(&self, cluster: ClusterId, stores: &PeerStores) -> io::Result<()> {
        owned_dir::put_whole(&self.dir, NAME, &encode(cluster, stores))
    }
}

fn encode(cluster: ClusterId, stores: &PeerStores) -> Vec<u8> {
    let mut bytes = MAGIC.to_vec();
    bytes.extend(VERSION.to_le_bytes());
    bytes.extend((stores.len() as u32).to_le_bytes());
    bytes.extend(cluster.0.to_le_bytes());
    for (node, store) in stores {
        bytes.extend(node.get().to_le_bytes());
        bytes.extend(store.0.to_le_bytes());
    }
    bytes.extend(xxh3_64(&bytes).to_le_bytes());
    bytes
}

/// The content of the file; or what is wrong with it, and what to do.
fn decode(bytes: &[u8]) -> Result<(ClusterId, PeerStores), &'static str> {
    const DAMAGED: &str = "this record of the peers' stores is damaged. If it is removed, the \
                           member records them again, from the peers as they are now";
    if bytes.len() < HEAD_BYTES + CHECKSUM_BYTES || bytes[..8] != MAGIC {
        return Err(DAMAGED);
    }
    let [version, count] = [8, 12].map(|at| u32::from_le_bytes(array(&bytes[at..at + 4])));
    if version != VERSION {
        return Err("this record of the peers' stores was written by another version of the \
                    program: start the member with that one");
    }
    let (content, checksum) = bytes.split_at(bytes.len() - CHECKSUM_BYTES);
    let is_whole = content.len() == HEAD_BYTES + count as usize * PEER_BYTES;
    if count as usize > MAX_PEERS || !is_whole || xxh3_64(content) != number(checksum) {
        return Err(DAMAGED);
    }
    let mut stores = PeerStores::new();
    for peer in content[HEAD_BYTES..].chunks_exact(PEER_BYTES) {
        let node = NodeId::new(number(&peer[..8])).ok_or(DAMAGED)?;
        if stores.last_key_value().is_some_and(|(last, _)| *last >= node) {
            return Err(DAMAGED);
        }
        stores.insert(node, StoreId(number(&peer[8..])));
    }
    Ok((ClusterId(number(&content[16..HEAD_BYTES])), stores))
}

fn number(bytes: &[u8]) -> u64 {
    u64::from_le_bytes(array(bytes))
}

fn array<const N: usize>(bytes: &[u8]) -> [u8; N] {
    bytes.try_into().expect("the caller cut it to size")
}
