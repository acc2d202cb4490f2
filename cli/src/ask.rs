//! Asks the operator a question.

use std::io::{self, BufRead, IsTerminal, Write};

use crate::failure::Failure;

/// Asks on the terminal; returns the answer without the spaces around it, or `None` if there is no
/// terminal to ask on.
///
/// # Errors
///
/// The answer cannot be read.
pub fn ask(question: &str) -> Result<Option<String>, Failure> {
    if !io::stdin().is_terminal() {
        return Ok(None);
    }
    eprint!("{question} ");
    // A question that cannot be shown is still answered by what is typed.
    let _ = io::stderr().flush();
    let mut answer = String::new();
    let read = io::stdin().lock().read_line(&mut answer);
    read.map_err(|error| Failure::of("the answer cannot be read", &error))?;
    Ok(Some(answer.trim().to_owned()))
}
