//! The tasks of a member: the only places where it waits.
//!
//! | task | runs on | wakes the driver with |
//! |---|---|---|
//! | `drive` | the caller's runtime | - (it *is* the driver) |
//! | `persist` | a thread, if the store may block; else the runtime | `Written` |
//! | `read` | a thread, if a reader may block; else the runtime | `Fetched` |
//! | `apply` | the runtime, unless the machine is cheap | `Applied` |

pub(crate) mod apply;
pub(crate) mod drive;
pub(crate) mod persist;
pub(crate) mod read;

use std::future::Future;
use std::io;

use raft_core::types::NodeId;
use tokio::runtime::Handle;
use tokio::sync::oneshot;
use tracing::{Instrument, info_span};

/// Runs a loop of a member to its end: on a thread of its own where it may block, else as a task.
/// The receiver hears when it ended.
pub(crate) fn spawn_loop<F>(
    name: &'static str,
    node: NodeId,
    may_block: bool,
    runtime: &Handle,
    work: F,
) -> io::Result<oneshot::Receiver<()>>
where
    F: Future<Output = ()> + Send + 'static,
{
    let (ended, has_ended) = oneshot::channel();
    let work = async move {
        work.await;
        // Nobody listens where the member is dropped without a shutdown.
        let _ = ended.send(());
    };
    let work = work.instrument(info_span!("kontiki", %node, task = name));
    if may_block {
        let handle = runtime.clone();
        let thread = std::thread::Builder::new().name(format!("{name}-{node}"));
        thread.spawn(move || handle.block_on(work))?;
    } else {
        runtime.spawn(work);
    }
    Ok(has_ended)
}
