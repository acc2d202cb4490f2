//! The application's side of a snapshot: its state as a stream of bytes.
//!
//! A state machine pins its state, and the pinned state is written on another thread while commands
//! are applied. [`SnapshotState`] does both for every type that is `Clone` and that serde can write
//! and read: the pinned state is then a clone, and no command is applied while it is made.

use std::io::{self, BufWriter, Read, Write};

use postcard::ser_flavors::Flavor;
use raft_core::types::EntryId;
use serde::Serialize;
use serde::de::DeserializeOwned;

use super::encoding::decode;
use super::state_machine::{Fatal, Snapshot};

/// How the state of an [`Application`](super::Application) is written into a snapshot and restored.
///
/// Every type that is `Clone`, `Serialize` and `Deserialize` has this without code of its own: the
/// pinned state is a clone, and its bytes are in postcard's wire format. A snapshot outlives the
/// program that wrote it, and another version of the program may restore it: a type whose encoding
/// has changed must still decode what older versions encoded.
///
/// A type that serde cannot write, or that is too large to be cloned, implements the two methods
/// itself. With an empty implementation the application takes part in no snapshot; then its log is
/// never purged, and grows for ever.
///
/// ```
/// use raft_node::SnapshotState;
///
/// struct NoSnapshots(std::sync::mpsc::Sender<u64>);
///
/// impl SnapshotState for NoSnapshots {}
/// ```
#[diagnostic::on_unimplemented(
    message = "the state of `{Self}` cannot be written into a snapshot",
    note = "derive `Clone`, `serde::Serialize` and `serde::Deserialize` for `{Self}`",
    note = "or implement `SnapshotState` for it; an empty implementation takes no snapshots"
)]
pub trait SnapshotState: Sized {
    /// Pins the present state: see [`StateMachine::snapshot`](super::StateMachine::snapshot).
    ///
    /// # Errors
    /// [`Unsupported`](io::ErrorKind::Unsupported): the application takes no snapshots. Any other
    /// error is reported, and the snapshot is tried again if the limits made it due.
    fn snapshot(&mut self) -> io::Result<Box<dyn Snapshot>> {
        Err(io::ErrorKind::Unsupported.into())
    }

    /// Replaces the state by that of a snapshot: see
    /// [`StateMachine::restore`](super::StateMachine::restore).
    ///
    /// # Errors
    /// The state cannot be restored: the member does not start.
    fn restore(&mut self, _last: EntryId, _reader: &mut dyn Read) -> Result<(), Fatal> {
        Err(Fatal::no_snapshots())
    }
}

impl<T: Clone + Serialize + DeserializeOwned + Send + 'static> SnapshotState for T {
    fn snapshot(&mut self) -> io::Result<Box<dyn Snapshot>> {
        Ok(Box::new(Pinned(self.clone())))
    }

    fn restore(&mut self, last: EntryId, reader: &mut dyn Read) -> Result<(), Fatal> {
        let mut bytes = Vec::new();
        reader.read_to_end(&mut bytes).map_err(|error| Fatal::new(error.to_string()))?;
        let not_decoded = || {
            let length = bytes.len();
            Fatal::new(format!(
                "the state of the snapshot that ends at entry {last} ({length} bytes) does not \
                 decode: another version of the application has written it; start this member \
                 with that version"
            ))
        };
        *self = decode(&bytes).ok_or_else(not_decoded)?;
        Ok(())
    }
}

/// A clone of an application.
struct Pinned<T>(T);

impl<T: Serialize + Send> Snapshot for Pinned<T> {
    fn write_to(self: Box<Self>, out: &mut dyn Write) -> io::Result<()> {
        let mut stream = Stream { out: BufWriter::new(out), failed: None };
        let encoded = postcard::serialize_with_flavor::<T, _, ()>(&self.0, &mut stream);
        match (stream.failed, encoded) {
            (Some(error), _) => Err(error),
            (None, Err(error)) => Err(io::Error::other(error)),
            (None, Ok(())) => stream.out.flush(),
        }
    }
}

/// Where the encoding goes; postcard's own errors do not carry those of the output.
struct Stream<'a> {
    out: BufWriter<&'a mut dyn Write>,
    failed: Option<io::Error>,
}

impl Flavor for &mut Stream<'_> {
    type Output = ();

    fn try_push(&mut self, byte: u8) -> postcard::Result<()> {
        self.try_extend(&[byte])
    }

    fn try_extend(&mut self, bytes: &[u8]) -> postcard::Result<()> {
        let written = self.out.write_all(bytes);
        written.map_err(|error| {
            self.failed = Some(error);
            postcard::Error::SerializeBufferFull
        })
    }

    fn finalize(self) -> postcard::Result<()> {
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use serde::Deserialize;

    use super::*;

    #[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
    struct State {
        pairs: BTreeMap<String, Vec<u8>>,
        next: u64,
    }

    fn state(pairs: u64) -> State {
        let pair = |number: u64| (format!("key {number}"), vec![number as u8; 100]);
        State { pairs: (0..pairs).map(pair).collect(), next: pairs }
    }

    fn bytes(state: &mut State) -> Vec<u8> {
        let mut bytes = Vec::new();
        state.snapshot().expect("pinned").write_to(&mut bytes).expect("written");
        bytes
    }

    #[test]
    fn a_type_of_serde_is_restored_as_it_was_when_it_was_pinned() {
        let mut original = state(300);
        let pinned = original.snapshot().expect("pinned");
        original.next = 7;
        original.pairs.clear();
        let mut written = Vec::new();
        pinned.write_to(&mut written).expect("written");
        let mut restored = state(3);
        restored.restore(EntryId::ZERO, &mut &written[..]).expect("restored");
        assert_eq!(restored, state(300));
    }

    #[test]
    fn bytes_of_another_type_are_refused() {
        let written = bytes(&mut state(3));
        for wrong in [&written[..written.len() - 1], &[&written[..], &[0]].concat()] {
            let mut restored = State::default();
            let error = restored.restore(EntryId::ZERO, &mut &wrong[..]).expect_err("refused");
            assert!(error.to_string().contains("does not decode"), "{error}");
            assert_eq!(restored, State::default(), "nothing was changed");
        }
    }

    /// An output that fails after so many bytes.
    struct Full(usize);

    impl Write for Full {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            self.0 = self.0.checked_sub(bytes.len()).ok_or(io::ErrorKind::StorageFull)?;
            Ok(bytes.len())
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    #[test]
    fn the_error_of_the_output_is_returned() {
        let length = bytes(&mut state(300)).len();
        for space in [0, 10_000, length - 1] {
            let written = state(300).snapshot().expect("pinned").write_to(&mut Full(space));
            let error = written.expect_err("no space");
            assert_eq!(error.kind(), io::ErrorKind::StorageFull, "{space} bytes");
        }
        state(300).snapshot().expect("pinned").write_to(&mut Full(length)).expect("space");
    }
}
