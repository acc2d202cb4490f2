//! Feature levels: which kinds of entries the members of a cluster may write.
//!
//! A program that does not know a kind of entry cannot apply it, nor any entry after it. So a kind
//! that is newer than the first programs belongs to a *feature level*. The level of a cluster is an
//! entry of the log, and is raised only once all members run programs that support it; it is never
//! lowered. A program tells which level it supports by the version of the wire format that it
//! speaks ([`PROTOCOL_VERSION`](crate::PROTOCOL_VERSION)).
//!
//! Deliberately absent: when the level is raised, which the pump of the leader decides.

/// The level of a cluster whose log does not say otherwise.
pub const FIRST_LEVEL: u32 = 1;

/// The level from which on there are client sessions.
pub(crate) const SESSIONS: u32 = 2;

/// The newest feature level that this program supports.
pub const FEATURE_LEVEL: u32 = SESSIONS;

/// The version of the wire format since which programs support [`SESSIONS`].
const SESSIONS_SINCE: u16 = 4;

/// The level that the programs support which speak up to this version of the wire format.
pub fn level_of_version(version: u16) -> u32 {
    if version >= SESSIONS_SINCE { SESSIONS } else { FIRST_LEVEL }
}

/// The lowest version of the wire format whose programs support this level.
pub fn version_of_level(level: u32) -> u16 {
    if level >= SESSIONS { SESSIONS_SINCE } else { 1 }
}

// This program supports the newest level that it knows.
const _: () = assert!(crate::PROTOCOL_VERSION >= SESSIONS_SINCE);
