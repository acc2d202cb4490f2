//! What is wrong with a cluster, in one sentence for each problem, from what its members report.

use kontiki_etcd::api::kontiki::v1::AdminStatusResponse;

use crate::member::progress;

/// A member that lacks fewer entries than this is not behind: a loaded cluster always has some
/// entries on the way.
const BEHIND: u64 = 1000;

/// The problems, and the change of the members that is under way.
pub fn problems(answers: &[&AdminStatusResponse]) -> Vec<String> {
    let mut problems = Vec::new();
    let leaders = answers.iter().filter(|one| one.role == "leader");
    match leaders.max_by_key(|one| one.term) {
        Some(leader) => of_leader(leader, &mut problems),
        None => problems.extend(without_leader(answers)),
    }
    for one in answers {
        if one.role == "stopped" {
            problems.push(format!("member {} has stopped", one.id));
        } else if one.role == "learner" && one.last == 0 {
            problems.push(format!("member {} has joined and waits for the log", one.id));
        }
    }
    problems
}

fn of_leader(leader: &AdminStatusResponse, problems: &mut Vec<String>) {
    for peer in &leader.peers {
        let behind = leader.last.saturating_sub(peer.matched);
        if peer.needs_snapshot {
            problems.push(format!(
                "member {} needs a snapshot: the leader has purged entries that it lacks",
                peer.id
            ));
        } else if peer.matched == 0 && leader.last > 0 {
            let (id, leader) = (peer.id, leader.id);
            problems.push(format!("member {id} has stored nothing since member {leader} leads"));
        } else if behind >= BEHIND {
            problems.push(format!("member {} is {} entries behind", peer.id, grouped(behind)));
        }
    }
    if let Some(change) = &leader.change {
        problems.push(format!("the members are being changed: {}", progress(leader.id, change)));
    }
}

/// No member that answered leads.
fn without_leader(answers: &[&AdminStatusResponse]) -> Option<String> {
    let newest = answers.iter().max_by_key(|one| (one.term, one.last))?;
    if newest.members.is_empty() {
        return None;
    }
    if newest.leader != 0 {
        let leader = newest.leader;
        return Some(format!("member {leader} leads as far as the others know, and was not asked"));
    }
    let voters = newest.members.iter().filter(|member| !member.learner);
    let voters: Vec<u64> = voters.map(|member| member.id).collect();
    let reached = voters.iter().filter(|id| answers.iter().any(|one| one.id == **id)).count();
    let (all, needed) = (voters.len(), voters.len() / 2 + 1);
    Some(format!(
        "no leader is known: {reached} of {all} voters answer, and {needed} are needed to elect one"
    ))
}

/// A number with a comma before each group of three digits.
fn grouped(number: u64) -> String {
    let digits = number.to_string();
    let mut text = String::new();
    for (place, digit) in digits.chars().enumerate() {
        if place > 0 && (digits.len() - place).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

#[cfg(test)]
mod tests {
    use kontiki_etcd::api::kontiki::v1::{AdminMember, AdminPeer};

    use super::*;

    fn answer(id: u64, role: &str) -> AdminStatusResponse {
        let members = (1..=3).map(|id| AdminMember { id, ..AdminMember::default() }).collect();
        let (role, last) = (role.to_owned(), 20_000);
        AdminStatusResponse { id, role, last, term: 4, members, ..AdminStatusResponse::default() }
    }

    #[test]
    fn a_leader_tells_how_far_the_others_are() {
        let peer = |id, matched, needs_snapshot| AdminPeer { id, matched, needs_snapshot };
        let peers = vec![peer(2, 19_999, false), peer(3, 8_000, false), peer(4, 5, true)];
        let leader = AdminStatusResponse { peers, leader: 1, ..answer(1, "leader") };
        let expected = [
            "member 3 is 12,000 entries behind",
            "member 4 needs a snapshot: the leader has purged entries that it lacks",
        ];
        assert_eq!(problems(&[&leader, &answer(2, "follower")]), expected);
        let silent = AdminStatusResponse { peers: vec![peer(2, 0, false)], ..answer(1, "leader") };
        assert_eq!(problems(&[&silent]), ["member 2 has stored nothing since member 1 leads"]);
    }

    #[test]
    fn without_a_leader_the_answers_are_counted() {
        let one = answer(1, "follower");
        let expected = "no leader is known: 1 of 3 voters answer, and 2 are needed to elect one";
        assert_eq!(problems(&[&one]), [expected]);
        let elsewhere = AdminStatusResponse { leader: 3, ..one };
        let expected = "member 3 leads as far as the others know, and was not asked";
        assert_eq!(problems(&[&elsewhere]), [expected]);
        let blank = AdminStatusResponse {
            role: "learner".to_owned(),
            id: 4,
            ..AdminStatusResponse::default()
        };
        assert_eq!(problems(&[&blank]), ["member 4 has joined and waits for the log"]);
        assert_eq!(grouped(1_234_567), "1,234,567");
    }
}
