//! The property of the whole: answers and state are those of the serial execution.

mod schedules;
mod threads;

use super::access::{Access, KeyRange};

/// How many registers the machine of these tests has.
const REGISTERS: usize = 5;

type Registers = [u64; REGISTERS];

/// A command on a few registers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Command {
    /// Sets a register.
    Put(usize, u64),
    /// Adds to a register; the answer is its new value.
    Add(usize, u64),
    /// Copies a register to another one.
    Copy(usize, usize),
    /// The answer is the sum of the registers from one to another.
    Sum(usize, usize),
    /// Reverses the registers.
    Reverse,
}

impl Command {
    fn access(self) -> Access {
        let one = |register: usize| KeyRange::numbers(register as u64..register as u64 + 1);
        match self {
            Command::Put(to, _) | Command::Add(to, _) => Access::default().writing(one(to)),
            Command::Copy(from, to) => Access::default().reading(one(from)).writing(one(to)),
            Command::Sum(from, to) => {
                Access::default().reading(KeyRange::numbers(from as u64..to as u64))
            }
            Command::Reverse => Access::everything(),
        }
    }

    /// What it writes, and its answer, if it sees these registers.
    fn effect(self, seen: &Registers) -> (Vec<(usize, u64)>, u64) {
        match self {
            Command::Put(to, value) => (vec![(to, value)], 0),
            Command::Add(to, value) => {
                let sum = seen[to].wrapping_add(value);
                (vec![(to, sum)], sum)
            }
            Command::Copy(from, to) => (vec![(to, seen[from])], 0),
            Command::Sum(from, to) => {
                let values = seen.get(from..to).unwrap_or_default();
                (Vec::new(), values.iter().fold(0, |sum, value| sum.wrapping_add(*value)))
            }
            Command::Reverse => {
                ((0..REGISTERS).map(|at| (at, seen[REGISTERS - 1 - at])).collect(), 0)
            }
        }
    }

    fn to_bytes(self) -> Vec<u8> {
        let (kind, one, other) = match self {
            Command::Put(to, value) => (0, to as u64, value),
            Command::Add(to, value) => (1, to as u64, value),
            Command::Copy(from, to) => (2, from as u64, to as u64),
            Command::Sum(from, to) => (3, from as u64, to as u64),
            Command::Reverse => (4, 0, 0),
        };
        [&[kind][..], &one.to_le_bytes(), &other.to_le_bytes()].concat()
    }

    fn from_bytes(bytes: &[u8]) -> Command {
        let number = |at: usize| u64::from_le_bytes(bytes[at..at + 8].try_into().expect("eight"));
        let (one, other) = (number(1), number(9));
        match bytes[0] {
            0 => Command::Put(one as usize, other),
            1 => Command::Add(one as usize, other),
            2 => Command::Copy(one as usize, other as usize),
            3 => Command::Sum(one as usize, other as usize),
            _ => Command::Reverse,
        }
    }
}

/// The answers and the state after the commands in order.
fn serial(commands: &[Command]) -> (Vec<u64>, Registers) {
    let (mut answers, mut state) = (Vec::new(), Registers::default());
    for command in commands {
        let (written, answer) = command.effect(&state);
        written.into_iter().for_each(|(at, value)| state[at] = value);
        answers.push(answer);
    }
    (answers, state)
}
