//! `kontiki member`: shows the members of a cluster, and changes them.
//!
//! Each change is planned by the leader, shown, confirmed, and carried out ([`carry_out`]). The
//! leader refuses it if the membership has changed since the plan was made, so that what is
//! carried out is what was shown.

pub mod arguments;
mod carry_out;
mod plan;

use std::process::ExitCode;

use kontiki_etcd::Client;
use kontiki_etcd::api::kontiki::v1::admin_edit::Kind;
use kontiki_etcd::api::kontiki::v1::{AdminChangeRequest, AdminEdit};
use kontiki_etcd::client::ClientError;
use serde::Serialize;

use crate::arguments::Endpoints;
use crate::failure::Failure;
use crate::output::{print, print_json};

use arguments::{Add, How, List, MemberCommand, Replace, SetAddress, Several};
pub use carry_out::progress;
pub use plan::{Listed, listed};

/// Carries out one of the commands.
pub async fn run(command: MemberCommand) -> Result<ExitCode, Failure> {
    match command {
        MemberCommand::List(list) => show(&list).await,
        MemberCommand::Add(Add { peer, client, name, how }) => {
            let edit = addressed(Kind::Add, 0, Some(&peer), client.as_deref(), name.as_deref());
            carry_out::change(&how, vec![edit]).await
        }
        MemberCommand::Remove(several) => change_each(Kind::Remove, several).await,
        MemberCommand::Promote(several) => change_each(Kind::Promote, several).await,
        MemberCommand::Demote(several) => change_each(Kind::Demote, several).await,
        MemberCommand::Replace(replace) => take_place(&replace).await,
        MemberCommand::SetAddress(SetAddress { id, peer, client, name, how }) => {
            let kind = Kind::SetAddress;
            let edit = addressed(kind, id, peer.as_deref(), client.as_deref(), name.as_deref());
            carry_out::change(&how, vec![edit]).await
        }
    }
}

async fn change_each(kind: Kind, several: Several) -> Result<ExitCode, Failure> {
    let Several { ids, how } = several;
    carry_out::change(&how, ids.into_iter().map(|id| edit(kind, id)).collect()).await
}

/// One change that removes a member and lets another one vote.
async fn take_place(replace: &Replace) -> Result<ExitCode, Failure> {
    let Replace { old, new, how } = replace;
    let new = match new {
        Some(new) => *new,
        None => only_learner(how, *old).await?,
    };
    if new == *old {
        return Err(Failure::new(format!("member {old} cannot take its own place")));
    }
    carry_out::change(how, vec![edit(Kind::Promote, new), edit(Kind::Remove, *old)]).await
}

/// The member that has joined to take the place of another one.
async fn only_learner(how: &How, old: u64) -> Result<u64, Failure> {
    let mut client = client(&how.to)?;
    let plan = client.plan(AdminChangeRequest::default()).await;
    let now = plan.map_err(|error| failed(&error))?.now;
    let learners: Vec<u64> =
        now.iter().filter(|member| member.learner).map(|member| member.id).collect();
    match learners[..] {
        [one] => Ok(one),
        [] => {
            let text = format!("no learner has joined that could take the place of member {old}");
            Err(Failure::new(text).advise(
                "start a node on an empty directory with `kontiki serve --join ENDPOINT`, then \
                 repeat this command",
            ))
        }
        _ => {
            let learners: Vec<String> = learners.iter().map(u64::to_string).collect();
            Err(Failure::new(format!("there are several learners: {}", learners.join(", ")))
                .advise(format!("name one: `kontiki member replace {old} NEW`")))
        }
    }
}

#[derive(Serialize)]
struct Members {
    leader: Option<u64>,
    members: Vec<Listed>,
}

/// Shows the members as the leader knows them, or else another member.
async fn show(list: &List) -> Result<ExitCode, Failure> {
    let client = client(&list.to)?;
    let answers = client.status().await;
    let known = answers.iter().filter_map(|one| one.status.as_ref().ok());
    // A leader has the newest membership; among the others, the one of the newest term.
    let newest = known.max_by_key(|one| (one.id == one.leader, one.term, one.last));
    let Some(newest) = newest else {
        let why = answers.into_iter().filter_map(|one| one.status.err().map(|e| (one.endpoint, e)));
        let why: Vec<String> =
            why.map(|(endpoint, error)| format!("{endpoint}: {error}")).collect();
        return Err(Failure::new(format!("no member answers ({})", why.join("; "))));
    };
    let leader = Some(newest.leader).filter(|leader| *leader != 0);
    let members = listed(newest.members.clone());
    if list.json {
        print_json(&Members { leader, members })?;
    } else {
        print(&table(leader, &members))?;
    }
    Ok(ExitCode::SUCCESS)
}

/// The members as a table; each column is as wide as its widest cell.
fn table(leader: Option<u64>, members: &[Listed]) -> String {
    let mut rows = vec![["ID", "NAME", "ROLE", "PEER", "CLIENT"].map(str::to_owned)];
    for member in members {
        let role = if member.learner {
            "learner"
        } else if leader == Some(member.id) {
            "leader"
        } else {
            "voter"
        };
        let or_dash = |text: &str| if text.is_empty() { "-" } else { text }.to_owned();
        rows.push([
            member.id.to_string(),
            or_dash(&member.name),
            role.to_owned(),
            or_dash(&member.peer),
            or_dash(&member.client),
        ]);
    }
    let width = |column: usize| rows.iter().map(|row| row[column].len()).max().unwrap_or(0);
    let widths: [usize; 5] = std::array::from_fn(width);
    let line = |row: &[String; 5]| {
        let cells = row.iter().zip(widths).map(|(cell, width)| format!("{cell:<width$}"));
        format!("{}\n", cells.collect::<Vec<_>>().join("  ").trim_end())
    };
    rows.iter().map(line).collect()
}

fn edit(kind: Kind, id: u64) -> AdminEdit {
    AdminEdit { kind: kind as i32, id, ..AdminEdit::default() }
}

fn addressed(
    kind: Kind,
    id: u64,
    peer: Option<&str>,
    client: Option<&str>,
    name: Option<&str>,
) -> AdminEdit {
    let url = |address: Option<&str>| match address {
        Some(address) if address.contains("://") => address.to_owned(),
        Some(address) => format!("http://{address}"),
        None => String::new(),
    };
    let name = name.unwrap_or_default().to_owned();
    AdminEdit { name, peer_url: url(peer), client_url: url(client), ..edit(kind, id) }
}

fn client(to: &Endpoints) -> Result<Client, Failure> {
    let client = Client::new(&to.endpoints).map_err(|error| Failure::new(error.to_string()))?;
    Ok(client.with_timeout(to.timeout()))
}

/// The failure for an error of the leader or of the way to it, and what to do.
fn failed(error: &ClientError) -> Failure {
    let failure = Failure::new(error.to_string());
    let said = failure.to_string();
    let advice = [
        ("has not connected to the leader", "start it, or leave it out of the same change"),
        ("older program", "restart it with this version, or leave it out of the same change"),
        ("has stored nothing", "it stays a learner: repair it and ask again, or remove it"),
        ("does not catch up", "it stays a learner: ask again when there is less load"),
        ("does not answer", "start it, or leave it out of the same change"),
        ("since this change was planned", "look at the new plan, and ask again"),
        ("too few members answer", "start the members that are down: the change is finished then"),
        ("another change is under way", "`kontiki status` shows it; ask again when it has ended"),
    ];
    match advice.iter().find(|(what, _)| said.contains(what)) {
        Some((_, advice)) => failure.advise(*advice),
        None => failure,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_table_shows_leader_voters_and_learners() {
        let member = |id: u64, learner| Listed {
            id,
            name: format!("n{id}"),
            learner,
            peer: format!("p:{id}"),
            client: if learner { String::new() } else { format!("c:{id}") },
        };
        let expected = "ID  NAME  ROLE     PEER  CLIENT\n\
                        1   n1    leader   p:1   c:1\n\
                        2   n2    voter    p:2   c:2\n\
                        3   n3    learner  p:3   -\n";
        let members = [member(1, false), member(2, false), member(3, true)];
        assert_eq!(table(Some(1), &members), expected);
    }

    #[test]
    fn an_address_may_be_given_as_a_url() {
        let edit = addressed(Kind::SetAddress, 2, Some("a:1"), Some("http://b:2"), None);
        assert_eq!(
            (&*edit.peer_url, &*edit.client_url, &*edit.name),
            ("http://a:1", "http://b:2", "")
        );
    }
}
