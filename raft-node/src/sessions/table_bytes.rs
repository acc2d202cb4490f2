//! The table of sessions as bytes, in a snapshot: a version byte, then postcard's wire format. They
//! are specified in `docs/formats/session.md`.

use std::collections::BTreeMap;
use std::sync::Arc;

use serde::{Deserialize, Serialize};

use super::id::SessionId;
use super::table::{Session, SessionTable};

const VERSION: u8 = 1;

/// The most bytes of a table in a snapshot.
pub(crate) const MAX_TABLE_BYTES: u64 = 256 << 20;

#[derive(Serialize)]
struct Written<'a> {
    time: u64,
    sessions: Vec<(SessionId, &'a Session)>,
}

#[derive(Deserialize)]
struct Read {
    time: u64,
    sessions: Vec<(SessionId, Session)>,
}

impl SessionTable {
    /// The bytes of the table.
    pub fn encode(&self) -> Vec<u8> {
        let sessions = self.sessions.iter().map(|(id, session)| (*id, &**session)).collect();
        let written = Written { time: self.time, sessions };
        postcard::to_extend(&written, vec![VERSION]).expect("plain data always encodes")
    }

    /// The table in these bytes; `None` if they are not a sound table of this version.
    pub fn decode(bytes: &[u8]) -> Option<SessionTable> {
        let (&VERSION, body) = bytes.split_first()? else { return None };
        let (Read { time, sessions }, []) = postcard::take_from_bytes(body).ok()? else {
            return None;
        };
        let count = sessions.len();
        let counted =
            |(id, session): (SessionId, Session)| Some((id, Arc::new(session.counted()?)));
        let sessions: Option<BTreeMap<_, _>> = sessions.into_iter().map(counted).collect();
        let sessions = sessions.filter(|sessions| sessions.len() == count)?;
        Some(SessionTable { time, sessions: Arc::new(sessions) })
    }
}
