//! The handle of a client session: requests that run once, however often they are made.
//!
//! The handle numbers the requests, and tells the cluster which answers it no longer needs. The
//! member sends a request again by itself, to each new leader, until it has the answer or its
//! deadline passes. After a deadline, or when the member has ended, the same [`Request`] may be
//! sent again, also through another member of the cluster: it has the same number, so it runs at
//! most once, and its answer is that of the one run.
//!
//! Deliberately absent: a task that keeps an unused session open.

use std::collections::BTreeSet;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use bytes::Bytes;
use tokio::sync::Notify;

use crate::bootstrap::random_number;
use crate::node::Node;
use crate::sessions::{SessionAnswer, SessionError, SessionId, SessionLimits, SessionRequest};

/// A client session. Cloning gives another handle to the same one.
///
/// A session expires if no request comes for [`Limits::session_ticks`](crate::Limits); then every
/// further request fails with [`SessionError::UnknownSession`]. Dropping the handle does not close
/// it.
///
/// ```
/// # use raft_node::{Node, ProposeError, SessionError};
/// async fn transfer(node: &Node, other: &Node) -> Result<(), SessionError> {
///     let session = node.session().await?;
///     let request = session.request("take 5 from a, give them to b".into()).await;
///     let answer = match request.send().await {
///         // It may have run, or run later. At another member it has the same number.
///         Err(SessionError::Unknown | SessionError::Closed) => request.send_at(other).await?,
///         result => result?,
///     };
///     println!("it ran once, and was answered {answer:?}");
///     session.close().await
/// }
/// ```
#[derive(Clone)]
pub struct Session {
    node: Node,
    shared: Arc<Shared>,
}

/// What all handles of a session share.
struct Shared {
    id: SessionId,
    window: u64,
    numbers: Mutex<Numbers>,
    /// Notified when a request is dropped, so that the window may move.
    moved: Notify,
}

/// The numbers of requests.
struct Numbers {
    next: u64,
    /// Those whose answers may still be needed. Invariant: all are below `next`.
    open: BTreeSet<u64>,
}

/// A request of a session. It may be sent any number of times, and runs at most once. Dropping it
/// tells the cluster, with a later request, that its answer is not needed any more.
pub struct Request {
    session: Session,
    number: u64,
    command: Bytes,
}

impl Node {
    /// Opens a client session. This is an entry of the log.
    ///
    /// # Errors
    /// [`SessionError::FeatureLevel`] as long as a member of the cluster runs a program without
    /// sessions, or this member has not applied enough of the log;
    /// [`SessionError::TooManySessions`]; or the outcome is not known, and a session that was
    /// opened in vain expires.
    pub async fn session(&self) -> Result<Session, SessionError> {
        let limits = self.limits();
        let limits = SessionLimits {
            timeout: limits.session_ticks,
            window: limits.session_window,
            answer_bytes: limits.session_answer_bytes,
            sessions: limits.sessions,
        };
        let token = (random_number(), random_number());
        match self.make(SessionRequest::Open { token, limits }, 0).await? {
            SessionAnswer::Opened { session, window } => {
                let numbers = Mutex::new(Numbers { next: 1, open: BTreeSet::new() });
                let (window, moved) = (window.into(), Notify::new());
                let shared = Arc::new(Shared { id: session, window, numbers, moved });
                Ok(Session { node: self.clone(), shared })
            }
            SessionAnswer::Ran(_) | SessionAnswer::Closed => unreachable!("not asked for"),
        }
    }
}

impl Session {
    /// The name of the session.
    pub fn id(&self) -> SessionId {
        self.shared.id
    }

    /// A handle to the same session that makes its requests at another member of the cluster.
    pub fn at(&self, node: &Node) -> Session {
        Session { node: node.clone(), shared: Arc::clone(&self.shared) }
    }

    /// Makes a request of one command, without sending it. If as many requests are open as the
    /// window of the session allows, this first waits until the oldest of them is dropped.
    pub async fn request(&self, command: Bytes) -> Request {
        loop {
            let moved = self.shared.moved.notified();
            if let Some(number) = self.shared.take_number() {
                return Request { session: self.clone(), number, command };
            }
            moved.await;
        }
    }

    /// Makes a request, sends it, and waits for the answer. To send it again after an error, use
    /// [`Session::request`] instead.
    ///
    /// # Errors
    /// Those of [`Request::send`].
    pub async fn propose(&self, command: Bytes) -> Result<Bytes, SessionError> {
        self.request(command).await.send().await
    }

    /// Closes the session: the cluster drops its answers. Requests that are still open then fail.
    ///
    /// # Errors
    /// [`SessionError::Unknown`] or [`SessionError::Closed`]: it may be tried again.
    pub async fn close(&self) -> Result<(), SessionError> {
        let session = self.shared.id;
        self.node.make(SessionRequest::Close { session }, 0).await.map(drop)
    }
}

impl Request {
    /// Its number in the session.
    pub fn number(&self) -> u64 {
        self.number
    }

    /// Sends the request and waits until it is applied at this member; returns the state machine's
    /// answer to its one run, which may have been earlier.
    ///
    /// # Errors
    /// Each states whether the command may have run, and whether to send it again: see
    /// [`SessionError`].
    pub async fn send(&self) -> Result<Bytes, SessionError> {
        self.send_at(&self.session.node).await
    }

    /// Like [`Request::send`], through another member of the cluster.
    ///
    /// # Errors
    /// Those of [`Request::send`].
    pub async fn send_at(&self, node: &Node) -> Result<Bytes, SessionError> {
        let size = node.check_request_size(&self.command)?;
        let shared = &self.session.shared;
        let request = SessionRequest::Run {
            session: shared.id,
            number: self.number,
            acknowledged_below: shared.acknowledged_below(),
            command: self.command.clone(),
        };
        match node.make(request, size).await? {
            SessionAnswer::Ran(answer) => Ok(answer),
            SessionAnswer::Opened { .. } | SessionAnswer::Closed => unreachable!("not asked for"),
        }
    }
}

impl Drop for Request {
    fn drop(&mut self) {
        self.session.shared.numbers().open.remove(&self.number);
        self.session.shared.moved.notify_waiters();
    }
}

impl Shared {
    fn numbers(&self) -> MutexGuard<'_, Numbers> {
        self.numbers.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The next number, if it is within the window.
    fn take_number(&self) -> Option<u64> {
        let mut numbers = self.numbers();
        let number = numbers.next;
        if number - numbers.acknowledged_below() >= self.window {
            return None;
        }
        numbers.next += 1;
        numbers.open.insert(number);
        Some(number)
    }

    fn acknowledged_below(&self) -> u64 {
        self.numbers().acknowledged_below()
    }
}

impl Numbers {
    /// Below this number no request is open.
    fn acknowledged_below(&self) -> u64 {
        self.open.first().copied().unwrap_or(self.next)
    }
}
