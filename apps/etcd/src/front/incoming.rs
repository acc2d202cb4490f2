//! Accepts clients, up to a limit.
//!
//! At the limit, and where the process has no descriptor left, clients wait in the listener's
//! queue; that is said once in a while and costs no processor time. A failed accept is tried again
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

/// How often it is said that clients have to wait.
const SAY_EVERY: Duration = Duration::from_secs(60);

/// The clients that come to a listener.
pub(crate) struct Incoming {
    listener: TcpListener,
    watch: Watch,
    limit: usize,
    permits: Arc<Semaphore>,
    first_bytes_within: Duration,
    /// Whether a URL is let in where HTTP/2 wants an authority.
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

    /// Accepts until nothing takes the connections any more.
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
            tracing::warn!(limit, "as many clients are connected as may be: others wait");
        }
        self.permits.clone().acquire_owned().await
    }

    async fn accept(&mut self) -> TcpStream {
        loop {
            match self.listener.accept().await {
                Ok((stream, _)) => return stream,
                Err(error) => {
                    if self.is_to_be_said() {
                        tracing::warn!(%error, "a client cannot be accepted: tried again");
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
        // A connection that is gone already fails at its first read.
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
