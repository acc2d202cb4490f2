//! A progress bar for long operations, on a terminal only.

use indicatif::{ProgressBar, ProgressStyle};

/// A progress bar. The operation reports the total together with its progress. Nothing is drawn if
/// the standard error is not a terminal.
pub struct Progress {
    bar: ProgressBar,
}

impl Progress {
    /// A bar with a word for the operation.
    pub fn new(what: impl Into<String>) -> Progress {
        let form = "{msg} [{bar:30}] {percent:>3}% {eta:>6}";
        let style = ProgressStyle::with_template(form).expect("the form of the bar is sound");
        let bar = ProgressBar::new(0).with_style(style.progress_chars("=> "));
        bar.set_message(what.into());
        Progress { bar }
    }

    /// Shows that `done` of `all` is complete.
    pub fn show(&self, done: u64, all: u64) {
        self.bar.set_length(all);
        self.bar.set_position(done);
    }
}

impl Drop for Progress {
    fn drop(&mut self) {
        self.bar.finish_and_clear();
    }
}
