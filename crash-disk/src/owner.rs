//! The owner's side: one serving process for all disks of this process, started on demand.

use std::io;
use std::os::fd::OwnedFd;
use std::os::unix::net::UnixStream;
use std::os::unix::process::CommandExt;
use std::process::{Command, Stdio};
use std::sync::{Mutex, PoisonError};

use crate::keeper::ASKED;
use crate::wire::{Answer, Request, receive, send};

/// The connection to the serving process.
static KEEPER: Mutex<Option<UnixStream>> = Mutex::new(None);

/// Sends a request to the serving process.
pub(crate) fn ask(request: &Request) -> io::Result<Answer> {
    let mut keeper = KEEPER.lock().unwrap_or_else(PoisonError::into_inner);
    let mut stream = match keeper.take() {
        Some(stream) => stream,
        None => start()?,
    };
    send(&mut stream, request)?;
    let answer = receive(&mut stream)?;
    *keeper = Some(stream);
    match answer {
        Some(Answer::Failed(why)) => Err(io::Error::other(why)),
        Some(answer) => Ok(answer),
        None => Err(io::Error::other("the process that serves the disks has ended")),
    }
}

/// Sends a request whose answer is a number. While a disk is mounted, its serving process exists.
pub(crate) fn number(request: &Request) -> u64 {
    match ask(request) {
        Ok(Answer::Number(number)) => number,
        other => panic!("the process that serves the disks answered {request:?} with {other:?}"),
    }
}

/// Starts the serving process in its own process group, so that a signal to this process's group
/// does not stop it from cleaning up.
fn start() -> io::Result<UnixStream> {
    let (own, its) = UnixStream::pair()?;
    let mut command = Command::new("/proc/self/exe");
    command.env(ASKED, "1").process_group(0);
    command.stdin(Stdio::from(OwnedFd::from(its))).stdout(Stdio::null());
    // The process ends by itself once `own` is closed; it is never waited for.
    let _child = command.spawn()?;
    Ok(own)
}
