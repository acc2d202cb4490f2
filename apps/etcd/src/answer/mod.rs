//! Builds and sends answers without delaying the member.
//!
//! One thread drives the member: its log, its messages, its timers. An answer may be as large as
//! the key space. So a range that is not finished after a short time continues on a blocking
//! thread, at a pinned revision, in steps ([`Answers::read`]). An answer of more than
//! [`SMALL_BYTES`] is encoded there too, counts against the bytes that may wait to be sent
//! ([`budget`]), and is sent in chunks ([`large`]). One large answer is built at a time. It takes
//! its share of these bytes before its turn, so no answer waits for a client while it holds the
//! turn.
//!
//! [`deferred`] holds the ranges that a change reads. Absent: limits on connections and requests,
//! which are in [`crate::front`].

mod budget;
mod deferred;
mod large;

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use prost::Message;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::task::spawn_blocking;
use tokio::time::timeout;
use tonic::Response;

use crate::errors::Refusal;
use crate::range::{MAX_ANSWER_BYTES, Reading, STEP_KEYS};
use crate::shared::{Generation, Pinned, SharedStore};

use budget::{Budget, Share};
use deferred::{Deferred, DeferredRange};

#[cfg(test)]
pub(crate) use deferred::read_at_once;
pub(crate) use deferred::{DEFERRED, Deferrals, Fill};
pub(crate) use large::Large;

/// The longest answer that is encoded and sent in one piece.
const SMALL_BYTES: usize = 64 * 1024;

/// How many steps run on the member's own thread before a range moves to another.
const STEPS_IN_PLACE: usize = 4;

/// How long a large answer waits for its turn, and for the bytes of earlier answers to be sent.
const TURN_WAIT: Duration = Duration::from_secs(30);

/// The state that all answers of one member share.
#[derive(Debug)]
pub(crate) struct Answers {
    store: SharedStore,
    /// Held by the request whose large answer is being built.
    turn: Arc<Semaphore>,
    /// The bytes of large answers that may wait to be sent.
    bytes: Budget,
}

/// The result of ranges, and the turn and the bytes that were taken for it if it is large.
pub(crate) struct Read<T> {
    pub(crate) read: T,
    taken: Option<Taken>,
}

/// What a large answer needs to be put together.
struct Taken {
    turn: OwnedSemaphorePermit,
    bytes: Share,
}

impl Answers {
    /// For a member; `waiting_bytes` limits the bytes of large answers that wait to be sent. The
    /// limit is at least twice [`MAX_ANSWER_BYTES`], so that the largest answer that a client does
    /// not read leaves room for another.
    pub(crate) fn new(store: SharedStore, waiting_bytes: usize) -> Answers {
        let bytes = Budget::new(waiting_bytes.max(2 * MAX_ANSWER_BYTES));
        Answers { store, turn: Arc::new(Semaphore::new(1)), bytes }
    }

    /// Reads ranges to their ends, from the generation of `pinned`, which keeps their points
    /// readable until then.
    ///
    /// # Errors
    ///
    /// If together they are larger than an answer may be, or if the bytes or the turn were not free
    /// in time.
    pub(crate) async fn read(
        &self,
        readings: Vec<Reading>,
        pinned: Pinned,
    ) -> Result<Read<Vec<Reading>>, Refusal> {
        let generation = pinned.generation().clone();
        self.read_from(generation, readings, pinned).await
    }

    /// As [`Answers::read`]; `pin` keeps the points of the readings readable in `generation`.
    async fn read_from(
        &self,
        generation: Generation,
        readings: Vec<Reading>,
        pin: impl Send + 'static,
    ) -> Result<Read<Vec<Reading>>, Refusal> {
        let mut reads = Reads { readings, over: 0, taken: 0 };
        for _ in 0..STEPS_IN_PLACE {
            if reads.step(&generation)? {
                return Ok(Read::small(reads.readings));
            }
        }
        // The size of the answer is known only when the ranges have been read.
        let taken = self.take(MAX_ANSWER_BYTES).await?;
        let reading = spawn_blocking(move || {
            while !reads.step(&generation)? {}
            drop(pin);
            Ok::<_, Refusal>(reads.readings)
        });
        let read = reading.await.map_err(|_| Refusal::Stopped)??;
        Ok(Read { read, taken: Some(taken) })
    }

    /// Makes the response for a message, large or small.
    ///
    /// # Errors
    ///
    /// If the turn was not free in time, or earlier answers were not sent in time.
    pub(crate) async fn respond<M>(&self, message: Read<M>) -> Result<Response<M>, Refusal>
    where
        M: Message + Default + 'static,
    {
        let Read { read: message, taken } = message;
        let length = message.encoded_len();
        if length <= SMALL_BYTES {
            return Ok(Response::new(message));
        }
        if length > MAX_ANSWER_BYTES {
            return Err(Refusal::AnswerTooLarge);
        }
        let Taken { turn, mut bytes } = match taken {
            Some(taken) => taken,
            None => self.take(length).await?,
        };
        bytes.shrink(length);
        let encoding = spawn_blocking(move || {
            let encoded = large::encode(&message, length);
            drop(turn);
            encoded
        });
        let encoded = encoding.await.map_err(|_| Refusal::Stopped)?;
        let mut response = Response::new(M::default());
        response.extensions_mut().insert(Large::new(encoded, bytes));
        Ok(response)
    }

    /// Completes an answer whose ranges were deferred. `answer` is the result of
    /// [`Deferrals::encode`], whose pin exists as long as its bytes.
    ///
    /// # Errors
    ///
    /// As [`Answers::read`]. The change to which the answer belongs was carried out in any case.
    ///
    /// # Panics
    ///
    /// If the bytes come from elsewhere: a bug in this crate.
    pub(crate) async fn complete<M: Fill>(&self, answer: Bytes) -> Result<Read<M>, Refusal> {
        let own = "this very process encoded it";
        let deferred = Deferred::decode(answer.slice(1..)).expect(own);
        let mut response = M::decode(deferred.response).expect(own);
        let readings = deferred.ranges.iter().map(DeferredRange::begin).collect();
        let generation = self.store.generation(deferred.generation).expect(own);
        let Read { read, taken } = self.read_from(generation, readings, answer).await?;
        for (range, reading) in deferred.ranges.iter().zip(read) {
            response.fill(range.slot, reading.finish());
        }
        Ok(Read { read: response, taken })
    }

    /// Takes the bytes first, since clients may hold them for long, and then the turn.
    async fn take(&self, bytes: usize) -> Result<Taken, Refusal> {
        let bytes = timeout(TURN_WAIT, self.bytes.take(bytes)).await;
        let bytes = bytes.map_err(|_| Refusal::TooManyRequests)?;
        let turn = timeout(TURN_WAIT, self.turn.clone().acquire_owned()).await;
        let turn = turn.map_err(|_| Refusal::TooManyRequests)?.map_err(|_| Refusal::Stopped)?;
        Ok(Taken { turn, bytes })
    }
}

/// The refusal of an answer, for a client whose change was carried out.
pub(crate) fn after_the_change(refusal: Refusal) -> Refusal {
    match refusal {
        Refusal::AnswerTooLarge => Refusal::CarriedOutButTooLarge,
        _ => Refusal::TimedOut,
    }
}

impl<T> Read<T> {
    /// For a message that took no turn.
    pub(crate) fn small(read: T) -> Read<T> {
        Read { read, taken: None }
    }

    /// Converts the message.
    pub(crate) fn map<R>(self, make: impl FnOnce(T) -> R) -> Read<R> {
        Read { read: make(self.read), taken: self.taken }
    }
}

/// The ranges of one answer while they are read.
struct Reads {
    readings: Vec<Reading>,
    /// How many of them have been read to their ends.
    over: usize,
    /// The bytes that these take.
    taken: usize,
}

impl Reads {
    /// Reads for one step under the store's lock. Returns whether all have been read to their ends.
    fn step(&mut self, generation: &Generation) -> Result<bool, Refusal> {
        let Some(reading) = self.readings.get_mut(self.over) else { return Ok(true) };
        let allowed = MAX_ANSWER_BYTES.saturating_sub(self.taken);
        if reading.step(&generation.read(), STEP_KEYS, allowed)? {
            self.taken += reading.bytes();
            self.over += 1;
        }
        Ok(self.over == self.readings.len())
    }
}

#[cfg(test)]
mod tests;
