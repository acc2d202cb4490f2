//! TiKV's raft-engine as a log: one region, groups of entries, each write synced.

use std::path::{Path, PathBuf};

use bytes::Bytes;
use protobuf::well_known_types::BytesValue;
use raft_engine::{Command, Config, Engine, LogBatch, MessageExt, ReadableSize};

use crate::BenchError;
use crate::lane::{POWER_LOSS, Role, Subject};
use crate::log::{KEPT_BYTES, PURGE_STEP_BYTES, Writer};
use crate::workload::incompressible;

/// The only region in it.
const REGION: u64 = 1;

/// The length of a file, the same as that of our segments.
const FILE_BYTES: u64 = 64 << 20;

/// Entries whose index is in their first eight bytes, because the engine must be able to get the
/// index from the message.
#[derive(Clone, Copy, Debug, Default)]
struct Indexed;

impl MessageExt for Indexed {
    type Entry = BytesValue;

    fn index(entry: &BytesValue) -> u64 {
        entry.value.first_chunk().map_or(0, |bytes| u64::from_be_bytes(*bytes))
    }
}

/// An engine that accepts groups of entries.
pub struct RaftEngineWriter {
    engine: Engine,
    dir: PathBuf,
    prefilled: bool,
    payload: Bytes,
    last: u64,
    group: Vec<BytesValue>,
    compact: Option<u64>,
    bytes_in_step: u64,
}

impl RaftEngineWriter {
    /// A new engine in `dir`. With `prefilled` it writes its files before they are used, which is
    /// not its default.
    pub fn create(
        dir: &Path,
        size: usize,
        prefilled: bool,
    ) -> Result<RaftEngineWriter, BenchError> {
        let name = if prefilled { "raft-engine-prefilled" } else { "raft-engine" };
        let dir = dir.join(name);
        let config = Config {
            dir: dir.display().to_string(),
            target_file_size: ReadableSize(FILE_BYTES),
            purge_threshold: ReadableSize(2 * KEPT_BYTES),
            // The payload cannot be compressed, so compression is switched off, which favours the
            // engine.
            batch_compression_threshold: ReadableSize(0),
            prefill_for_recycle: prefilled,
            prefill_limit: prefilled.then_some(ReadableSize(4 * FILE_BYTES)),
            ..Config::default()
        };
        let engine = Engine::open(config).map_err(failed)?;
        Ok(RaftEngineWriter {
            engine,
            dir,
            prefilled,
            payload: Bytes::from(incompressible(size)),
            last: 0,
            group: Vec::new(),
            compact: None,
            bytes_in_step: 0,
        })
    }

    fn put(&mut self) -> Result<(), raft_engine::Error> {
        let mut batch = LogBatch::default();
        batch.add_entries::<Indexed>(REGION, &self.group)?;
        if let Some(index) = self.compact.take() {
            batch.add_command(REGION, Command::Compact { index });
        }
        self.engine.write(&mut batch, true)?;
        Ok(())
    }
}

#[async_trait::async_trait]
impl Writer for RaftEngineWriter {
    fn subject(&self) -> Subject {
        let how = if self.prefilled { ", prefilled files" } else { "" };
        Subject {
            role: Role::Peer,
            name: format!("raft-engine{how}"),
            durability: POWER_LOSS.to_owned(),
            sync_verb: "fdatasync".to_owned(),
            members: 1,
        }
    }

    fn prepare(&mut self, entries: u64) {
        self.group.clear();
        for _ in 0..entries {
            self.last += 1;
            let mut value = self.last.to_be_bytes().to_vec();
            // The index replaces as many bytes of the payload, so the payload is as long as ours.
            value.extend_from_slice(&self.payload[self.payload.len().min(8)..]);
            self.group.push(BytesValue { value, ..BytesValue::default() });
        }
        self.bytes_in_step += entries * (self.payload.len() as u64).max(64);
        if self.bytes_in_step >= PURGE_STEP_BYTES {
            self.bytes_in_step = 0;
            let kept = KEPT_BYTES / (self.payload.len() as u64).max(64);
            self.compact = Some(self.last.saturating_sub(kept)).filter(|index| *index > 0);
            // A failure is ignored: purging is no part of the write that is measured.
            let _ = self.engine.purge_expired_files();
        }
    }

    async fn write(&mut self) -> Result<(), BenchError> {
        self.put().map_err(failed)
    }

    fn dir(&self) -> Option<PathBuf> {
        Some(self.dir.clone())
    }
}

fn failed(error: raft_engine::Error) -> BenchError {
    BenchError::failed("using raft-engine", error.to_string())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn what_is_written_can_be_read() {
        let dir = tempfile::tempdir().expect("a directory");
        let mut writer = RaftEngineWriter::create(dir.path(), 64, false).expect("opened");
        for _ in 0..3 {
            writer.prepare(4);
            writer.write().await.expect("written");
        }
        assert_eq!(writer.engine.last_index(REGION), Some(12));
        let entry = writer.engine.get_entry::<Indexed>(REGION, 7).expect("readable");
        assert_eq!(entry.map(|entry| (Indexed::index(&entry), entry.value.len())), Some((7, 64)));
    }
}
