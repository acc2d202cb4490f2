//! `kontiki serve`: one member, from its directory to its client port.
//!
//! It begins with what is most often wrong and changes nothing: the ports, then the directory and
//! its lock, then the log. Only then is the log bootstrapped, which on a log that has been, does
//! nothing. It ends on a signal, with its parent where that was asked for, or when its log fails,
//! and always closes the log in order.

mod config;
mod descriptors;
mod member;
mod open;
mod peers;

use std::future::Future;
use std::process::ExitCode;
use std::time::Duration;

use kontiki::{DataDir, Node, NodeConfig, TcpOptions, TcpTransport};
use kontiki_etcd::{Machine, Profile, Server};
use tokio::net::TcpListener;
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::oneshot;
use tokio::time::timeout;

use crate::arguments::Serve;
use crate::failure::Failure;
use config::MemberConfig;
use member::Member;
use peers::PeerAddresses;

/// How long requests under way may take to be answered once the member ends.
const GRACE: Duration = Duration::from_secs(2);

/// Runs a member until it is told to stop.
pub async fn run(serve: Serve) -> Result<ExitCode, Failure> {
    end_at_panics();
    let (exit_with_parent, must_have_log) = (serve.exit_with_parent, serve.must_have_log);
    let config = MemberConfig::from_arguments(serve)?;
    let descriptors = descriptors::raise();
    let stop = stop_signal(exit_with_parent)?;
    let clients = TcpListener::bind(&config.listen_client).await;
    let clients =
        clients.map_err(|error| port_failure("clients", &config.listen_client, &error))?;
    let transport = TcpTransport::bind(&config.listen_peer, TcpOptions::default())
        .map_err(|error| port_failure("peers", &config.listen_peer, &error))?;

    let (dir, mut log) = open::open(&config).await?;
    if must_have_log {
        open::check_not_blank(&config, log.as_mut()).await?;
    }
    open::bootstrap(&config, log.as_mut()).await?;
    let machine = Machine::new();
    let store = machine.store();
    let transport = Box::new(PeerAddresses::new(transport));
    let settings = NodeConfig { peers: dir.as_ref().map(DataDir::peers), ..NodeConfig::default() };
    let node = Node::start(settings, log, transport, Box::new(machine)).await;
    let node = node.map_err(|error| open::start_failure(&config, &error))?;
    tracing::info!(member = %config.id, clients = %config.listen_client, "serving");

    let profile = Profile { name: config.name().to_owned(), backend: config.backend.clone() };
    let limits = descriptors::leave_reserve(config.limits.clone(), descriptors);
    let server = Server::with_limits(Member::new(node.clone()), store, profile, limits);
    let server = if config.let_urls_in { server.let_urls_in() } else { server };
    serve_until(server, clients, node, stop).await
}

/// Makes a panic the end of the process. It is a bug of ours, and a member that went on without the
/// task that panicked would be half dead: connected, and serving nobody.
fn end_at_panics() {
    let report = std::panic::take_hook();
    std::panic::set_hook(Box::new(move |panic| {
        report(panic);
        std::process::abort();
    }));
}

/// Serves clients until the signal comes or the member ends; then closes both.
async fn serve_until(
    server: Server,
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
        tracing::info!("some clients kept their connections until the end");
    }
    outcome
}

/// Waits until the member ends by itself; says why.
async fn end_of(node: &Node) -> Failure {
    let mut status = node.watch_status();
    let ended = status.wait_for(|now| now.closed || now.stopped.is_some()).await.ok();
    let why = ended.as_ref().and_then(|now| now.stopped.as_deref()).unwrap_or("it was closed");
    let failure = Failure::new(format!("the member stopped: {why}"));
    match ended.is_some_and(|now| now.damaged) {
        true => failure.damaged(),
        false => {
            failure.advise("its log is as the error left it; start it again once the cause is gone")
        }
    }
}

/// Done when somebody wants the member to stop.
fn stop_signal(with_parent: bool) -> Result<impl Future<Output = ()>, Failure> {
    let listen =
        |kind| signal(kind).map_err(|error| Failure::of("signals cannot be listened for", &error));
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

/// Done when the standard input ends. It is a pipe whose other end the parent holds and never
/// writes to: the system closes it when the parent is gone, however it went. The thread is one
/// of the standard library's, for the runtime would wait for its own before it ends.
async fn end_of_input() {
    let (tell, told) = oneshot::channel();
    std::thread::spawn(move || {
        let _ = std::io::copy(&mut std::io::stdin(), &mut std::io::sink());
        let _ = tell.send(());
    });
    let _ = told.await;
}

fn port_failure(whom: &str, address: &str, error: &dyn std::error::Error) -> Failure {
    Failure::of(format!("cannot listen for {whom} at {address}"), error)
        .advise("stop the program that uses this port, or choose another address")
}
