//! Rewords the refusals of the gRPC layer as etcd's gRPC layer words them.
//!
//! A request that is longer than the limit on messages, and a request for a service or method that
//! does not exist here, never reach our services. Clients of etcd expect other texts for these
//! refusals, and for the first another code. So both are reworded before they are sent.

use tonic::codegen::http::{HeaderMap, Uri};
use tonic::{Code, Status};

/// The most bytes of one gRPC message: etcd's limit on requests, and half a MiB for the other
/// fields. A request above it is refused before it is read into memory.
pub const MAX_MESSAGE_BYTES: usize = crate::command::MAX_REQUEST_BYTES + 512 * 1024;

/// The services that exist here; some lack methods.
const SERVICES: [&str; 5] = [
    "etcdserverpb.Auth",
    "etcdserverpb.Cluster",
    "etcdserverpb.KV",
    "etcdserverpb.Maintenance",
    "kontiki.v1.Admin",
];

/// etcd's text for a refusal of the gRPC layer; `None` for all other answers.
pub(super) fn in_other_words(uri: &Uri, headers: &HeaderMap) -> Option<Status> {
    // Only a refusal has its status among the headers; other answers send it at their end.
    headers.get("grpc-status")?;
    let status = Status::from_header_map(headers)?;
    match status.code() {
        Code::Unimplemented if status.message().is_empty() => Some(unknown(uri.path())),
        Code::OutOfRange => message_too_long(status.message()),
        _ => None,
    }
}

/// The text of a Go server for a service or method that it does not have.
fn unknown(path: &str) -> Status {
    let mut parts = path.trim_start_matches('/').splitn(2, '/');
    let (service, method) = (parts.next().unwrap_or_default(), parts.next().unwrap_or_default());
    Status::unimplemented(if SERVICES.contains(&service) {
        format!("unknown method {method} for service {service}")
    } else {
        format!("unknown service {service}")
    })
}

fn message_too_long(message: &str) -> Option<Status> {
    let found = message.split_once("message length too large: found ")?.1;
    let length = found.split(' ').next()?;
    let text = format!("grpc: received message larger than max ({length} vs. {MAX_MESSAGE_BYTES})");
    Some(Status::resource_exhausted(text))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn unknown_services_and_methods_are_named() {
        let watch = unknown("/etcdserverpb.Watch/Watch");
        assert_eq!(watch.message(), "unknown service etcdserverpb.Watch");
        let add = unknown("/etcdserverpb.Cluster/MemberSing");
        assert_eq!(add.message(), "unknown method MemberSing for service etcdserverpb.Cluster");
    }
}
