//! Makes the bytes of a snapshot file from those of the application.

use std::io::{self, Write};

use super::format::{CHUNK_HEADER_BYTES, Digest, SnapshotHead, sealed};
use crate::features::FIRST_LEVEL;

/// The application's bytes in each chunk that is written, except the last one.
const CHUNK_BYTES: usize = 256 << 10;

/// Writes a snapshot file: what is written to this value are the application's bytes. It holds one
/// chunk in memory. A file that was not [finished](SnapshotWriter::finish) is not sound.
///
/// The first error is final: which bytes the output has is unknown then, so every later call fails,
/// also if the application ignores the error.
#[derive(Debug)]
pub struct SnapshotWriter<W> {
    out: W,
    head: SnapshotHead,
    /// The next chunk, with space for its header. Invariant: shorter than a full chunk between two
    /// calls.
    chunk: Vec<u8>,
    /// The bytes in the chunks that were written.
    written: u64,
    chunks: u64,
    /// Of everything that was written.
    digest: Digest,
    /// Whether the output has failed.
    failed: bool,
}

impl<W: Write> SnapshotWriter<W> {
    /// Writes the head, and the table of the sessions.
    ///
    /// # Errors
    /// The output's error; `InvalidInput` if a reader would refuse the head, and then nothing was
    /// written.
    pub fn new(out: W, head: SnapshotHead) -> io::Result<SnapshotWriter<W>> {
        let table = if head.feature_level > FIRST_LEVEL { head.sessions.encode() } else { vec![] };
        let bytes = head.encode(table.len() as u64);
        SnapshotHead::check(&bytes)
            .map_err(|why| io::Error::new(io::ErrorKind::InvalidInput, why))?;
        let mut chunk = Vec::with_capacity(CHUNK_HEADER_BYTES + CHUNK_BYTES);
        chunk.resize(CHUNK_HEADER_BYTES, 0);
        let digest = Digest::new();
        let (written, chunks, failed) = (0, 0, false);
        let mut writer = SnapshotWriter { out, head, chunk, written, chunks, digest, failed };
        writer.put(&bytes)?;
        writer.write_all(&table)?;
        Ok(writer)
    }

    /// Writes what is left and the end record, and returns the output.
    ///
    /// # Errors
    /// The output's error, now or before.
    pub fn finish(mut self) -> io::Result<W> {
        if self.chunk.len() > CHUNK_HEADER_BYTES {
            self.put_chunk()?;
        }
        let mut content = self.written.to_le_bytes().to_vec();
        content.extend(self.chunks.to_le_bytes());
        content.extend(self.digest.value().to_le_bytes());
        let mut end = vec![0; 8];
        end.extend(sealed(self.head.seed(self.written), &end, &content).to_le_bytes());
        end.extend(content);
        self.put(&end)?;
        self.out.flush()?;
        Ok(self.out)
    }

    fn put_chunk(&mut self) -> io::Result<()> {
        let mut chunk = std::mem::take(&mut self.chunk);
        let (header, content) = chunk.split_at_mut(CHUNK_HEADER_BYTES);
        header.fill(0);
        header[..4].copy_from_slice(&(content.len() as u32).to_le_bytes());
        let checksum = sealed(self.head.seed(self.written), &header[..8], content);
        header[8..].copy_from_slice(&checksum.to_le_bytes());
        self.written += content.len() as u64;
        self.chunks += 1;
        let put = self.put(&chunk);
        chunk.truncate(CHUNK_HEADER_BYTES);
        self.chunk = chunk;
        put
    }

    fn put(&mut self, bytes: &[u8]) -> io::Result<()> {
        if self.failed {
            return Err(io::Error::other("an earlier write to this snapshot has failed"));
        }
        self.digest.add(bytes);
        let written = self.out.write_all(bytes);
        self.failed = written.is_err();
        written
    }
}

impl<W: Write> Write for SnapshotWriter<W> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let free = CHUNK_HEADER_BYTES + CHUNK_BYTES - self.chunk.len();
        let taken = &bytes[..bytes.len().min(free)];
        self.chunk.extend_from_slice(taken);
        if taken.len() == free {
            self.put_chunk()?;
        }
        Ok(taken.len())
    }

    /// Does nothing: where the application flushes must not influence the bytes of the file.
    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}
