//! Members join, change and leave a running cluster of real processes.

mod changes;
mod etcdctl;
mod joining;
mod leadership;
mod under_load;

use serde_json::Value;

use crate::members::Cluster;
use crate::tool::{eventually, kontiki};

/// The status of the member at an endpoint, if it answers.
fn status(endpoint: &str) -> Option<Value> {
    let output = kontiki(&["status", "--json", "--timeout", "2", "--endpoints", endpoint]);
    let status: Value = serde_json::from_slice(&output.stdout).ok()?;
    let member = &status["members"][0];
    member.get("error").is_none().then(|| member.clone())
}

/// Waits until the member at an endpoint has a role.
fn wait_for_role(endpoint: &str, role: &str) -> Value {
    eventually(&format!("{endpoint} is {role}"), || {
        status(endpoint).filter(|member| member["role"] == role)
    })
}

/// Waits until the member at an endpoint has applied what all members of the cluster have.
fn wait_until_caught_up(cluster: &Cluster, endpoint: &str) {
    let newest = (1..=3).filter_map(|id| status(&cluster.client(id)));
    let goal = newest.filter_map(|member| member["commit"].as_u64()).max();
    eventually(&format!("{endpoint} has caught up"), || {
        status(endpoint).filter(|member| member["applied"].as_u64() >= goal)
    });
}
