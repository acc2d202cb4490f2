//! The process that serves disks: this same program, started again.
//!
//! The process that uses a disk must not serve it. A thread that waits for a page of a shared
//! mapping (SQLite's `-shm`) holds a lock on its process's memory, and the thread that should
//! provide the page needs that lock as soon as it allocates: both would wait for ever.
//!
//! The serving code runs before the program's `main`, because a test binary may take any arguments
//! and cannot be asked in another way. It runs only if the variable [`ASKED`] is set, serves until
//! its owner has ended for any reason, and then removes its mounts.

use std::collections::BTreeMap;
use std::io;
use std::os::fd::AsFd;
use std::os::unix::net::UnixStream;
use std::path::PathBuf;
use std::sync::{Arc, Mutex};

use crate::change::Change;
use crate::mount::Mounted;
use crate::state::{Shared, State, lock};
use crate::tree::Tree;
use crate::wire::{Answer, DiskId, Request, receive, send};

/// The variable whose presence makes a program serve disks.
pub(crate) const ASKED: &str = "KONTIKI_SERVES_DISKS";

/// The only way to run before `main`. It is sound: the function takes and returns nothing, and the
/// C library is ready when it calls the functions of this section.
#[allow(unsafe_code)]
#[used]
#[unsafe(link_section = ".init_array")]
static BEFORE_MAIN: extern "C" fn() = serve_if_asked;

extern "C" fn serve_if_asked() {
    if std::env::var_os(ASKED).is_some() {
        let served = serve();
        std::process::exit(i32::from(served.is_err()));
    }
}

/// A mounted disk.
struct Kept {
    state: Shared,
    _mounted: Mounted,
}

fn serve() -> io::Result<()> {
    let mut owner = UnixStream::from(io::stdin().as_fd().try_clone_to_owned()?);
    let mut kept = BTreeMap::new();
    let mut next: DiskId = 1;
    while let Some(request) = receive::<Request>(&mut owner)? {
        let answer = match request {
            Request::Mount { base, changes } => match mount(&base, changes) {
                Ok((disk, point)) => {
                    kept.insert(next, disk);
                    next += 1;
                    Answer::Mounted(next - 1, point)
                }
                Err(error) => Answer::Failed(error.to_string()),
            },
            Request::Unmount(disk) => {
                if let Some(kept) = kept.get(&disk) {
                    // A sync that is never answered would block its caller for ever.
                    lock(&kept.state).release();
                }
                kept.remove(&disk);
                Answer::Number(0)
            }
            request => on_disk(&kept, request),
        };
        send(&mut owner, &answer)?;
    }
    Ok(())
}

fn mount(base: &[Change], changes: Vec<Change>) -> io::Result<(Kept, PathBuf)> {
    let mut tree = Tree::default();
    base.iter().chain(&changes).for_each(|change| tree.apply(change));
    let state = State { tree, record: changes, ..State::default() };
    let state: Shared = Arc::new(Mutex::new(state));
    let mounted = Mounted::new(state.clone())?;
    let point = mounted.point().to_owned();
    Ok((Kept { state, _mounted: mounted }, point))
}

fn on_disk(kept: &BTreeMap<DiskId, Kept>, request: Request) -> Answer {
    let with = |disk: DiskId, act: &dyn Fn(&mut State) -> Answer| match kept.get(&disk) {
        Some(kept) => act(&mut lock(&kept.state)),
        None => Answer::Failed(format!("there is no disk {disk}")),
    };
    match request {
        Request::Mark(disk, mark) => with(disk, &|state| {
            state.record.push(Change::Mark(mark));
            Answer::Number(mark)
        }),
        Request::Length(disk) => with(disk, &|state| Answer::Number(state.record.len() as u64)),
        Request::Since(disk, from) => with(disk, &|state| {
            let later = state.record.iter().skip(from as usize);
            Answer::Changes(later.cloned().collect())
        }),
        Request::Inject(disk, fault, within) => with(disk, &|state| {
            state.faults.add(fault, within.clone());
            Answer::Number(0)
        }),
        Request::ClearFaults(disk) => with(disk, &|state| Answer::Number(state.faults.clear())),
        Request::Failures(disk) => with(disk, &|state| Answer::Number(state.faults.failures())),
        Request::Count(disk, operation) => {
            with(disk, &|state| Answer::Number(state.faults.count(operation)))
        }
        Request::Hold(disk, within, passing) => with(disk, &|state| {
            state.hold(within.clone(), passing);
            Answer::Number(0)
        }),
        Request::Held(disk) => with(disk, &|state| Answer::Number(state.held())),
        Request::Release(disk) => with(disk, &|state| {
            state.release();
            Answer::Number(0)
        }),
        Request::Mount { .. } | Request::Unmount(_) => {
            Answer::Failed("not a request about a disk".to_owned())
        }
    }
}
