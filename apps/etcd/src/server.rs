//! Serves all services on one port.

use std::future::Future;
use std::time::Duration;

use tokio::net::TcpListener;
use tokio::sync::mpsc;
use tokio::task::JoinHandle;
use tonic::codegen::tokio_stream::wrappers::ReceiverStream;
use tonic::service::Routes;

use crate::admin::AdminService;
use crate::api::etcdserverpb::auth_server::AuthServer;
use crate::api::etcdserverpb::cluster_server::ClusterServer;
use crate::api::etcdserverpb::kv_server::KvServer;
use crate::api::etcdserverpb::maintenance_server::MaintenanceServer;
use crate::api::kontiki::v1::admin_server::AdminServer;
use crate::auth::AuthService;
use crate::cluster::ClusterService;
use crate::engine::Engine;
use crate::front::{FrontLayer, Incoming, MAX_MESSAGE_BYTES, Watch};
use crate::kv::KvService;
use crate::limits::ServerLimits;
use crate::maintenance::MaintenanceService;
use crate::member::{Member, Profile, SharedMember};
use crate::membership::promotion;
use crate::shared::SharedStore;

pub use crate::maintenance::ETCD_VERSION;

/// How many accepted connections may wait to be served.
const ACCEPTED: usize = 16;

/// How often the server pings an idle connection, and how long the client may take to answer.
const KEEP_ALIVE: (Duration, Duration) = (Duration::from_secs(30), Duration::from_secs(20));

/// The longest list of headers that a request may have.
const MAX_HEADERS_BYTES: u32 = 64 * 1024;

/// The etcd server of one member.
pub struct Server<E: Engine> {
    member: SharedMember<E>,
    kv: KvServer<KvService<E>>,
    /// All other services.
    others: Routes,
    limits: ServerLimits,
    watch: Watch,
    store: SharedStore,
    is_lenient: bool,
}

impl<E: Engine> Server<E> {
    /// The services of a member with the default limits. `engine` replicates commands to a
    /// [`crate::Machine`] whose key space is `store`.
    pub fn new(engine: E, store: SharedStore, profile: Profile) -> Server<E> {
        Server::with_limits(engine, store, profile, ServerLimits::default())
    }

    /// As [`Server::new`], with the caller's limits.
    pub fn with_limits(
        engine: E,
        store: SharedStore,
        profile: Profile,
        limits: ServerLimits,
    ) -> Server<E> {
        let member = Member::new(engine, store.clone(), profile, &limits);
        let kv = KvServer::new(KvService { member: member.clone() });
        let cluster = ClusterServer::new(ClusterService { member: member.clone() });
        let maintenance = MaintenanceServer::new(MaintenanceService { member: member.clone() });
        let others = Routes::new(cluster)
            .add_service(maintenance)
            .add_service(AuthServer::new(AuthService))
            .add_service(AdminServer::new(AdminService { member: member.clone() }));
        let watch = Watch::new(limits.answer_time);
        let kv = kv.max_decoding_message_size(MAX_MESSAGE_BYTES);
        Server { member, kv, others, limits, watch, store, is_lenient: false }
    }

    /// Accepts clients that name the server by a URL where HTTP/2 requires an authority, as some
    /// versions of etcdctl do (`endpoint status` with endpoints as URLs). Each byte from a client
    /// is then copied once more.
    pub fn let_urls_in(self) -> Server<E> {
        Server { is_lenient: true, ..self }
    }

    /// Serves on `listener` until `shutdown` completes and the requests in progress are answered.
    ///
    /// # Errors
    ///
    /// If the listener fails permanently. Serve again on a new one; requests in progress are lost.
    pub async fn serve(
        self,
        listener: TcpListener,
        shutdown: impl Future<Output = ()>,
    ) -> Result<(), tonic::transport::Error> {
        let incoming = Incoming::new(listener, &self.limits, self.watch.clone(), self.is_lenient);
        let (accepted, connections) = mpsc::channel(ACCEPTED);
        let _accepting = AbortOnDrop(tokio::spawn(incoming.run(accepted)));
        let front = FrontLayer::new(self.kv, &self.limits, self.watch.clone());
        let _watching = AbortOnDrop(tokio::spawn(self.watch.run()));
        let _promoting = AbortOnDrop(tokio::spawn(promotion::run(self.member)));
        let _sweeping = AbortOnDrop(tokio::spawn(self.store.sweep()));
        let (ask_after, answer_within) = KEEP_ALIVE;
        tonic::transport::Server::builder()
            .max_concurrent_streams(self.limits.streams)
            .http2_max_header_list_size(MAX_HEADERS_BYTES)
            .http2_keepalive_interval(Some(ask_after))
            .http2_keepalive_timeout(Some(answer_within))
            .layer(front)
            .add_routes(self.others)
            .serve_with_incoming_shutdown(ReceiverStream::new(connections), shutdown)
            .await
    }
}

/// A task that ends when its owner is dropped.
struct AbortOnDrop(JoinHandle<()>);

impl Drop for AbortOnDrop {
    fn drop(&mut self) {
        self.0.abort();
    }
}
