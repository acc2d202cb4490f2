//! Determines which member of which cluster a store belongs to, and whether the settings name the
//! same one.
//!
//! The store holds the identity and, in its first entry, the initial members of the cluster; the
//! cluster's id is a digest of its name and those members. Once that entry is purged, the newest
//! snapshot holds the members. The name itself is kept beside the log,
//! in `member.toml` (`docs/formats/member.md`), so that an error message can show it. A directory
//! without that file is checked by the digest; the file is written by the first start that names
//! the cluster. A directory that was recovered, or that of a node that has joined, is not: its
//! first entry may be that of the cluster from which its own was recovered.
//!
//! Which members the settings list, and their addresses, is not part of a member's identity: the
//! membership decides, and the settings may be older.

use std::collections::BTreeMap;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use kontiki::storage::{LogError, Store, record};
use kontiki::types::{EntryKind, Identity, LogIndex};
use kontiki::{Membership, NodeId, SnapshotDir};
use kontiki_etcd::MemberAddresses;
use serde::{Deserialize, Serialize};

use crate::failure::Failure;

use super::joining;
use super::settings::Settings;

/// The file that keeps the cluster's name.
const FILE_NAME: &str = "member.toml";

/// The version of that file.
const VERSION: u32 = 1;

/// The file that says how a directory was made out of another cluster's members
/// (`docs/formats/member.md`).
pub const RECOVERED: &str = "recovered.toml";

/// The content of the file.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Record {
    version: u32,
    node: u64,
    cluster: String,
    cluster_id: String,
}

/// Which member a store belongs to, according to the member's own files.
#[derive(Debug)]
pub struct Origin {
    /// The identity in the store.
    pub identity: Identity,
    /// The initial members of the cluster, unless their entry was purged.
    initial_members: Option<Membership>,
    /// The members of the newest snapshot, if the entry with the initial ones was purged.
    later_members: Option<Membership>,
    /// The cluster's name, if the file holds it.
    name: Option<String>,
    /// Whether the first entry may be that of another cluster, from which this one was recovered.
    may_be_recovered: bool,
    /// The member's directory, for messages and for the file.
    dir: Option<PathBuf>,
}

impl Origin {
    /// Reads the store and the directory. Returns `None` while the store is blank.
    ///
    /// # Errors
    ///
    /// If the store cannot be read, or the file beside it is damaged or belongs to another member.
    pub async fn load(
        dir: Option<&Path>,
        log: &mut dyn Store,
    ) -> Result<Option<Origin>, OriginError> {
        let Some(identity) = log.load_identity().await? else { return Ok(None) };
        if log.bounds().is_blank() {
            return Ok(None); // its initialization was interrupted, and is repeated
        }
        let initial_members = initial_members(log).await?;
        let later_members = match (dir, &initial_members) {
            (Some(dir), None) => members_of_snapshot(dir),
            _ => None,
        };
        let name = match dir {
            Some(dir) => recorded_name(dir, &identity)?,
            None => None,
        };
        let may_be_recovered = dir.is_some_and(may_be_recovered);
        let dir = dir.map(Path::to_owned);
        let known =
            Origin { identity, initial_members, later_members, name, may_be_recovered, dir };
        Ok(Some(known))
    }

    /// Refuses settings that name another member or another cluster.
    ///
    /// # Errors
    ///
    /// The failure shows the value in the settings and the value in the store.
    pub fn check(&self, settings: &Settings) -> Result<(), Failure> {
        let node = self.identity.node;
        if let Some(id) = settings.id.filter(|id| *id != node.get()) {
            return Err(self.differs("is member", &node.to_string(), &id.to_string()));
        }
        match &settings.cluster {
            Some(cluster) => self.check_name(cluster),
            None => Ok(()),
        }
    }

    fn check_name(&self, cluster: &str) -> Result<(), Failure> {
        match (&self.name, &self.initial_members) {
            (Some(name), _) if name == cluster => Ok(()),
            (Some(name), _) => {
                let (ours, theirs) = (format!("{name:?}"), format!("{cluster:?}"));
                Err(self.differs("belongs to cluster", &ours, &theirs))
            }
            (None, Some(_)) if self.may_be_recovered => Ok(()),
            (None, Some(initial_members)) if !self.is_named(cluster, initial_members) => {
                let ours =
                    format!("of another name, of members {}", ids(initial_members.members()));
                Err(self.differs("belongs to a cluster", &ours, &format!("{cluster:?}")))
            }
            _ => Ok(()),
        }
    }

    fn is_named(&self, cluster: &str, initial_members: &Membership) -> bool {
        kontiki::cluster_id(cluster, initial_members) == self.identity.cluster
    }

    fn differs(&self, what: &str, ours: &str, theirs: &str) -> Failure {
        let place = self
            .dir
            .as_ref()
            .map_or("the store".to_owned(), |dir| format!("the store in {}", dir.display()));
        Failure::new(format!("{place} {what} {ours}, and the settings say {theirs}")).advise(
            "name the directory of the intended member, or correct the settings; what is left \
             out is taken from the store",
        )
    }

    fn known_members(&self) -> Option<&Membership> {
        self.initial_members.as_ref().or(self.later_members.as_ref())
    }

    /// The addresses of the cluster's members, as far as the member's own files hold them.
    pub fn members(&self) -> BTreeMap<NodeId, MemberAddresses> {
        let Some(known) = self.known_members() else { return BTreeMap::new() };
        let addresses = known
            .members()
            .filter_map(|node| Some((node, MemberAddresses::decode(known.metadata(node)?).ok()?)));
        addresses.collect()
    }

    /// Keeps the cluster's name beside the log, unless the file exists already.
    ///
    /// # Errors
    ///
    /// If the file cannot be written. The member can run without it; the next start tries again.
    pub fn record(&self, cluster: &str) -> io::Result<()> {
        match &self.dir {
            Some(dir) if self.name.is_none() => record_name(dir, &self.identity, cluster),
            _ => Ok(()),
        }
    }
}

/// Writes the file that keeps a cluster's name.
pub fn record_name(dir: &Path, identity: &Identity, cluster: &str) -> io::Result<()> {
    let record = Record {
        version: VERSION,
        node: identity.node.get(),
        cluster: cluster.to_owned(),
        cluster_id: identity.cluster.to_string(),
    };
    let text = toml::to_string(&record).expect("strings and numbers are TOML");
    owned_dir::put_whole(dir, FILE_NAME, text.as_bytes())
}

/// The cluster's name in the file in a directory, if there is one.
pub fn recorded_name(dir: &Path, identity: &Identity) -> Result<Option<String>, OriginError> {
    let path = dir.join(FILE_NAME);
    let text = match fs::read_to_string(&path) {
        Ok(text) => text,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(error) => {
            let what = format!("{} cannot be read", path.display());
            return Err(OriginError::File(Failure::of(what, &error)));
        }
    };
    let advice = "it holds only the cluster's name: if this is the right directory, remove it, \
                  and start the member once with --cluster";
    let read: Result<Record, _> = toml::from_str(&text);
    let read = read.map_err(|error| {
        let what = format!("{} is not understood", path.display());
        OriginError::File(Failure::of(what, &error).advise(advice))
    })?;
    let Identity { node, cluster, .. } = *identity;
    if read.version != VERSION {
        let text = format!("{} has version {}, not {VERSION}", path.display(), read.version);
        let failure = Failure::new(text).advise("start the member with the program that wrote it");
        return Err(OriginError::File(failure));
    }
    if read.node != node.get() || read.cluster_id != cluster.to_string() {
        let text = format!(
            "{} belongs to member {} of cluster {}, and the log beside it to member {node} of \
             cluster {cluster}",
            path.display(),
            read.node,
            read.cluster_id
        );
        return Err(OriginError::File(Failure::new(text).advise(advice)));
    }
    Ok(Some(read.cluster))
}

/// The members in the log's first entry.
async fn initial_members(log: &mut dyn Store) -> Result<Option<Membership>, LogError> {
    let first = LogIndex::new(1);
    if log.bounds().first() != first {
        return Ok(None);
    }
    let entries = log.reader().read(first..first.next(), u64::MAX).await?;
    let entry = entries.first().filter(|entry| entry.kind == EntryKind::Membership);
    Ok(entry.and_then(|entry| record::decode_membership(&entry.payload).ok()))
}

/// Whether the log of this directory may begin with the initial members of another cluster: a
/// cluster that was recovered keeps that entry, and sends it to the nodes that join.
fn may_be_recovered(dir: &Path) -> bool {
    [RECOVERED, joining::FILE_NAME].iter().any(|file| dir.join(file).exists())
}

/// The members in the newest snapshot whose head can be read. What a damaged one means is decided
/// when the member starts from its snapshots.
fn members_of_snapshot(dir: &Path) -> Option<Membership> {
    let dir = SnapshotDir::look(dir.join("snapshots"));
    let heads = dir.list().ok()?.into_iter().filter_map(|last| dir.open(last).ok());
    heads.map(|reader| reader.head().membership.clone()).next()
}

fn ids(members: impl Iterator<Item = NodeId>) -> String {
    members.map(|node| node.to_string()).collect::<Vec<_>>().join(", ")
}

/// Why the origin of a store cannot be determined.
#[derive(Debug)]
pub enum OriginError {
    /// The store failed.
    Store(LogError),
    /// The file beside it cannot be used.
    File(Failure),
}

impl From<LogError> for OriginError {
    fn from(error: LogError) -> OriginError {
        OriginError::Store(error)
    }
}

#[cfg(test)]
mod tests {
    use kontiki::LogConfig;
    use tempfile::TempDir;

    use super::*;

    fn settings(id: u64, cluster: &str, members: &[&str]) -> Settings {
        let members = members.iter().map(|text| text.parse().expect("a sound member"));
        Settings {
            id: Some(id),
            cluster: Some(cluster.to_owned()),
            members: members.collect(),
            ..Settings::default()
        }
    }

    /// A directory with the log of member 2 of the cluster "demo" of three.
    async fn initialized() -> (TempDir, Box<dyn Store>) {
        let dir = tempfile::tempdir().expect("a directory");
        let mut log = LogConfig::from_name("file", dir.path().join("log"))
            .expect("it is compiled in")
            .open()
            .expect("it opens");
        let members = ["1=a:1,a:2", "2=b:1,b:2", "3=c:1,c:2"];
        let members = settings(2, "demo", &members).members;
        let voters = members.iter().map(|member| {
            let (node, addresses) = member.checked().expect("sound");
            (node, addresses.encode())
        });
        let membership = Membership::of_voters(voters).expect("sound");
        let node = NodeId::new(2).expect("not zero");
        kontiki::bootstrap(log.as_mut(), "demo", node, &membership).await.expect("it is blank");
        (dir, log)
    }

    async fn refusal(dir: &TempDir, log: &mut dyn Store, settings: &Settings) -> String {
        let origin =
            Origin::load(Some(dir.path()), log).await.expect("sound").expect("it is initialized");
        match origin.check(settings) {
            Ok(()) => String::new(),
            Err(failure) => failure.to_string().lines().next().unwrap_or_default().to_owned(),
        }
    }

    #[tokio::test]
    async fn a_different_cluster_is_refused_and_different_addresses_are_not() {
        let (dir, mut log) = initialized().await;
        let log = log.as_mut();
        let moved = ["1=x:1,x:2", "2=b:1,b:9", "3=c:1,c:2"];
        assert_eq!(refusal(&dir, log, &settings(2, "demo", &moved)).await, "");
        assert_eq!(refusal(&dir, log, &Settings::default()).await, "");
        let message = refusal(&dir, log, &settings(3, "demo", &moved)).await;
        assert!(message.ends_with("is member 2, and the settings say 3"), "{message}");
        assert_eq!(refusal(&dir, log, &settings(2, "demo", &moved[..2])).await, "", "one has left");
        let message = refusal(&dir, log, &settings(2, "other", &moved)).await;
        assert!(
            message.contains("of members 1, 2, 3, and the settings say \"other\""),
            "{message}"
        );

        let origin =
            Origin::load(Some(dir.path()), log).await.expect("sound").expect("it is initialized");
        origin.record("demo").expect("it can be written");
        let message = refusal(&dir, log, &settings(2, "other", &moved)).await;
        assert!(message.ends_with("\"demo\", and the settings say \"other\""), "{message}");
        assert_eq!(refusal(&dir, log, &settings(2, "demo", &moved)).await, "");
    }

    /// What went wrong: a node had joined a recovered cluster, whose log begins with the members of
    /// the old one, and did not start again with the cluster's name in its settings.
    #[tokio::test]
    async fn a_member_of_a_recovered_cluster_starts_with_the_name_in_its_settings() {
        for file in [RECOVERED, joining::FILE_NAME] {
            let (dir, mut log) = initialized().await;
            let settings = Settings { cluster: Some("new".to_owned()), ..Settings::default() };
            assert_ne!(refusal(&dir, log.as_mut(), &settings).await, "");
            fs::write(dir.path().join(file), "").expect("it can be written");
            assert_eq!(refusal(&dir, log.as_mut(), &settings).await, "", "{file}");
        }
    }

    #[tokio::test]
    async fn a_file_of_another_member_is_refused() {
        let (dir, mut log) = initialized().await;
        let mut identity = log.load_identity().await.expect("readable").expect("it is initialized");
        identity.node = NodeId::new(9).expect("not zero");
        record_name(dir.path(), &identity, "demo").expect("it can be written");
        let loaded = Origin::load(Some(dir.path()), log.as_mut()).await;
        let Err(OriginError::File(failure)) = loaded else { panic!("it was accepted") };
        assert!(failure.to_string().contains("to member 9"), "{failure}");
    }

    #[test]
    fn the_file_is_as_specified() {
        let text = "version = 1\nnode = 2\ncluster = \"demo\"\ncluster_id = \"00000000000000ff\"\n";
        let record = Record {
            version: 1,
            node: 2,
            cluster: "demo".to_owned(),
            cluster_id: kontiki::types::ClusterId(255).to_string(),
        };
        assert_eq!(toml::to_string(&record).expect("it is TOML"), text);
        assert_eq!(toml::from_str::<Record>(text), Ok(record));
    }
}
