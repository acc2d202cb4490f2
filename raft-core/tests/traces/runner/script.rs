//! The text of a trace: blocks of commands, each with the outputs that it had.
//!
//! A block is comments and commands, a line `---`, one line for each output, and an empty line.
//! Writing a script keeps comments and commands as they are, and replaces the outputs.

/// The line between commands and outputs.
const BETWEEN: &str = "---";

/// The text that is written if a block's commands had no outputs.
const NOTHING: &str = "nothing happens";

/// A whole trace.
pub struct Script {
    /// Its blocks, in order.
    pub blocks: Vec<Block>,
}

/// Some commands, and their outputs.
pub struct Block {
    /// The line of the file on which the block begins, counted from one.
    pub line: usize,
    /// Comments, commands and empty lines, unchanged.
    pub head: Vec<String>,
    /// The outputs.
    pub outputs: Vec<String>,
}

impl Script {
    /// Splits a text into blocks.
    pub fn parse(text: &str) -> Result<Script, String> {
        let first = text.lines().next().unwrap_or_default();
        if !first.starts_with("# ") {
            return Err("the first line must be a `#` claim".to_string());
        }
        let mut blocks = Vec::new();
        let mut lines = text.lines().enumerate().peekable();
        while let Some((at, _)) = lines.peek() {
            let line = at + 1;
            let head = up_to(&mut lines, |line| line == BETWEEN);
            let outputs = up_to(&mut lines, str::is_empty);
            blocks.push(Block { line, head, outputs });
        }
        Ok(Script { blocks })
    }

    /// The text again.
    pub fn write(&self) -> String {
        let texts: Vec<String> = self.blocks.iter().map(Block::write).collect();
        texts.join("\n")
    }
}

fn up_to<'a>(
    lines: &mut impl Iterator<Item = (usize, &'a str)>,
    ends: impl Fn(&str) -> bool,
) -> Vec<String> {
    lines.map(|(_, line)| line).take_while(|line| !ends(line)).map(String::from).collect()
}

impl Block {
    /// The commands, with the line of each.
    pub fn commands(&self) -> impl Iterator<Item = (usize, &str)> {
        let lines = self.head.iter().enumerate();
        let numbered = lines.map(|(at, line)| (self.line + at, line.trim()));
        numbered.filter(|(_, line)| !line.is_empty() && !line.starts_with('#'))
    }

    /// The same block with other outputs.
    pub fn with_outputs(&self, mut outputs: Vec<String>) -> Block {
        if outputs.is_empty() {
            outputs.push(NOTHING.to_string());
        }
        Block { line: self.line, head: self.head.clone(), outputs }
    }

    fn write(&self) -> String {
        let mut lines = self.head.clone();
        lines.push(BETWEEN.to_string());
        lines.extend(self.outputs.iter().cloned());
        lines.join("\n") + "\n"
    }
}
