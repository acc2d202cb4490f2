//! Checks the bytes of a snapshot file, and returns those of the application.

use std::io::{self, Read};

use super::format::{
    CHUNK_HEADER_BYTES, CONTENT, Digest, END_BYTES, FIXED_BYTES, Fixed, MAX_CHUNK_BYTES,
    SnapshotHead, Unsound, sealed, u32_at, u64_at,
};
use crate::sessions::SessionTable;

/// Reads a snapshot file: what is read from this value are the application's bytes, each of them
/// checked. It holds one chunk in memory.
///
/// The end of the application's bytes is reported only once the end record was found and fits. So a
/// file that is cut short never passes for a shorter one.
#[derive(Debug)]
pub struct SnapshotReader<R> {
    input: R,
    head: SnapshotHead,
    /// The bytes of the table of the sessions, which come first in the chunks.
    table_bytes: u64,
    chunk: Vec<u8>,
    /// How many bytes of `chunk` were returned.
    taken: usize,
    /// The bytes in the chunks before the next one.
    read: u64,
    chunks: u64,
    /// The offset in the file of the next chunk.
    at: u64,
    /// Of everything that was read.
    digest: Digest,
    state: State,
}

#[derive(Debug)]
enum State {
    Chunks,
    /// The end record was found, and fits.
    Ended,
    /// The file is not sound. The first error is kept until [`SnapshotReader::finish`].
    Failed(Option<Unsound>),
}

impl<R: Read> SnapshotReader<R> {
    /// Reads the head.
    ///
    /// # Errors
    /// The head is not sound, or the input failed.
    pub fn new(mut input: R) -> Result<SnapshotReader<R>, Unsound> {
        let mut fixed = [0; FIXED_BYTES];
        fill(&mut input, &mut fixed, 0)?;
        let mut sections = vec![0; Fixed::decode(&fixed)?.sections_bytes];
        fill(&mut input, &mut sections, FIXED_BYTES as u64)?;
        let (head, table_bytes) = SnapshotHead::decode(&fixed, &sections)?;
        let mut digest = Digest::new();
        digest.add(&fixed);
        digest.add(&sections);
        let at = (FIXED_BYTES + sections.len()) as u64;
        let (chunk, state) = (Vec::new(), State::Chunks);
        let mut reader = SnapshotReader {
            input,
            head,
            table_bytes,
            chunk,
            taken: 0,
            read: 0,
            chunks: 0,
            at,
            digest,
            state,
        };
        reader.read_table()?;
        Ok(reader)
    }

    /// Reads the table of the sessions, which comes before the application's bytes. Its memory
    /// grows with the chunks that are there, whatever the head says.
    fn read_table(&mut self) -> Result<(), Unsound> {
        if self.table_bytes == 0 {
            return Ok(());
        }
        let mut table = Vec::new();
        let most = self.table_bytes;
        let read = (&mut *self).take(most).read_to_end(&mut table);
        if let State::Failed(error) = &mut self.state
            && let Some(error) = error.take()
        {
            return Err(error);
        }
        read?;
        if table.len() as u64 != self.table_bytes {
            return Err(CONTENT);
        }
        self.head.sessions = SessionTable::decode(&table)
            .ok_or(Unsound::Damaged { at: self.at, what: "the table of the sessions" })?;
        Ok(())
    }

    /// What the file says about its content.
    pub fn head(&self) -> &SnapshotHead {
        &self.head
    }

    /// The offset in the file up to which everything was checked.
    pub fn checked_bytes(&self) -> u64 {
        self.at
    }

    /// Checks the next chunk without returning its bytes. Returns false once there is none, because
    /// the file has ended or is not sound; [`SnapshotReader::finish`] then says which.
    pub(super) fn skip_chunk(&mut self) -> bool {
        if matches!(self.state, State::Chunks) {
            self.next_chunk();
        }
        matches!(self.state, State::Chunks)
    }

    /// Checks what was not read yet, and that nothing follows. Returns how many bytes the
    /// application has in this file.
    ///
    /// # Errors
    /// The first error of this reader: the file is not sound, or the input failed.
    pub fn finish(mut self) -> Result<u64, Unsound> {
        loop {
            match self.state {
                State::Chunks => self.next_chunk(),
                State::Ended => return Ok(self.read - self.table_bytes),
                State::Failed(error) => {
                    let again = || Unsound::damaged(self.at, "reported before");
                    return Err(error.unwrap_or_else(again));
                }
            }
        }
    }

    /// Replaces the chunk by the next one, or ends.
    fn next_chunk(&mut self) {
        self.taken = 0;
        if let Err(error) = self.read_chunk() {
            self.chunk.clear();
            self.state = State::Failed(Some(error));
        }
    }

    fn read_chunk(&mut self) -> Result<(), Unsound> {
        let mut header = [0; CHUNK_HEADER_BYTES];
        fill(&mut self.input, &mut header, self.at)?;
        let length = u32_at(&header, 0) as usize;
        if length > MAX_CHUNK_BYTES {
            return Err(Unsound::damaged(self.at, "the length of a chunk"));
        }
        let is_end = length == 0;
        // Most chunks have the length of the one before, and then nothing is set to zero.
        self.chunk.resize(if is_end { END_BYTES - CHUNK_HEADER_BYTES } else { length }, 0);
        fill(&mut self.input, &mut self.chunk, self.at)?;
        let checksum = sealed(self.head.seed(self.read), &header[..8], &self.chunk);
        if checksum != u64_at(&header, 8) {
            return Err(Unsound::damaged(self.at, "the checksum of a chunk"));
        }
        if u32_at(&header, 4) != 0 {
            return Err(Unsound::Newer("a chunk of another kind".to_owned()));
        }
        if is_end { self.end() } else { self.note_chunk(&header) }
    }

    fn note_chunk(&mut self, header: &[u8]) -> Result<(), Unsound> {
        self.digest.add(header);
        self.digest.add(&self.chunk);
        self.read += self.chunk.len() as u64;
        self.chunks += 1;
        self.at += (header.len() + self.chunk.len()) as u64;
        Ok(())
    }

    /// The end record is in place of a chunk.
    fn end(&mut self) -> Result<(), Unsound> {
        let [bytes, chunks, digest] = [0, 8, 16].map(|at| u64_at(&self.chunk, at));
        if (bytes, chunks, digest) != (self.read, self.chunks, self.digest.value()) {
            return Err(Unsound::damaged(self.at, "the end record"));
        }
        self.chunk.clear();
        self.at += END_BYTES as u64;
        match self.input.read_exact(&mut [0]) {
            Ok(()) => Err(Unsound::damaged(self.at, "bytes after the end record")),
            Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => {
                self.state = State::Ended;
                Ok(())
            }
            Err(error) => Err(error.into()),
        }
    }
}

impl<R: Read> Read for SnapshotReader<R> {
    fn read(&mut self, to: &mut [u8]) -> io::Result<usize> {
        while self.taken == self.chunk.len() {
            match &self.state {
                State::Chunks => self.next_chunk(),
                State::Ended => return Ok(0),
                State::Failed(error) => {
                    let text = error.as_ref().map_or_else(String::new, Unsound::to_string);
                    return Err(io::Error::new(io::ErrorKind::InvalidData, text));
                }
            }
        }
        let taken = (&self.chunk[self.taken..]).read(to)?;
        self.taken += taken;
        Ok(taken)
    }
}

/// Reads exactly this many bytes. A file that ends before is damaged.
fn fill(input: &mut impl Read, to: &mut [u8], at: u64) -> Result<(), Unsound> {
    match input.read_exact(to) {
        Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => {
            Err(Unsound::damaged(at, "the file ends too early"))
        }
        read => Ok(read?),
    }
}
