//! The stream of a member's events, as sentences.
//!
//! A task reads the member's events and passes them on through a short queue. A reader that is too
//! slow misses the oldest events, and is told how many. While nothing happens, the stream carries
//! an empty message from time to time: an answer that makes no progress for long counts as unread,
//! and its connection is closed. The stream ends when the reader or the member does.

use std::fmt::Display;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use kontiki::NodeEvent;
use kontiki::consensus::{RoleName, SoftState};
use tokio::sync::broadcast::error::RecvError;
use tokio::sync::mpsc;
use tokio::time::{MissedTickBehavior, interval};
use tonic::Status;
use tonic::codegen::tokio_stream::wrappers::ReceiverStream;

use crate::api::kontiki::v1::AdminEvent;
use crate::engine::{Engine, Role, TakenSnapshot};
use crate::member::SharedMember;

/// The stream.
pub(super) type Events = ReceiverStream<Result<AdminEvent, Status>>;

/// How many events may wait for the connection.
const QUEUE: usize = 64;

/// How often it is checked whether the member has ended.
const CHECK: Duration = Duration::from_millis(500);

/// After how many checks an empty message is sent.
const ALIVE: u32 = 10;

/// The events of a member from now on.
pub(super) fn of<E: Engine>(member: SharedMember<E>) -> Events {
    let (sender, receiver) = mpsc::channel(QUEUE);
    // Subscribed here, so that nothing is missed that happens after the call.
    let events = member.engine.events();
    tokio::spawn(pass_on(member, events, sender));
    ReceiverStream::new(receiver)
}

async fn pass_on<E: Engine>(
    member: SharedMember<E>,
    mut events: tokio::sync::broadcast::Receiver<NodeEvent>,
    sender: mpsc::Sender<Result<AdminEvent, Status>>,
) {
    let id = member.engine.standing().node.get();
    let event = |kind: &str, text: String| {
        let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        let (kind, unix_ms) = (kind.to_owned(), since.as_millis() as u64);
        AdminEvent { member: id, unix_ms, kind, text, missed: 0 }
    };
    let mut checks = interval(CHECK);
    checks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let (mut next, mut quiet) = (Some(event("begun", "tells what happens to it".to_owned())), 0);
    loop {
        if let Some(event) = next.take() {
            let is_last = event.kind == "stopped";
            if sender.send(Ok(event)).await.is_err() || is_last {
                return;
            }
            quiet = 0;
        }
        next = tokio::select! {
            received = events.recv() => match received {
                Ok(happened) => Some(sentence(&happened)).map(|(kind, text)| event(kind, text)),
                Err(RecvError::Lagged(missed)) => {
                    let text = format!("was faster than this reader, which misses {missed} events");
                    Some(AdminEvent { missed, ..event("missed", text) })
                }
                Err(RecvError::Closed) => return,
            },
            () = sender.closed() => return,
            _ = checks.tick() => {
                if member.engine.standing().role == Role::Stopped {
                    return;
                }
                quiet += 1;
                (quiet >= ALIVE).then(|| event("alive", String::new()))
            }
        };
    }
}

/// The kind of an event, and a sentence about it without its subject, the member.
fn sentence(event: &NodeEvent) -> (&'static str, String) {
    let up_to = |what: &str, snapshot: &TakenSnapshot| {
        format!("{what} a snapshot up to entry {}: {} bytes", snapshot.last, snapshot.bytes)
    };
    let because = |what: &str, why: &dyn Display| format!("{what}: {why}");
    match event {
        NodeEvent::Became(state) => ("became", became(state)),
        NodeEvent::ChangeStage(stage) => {
            ("change-stage", format!("{stage}, for a change of the members"))
        }
        NodeEvent::TransferFailed { to, why } => {
            ("transfer-failed", format!("has not handed the leadership to member {to}: {why}"))
        }
        NodeEvent::SnapshotTaken(taken) => ("snapshot-taken", up_to("took", taken)),
        NodeEvent::SnapshotInstalled(installed) => {
            ("snapshot-installed", up_to("received and installed", installed))
        }
        NodeEvent::SnapshotNotReceived(why) => {
            ("snapshot-not-received", because("could not receive a snapshot", why))
        }
        NodeEvent::SnapshotFailed(why) => {
            ("snapshot-failed", because("could not take a snapshot", why))
        }
        NodeEvent::Stopped(why) => ("stopped", because("stopped", why)),
        other => ("other", format!("{other:?}")),
    }
}

fn became(state: &SoftState) -> String {
    let SoftState { role, term, leader } = state;
    match (role, leader) {
        (RoleName::Leader, _) => format!("leads in term {term}"),
        (RoleName::Candidate, _) => format!("asks for votes in term {term}"),
        (RoleName::PreCandidate, _) => {
            format!("knows no leader in term {term}, and asks whether it would be elected")
        }
        (RoleName::Follower, Some(leader)) => format!("follows member {leader} in term {term}"),
        (RoleName::Follower, None) => format!("knows no leader in term {term}"),
    }
}

#[cfg(test)]
mod tests {
    use kontiki::NodeId;
    use kontiki::types::{EntryId, LogIndex, Term};

    use super::*;

    #[test]
    fn events_are_sentences() {
        let state = |role, leader| SoftState { role, term: Term::new(4), leader };
        let two = NodeId::new(2);
        assert_eq!(became(&state(RoleName::Leader, two)), "leads in term 4");
        assert_eq!(became(&state(RoleName::Follower, two)), "follows member 2 in term 4");
        assert_eq!(became(&state(RoleName::Follower, None)), "knows no leader in term 4");
        let last = EntryId::new(Term::new(4), LogIndex::new(9));
        let taken = TakenSnapshot { last, salt: 1, bytes: 70 };
        let (kind, text) = sentence(&NodeEvent::SnapshotTaken(taken));
        assert_eq!((kind, &*text), ("snapshot-taken", "took a snapshot up to entry 9@4: 70 bytes"));
        let (kind, text) = sentence(&NodeEvent::Stopped("the disk is gone".to_owned()));
        assert_eq!((kind, &*text), ("stopped", "stopped: the disk is gone"));
    }
}
