//! The KV service: checks requests, proposes or reads them, and adds headers to the answers.

use bytes::Bytes;
use prost::Message;
use tonic::{Request, Response, Status};

use crate::answer::{Deferrals, Fill, Read, after_the_change};
use crate::api::etcdserverpb::kv_server::Kv;
use crate::api::etcdserverpb::{
    CompactionRequest, CompactionResponse, DeleteRangeRequest, DeleteRangeResponse, PutRequest,
    PutResponse, RangeRequest, RangeResponse, ResponseHeader, TxnRequest, TxnResponse,
};
use crate::command::Command;
use crate::engine::Engine;
use crate::errors::Refusal;
use crate::machine::{Outcome, decode_answer};
use crate::member::SharedMember;
use crate::range::{MAX_ANSWER_BYTES, Reading, STEP_KEYS};
use crate::{delete, put, range, txn};

/// The service.
pub(crate) struct KvService<E> {
    pub(crate) member: SharedMember<E>,
}

impl<E: Engine> KvService<E> {
    /// Carries out a change whose answer holds no more than a few keys.
    async fn change<R: Message + Default>(&self, command: Command) -> Result<Read<R>, Refusal> {
        match decode_answer(&self.propose(command).await?)? {
            Outcome::Done(response) => Ok(Read::small(response)),
            Outcome::Deferred(_) => panic!("the machine deferred a range of a command without any"),
        }
    }

    /// Carries out a change that may read any number of keys.
    async fn change_and_read<R: Fill>(&self, command: Command) -> Result<Read<R>, Refusal> {
        match decode_answer(&self.propose(command).await?)? {
            Outcome::Done(response) => Ok(Read::small(response)),
            Outcome::Deferred(answer) => {
                let read = self.member.answers.complete(answer).await;
                read.map_err(after_the_change)
            }
        }
    }

    async fn propose(&self, command: Command) -> Result<Bytes, Refusal> {
        self.member.check_quota(&command).await?;
        self.member.propose(command.encode()?).await
    }

    async fn wait_to_read(&self, serializable: bool) -> Result<(), Refusal> {
        if serializable { self.member.catch_up().await } else { self.member.barrier().await }
    }

    async fn read_range(&self, request: RangeRequest) -> Result<Read<RangeResponse>, Refusal> {
        self.wait_to_read(request.serializable).await?;
        let (reading, pinned) = {
            let now = self.member.store.now();
            let store = now.read();
            let mut reading = Reading::begin(store.view(), request)?;
            if reading.step(&store, STEP_KEYS, MAX_ANSWER_BYTES)? {
                return Ok(Read::small(reading.finish()));
            }
            let pinned = now.pinned(store.pin(reading.pinned()));
            (reading, pinned)
        };
        let read = self.member.answers.read(vec![reading], pinned).await?;
        Ok(read.map(|read| read.into_iter().map(Reading::finish).next().unwrap_or_default()))
    }

    async fn read_txn(&self, request: TxnRequest) -> Result<Read<TxnResponse>, Refusal> {
        self.wait_to_read(txn::is_serializable(&request)).await?;
        let answer = {
            let now = self.member.store.now();
            let store = now.read();
            let mut deferrals = Deferrals::new(true);
            let response = txn::read(store.view(), request, &mut deferrals)?;
            match deferrals.lowest() {
                None => return Ok(Read::small(response)),
                Some(lowest) => deferrals.encode(&response, now.pinned(store.pin(lowest))),
            }
        };
        self.member.answers.complete(answer).await
    }

    /// Completes a response's header with the member that answers, and makes the response ready to
    /// be sent. `after` converts a refusal for a client whose change was carried out.
    async fn respond<R: Headed>(
        &self,
        read: Read<R>,
        after: impl FnOnce(Refusal) -> Refusal,
    ) -> Result<Response<R>, Status> {
        let read = read.map(|mut response| {
            self.member.fill(response.header_mut());
            response
        });
        Ok(self.member.answers.respond(read).await.map_err(after)?)
    }
}

/// A response with a header.
trait Headed: Message + Default + 'static {
    fn header_mut(&mut self) -> &mut Option<ResponseHeader>;
}

macro_rules! headed {
    ($($response:ty),*) => {$(
        impl Headed for $response {
            fn header_mut(&mut self) -> &mut Option<ResponseHeader> {
                &mut self.header
            }
        }
    )*};
}

headed!(RangeResponse, PutResponse, DeleteRangeResponse, TxnResponse, CompactionResponse);

#[tonic::async_trait]
impl<E: Engine> Kv for KvService<E> {
    async fn range(
        &self,
        request: Request<RangeRequest>,
    ) -> Result<Response<RangeResponse>, Status> {
        self.member.admit(request.metadata())?;
        let request = request.into_inner();
        range::check(&request)?;
        let read = self.read_range(request).await?;
        self.respond(read, |refusal| refusal).await
    }

    async fn put(&self, request: Request<PutRequest>) -> Result<Response<PutResponse>, Status> {
        self.member.admit(request.metadata())?;
        let request = request.into_inner();
        put::check(&request)?;
        let read = self.change(Command::Put(request)).await?;
        self.respond(read, after_the_change).await
    }

    async fn delete_range(
        &self,
        request: Request<DeleteRangeRequest>,
    ) -> Result<Response<DeleteRangeResponse>, Status> {
        self.member.admit(request.metadata())?;
        let request = request.into_inner();
        delete::check(&request)?;
        let read = self.change_and_read(Command::Delete(request)).await?;
        self.respond(read, after_the_change).await
    }

    async fn txn(&self, request: Request<TxnRequest>) -> Result<Response<TxnResponse>, Status> {
        self.member.admit(request.metadata())?;
        let request = request.into_inner();
        txn::check(&request)?;
        if txn::is_read_only(&request) {
            let read = self.read_txn(request).await?;
            return self.respond(read, |refusal| refusal).await;
        }
        txn::check_work(self.member.store.now().read().view(), &request)?;
        let read = self.change_and_read(Command::Txn(request)).await?;
        self.respond(read, after_the_change).await
    }

    async fn compact(
        &self,
        request: Request<CompactionRequest>,
    ) -> Result<Response<CompactionResponse>, Status> {
        self.member.admit(request.metadata())?;
        let command = Command::Compact(request.into_inner());
        let read = self.change(command).await?;
        self.respond(read, after_the_change).await
    }
}
