//! Puts the services together on one port.

use std::future::Future;

use tokio::net::TcpListener;
use tonic::codegen::tokio_stream::StreamExt;
use tonic::service::Routes;
use tonic::transport::server::TcpIncoming;

use crate::admin::AdminService;
use crate::api::etcdserverpb::auth_server::AuthServer;
use crate::api::etcdserverpb::cluster_server::ClusterServer;
use crate::api::etcdserverpb::kv_server::KvServer;
use crate::api::etcdserverpb::maintenance_server::MaintenanceServer;
use crate::api::kontiki::v1::admin_server::AdminServer;
use crate::auth::AuthService;
use crate::authority::ClientStream;
use crate::cluster::ClusterService;
use crate::engine::Engine;
use crate::kv::KvService;
use crate::machine::SharedStore;
use crate::maintenance::MaintenanceService;
use crate::member::{Member, Profile};
use crate::wording::{MAX_MESSAGE_BYTES, in_etcd_words};

pub use crate::maintenance::ETCD_VERSION;

/// The etcd server of one member.
pub struct Server {
    routes: Routes,
}

impl Server {
    /// The services of a member: `engine` replicates commands to a [`crate::Machine`] whose key
    /// space is `store`.
    pub fn new<E: Engine>(engine: E, store: SharedStore, profile: Profile) -> Server {
        let member = Member::new(engine, store, profile);
        let kv = KvServer::new(KvService { member: member.clone() });
        let cluster = ClusterServer::new(ClusterService { member: member.clone() });
        let maintenance = MaintenanceServer::new(MaintenanceService { member: member.clone() });
        let routes = Routes::new(kv.max_decoding_message_size(MAX_MESSAGE_BYTES))
            .add_service(cluster)
            .add_service(maintenance)
            .add_service(AuthServer::new(AuthService))
            .add_service(AdminServer::new(AdminService { member }));
        Server { routes: in_etcd_words(routes) }
    }

    /// Serves on `listener` until `shutdown` is done and the requests under way are answered.
    ///
    /// # Errors
    ///
    /// If the listener fails for good. Serve again on a new one; requests under way are lost.
    pub async fn serve(
        self,
        listener: TcpListener,
        shutdown: impl Future<Output = ()>,
    ) -> Result<(), tonic::transport::Error> {
        let incoming = TcpIncoming::from(listener).with_nodelay(Some(true));
        let incoming = incoming.map(|stream| stream.map(ClientStream::new));
        tonic::transport::Server::builder()
            .add_routes(self.routes)
            .serve_with_incoming_shutdown(incoming, shutdown)
            .await
    }
}
