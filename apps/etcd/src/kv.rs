//! The KV service: requests come in, are checked, proposed or read, and their answers headed.

use prost::Message;
use tonic::{Request, Response, Status};

use crate::api::etcdserverpb::kv_server::Kv;
use crate::api::etcdserverpb::{
    CompactionRequest, CompactionResponse, DeleteRangeRequest, DeleteRangeResponse, PutRequest,
    PutResponse, RangeRequest, RangeResponse, TxnRequest, TxnResponse,
};
use crate::command::Command;
use crate::engine::Engine;
use crate::errors::Refusal;
use crate::machine::decode_answer;
use crate::member::SharedMember;
use crate::{delete, put, range, txn};

/// The service.
pub(crate) struct KvService<E> {
    pub(crate) member: SharedMember<E>,
}

impl<E: Engine> KvService<E> {
    async fn change<R: Message + Default>(&self, command: Command) -> Result<R, Refusal> {
        let answer = self.member.propose(command.encode()?).await?;
        decode_answer(&answer)
    }

    async fn wait_to_read(&self, serializable: bool) -> Result<(), Refusal> {
        if serializable { self.member.catch_up().await } else { self.member.barrier().await }
    }

    async fn read_txn(&self, request: TxnRequest) -> Result<TxnResponse, Refusal> {
        self.wait_to_read(txn::is_serializable(&request)).await?;
        txn::read(self.member.store.read().view(), request)
    }
}

#[tonic::async_trait]
impl<E: Engine> Kv for KvService<E> {
    async fn range(
        &self,
        request: Request<RangeRequest>,
    ) -> Result<Response<RangeResponse>, Status> {
        self.member.admit(request.metadata())?;
        let request = request.into_inner();
        range::check(&request)?;
        self.wait_to_read(request.serializable).await?;
        let mut response = range::range(self.member.store.read().view(), &request)?;
        self.member.fill(&mut response.header);
        Ok(Response::new(response))
    }

    async fn put(&self, request: Request<PutRequest>) -> Result<Response<PutResponse>, Status> {
        self.member.admit(request.metadata())?;
        let request = request.into_inner();
        put::check(&request)?;
        let mut response: PutResponse = self.change(Command::Put(request)).await?;
        self.member.fill(&mut response.header);
        Ok(Response::new(response))
    }

    async fn delete_range(
        &self,
        request: Request<DeleteRangeRequest>,
    ) -> Result<Response<DeleteRangeResponse>, Status> {
        self.member.admit(request.metadata())?;
        let request = request.into_inner();
        delete::check(&request)?;
        let mut response: DeleteRangeResponse = self.change(Command::Delete(request)).await?;
        self.member.fill(&mut response.header);
        Ok(Response::new(response))
    }

    async fn txn(&self, request: Request<TxnRequest>) -> Result<Response<TxnResponse>, Status> {
        self.member.admit(request.metadata())?;
        let request = request.into_inner();
        txn::check(&request)?;
        let mut response: TxnResponse = if txn::is_read_only(&request) {
            self.read_txn(request).await?
        } else {
            self.change(Command::Txn(request)).await?
        };
        self.member.fill(&mut response.header);
        Ok(Response::new(response))
    }

    async fn compact(
        &self,
        request: Request<CompactionRequest>,
    ) -> Result<Response<CompactionResponse>, Status> {
        self.member.admit(request.metadata())?;
        let command = Command::Compact(request.into_inner());
        let mut response: CompactionResponse = self.change(command).await?;
        self.member.fill(&mut response.header);
        Ok(Response::new(response))
    }
}
