//! `kontiki status`: the status that each member reports, and what is wrong.

mod problems;

use std::process::ExitCode;

use kontiki_etcd::Client;
use kontiki_etcd::api::kontiki::v1::{AdminCatchingUp, AdminChange, AdminStatusResponse};
use serde::Serialize;

use crate::arguments::Status;
use crate::failure::Failure;
use crate::member::{Listed, listed};
use crate::output::{print, print_json};
use crate::snapshot::NewestSnapshot;

/// A member in the output. A value that a silent member did not report is null.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct MemberStatus {
    /// Its id.
    pub id: Option<u64>,
    /// The endpoint that was asked.
    pub endpoint: String,
    /// Follower, candidate, leader, learner, stopped; or unreachable.
    pub role: String,
    /// Its term.
    pub term: Option<u64>,
    /// Its commit index.
    pub commit: Option<u64>,
    /// The last index that its state machine has applied.
    pub applied: Option<u64>,
    /// The newest snapshot in its directory; null also if it has none.
    pub snapshot: Option<NewestSnapshot>,
    /// The backend of its log.
    pub backend: Option<String>,
    /// Its process id.
    pub pid: Option<u32>,
    /// The change of the membership that it makes, if it leads and makes one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub change: Option<Change>,
    /// Why it does not answer.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub error: Option<String>,
}

/// A change of the membership that is under way.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Change {
    /// waiting, adding-learners, catching-up or committing.
    stage: String,
    /// The members to come.
    target: Vec<Listed>,
    /// The new voters that are being brought up to date.
    catching_up: Vec<CatchingUp>,
}

/// A new voter that is being brought up to date.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
struct CatchingUp {
    id: u64,
    /// The number of the round, from 1 to 10.
    round: u32,
    /// The last index that it stores, and the index at which the round ends.
    matched: u64,
    goal: u64,
}

impl From<AdminChange> for Change {
    fn from(change: AdminChange) -> Change {
        let catching_up = change.catching_up.iter().map(|one| {
            let AdminCatchingUp { id, round, matched, goal } = *one;
            CatchingUp { id, round, matched, goal }
        });
        let catching_up = catching_up.collect();
        Change { stage: change.stage, target: listed(change.target), catching_up }
    }
}

#[derive(Serialize)]
struct Output {
    members: Vec<MemberStatus>,
    /// A sentence for each problem, and one for a change of the members that is under way.
    problems: Vec<String>,
}

/// Asks all endpoints. Fails if one of them does not answer, after it has shown the others.
pub async fn run(status: Status) -> Result<ExitCode, Failure> {
    let mut clients = Vec::new();
    for endpoint in &status.to.endpoints {
        let client = Client::new([endpoint]).map_err(|error| Failure::new(error.to_string()))?;
        let client = client.with_timeout(status.to.timeout());
        clients.push(tokio::spawn(async move { client.status().await }));
    }
    let mut answers = Vec::new();
    for client in clients {
        answers.extend(client.await.expect("asking does not panic"));
    }
    let known: Vec<_> = answers.iter().filter_map(|one| one.status.as_ref().ok()).collect();
    let problems = problems::problems(&known);
    let members = answers.into_iter().map(|one| MemberStatus::new(one.endpoint, one.status));
    let members: Vec<MemberStatus> = members.collect();
    let all = members.iter().all(|member| member.error.is_none());
    if status.json {
        print_json(&Output { members, problems })?;
    } else {
        print(&table(&members))?;
        print(&problems.iter().map(|problem| format!("{problem}\n")).collect::<String>())?;
    }
    Ok(if all { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

impl MemberStatus {
    /// The status that a member reported, or why there is none.
    pub fn new(endpoint: String, status: Result<AdminStatusResponse, String>) -> MemberStatus {
        match status {
            Ok(reported) => MemberStatus {
                id: Some(reported.id),
                endpoint,
                role: reported.role,
                term: Some(reported.term),
                commit: Some(reported.commit),
                applied: Some(reported.applied),
                snapshot: reported.snapshot.map(NewestSnapshot::from),
                backend: Some(reported.backend),
                pid: Some(reported.pid),
                change: reported.change.map(Change::from),
                error: None,
            },
            Err(error) => MemberStatus {
                endpoint,
                role: "unreachable".to_owned(),
                error: Some(error),
                ..MemberStatus::default()
            },
        }
    }
}

/// The members as a table; each column is as wide as its widest cell.
fn table(members: &[MemberStatus]) -> String {
    let heads =
        ["ENDPOINT", "ID", "ROLE", "TERM", "COMMIT", "APPLIED", "SNAPSHOT", "BACKEND", "PID"];
    let mut rows = vec![heads.map(str::to_owned)];
    rows.extend(members.iter().map(row));
    let width = |column: usize| rows.iter().map(|row| row[column].len()).max().unwrap_or(0);
    let widths: [usize; 9] = std::array::from_fn(width);
    let mut text = String::new();
    for row in &rows {
        let cells = row.iter().zip(widths).map(|(cell, width)| format!("{cell:<width$}"));
        text += cells.collect::<Vec<_>>().join("  ").trim_end();
        text += "\n";
    }
    for member in members {
        if let Some(error) = &member.error {
            text += &format!("{} does not answer: {error}\n", member.endpoint);
        }
    }
    text
}

fn row(member: &MemberStatus) -> [String; 9] {
    let number = |number: Option<u64>| number.map_or("-".to_owned(), |number| number.to_string());
    [
        member.endpoint.clone(),
        number(member.id),
        member.role.clone(),
        number(member.term),
        number(member.commit),
        number(member.applied),
        number(member.snapshot.as_ref().map(|snapshot| snapshot.index)),
        member.backend.clone().unwrap_or("-".to_owned()),
        number(member.pid.map(u64::from)),
    ]
}

#[cfg(test)]
mod tests {
    use kontiki_etcd::api::kontiki::v1::AdminSnapshot;

    use super::*;

    fn answer() -> AdminStatusResponse {
        AdminStatusResponse {
            id: 2,
            role: "leader".to_owned(),
            term: 3,
            commit: 10,
            applied: 9,
            snapshot: Some(AdminSnapshot { index: 8, term: 3, bytes: 700 }),
            backend: "file".to_owned(),
            pid: 77,
            ..AdminStatusResponse::default()
        }
    }

    #[test]
    fn the_json_has_every_field() {
        let members = vec![
            MemberStatus::new("a:1".to_owned(), Ok(answer())),
            MemberStatus::new("b:2".to_owned(), Err("connection refused".to_owned())),
        ];
        assert!(table(&members).ends_with("b:2 does not answer: connection refused\n"));
        let json = serde_json::to_string(&Output { members, problems: vec!["one".to_owned()] })
            .expect("it is JSON");
        let expected = concat!(
            r#"{"members":[{"id":2,"endpoint":"a:1","role":"leader","term":3,"commit":10,"#,
            r#""applied":9,"snapshot":{"index":8,"term":3,"bytes":700},"backend":"file","#,
            r#""pid":77},{"id":null,"endpoint":"b:2","role":"unreachable","term":null,"#,
            r#""commit":null,"applied":null,"snapshot":null,"backend":null,"pid":null,"#,
            r#""error":"connection refused"}],"problems":["one"]}"#
        );
        assert_eq!(json, expected);
    }
}
