//! Accepts clients, up to a limit.
//!
//! At the limit, or when the process has no file descriptor left, clients wait in the listener's
//! queue. This is logged from time to time and uses no processor time. A failed accept is retried
//! after a pause.

use std::io;
use std::sync::Arc;
use std::time::Duration;

use tokio::net::{TcpListener, TcpStream};
use tokio::sync::mpsc::Sender;
use tokio::sync::{AcquireError, OwnedSemaphorePermit, Semaphore};
use tokio::time::{Instant, sleep};

use crate::authority::LenientStream;
use crate::limits::ServerLimits;

use super::connection::Connection;
use super::watch::Watch;

/// How long to wait after a failed accept.
const PAUSE: Duration = Duration::from_millis(100);

/// The shortest time between two log lines that say that clients wait.
const SAY_EVERY: Duration = Duration::from_secs(60);

/// Accepts the clients of a listener.
pub(crate) struct Incoming {
    listener: TcpListener,
    watch: Watch,
    limit: usize,
    permits: Arc<Semaphore>,
    first_bytes_within: Duration,
    /// Whether a URL is accepted where HTTP/2 requires an authority.
    is_lenient: bool,
    said: Option<Instant>,
}

impl Incoming {
    pub(crate) fn new(
        listener: TcpListener,
        limits: &ServerLimits,
        watch: Watch,
        is_lenient: bool,
    ) -> Incoming {
        let limit = limits.connections.clamp(1, Semaphore::MAX_PERMITS);
        let permits = Arc::new(Semaphore::new(limit));
        let first_bytes_within = limits.request_time;
        Incoming { listener, watch, limit, permits, first_bytes_within, is_lenient, said: None }
    }

    /// Accepts until the receiver of the connections is closed.
    pub(crate) async fn run(mut self, out: Sender<io::Result<Connection>>) {
        loop {
            let Ok(permit) = self.permit().await else { return };
            let stream = self.accept().await;
            if out.send(Ok(self.connection(stream, permit))).await.is_err() {
                return;
            }
        }
    }

    async fn permit(&mut self) -> Result<OwnedSemaphorePermit, AcquireError> {
        if let Ok(permit) = self.permits.clone().try_acquire_owned() {
            return Ok(permit);
        }
        if self.is_to_be_said() {
            let limit = self.limit;
            tracing::warn!(limit, "the limit on connected clients is reached: others wait");
        }
        self.permits.clone().acquire_owned().await
    }

    async fn accept(&mut self) -> TcpStream {
        loop {
            match self.listener.accept().await {
                Ok((stream, _)) => return stream,
                Err(error) => {
                    if self.is_to_be_said() {
                        tracing::warn!(%error, "a client cannot be accepted: retrying");
                    }
                    sleep(PAUSE).await;
                }
            }
        }
    }

    fn is_to_be_said(&mut self) -> bool {
        let is_new = self.said.is_none_or(|said| said.elapsed() >= SAY_EVERY);
        if is_new {
            self.said = Some(Instant::now());
        }
        is_new
    }

    fn connection(&self, stream: TcpStream, permit: OwnedSemaphorePermit) -> Connection {
        // A connection that is already closed fails at its first read.
        let _ = stream.set_nodelay(true);
        let info = self.watch.connection();
        let within = self.first_bytes_within;
        if self.is_lenient {
            let stream = Box::new(LenientStream::new(stream));
            return Connection::new(stream, info, within, permit);
        }
        Connection::new(Box::new(stream), info, within, permit)
    }
}
