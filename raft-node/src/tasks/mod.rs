//! The tasks of a member: the only places where it waits.
//!
//! | task | runs on | tells |
//! |---|---|---|
//! | `drive` | the caller's runtime | - |
//! | `persist` | a thread, if the store may block; else polled in place | `Written` |
//! | `read` | a thread, if a reader may block; else polled in place | `Fetched` |
//! | `apply` | the caller's runtime, unless the machine is cheap: then in place | `Applied` |

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

/// Runs a loop of a member to its end, as a task. The receiver hears when it ended.
pub(crate) fn spawn_task(
    name: &'static str,
    node: NodeId,
    runtime: &Handle,
    work: impl Future<Output = ()> + Send + 'static,
) -> oneshot::Receiver<()> {
    let (work, has_ended) = named(name, node, work);
    runtime.spawn(work);
    has_ended
}

/// Runs a loop of a member to its end, on a thread of its own, where it may block.
pub(crate) fn spawn_thread(
    name: &'static str,
    node: NodeId,
    runtime: &Handle,
    work: impl Future<Output = ()> + Send + 'static,
) -> io::Result<oneshot::Receiver<()>> {
    let (work, has_ended) = named(name, node, work);
    let handle = runtime.clone();
    let thread = std::thread::Builder::new().name(format!("{name}-{node}"));
    thread.spawn(move || handle.block_on(work))?;
    Ok(has_ended)
}

fn named(
    name: &'static str,
    node: NodeId,
    work: impl Future<Output = ()> + Send + 'static,
) -> (impl Future<Output = ()> + Send + 'static, oneshot::Receiver<()>) {
    let (ended, has_ended) = oneshot::channel();
    let work = async move {
        work.await;
        // Nobody listens where the member is dropped without a shutdown.
        let _ = ended.send(());
    };
    (work.instrument(info_span!("kontiki", %node, task = name)), has_ended)
}
