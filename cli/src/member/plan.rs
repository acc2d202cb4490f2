//! What a change of the membership will do, in sentences.

use std::collections::BTreeSet;

use kontiki_etcd::api::kontiki::v1::{AdminMember, AdminPlan};
use serde::Serialize;

/// A member in the output.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Listed {
    /// Its id.
    pub id: u64,
    /// Its name.
    pub name: String,
    /// Whether it receives the log without voting.
    pub learner: bool,
    /// Where the other members reach it.
    pub peer: String,
    /// Where clients reach it; empty if that is not known yet.
    pub client: String,
}

/// A plan that is shown before it is carried out.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Plan {
    /// The members now.
    pub now: Vec<Listed>,
    /// The members that are to be.
    pub target: Vec<Listed>,
    /// What happens, in order.
    pub steps: Vec<String>,
}

impl From<AdminMember> for Listed {
    fn from(member: AdminMember) -> Listed {
        let AdminMember { id, learner, name, peer_url, client_url } = member;
        let [peer, client] = [peer_url, client_url].map(|url| match url.split_once("://") {
            Some((_, address)) => address.trim_end_matches('/').to_owned(),
            None => url,
        });
        Listed { id, name, learner, peer, client }
    }
}

/// Members as the output lists them.
pub fn listed(members: Vec<AdminMember>) -> Vec<Listed> {
    members.into_iter().map(Listed::from).collect()
}

impl Plan {
    /// The plan that the leader has made.
    pub fn new(plan: AdminPlan) -> Plan {
        let (now, target) = (listed(plan.now), listed(plan.target));
        let steps = steps(&now, &target);
        Plan { now, target, steps }
    }

    /// Whether everything holds already.
    pub fn is_done(&self) -> bool {
        self.now == self.target
    }

    /// The plan as text.
    pub fn text(&self) -> String {
        let mut text =
            format!("now:    {}\ntarget: {}\n", summary(&self.now), summary(&self.target));
        for (number, step) in self.steps.iter().enumerate() {
            text += &format!("  {}. {step}\n", number + 1);
        }
        text
    }
}

/// Voters and learners by id.
pub fn summary(members: &[Listed]) -> String {
    let of = |learner| members.iter().filter(move |member| member.learner == learner);
    let voters = format!("voters {}", ids(of(false).map(|member| member.id)));
    match of(true).count() {
        0 => voters,
        _ => format!("{voters}; learners {}", ids(of(true).map(|member| member.id))),
    }
}

fn ids(ids: impl Iterator<Item = u64>) -> String {
    ids.map(|id| id.to_string()).collect::<Vec<_>>().join(", ")
}

/// What the leader does, in order; one entry of the log, or two for new voters, at each step that
/// changes anything.
fn steps(now: &[Listed], target: &[Listed]) -> Vec<String> {
    let voters = |members: &[Listed]| -> BTreeSet<u64> {
        members.iter().filter(|member| !member.learner).map(|member| member.id).collect()
    };
    let find = |members: &[Listed], id| members.iter().find(|member| member.id == id).cloned();
    let (old, new) = (voters(now), voters(target));
    let mut steps = Vec::new();
    for member in target.iter().filter(|member| find(now, member.id).is_none()) {
        steps.push(format!("member {} becomes a learner at {}", member.id, member.peer));
    }
    for id in new.difference(&old) {
        steps.push(format!("member {id} is brought up to date; until then it does not vote"));
    }
    for member in target {
        let Some(before) = find(now, member.id) else { continue };
        let is_moved = before.peer != member.peer || before.client != member.client;
        if is_moved {
            let Listed { id, peer, client, .. } = member;
            let at = [("members", peer), ("clients", client)].map(|(of, at)| format!("{of} {at}"));
            steps.push(format!("member {id} is reached elsewhere: {}", at.join(", ")));
        } else if before.name != member.name {
            steps.push(format!("member {} is named {:?}", member.id, member.name));
        }
    }
    if old != new {
        let [old, new] = [&old, &new].map(|voters| ids(voters.iter().copied()));
        steps.push(format!(
            "a majority of the voters {old} and one of {new} must both agree; then one of {new}. \
             From here on the change cannot be cancelled"
        ));
    }
    for member in now.iter().filter(|member| find(target, member.id).is_none()) {
        steps.push(format!("member {} is told that it was removed, and stops", member.id));
    }
    steps
}

#[cfg(test)]
mod tests {
    use super::*;

    fn member(id: u64, learner: bool) -> AdminMember {
        AdminMember {
            id,
            learner,
            name: format!("n{id}"),
            peer_url: format!("http://p:{id}"),
            client_url: format!("http://c:{id}"),
        }
    }

    #[test]
    fn the_plan_of_a_replacement_says_what_happens_in_order() {
        let now = vec![member(1, false), member(2, false), member(3, false), member(4, true)];
        let target = vec![member(1, false), member(3, false), member(4, false)];
        let plan = Plan::new(AdminPlan { base: "".into(), now, target });
        let expected = "now:    voters 1, 2, 3; learners 4\n\
                        target: voters 1, 3, 4\n  \
                        1. member 4 is brought up to date; until then it does not vote\n  \
                        2. a majority of the voters 1, 2, 3 and one of 1, 3, 4 must both agree; \
                        then one of 1, 3, 4. From here on the change cannot be cancelled\n  \
                        3. member 2 is told that it was removed, and stops\n";
        assert_eq!(plan.text(), expected);
        assert!(!plan.is_done());
    }

    #[test]
    fn new_members_and_new_addresses_are_steps() {
        let now = vec![member(1, false), member(2, false)];
        let moved = AdminMember { peer_url: "http://q:9".to_owned(), ..member(2, false) };
        let target = vec![member(1, false), moved, member(5, true)];
        let plan = Plan::new(AdminPlan { base: "".into(), now: now.clone(), target });
        let expected = [
            "member 5 becomes a learner at p:5",
            "member 2 is reached elsewhere: members q:9, clients c:2",
        ];
        assert_eq!(plan.steps, expected);
        let plan = Plan::new(AdminPlan { base: "".into(), now: now.clone(), target: now });
        assert!(plan.is_done() && plan.steps.is_empty());
    }
}
