//! The handle of a member whose application works on types instead of bytes.

use std::marker::PhantomData;

use raft_core::storage::Store;
use raft_core::types::LogIndex;
use thiserror::Error;

use crate::application::{Application, TypedMachine, decode, decode_answer, encode};
use crate::config::NodeConfig;
use crate::member::clients::ReadAnswer;
use crate::node::Node;
use crate::requests::consistency::Consistency;
use crate::requests::error::{ProposeError, ReadError};
use crate::session::{Request, Session};
use crate::sessions::SessionError;
use crate::start::StartError;
use crate::transport::Transport;

/// A running member with a typed application. Cloning gives another handle to the same one.
pub struct TypedNode<A: Application> {
    node: Node,
    application: PhantomData<fn() -> A>,
}

/// Why a typed request has no answer.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum TypedError {
    /// The proposal failed; the error states whether the command may have been applied.
    #[error(transparent)]
    Propose(#[from] ProposeError),
    /// The read failed; try again.
    #[error(transparent)]
    Read(#[from] ReadError),
    /// The request of a session failed; the error states whether the command may have run.
    #[error(transparent)]
    Session(#[from] SessionError),
    /// The application's own types do not decode what they encode. A proposal that ends so was
    /// applied; a read has changed nothing. Trying again does not help.
    #[error("the application's types do not decode what they encode")]
    Types,
}

impl<A: Application> Clone for TypedNode<A> {
    fn clone(&self) -> TypedNode<A> {
        TypedNode { node: self.node.clone(), application: PhantomData }
    }
}

impl<A: Application> TypedNode<A> {
    /// Starts a member; see [`Node::start`].
    ///
    /// # Errors
    /// Those of [`Node::start`].
    pub async fn start(
        config: NodeConfig,
        store: Box<dyn Store>,
        transport: Box<dyn Transport>,
        application: A,
    ) -> Result<TypedNode<A>, StartError> {
        let machine = Box::new(TypedMachine(application));
        let node = Node::start(config, store, transport, machine).await?;
        Ok(TypedNode { node, application: PhantomData })
    }

    /// Starts a member that may have a blank log; see [`Node::join`].
    ///
    /// # Errors
    /// Those of [`Node::join`].
    pub async fn join(
        config: NodeConfig,
        store: Box<dyn Store>,
        transport: Box<dyn Transport>,
        application: A,
    ) -> Result<TypedNode<A>, StartError> {
        let machine = Box::new(TypedMachine(application));
        let node = Node::join(config, store, transport, machine).await?;
        Ok(TypedNode { node, application: PhantomData })
    }

    /// Proposes a command, and waits for its response; see [`Node::propose`].
    ///
    /// # Errors
    /// [`TypedError::Propose`] states whether the command may have been applied.
    pub async fn propose(&self, command: &A::Command) -> Result<A::Response, TypedError> {
        let answer = self.node.propose(encode(command)).await?;
        decode(&answer).ok_or(TypedError::Types)
    }

    /// Opens a client session; see [`Node::session`].
    ///
    /// # Errors
    /// Those of [`Node::session`].
    pub async fn session(&self) -> Result<TypedSession<A>, TypedError> {
        let session = self.node.session().await?;
        Ok(TypedSession { session, application: PhantomData })
    }

    /// Asks a query about the current state; see [`Node::read`].
    ///
    /// # Errors
    /// Nothing was changed; [`TypedError::Read`] may be tried again.
    pub async fn read(&self, query: &A::Query) -> Result<A::Answer, TypedError> {
        let answer = self.node.read(encode(query)).await?;
        decode_answer(&answer).ok_or(TypedError::Types)
    }

    /// Asks a query about a state that is as new as `consistency` says, and returns the answer with
    /// an index for later reads; see [`Node::read_with`].
    ///
    /// # Errors
    /// Nothing was changed; [`TypedError::Read`] may be tried again.
    pub async fn read_with(
        &self,
        query: &A::Query,
        consistency: Consistency,
    ) -> Result<(A::Answer, LogIndex), TypedError> {
        let ReadAnswer { index, answer } = self.node.read_with(encode(query), consistency).await?;
        Ok((decode_answer(&answer).ok_or(TypedError::Types)?, index))
    }

    /// The member itself.
    pub fn node(&self) -> &Node {
        &self.node
    }
}

/// A client session of a typed application. Cloning gives another handle to the same one.
pub struct TypedSession<A: Application> {
    session: Session,
    application: PhantomData<fn() -> A>,
}

/// A request of such a session; see [`Request`].
pub struct TypedRequest<A: Application> {
    request: Request,
    application: PhantomData<fn() -> A>,
}

impl<A: Application> Clone for TypedSession<A> {
    fn clone(&self) -> TypedSession<A> {
        TypedSession { session: self.session.clone(), application: PhantomData }
    }
}

impl<A: Application> TypedSession<A> {
    /// A handle to the same session that makes its requests at another member; see [`Session::at`].
    pub fn at(&self, node: &TypedNode<A>) -> TypedSession<A> {
        TypedSession { session: self.session.at(&node.node), application: PhantomData }
    }

    /// Makes a request of one command, without sending it; see [`Session::request`].
    pub async fn request(&self, command: &A::Command) -> TypedRequest<A> {
        let request = self.session.request(encode(command)).await;
        TypedRequest { request, application: PhantomData }
    }

    /// Makes a request, sends it, and waits for the response; see [`Session::propose`].
    ///
    /// # Errors
    /// Those of [`TypedRequest::send`].
    pub async fn propose(&self, command: &A::Command) -> Result<A::Response, TypedError> {
        self.request(command).await.send().await
    }

    /// Closes the session; see [`Session::close`].
    ///
    /// # Errors
    /// Those of [`Session::close`].
    pub async fn close(&self) -> Result<(), TypedError> {
        Ok(self.session.close().await?)
    }

    /// The session itself.
    pub fn session(&self) -> &Session {
        &self.session
    }
}

impl<A: Application> TypedRequest<A> {
    /// Sends the request and waits for the response to its one run; see [`Request::send`].
    ///
    /// # Errors
    /// [`TypedError::Session`] states whether the command may have run.
    pub async fn send(&self) -> Result<A::Response, TypedError> {
        decode(&self.request.send().await?).ok_or(TypedError::Types)
    }

    /// Like [`TypedRequest::send`], through another member of the cluster.
    ///
    /// # Errors
    /// Those of [`TypedRequest::send`].
    pub async fn send_at(&self, node: &TypedNode<A>) -> Result<A::Response, TypedError> {
        decode(&self.request.send_at(&node.node).await?).ok_or(TypedError::Types)
    }
}
