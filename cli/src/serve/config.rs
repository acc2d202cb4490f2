//! What one member must know before it starts, checked; from flags or from a TOML file.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

use kontiki::{Membership, NodeId};
use kontiki_etcd::{MemberAddresses, ServerLimits};
use serde::Deserialize;

use crate::arguments::Serve;
use crate::failure::Failure;

/// A member's settings.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MemberConfig {
    /// Which of the members this one is.
    pub id: NodeId,
    /// The cluster's name.
    pub cluster: String,
    /// The name of the log's backend.
    pub backend: String,
    /// How the log is written, if it was said.
    pub io: Option<String>,
    /// The member's directory.
    pub dir: Option<PathBuf>,
    /// Where to listen for clients.
    pub listen_client: String,
    /// Where to listen for peers.
    pub listen_peer: String,
    /// All members, this one included.
    pub members: BTreeMap<NodeId, MemberAddresses>,
    /// What the client port takes on.
    pub limits: ServerLimits,
    /// Whether clients may name the server by a URL where HTTP/2 wants an authority.
    pub let_urls_in: bool,
}

/// The file, as it is written. A field that is not here is an error: it would be a setting that
/// somebody believes in and nobody reads.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct ConfigFile {
    id: u64,
    cluster: String,
    #[serde(default = "default_backend")]
    backend: String,
    io: Option<String>,
    dir: Option<PathBuf>,
    listen_client: Option<String>,
    listen_peer: Option<String>,
    quota_bytes: Option<u64>,
    max_clients: Option<usize>,
    #[serde(default)]
    let_urls_in: bool,
    members: Vec<MemberTable>,
}

/// One `[[members]]` of the file.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct MemberTable {
    id: u64,
    name: Option<String>,
    peer: String,
    client: String,
}

fn default_backend() -> String {
    "file".to_owned()
}

impl MemberConfig {
    /// The settings that the command line means.
    pub fn from_arguments(serve: Serve) -> Result<MemberConfig, Failure> {
        let Some(path) = &serve.config else { return from_flags(serve) };
        let text = fs::read_to_string(path)
            .map_err(|error| Failure::of(format!("{} cannot be read", path.display()), &error))?;
        from_file(path, &text)
    }

    /// The membership that this member is bootstrapped with.
    pub fn membership(&self) -> Result<Membership, Failure> {
        let voters = self.members.iter().map(|(id, addresses)| (*id, addresses.encode()));
        Membership::of_voters(voters)
            .map_err(|error| Failure::of("these members are no cluster", &error))
    }

    /// The member's name.
    pub fn name(&self) -> &str {
        &self.members[&self.id].name
    }
}

fn from_flags(serve: Serve) -> Result<MemberConfig, Failure> {
    let tables: Result<Vec<_>, _> = serve.members.iter().map(|text| member_flag(text)).collect();
    checked(ConfigFile {
        id: serve.id.expect("clap requires it without a file"),
        cluster: serve.cluster.expect("clap requires it without a file"),
        backend: serve.backend,
        io: serve.io,
        dir: serve.dir,
        listen_client: serve.listen_client,
        listen_peer: serve.listen_peer,
        quota_bytes: serve.quota_bytes,
        max_clients: serve.max_clients,
        let_urls_in: serve.let_urls_in,
        members: tables?,
    })
}

fn member_flag(text: &str) -> Result<MemberTable, Failure> {
    let parts = text.split_once('=').and_then(|(id, addresses)| {
        let (peer, client) = addresses.split_once(',')?;
        Some((id.parse().ok()?, peer.to_owned(), client.to_owned()))
    });
    match parts {
        Some((id, peer, client)) => Ok(MemberTable { id, name: None, peer, client }),
        None => Err(Failure::new(format!("--member {text} is not of the form ID=PEER,CLIENT"))
            .advise("for example: --member 1=127.0.0.1:2380,127.0.0.1:2379")),
    }
}

fn from_file(path: &Path, text: &str) -> Result<MemberConfig, Failure> {
    let file = toml::from_str(text)
        .map_err(|error| Failure::of(format!("{} is not understood", path.display()), &error))?;
    checked(file)
}

fn checked(file: ConfigFile) -> Result<MemberConfig, Failure> {
    let id = node_id(file.id)?;
    let mut members = BTreeMap::new();
    for table in file.members {
        check_address(&table.peer)?;
        check_address(&table.client)?;
        let addresses = MemberAddresses {
            name: table.name.unwrap_or_else(|| format!("n{}", table.id)),
            peer_url: format!("http://{}", table.peer),
            client_url: format!("http://{}", table.client),
        };
        if members.insert(node_id(table.id)?, addresses).is_some() {
            return Err(Failure::new(format!("member {} is listed twice", table.id)));
        }
    }
    let Some(own) = members.get(&id) else {
        return Err(Failure::new(format!("member {id} is not among the listed members"))
            .advise("list every member, this one included, and the same on each of them"));
    };
    let listen_client = file.listen_client.unwrap_or_else(|| own.client_address().to_owned());
    let listen_peer = file.listen_peer.unwrap_or_else(|| own.peer_address().to_owned());
    check_address(&listen_client)?;
    check_address(&listen_peer)?;
    let mut limits = ServerLimits::default();
    limits.quota_bytes = file.quota_bytes.unwrap_or(limits.quota_bytes);
    limits.connections = file.max_clients.unwrap_or(limits.connections);
    if limits.connections == 0 {
        return Err(Failure::new("max_clients cannot be 0: the member would serve no client"));
    }
    let ConfigFile { cluster, backend, io, dir, let_urls_in, .. } = file;
    Ok(MemberConfig {
        id,
        cluster,
        backend,
        io,
        dir,
        listen_client,
        listen_peer,
        members,
        limits,
        let_urls_in,
    })
}

fn node_id(number: u64) -> Result<NodeId, Failure> {
    NodeId::new(number).ok_or_else(|| Failure::new("a member's id cannot be 0: ids begin at 1"))
}

fn check_address(text: &str) -> Result<(), Failure> {
    let parts = text.rsplit_once(':');
    match parts.map(|(host, port)| (host.is_empty(), port.parse::<u16>())) {
        Some((false, Ok(1..))) => Ok(()),
        _ => Err(Failure::new(format!("{text:?} is not an address of the form host:port"))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const FILE: &str = r#"
        id = 2
        cluster = "demo"
        dir = "data"
        listen_peer = "0.0.0.0:2380"
        [[members]]
        id = 1
        peer = "one:2380"
        client = "one:2379"
        [[members]]
        id = 2
        name = "second"
        peer = "two:2380"
        client = "two:2379"
    "#;

    fn read(text: &str) -> Result<MemberConfig, String> {
        from_file(Path::new("a.toml"), text).map_err(|failure| failure.to_string())
    }

    #[test]
    fn a_file_says_it_all() {
        let config = read(FILE).expect("a good file");
        assert_eq!((config.id.get(), config.name(), &*config.backend), (2, "second", "file"));
        assert_eq!(config.listen_client, "two:2379");
        assert_eq!(config.listen_peer, "0.0.0.0:2380");
        assert_eq!(config.membership().map(|members| members.members().count()), Ok(2));
    }

    #[test]
    fn what_is_wrong_is_named() {
        let wrong = |from: &str, to: &str| read(&FILE.replacen(from, to, 1)).expect_err("wrong");
        assert!(wrong("dir =", "dri =").contains("unknown field `dri`"));
        assert!(wrong("name =", "nmae =").contains("unknown field `nmae`"));
        assert!(wrong("id = 2", "id = 3").contains("member 3 is not among"));
        assert!(wrong("id = 2", "id = 0").contains("cannot be 0"));
        assert!(wrong("id = 1", "id = 2").contains("member 2 is listed twice"));
        assert!(wrong("one:2380", "one").contains("\"one\" is not an address"));
        assert!(wrong("0.0.0.0:2380", "0.0.0.0:0").contains("\"0.0.0.0:0\" is not an address"));
        assert!(wrong("cluster = \"demo\"", "").contains("missing field `cluster`"));
    }

    #[test]
    fn a_member_flag_has_a_form() {
        assert!(member_flag("1=a:1,b:2").is_ok());
        for wrong in ["1", "x=a:1,b:2", "1=a:1", "a:1,b:2"] {
            assert!(member_flag(wrong).is_err(), "{wrong}");
        }
    }
}
