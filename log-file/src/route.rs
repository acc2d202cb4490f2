//! How frames reach a real disk: which of the requested ways this machine and this file system
//! offer.
//!
//! Each way is tried before it is used: when the log is opened, one block is written in each way to
//! a separate file, until one way works. Each way that does not work is logged. Only a segment that
//! was written beforehand, from end to end, is written to directly; one that still grows shares its
//! pages with the zeros that are written ahead of the frames. There the sync of the whole file is
//! also faster, since it allocates a megabyte at once.
//!
//! A ring must never block the thread that polls a write ([`WritePath::may_block`]). Whether
//! handing a write over blocks is reported by the device or measured (`trial`). Where it does,
//! `Auto` uses a thread, and an explicitly requested ring hands its direct writes to workers of the
//! kernel.
//!
//! Absent: `O_DSYNC`, which has the same effect as `RWF_DSYNC` and took as long.

use std::io;
use std::path::Path;
use std::sync::Arc;

#[cfg(target_os = "linux")]
mod device;
#[cfg(target_os = "linux")]
mod direct;
#[cfg(target_os = "linux")]
mod ring;
#[cfg(target_os = "linux")]
mod submission;
#[cfg(target_os = "linux")]
mod trial;

#[cfg(target_os = "linux")]
use trial::TriedRing;

use crate::config::{Io, WriteVerb};
use crate::disk::{DiskFile, FrameFile, WritePath, WriteThenSync};

#[cfg(target_os = "linux")]
const NO_RING: &str = "the log is written by a thread, not a ring";

/// The way in which frames are written.
#[derive(Debug)]
pub(crate) enum Route {
    /// A write, then a sync of the file.
    Fdatasync,
    /// A write that is its own sync: past the page cache in blocks of so many bytes, or through the
    /// page cache.
    #[cfg(target_os = "linux")]
    Dsync { direct: Option<u64> },
    /// Through a ring, in blocks of so many bytes.
    #[cfg(target_os = "linux")]
    Ring { ring: Arc<ring::Ring>, block_bytes: u64 },
}

impl Route {
    /// The best way that works in this directory, among those that were requested.
    #[cfg(target_os = "linux")]
    pub(crate) fn find(dir: &Path, io: Io, write_verb: WriteVerb) -> Route {
        // A named verb is called by a thread.
        let is_auto = io == Io::Auto && write_verb == WriteVerb::Auto;
        if io == Io::Ring || is_auto {
            match trial::try_ring(dir) {
                Ok(TriedRing { ring, block_bytes, blocking: None }) => {
                    tracing::info!("the log is written through a ring, which never blocked");
                    return Route::Ring { ring, block_bytes };
                }
                Ok(TriedRing { blocking: Some(why), .. }) if is_auto => {
                    tracing::info!(%why, "{NO_RING}: handing a write over would block");
                }
                Ok(TriedRing { ring, block_bytes, blocking: Some(why) }) => {
                    tracing::info!(%why, "the log's ring hands its writes to the kernel's workers");
                    ring.use_workers();
                    return Route::Ring { ring, block_bytes };
                }
                Err(error) if is_auto => tracing::info!(%error, "{NO_RING}"),
                Err(error) => tracing::warn!(%error, "{NO_RING}"),
            }
        }
        if matches!(write_verb, WriteVerb::Auto | WriteVerb::Direct) {
            match trial::try_direct(dir) {
                Ok(block_bytes) => return Route::Dsync { direct: Some(block_bytes) },
                Err(error) => tracing::info!(%error, "the log is not written with direct writes"),
            }
        }
        if write_verb != WriteVerb::Fdatasync {
            match trial::try_dsync(dir) {
                Ok(()) => return Route::Dsync { direct: None },
                Err(error) => tracing::info!(%error, "the log is written, then synced"),
            }
        }
        Route::Fdatasync
    }

    /// On other systems there is one way.
    #[cfg(not(target_os = "linux"))]
    pub(crate) fn find(_dir: &Path, io: Io, write_verb: WriteVerb) -> Route {
        if io == Io::Ring || matches!(write_verb, WriteVerb::Direct | WriteVerb::Dsync) {
            tracing::warn!("the log is written, then synced, by a thread: this is not Linux");
        }
        Route::Fdatasync
    }

    /// Opens a segment, which is open as `file` already.
    pub(crate) fn open(
        &self,
        path: &Path,
        file: Arc<dyn DiskFile>,
        is_written: bool,
    ) -> io::Result<Arc<dyn FrameFile>> {
        let _ = (path, is_written);
        match self {
            #[cfg(target_os = "linux")]
            Route::Dsync { direct } if is_written => {
                Ok(Arc::new(direct::OwnSync::open(path, *direct)?))
            }
            #[cfg(target_os = "linux")]
            Route::Ring { ring, block_bytes } => {
                let direct = is_written.then_some(*block_bytes);
                Ok(Arc::new(ring::RingFile::open(ring, path, direct)?))
            }
            _ => Ok(Arc::new(WriteThenSync(file))),
        }
    }

    pub(crate) fn write_path(&self) -> WritePath {
        match self {
            Route::Fdatasync => WritePath::default(),
            #[cfg(target_os = "linux")]
            Route::Dsync { direct } => {
                let sync_verb = match direct {
                    Some(_) => "O_DIRECT + RWF_DSYNC",
                    None => "RWF_DSYNC",
                };
                WritePath { sync_verb: sync_verb.into(), may_block: true }
            }
            #[cfg(target_os = "linux")]
            Route::Ring { .. } => {
                let sync_verb = "io_uring, O_DIRECT + RWF_DSYNC".into();
                WritePath { sync_verb, may_block: false }
            }
        }
    }

    /// Whether a write that is polled on this thread now blocks it: a runtime watches the ring, and
    /// there may be none.
    pub(crate) fn blocks_here(&self) -> bool {
        match self {
            #[cfg(target_os = "linux")]
            Route::Ring { .. } => tokio::runtime::Handle::try_current().is_err(),
            _ => true,
        }
    }

    /// Waits until no write is under way.
    pub(crate) fn settle(&self) {
        #[cfg(target_os = "linux")]
        if let Route::Ring { ring, .. } = self {
            ring.settle();
        }
    }
}
