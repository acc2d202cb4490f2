//! A bar for long work, on a terminal only.

use indicatif::{ProgressBar, ProgressStyle};

/// A bar that counts up to an end which the work itself tells. Without a terminal behind the
/// standard error nothing is drawn.
pub struct Progress {
    bar: ProgressBar,
}

impl Progress {
    /// A bar with a word for what is done.
    pub fn new(what: impl Into<String>) -> Progress {
        let form = "{msg} [{bar:30}] {percent:>3}% {eta:>6}";
        let style = ProgressStyle::with_template(form).expect("the form of the bar is sound");
        let bar = ProgressBar::new(0).with_style(style.progress_chars("=> "));
        bar.set_message(what.into());
        Progress { bar }
    }

    /// So much of so much is done.
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
