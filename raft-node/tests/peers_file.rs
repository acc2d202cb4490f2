//! The peers file: one frozen sample, damage, and the files that a power cut during a replacement
//! leaves.

use std::fs;
use std::io::ErrorKind;

use raft_core::types::{ClusterId, NodeId, StoreId};
use raft_node::{PeerRecord, PeerStores, PeersFile};
use tempfile::TempDir;

const CLUSTER: ClusterId = ClusterId(0x1122_3344_5566_7788);

/// Version 1, frozen: node 2 with store 0xa2, node 3 with store 0xb3.
const SAMPLE: [u8; 64] = [
    b'K', b'T', b'K', b'P', b'E', b'E', b'R', b'S', 1, 0, 0, 0, 2, 0, 0, 0, //
    0x88, 0x77, 0x66, 0x55, 0x44, 0x33, 0x22, 0x11, 2, 0, 0, 0, 0, 0, 0, 0, //
    0xa2, 0, 0, 0, 0, 0, 0, 0, 3, 0, 0, 0, 0, 0, 0, 0, //
    0xb3, 0, 0, 0, 0, 0, 0, 0, 0x16, 0x36, 0x5e, 0xf2, 0xd9, 0xc8, 0xa0, 0x12,
];

fn stores() -> PeerStores {
    let node = |number| NodeId::new(number).expect("not zero");
    PeerStores::from([(node(2), StoreId(0xa2)), (node(3), StoreId(0xb3))])
}

/// A directory whose file holds these bytes.
fn dir_with(bytes: &[u8]) -> TempDir {
    let dir = tempfile::tempdir().expect("a directory");
    fs::write(dir.path().join("peers"), bytes).expect("written");
    dir
}

#[test]
fn the_format_is_the_frozen_one() {
    let dir = tempfile::tempdir().expect("a directory");
    let file = PeersFile::in_dir(dir.path());
    assert_eq!(file.load(CLUSTER).expect("loads"), PeerStores::new(), "nothing is known yet");
    file.save(CLUSTER, &stores()).expect("saved");
    assert_eq!(fs::read(dir.path().join("peers")).expect("there"), SAMPLE);
    let frozen = dir_with(&SAMPLE);
    assert_eq!(PeersFile::in_dir(frozen.path()).load(CLUSTER).expect("loads"), stores());
}

#[test]
fn a_record_of_another_cluster_is_ignored() {
    let dir = dir_with(&SAMPLE);
    let file = PeersFile::in_dir(dir.path());
    assert_eq!(file.load(ClusterId(5)).expect("loads"), PeerStores::new());
}

#[test]
fn damage_is_reported_wherever_it_is() {
    for at in 0..SAMPLE.len() {
        let mut bytes = SAMPLE;
        bytes[at] ^= 1;
        let dir = dir_with(&bytes);
        let error = PeersFile::in_dir(dir.path()).load(CLUSTER).expect_err("damaged");
        assert_eq!(error.kind(), ErrorKind::InvalidData, "byte {at}");
        let is_version = (8..12).contains(&at);
        assert_eq!(error.to_string().contains("another version"), is_version, "byte {at}: {error}");
    }
    for length in 0..SAMPLE.len() {
        let dir = dir_with(&SAMPLE[..length]);
        PeersFile::in_dir(dir.path()).load(CLUSTER).expect_err("cut short");
    }
}

#[test]
fn an_incomplete_replacement_is_not_read() {
    let dir = dir_with(&SAMPLE);
    fs::write(dir.path().join("new.peers"), &SAMPLE[..30]).expect("written");
    let file = PeersFile::in_dir(dir.path());
    assert_eq!(file.load(CLUSTER).expect("loads"), stores());
    file.save(CLUSTER, &PeerStores::new()).expect("saved");
    assert_eq!(file.load(CLUSTER).expect("loads"), PeerStores::new());
}
