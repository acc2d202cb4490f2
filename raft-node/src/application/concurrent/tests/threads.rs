//! The machine on real threads.

use std::io::{Read, Write};
use std::sync::Mutex;
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender, channel};
use std::time::Duration;

use bytes::Bytes;
use raft_core::types::{EntryId, LogIndex, Term};

use super::super::{Concurrent, ConcurrentMachine, ConcurrentOptions};
use super::*;
use crate::application::{Committed, Fatal, Replies, Snapshot, StateMachine};

/// Registers; a command may be made to wait, and its beginning is reported.
struct Machine {
    registers: [Mutex<u64>; REGISTERS],
    /// The commands that wait for a message before they are executed, by index.
    gates: Mutex<Vec<(u64, Receiver<()>)>>,
    begins: Mutex<Sender<u64>>,
    fails_at: Option<u64>,
    is_early: bool,
    bad_prefix: Option<u64>,
    prefixes: Mutex<Vec<u64>>,
}

impl Machine {
    fn new() -> (Machine, Receiver<u64>) {
        let (begins, begun) = channel();
        let machine = Machine {
            registers: Default::default(),
            gates: Mutex::default(),
            begins: Mutex::new(begins),
            fails_at: None,
            is_early: false,
            bad_prefix: None,
            prefixes: Mutex::default(),
        };
        (machine, begun)
    }

    /// Makes a command wait until something is sent.
    fn gate(&self, index: u64) -> Sender<()> {
        let (open, gate) = channel();
        self.gates.lock().expect("no panic").push((index, gate));
        open
    }

    fn state(&self) -> Registers {
        [0, 1, 2, 3, 4].map(|at| *self.registers[at].lock().expect("no panic"))
    }
}

impl ConcurrentMachine for Machine {
    fn access(&self, command: &[u8]) -> Access {
        Command::from_bytes(command).access()
    }

    fn execute(&self, command: &Committed) -> Result<Bytes, Fatal> {
        let index = command.id.index.get();
        self.begins.lock().expect("no panic").send(index).expect("the test runs");
        let mut gates = self.gates.lock().expect("no panic");
        let gate = gates.iter().position(|(at, _)| *at == index).map(|at| gates.remove(at).1);
        drop(gates);
        // An error means that the test has ended.
        gate.into_iter().for_each(|gate| _ = gate.recv());
        if self.fails_at == Some(index) {
            return Err(Fatal::new("the disk is broken"));
        }
        let (written, answer) = Command::from_bytes(&command.command).effect(&self.state());
        for (at, value) in written {
            *self.registers[at].lock().expect("no panic") = value;
        }
        Ok(Bytes::copy_from_slice(&answer.to_le_bytes()))
    }

    fn early_answer(&self, command: &[u8]) -> Option<Bytes> {
        let is_put = matches!(Command::from_bytes(command), Command::Put(..));
        (self.is_early && is_put).then(|| Bytes::copy_from_slice(&[0; 8]))
    }

    fn access_of_query(&self, query: &[u8]) -> Access {
        self.access(query)
    }

    fn read(&self, query: &[u8]) -> Bytes {
        let (_, answer) = Command::from_bytes(query).effect(&self.state());
        Bytes::copy_from_slice(&answer.to_le_bytes())
    }

    fn snapshot(&self) -> std::io::Result<Box<dyn Snapshot>> {
        Ok(Box::new(Pinned(self.state())))
    }

    fn restore(&self, _last: EntryId, reader: &mut dyn Read) -> Result<(), Fatal> {
        for register in &self.registers {
            let mut bytes = [0; 8];
            reader.read_exact(&mut bytes).map_err(|error| Fatal::new(error.to_string()))?;
            *register.lock().expect("no panic") = u64::from_le_bytes(bytes);
        }
        Ok(())
    }

    fn note_prefix(&self, last: EntryId) {
        assert!(self.bad_prefix != Some(last.index.get()), "the mark cannot be written");
        self.prefixes.lock().expect("no panic").push(last.index.get());
    }
}

struct Pinned(Registers);

impl Snapshot for Pinned {
    fn write_to(self: Box<Self>, out: &mut dyn Write) -> std::io::Result<()> {
        self.0.iter().try_for_each(|value| out.write_all(&value.to_le_bytes()))
    }
}

/// Runs a test that would wait for ever if a command were never executed.
fn in_time(test: impl FnOnce() + Send + 'static) {
    let (ends, ended) = channel();
    let thread = std::thread::spawn(move || {
        test();
        ends.send(()).expect("it is waited for");
    });
    if ended.recv_timeout(Duration::from_secs(60)) != Err(RecvTimeoutError::Timeout) {
        return thread.join().expect("the test passes");
    }
    panic!("it still waits after a minute");
}

fn options(threads: usize, window: usize) -> ConcurrentOptions {
    let count = |count| std::num::NonZeroUsize::new(count).expect("not zero");
    ConcurrentOptions { threads: count(threads), window: count(window) }
}

/// The commands with the indexes from `first` on.
fn committed(first: u64, commands: &[Command]) -> Vec<Committed> {
    let one = |(index, command): (u64, &Command)| Committed {
        id: EntryId::new(Term::new(1), LogIndex::new(index)),
        command: command.to_bytes().into(),
    };
    (first..).zip(commands).map(one).collect()
}

fn apply(machine: &mut Concurrent<Machine>, commands: &[Committed]) -> Result<Vec<u64>, Fatal> {
    let mut replies = Replies::default();
    machine.apply(commands, &mut replies)?;
    Ok(replies.into_answers().iter().map(|answer| number(answer)).collect())
}

fn number(bytes: &[u8]) -> u64 {
    u64::from_le_bytes(bytes.try_into().expect("eight bytes"))
}

#[test]
fn threads_give_the_serial_answers_and_state() {
    in_time(|| {
        let commands: Vec<Command> = (0..600u64)
            .map(|at| match at % 7 {
                0 => Command::Reverse,
                1 | 2 => Command::Add((at % 5) as usize, at),
                3 => Command::Copy((at % 5) as usize, (at / 5 % 5) as usize),
                4 => Command::Sum((at % 3) as usize, 5),
                _ => Command::Put((at / 7 % 5) as usize, at),
            })
            .collect();
        let (expected, state) = serial(&commands);
        for (threads, window, is_early) in [(1, 1, false), (4, 3, false), (4, 64, true)] {
            let (machine, _begun) = Machine::new();
            let machine = Machine { is_early, ..machine };
            let mut machine =
                Concurrent::new(machine, options(threads, window)).expect("they start");
            let mut answers = Vec::new();
            for (first, batch) in (0..).zip(commands.chunks(50)) {
                let batch = committed(1 + 50 * first, batch);
                answers.extend(apply(&mut machine, &batch).expect("none fails"));
            }
            assert_eq!(answers, expected);
            drop(machine.snapshot().expect("it has them"));
            assert_eq!(machine.machine().state(), state);
            let prefixes = machine.machine().prefixes.lock().expect("no panic").clone();
            assert!(prefixes.is_sorted() && prefixes.last() == Some(&600), "{prefixes:?}");
        }
    });
}

/// The first command of each batch is early, so `apply` does not wait for it.
#[test]
fn a_command_and_a_query_wait_only_for_what_they_overlap() {
    in_time(|| {
        let (machine, begun) = Machine::new();
        let open = machine.gate(1);
        let machine = Machine { is_early: true, ..machine };
        let mut machine = Concurrent::new(machine, options(2, 8)).expect("they start");
        let commands = [Command::Put(0, 5), Command::Add(1, 3)];
        assert_eq!(apply(&mut machine, &committed(1, &commands)), Ok(vec![0, 3]), "1 still runs");
        assert_eq!(number(&machine.read(&Command::Sum(1, 3).to_bytes())), 3);
        let mut begins: Vec<u64> = begun.try_iter().collect();
        begins.sort_unstable();
        assert_eq!(begins, [1, 2]);
        // This query overlaps the command that waits.
        std::thread::scope(|scope| {
            let read = scope.spawn(|| number(&machine.read(&Command::Sum(0, 2).to_bytes())));
            open.send(()).expect("it waits");
            assert_eq!(read.join().expect("no panic"), 8);
        });
    });
}

#[test]
fn a_full_window_holds_later_commands_back() {
    in_time(|| {
        let (machine, begun) = Machine::new();
        let open = machine.gate(1);
        let machine = Machine { is_early: true, ..machine };
        let mut machine = Concurrent::new(machine, options(2, 2)).expect("they start");
        let commands = [0, 1, 2].map(|to| Command::Put(to, 1));
        let batch = committed(1, &commands);
        std::thread::scope(|scope| {
            let machine = &mut machine;
            let applies = scope.spawn(move || apply(machine, &batch));
            let mut first: Vec<u64> = begun.iter().take(2).collect();
            first.sort_unstable();
            assert_eq!(first, [1, 2], "the third waits for room");
            assert!(!applies.is_finished());
            open.send(()).expect("it waits");
            assert_eq!(begun.recv(), Ok(3));
            assert_eq!(applies.join().expect("no panic"), Ok(vec![0; 3]));
        });
    });
}

#[test]
fn after_a_command_has_failed_nothing_is_answered() {
    in_time(|| {
        let (machine, _begun) = Machine::new();
        let open = machine.gate(1);
        let machine = Machine { is_early: true, fails_at: Some(1), ..machine };
        let mut machine = Concurrent::new(machine, options(2, 8)).expect("they start");
        assert_eq!(apply(&mut machine, &committed(1, &[Command::Put(0, 5)])), Ok(vec![0]));
        open.send(()).expect("it waits");
        let failed = Err(Fatal::new("the disk is broken"));
        assert_eq!(apply(&mut machine, &committed(2, &[Command::Add(0, 1)])), failed);
        assert_eq!(apply(&mut machine, &committed(3, &[Command::Add(1, 1)])), failed);
        assert!(machine.snapshot().is_err());
        let read = || machine.read(&Command::Sum(2, 3).to_bytes());
        assert!(crate::panics::caught(read).is_err_and(|text| text.contains("the disk is broken")));
    });
}

#[test]
fn a_panic_in_a_command_is_its_failure() {
    in_time(|| {
        let (machine, begun) = Machine::new();
        drop(begun);
        let mut machine = Concurrent::new(machine, options(1, 8)).expect("it starts");
        let failed =
            apply(&mut machine, &committed(1, &[Command::Add(0, 1)])).expect_err("it panics");
        assert!(failed.to_string().contains("the test runs"), "{failed}");
    });
}

/// What went wrong: the thread ended without a word, and `apply` waited for ever.
#[test]
fn a_panic_in_noting_the_prefix_is_a_failure() {
    in_time(|| {
        let (machine, _begun) = Machine::new();
        let machine = Machine { bad_prefix: Some(1), ..machine };
        let mut machine = Concurrent::new(machine, options(1, 8)).expect("it starts");
        let commands = [Command::Add(0, 1), Command::Add(0, 1)];
        let failed = apply(&mut machine, &committed(1, &commands)).expect_err("it panics");
        assert!(failed.to_string().contains("the mark cannot be written"), "{failed}");
    });
}

#[test]
fn a_snapshot_includes_every_command_that_was_applied() {
    in_time(|| {
        let (machine, _begun) = Machine::new();
        let machine = Machine { is_early: true, ..machine };
        let mut machine = Concurrent::new(machine, options(2, 64)).expect("they start");
        let commands: Vec<Command> = (0..50).map(|at| Command::Put(at % 5, at as u64)).collect();
        apply(&mut machine, &committed(1, &commands)).expect("none fails");
        let mut bytes = Vec::new();
        machine.snapshot().expect("it has them").write_to(&mut bytes).expect("a vector");
        let (other, _begun) = Machine::new();
        let mut other = Concurrent::new(other, options(2, 8)).expect("they start");
        other.restore(EntryId::ZERO, &mut &bytes[..]).expect("sound");
        assert_eq!(other.machine().state(), serial(&commands).1);
    });
}
