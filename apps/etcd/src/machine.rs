//! The deterministic machine: the key space as the log makes it.
//!
//! An answer never leaves the member: it goes to the service that proposed the command. Its first
//! byte is 0 before an encoded response, or the number of a refusal.

use std::sync::{Arc, PoisonError, RwLock, RwLockReadGuard};

use bytes::{BufMut, Bytes, BytesMut};
use kontiki::{Committed, Replies, StateMachine};
use prost::Message;

use crate::command::Command;
use crate::errors::Refusal;
use crate::mvcc::Store;
use crate::{compact, delete, put, txn};

/// How many superfluous versions are freed for each batch of commands, at most. One step takes less
/// than a microsecond, so a compaction never holds up the member for long, and it is faster than
/// new versions can come.
const SWEEP_STEPS: usize = 1024;

/// The key space of a member, shared between the machine that changes it and the services that
/// read it.
#[derive(Clone, Debug, Default)]
pub struct SharedStore {
    store: Arc<RwLock<Store>>,
}

impl SharedStore {
    /// The store, for reading. It waits while a batch of commands is applied.
    pub fn read(&self) -> RwLockReadGuard<'_, Store> {
        // The lock is poisoned only if applying panicked, and then the member is stopping; what a
        // finished transaction left is still sound to read.
        self.store.read().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The machine that applies etcd's commands.
#[derive(Debug, Default)]
pub struct Machine {
    shared: SharedStore,
}

impl Machine {
    /// A machine with nothing applied.
    pub fn new() -> Machine {
        Machine::default()
    }

    /// The key space, for the services of this member.
    pub fn store(&self) -> SharedStore {
        self.shared.clone()
    }
}

impl StateMachine for Machine {
    fn apply(&mut self, commands: &[Committed], replies: &mut Replies) {
        let mut store = self.shared.store.write().unwrap_or_else(PoisonError::into_inner);
        for committed in commands {
            replies.push(apply(&mut store, &committed.command));
        }
        store.sweep(SWEEP_STEPS);
    }

    fn read(&self, _query: &[u8]) -> Bytes {
        // The services read the shared store themselves, after a barrier.
        Bytes::new()
    }

    fn is_cheap(&self) -> bool {
        true
    }
}

fn apply(store: &mut Store, command: &Bytes) -> Bytes {
    let answer = Command::decode(command).and_then(|command| match command {
        Command::Put(request) => {
            store.write(|write| put::put_alone(write, request)).map(|response| encode(&response))
        }
        Command::Delete(request) => {
            Ok(encode(&store.write(|write| delete::delete(write, &request))))
        }
        Command::Txn(request) => txn::run(store, request).map(|response| encode(&response)),
        Command::Compact(request) => {
            compact::compact(store, &request).map(|response| encode(&response))
        }
    });
    answer.unwrap_or_else(|refusal| Bytes::copy_from_slice(&[refusal.number()]))
}

fn encode(response: &impl Message) -> Bytes {
    let mut bytes = BytesMut::with_capacity(1 + response.encoded_len());
    bytes.put_u8(0);
    response.encode_raw(&mut bytes);
    bytes.freeze()
}

/// Reads the machine's answer to a command.
///
/// # Panics
///
/// If the machine of this very process did not write it: our own bug.
pub(crate) fn decode_answer<R: Message + Default>(answer: &Bytes) -> Result<R, Refusal> {
    match answer.first() {
        Some(0) => Ok(R::decode(answer.slice(1..)).expect("the machine's answer can be read")),
        Some(number) => Err(Refusal::from_number(*number).expect("the machine's refusal is known")),
        None => panic!("the machine gave an empty answer"),
    }
}
