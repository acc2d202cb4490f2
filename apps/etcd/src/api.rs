//! The messages and services, generated from `proto/` when the crate is built.

/// etcd's own API: the services, their requests and answers.
#[allow(missing_docs, clippy::all)]
pub mod etcdserverpb {
    tonic::include_proto!("etcdserverpb");
}

/// What etcd's API shares with its storage: a key with its value.
#[allow(missing_docs, clippy::all)]
pub mod mvccpb {
    tonic::include_proto!("mvccpb");
}

/// What Kontiki's own tools ask a member.
pub mod kontiki {
    /// The first version of it.
    #[allow(missing_docs, clippy::all)]
    pub mod v1 {
        tonic::include_proto!("kontiki.v1");
    }
}
