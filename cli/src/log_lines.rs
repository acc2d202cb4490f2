//! The engine's log, as lines on the standard error: warnings and errors, or with `--verbose` also
//! what is worth knowing. One line is one event; spans are not shown.

use std::fmt::{self, Write as _};

use tracing::field::{Field, Visit};
use tracing::span::{Attributes, Id, Record};
use tracing::{Event, Level, Metadata, Subscriber};

/// Shows the log from now on.
pub fn install(verbose: bool) {
    let most = if verbose { Level::INFO } else { Level::WARN };
    let installed = tracing::subscriber::set_global_default(LogLines { most });
    assert!(installed.is_ok(), "the log is installed once");
}

struct LogLines {
    most: Level,
}

impl Subscriber for LogLines {
    fn enabled(&self, metadata: &Metadata<'_>) -> bool {
        metadata.is_event() && *metadata.level() <= self.most
    }

    fn new_span(&self, _: &Attributes<'_>) -> Id {
        Id::from_u64(1)
    }

    fn record(&self, _: &Id, _: &Record<'_>) {}

    fn record_follows_from(&self, _: &Id, _: &Id) {}

    fn event(&self, event: &Event<'_>) {
        let mut line = Line::default();
        event.record(&mut line);
        let Line { message, fields } = line;
        eprintln!("{} {message}{fields}", event.metadata().level().as_str().to_lowercase());
    }

    fn enter(&self, _: &Id) {}

    fn exit(&self, _: &Id) {}
}

#[derive(Default)]
struct Line {
    message: String,
    fields: String,
}

impl Visit for Line {
    fn record_debug(&mut self, field: &Field, value: &dyn fmt::Debug) {
        match field.name() {
            "message" => self.message = format!("{value:?}"),
            name => {
                let written = write!(self.fields, " {name}={value:?}");
                assert!(written.is_ok(), "a string takes all that is written to it");
            }
        }
    }
}
