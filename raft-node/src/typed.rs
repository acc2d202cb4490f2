//! Applications whose commands and answers are types, not bytes.
//!
//! An [`Application`] is a [`StateMachine`] for people who do not want to think about bytes.
//! Commands travel in postcard's wire format; a command that does not decode (an older or newer
//! version wrote it) is answered so by every member alike, and changes nothing.

use std::marker::PhantomData;

use bytes::Bytes;
use serde::Serialize;
use serde::de::DeserializeOwned;
use thiserror::Error;

use crate::{
    Committed, Node, NodeConfig, ProposeError, ReadError, Replies, StartError, StateMachine,
    Transport,
};
use raft_core::storage::Store;

/// A deterministic machine over types: the same commands in the same order give the same state and
/// the same responses on every member. No clock, no randomness, no hash order may reach a result.
pub trait Application: Send + 'static {
    /// What is proposed.
    type Command: Serialize + DeserializeOwned;
    /// What a command is answered.
    type Response: Serialize + DeserializeOwned;
    /// What is asked.
    type Query: Serialize + DeserializeOwned;
    /// What a query is answered.
    type Answer: Serialize + DeserializeOwned;

    /// Applies a committed command.
    fn apply(&mut self, command: Self::Command) -> Self::Response;

    /// Answers a query without changing anything.
    fn read(&self, query: Self::Query) -> Self::Answer;
}

/// A running member with a typed application. Cloning gives another handle to the same one.
pub struct TypedNode<A: Application> {
    node: Node,
    application: PhantomData<fn() -> A>,
}

/// Why a typed request has no answer.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum TypedError {
    /// The proposal failed; the error says whether it may have happened.
    #[error(transparent)]
    Propose(#[from] ProposeError),
    /// The read failed; try again.
    #[error(transparent)]
    Read(#[from] ReadError),
    /// The bytes are of another version of the application: the command had no effect.
    #[error("the members run versions of the application that do not understand each other")]
    Version,
}

impl<A: Application> Clone for TypedNode<A> {
    fn clone(&self) -> TypedNode<A> {
        TypedNode { node: self.node.clone(), application: PhantomData }
    }
}

impl<A: Application> TypedNode<A> {
    /// Starts a member; see [`Node::start`].
    pub async fn start(
        config: NodeConfig,
        store: Box<dyn Store>,
        transport: Box<dyn Transport>,
        application: A,
    ) -> Result<TypedNode<A>, StartError> {
        let machine = Box::new(Typed { application });
        let node = Node::start(config, store, transport, machine).await?;
        Ok(TypedNode { node, application: PhantomData })
    }

    /// Proposes a command, and waits for its response; see [`Node::propose`].
    pub async fn propose(&self, command: &A::Command) -> Result<A::Response, TypedError> {
        let answer = self.node.propose(encode(command)).await?;
        decode::<Understood<A::Response>>(&answer)?.into_result()
    }

    /// Asks for what is current; see [`Node::read`].
    pub async fn read(&self, query: &A::Query) -> Result<A::Answer, TypedError> {
        let answer = self.node.read(encode(query)).await?;
        decode::<Understood<A::Answer>>(&answer)?.into_result()
    }

    /// The member itself.
    pub fn node(&self) -> &Node {
        &self.node
    }
}

/// An application as a machine over bytes.
struct Typed<A> {
    application: A,
}

/// An answer, unless the question was of another version.
#[derive(serde::Serialize, serde::Deserialize)]
enum Understood<T> {
    Yes(T),
    No,
}

impl<T> Understood<T> {
    fn into_result(self) -> Result<T, TypedError> {
        match self {
            Understood::Yes(answer) => Ok(answer),
            Understood::No => Err(TypedError::Version),
        }
    }
}

impl<A: Application> StateMachine for Typed<A> {
    fn apply(&mut self, commands: &[Committed], replies: &mut Replies) {
        for committed in commands {
            let response = match decode(&committed.command) {
                Ok(command) => Understood::Yes(self.application.apply(command)),
                Err(_) => Understood::No,
            };
            replies.push(encode(&response));
        }
    }

    fn read(&self, query: &[u8]) -> Bytes {
        match decode(query) {
            Ok(query) => encode(&Understood::Yes(self.application.read(query))),
            Err(_) => encode(&Understood::<A::Answer>::No),
        }
    }
}

fn encode<T: Serialize>(value: &T) -> Bytes {
    let encoded = postcard::to_extend(value, Vec::new());
    Bytes::from(encoded.expect("an application's types are plain data"))
}

fn decode<T: DeserializeOwned>(bytes: &[u8]) -> Result<T, TypedError> {
    match postcard::take_from_bytes(bytes) {
        Ok((value, [])) => Ok(value),
        _ => Err(TypedError::Version),
    }
}
