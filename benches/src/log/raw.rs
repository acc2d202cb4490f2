//! The floor as a writer: it writes and syncs the payload of a group, and does nothing else.

use std::path::Path;

use super::Writer;
use crate::BenchError;
use crate::floor::{Aligned, FILE_BYTES, Layout, RawFile, Verb, is_unsupported, label};
use crate::lane::{POWER_LOSS, Role, Subject};
use crate::workload::incompressible;

/// A raw file that accepts groups of entries.
pub struct RawWriter {
    file: RawFile,
    layout: Layout,
    verb: Verb,
    size: usize,
    group: Aligned,
    entries: u64,
}

impl RawWriter {
    /// A file in `dir` for entries of this size, or `None` if the file system does not support this
    /// verb.
    pub fn create(
        dir: &Path,
        layout: Layout,
        verb: Verb,
        size: usize,
    ) -> Result<Option<RawWriter>, BenchError> {
        let name = label(layout, verb).replace([' ', ','], "-");
        let group = Aligned::new(&incompressible(size));
        let made = RawFile::create(dir, &name, layout, verb, FILE_BYTES).and_then(|mut file| {
            file.write_and_sync(&group)?;
            Ok(file)
        });
        match made {
            Ok(file) => Ok(Some(RawWriter { file, layout, verb, size, group, entries: 1 })),
            Err(error) if is_unsupported(&error) => Ok(None),
            Err(error) => Err(BenchError::of_path("writing a file in", dir, error)),
        }
    }
}

#[async_trait::async_trait]
impl Writer for RawWriter {
    fn subject(&self) -> Subject {
        Subject {
            role: Role::Floor,
            name: label(self.layout, self.verb),
            durability: POWER_LOSS.to_owned(),
            sync_verb: self.verb.name().to_owned(),
            members: 1,
        }
    }

    fn prepare(&mut self, entries: u64) {
        if entries != self.entries {
            self.group = Aligned::new(&incompressible(self.size * entries as usize));
            self.entries = entries;
        }
    }

    async fn write(&mut self) -> Result<(), BenchError> {
        let written = self.file.write_and_sync(&self.group);
        written.map_err(|error| BenchError::failed("writing to the disk alone", error))
    }
}
