//! `kontiki transfer`: the leader hands its leadership over, and stays a member.

use std::process::ExitCode;

use clap::Args;
use kontiki_etcd::Client;
use serde_json::json;

use crate::arguments::Endpoints;
use crate::failure::Failure;
use crate::output::{print_json, print_line};

/// Hand the leadership over.
#[derive(Debug, Args)]
pub struct Transfer {
    /// The voter that is to lead [default: the one that has stored the most].
    #[arg(value_name = "ID")]
    pub to: Option<u64>,
    /// Print the outcome as a JSON object.
    #[arg(long)]
    pub json: bool,
    /// The members to ask; the leader is found through any of them.
    #[command(flatten)]
    pub to_ask: Endpoints,
}

/// Asks the leader, and waits until another member leads.
pub async fn run(transfer: Transfer) -> Result<ExitCode, Failure> {
    let client = Client::new(&transfer.to_ask.endpoints);
    let client = client.map_err(|error| Failure::new(error.to_string()))?;
    let mut client = client.with_timeout(transfer.to_ask.timeout());
    let leader = client.transfer(transfer.to).await;
    let leader = leader.map_err(|error| {
        Failure::new(error.to_string()).advise(
            "the cluster has a leader as before, or elects one; `kontiki status` shows it, and the \
             command may be repeated",
        )
    })?;
    if transfer.json {
        print_json(&json!({ "leader": leader }))?;
    } else {
        print_line(&format!("member {leader} leads"))?;
    }
    Ok(ExitCode::SUCCESS)
}
