//! Reads the fields of a state, and never more than a length that was checked.

use std::io::{self, Read};

use bytes::Bytes;
use thiserror::Error;

use crate::mvcc::Implausible;

/// The most bytes that a key or a value may have here. It is far above what a request may have, and
/// limits what is allocated before the bytes were read.
pub(super) const MAX_FIELD_BYTES: usize = 16 << 20;

/// How many bytes are read at once.
const BUFFER_BYTES: usize = 64 * 1024;

/// Why a state cannot be restored.
#[derive(Debug, Error)]
pub(super) enum Unrestorable {
    /// A newer program wrote it.
    #[error("the state of the etcd server {0}, and this program is too old to read that")]
    Newer(String),
    /// The bytes are no state.
    #[error("this is not the state of an etcd server: {0}")]
    Unsound(&'static str),
    /// The bytes are no state.
    #[error("this is not the state of an etcd server: {0}")]
    Implausible(#[from] Implausible),
    /// The bytes cannot be read.
    #[error("the state of the etcd server cannot be read: {0}")]
    Io(#[from] io::Error),
}

/// The bytes of a state, being read.
pub(super) struct Input<'r> {
    reader: &'r mut dyn Read,
    buffer: Vec<u8>,
    /// The part of `buffer` that was read from the reader and not taken yet.
    start: usize,
    end: usize,
}

impl<'r> Input<'r> {
    pub(super) fn new(reader: &'r mut dyn Read) -> Input<'r> {
        Input { reader, buffer: vec![0; BUFFER_BYTES], start: 0, end: 0 }
    }

    /// The next bytes, for a number.
    pub(super) fn array<const N: usize>(&mut self) -> Result<[u8; N], Unrestorable> {
        let mut array = [0; N];
        match self.buffer[self.start..self.end].first_chunk() {
            Some(bytes) => {
                array = *bytes;
                self.start += N;
            }
            None => self.fill(&mut array)?,
        }
        Ok(array)
    }

    /// A length and as many bytes. They get an allocation of their own.
    pub(super) fn field(&mut self) -> Result<Bytes, Unrestorable> {
        let length = u32::from_le_bytes(self.array()?) as usize;
        if length > MAX_FIELD_BYTES {
            return Err(Unrestorable::Unsound("a key or a value is too long"));
        }
        if let Some(bytes) = self.buffer[self.start..self.end].get(..length) {
            self.start += length;
            return Ok(Bytes::copy_from_slice(bytes));
        }
        let mut bytes = vec![0; length];
        self.fill(&mut bytes)?;
        Ok(Bytes::from(bytes))
    }

    /// Refuses further bytes.
    pub(super) fn expect_end(&mut self) -> Result<(), Unrestorable> {
        if self.start == self.end {
            self.refill()?;
        }
        if self.start == self.end {
            Ok(())
        } else {
            Err(Unrestorable::Unsound("something follows its end"))
        }
    }

    fn fill(&mut self, mut to: &mut [u8]) -> Result<(), Unrestorable> {
        while !to.is_empty() {
            if self.start == self.end {
                self.refill()?;
            }
            let taken = (&self.buffer[self.start..self.end]).read(to)?;
            if taken == 0 {
                return Err(Unrestorable::Unsound("it ends too early"));
            }
            self.start += taken;
            to = &mut to[taken..];
        }
        Ok(())
    }

    /// Replaces the buffer, which was taken completely; it stays empty at the end.
    fn refill(&mut self) -> io::Result<()> {
        self.start = 0;
        self.end = 0;
        self.end = loop {
            match self.reader.read(&mut self.buffer) {
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                read => break read?,
            }
        };
        Ok(())
    }
}
