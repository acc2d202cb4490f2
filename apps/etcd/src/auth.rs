//! The Auth service, which answers that there is no authentication. A client that was given a name
//! and a password sends a request to this service first; after this answer it continues without
//! them.

use tonic::{Request, Response, Status};

use crate::api::etcdserverpb::auth_server::Auth;
use crate::api::etcdserverpb::{AuthenticateRequest, AuthenticateResponse};
use crate::errors::Refusal;

/// The service.
pub(crate) struct AuthService;

#[tonic::async_trait]
impl Auth for AuthService {
    async fn authenticate(
        &self,
        _request: Request<AuthenticateRequest>,
    ) -> Result<Response<AuthenticateResponse>, Status> {
        Err(Refusal::AuthNotEnabled.into())
    }
}
