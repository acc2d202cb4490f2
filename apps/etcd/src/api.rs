//! The messages and services, generated from `proto/` when the crate is built.

/// etcd's own API: the services, their requests and answers.
#[allow(missing_docs, clippy::all)]
pub mod etcdserverpb {
    tonic::include_proto!("etcdserverpb");
}

/// The message that etcd's API shares with its storage: a key with its value.
#[allow(missing_docs, clippy::all)]
pub mod mvccpb {
    tonic::include_proto!("mvccpb");
}

/// The requests of Kontiki's own tools to a member.
pub mod kontiki {
    /// The first version.
    #[allow(missing_docs, clippy::all)]
    pub mod v1 {
        tonic::include_proto!("kontiki.v1");
    }
}
