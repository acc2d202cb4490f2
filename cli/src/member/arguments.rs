//! The arguments of `kontiki member`.

use clap::{Args, Subcommand};

use crate::arguments::Endpoints;

/// Show or change the members of a cluster.
#[derive(Debug, Subcommand)]
pub enum MemberCommand {
    /// Show the members: voters, learners, their names and addresses.
    List(List),
    /// Add a node that is not started yet, as a learner; `kontiki serve --join` does the same for a
    /// node that starts.
    Add(Add),
    /// Remove members; their ids are never used again.
    Remove(Several),
    /// Let a member that has joined take the place of a lost one, in one change.
    Replace(Replace),
    /// Make learners voters, once they have caught up.
    Promote(Several),
    /// Make voters learners.
    Demote(Several),
    /// Change where the others reach a member, while all of them run.
    SetAddress(SetAddress),
}

/// Show the members.
#[derive(Debug, Args)]
pub struct List {
    /// Print a JSON object with a list of members.
    #[arg(long)]
    pub json: bool,
    /// The members to ask.
    #[command(flatten)]
    pub to: Endpoints,
}

/// How a change is made.
#[derive(Debug, Args)]
pub struct How {
    /// Make the change without asking.
    #[arg(long, short)]
    pub yes: bool,
    /// Print the plan, and change nothing.
    #[arg(long, conflicts_with = "yes")]
    pub dry_run: bool,
    /// Print the plan or the outcome as a JSON object.
    #[arg(long)]
    pub json: bool,
    /// The members to ask; the leader is found through any of them.
    #[command(flatten)]
    pub to: Endpoints,
}

/// Add a node.
#[derive(Debug, Args)]
pub struct Add {
    /// The address at which the other members will reach the node. It recognizes itself by it when
    /// it joins.
    #[arg(value_name = "PEER-HOST:PORT")]
    pub peer: String,
    /// The address at which clients will reach it; the node names it when it joins.
    #[arg(long, value_name = "HOST:PORT")]
    pub client: Option<String>,
    /// Its name [default: n and its id].
    #[arg(long, value_name = "NAME")]
    pub name: Option<String>,
    /// How the change is made.
    #[command(flatten)]
    pub how: How,
}

/// Change several members at once.
#[derive(Debug, Args)]
pub struct Several {
    /// Their ids.
    #[arg(value_name = "ID", required = true)]
    pub ids: Vec<u64>,
    /// How the change is made.
    #[command(flatten)]
    pub how: How,
}

/// Replace a member.
#[derive(Debug, Args)]
pub struct Replace {
    /// The id of the member that is removed.
    #[arg(value_name = "OLD")]
    pub old: u64,
    /// The id of the member that takes its place [default: the only learner].
    #[arg(value_name = "NEW")]
    pub new: Option<u64>,
    /// How the change is made.
    #[command(flatten)]
    pub how: How,
}

/// Change a member's addresses.
#[derive(Debug, Args)]
#[group(id = "addresses", multiple = true)]
pub struct SetAddress {
    /// The member's id.
    #[arg(value_name = "ID")]
    pub id: u64,
    /// The new address at which the other members reach it.
    #[arg(long, value_name = "HOST:PORT", required_unless_present_any = ["client", "name"])]
    pub peer: Option<String>,
    /// The new address at which clients reach it.
    #[arg(long, value_name = "HOST:PORT")]
    pub client: Option<String>,
    /// Its new name.
    #[arg(long, value_name = "NAME")]
    pub name: Option<String>,
    /// How the change is made.
    #[command(flatten)]
    pub how: How,
}
