//! What `up` shows: one line for each member, redrawn in place on a terminal; elsewhere a line
//! whenever a member has changed in more than its progress.

use std::io::{self, IsTerminal, Write};

use crate::status::MemberStatus;

/// The lines on the screen.
pub struct Board {
    terminal: bool,
    /// The lines that stand at the bottom of the terminal.
    drawn: Vec<String>,
    /// What was said last of each member, where lines are not redrawn.
    said: Vec<String>,
}

impl Board {
    /// A board on the standard output.
    pub fn new() -> Board {
        Board { terminal: io::stdout().is_terminal(), drawn: Vec::new(), said: Vec::new() }
    }

    /// Says something once, above the members' lines.
    pub fn say(&mut self, text: &str) {
        let lines = std::mem::take(&mut self.drawn);
        let erase = erased(lines.len());
        let block: String = lines.iter().map(|line| format!("{line}\n")).collect();
        print(&format!("{erase}{text}\n{block}"));
        self.drawn = lines;
    }

    /// Shows how the members stand.
    pub fn show(&mut self, members: &[MemberStatus]) {
        match self.terminal {
            true => self.redraw(members.iter().map(|member| line(member, true)).collect()),
            false => self.tell(members.iter().map(|member| line(member, false)).collect()),
        }
    }

    fn redraw(&mut self, lines: Vec<String>) {
        if lines == self.drawn {
            return;
        }
        let block: String = lines.iter().map(|line| format!("{line}\n")).collect();
        print(&format!("{}{block}", erased(self.drawn.len())));
        self.drawn = lines;
    }

    fn tell(&mut self, lines: Vec<String>) {
        for (place, line) in lines.iter().enumerate() {
            if self.said.get(place) != Some(line) {
                print(&format!("{line}\n"));
            }
        }
        self.said = lines;
    }
}

/// Moves the cursor up over so many lines and clears from there to the end of the screen.
fn erased(lines: usize) -> String {
    match lines {
        0 => String::new(),
        lines => format!("\x1b[{lines}A\x1b[J"),
    }
}

/// A member's line; the commit index, which moves all the time, only where lines are redrawn.
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

/// Prints at once; that nobody listens is no reason to stop a cluster.
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
            applied: Some(17),
            backend: Some("file".to_owned()),
            pid: Some(99),
            error: None,
        }
    }

    #[test]
    fn a_line_shows_what_matters() {
        let whole = "member 1  leader       term 4  commit 17  file  pid 99  127.0.0.1:2379";
        assert_eq!(line(&member(), true), whole);
        let further = MemberStatus { commit: Some(18), ..member() };
        assert_eq!(line(&member(), false), line(&further, false), "progress is no change");
        let elsewhere = MemberStatus { pid: Some(100), ..member() };
        assert_ne!(line(&member(), false), line(&elsewhere, false));
    }
}
