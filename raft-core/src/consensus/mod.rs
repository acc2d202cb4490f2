//! The protocol: Raft, as a function from inputs to outputs.
//!
//! Raft keeps a log of commands the same on all members of a cluster, as long as a majority is
//! running. One member leads. It accepts commands, appends them to its log, and sends them to the
//! others; an entry that a majority has stored is *committed*, and all members will apply it, in
//! the same order. If the leader falls silent, the others elect another one whose log holds
//! everything committed. Time is divided into *terms*, each with at most one leader.
//!
//! ```text
//!                    silent leader        majority would vote        majority votes
//!      +----------+               +--------------+             +-----------+           +--------+
//!  --> | Follower | ------------> | PreCandidate | ----------> | Candidate | --------> | Leader |
//!      +----------+               +--------------+             +-----------+           +--------+
//!            ^                           |                           |                      |
//!            +---------------------------+---------------------------+----------------------+
//!            hears a leader, or a later term; the leader: hears no majority, or its disk stalls
//! ```
//!
//! [`Raft::step`] takes one [`Input`] and appends [`Output`]s to a list, in the order in which they
//! may be carried out, each as soon as it appears. It uses no I/O, clock or thread: time and
//! randomness are inputs. The caller makes writes durable in the order of issue and reports this
//! with [`Input::Durable`]; the core itself tracks which write each promise must wait for.
//!
//! | file | section of the paper or the thesis |
//! |---|---|
//! | `election` | 5.2, 5.4.1; thesis 4.2.3, 6.2, 9.6 |
//! | `append` | 5.3, the follower's side |
//! | `replication`, `progress` | 5.3, the leader's side; thesis 10.2 |
//! | `commit`, `quorum` | 5.3, 5.4.2 |
//! | `membership`, `reconfiguration` | 6; thesis 4: the configuration, and its changes |
//! | `snapshot` | 7; thesis 5: purging the log, and starting it after a snapshot |
//! | `read_index` | 8; thesis 6.4 |
//! | `lease`, `round_times` | thesis 6.4.1 |
//! | `transfer` | thesis 3.10 |
//! | `log_view`, `writes` | 5.3; thesis 10.2.1 |
//! | `step`, `raft`, `role` | Figure 2, the rules for servers |
//! | `laws` | Figure 3 |
//!
//! Deliberately absent: the bytes of snapshots and client sessions, which are on the state
//! machine's side, outside the core. `docs/divergence.md` lists where this implementation differs
//! from the thesis.

mod append;
mod commit;
mod config;
mod election;
mod input;
mod laws;
mod lease;
mod log_view;
mod membership;
mod message;
mod output;
mod planted;
mod progress;
mod quorum;
mod raft;
mod read_index;
mod reconfiguration;
mod refusal;
mod replication;
mod role;
mod round_times;
mod snapshot;
mod status;
mod step;
mod time;
mod transfer;
mod writes;

pub use config::{Config, ConfigError};
pub use input::{Input, NotSent};
pub use message::{Body, MAX_NUMBER, Message, ReadId, Round, Verdict};
pub use output::{
    Appended, Contradiction, Output, Removal, RoleName, SendId, SoftState, Source, Write, WriteSeq,
};
#[cfg(feature = "mutants")]
pub use planted::Mutant;
pub use quorum::has_majority;
pub use raft::{Raft, Start};
pub use refusal::{ChangeRefusal, Refusal, Rejection, TransferRefusal};
pub use status::{PeerStatus, Status};
pub use time::{TICK_MICROS, Time};
