//! From workloads to rows: for each workload the lanes are made, measured in turns, and ended.

use std::time::Duration;

use crate::lane::{Lanes, Role, Schedule, Stop, Tally, interleave};
use crate::{BenchError, Progress, Row, Workload};

/// What is measured.
#[derive(Clone, Copy, Debug)]
pub struct Work<'a> {
    /// The name in the rows.
    pub name: &'a str,
    /// The workloads, one after another.
    pub workloads: &'a [Workload],
    /// The time for all of them.
    pub time: Duration,
}

/// Measures the lanes that `lanes` makes for each workload. Whoever stops early gets the workloads
/// that were finished, and of the last one the whole rounds.
pub fn measure<'a>(
    work: Work,
    stop: &Stop,
    progress: &mut Progress,
    lanes: &mut dyn FnMut(&Workload) -> Result<Lanes<'a>, BenchError>,
) -> Result<Vec<Row>, BenchError> {
    let schedule = Schedule::of(work.time / work.workloads.len().max(1) as u32);
    let mut rows = Vec::new();
    for workload in work.workloads {
        progress.begin(&workload.describe());
        let mut lanes = lanes(workload)?;
        let tell = &mut |over, all| progress.turn(over, all);
        match interleave(&mut lanes, schedule, stop, tell) {
            Ok(rounds) => rows.extend(rows_of(work.name, workload, &lanes, &rounds)),
            Err(BenchError::Stopped) if !rows.is_empty() => break,
            Err(error) => return Err(error),
        }
        if stop.is_asked() {
            break;
        }
    }
    Ok(rows)
}

/// A row for each lane, each beside the floor among them, if there is one.
fn rows_of(work: &str, workload: &Workload, lanes: &Lanes, rounds: &[Vec<Tally>]) -> Vec<Row> {
    let rows = lanes.iter().zip(rounds);
    let rows = rows.map(|(lane, rounds)| Row::new(work, &lane.subject(), workload, rounds));
    let rows: Vec<Row> = rows.collect();
    // The first floor is the one that counts: the best that the disk can do for this work.
    let floor = rows.iter().find(|row| row.role == Role::Floor).cloned();
    let beside = |row: Row| match &floor {
        Some(floor) => row.beside(floor),
        None => row,
    };
    rows.into_iter().map(beside).collect()
}
