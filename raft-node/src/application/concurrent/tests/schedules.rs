//! Random schedules without threads: what a command reads is read when it begins, and what it
//! writes is written when it ends.

use proptest::collection::vec;
use proptest::prelude::*;

use super::super::schedule::Schedule;
use super::*;

fn any_command() -> impl Strategy<Value = Command> {
    let (at, value) = (0..REGISTERS, 0..100u64);
    prop_oneof![
        4 => (at.clone(), value.clone()).prop_map(|(to, value)| Command::Put(to, value)),
        4 => (at.clone(), value).prop_map(|(to, value)| Command::Add(to, value)),
        3 => (at.clone(), at.clone()).prop_map(|(from, to)| Command::Copy(from, to)),
        2 => (at.clone(), at).prop_map(|(from, to)| Command::Sum(from, to + 1)),
        1 => Just(Command::Reverse),
    ]
}

/// A run of a schedule in which every choice is given.
struct Run<'a> {
    commands: &'a [Command],
    schedule: Schedule,
    state: Registers,
    /// What has begun and not ended.
    begun: Vec<Begun>,
    answers: Vec<Option<u64>>,
    /// The most commands that were begun at one time.
    most: usize,
}

/// A command that has begun, and what it will write and answer.
struct Begun {
    number: u64,
    written: Vec<(usize, u64)>,
    answer: u64,
}

impl<'a> Run<'a> {
    fn new(commands: &'a [Command]) -> Run<'a> {
        let answers = vec![None; commands.len()];
        let (schedule, state, begun) = (Schedule::default(), Registers::default(), Vec::new());
        Run { commands, schedule, state, begun, answers, most: 0 }
    }

    /// Adds, begins or ends a command, if any of these is possible.
    fn step(&mut self, choice: usize) -> bool {
        let next = self.schedule.end() as usize;
        let may_add = next < self.commands.len() && self.schedule.len() < 8;
        if may_add && choice.is_multiple_of(3) {
            self.schedule.add(self.commands[next].access());
            return true;
        }
        if choice % 3 == 1
            && let Some(number) = self.schedule.take()
        {
            let (written, answer) = self.commands[number as usize].effect(&self.state);
            self.begun.push(Begun { number, written, answer });
            self.most = self.most.max(self.begun.len());
            return true;
        }
        if self.begun.is_empty() {
            return false;
        }
        let Begun { number, written, answer } = self.begun.swap_remove(choice % self.begun.len());
        written.into_iter().for_each(|(at, value)| self.state[at] = value);
        self.answers[number as usize] = Some(answer);
        self.schedule.done(number);
        true
    }

    /// Goes on until every command is done.
    fn finish(&mut self) {
        while self.schedule.prefix() < self.commands.len() as u64 {
            let has_moved = [0, 1, 2].map(|choice| self.step(choice));
            assert!(has_moved.contains(&true), "no command is done, and none can begin");
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..Default::default() })]

    #[test]
    fn every_schedule_gives_the_serial_answers_and_state(
        commands in vec(any_command(), 0..60),
        choices in vec(0..100usize, 0..400),
    ) {
        let mut run = Run::new(&commands);
        choices.into_iter().for_each(|choice| _ = run.step(choice));
        run.finish();
        let (answers, state) = serial(&commands);
        prop_assert_eq!(run.state, state);
        prop_assert_eq!(run.answers.into_iter().flatten().collect::<Vec<_>>(), answers);
    }

    /// Power fails at any point. What is executed again from the prefix are blind writes, as the
    /// module demands of a machine that keeps its own state.
    #[test]
    fn blind_writes_may_be_executed_again_from_the_prefix(
        puts in vec((0..REGISTERS, 0..100u64), 0..60),
        choices in vec(0..100usize, 0..200),
    ) {
        let put = |(to, value)| Command::Put(to, value);
        let commands: Vec<Command> = puts.into_iter().map(put).collect();
        let mut run = Run::new(&commands);
        choices.into_iter().for_each(|choice| _ = run.step(choice));
        let mut again = Run { state: run.state, ..Run::new(&commands) };
        let prefix = run.schedule.prefix() as usize;
        again.commands = &commands[prefix..];
        again.answers.truncate(commands.len() - prefix);
        again.finish();
        prop_assert_eq!(again.state, serial(&commands).1);
    }
}

#[test]
fn commands_that_do_not_overlap_are_begun_together() {
    let commands = [0, 1, 2, 1].map(|to| Command::Add(to, 1));
    let mut run = Run::new(&commands);
    for choice in [0, 0, 0, 0, 1, 1, 1, 1] {
        run.step(choice);
    }
    assert_eq!(run.most, 3, "the last one waits for the second");
    run.finish();
    assert_eq!(run.state, [1, 2, 1, 0, 0]);
}

/// Why the module demands blind writes: this command reads what a later one has written.
#[test]
fn a_command_that_reads_may_not_be_executed_again_from_the_prefix() {
    let commands =
        [Command::Put(0, 7), Command::Put(4, 1), Command::Copy(0, 1), Command::Put(0, 9)];
    let mut schedule = Schedule::default();
    commands.iter().for_each(|command| _ = schedule.add(command.access()));
    // All but the second are done.
    assert_eq!([(); 2].map(|()| schedule.take()), [Some(0), Some(1)]);
    for number in [0, 2, 3] {
        schedule.done(number);
        schedule.take();
    }
    assert_eq!(schedule.prefix(), 1);
    let (_, mut state) = serial(&[commands[0], commands[2], commands[3]]);
    for command in &commands[1..] {
        let (written, _) = command.effect(&state);
        written.into_iter().for_each(|(at, value)| state[at] = value);
    }
    assert_ne!(state, serial(&commands).1);
}

#[test]
fn a_query_is_blocked_only_by_the_commands_before_it_that_it_overlaps() {
    let mut schedule = Schedule::default();
    [Command::Put(0, 1), Command::Put(1, 1), Command::Put(2, 1)]
        .iter()
        .for_each(|command| _ = schedule.add(command.access()));
    let sum = Command::Sum(0, 1).access();
    assert!(schedule.is_blocked(&sum, 3));
    assert!(!schedule.is_blocked(&Command::Sum(2, 3).access(), 2), "it came before the third");
    assert_eq!(schedule.take(), Some(0));
    schedule.done(0);
    assert!(!schedule.is_blocked(&sum, 3));
    assert!(schedule.is_blocked(&Access::everything(), 3));
}
