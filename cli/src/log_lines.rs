//! Writes the events of the engine and the tool to the standard error, one per line: time, level,
//! message.
//!
//! A repeated warning or error is shown once a minute, so that a lasting condition (a foreign peer
//! that keeps connecting, a full disk) neither fills a disk nor hides other events. Spans are not
//! shown.

use std::collections::HashMap;
use std::fmt::{self, Write as _};
use std::io::{self, IsTerminal};
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use clap::{Args, ValueEnum};
use tracing::field::{Field, Visit};
use tracing::level_filters::LevelFilter;
use tracing::{Event, Level, Metadata, Subscriber};
use tracing_subscriber::layer::{Context, Filter, SubscriberExt};
use tracing_subscriber::{Layer, Registry, fmt as lines};

/// The time for which a repeated event is not shown.
const REPEAT_AFTER: Duration = Duration::from_secs(60);

/// The number of different events that are remembered. The list is cleared when it is full.
const MAX_REMEMBERED: usize = 1024;

/// What is logged, and how.
#[derive(Clone, Copy, Debug, Args)]
#[command(next_help_heading = "Logging (on the standard error)")]
pub struct Logging {
    /// The lowest level that is shown [default: info for serve, else warn].
    #[arg(long, global = true, value_name = "LEVEL", value_enum)]
    log_level: Option<Least>,
    /// Plain text lines, or a JSON object for each event.
    #[arg(long, global = true, value_name = "FORMAT", value_enum, default_value = "text")]
    log_format: Format,
    /// Log one level more than the default.
    #[arg(long, short, global = true)]
    pub verbose: bool,
}

/// The lowest level that is shown.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Least {
    Error,
    Warn,
    Info,
    Debug,
    Trace,
}

/// How an event is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Format {
    Text,
    Json,
}

impl Logging {
    /// Installs the logger. `serves`: the command is a member of a cluster, which logs one level
    /// more.
    pub fn install(self, serves: bool) {
        let filter = Repeats { least: self.least(serves), shown: Mutex::default() };
        let lines = lines::layer().with_writer(io::stderr).with_target(false);
        let installed = match self.log_format {
            Format::Text => {
                let lines = lines.with_ansi(io::stderr().is_terminal());
                set(Registry::default().with(lines.with_filter(filter)))
            }
            Format::Json => {
                let lines = lines.json().flatten_event(true).with_current_span(false);
                set(Registry::default().with(lines.with_span_list(false).with_filter(filter)))
            }
        };
        assert!(installed, "the log is installed once");
    }

    fn least(self, serves: bool) -> LevelFilter {
        match self.log_level {
            Some(Least::Error) => LevelFilter::ERROR,
            Some(Least::Warn) => LevelFilter::WARN,
            Some(Least::Info) => LevelFilter::INFO,
            Some(Least::Debug) => LevelFilter::DEBUG,
            Some(Least::Trace) => LevelFilter::TRACE,
            None if serves && self.verbose => LevelFilter::DEBUG,
            None if serves || self.verbose => LevelFilter::INFO,
            None => LevelFilter::WARN,
        }
    }

    /// The arguments that make a member of `up` log the same way.
    pub fn arguments(self) -> Vec<String> {
        let level = match self.least(false) {
            LevelFilter::ERROR => "error",
            LevelFilter::INFO => "info",
            LevelFilter::DEBUG => "debug",
            LevelFilter::TRACE => "trace",
            _ => "warn",
        };
        let format = if self.log_format == Format::Json { "json" } else { "text" };
        ["--log-level", level, "--log-format", format].map(str::to_owned).to_vec()
    }
}

fn set(subscriber: impl Subscriber + Send + Sync) -> bool {
    tracing::subscriber::set_global_default(subscriber).is_ok()
}

/// A filter that passes an event of a sufficient level unless it was shown within the last
/// [`REPEAT_AFTER`].
struct Repeats {
    least: LevelFilter,
    /// When each event was last shown. Invariant: no more than [`MAX_REMEMBERED`].
    shown: Mutex<HashMap<String, Instant>>,
}

impl Repeats {
    fn is_due(&self, event: String, now: Instant) -> bool {
        let mut shown = self.shown.lock().unwrap_or_else(PoisonError::into_inner);
        if shown.get(&event).is_some_and(|then| now - *then < REPEAT_AFTER) {
            return false;
        }
        if shown.len() >= MAX_REMEMBERED {
            shown.clear();
        }
        shown.insert(event, now);
        true
    }
}

impl<S> Filter<S> for Repeats {
    fn enabled(&self, metadata: &Metadata<'_>, _: &Context<'_, S>) -> bool {
        metadata.is_event() && *metadata.level() <= self.least
    }

    fn event_enabled(&self, event: &Event<'_>, _: &Context<'_, S>) -> bool {
        if *event.metadata().level() > Level::WARN {
            return true;
        }
        let mut text = Text(String::new());
        event.record(&mut text);
        self.is_due(text.0, Instant::now())
    }

    fn max_level_hint(&self) -> Option<LevelFilter> {
        Some(self.least)
    }
}

/// An event's message and fields.
struct Text(String);

impl Visit for Text {
    fn record_debug(&mut self, field: &Field, value: &dyn fmt::Debug) {
        let written = write!(self.0, " {}={value:?}", field.name());
        assert!(written.is_ok(), "writing to a string cannot fail");
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_repeated_event_is_shown_once_a_minute() {
        let repeats = Repeats { least: LevelFilter::WARN, shown: Mutex::default() };
        let begin = Instant::now();
        assert!(repeats.is_due("a".to_owned(), begin));
        assert!(!repeats.is_due("a".to_owned(), begin + Duration::from_secs(59)));
        assert!(repeats.is_due("b".to_owned(), begin));
        assert!(repeats.is_due("a".to_owned(), begin + Duration::from_secs(61)));
        for number in 0..2 * MAX_REMEMBERED {
            repeats.is_due(number.to_string(), begin);
        }
        assert!(repeats.shown.lock().expect("no thread panicked").len() <= MAX_REMEMBERED);
    }
}
