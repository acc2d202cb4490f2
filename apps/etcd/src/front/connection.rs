//! One connection of a client.
//!
//! A connection fails if its first bytes do not arrive in time, or when [`super::watch`] cuts it.
//! While it exists, it counts against the limit on connections.

use std::future::Future;
use std::io;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::sync::OwnedSemaphorePermit;
use tokio::time::{Sleep, sleep};
use tonic::transport::server::Connected;

use super::watch::ConnectionInfo;

/// The length of the preface of an HTTP/2 connection (RFC 9113, 3.4).
const PREFACE_BYTES: usize = 24;

/// The bytes to and from a client.
pub(super) trait Stream: AsyncRead + AsyncWrite + Send + Unpin {}

impl<S: AsyncRead + AsyncWrite + Send + Unpin> Stream for S {}

/// A connection.
pub(crate) struct Connection {
    stream: Box<dyn Stream>,
    info: ConnectionInfo,
    /// How many bytes of the preface are missing, and the time by which they must arrive.
    missing: Option<(usize, Pin<Box<Sleep>>)>,
    _permit: OwnedSemaphorePermit,
}

impl Connection {
    pub(super) fn new(
        stream: Box<dyn Stream>,
        info: ConnectionInfo,
        first_bytes_within: Duration,
        permit: OwnedSemaphorePermit,
    ) -> Connection {
        let missing = Some((PREFACE_BYTES, Box::pin(sleep(first_bytes_within))));
        Connection { stream, info, missing, _permit: permit }
    }

    /// Fails if the preface is late; counts the bytes of the preface that have arrived.
    fn check_preface(&mut self, context: &mut Context<'_>, came: usize) -> io::Result<()> {
        let Some((missing, deadline)) = &mut self.missing else { return Ok(()) };
        *missing = missing.saturating_sub(came);
        if *missing == 0 {
            self.missing = None;
            return Ok(());
        }
        if deadline.as_mut().poll(context).is_ready() {
            let text = "the client sent no HTTP/2 preface in time";
            return Err(io::Error::new(io::ErrorKind::TimedOut, text));
        }
        Ok(())
    }
}

impl AsyncRead for Connection {
    fn poll_read(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
        out: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        let before = out.filled().len();
        let read = Pin::new(&mut this.stream).poll_read(context, out);
        this.check_preface(context, out.filled().len() - before)?;
        if read.is_pending() {
            this.info.cut.wake_on_cut(context);
        }
        this.info.cut.check()?;
        read
    }
}

impl AsyncWrite for Connection {
    fn poll_write(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        let this = self.get_mut();
        this.info.cut.check()?;
        Pin::new(&mut this.stream).poll_write(context, bytes)
    }

    fn poll_flush(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.get_mut().stream).poll_flush(context)
    }

    fn poll_shutdown(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.get_mut().stream).poll_shutdown(context)
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
        parts: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let this = self.get_mut();
        this.info.cut.check()?;
        Pin::new(&mut this.stream).poll_write_vectored(context, parts)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }
}

impl Connected for Connection {
    type ConnectInfo = ConnectionInfo;

    fn connect_info(&self) -> ConnectionInfo {
        self.info.clone()
    }
}
