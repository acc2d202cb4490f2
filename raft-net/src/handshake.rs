//! The first bytes of a connection: which node each side is, which node the dialer wants to reach,
//! which version they use, and whether they accept each other. `docs/formats/wire.md` has the
//! tables.
//!
//! Any program may connect to the port and send any bytes, as slowly as it likes. So every field
//! here has a fixed or small length, and the caller bounds the time. Nothing is learned from a
//! hello alone: the member confirms a peer once both sides have accepted each other.

use crc32c::{crc32c, crc32c_append};
use raft_core::types::{ClusterId, Identity, NodeId, StoreId};
use raft_node::{Inbound, PeerRejected};
use thiserror::Error;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};

use crate::wire;

/// The length of a hello.
pub const HELLO_BYTES: usize = 44;

/// The most bytes of the text in a verdict.
pub const MAX_REASON_BYTES: usize = 256;

/// The most bytes that one side sends before its first frame.
pub const MAX_HANDSHAKE_BYTES: usize = HELLO_BYTES + VERDICT_BYTES + MAX_REASON_BYTES;

const VERDICT_BYTES: usize = 7;
const MAGIC: [u8; 4] = *b"KTKH";
const LOWEST: u16 = wire::LOWEST_VERSION as u16;
const HIGHEST: u16 = wire::HIGHEST_VERSION as u16;
const WELCOME: u8 = 0;
const REMOVED: u8 = 7;

/// The statement of each side about itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Hello {
    /// The sender.
    pub identity: Identity,
    /// The node that the sender wants to reach.
    pub meant: NodeId,
    /// The highest version that the sender speaks.
    pub highest: u16,
}

/// A peer that accepts this member, and that this member accepts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Agreed {
    /// The peer.
    pub identity: Identity,
    /// The highest version that both speak; all frames of the connection have it.
    pub version: u8,
    /// The highest version that the peer speaks.
    pub highest: u16,
}

/// Why one side refuses the other. Each reason has a code on the wire.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
pub enum Refusal {
    /// No version is spoken by both.
    #[error(
        "this member speaks versions {LOWEST} to {HIGHEST}, the other side versions {lowest} to \
         {highest}"
    )]
    Version {
        /// The lowest version that the other side speaks.
        lowest: u16,
        /// The highest version that the other side speaks.
        highest: u16,
    },
    /// The other side's program does not support the feature level of the cluster.
    #[error(
        "node {node} runs an older program, which speaks versions up to {highest}: the feature \
         level of the cluster needs version {needed}"
    )]
    Older {
        /// The other side.
        node: NodeId,
        /// The highest version that the other side speaks.
        highest: u16,
        /// The version that its program must speak.
        needed: u16,
    },
    /// The dialer wanted to reach another node.
    #[error("the dialer wants node {meant}, but this is node {reached}: an address is wrong")]
    WrongNode {
        /// The node that the dialer wanted to reach.
        meant: NodeId,
        /// The node that answered.
        reached: NodeId,
    },
    /// The member does not admit this peer.
    #[error(transparent)]
    Rejected(#[from] PeerRejected),
    /// There are too many peers already: see [`crate::MAX_PEERS`].
    #[error("this member is connected with too many peers")]
    TooMany,
}

/// Why a handshake failed.
#[derive(Debug, Error)]
pub enum HandshakeError {
    /// The other side's bytes are not a handshake.
    #[error("not a member of a Kontiki cluster: {0}")]
    Garbage(&'static str),
    /// This side refuses the other.
    #[error(transparent)]
    Refused(Refusal),
    /// The other side refuses this one.
    #[error("refused by the peer: {reason}")]
    RefusedByPeer {
        /// The code of the verdict.
        code: u8,
        /// The peer's reason.
        reason: String,
    },
    /// The connection broke.
    #[error("the connection broke during the handshake: {0}")]
    Broken(#[from] std::io::Error),
}

/// Does the dialer's part of a handshake; returns the member that was dialed.
pub async fn dial(
    stream: &mut (impl AsyncRead + AsyncWrite + Unpin),
    inbound: &dyn Inbound,
    meant: NodeId,
) -> Result<Agreed, HandshakeError> {
    let ours = inbound.identity();
    let hello = Hello { identity: ours, meant, highest: HIGHEST };
    stream.write_all(&hello.encode()).await?;
    let answer = read_hello(stream).await;
    let welcome = match answer {
        Ok(hello) => check_answer(hello, ours, meant, inbound),
        Err(HandshakeError::Refused(refusal)) => Err(refusal),
        Err(other) => return Err(other),
    };
    match (read_verdict(stream).await, welcome) {
        (Ok(()), welcome) => {
            // The dialer's verdict is the last, so a peer that was admitted is confirmed here.
            let confirmed = welcome.and_then(|agreed| confirm(agreed, inbound));
            give_verdict(stream, confirmed).await
        }
        // Both sides refuse: report our own reason, which is more precise.
        (Err(HandshakeError::RefusedByPeer { .. }), Err(own)) => Err(HandshakeError::Refused(own)),
        (Err(HandshakeError::RefusedByPeer { code: REMOVED, reason }), Ok(agreed)) => {
            inbound.told_removed(agreed.identity.node);
            Err(HandshakeError::RefusedByPeer { code: REMOVED, reason })
        }
        (Err(other), _) => Err(other),
    }
}

/// Does the acceptor's part of a handshake; returns the node that connected.
/// `has_capacity` may refuse a peer that passed all other checks.
pub async fn accept(
    stream: &mut (impl AsyncRead + AsyncWrite + Unpin),
    inbound: &dyn Inbound,
    has_capacity: impl FnOnce(NodeId) -> Result<(), Refusal>,
) -> Result<Agreed, HandshakeError> {
    let ours = inbound.identity();
    let (theirs, welcome) = match read_hello(stream).await {
        Ok(hello) => (hello.identity.node, check_dialer(hello, ours, inbound)),
        // In another version the id may be in another place, so our own id is sent instead.
        Err(HandshakeError::Refused(refusal)) => (ours.node, Err(refusal)),
        Err(other) => return Err(other),
    };
    let welcome = welcome.and_then(|agreed| has_capacity(agreed.identity.node).map(|()| agreed));
    let hello = Hello { identity: ours, meant: theirs, highest: HIGHEST };
    stream.write_all(&hello.encode()).await?;
    let agreed = give_verdict(stream, welcome).await?;
    read_verdict(stream).await?;
    confirm(agreed, inbound).map_err(HandshakeError::Refused)
}

/// Confirms the peer to the member, once both sides have accepted each other.
fn confirm(agreed: Agreed, inbound: &dyn Inbound) -> Result<Agreed, Refusal> {
    inbound.confirm(agreed.identity, agreed.highest)?;
    Ok(agreed)
}

fn check_answer(
    hello: Hello,
    ours: Identity,
    meant: NodeId,
    inbound: &dyn Inbound,
) -> Result<Agreed, Refusal> {
    check_cluster(hello, ours)?;
    if hello.identity.node != meant {
        return Err(Refusal::WrongNode { meant, reached: hello.identity.node });
    }
    check_program(hello, inbound)?;
    inbound.admit(hello.identity)?;
    Ok(hello.agreed())
}

/// A program that does not support the feature level of the cluster is refused.
fn check_program(hello: Hello, inbound: &dyn Inbound) -> Result<(), Refusal> {
    let (needed, highest) = (inbound.lowest_version(), hello.highest);
    if highest >= needed {
        return Ok(());
    }
    Err(Refusal::Older { node: hello.identity.node, highest, needed })
}

fn check_dialer(hello: Hello, ours: Identity, inbound: &dyn Inbound) -> Result<Agreed, Refusal> {
    check_cluster(hello, ours)?;
    if hello.meant != ours.node {
        return Err(Refusal::WrongNode { meant: hello.meant, reached: ours.node });
    }
    check_program(hello, inbound)?;
    inbound.admit(hello.identity)?;
    Ok(hello.agreed())
}

/// This check comes first, so that a wrong address in another cluster is reported as another
/// cluster.
fn check_cluster(hello: Hello, ours: Identity) -> Result<(), PeerRejected> {
    let Identity { cluster, node, .. } = hello.identity;
    if cluster == ours.cluster {
        Ok(())
    } else {
        Err(PeerRejected::OtherCluster { node, theirs: cluster, ours: ours.cluster })
    }
}

async fn read_hello(stream: &mut (impl AsyncRead + Unpin)) -> Result<Hello, HandshakeError> {
    let mut bytes = [0; HELLO_BYTES];
    stream.read_exact(&mut bytes[..8]).await?;
    if bytes[..4] != MAGIC {
        return Err(HandshakeError::Garbage("it does not begin with the magic bytes"));
    }
    stream.read_exact(&mut bytes[8..]).await?;
    Hello::decode(&bytes)
}

async fn read_verdict(stream: &mut (impl AsyncRead + Unpin)) -> Result<(), HandshakeError> {
    let mut head = [0; VERDICT_BYTES];
    stream.read_exact(&mut head).await?;
    let length = usize::from(u16::from_le_bytes([head[1], head[2]]));
    if length > MAX_REASON_BYTES {
        return Err(HandshakeError::Garbage("the text of its verdict is over the limit"));
    }
    let mut text = [0; MAX_REASON_BYTES];
    let text = &mut text[..length];
    stream.read_exact(text).await?;
    if crc32c_append(crc32c(&head[..3]), text).to_le_bytes() != head[3..] {
        return Err(HandshakeError::Garbage("the checksum of its verdict is wrong"));
    }
    match head[0] {
        WELCOME => Ok(()),
        code => {
            let reason = String::from_utf8_lossy(text).escape_debug().to_string();
            Err(HandshakeError::RefusedByPeer { code, reason })
        }
    }
}

/// Sends the verdict to the other side, and returns it.
async fn give_verdict(
    stream: &mut (impl AsyncWrite + Unpin),
    welcome: Result<Agreed, Refusal>,
) -> Result<Agreed, HandshakeError> {
    let bytes = match &welcome {
        Ok(_) => verdict(WELCOME, ""),
        Err(refusal) => verdict(refusal.code(), &refusal.to_string()),
    };
    stream.write_all(&bytes).await?;
    if welcome.is_err() {
        stream.shutdown().await?;
    }
    welcome.map_err(HandshakeError::Refused)
}

fn verdict(code: u8, text: &str) -> Vec<u8> {
    let end = (0..=MAX_REASON_BYTES).rev().find(|end| text.is_char_boundary(*end));
    let text = &text.as_bytes()[..end.unwrap_or(0).min(text.len())];
    let mut bytes = vec![code];
    bytes.extend((text.len() as u16).to_le_bytes());
    let checksum = crc32c_append(crc32c(&bytes), text);
    bytes.extend(checksum.to_le_bytes());
    bytes.extend(text);
    bytes
}

impl Refusal {
    /// The code of this refusal in a verdict.
    fn code(&self) -> u8 {
        match self {
            Refusal::Version { .. } | Refusal::Older { .. } => 1,
            Refusal::Rejected(PeerRejected::OtherCluster { .. }) => 2,
            Refusal::WrongNode { .. } => 3,
            Refusal::Rejected(PeerRejected::OwnId(_)) => 4,
            Refusal::Rejected(PeerRejected::OtherStore { .. }) => 5,
            Refusal::TooMany => 6,
            Refusal::Rejected(PeerRejected::Removed(_)) => REMOVED,
        }
    }
}

impl Hello {
    /// The bytes of this hello.
    pub fn encode(&self) -> [u8; HELLO_BYTES] {
        let mut bytes = [0; HELLO_BYTES];
        bytes[..4].copy_from_slice(&MAGIC);
        bytes[4..6].copy_from_slice(&LOWEST.to_le_bytes());
        bytes[6..8].copy_from_slice(&self.highest.to_le_bytes());
        let Identity { cluster, node, store } = self.identity;
        let numbers = [cluster.0, node.get(), store.0, self.meant.get()];
        for (place, number) in bytes[8..40].chunks_exact_mut(8).zip(numbers) {
            place.copy_from_slice(&number.to_le_bytes());
        }
        let checksum = crc32c(&bytes[..40]);
        bytes[40..].copy_from_slice(&checksum.to_le_bytes());
        bytes
    }

    /// Decodes a hello. The versions are checked before the checksum, which a later version may
    /// change.
    pub fn decode(bytes: &[u8; HELLO_BYTES]) -> Result<Hello, HandshakeError> {
        if bytes[..4] != MAGIC {
            return Err(HandshakeError::Garbage("it does not begin with the magic bytes"));
        }
        let [lowest, highest] = [4, 6].map(|at| u16::from_le_bytes([bytes[at], bytes[at + 1]]));
        if lowest > HIGHEST || highest < LOWEST || lowest > highest {
            return Err(HandshakeError::Refused(Refusal::Version { lowest, highest }));
        }
        if crc32c(&bytes[..40]).to_le_bytes() != bytes[40..] {
            return Err(HandshakeError::Garbage("the checksum of its hello is wrong"));
        }
        let numbers = bytes[8..40].chunks_exact(8).map(|eight| eight.try_into());
        let numbers = numbers.map(|eight| u64::from_le_bytes(eight.expect("eight bytes")));
        let numbers: Vec<u64> = numbers.collect();
        let node = |number| NodeId::new(number).ok_or(HandshakeError::Garbage("its node id is 0"));
        let identity = Identity {
            cluster: ClusterId(numbers[0]),
            node: node(numbers[1])?,
            store: StoreId(numbers[2]),
        };
        Ok(Hello { identity, meant: node(numbers[3])?, highest })
    }

    /// The sender, with the highest version that both speak.
    fn agreed(&self) -> Agreed {
        let version = self.highest.min(HIGHEST);
        Agreed { identity: self.identity, version: version as u8, highest: self.highest }
    }
}
