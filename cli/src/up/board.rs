//! The display of `up`: one line for each member, redrawn in place on a terminal; elsewhere a new
//! line whenever more than a member's indexes have changed.
//!
//! A line that is wider than the terminal is cut off, so that each takes one row. The terminal may
//! become narrower later and then wraps the lines that it shows, so rows are counted, not lines.

use std::io::{self, IsTerminal, Write};

use rustix::termios::tcgetwinsize;

use crate::status::MemberStatus;

/// The lines on the screen.
pub struct Board {
    terminal: bool,
    /// The lines at the bottom of the terminal.
    drawn: Vec<String>,
    /// The last line that was printed for each member, where lines are not redrawn.
    printed: Vec<String>,
}

impl Board {
    /// A display on the standard output.
    pub fn new() -> Board {
        Board { terminal: io::stdout().is_terminal(), drawn: Vec::new(), printed: Vec::new() }
    }

    /// Prints a line once, above the members' lines.
    pub fn print_once(&mut self, text: &str) {
        let lines = std::mem::take(&mut self.drawn);
        let erase = erased(rows(&lines, width()));
        let block: String = lines.iter().map(|line| format!("{line}\n")).collect();
        print(&format!("{erase}{text}\n{block}"));
        self.drawn = lines;
    }

    /// Shows the members' status.
    pub fn show(&mut self, members: &[MemberStatus]) {
        if self.terminal {
            let width = width();
            let lines = members.iter().map(|member| cut_off(line(member, true), width));
            self.redraw(lines.collect(), width);
        } else {
            self.print_changed(members.iter().map(|member| line(member, false)).collect());
        }
    }

    fn redraw(&mut self, lines: Vec<String>, width: usize) {
        if lines == self.drawn {
            return;
        }
        let block: String = lines.iter().map(|line| format!("{line}\n")).collect();
        print(&format!("{}{block}", erased(rows(&self.drawn, width))));
        self.drawn = lines;
    }

    fn print_changed(&mut self, lines: Vec<String>) {
        for (place, line) in lines.iter().enumerate() {
            if self.printed.get(place) != Some(line) {
                print(&format!("{line}\n"));
            }
        }
        self.printed = lines;
    }
}

/// Moves the cursor up by this many rows and clears from there to the end of the screen.
fn erased(rows: usize) -> String {
    if rows == 0 { String::new() } else { format!("\x1b[{rows}A\x1b[J") }
}

/// The columns of the terminal. If it reports none, lines are not cut off.
fn width() -> usize {
    let size = tcgetwinsize(io::stdout());
    size.ok().map(|size| usize::from(size.ws_col)).filter(|columns| *columns > 0).unwrap_or(1000)
}

/// The number of rows that these lines take on a terminal of this width.
fn rows(lines: &[String], width: usize) -> usize {
    lines.iter().map(|line| line.chars().count().div_ceil(width).max(1)).sum()
}

/// A line that fits into one row.
fn cut_off(line: String, width: usize) -> String {
    if line.chars().count() <= width {
        return line;
    }
    let mut line: String = line.chars().take(width.saturating_sub(1)).collect();
    line.push('\u{2026}');
    line
}

/// A member's line; with the commit index, which changes all the time, only where lines are
/// redrawn.
fn line(member: &MemberStatus, progress: bool) -> String {
    let id = member.id.map_or("?".to_owned(), |id| id.to_string());
    let mut line = format!("member {id}  {:<11}", member.role);
    if let Some(term) = member.term {
        line += &format!("  term {term}");
    }
    if let (Some(commit), true) = (member.commit, progress) {
        line += &format!("  commit {commit}");
    }
    if let Some(backend) = &member.backend {
        line += &format!("  {backend}");
    }
    if let Some(pid) = member.pid {
        line += &format!("  pid {pid}");
    }
    format!("{line}  {}", member.endpoint)
}

/// Prints at once. A closed output does not stop the cluster.
fn print(text: &str) {
    let mut output = io::stdout().lock();
    let _ = output.write_all(text.as_bytes()).and_then(|()| output.flush());
}

#[cfg(test)]
mod tests {
    use super::*;

    fn member() -> MemberStatus {
        MemberStatus {
            id: Some(1),
            endpoint: "127.0.0.1:2379".to_owned(),
            role: "leader".to_owned(),
            term: Some(4),
            commit: Some(17),
            snapshot: None,
            applied: Some(17),
            backend: Some("file".to_owned()),
            pid: Some(99),
            change: None,
            error: None,
        }
    }

    #[test]
    fn a_line_takes_one_row_and_more_after_the_terminal_has_shrunk() {
        let whole = line(&member(), true);
        for width in [10, 40, 69, 70, 200] {
            let shown = cut_off(whole.clone(), width);
            assert!(shown.chars().count() <= width);
            assert_eq!(shown == whole, whole.len() <= width);
            assert_eq!(rows(std::slice::from_ref(&shown), width), 1);
        }
        assert_eq!(rows(&["x".repeat(80), String::new()], 30), 4);
    }

    #[test]
    fn a_line_shows_role_term_backend_process_and_address() {
        let whole = "member 1  leader       term 4  commit 17  file  pid 99  127.0.0.1:2379";
        assert_eq!(line(&member(), true), whole);
        let further = MemberStatus { commit: Some(18), ..member() };
        assert_eq!(line(&member(), false), line(&further, false), "the commit index is left out");
        let elsewhere = MemberStatus { pid: Some(100), ..member() };
        assert_ne!(line(&member(), false), line(&elsewhere, false));
    }
}
