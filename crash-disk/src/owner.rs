//! The owner's end: one serving process for all disks of this process, started when it is needed.

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

/// Asks the serving process for something.
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

/// Asks for a number. Once a disk is mounted, the process that serves it is there.
pub(crate) fn number(request: &Request) -> u64 {
    match ask(request) {
        Ok(Answer::Number(number)) => number,
        other => panic!("the process that serves the disks answered {request:?} with {other:?}"),
    }
}

/// In a group of its own, so that what ends this process by a signal to its group does not keep the
/// other from cleaning up.
fn start() -> io::Result<UnixStream> {
    let (own, its) = UnixStream::pair()?;
    let mut command = Command::new("/proc/self/exe");
    command.env(ASKED, "1").process_group(0);
    command.stdin(Stdio::from(OwnedFd::from(its))).stdout(Stdio::null());
    // It ends by itself once `own` is closed; it is never joined.
    let _child = command.spawn()?;
    Ok(own)
}
