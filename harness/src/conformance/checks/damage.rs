//! Damage at rest: whatever happens to the files of a closed store, damage is never taken for data
//! (P14).
//!
//! A small store is written and closed, and its files are saved. Then, repeatedly, they are
//! restored with one fault in them, the store is opened, and everything in it is read, entry by
//! entry. A store that declares [`Detects::ProvenPrefix`] must show exactly what it held, or an
//! error in its place; one that declares [`Detects::Payload`] may have lost something, but shows
//! nothing that was never written. If no damage was noticed, the store is written to and read
//! again: only a writer finds damage in a part that only a writer uses.
//!
//! A store that declares that it detects nothing is not tested, since damage might crash the test's
//! process.
//!
//! By default damage is done in a sample of places. `KONTIKI_DAMAGE` sets the number of places in
//! each file (if the file has fewer bytes, each byte is damaged), and `KONTIKI_SEED` shifts them.
//! `KONTIKI_DEEP` uses twenty times as many; a store that opens slowly gets fewer.
//!
//! [`Detects::ProvenPrefix`]: raft_core::storage::Detects::ProvenPrefix
//! [`Detects::Payload`]: raft_core::storage::Detects::Payload

mod places;
mod run;

use std::path::PathBuf;

use self::places::{SECTORS, names_beside, noise, spread};
use self::run::{DamageRun, read};
use crate::conformance::image::Damage;
use crate::conformance::report::{Checked, Halt};
use crate::conformance::state_history::StateHistory;
use crate::conformance::subject::{Ending, Subject};

/// After a clean close, the bits of each byte in turn are changed.
pub async fn a_flipped_byte_never_passes_for_data(log: &mut Subject) -> Checked {
    let mut run = DamageRun::new(log, Ending::Closed).await?;
    let places = run.places();
    run.flip_bytes(places).await
}

/// The state that an opening showed is proven, even if nothing was written since.
pub async fn what_an_opening_showed_is_proven(log: &mut Subject) -> Checked {
    let mut run = DamageRun::new(log, Ending::Dropped).await?;
    run.control().await?;
    run.log.end(Ending::Dropped).await?;
    run.image = read(&run.dir)?;
    run.history = StateHistory::proven(std::mem::take(&mut run.history).into_states());
    let places = run.places();
    run.flip_bytes(places / 2).await
}

/// Without a close, damage to the last batch may be taken for a torn write, but damage before it
/// may not.
pub async fn only_the_last_batch_may_pass_for_torn(log: &mut Subject) -> Checked {
    if !log.info().atomic_batch {
        return Err(Halt::DoesNotApply("the parts of a batch are proven one by one"));
    }
    let mut run = DamageRun::new(log, Ending::Dropped).await?;
    let places = run.places();
    run.flip_bytes(places / 2).await
}

/// Sectors and pages of zeros, as returned by a disk that lost a write to a new place.
pub async fn zeroed_sectors_never_pass_for_data(log: &mut Subject) -> Checked {
    let mut run = DamageRun::new(log, Ending::Closed).await?;
    for file in run.names() {
        for sector in SECTORS {
            let length = run.bytes(&file).len();
            for number in spread(length.div_ceil(sector), run.places() / 3) {
                let at = number * sector;
                let old = &run.bytes(&file)[at..(at + sector).min(length)];
                if old.iter().any(|byte| *byte != 0) {
                    let bytes = vec![0; old.len()];
                    let how = "zeroed";
                    run.check_damage(Damage::Bytes { file: file.clone(), at, bytes, how }).await?;
                }
            }
        }
        for at in run.earlier_lengths(&file) {
            let bytes = vec![0; run.bytes(&file).len() - at];
            let how = "zeroed to the end";
            run.check_damage(Damage::Bytes { file: file.clone(), at, bytes, how }).await?;
        }
    }
    Ok(())
}

/// Sectors with old content, as returned by a disk that lost a write.
pub async fn stale_sectors_never_pass_for_data(log: &mut Subject) -> Checked {
    let mut run = DamageRun::new(log, Ending::Closed).await?;
    let stale = run.stale_sectors();
    for number in spread(stale.len(), run.places() * 3) {
        run.check_damage(stale[number].clone()).await?;
    }
    Ok(())
}

/// Each file in turn is missing.
pub async fn a_missing_file_never_passes_for_an_empty_one(log: &mut Subject) -> Checked {
    let mut run = DamageRun::new(log, Ending::Closed).await?;
    for file in run.names() {
        run.check_damage(Damage::Missing { file: file.clone() }).await?;
        run.check_damage(Damage::Truncated { file, length: 0 }).await?;
    }
    Ok(())
}

/// Each file in turn ends early.
pub async fn a_shorter_file_never_passes_for_a_whole_one(log: &mut Subject) -> Checked {
    let mut run = DamageRun::new(log, Ending::Closed).await?;
    for file in run.names() {
        let length = run.bytes(&file).len();
        let written = run.bytes(&file).iter().rposition(|byte| *byte != 0).unwrap_or(0);
        let mut lengths: Vec<usize> = spread(length, run.places() / 3).collect();
        lengths.extend(run.earlier_lengths(&file));
        lengths.extend([length - 1, written, written / 2, written / SECTORS[0] * SECTORS[0]]);
        lengths.sort_unstable();
        lengths.dedup();
        for length in lengths.into_iter().filter(|cut| *cut < length) {
            run.check_damage(Damage::Truncated { file: file.clone(), length }).await?;
        }
    }
    Ok(())
}

/// Bytes after the end: zeros, noise, and the file once more.
pub async fn a_longer_file_does_not_make_a_longer_log(log: &mut Subject) -> Checked {
    let mut run = DamageRun::new(log, Ending::Closed).await?;
    for file in run.names() {
        for length in [1, 512, 5000] {
            let tails = [(vec![0; length], "zeros"), (noise(length), "noise")];
            for (bytes, how) in tails {
                run.check_damage(Damage::Tail { file: file.clone(), bytes, how }).await?;
            }
        }
        for at in run.earlier_lengths(&file).into_iter().chain([0]) {
            let bytes = run.bytes(&file)[at..].to_vec();
            let how = "the last bytes again";
            run.check_damage(Damage::Tail { file: file.clone(), bytes, how }).await?;
        }
    }
    Ok(())
}

/// A file of unknown origin, a copy of each file under a similar name, and, where a store has
/// several files, each of its files replaced by that of another store.
pub async fn foreign_files_are_not_accepted(log: &mut Subject) -> Checked {
    let mut run = DamageRun::new(log, Ending::Closed).await?;
    let letter = Damage::Put {
        file: PathBuf::from("letter.txt"),
        bytes: b"dear reader".to_vec(),
        how: "a file of another program",
    };
    run.check_damage(letter).await?;
    for file in run.names() {
        for name in names_beside(&file) {
            if run.image.bytes(&name).is_none() {
                let bytes = run.bytes(&file).to_vec();
                let how = "a copy of another file";
                run.check_damage(Damage::Put { file: name, bytes, how }).await?;
            }
        }
    }
    // A store in a single file has no other part: with the file of another store it becomes the
    // other store, as its identity shows, and nothing in it could reveal the exchange.
    if run.names().iter().filter(|name| !run.bytes(name).is_empty()).count() < 2 {
        return Ok(());
    }
    let other = run.image_of_another_store().await?;
    for file in run.names() {
        if let Some(bytes) = other.bytes(&file).filter(|bytes| *bytes != run.bytes(&file)) {
            let (bytes, how) = (bytes.to_vec(), "that file of another store");
            run.check_damage(Damage::Put { file, bytes, how }).await?;
        }
    }
    Ok(())
}
