//! What each verb does.

use std::sync::Arc;

use raft_core::consensus::{Config, Input, NotSent, ReadId, RoleName};
use raft_core::types::{EntryId, HardState, LogIndex, Membership, MembershipParts, NodeId, Term};

use super::command::{Command, VERBS, parse, parse_node, parse_nodes};
use super::member::{Image, Member};
use super::world::{Planted, World, not_sent};

/// An election timeout that never fires: elections start only by command of a trace.
const NEVER: u32 = 1_000_000_000;

/// Runs one command, and returns its outputs.
pub fn run(world: &mut World, line: &str) -> Result<Vec<String>, String> {
    if let Some(rest) = line.strip_prefix("quietly ") {
        return run(world, rest).map(|_| Vec::new());
    }
    if let Some(rest) = line.strip_prefix("maybe ") {
        // An invalid command has no effect after `maybe`; a broken law is a panic, and is still
        // reported.
        return run(world, rest).or(Ok(Vec::new()));
    }
    let command = Command::parse(line)?;
    dispatch(world, &command).map_err(|why| format!("`{line}`: {why}"))?;
    Ok(std::mem::take(&mut world.lines))
}

fn dispatch(world: &mut World, command: &Command<'_>) -> Result<(), String> {
    match command.verb {
        "cluster" => cluster(world, command),
        "node" => node(world, command),
        "join" => join(world, command.node()?),
        "change" => change(world, command),
        "tick" => tick(world, command),
        "pause" => pause(world, command),
        "timeout" => timeout(world, command),
        "campaign" => campaign(world, command.node()?),
        "elect" => elect(world, command.node()?),
        "propose" => propose(world, command),
        "read" => read(world, command),
        "transfer" => transfer(world, command),
        "deliver" | "drop" | "keep" | "copy" | "late" => envelopes(world, command),
        "purge" => purge(world, command),
        "install" => install(world, command),
        "durable" => durable(world, command),
        "crash" => crash(world, command),
        "restart" => restart(world, command),
        "hold" => hold(world, command.node()?),
        "fetch" => fetch(world, command),
        "partition" => partition(world, command),
        "heal" => heal(world),
        "stabilize" => world.stabilize(),
        "converge" => converge(world),
        "status" => status(world, command.node()?),
        "membership" => membership(world, command.node()?),
        "log" => log(world),
        "network" => network(world),
        _ => Err(format!("no such verb; there are:\n{VERBS}")),
    }
}

// ---- the cluster ----

fn cluster(world: &mut World, command: &Command<'_>) -> Result<(), String> {
    let nodes = command.number("nodes")?.ok_or("how many nodes?")?;
    let voters = (1..=nodes).filter_map(NodeId::new).collect();
    let parts = MembershipParts { voters, ..MembershipParts::default() };
    let membership = Membership::new(parts).map_err(|error| error.to_string())?;
    *world = World::new(world.planted);
    world.membership = Some(Arc::new(membership));
    world.base = command.has_word("base");
    world.lost_memory = command.has_word("lost_memory");
    world.entry_bytes = command.number("bytes")?.unwrap_or(1);
    for id in (1..=nodes).filter_map(NodeId::new) {
        let config = config(world, id, command)?;
        let image = image(world, if world.base { "" } else { "0" })?;
        let mut member = Member::new(config, image);
        member.start(LogIndex::ZERO, LogIndex::ZERO);
        world.members.insert(id, member);
    }
    Ok(())
}

fn config(world: &World, id: NodeId, command: &Command<'_>) -> Result<Config, String> {
    let mut config = Config::new(id, 0);
    let set = |limit: &mut u64, name| {
        command.number(name).map(|number| *limit = number.unwrap_or(*limit))
    };
    set(&mut config.max_inflight_entries, "inflight")?;
    set(&mut config.max_inflight_bytes, "inflight_bytes")?;
    set(&mut config.max_append_entries, "append")?;
    if let Some(stall) = command.text("stall") {
        config.stall_ticks = parse(stall)?;
    }
    config.lease_drift = command.text("lease").map(parse).transpose()?;
    config.pre_vote = command.text("prevote") != Some("off");
    config.check_quorum = command.text("quorum") != Some("off");
    if command.text("timers") != Some("default") {
        config.election_ticks_max = NEVER;
    }
    plant(world.planted, &mut config);
    Ok(config)
}

#[cfg(feature = "mutants")]
fn plant(planted: Planted, config: &mut Config) {
    config.mutant = planted.bug;
}

#[cfg(not(feature = "mutants"))]
fn plant(_: Planted, _: &mut Config) {}

/// A disk with this log, and the cluster's membership before it or as its first entry.
fn image(world: &World, digits: &str) -> Result<Image, String> {
    let membership = world.membership.clone().ok_or("no cluster yet")?;
    let mut image = Image::default().with_log(digits)?;
    if world.base {
        image.base = Some(membership)
    } else {
        image.memberships = vec![(LogIndex::new(1), membership)]
    }
    image.hard_state.term = image.terms.iter().copied().max().unwrap_or_default();
    Ok(image)
}

fn node(world: &mut World, command: &Command<'_>) -> Result<(), String> {
    let id = command.node()?;
    let config = world.member(id)?.config.clone();
    let mut image = if command.has_word("blank") {
        Image::default()
    } else {
        image(world, command.text("log").unwrap_or("0"))?
    };
    if let Some(boundary) = command.text("boundary") {
        image.boundary = parse_id(boundary)?;
    }
    if let Some(learners) = command.text("learners") {
        image.base = Some(Arc::new(with_learners(world, &parse_nodes(learners)?)?));
        image.memberships.clear();
    }
    let term = command.number("term")?.map_or(image.hard_state.term, Term::new);
    image.hard_state = HardState { term, vote: command.node_setting("vote")? };
    let index = |name| command.number(name).map(|at| LogIndex::new(at.unwrap_or_default()));
    let mut member = Member::new(config, image);
    member.start(index("commit")?, index("applied")?);
    world.members.insert(id, member);
    Ok(())
}

/// A new node with a blank disk, which no membership names yet.
fn join(world: &mut World, id: NodeId) -> Result<(), String> {
    if world.members.contains_key(&id) {
        return Err(format!("there is a member {id} already"));
    }
    let any = world.members.values().next().ok_or("no cluster yet")?;
    let config = Config { id, ..any.config.clone() };
    let mut member = Member::new(config, Image::default());
    member.start(LogIndex::ZERO, LogIndex::ZERO);
    world.members.insert(id, member);
    Ok(())
}

/// Asks a member to change the membership.
fn change(world: &mut World, command: &Command<'_>) -> Result<(), String> {
    let list = |name| command.text(name).filter(|list| !list.is_empty());
    let nodes = |name| list(name).map_or(Ok(Vec::new()), parse_nodes);
    let parts = MembershipParts {
        voters: nodes("voters")?.into_iter().collect(),
        learners: nodes("learners")?.into_iter().collect(),
        ..MembershipParts::default()
    };
    let target = Membership::new(parts).map_err(|error| error.to_string())?;
    world.step(command.node()?, Input::ChangeMembership { target: Arc::new(target) })
}

/// The cluster's membership, with some of its voters as learners.
fn with_learners(world: &World, learners: &[NodeId]) -> Result<Membership, String> {
    let membership = world.membership.as_ref().ok_or("no cluster yet")?;
    let mut parts = membership.parts().clone();
    for learner in learners {
        parts.voters.remove(learner);
        parts.learners.insert(*learner);
    }
    Membership::new(parts).map_err(|error| error.to_string())
}

// ---- time and clients ----

fn some_or_all(world: &World, command: &Command<'_>) -> Result<Vec<NodeId>, String> {
    match command.word(0)? {
        "all" => Ok(world.up()),
        word => parse_nodes(word),
    }
}

fn tick(world: &mut World, command: &Command<'_>) -> Result<(), String> {
    let nodes = some_or_all(world, command)?;
    for _ in 0..command.number_at(1, 1)? {
        nodes.iter().try_for_each(|id| world.tick(*id))?;
    }
    Ok(())
}

/// Lets time pass without a tick: the members do not run, and then read their clocks.
fn pause(world: &mut World, command: &Command<'_>) -> Result<(), String> {
    let ticks = command.number_at(1, 1)?;
    for id in some_or_all(world, command)? {
        let now = world.member(id)?.advance_clock(ticks);
        world.step(id, Input::Clock { now })?;
    }
    Ok(())
}

fn timeout(world: &mut World, command: &Command<'_>) -> Result<(), String> {
    let after = parse(command.word(1)?)?;
    world.step(command.node()?, Input::ElectionTimeout { after })
}

fn campaign(world: &mut World, id: NodeId) -> Result<(), String> {
    world.step(id, Input::ElectionTimeout { after: 1 })?;
    world.tick(id)
}

/// Makes the other members forget the leader that they heard, and elects a member. If leases are
/// on, that member must be bound by no promise.
fn elect(world: &mut World, id: NodeId) -> Result<(), String> {
    for other in world.up() {
        let raft = world.members[&other].raft.as_ref();
        if other != id && raft.is_some_and(|raft| !raft.is_leader()) {
            (0..30).try_for_each(|_| world.tick(other))?;
        }
    }
    campaign(world, id)?;
    world.stabilize()?;
    world.lines.clear();
    let raft = world.member(id)?.raft.as_ref();
    if raft.is_some_and(|raft| raft.is_leader()) {
        Ok(())
    } else {
        Err(format!("{id} was not elected"))
    }
}

fn propose(world: &mut World, command: &Command<'_>) -> Result<(), String> {
    let count = command.number_at(1, 1)?;
    let origins = command.node_setting("for")?.into_iter().collect();
    world.step(command.node()?, Input::Propose { count, origins })
}

fn read(world: &mut World, command: &Command<'_>) -> Result<(), String> {
    let read = ReadId(parse(command.word(1)?)?);
    world.laws.note_read(command.node()?, read);
    let by_lease = command.has_word("lease");
    world.step(command.node()?, Input::ReadIndex { read, by_lease })
}

fn transfer(world: &mut World, command: &Command<'_>) -> Result<(), String> {
    let to = parse_node(command.word(1)?)?;
    world.step(command.node()?, Input::Transfer { to })
}

// ---- the network ----

fn envelopes(world: &mut World, command: &Command<'_>) -> Result<(), String> {
    if command.verb == "drop" && command.is_bare() {
        world.network.clear();
        return Ok(());
    }
    let filter = command.filter()?;
    let heap = if command.verb == "late" { &mut world.kept } else { &mut world.network };
    let before = heap.clone();
    let taken = filter.take(heap)?;
    match command.verb {
        "drop" => {}
        "keep" => world.kept.extend(taken),
        "copy" => {
            world.network = before;
            world.kept.extend(taken);
        }
        _ => taken.into_iter().try_for_each(|envelope| world.deliver(envelope))?,
    }
    Ok(())
}

fn partition(world: &mut World, command: &Command<'_>) -> Result<(), String> {
    let one = parse_nodes(command.word(0)?)?;
    let other = parse_nodes(command.word(1)?)?;
    for from in &one {
        for to in &other {
            world.cut.extend([(*from, *to), (*to, *from)]);
        }
    }
    let cut = &world.cut;
    world.network.retain(|envelope| !cut.contains(&(envelope.from, envelope.to)));
    Ok(())
}

fn heal(world: &mut World) -> Result<(), String> {
    world.cut.clear();
    Ok(())
}

fn network(world: &mut World) -> Result<(), String> {
    let lines =
        world.network.iter().map(|l| format!("on its way: {} -> {} {}", l.from, l.to, l.message));
    world.lines.extend(lines);
    Ok(())
}

// ---- the disk ----

fn durable(world: &mut World, command: &Command<'_>) -> Result<(), String> {
    let upto = command.number("upto")?;
    let nodes = some_or_all(world, command)?;
    let all = command.has_word("all");
    let waits = |world: &World, id: &NodeId| !all || !world.members[id].pending.is_empty();
    let nodes: Vec<NodeId> = nodes.into_iter().filter(|id| waits(world, id)).collect();
    nodes.into_iter().try_for_each(|id| world.make_durable(id, upto))
}

/// A snapshot of what is applied becomes durable, and the log is purged up to an entry.
fn purge(world: &mut World, command: &Command<'_>) -> Result<(), String> {
    let upto = match command.word(1)? {
        "all" => None,
        index => Some(LogIndex::new(parse(index)?)),
    };
    world.purge(command.node()?, upto)
}

/// A snapshot of another member is on the disk, and the machine was restored from it.
fn install(world: &mut World, command: &Command<'_>) -> Result<(), String> {
    let (id, from) = (command.node()?, command.node_setting("from")?.ok_or("from which node?")?);
    match command.word(1) {
        Ok(last) => {
            let membership = world.membership.clone().ok_or("no cluster yet")?;
            world.install(id, from, (parse_id(last)?, membership))
        }
        Err(_) => world.send_snapshot(from, id),
    }
}

/// `INDEX@TERM`.
fn parse_id(text: &str) -> Result<EntryId, String> {
    let (index, term) = text.split_once('@').ok_or("an entry is INDEX@TERM")?;
    Ok(EntryId::new(Term::new(parse(term)?), LogIndex::new(parse(index)?)))
}

fn crash(world: &mut World, command: &Command<'_>) -> Result<(), String> {
    world.member(command.node()?)?.crash(command.has_word("kept"));
    Ok(())
}

fn restart(world: &mut World, command: &Command<'_>) -> Result<(), String> {
    let index = |name| command.number(name).map(|at| LogIndex::new(at.unwrap_or_default()));
    let commit = index("commit")?;
    let applied = index("applied")?;
    let member = world.member(command.node()?)?;
    if member.raft.is_some() {
        member.crash(false);
    }
    member.start(commit, applied);
    world.laws.forget_reads_of(command.node()?);
    Ok(())
}

fn hold(world: &mut World, id: NodeId) -> Result<(), String> {
    world.member(id)?.holds = true;
    Ok(())
}

fn fetch(world: &mut World, command: &Command<'_>) -> Result<(), String> {
    let id = command.node()?;
    let to = command.node_setting("to")?;
    let upto = command.number("upto")?.map(LogIndex::new);
    let held = &mut world.member(id)?.held;
    let mut wanted = held.iter().enumerate().filter(|(_, send)| to.is_none_or(|to| to == send.to));
    let at = if command.has_word("newest") { wanted.next_back() } else { wanted.next() };
    let at = at.map(|(at, _)| at);
    let held = at.and_then(|at| held.remove(at)).ok_or("no send waits")?;
    let why = match command.word(1).unwrap_or_default() {
        "rewritten" => NotSent::Rewritten,
        "compacted" => NotSent::Compacted,
        "" | "newest" => {
            let input = world.fetch(id, held, upto)?;
            return world.step(id, input);
        }
        other => return Err(format!("a fetch does not end {other:?}")),
    };
    world.step(id, not_sent(held.to, held.send, why))
}

/// Lets time pass, with a good network and good disks, until all agree.
fn converge(world: &mut World) -> Result<(), String> {
    const TICKS: u32 = 1_000;
    world.cut.clear();
    world.refuses_removed = true;
    for _ in 0..TICKS {
        world.up().into_iter().try_for_each(|id| world.tick(id))?;
        world.stabilize()?;
        world.send_needed_snapshots()?;
        if agreed(world) {
            return Ok(());
        }
    }
    log(world)?;
    Err(format!("no agreement after {TICKS} ticks:\n{}", world.lines.join("\n")))
}

/// Whether one member leads, the logs of its members are equal and committed, no change is under
/// way, and no client waits to read. Nodes that are no members do not matter.
fn agreed(world: &World) -> bool {
    let all = || world.members.values().filter_map(|member| member.raft.as_ref());
    let Some(newest) = all().filter(|raft| raft.is_leader()).max_by_key(|raft| raft.term()) else {
        return false;
    };
    let Some(membership) = newest.membership() else { return false };
    let members = || membership.members().map(|id| world.members.get(&id));
    let rafts = || members().flatten().filter_map(|member| member.raft.as_ref());
    let logs = || members().flatten().map(|member| &member.issued);
    let leaders = rafts().filter(|raft| raft.is_leader()).count();
    let equal = logs().zip(logs().skip(1)).all(|(one, other)| one.equals(other));
    let committed = rafts().all(|raft| raft.commit() == raft.last().index);
    let settled = !membership.is_joint() && membership.is_voter(newest.id());
    leaders == 1 && equal && committed && settled && world.laws.open_reads() == 0
}

// ---- output ----

fn status(world: &mut World, id: NodeId) -> Result<(), String> {
    let raft = world.member(id)?.raft.as_ref().ok_or_else(|| format!("member {id} is down"))?;
    let status = raft.status();
    let vote = status.vote.map_or("none".to_string(), |vote| vote.to_string());
    let stalled = if status.disk_stalled { ", disk stalled" } else { "" };
    let transfer = status.transfer.map_or(String::new(), |to| format!(", hands over to {to}"));
    let mut lines = vec![format!(
        "{id} is {}: vote {vote}, last {}, durable {}, commit {}, apply {}{stalled}{transfer}",
        status.soft_state, status.last, status.durable, status.commit, status.applicable
    )];
    for peer in status.peers {
        let snapshot = if peer.needs_snapshot { ", needs a snapshot" } else { "" };
        let matched = peer.matched;
        let next = peer.next;
        lines.push(format!("{id} sees {}: match {matched}, next {next}{snapshot}", peer.id));
    }
    world.lines.extend(lines);
    Ok(())
}

/// The membership that is in force at a member, and whether it is committed.
fn membership(world: &mut World, id: NodeId) -> Result<(), String> {
    let raft = world.member(id)?.raft.as_ref().ok_or_else(|| format!("member {id} is down"))?;
    let status = raft.status();
    let at = status.membership_index;
    let is_committed = if at <= status.commit { "committed" } else { "not committed" };
    world.lines.push(match status.membership {
        Some(membership) => format!("{id} has {membership} since {at}, {is_committed}"),
        None => format!("{id} has no membership"),
    });
    Ok(())
}

/// Each log by the terms of its entries, with a bar after what is known to be committed.
fn log(world: &mut World) -> Result<(), String> {
    for (id, member) in &world.members {
        let image = &member.issued;
        let commit = member.raft.as_ref().map_or(image.boundary.index, |raft| raft.commit());
        let committed = commit.since(image.boundary.index) as usize;
        let terms: Vec<String> = image.terms.iter().map(|term| term.to_string()).collect();
        let (before, after) = terms.split_at(committed);
        let soft_state = member.raft.as_ref().map(|raft| raft.soft_state());
        let role = match soft_state {
            Some(soft_state) if soft_state.role == RoleName::Leader => " leads",
            Some(_) => "",
            None => " is down",
        };
        world.lines.push(format!("{id}: {}|{}{role}", before.concat(), after.concat()));
    }
    Ok(())
}
