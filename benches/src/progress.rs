//! How far a measurement is: a bar on a terminal, nothing elsewhere.

use std::io::{self, IsTerminal};

use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};

/// What the bar shows.
const TEMPLATE: &str = "{msg:32} {bar:32} {percent:>3} %  {eta} left";

/// The bar of a measurement, which has several parts, one after another.
#[derive(Debug)]
pub struct Progress {
    bar: ProgressBar,
    parts: u32,
    begun: u32,
    is_silent: bool,
}

impl Progress {
    /// A bar on the standard error for so many parts, if somebody looks.
    pub fn on_terminal(parts: usize) -> Progress {
        let bar = if io::stderr().is_terminal() { bar() } else { no_bar() };
        Progress { bar, parts: parts as u32, begun: 0, is_silent: false }
    }

    /// Nothing is shown.
    pub fn silent() -> Progress {
        Progress { bar: no_bar(), parts: 1, begun: 0, is_silent: true }
    }

    /// The next part begins.
    pub fn begin(&mut self, part: &str) {
        self.begun += 1;
        self.bar.set_message(part.to_owned());
    }

    /// A line above the bar, if there is one.
    pub fn note(&self, text: &str) {
        if !self.is_silent {
            self.bar.suspend(|| eprintln!("{text}"));
        }
    }

    /// So many of all turns of this part are over.
    pub fn turn(&mut self, over: u32, all: u32) {
        let before = u64::from(self.begun.saturating_sub(1)) * u64::from(all);
        self.bar.set_length(u64::from(self.parts.max(self.begun)) * u64::from(all));
        self.bar.set_position(before + u64::from(over));
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
    fn the_bar_can_be_drawn() {
        assert!(ProgressStyle::with_template(TEMPLATE).is_ok());
        let mut progress = Progress::silent();
        progress.parts = 2;
        progress.begin("one");
        progress.turn(10, 10);
        progress.begin("two");
        progress.turn(5, 10);
        assert_eq!((progress.bar.position(), progress.bar.length()), (15, Some(20)));
    }
}
