//! An application outside the workspace, whose only dependency on this project is `kontiki`, by
//! path, with a log that it selects by a feature.

use std::fs;
use std::path::Path;
use std::process::Command;

const MAIN: &str = r#"
use kontiki::{Application, InProcessNetwork, LogConfig, Membership, NodeConfig, NodeId, TypedNode};

struct Sum(u64);

impl kontiki::SnapshotState for Sum {}

impl Application for Sum {
    type Command = u64;
    type Response = u64;
    type Query = ();
    type Answer = u64;

    fn apply(&mut self, add: u64) -> u64 {
        self.0 += add;
        self.0
    }

    fn read(&self, (): ()) -> u64 {
        self.0
    }
}

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let dir = std::env::args().nth(1).ok_or("a directory is missing")?;
    let id = NodeId::new(1).ok_or("0 is not an id")?;
    let mut log = LogConfig::from_name("sqlite", &dir)?.open()?;
    let members = Membership::of_voters([(id, "".into())])?;
    kontiki::bootstrap(log.as_mut(), "outside", id, &members).await?;
    let network = InProcessNetwork::new();
    let node = TypedNode::start(NodeConfig::default(), log, network.transport(), Sum(0)).await?;
    node.node().wait_for_leader().await;
    println!("{}", node.propose(&5).await?);
    node.node().shutdown().await;
    Ok(())
}
"#;

/// Runs the application twice: the second run reads what the first wrote.
#[test]
fn an_application_outside_the_workspace_picks_its_log_by_a_feature() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let dir = tempfile::tempdir().expect("a temporary directory");
    let manifest = format!(
        "[package]\nname = \"outside\"\nversion = \"0.0.0\"\nedition = \"2024\"\n\n\
         [dependencies]\n\
         kontiki = {{ path = {root:?}, default-features = false, features = [\"sqlite\"] }}\n\
         tokio = {{ version = \"1\", features = [\"macros\", \"rt\"] }}\n\n[workspace]\n"
    );
    fs::create_dir(dir.path().join("src")).expect("made");
    fs::write(dir.path().join("Cargo.toml"), manifest).expect("written");
    fs::write(dir.path().join("src/main.rs"), MAIN).expect("written");
    // The versions that the workspace was tested with.
    fs::copy(root.join("Cargo.lock"), dir.path().join("Cargo.lock")).expect("copied");
    let data = dir.path().join("data");
    for expected in ["5\n", "10\n"] {
        let output = Command::new(env!("CARGO"))
            .args(["run", "--quiet", "--manifest-path"])
            .arg(dir.path().join("Cargo.toml"))
            .arg("--")
            .arg(&data)
            // In a folder beside the workspace's builds, so that a second run compiles nothing.
            .env("CARGO_TARGET_DIR", target().join("outside"))
            .output()
            .expect("cargo starts");
        let said = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "{said}");
        assert_eq!(String::from_utf8_lossy(&output.stdout), expected, "{said}");
    }
}

/// The folder in which this test was built.
fn target() -> std::path::PathBuf {
    let test = std::env::current_exe().expect("a test has a path");
    test.ancestors().nth(3).expect("target/PROFILE/deps/TEST").to_owned()
}
