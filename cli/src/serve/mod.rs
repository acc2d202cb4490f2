//! `kontiki serve`: runs one member, from opening its directory to serving clients.
//!
//! It opens the directory and the log, finds out which member they belong to ([`origin`]), and
//! binds its ports. Only then, and only with `--bootstrap`, does it initialize a blank log. It ends
//! on a signal, with its parent process if asked to, or when its log fails; in each case it closes
//! the log in order.

mod descriptors;
mod member;
mod open;
pub mod origin;
mod peers;
mod settings;

use std::collections::BTreeMap;
use std::future::Future;
use std::process::ExitCode;
use std::time::Duration;

use kontiki::{DataDir, Node, NodeConfig, NodeId, TcpOptions, TcpTransport};
use kontiki_etcd::{Machine, MemberAddresses, Profile, Server};
use tokio::net::TcpListener;
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::oneshot;
use tokio::time::timeout;

use crate::failure::Failure;
use member::Member;
use open::Opened;
use origin::Origin;
use peers::PeerAddresses;

pub use settings::{Serve, Settings};

/// How long pending requests may take once the member ends.
const GRACE: Duration = Duration::from_secs(2);

/// Runs a member until a signal stops it.
pub async fn run(serve: Serve) -> Result<ExitCode, Failure> {
    end_at_panics();
    let settings = match &serve.config {
        Some(path) => Settings::from_file(path)?,
        None => serve.settings,
    };
    settings.check()?;
    let listed = open::listed(&settings)?;
    let descriptors = descriptors::raise();
    let stop = stop_signal(serve.exit_with_parent)?;

    let Opened { dir, mut log, backend } = open::open(&settings).await?;
    let path = dir.as_ref().map(|dir| dir.path());
    let origin = Origin::load(path, log.as_mut()).await;
    let origin = origin.map_err(|error| open::origin_failure(&settings, error))?;
    if let Some(origin) = &origin {
        origin.check(&settings)?;
    }
    let mut members = origin.as_ref().map(Origin::members).unwrap_or_default();
    members.extend(listed.clone());
    let own = own_id(&settings, origin.as_ref())?;
    let ports = Ports::listen(&settings, own, &members).await?;
    if origin.is_none() {
        open::initialize(&settings, serve.bootstrap, log.as_mut()).await?;
    }
    remember_name(&settings, origin, path, log.as_mut()).await;

    let machine = Machine::new();
    let store = machine.store();
    let transport = Box::new(PeerAddresses::new(ports.peers, listed.clone()));
    let config = NodeConfig {
        timing: settings.timing()?,
        limits: settings.member_limits(),
        snapshots: dir.as_ref().map(DataDir::snapshots),
        peers: dir.as_ref().map(DataDir::peers),
    };
    let node = Node::start(config, log, transport, Box::new(machine)).await;
    let node = node.map_err(|error| open::start_failure(&settings, &error))?;
    tracing::info!(member = %own, clients = %ports.client_address, peers = %ports.peer_address,
        %backend, "listening");
    tokio::spawn(log_leaders(node.clone()));

    let name = members.get(&own).map(|own| own.name.clone()).unwrap_or_default();
    let limits = descriptors::leave_reserve(settings.server_limits(), descriptors);
    let member = Member::new(node.clone(), listed);
    let server = Server::with_limits(member, store, Profile { name, backend }, limits);
    let server = if settings.let_urls_in { server.let_urls_in() } else { server };
    serve_until(server, ports.clients, node, stop).await
}

/// The id of this member: from its store, or else from the settings.
fn own_id(settings: &Settings, origin: Option<&Origin>) -> Result<NodeId, Failure> {
    if let Some(origin) = origin {
        return Ok(origin.identity.node);
    }
    let missing = || {
        Failure::new("the log is empty, and --id is not given")
            .advise("the first start needs --id, --cluster and each --member, or a file with them")
    };
    settings::node_id(settings.id.ok_or_else(missing)?)
}

/// Keeps the cluster's name beside the log, for the messages of later starts. A failure is logged;
/// the member runs without the file.
async fn remember_name(
    settings: &Settings,
    origin: Option<Origin>,
    dir: Option<&std::path::Path>,
    log: &mut dyn kontiki::storage::Store,
) {
    let Some(cluster) = &settings.cluster else { return };
    let origin = match origin {
        Some(origin) => Ok(Some(origin)),
        None => Origin::load(dir, log).await,
    };
    let Ok(Some(origin)) = origin else { return };
    if let Err(error) = origin.record(cluster) {
        tracing::warn!(%error, "the cluster's name cannot be kept beside the log");
    }
}

/// The bound ports of a member.
struct Ports {
    clients: TcpListener,
    client_address: String,
    peers: TcpTransport,
    peer_address: String,
}

impl Ports {
    async fn listen(
        settings: &Settings,
        own: NodeId,
        members: &BTreeMap<NodeId, MemberAddresses>,
    ) -> Result<Ports, Failure> {
        let own = members.get(&own);
        let address = |given: &Option<String>, known: Option<&str>, flag: &str| {
            given.clone().or_else(|| known.map(str::to_owned)).ok_or_else(|| {
                Failure::new("there is no address to listen at")
                    .advise(format!("list the members, or name an address with {flag}"))
            })
        };
        let known = own.map(MemberAddresses::client_address);
        let client_address = address(&settings.listen_client, known, "--listen-client")?;
        let known = own.map(MemberAddresses::peer_address);
        let peer_address = address(&settings.listen_peer, known, "--listen-peer")?;
        let clients = TcpListener::bind(&client_address).await;
        let clients = clients.map_err(|error| port_failure("clients", &client_address, &error))?;
        let peers = TcpTransport::bind(&peer_address, TcpOptions::default());
        let peers = peers.map_err(|error| port_failure("peers", &peer_address, &error))?;
        Ok(Ports { clients, client_address, peers, peer_address })
    }
}

/// Logs each change of leader once.
async fn log_leaders(node: Node) {
    let mut status = node.watch_status();
    let mut known = None;
    loop {
        let (term, leader) = {
            let now = status.borrow_and_update();
            (now.raft.soft_state.term, now.raft.soft_state.leader)
        };
        match leader {
            Some(leader) if known != Some((term, leader)) => {
                tracing::info!(%leader, %term, "there is a leader");
                known = Some((term, leader));
            }
            None if known.is_some() => {
                tracing::info!(%term, "there is no leader");
                known = None;
            }
            _ => {}
        }
        if status.changed().await.is_err() {
            return;
        }
    }
}

/// Makes a panic the end of the process. A panic is a bug in this project, and a member that
/// continued without the task that panicked would stay connected to its peers and serve no client.
fn end_at_panics() {
    let report = std::panic::take_hook();
    std::panic::set_hook(Box::new(move |panic| {
        report(panic);
        std::process::abort();
    }));
}

/// Serves clients until the stop signal comes or the member ends; then closes both.
async fn serve_until(
    server: Server<Member>,
    clients: TcpListener,
    node: Node,
    stop: impl Future<Output = ()>,
) -> Result<ExitCode, Failure> {
    let (end_serving, ended) = oneshot::channel::<()>();
    let mut serving = tokio::spawn(server.serve(clients, async {
        let _ = ended.await;
    }));
    let outcome = tokio::select! {
        () = stop => Ok(ExitCode::SUCCESS),
        ended = end_of(&node) => Err(ended),
        served = &mut serving => Err(Failure::new(format!("serving clients failed: {served:?}"))),
    };
    let _ = end_serving.send(());
    node.shutdown().await;
    if !serving.is_finished() && timeout(GRACE, serving).await.is_err() {
        tracing::info!("some clients did not close their connections in time");
    }
    outcome
}

/// Waits until the member ends by itself; returns the failure with the reason.
async fn end_of(node: &Node) -> Failure {
    let mut status = node.watch_status();
    let ended = status.wait_for(|now| now.closed || now.stopped.is_some()).await.ok();
    let why =
        ended.as_ref().and_then(|now| now.stopped.as_deref()).unwrap_or("its handle was closed");
    let failure = Failure::new(format!("the member stopped: {why}"));
    if ended.is_some_and(|now| now.damaged) {
        failure.damaged()
    } else {
        failure.advise("start it again once the cause is repaired")
    }
}

/// Completes when a signal, or the end of the parent process, stops the member.
fn stop_signal(with_parent: bool) -> Result<impl Future<Output = ()>, Failure> {
    let listen =
        |kind| signal(kind).map_err(|error| Failure::of("signal handlers cannot be set", &error));
    let mut interrupt = listen(SignalKind::interrupt())?;
    let mut terminate = listen(SignalKind::terminate())?;
    Ok(async move {
        tokio::select! {
            _ = interrupt.recv() => {}
            _ = terminate.recv() => {}
            () = end_of_input(), if with_parent => {}
        }
    })
}

/// Completes when the standard input ends. It is a pipe whose other end the parent holds and never
/// writes to: the system closes it when the parent process ends for any reason. The thread is one
/// of the standard library's, because the runtime would wait for a blocking task before it ends.
async fn end_of_input() {
    let (sender, ended) = oneshot::channel();
    std::thread::spawn(move || {
        let _ = std::io::copy(&mut std::io::stdin(), &mut std::io::sink());
        let _ = sender.send(());
    });
    let _ = ended.await;
}

fn port_failure(audience: &str, address: &str, error: &dyn std::error::Error) -> Failure {
    Failure::of(format!("cannot listen for {audience} at {address}"), error)
        .advise("stop the program that uses this port, or choose another address")
}
