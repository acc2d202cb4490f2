//! Runs traces: whole clusters of protocol cores, one step at a time.
//!
//! `script` is the text, `command` one line of it, `verbs` what a line does, `world` the cluster
//! and its network, `member` one core with its disk, `laws` the checks that need more than one
//! member. The text determines the whole run: there is no randomness, no clock and no thread.

mod command;
mod laws;
mod member;
mod script;
mod verbs;
mod world;

use std::any::Any;
use std::panic::{AssertUnwindSafe, catch_unwind};

pub use command::VERBS;
pub use script::{Block, Script};
pub use world::Planted;
use world::World;

/// How a run of a script ended.
pub enum Outcome {
    /// The script ran to its end; these are its blocks, with the outputs of this run.
    Ran(Vec<Block>),
    /// A law was broken, or a command was invalid.
    Broke {
        /// The line of the command.
        line: usize,
        /// The law or the error.
        why: String,
    },
}

/// Runs a script, with a planted bug if one is given.
pub fn run(script: &Script, planted: Planted) -> Outcome {
    let mut world = World::new(planted);
    let mut blocks = Vec::new();
    for block in &script.blocks {
        let mut outputs = Vec::new();
        for (line, command) in block.commands() {
            match step(&mut world, command) {
                Ok(said) => outputs.extend(said),
                Err(why) => return Outcome::Broke { line, why },
            }
        }
        blocks.push(block.with_outputs(outputs));
    }
    Outcome::Ran(blocks)
}

/// One command. A core that finds its own law broken panics, which counts as an outcome here.
fn step(world: &mut World, command: &str) -> Result<Vec<String>, String> {
    let stepped = catch_unwind(AssertUnwindSafe(|| verbs::run(world, command)));
    stepped.unwrap_or_else(|panic| Err(panic_text(panic.as_ref())))
}

fn panic_text(panic: &(dyn Any + Send)) -> String {
    let text = panic.downcast_ref::<String>().map(String::as_str);
    text.or(panic.downcast_ref::<&str>().copied())
        .unwrap_or("a panic without a message")
        .to_string()
}
