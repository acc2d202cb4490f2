//! A cluster, its network and its clock, which change only by command.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::Arc;

use raft_core::consensus::{Body, Input, Message, NotSent, Output, SendId};
use raft_core::types::{EntryId, LogIndex, Membership, NodeId};

use super::laws::{self, ClusterLaws};
use super::member::{HeldSend, Member, Memberships};

/// The bug that is planted in a run, if the feature is on.
#[derive(Clone, Copy, Default)]
pub struct Planted {
    /// The bug, if there is one.
    #[cfg(feature = "mutants")]
    pub bug: Option<raft_core::consensus::Mutant>,
}

/// One message on its way.
#[derive(Clone)]
pub struct Envelope {
    /// The sender.
    pub from: NodeId,
    /// The receiver.
    pub to: NodeId,
    /// The message.
    pub message: Message,
    /// The memberships among its entries.
    pub memberships: Memberships,
}

/// A whole cluster.
pub struct World {
    /// The planted bug that every member runs with.
    pub planted: Planted,
    /// The members.
    pub members: BTreeMap<NodeId, Member>,
    /// The membership that they start with.
    pub membership: Option<Arc<Membership>>,
    /// Whether that membership lies before the log, not in it.
    pub base: bool,
    /// Envelopes on their way.
    pub network: Vec<Envelope>,
    /// Envelopes that were put aside.
    pub kept: Vec<Envelope>,
    /// Links on which every message is lost.
    pub cut: BTreeSet<(NodeId, NodeId)>,
    /// Payload bytes of each entry.
    pub entry_bytes: u64,
    /// The output lines since the last command began.
    pub lines: Vec<String>,
    /// The laws that need more than one member to check.
    pub laws: ClusterLaws,
    /// Whether no member receives anything from a node that it knows to be removed, as a transport
    /// does; the laws hold without this, but such a node may keep others from agreeing.
    pub refuses_removed: bool,
    /// Whether members have lost votes or entries that were durable. The laws about the whole
    /// cluster do not hold then, and are not checked.
    pub lost_memory: bool,
}

impl World {
    /// A world without members.
    pub fn new(planted: Planted) -> World {
        World {
            planted,
            members: BTreeMap::new(),
            membership: None,
            base: false,
            network: Vec::new(),
            kept: Vec::new(),
            cut: BTreeSet::new(),
            entry_bytes: 1,
            lines: Vec::new(),
            laws: ClusterLaws::default(),
            refuses_removed: false,
            lost_memory: false,
        }
    }

    /// A member, up or down.
    pub fn member(&mut self, id: NodeId) -> Result<&mut Member, String> {
        self.members.get_mut(&id).ok_or_else(|| format!("there is no member {id}"))
    }

    /// The members that are up.
    pub fn up(&self) -> Vec<NodeId> {
        let up = self.members.iter().filter(|(_, member)| member.raft.is_some());
        up.map(|(id, _)| *id).collect()
    }

    /// Steps one tick into a member that is up.
    pub fn tick(&mut self, id: NodeId) -> Result<(), String> {
        let now = self.member(id)?.advance_clock(1);
        self.step(id, Input::Tick { now })
    }

    /// Steps one input into a member that is up, and carries out the resulting outputs.
    pub fn step(&mut self, id: NodeId, input: Input) -> Result<(), String> {
        let ticks = matches!(input, Input::Tick { .. });
        let mut inputs = VecDeque::from([input]);
        while let Some(input) = inputs.pop_front() {
            let memberships = match &input {
                Input::Message { memberships, .. } => memberships.clone(),
                _ => Vec::new(),
            };
            let mut outputs = Vec::new();
            let member = self.member(id)?;
            let raft = member.raft.as_mut().ok_or_else(|| format!("member {id} is down"))?;
            raft.step(input, &mut outputs);
            raft.check_laws();
            for output in outputs {
                self.lines.push(format!("{id} {output}"));
                if !self.lost_memory {
                    self.laws.check_output(id, &output, &self.members);
                }
                inputs.extend(self.carry_out(id, output, &memberships)?);
            }
            if self.lost_memory {
                laws::check_follows_no_other_history(id, &self.members);
            } else {
                self.laws.check_state(id, &self.members);
            }
        }
        if ticks {
            self.laws.note_tick(id, &self.members[&id]);
        }
        Ok(())
    }

    /// Carries out an output; its result is stepped next.
    fn carry_out(
        &mut self,
        id: NodeId,
        output: Output,
        memberships: &Memberships,
    ) -> Result<Option<Input>, String> {
        match output {
            Output::Write(write) => self.member(id)?.issue(write, memberships.clone()),
            Output::Send { to, message } => self.post(id, to, message),
            Output::SendEntries { to, message, send } => {
                if !self.member(id)?.holds {
                    return self.fetch(id, HeldSend { to, message, send }, None).map(Some);
                }
                self.member(id)?.held.push_back(HeldSend { to, message, send });
            }
            Output::Stop(_) => self.member(id)?.crash(true),
            _ => {}
        }
        Ok(None)
    }

    /// Puts an envelope on its way, unless the link is cut.
    fn post(&mut self, from: NodeId, to: NodeId, message: Message) {
        if self.cut.contains(&(from, to)) {
            return;
        }
        let entries = message.span().map(|span| self.members[&from].issued.memberships_in(span));
        let memberships = entries.unwrap_or_default();
        self.network.push(Envelope { from, to, message, memberships });
    }

    /// Fetches the entries of a send, as the node's pump does: compares them with what the send
    /// names, and drops it on a difference.
    pub fn fetch(
        &mut self,
        id: NodeId,
        held: HeldSend,
        upto: Option<LogIndex>,
    ) -> Result<Input, String> {
        let HeldSend { to, mut message, send } = held;
        let Body::Append { span, .. } = &mut message.body else {
            return Err("a send of entries is not an append".to_string());
        };
        if let Some(upto) = upto {
            *span = span.up_to(upto);
        }
        if !self.member(id)?.issued.holds(span) {
            self.lines.push(format!("{id} finds other entries than the send to {to} names"));
            return Ok(not_sent(to, send, NotSent::Rewritten));
        }
        let upto = span.last();
        let bytes = span.len() * self.entry_bytes;
        self.post(id, to, message);
        Ok(Input::Sent { to, send, upto, bytes })
    }

    /// Hands an envelope to its receiver, if the receiver is up.
    pub fn deliver(&mut self, envelope: Envelope) -> Result<(), String> {
        let Envelope { from, to, message, memberships } = envelope;
        let Some(raft) = &self.member(to)?.raft else { return Ok(()) };
        let committed = raft.membership_at(raft.commit());
        let is_removed = committed.is_some_and(|now| !now.contains(from) && from <= now.highest());
        if is_removed && self.refuses_removed {
            return Ok(());
        }
        if matches!(message.body, Body::AppendResponse { .. }) {
            self.laws.note_answer(to, from, message.term);
        }
        self.step(to, Input::Message { from, message, memberships })
    }

    /// Makes the writes of a member durable, up to one of them or all.
    pub fn make_durable(&mut self, id: NodeId, upto: Option<u64>) -> Result<(), String> {
        let member = self.member(id)?;
        let mut done = None;
        while let Some((write, memberships)) = member.pending.front()
            && upto.is_none_or(|upto| write.seq.0 <= upto)
        {
            member.disk.apply(write, memberships);
            done = Some(write.seq);
            member.pending.pop_front();
        }
        match done {
            Some(seq) => self.step(id, Input::Durable { seq }),
            None => Err(format!("member {id} has no such write in flight")),
        }
    }

    /// A snapshot of what is applied becomes durable, and the log is purged up to an entry, or up
    /// to the snapshot's last one.
    pub fn purge(&mut self, id: NodeId, upto: Option<LogIndex>) -> Result<(), String> {
        let member = self.member(id)?;
        let raft = member.raft.as_ref().ok_or_else(|| format!("member {id} is down"))?;
        let applied = raft.status().applicable;
        if upto.is_some_and(|upto| upto > applied) {
            return Err(format!("member {id} has applied {applied} only"));
        }
        let term = raft.term_at(applied).ok_or("nothing is applied")?;
        let membership = raft.membership_at(applied).ok_or("it has no membership")?;
        member.disk.snapshot = Some((EntryId::new(term, applied), Arc::clone(membership)));
        self.step(id, Input::Purge { upto: upto.unwrap_or(applied) })
    }

    /// A snapshot of `from` becomes durable at a member, whose state machine is restored from it. A
    /// snapshot that includes nothing new is not stored.
    pub fn install(
        &mut self,
        id: NodeId,
        from: NodeId,
        (last, membership): (EntryId, Arc<Membership>),
    ) -> Result<(), String> {
        let member = self.member(id)?;
        let raft = member.raft.as_ref().ok_or_else(|| format!("member {id} is down"))?;
        if last.index > raft.status().applicable {
            member.disk.snapshot = Some((last, Arc::clone(&membership)));
            member.issued.snapshot = member.disk.snapshot.clone();
        }
        self.step(id, Input::Install { from, last, membership })
    }

    /// Sends the newest snapshot of a member to another.
    pub fn send_snapshot(&mut self, from: NodeId, to: NodeId) -> Result<(), String> {
        let snapshot = self.member(from)?.disk.snapshot.clone();
        self.install(to, from, snapshot.ok_or_else(|| format!("member {from} has none"))?)
    }

    /// Every leader sends its snapshot to the peers that need one.
    pub fn send_needed_snapshots(&mut self) -> Result<(), String> {
        for id in self.up() {
            let status = self.members[&id].raft.as_ref().map(|raft| raft.status());
            let peers = status.into_iter().flat_map(|status| status.peers);
            let needy = peers.filter(|peer| peer.needs_snapshot && self.is_up(peer.id));
            let needy: Vec<NodeId> = needy.map(|peer| peer.id).collect();
            needy.into_iter().try_for_each(|to| self.send_snapshot(id, to))?;
        }
        Ok(())
    }

    fn is_up(&self, id: NodeId) -> bool {
        self.members.get(&id).is_some_and(|member| member.raft.is_some())
    }

    /// Makes everything durable and delivers everything, until nothing is left to do.
    pub fn stabilize(&mut self) -> Result<(), String> {
        const ROUNDS: usize = 200;
        for _ in 0..ROUNDS {
            let waits = |id: &NodeId| !self.members[id].pending.is_empty();
            let waiting: Vec<NodeId> = self.up().into_iter().filter(waits).collect();
            let envelopes = std::mem::take(&mut self.network);
            if waiting.is_empty() && envelopes.is_empty() {
                return Ok(());
            }
            waiting.into_iter().try_for_each(|id| self.make_durable(id, None))?;
            envelopes.into_iter().try_for_each(|envelope| self.deliver(envelope))?;
        }
        Err(format!("no quiet after {ROUNDS} rounds"))
    }
}

/// The input that reports that entries were not sent.
pub fn not_sent(to: NodeId, send: SendId, why: NotSent) -> Input {
    Input::NotSent { to, send, why }
}
