//! One line of a trace: a verb, words, and `name=value` settings.

use std::collections::BTreeMap;
use std::str::FromStr;

use raft_core::consensus::{Body, Message};
use raft_core::types::NodeId;

use super::world::Envelope;

/// Every verb with its arguments, printed for an unknown verb.
pub const VERBS: &str = "\
join N | change N voters=N,.. [learners=N,..] | membership N
cluster nodes=N [base] [inflight=N] [inflight_bytes=N] [append=N] [bytes=N] [stall=N]
        [lost_memory] [prevote=off] [quorum=off] [timers=default] [lease=DRIFT]
node N [blank] [log=DIGITS] [term=T] [vote=N] [commit=I] [applied=I] [boundary=I@T] [learners=N,..]
tick N|all [TICKS] | pause N|all TICKS | timeout N TICKS | campaign N | elect N
propose N [COUNT] [for=N] | read N NAME [lease] | transfer N TO
deliver | drop | keep | copy | late  [from=N] [to=N] [kind=KIND] [count=N]
purge N INDEX|all | install N [INDEX@TERM] from=N
durable N|all [upto=SEQ] | crash N [kept] | restart N [commit=I] [applied=I]
hold N | fetch N [to=N] [upto=I] [newest] [rewritten|compacted]
partition N,.. N,.. | heal | stabilize | converge | status N | log | network
quietly COMMAND | maybe COMMAND";

/// A line, split into its parts.
pub struct Command<'a> {
    /// The first word.
    pub verb: &'a str,
    words: Vec<&'a str>,
    settings: BTreeMap<&'a str, &'a str>,
}

impl<'a> Command<'a> {
    /// Splits a line.
    pub fn parse(line: &'a str) -> Result<Command<'a>, String> {
        let mut parts = line.split_whitespace();
        let verb = parts.next().ok_or("an empty command")?;
        let mut words = Vec::new();
        let mut settings = BTreeMap::new();
        for part in parts {
            match part.split_once('=') {
                Some((name, value)) => drop(settings.insert(name, value)),
                None => words.push(part),
            }
        }
        Ok(Command { verb, words, settings })
    }

    /// The word at a place after the verb.
    pub fn word(&self, at: usize) -> Result<&'a str, String> {
        let word = self.words.get(at).copied();
        word.ok_or_else(|| format!("`{}` needs {} words or more", self.verb, at + 1))
    }

    /// Whether this word follows the verb.
    pub fn has_word(&self, word: &str) -> bool {
        self.words.contains(&word)
    }

    /// Whether nothing follows the verb.
    pub fn is_bare(&self) -> bool {
        self.words.is_empty() && self.settings.is_empty()
    }

    /// The member that is the first word.
    pub fn node(&self) -> Result<NodeId, String> {
        parse_node(self.word(0)?)
    }

    /// The number at a place after the verb, or `otherwise` if there is none.
    pub fn number_at(&self, at: usize, otherwise: u64) -> Result<u64, String> {
        match self.words.get(at) {
            Some(word) => parse(word),
            None => Ok(otherwise),
        }
    }

    /// The text of a setting.
    pub fn text(&self, name: &str) -> Option<&'a str> {
        self.settings.get(name).copied()
    }

    /// A setting that is a number.
    pub fn number(&self, name: &str) -> Result<Option<u64>, String> {
        self.text(name).map(parse).transpose()
    }

    /// A setting that is a member.
    pub fn node_setting(&self, name: &str) -> Result<Option<NodeId>, String> {
        self.text(name).map(parse_node).transpose()
    }

    /// Which envelopes the settings select.
    pub fn filter(&self) -> Result<Filter<'a>, String> {
        Ok(Filter {
            from: self.node_setting("from")?,
            to: self.node_setting("to")?,
            kind: self.text("kind"),
            count: self.number("count")?.unwrap_or(u64::MAX),
        })
    }
}

/// The number in a word, or an error.
pub fn parse<T: FromStr>(word: &str) -> Result<T, String> {
    word.parse().map_err(|_| format!("`{word}` is not a number"))
}

/// A member by its number.
pub fn parse_node(word: &str) -> Result<NodeId, String> {
    NodeId::new(parse(word)?).ok_or_else(|| "no member has the number 0".to_string())
}

/// Members with commas between them.
pub fn parse_nodes(word: &str) -> Result<Vec<NodeId>, String> {
    word.split(',').map(parse_node).collect()
}

/// Picks envelopes.
pub struct Filter<'a> {
    from: Option<NodeId>,
    to: Option<NodeId>,
    kind: Option<&'a str>,
    count: u64,
}

impl Filter<'_> {
    /// Removes the picked envelopes from a list; a filter that picks none is an error in the trace.
    pub fn take(&self, heap: &mut Vec<Envelope>) -> Result<Vec<Envelope>, String> {
        let mut taken = Vec::new();
        let mut rest = Vec::new();
        for envelope in heap.drain(..) {
            let wanted = self.picks(&envelope) && (taken.len() as u64) < self.count;
            if wanted { taken.push(envelope) } else { rest.push(envelope) }
        }
        *heap = rest;
        if taken.is_empty() { Err("no such envelope is there".to_string()) } else { Ok(taken) }
    }

    fn picks(&self, envelope: &Envelope) -> bool {
        self.from.is_none_or(|from| from == envelope.from)
            && self.to.is_none_or(|to| to == envelope.to)
            && self.kind.is_none_or(|kind| kind == kind_of(&envelope.message))
    }
}

fn kind_of(message: &Message) -> &'static str {
    match &message.body {
        Body::PreVote { .. } => "pre-vote",
        Body::PreVoteResponse { .. } => "pre-vote-answer",
        Body::Vote { .. } => "vote",
        Body::VoteResponse { .. } => "vote-answer",
        Body::Append { span, .. } if span.is_empty() => "heartbeat",
        Body::Append { .. } => "append",
        Body::AppendResponse { .. } => "answer",
        Body::ReadIndex { .. } => "read",
        Body::ReadIndexResponse { .. } => "read-answer",
        Body::TimeoutNow => "timeout-now",
        Body::Promise { .. } => "promise",
    }
}
