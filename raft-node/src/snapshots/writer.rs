//! Makes the bytes of a snapshot file from those of the application.

use std::io::{self, Write};

use super::format::{CHUNK_HEADER_BYTES, Digest, SnapshotHead, sealed};

/// The application's bytes in each chunk that is written, except the last one.
const CHUNK_BYTES: usize = 256 << 10;

/// Writes a snapshot file: what is written to this value are the application's bytes. It holds one
/// chunk in memory. A file that was not [finished](SnapshotWriter::finish) is not sound.
#[derive(Debug)]
pub struct SnapshotWriter<W> {
    out: W,
    head: SnapshotHead,
    /// The next chunk, with space for its header. Invariant: shorter than a full chunk between two
    /// calls.
    chunk: Vec<u8>,
    /// The application's bytes in the chunks that were written.
    written: u64,
    chunks: u64,
    /// Of everything that was written.
    digest: Digest,
}

impl<W: Write> SnapshotWriter<W> {
    /// Writes the head.
    ///
    /// # Errors
    /// The output's error.
    pub fn new(out: W, head: SnapshotHead) -> io::Result<SnapshotWriter<W>> {
        let bytes = head.encode();
        let mut chunk = Vec::with_capacity(CHUNK_HEADER_BYTES + CHUNK_BYTES);
        chunk.resize(CHUNK_HEADER_BYTES, 0);
        let digest = Digest::new();
        let mut writer = SnapshotWriter { out, head, chunk, written: 0, chunks: 0, digest };
        writer.put(&bytes)?;
        Ok(writer)
    }

    /// Writes what is left and the end record, and returns the output.
    ///
    /// # Errors
    /// The output's error.
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
        header[..4].copy_from_slice(&(content.len() as u32).to_le_bytes());
        let checksum = sealed(self.head.seed(self.written), &header[..8], content);
        header[8..].copy_from_slice(&checksum.to_le_bytes());
        self.written += content.len() as u64;
        self.chunks += 1;
        self.put(&chunk)?;
        chunk.truncate(CHUNK_HEADER_BYTES);
        self.chunk = chunk;
        Ok(())
    }

    fn put(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.digest.add(bytes);
        self.out.write_all(bytes)
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
