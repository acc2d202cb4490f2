//! What the user reads when a command fails: what went wrong, and what to do about it.

use std::error::Error;
use std::fmt;

/// A failed command.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Failure {
    message: String,
    advice: String,
}

impl Failure {
    /// A failure that says all there is to say.
    pub fn new(message: impl Into<String>) -> Failure {
        Failure { message: message.into(), advice: String::new() }
    }

    /// A failure with the whole chain of its causes.
    pub fn of(what: impl fmt::Display, error: &dyn Error) -> Failure {
        Failure::new(format!("{what}: {}", chain(error)))
    }

    /// What the user can do.
    pub fn advise(self, advice: impl Into<String>) -> Failure {
        Failure { advice: advice.into(), ..self }
    }
}

/// An error and its causes on one line. A cause that the text before it tells already is left out.
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
        match self.advice.is_empty() {
            true => Ok(()),
            false => write!(f, "\n  {}", self.advice),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::io;

    use super::*;

    #[test]
    fn a_failure_says_what_and_what_to_do() {
        let cause = io::Error::other("disk on fire");
        let failure = Failure::of("cannot open it", &cause).advise("put it out");
        assert_eq!(failure.to_string(), "error: cannot open it: disk on fire\n  put it out");
    }
}
