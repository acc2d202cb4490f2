//! `kontiki serve`: runs one member, from opening its directory to serving clients.
//!
//! It opens the directory and the log, finds out which member they belong to ([`origin`]), and
//! binds its ports. Only then, and only with `--bootstrap`, does it initialize a blank log; with
//! `--join` it becomes a member of a running cluster instead ([`joining`]). It ends
//! on a signal, with its parent process if asked to, or when its log fails; in each case it closes
//! the log in order.

mod descriptors;
mod joining;
mod listed;
mod member;
mod open;
pub mod origin;
mod peers;
mod settings;

use std::future::Future;
use std::io;
use std::process::ExitCode;
use std::time::Duration;

use kontiki::{DataDir, Node, NodeConfig, NodeId, TcpOptions, TcpTransport};
use kontiki_etcd::{Machine, MemberAddresses, Profile, Server};
use tokio::net::{TcpListener, TcpSocket, lookup_host};
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::oneshot;
use tokio::time::timeout;

use crate::failure::Failure;
use joining::Joined;
use listed::Listed;
use member::Member;
use open::Opened;
use origin::Origin;
use peers::PeerAddresses;

pub use settings::{Serve, Settings};

/// How many connections of clients may wait to be accepted, as in the standard library. With a long
/// queue a client would wait for a member that cannot serve it, instead of trying another one.
const BACKLOG: u32 = 128;

/// How long pending requests may take once the member ends.
const GRACE: Duration = Duration::from_secs(2);

/// Runs a member until a signal stops it.
pub async fn run(serve: Serve) -> Result<ExitCode, Failure> {
    end_at_panics();
    let settings = match &serve.config {
        Some(path) => Settings::from_file(path)?,
        None => serve.settings.clone(),
    };
    settings.check()?;
    let listed = Listed::new(open::listed(&settings)?, serve.use_listed_addresses);
    let descriptors = descriptors::raise();
    let stop = stop_signal(serve.exit_with_parent)?;

    let mut opened = open::open(&settings).await?;
    let prepared = prepare(&serve, &settings, &listed, &mut opened).await?;
    let Opened { dir, log, backend } = opened;
    let Prepared { own, name, ports, joined } = prepared;

    let machine = Machine::new();
    let store = machine.store();
    let transport = Box::new(PeerAddresses::new(ports.peers, listed.clone()));
    let config = NodeConfig {
        timing: settings.timing()?,
        limits: settings.member_limits(),
        snapshots: dir.as_ref().map(DataDir::snapshots),
        peers: dir.as_ref().map(DataDir::peers),
    };
    let machine = Box::new(machine);
    let clients = ports.clients.listen(BACKLOG);
    let clients = clients.map_err(|e| port_failure("clients", &ports.client_address, &e))?;
    let node = match &joined {
        Some(_) => Node::join(config, log, transport, machine).await,
        None => Node::start(config, log, transport, machine).await,
    };
    let node = node.map_err(|error| open::start_failure(&settings, &error))?;
    tracing::info!(member = %own, clients = %ports.client_address, peers = %ports.peer_address,
        %backend, "listening");
    tokio::spawn(log_leaders(node.clone()));
    if let Some(joined) = joined {
        let path = dir.as_ref().map(|dir| dir.path().to_owned());
        tokio::spawn(joined.note_log(path, node.clone()));
    }

    let limits = descriptors::leave_reserve(settings.server_limits(), descriptors);
    let member = Member::new(node.clone(), listed);
    let server = Server::with_limits(member, store, Profile { name, backend }, limits);
    let server = if settings.let_urls_in { server.let_urls_in() } else { server };
    serve_until(server, clients, node, stop).await
}

/// A member whose store has its identity, and whose ports are bound.
struct Prepared {
    own: NodeId,
    name: String,
    ports: Ports,
    /// What the cluster told a node that has joined and waits for the log.
    joined: Option<Joined>,
}

/// Finds out which member this is; makes it one, if it is to found or to join a cluster.
async fn prepare(
    serve: &Serve,
    settings: &Settings,
    listed: &Listed,
    opened: &mut Opened,
) -> Result<Prepared, Failure> {
    let path = opened.dir.as_ref().map(|dir| dir.path().to_owned());
    let (path, log) = (path.as_deref(), opened.log.as_mut());
    let origin = Origin::load(path, log).await;
    let origin = origin.map_err(|error| open::origin_failure(settings, error))?;
    let joined = Joined::load(path)?;
    let mut members = origin.as_ref().map(Origin::members).unwrap_or_default();
    if let Some(joined) = &joined {
        members.insert(joined.node()?, joined.addresses());
    }
    members.extend(listed.members().clone());
    let name = |own: &NodeId| members.get(own).map(|own| own.name.clone()).unwrap_or_default();

    if let Some(origin) = origin {
        origin.check(settings)?;
        let own = origin.identity.node;
        if !serve.join.is_empty() {
            joining::check_cluster(&serve.join, &origin.identity).await?;
        }
        let ports = Ports::listen(settings, members.get(&own)).await?;
        remember_name(settings, Some(origin), path, log).await;
        if let Some(joined) = joined.filter(Joined::is_waiting) {
            joined.note_arrived(path); // what the store shows at a start is durable
        }
        return Ok(Prepared { own, name: name(&own), ports, joined: None });
    }
    if let Some(joined) = joined {
        let own = joined.identify(log).await?.node;
        let ports = Ports::listen(settings, members.get(&own)).await?;
        return Ok(Prepared { own, name: name(&own), ports, joined: Some(joined) });
    }
    if !serve.join.is_empty() {
        let addresses = joining::announced(settings)?;
        let ports = Ports::listen(settings, Some(&addresses)).await?;
        let joined = joining::join(&serve.join, &addresses).await?;
        joined.save(path)?;
        let own = joined.identify(log).await?.node;
        let name = joined.addresses().name;
        tracing::info!(member = %own, %name, "joined the cluster as a learner; \
            `kontiki member promote` lets it vote");
        return Ok(Prepared { own, name, ports, joined: Some(joined) });
    }
    let own = own_id(settings)?;
    let ports = Ports::listen(settings, members.get(&own)).await?;
    open::initialize(settings, serve.bootstrap, log).await?;
    remember_name(settings, None, path, log).await;
    Ok(Prepared { own, name: name(&own), ports, joined: None })
}

/// The id of the member of a new cluster.
fn own_id(settings: &Settings) -> Result<NodeId, Failure> {
    let missing = || {
        Failure::new("the log is empty, and --id is not given").advise(
            "the first start of a new cluster needs --id, --cluster and each --member, or a file \
             with them; --join ENDPOINT joins a running one",
        )
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
    /// Bound, and listening only once the member can answer: a client that is refused tries another
    /// member at once, and one that is accepted waits.
    clients: TcpSocket,
    client_address: String,
    peers: TcpTransport,
    peer_address: String,
}

impl Ports {
    async fn listen(settings: &Settings, own: Option<&MemberAddresses>) -> Result<Ports, Failure> {
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
        let clients = reserve(&client_address).await;
        let clients = clients.map_err(|error| port_failure("clients", &client_address, &error))?;
        let peers = TcpTransport::bind(&peer_address, TcpOptions::default());
        let peers = peers.map_err(|error| port_failure("peers", &peer_address, &error))?;
        Ok(Ports { clients, client_address, peers, peer_address })
    }
}

/// Binds a socket to an address without listening.
async fn reserve(address: &str) -> io::Result<TcpSocket> {
    let mut failed = io::Error::new(io::ErrorKind::InvalidInput, "the host has no address");
    for address in lookup_host(address).await? {
        let socket = if address.is_ipv4() { TcpSocket::new_v4()? } else { TcpSocket::new_v6()? };
        socket.set_reuseaddr(true)?;
        match socket.bind(address) {
            Ok(()) => return Ok(socket),
            Err(error) => failed = error,
        }
    }
    Err(failed)
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
    if ended.as_ref().is_some_and(|now| now.damaged) {
        failure.damaged()
    } else if why.contains("was removed from the cluster") {
        failure.advise("its directory is of no use any more: a new node joins with an empty one")
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
