//! Applies committed commands and answers queries, in order, beside the protocol. Owns the machine.

use std::sync::Arc;

use raft_core::types::LogIndex;
use tokio::task::yield_now;

use crate::desk::Desk;
use crate::pump::Event;
use crate::runner::{MachineWork, apply_batch, serve_reads};
use crate::shared::Shared;
use crate::waiters::ReadGroup;
use crate::{Replies, StateMachine};

/// Works until the desk is closed.
pub(crate) async fn run(
    mut machine: Box<dyn StateMachine>,
    desk: Arc<Desk<MachineWork>>,
    shared: Arc<Shared>,
) {
    let (mut replies, mut wakers) = (Replies::default(), Vec::new());
    while let Some(work) = desk.take().await {
        match work {
            MachineWork::Apply(batch) => {
                apply_batch(machine.as_mut(), batch, &shared, &mut replies, &mut wakers);
                shared.post(Event::Applied);
            }
            MachineWork::Serve(group, index) => {
                serve(&*machine, &group, index, &shared, &mut wakers)
            }
        }
        wakers.drain(..).for_each(std::task::Waker::wake);
        // A long catch-up must not keep the driver from its heartbeats.
        yield_now().await;
    }
}

fn serve(
    machine: &dyn StateMachine,
    group: &ReadGroup,
    index: LogIndex,
    shared: &Shared,
    wakers: &mut Vec<std::task::Waker>,
) {
    serve_reads(machine, group, index, wakers);
    shared.reads_room.leave(group.queries.len() as u64, 0);
}
