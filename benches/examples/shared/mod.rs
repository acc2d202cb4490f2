//! What the examples share: a state machine that costs nothing, and the search for the leader.

use std::time::Duration;

use bytes::Bytes;
use kontiki::{Committed, Fatal, Node, Replies, StateMachine};

/// A state machine that answers everything with nothing.
pub struct Nothing;

impl StateMachine for Nothing {
    fn apply(&mut self, commands: &[Committed], replies: &mut Replies) -> Result<(), Fatal> {
        commands.iter().for_each(|_| replies.push(Bytes::new()));
        Ok(())
    }

    fn read(&self, _query: &[u8]) -> Bytes {
        Bytes::new()
    }

    fn is_cheap(&self) -> bool {
        true
    }
}

/// The member that leads, once it has accepted a command.
pub async fn find_leader(nodes: &[Node]) -> Node {
    loop {
        let leader = nodes[0].wait_for_leader().await.expect("the member runs");
        let leading = nodes.iter().find(|node| node.status().identity.node == leader);
        let leading = leading.expect("one of the members").clone();
        if leading.propose(Bytes::new()).await.is_ok() {
            return leading;
        }
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
}
