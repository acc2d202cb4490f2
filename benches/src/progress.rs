//! The progress of a measurement: a bar on a terminal, nothing elsewhere.

use std::io::{self, IsTerminal};
use std::time::{Duration, Instant};

use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};

/// What the bar shows.
const TEMPLATE: &str = "{msg:40} {bar:30} {percent:>3} %  {prefix}";

/// The bar of a measurement, which consists of several parts, one after another.
#[derive(Debug)]
pub struct Progress {
    bar: ProgressBar,
    parts: u32,
    begun: u32,
    /// When the whole measurement should end.
    ends: Option<Instant>,
    is_silent: bool,
}

impl Progress {
    /// A bar on the standard error for this many parts, if that is a terminal.
    pub fn on_terminal(parts: usize) -> Progress {
        let bar = if io::stderr().is_terminal() { bar() } else { no_bar() };
        Progress { bar, parts: parts as u32, begun: 0, ends: None, is_silent: false }
    }

    /// A progress that shows nothing.
    pub fn silent() -> Progress {
        Progress { bar: no_bar(), parts: 1, begun: 0, ends: None, is_silent: true }
    }

    /// Starts the next part of a measurement that should end at `ends`.
    pub fn begin(&mut self, part: &str, ends: Instant) {
        self.begun += 1;
        self.ends = Some(ends);
        self.bar.set_message(part.to_owned());
        self.bar.set_prefix(left(ends.saturating_duration_since(Instant::now())));
    }

    /// Prints a line above the bar, if there is one.
    pub fn note(&self, text: &str) {
        if !self.is_silent {
            self.bar.suspend(|| eprintln!("{text}"));
        }
    }

    /// Shows the latest figures beside the bar.
    pub fn show_figures(&self, figures: &str) {
        self.bar.set_message(figures.to_owned());
    }

    /// Sets how many turns of this part are finished.
    pub fn turn(&mut self, over: u32, all: u32) {
        let before = u64::from(self.begun.saturating_sub(1)) * u64::from(all);
        self.bar.set_length(u64::from(self.parts.max(self.begun)) * u64::from(all));
        self.bar.set_position(before + u64::from(over));
        if let Some(ends) = self.ends {
            self.bar.set_prefix(left(ends.saturating_duration_since(Instant::now())));
        }
    }
}

/// The remaining part of the requested time. The turns fit into that time; an estimate from the
/// finished turns would ignore the preparations and be worse.
fn left(time: Duration) -> String {
    match time.as_secs() {
        0 => "nearly done".to_owned(),
        seconds @ 1..120 => format!("{seconds} s left"),
        seconds => format!("{} min left", seconds.div_ceil(60)),
    }
}

impl Drop for Progress {
    fn drop(&mut self) {
        self.bar.finish_and_clear();
    }
}

fn no_bar() -> ProgressBar {
    ProgressBar::with_draw_target(None, ProgressDrawTarget::hidden())
}

fn bar() -> ProgressBar {
    let bar = ProgressBar::new(1);
    match ProgressStyle::with_template(TEMPLATE) {
        Ok(style) => bar.with_style(style),
        Err(_) => bar,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_time_that_is_left_is_that_of_the_option_seconds() {
        let of = |millis| left(Duration::from_millis(millis));
        assert_eq!([of(400), of(10_900), of(119_000)], ["nearly done", "10 s left", "119 s left"]);
        assert_eq!(of(121_000), "3 min left");
        let mut progress = Progress::silent();
        progress.begin("one", Instant::now() + Duration::from_secs(10));
        for prefix in [progress.bar.prefix(), {
            progress.turn(1, 100);
            progress.bar.prefix()
        }] {
            let seconds = prefix.split(' ').next().and_then(|number| number.parse::<u64>().ok());
            assert!(
                prefix == "nearly done" || seconds.is_some_and(|seconds| seconds <= 10),
                "{prefix}"
            );
        }
    }

    #[test]
    fn the_bar_can_be_drawn() {
        assert!(ProgressStyle::with_template(TEMPLATE).is_ok());
        let mut progress = Progress::silent();
        progress.parts = 2;
        let ends = Instant::now() + Duration::from_secs(3600);
        progress.begin("one", ends);
        progress.turn(10, 10);
        progress.begin("two", ends);
        progress.turn(5, 10);
        assert_eq!((progress.bar.position(), progress.bar.length()), (15, Some(20)));
    }
}
