//! Joins a running cluster: `kontiki serve --join ENDPOINT` on an empty directory.
//!
//! ```text
//!   bind the ports --> ask the leader (Join) --> joined.toml --> identity in the store --> wait
//! ```
//!
//! The leader makes the node a learner under an id that was never used, at the addresses that it
//! names, and answers once that is committed; then it sends the log. The answer is kept in
//! `DIR/joined.toml` (`docs/formats/member.md`) before the store gets its identity, so a start that
//! was cut short at any point is continued by the next one, with or without `--join`. If the
//! answer itself was lost, the leader finds the node by its peer address, and answers the same.
//!
//! Once the log has arrived and is durable the file says so: a member that then comes with an empty
//! log has lost it, and must not start.

use std::fs;
use std::io;
use std::path::Path;
use std::time::Duration;

use kontiki::storage::Store;
use kontiki::types::{ClusterId, Identity, LogIndex};
use kontiki::{BootstrapError, Node, NodeId, NodeStatus};
use kontiki_etcd::api::kontiki::v1::{AdminJoinRequest, AdminJoinResponse};
use kontiki_etcd::client::ClientError;
use kontiki_etcd::{Client, MemberAddresses};
use serde::{Deserialize, Serialize};
use tokio::time::Instant;

use crate::failure::Failure;

use super::settings::{self, Settings};

/// The file that keeps what a node was told when it joined.
pub const FILE_NAME: &str = "joined.toml";

/// The version of that file.
const VERSION: u32 = 1;

/// How long a joining node looks for a leader that lets it join.
const PATIENCE: Duration = Duration::from_secs(15);

/// How long one attempt takes at most.
const ATTEMPT: Duration = Duration::from_secs(3);

/// How long a member that has joined already asks the endpoints for their cluster.
const CHECK_PATIENCE: Duration = Duration::from_secs(2);

/// What a node was told when it joined, and where the others reach it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Joined {
    version: u32,
    node: u64,
    cluster_id: String,
    name: String,
    /// Its addresses at that time, as `host:port`.
    peer: String,
    client: String,
    /// Whether the cluster's log has arrived, and is durable.
    has_log: bool,
}

/// The addresses that a joining node announces.
///
/// # Errors
///
/// If they are not given, or are no addresses of one host.
pub fn announced(settings: &Settings) -> Result<MemberAddresses, Failure> {
    if settings.id.is_some() || !settings.members.is_empty() {
        return Err(Failure::new(
            "a node that joins is given its id and the members by the cluster",
        )
        .advise("leave out --id and --member; they are for the first start of a new cluster"));
    }
    let address = |what: &str, announced: &Option<String>, listen: &Option<String>| {
        let missing = || {
            Failure::new(format!("the address at which {what} reach this node is not given"))
                .advise("name one with --listen-client and one with --listen-peer")
        };
        let address = announced.clone().or_else(|| listen.clone()).ok_or_else(missing)?;
        let is_of_all = ["0.0.0.0:", "[::]:"].iter().any(|all| address.starts_with(all));
        if is_of_all {
            let text = format!("{what} cannot reach this node at {address}");
            return Err(Failure::new(text).advise(
                "name the address that they use with --advertise-client and --advertise-peer",
            ));
        }
        Ok(format!("http://{address}"))
    };
    Ok(MemberAddresses {
        name: settings.name.clone().unwrap_or_default(),
        peer_url: address("the members", &settings.advertise_peer, &settings.listen_peer)?,
        client_url: address("clients", &settings.advertise_client, &settings.listen_client)?,
        votes_soon: false,
    })
}

/// Asks the cluster behind these endpoints to let a node join.
///
/// # Errors
///
/// If no endpoint answers, or the cluster refuses.
pub async fn join(endpoints: &[String], addresses: &MemberAddresses) -> Result<Joined, Failure> {
    let request = AdminJoinRequest {
        name: addresses.name.clone(),
        peer_url: addresses.peer_url.clone(),
        client_url: addresses.client_url.clone(),
    };
    let answer = ask(endpoints, request).await;
    let answer = answer.map_err(|error| refused(endpoints, &error))?;
    Ok(Joined {
        version: VERSION,
        node: answer.id,
        cluster_id: ClusterId(answer.cluster_id).to_string(),
        name: answer.name,
        peer: addresses.peer_address().to_owned(),
        client: addresses.client_address().to_owned(),
        has_log: false,
    })
}

/// Asks again, each time from another endpoint on, so that one that accepts a connection and never
/// answers does not use up the time. The request may be repeated: the answer is the same.
async fn ask(
    endpoints: &[String],
    request: AdminJoinRequest,
) -> Result<AdminJoinResponse, ClientError> {
    let mut endpoints = endpoints.to_vec();
    let until = Instant::now() + PATIENCE;
    loop {
        let client = Client::new(&endpoints)?;
        match client.with_timeout(ATTEMPT).join(request.clone()).await {
            Err(ClientError::Unavailable { .. }) if Instant::now() < until => {
                endpoints.rotate_left(1);
            }
            answer => return answer,
        }
    }
}

fn refused(endpoints: &[String], error: &ClientError) -> Failure {
    let endpoints = endpoints.join(", ");
    match error {
        ClientError::Refused(status) => {
            let text = format!("the cluster at {endpoints} does not let this node join: ");
            let failure = Failure::new(text + status.message());
            if status.message().contains("has not connected") {
                return failure.advise(
                    "leave the member that is down out with `kontiki member remove`, and join then",
                );
            }
            failure
        }
        other => Failure::new(format!("the cluster at {endpoints} cannot be joined: {other}"))
            .advise(
                "name the client addresses of running members; `kontiki status --endpoints ...` \
                 asks each of them",
            ),
    }
}

/// Refuses the endpoints of another cluster than a member belongs to. Endpoints that do not answer
/// say nothing: a member must be able to restart without them.
///
/// # Errors
///
/// They are those of another cluster.
pub async fn check_cluster(endpoints: &[String], identity: &Identity) -> Result<(), Failure> {
    let client = Client::new(endpoints).map_err(|error| Failure::new(error.to_string()))?;
    for endpoint in client.with_timeout(CHECK_PATIENCE).status().await {
        let Ok(status) = endpoint.status else { continue };
        if status.cluster_id != identity.cluster.0 {
            let text = format!(
                "the directory is not empty: it belongs to member {} of cluster {}, and {} is of \
                 cluster {}",
                identity.node,
                identity.cluster,
                endpoint.endpoint,
                ClusterId(status.cluster_id),
            );
            return Err(Failure::new(text).advise("choose an empty directory with --dir"));
        }
        tracing::info!(member = %identity.node, "this member has joined already");
        return Ok(());
    }
    Ok(())
}

impl Joined {
    /// Reads the file in a member's directory, if there is one.
    ///
    /// # Errors
    ///
    /// If it cannot be read or understood.
    pub fn load(dir: Option<&Path>) -> Result<Option<Joined>, Failure> {
        let Some(path) = dir.map(|dir| dir.join(FILE_NAME)) else { return Ok(None) };
        let text = match fs::read_to_string(&path) {
            Ok(text) => text,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            Err(error) => {
                return Err(Failure::of(format!("{} cannot be read", path.display()), &error));
            }
        };
        let joined: Joined = toml::from_str(&text).map_err(|error| {
            Failure::of(format!("{} is not understood", path.display()), &error).advise(
                "it holds what this member was told when it joined: restore it; or replace this \
                 member by a new one with an empty directory",
            )
        })?;
        if joined.version != VERSION {
            let text = format!("{} has version {}, not {VERSION}", path.display(), joined.version);
            return Err(
                Failure::new(text).advise("start the member with the program that wrote it")
            );
        }
        Ok(Some(joined))
    }

    /// Keeps it in a member's directory.
    ///
    /// # Errors
    ///
    /// If the file cannot be written.
    pub fn save(&self, dir: Option<&Path>) -> Result<(), Failure> {
        let Some(dir) = dir else { return Ok(()) };
        let text = toml::to_string(self).expect("strings and numbers are TOML");
        owned_dir::put_whole(dir, FILE_NAME, text.as_bytes()).map_err(|error| {
            Failure::of(format!("{} cannot be written", dir.join(FILE_NAME).display()), &error)
                .advise("check the disk: its space, its permissions, its health")
        })
    }

    /// Gives a blank store this identity, or checks that it has it.
    ///
    /// # Errors
    ///
    /// If the store is another member's, if it has lost its log, or if it fails.
    pub async fn identify(&self, log: &mut dyn Store) -> Result<Identity, Failure> {
        if self.has_log {
            let text = format!("the log of member {} is empty, though it has had one", self.node);
            return Err(Failure::new(text).advise(lost_log_advice(&self.node.to_string())));
        }
        let number = u64::from_str_radix(&self.cluster_id, 16);
        let number = number.map_err(|error| Failure::of("the cluster's id", &error))?;
        let identity = kontiki::join(log, ClusterId(number), self.node()?).await;
        identity.map_err(|error| match error {
            BootstrapError::OtherIdentity { .. } => {
                Failure::of("the directory is not empty", &error)
                    .advise("choose an empty directory with --dir")
            }
            other => Failure::of("the log cannot be prepared", &other),
        })
    }

    /// The node's id.
    ///
    /// # Errors
    ///
    /// If it is 0.
    pub fn node(&self) -> Result<NodeId, Failure> {
        settings::node_id(self.node)
    }

    /// Its name and its addresses.
    pub fn addresses(&self) -> MemberAddresses {
        MemberAddresses {
            name: self.name.clone(),
            peer_url: format!("http://{}", self.peer),
            client_url: format!("http://{}", self.client),
            votes_soon: false,
        }
    }

    /// Whether the log has not arrived yet, as far as the file tells.
    pub fn is_waiting(&self) -> bool {
        !self.has_log
    }

    /// Notes in the file that the log has arrived, once it is durable: the file must not be newer
    /// than the log after a power cut.
    pub async fn note_log(self, dir: Option<std::path::PathBuf>, node: Node) {
        let mut status = node.watch_status();
        let has_log = |now: &NodeStatus| store_has_log(now.raft.durable, now.raft.boundary.index);
        let arrived = status.wait_for(|now| now.closed || has_log(now)).await;
        if arrived.is_ok_and(|now| now.closed) {
            return;
        }
        self.note_arrived(dir.as_deref());
    }

    /// Notes in the file that the store has shown a log. A failure is logged; the next start notes
    /// it.
    pub fn note_arrived(self, dir: Option<&Path>) {
        tracing::info!(member = self.node, "the cluster's log has arrived");
        if let Err(failure) = (Joined { has_log: true, ..self }).save(dir) {
            tracing::warn!("{failure}");
        }
    }
}

/// Whether the store itself would show a log after a power cut. The durable index includes a
/// snapshot that was installed, and is greater than its end only once an entry after it is durable;
/// so is the boundary then, since writes become durable in order.
fn store_has_log(durable: LogIndex, boundary: LogIndex) -> bool {
    durable > boundary
}

/// What to do about a member that has lost its log.
pub fn lost_log_advice(member: &str) -> String {
    format!(
        "restore its directory. If it is lost, so are the votes of this member, and another one \
         takes its place: start it on an empty directory with `kontiki serve --join ENDPOINT`, \
         then run `kontiki member replace {member}`"
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    fn joined() -> Joined {
        Joined {
            version: 1,
            node: 4,
            cluster_id: "00000000000000ff".to_owned(),
            name: "n4".to_owned(),
            peer: "d:2380".to_owned(),
            client: "d:2379".to_owned(),
            has_log: false,
        }
    }

    #[test]
    fn the_file_is_as_specified() {
        let text = "version = 1\nnode = 4\ncluster_id = \"00000000000000ff\"\nname = \"n4\"\n\
                    peer = \"d:2380\"\nclient = \"d:2379\"\nhas_log = false\n";
        assert_eq!(toml::to_string(&joined()).expect("it is TOML"), text);
        let dir = tempfile::tempdir().expect("a directory");
        joined().save(Some(dir.path())).expect("written");
        assert_eq!(Joined::load(Some(dir.path())).expect("read"), Some(joined()));
        assert_eq!(fs::read_to_string(dir.path().join(FILE_NAME)).expect("read"), text);
    }

    /// What could go wrong: a member whose log was removed joins again under its old id, without
    /// its votes.
    #[tokio::test]
    async fn a_member_that_has_had_a_log_gets_no_blank_one() {
        let mut log = log_memory_store();
        let failure = Joined { has_log: true, ..joined() }.identify(log.as_mut()).await;
        let said = failure.expect_err("refused").to_string();
        assert!(said.contains("kontiki member replace 4"), "{said}");
        assert_eq!(log.load_identity().await.expect("readable"), None);
        let identity = joined().identify(log.as_mut()).await.expect("blank");
        assert_eq!((identity.node.get(), identity.cluster), (4, ClusterId(255)));
        assert_eq!(joined().identify(log.as_mut()).await.expect("the same"), identity);
    }

    /// What went wrong: the file said that the log has arrived once it was in memory, or once a
    /// snapshot was installed. A power cut then left a blank store, which was refused for ever.
    #[test]
    fn the_log_has_arrived_once_the_store_shows_it_after_a_power_cut() {
        let has_log = |durable: u64, boundary: u64| {
            store_has_log(LogIndex::new(durable), LogIndex::new(boundary))
        };
        assert!(!has_log(0, 0), "entries are in memory only");
        assert!(has_log(1, 0));
        assert!(!has_log(20, 20), "only the snapshot is durable");
        assert!(has_log(21, 20));
    }

    fn log_memory_store() -> Box<dyn Store> {
        let log = kontiki::LogConfig::from_name("memory", "unused").expect("it is compiled in");
        log.open().expect("it opens")
    }

    #[test]
    fn an_address_of_all_interfaces_is_not_announced() {
        let settings = |listen: &str| Settings {
            listen_client: Some("a:1".to_owned()),
            listen_peer: Some(listen.to_owned()),
            ..Settings::default()
        };
        let addresses = announced(&settings("a:2")).expect("sound");
        assert_eq!((&*addresses.peer_url, &*addresses.client_url), ("http://a:2", "http://a:1"));
        let said = announced(&settings("0.0.0.0:2")).expect_err("refused").to_string();
        assert!(said.contains("--advertise-peer"), "{said}");
        let said = announced(&Settings::default()).expect_err("refused").to_string();
        assert!(said.contains("--listen-peer"), "{said}");
    }
}
