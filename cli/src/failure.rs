//! What a failed command prints: what went wrong, and what to do about it.

use std::error::Error;
use std::fmt;

/// The exit status of a member whose log is damaged: starting it again does not help.
pub const DAMAGED: u8 = 3;

/// A failed command.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Failure {
    message: String,
    advice: String,
    is_damage: bool,
}

impl Failure {
    /// A failure without advice.
    pub fn new(message: impl Into<String>) -> Failure {
        Failure { message: message.into(), advice: String::new(), is_damage: false }
    }

    /// A failure with the whole chain of its causes.
    pub fn of(what: impl fmt::Display, error: &dyn Error) -> Failure {
        Failure::new(format!("{what}: {}", chain(error)))
    }

    /// Adds what the user can do.
    pub fn advise(self, advice: impl Into<String>) -> Failure {
        Failure { advice: advice.into(), ..self }
    }

    /// Marks the failure of a member whose log has lost acknowledged data, and adds the advice.
    pub fn damaged(self) -> Failure {
        let advised = self.advise(
            "acknowledged data is damaged, so this member must neither vote nor serve. Keep the \
             directory as it is; the other members go on as long as they are a majority. Do not \
             start this member on an emptied directory: its votes would be lost",
        );
        Failure { is_damage: true, ..advised }
    }

    /// The exit status for this failure.
    pub fn exit_status(&self) -> u8 {
        if self.is_damage { DAMAGED } else { 1 }
    }
}

/// An error and its causes on one line. A cause that is already part of the text before it is left
/// out.
pub fn chain(error: &dyn Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        let words = error.to_string();
        if !text.contains(&words) {
            text = format!("{text}: {words}");
        }
        cause = error.source();
    }
    text
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "error: {}", self.message)?;
        if self.advice.is_empty() { Ok(()) } else { write!(f, "\n  {}", self.advice) }
    }
}

#[cfg(test)]
mod tests {
    use std::io;

    use super::*;

    #[test]
    fn a_failure_shows_what_happened_and_what_to_do() {
        let cause = io::Error::other("disk on fire");
        let failure = Failure::of("cannot open it", &cause).advise("put it out");
        assert_eq!(failure.to_string(), "error: cannot open it: disk on fire\n  put it out");
    }
}
