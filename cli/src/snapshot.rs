//! `kontiki snapshot`: lets running members take a snapshot now, and waits until it is durable.

use std::process::ExitCode;

use kontiki_etcd::Client;
use kontiki_etcd::api::kontiki::v1::{AdminSnapshot, AdminSnapshotResponse};
use serde::Serialize;

use crate::arguments::Snapshot;
use crate::failure::Failure;
use crate::output::{print, print_json};

/// The newest snapshot of a member in the output.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct NewestSnapshot {
    /// The last entry that it includes.
    pub index: u64,
    /// That entry's term.
    pub term: u64,
    /// The bytes of its file.
    pub bytes: u64,
}

/// What one member answered. A value that a member did not report is null.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
struct Taken {
    endpoint: String,
    id: Option<u64>,
    snapshot: Option<NewestSnapshot>,
    /// Whether the member had it already, since nothing was applied in the meantime.
    was_there: bool,
    seconds: Option<f64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    error: Option<String>,
}

#[derive(Serialize)]
struct Output {
    members: Vec<Taken>,
}

/// Asks all endpoints at once. Fails if one of them took no snapshot, after it has shown the
/// others.
pub async fn run(snapshot: Snapshot) -> Result<ExitCode, Failure> {
    let mut clients = Vec::new();
    for endpoint in &snapshot.endpoints {
        let client = Client::new([endpoint]).map_err(|error| Failure::new(error.to_string()))?;
        let client = client.with_timeout(snapshot.timeout());
        clients.push(tokio::spawn(async move { client.snapshot().await }));
    }
    let mut members = Vec::new();
    for client in clients {
        let answered = client.await.expect("asking does not panic");
        members.extend(answered.into_iter().map(|one| Taken::new(one.endpoint, one.snapshot)));
    }
    let all = members.iter().all(|member| member.error.is_none());
    if snapshot.json {
        print_json(&Output { members })?;
    } else {
        print(&members.iter().map(Taken::line).collect::<String>())?;
    }
    Ok(if all { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

impl From<AdminSnapshot> for NewestSnapshot {
    fn from(snapshot: AdminSnapshot) -> NewestSnapshot {
        let AdminSnapshot { index, term, bytes } = snapshot;
        NewestSnapshot { index, term, bytes }
    }
}

impl Taken {
    fn new(endpoint: String, answer: Result<AdminSnapshotResponse, String>) -> Taken {
        match answer {
            Ok(taken) => Taken {
                endpoint,
                id: Some(taken.id),
                snapshot: taken.snapshot.map(NewestSnapshot::from),
                was_there: taken.was_there,
                seconds: Some(taken.microseconds as f64 / 1e6),
                error: None,
            },
            Err(error) => Taken { endpoint, error: Some(error), ..Taken::default() },
        }
    }

    /// One line of the text output.
    fn line(&self) -> String {
        let Taken { endpoint, .. } = self;
        let (Some(id), Some(snapshot), Some(seconds)) = (self.id, &self.snapshot, self.seconds)
        else {
            let error = self.error.as_deref().unwrap_or("it reported no snapshot");
            return format!("{endpoint} took no snapshot: {error}\n");
        };
        let NewestSnapshot { index, term, bytes } = snapshot;
        let what = format!("member {id}, up to entry {index}@{term}: {bytes} bytes");
        if self.was_there {
            return format!("{endpoint}: {what}, there already\n");
        }
        format!("{endpoint}: {what}, taken in {seconds:.2} s\n")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_member_has_one_line_and_one_object() {
        let snapshot = Some(AdminSnapshot { index: 1042, term: 3, bytes: 70_000 });
        let taken =
            AdminSnapshotResponse { id: 2, snapshot, was_there: false, microseconds: 123_456 };
        let again = AdminSnapshotResponse { was_there: true, ..taken };
        let members = [
            Taken::new("a:1".to_owned(), Ok(taken)),
            Taken::new("a:1".to_owned(), Ok(again)),
            Taken::new("b:2".to_owned(), Err("this member takes no snapshots".to_owned())),
        ];
        let lines: Vec<String> = members.iter().map(Taken::line).collect();
        let expected = [
            "a:1: member 2, up to entry 1042@3: 70000 bytes, taken in 0.12 s\n",
            "a:1: member 2, up to entry 1042@3: 70000 bytes, there already\n",
            "b:2 took no snapshot: this member takes no snapshots\n",
        ];
        assert_eq!(lines, expected);
        let json = serde_json::to_string(&Output { members: members[1..].to_vec() });
        let expected = concat!(
            r#"{"members":[{"endpoint":"a:1","id":2,"snapshot":{"index":1042,"term":3,"#,
            r#""bytes":70000},"was_there":true,"seconds":0.123456},{"endpoint":"b:2","id":null,"#,
            r#""snapshot":null,"was_there":false,"seconds":null,"#,
            r#""error":"this member takes no snapshots"}]}"#
        );
        assert_eq!(json.expect("it is JSON"), expected);
    }
}
