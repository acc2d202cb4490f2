//! A disk in memory that fails in every way that the standards allow, for tests and simulators.
//!
//! At a [`crash`](SimDisk::crash), bytes that were not synced may be lost sector by sector, or torn
//! inside a sector; the bytes may be lost without the length, or the length without the bytes; and
//! names may be lost independently of both. A sync that fails leaves the bytes readable and never
//! writes them, as Linux does, so that a second sync succeeds without making them durable. Faults
//! are planned by operation number. All randomness comes from seeds: the same calls give the same
//! bytes.
//!
//! `remains` decides what survives a crash.

mod remains;

use std::any::Any;
use std::collections::BTreeMap;
use std::io;
use std::ops::Range;
use std::sync::{Arc, Mutex, MutexGuard};

use raft_core::storage::LogOp;

use crate::disk::{Disk, DiskFile, FrameFile, Put, PutError, WriteThenSync, Written};
use crate::write_buffer::WriteBuffer;
use crate::zero_fill::write_zeros;
pub(crate) use remains::Rng;

/// A simulated directory. Clones are handles to the same one.
#[derive(Clone, Debug)]
pub struct SimDisk {
    machine: Arc<Mutex<Machine>>,
}

/// The fault at a planned operation.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fault {
    /// The operation fails and does nothing; a sync discards what it should have written.
    Error(io::ErrorKind),
    /// A write writes half of its bytes and succeeds. Other operations are not affected.
    ShortWrite,
    /// The disk is full from here on, until the process ends or
    /// [`free_space`](SimDisk::free_space): no file can be created or grow. Existing bytes can be
    /// overwritten.
    Full,
    /// The power fails while the operation runs. All later ones fail until a crash or an image.
    PowerOff,
}

#[derive(Clone, Debug)]
struct Machine {
    files: Vec<FileState>,
    names: BTreeMap<String, usize>,
    durable_names: BTreeMap<String, usize>,
    pending_names: Vec<NameChange>,
    is_locked: bool,
    /// Counts the crashes. Handles from before a crash no longer work.
    life: u64,
    operations: u64,
    plan: Option<(u64, Fault)>,
    is_powered: bool,
    is_full: bool,
    rng: Rng,
    /// A write of a frame begins and ends at multiples of this.
    block_bytes: u64,
}

#[derive(Clone, Debug, Default)]
struct FileState {
    /// The bytes that a read returns.
    bytes: Vec<u8>,
    /// The bytes that survive every crash.
    durable: Vec<u8>,
    pending: Vec<ByteChange>,
}

#[derive(Clone, Debug)]
enum ByteChange {
    Write { offset: usize, bytes: Vec<u8> },
    SetLen(usize),
}

#[derive(Clone, Debug)]
enum NameChange {
    Link(String, usize),
    Unlink(String),
    Rename(String, String, usize),
}

impl SimDisk {
    /// An empty directory. The seed determines [`Disk::random`].
    pub fn new(seed: u64) -> SimDisk {
        SimDisk::of(Machine {
            files: Vec::new(),
            names: BTreeMap::new(),
            durable_names: BTreeMap::new(),
            pending_names: Vec::new(),
            is_locked: false,
            life: 0,
            operations: 0,
            plan: None,
            is_powered: true,
            is_full: false,
            rng: Rng::new(seed),
            block_bytes: 1,
        })
    }

    fn of(machine: Machine) -> SimDisk {
        SimDisk { machine: Arc::new(Mutex::new(machine)) }
    }

    /// The same directory on a disk that takes frames in whole blocks only, as a real one does past
    /// the page cache.
    pub fn in_blocks_of(self, bytes: u64) -> SimDisk {
        self.machine().block_bytes = bytes;
        self
    }

    /// How many operations changed or tried to change the disk so far.
    pub fn operations(&self) -> u64 {
        self.machine().operations
    }

    /// Plans one fault, at the operation with this number; the next one is `operations()`.
    pub fn plan_fault(&self, operation: u64, fault: Fault) {
        self.machine().plan = Some((operation, fault));
    }

    /// Ends [`Fault::Full`]: there is space again, for the files that are open, too.
    pub fn free_space(&self) {
        self.machine().is_full = false;
    }

    /// Cuts the power and restarts. The seed determines how much of the unsynced state survives.
    /// Open files and the lock are lost.
    pub fn crash(&self, seed: u64) {
        self.machine().crash(&mut Rng::new(seed));
    }

    /// Another disk that holds what this one would after a crash with this seed.
    pub fn image(&self, seed: u64) -> SimDisk {
        let mut machine = self.machine().clone();
        machine.crash(&mut Rng::new(seed));
        SimDisk::of(machine)
    }

    /// Another disk in exactly the state of this one, including what is not durable.
    pub fn copy(&self) -> SimDisk {
        let mut machine = self.machine().clone();
        machine.end_life();
        SimDisk::of(machine)
    }

    /// Ends the process without cutting the power: everything that was written can be read.
    pub fn kill(&self) {
        self.machine().end_life();
    }

    /// The bytes of a file, as a read returns them.
    pub fn bytes(&self, name: &str) -> Option<Vec<u8>> {
        let machine = self.machine();
        machine.names.get(name).map(|file| machine.files[*file].bytes.clone())
    }

    /// Creates a durable file, as if no process had written it.
    pub fn put(&self, name: &str, bytes: Vec<u8>) {
        let mut machine = self.machine();
        let file = FileState { durable: bytes.clone(), bytes, pending: Vec::new() };
        machine.files.push(file);
        let number = machine.files.len() - 1;
        machine.names.insert(name.to_string(), number);
        machine.durable_names.insert(name.to_string(), number);
    }

    fn machine(&self) -> MutexGuard<'_, Machine> {
        self.machine.lock().expect("nothing panics while it holds a simulated disk")
    }
}

impl Machine {
    /// Counts a changing operation; returns the fault that is planned for it, if any.
    fn begin(&mut self) -> io::Result<Option<Fault>> {
        self.check_power()?;
        let operation = self.operations;
        self.operations += 1;
        match self.plan {
            Some((planned, fault)) if planned == operation => {
                self.is_powered = fault != Fault::PowerOff;
                self.is_full |= fault == Fault::Full;
                Ok(Some(fault))
            }
            _ => Ok(None),
        }
    }

    /// Like `begin`, for an operation that is either done or not.
    fn begin_whole(&mut self) -> io::Result<()> {
        match self.begin()? {
            Some(Fault::Error(kind)) => Err(planned(kind)),
            _ => Ok(()),
        }
    }

    fn check_power(&self) -> io::Result<()> {
        if self.is_powered { Ok(()) } else { Err(io::Error::other("the simulated power is off")) }
    }

    /// An operation that was under way when the power failed is not reported as done.
    fn end(&self) -> io::Result<()> {
        self.check_power()
    }

    fn end_life(&mut self) {
        self.life += 1;
        self.is_locked = false;
        self.is_powered = true;
        self.is_full = false;
        self.plan = None;
    }

    fn check_space(&self, is_needed: bool) -> io::Result<()> {
        if self.is_full && is_needed { Err(planned(io::ErrorKind::StorageFull)) } else { Ok(()) }
    }

    fn file_named(&self, name: &str) -> io::Result<usize> {
        let missing = || io::Error::new(io::ErrorKind::NotFound, "no such simulated file");
        self.names.get(name).copied().ok_or_else(missing)
    }
}

fn planned(kind: io::ErrorKind) -> io::Error {
    io::Error::new(kind, "planned failure of a simulated disk")
}

impl Disk for SimDisk {
    fn create(&self, name: &str) -> io::Result<Arc<dyn DiskFile>> {
        let mut machine = self.machine();
        machine.begin_whole()?;
        machine.check_space(true)?;
        machine.files.push(FileState::default());
        let file = machine.files.len() - 1;
        machine.names.insert(name.to_string(), file);
        machine.pending_names.push(NameChange::Link(name.to_string(), file));
        machine.end()?;
        Ok(Arc::new(SimFile { disk: self.clone(), file, life: machine.life }))
    }

    fn open(&self, name: &str) -> io::Result<Arc<dyn DiskFile>> {
        let machine = self.machine();
        machine.check_power()?;
        let file = machine.file_named(name)?;
        Ok(Arc::new(SimFile { disk: self.clone(), file, life: machine.life }))
    }

    fn rename(&self, from: &str, to: &str) -> io::Result<()> {
        let mut machine = self.machine();
        machine.begin_whole()?;
        let file = machine.file_named(from)?;
        machine.names.remove(from);
        machine.names.insert(to.to_string(), file);
        machine.pending_names.push(NameChange::Rename(from.to_string(), to.to_string(), file));
        machine.end()
    }

    fn unlink(&self, name: &str) -> io::Result<()> {
        let mut machine = self.machine();
        machine.begin_whole()?;
        machine.file_named(name)?;
        machine.names.remove(name);
        machine.pending_names.push(NameChange::Unlink(name.to_string()));
        machine.end()
    }

    fn sync_names(&self) -> io::Result<()> {
        let mut machine = self.machine();
        match machine.begin()? {
            Some(Fault::Error(kind)) => return Err(planned(kind)),
            Some(Fault::PowerOff) => return machine.end(),
            _ => {}
        }
        machine.durable_names = machine.names.clone();
        machine.pending_names.clear();
        Ok(())
    }

    fn list(&self) -> io::Result<Vec<String>> {
        let machine = self.machine();
        machine.check_power()?;
        Ok(machine.names.keys().cloned().collect())
    }

    fn lock(&self) -> io::Result<Box<dyn Any + Send + Sync>> {
        let mut machine = self.machine();
        machine.check_power()?;
        if machine.is_locked {
            return Err(io::ErrorKind::WouldBlock.into());
        }
        machine.is_locked = true;
        Ok(Box::new(SimLock { disk: self.clone(), life: machine.life }))
    }

    fn random(&self) -> io::Result<u64> {
        Ok(self.machine().rng.next())
    }

    fn place(&self, name: &str) -> String {
        format!("sim/{name}")
    }

    fn open_for_frames(
        &self,
        _name: &str,
        file: Arc<dyn DiskFile>,
        is_written: bool,
    ) -> io::Result<Arc<dyn FrameFile>> {
        let block_bytes = if is_written { self.machine().block_bytes } else { 1 };
        Ok(Arc::new(SimFrames { file: WriteThenSync(file), block_bytes }))
    }
}

struct SimFrames {
    file: WriteThenSync,
    block_bytes: u64,
}

impl FrameFile for SimFrames {
    fn block_bytes(&self) -> u64 {
        self.block_bytes
    }

    fn put(&self, buffer: WriteBuffer, offset: u64) -> Put {
        let is_whole = |number: u64| number.is_multiple_of(self.block_bytes);
        let is_sound = is_whole(offset) && is_whole(buffer.len() as u64) && buffer.is_aligned();
        if !is_sound {
            // The error of the operating system for a direct write that is not of whole blocks.
            let error = io::ErrorKind::InvalidInput.into();
            return Put::Done(Written {
                buffer,
                result: Err(PutError { op: LogOp::Write, error }),
            });
        }
        self.file.put(buffer, offset)
    }
}

struct SimLock {
    disk: SimDisk,
    life: u64,
}

impl Drop for SimLock {
    fn drop(&mut self) {
        let mut machine = self.disk.machine();
        if machine.life == self.life {
            machine.is_locked = false;
        }
    }
}

struct SimFile {
    disk: SimDisk,
    file: usize,
    life: u64,
}

impl SimFile {
    fn machine(&self) -> io::Result<MutexGuard<'_, Machine>> {
        let machine = self.disk.machine();
        if machine.life == self.life {
            Ok(machine)
        } else {
            Err(io::Error::other("this handle belongs to a process that has ended"))
        }
    }
}

impl DiskFile for SimFile {
    fn len(&self) -> io::Result<u64> {
        let machine = self.machine()?;
        machine.check_power()?;
        Ok(machine.files[self.file].bytes.len() as u64)
    }

    fn read_at(&self, buffer: &mut [u8], offset: u64) -> io::Result<usize> {
        let machine = self.machine()?;
        machine.check_power()?;
        let rest = machine.files[self.file].bytes.get(offset as usize..).unwrap_or_default();
        let count = rest.len().min(buffer.len());
        buffer[..count].copy_from_slice(&rest[..count]);
        Ok(count)
    }

    fn write_at(&self, bytes: &[u8], offset: u64) -> io::Result<usize> {
        let mut machine = self.machine()?;
        let count = match machine.begin()? {
            Some(Fault::Error(kind)) => return Err(planned(kind)),
            Some(Fault::ShortWrite) => bytes.len().div_ceil(2),
            _ => bytes.len(),
        };
        let room = machine.files[self.file].bytes.len().saturating_sub(offset as usize);
        let count = if machine.is_full { count.min(room) } else { count };
        machine.check_space(count == 0)?;
        let bytes = bytes[..count].to_vec();
        machine.files[self.file].change(ByteChange::Write { offset: offset as usize, bytes });
        machine.end()?;
        Ok(count)
    }

    fn fill(&self, range: Range<u64>) -> io::Result<()> {
        write_zeros(self, range)
    }

    fn sync_data(&self) -> io::Result<()> {
        let mut machine = self.machine()?;
        let fault = machine.begin()?;
        let file = &mut machine.files[self.file];
        match fault {
            Some(Fault::Error(kind)) => {
                file.pending.clear();
                Err(planned(kind))
            }
            Some(Fault::PowerOff) => machine.end(),
            _ => {
                file.make_durable();
                Ok(())
            }
        }
    }

    fn set_len(&self, len: u64) -> io::Result<()> {
        let mut machine = self.machine()?;
        machine.begin_whole()?;
        machine.files[self.file].change(ByteChange::SetLen(len as usize));
        machine.end()
    }
}
