//! Compiles the message definitions without protoc: protox parses them, prost writes the types.

use std::error::Error;

const DEFINITIONS: [&str; 3] =
    ["etcdserverpb/rpc.proto", "mvccpb/kv.proto", "kontiki/v1/admin.proto"];

fn main() -> Result<(), Box<dyn Error>> {
    println!("cargo::rerun-if-changed=proto");
    let definitions = protox::compile(DEFINITIONS, ["proto"])?;
    // Keys and values are slices of the receive buffer, instead of copies.
    tonic_prost_build::configure().bytes(".").compile_fds(definitions)?;
    Ok(())
}
