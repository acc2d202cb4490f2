//! `kontiki put`, `get` and `del`.

use std::io::{self, Read, Write};
use std::process::ExitCode;

use kontiki_etcd::Client;
use kontiki_etcd::api::etcdserverpb::{DeleteRangeRequest, RangeRequest};
use kontiki_etcd::api::mvccpb::KeyValue;
use kontiki_etcd::client::ClientError;
use serde_json::{Value, json};

use crate::arguments::{Del, Endpoints, Get, Put};
use crate::failure::Failure;

/// Sets a key to a value.
pub async fn put(put: Put) -> Result<ExitCode, Failure> {
    let value = match put.value.as_str() {
        "-" => read_input()?,
        value => value.as_bytes().to_vec(),
    };
    let revision = client(&put.to)?.put(put.key.into_bytes(), value).await.map_err(failed)?;
    match put.json {
        true => print_line(&json!({ "revision": revision }).to_string())?,
        false => print_line("OK")?,
    }
    Ok(ExitCode::SUCCESS)
}

/// Prints the value of a key, or the keys with a prefix and their values, a line each.
pub async fn get(get: Get) -> Result<ExitCode, Failure> {
    let key = get.key.into_bytes();
    let range_end = if get.prefix { end_of_prefix(&key) } else { Vec::new() };
    let request =
        RangeRequest { key: from(&key).into(), range_end: range_end.into(), ..Default::default() };
    let answer = client(&get.to)?.get(request).await.map_err(failed)?;
    if get.json {
        let revision = answer.header.map_or(0, |header| header.revision);
        let kvs: Vec<Value> = answer.kvs.iter().map(to_json).collect();
        print_line(&json!({ "revision": revision, "kvs": kvs }).to_string())?;
        return Ok(ExitCode::SUCCESS);
    }
    if answer.kvs.is_empty() && !get.prefix {
        return Err(Failure::new("there is no such key"));
    }
    for kv in &answer.kvs {
        let line =
            if get.prefix { [&kv.key[..], b"\t", &kv.value].concat() } else { kv.value.to_vec() };
        print_bytes(&line)?;
    }
    Ok(ExitCode::SUCCESS)
}

/// Removes a key, or the keys with a prefix; prints how many there were.
pub async fn del(del: Del) -> Result<ExitCode, Failure> {
    let key = del.key.into_bytes();
    let range_end = if del.prefix { end_of_prefix(&key) } else { Vec::new() };
    let request = DeleteRangeRequest {
        key: from(&key).into(),
        range_end: range_end.into(),
        ..Default::default()
    };
    let deleted = client(&del.to)?.delete(request).await.map_err(failed)?;
    match del.json {
        true => print_line(&json!({ "deleted": deleted }).to_string())?,
        false => print_line(&deleted.to_string())?,
    }
    Ok(ExitCode::SUCCESS)
}

fn client(to: &Endpoints) -> Result<Client, Failure> {
    Ok(Client::new(&to.endpoints).map_err(failed)?.with_timeout(to.timeout()))
}

fn failed(error: ClientError) -> Failure {
    let failure = Failure::new(error.to_string());
    match error {
        ClientError::Unavailable { .. } => {
            failure.advise("is the cluster up? `kontiki status --endpoints ...` asks each member")
        }
        _ => failure,
    }
}

/// A range cannot begin with an empty key; the byte 0 stands before all others.
fn from(key: &[u8]) -> Vec<u8> {
    if key.is_empty() { vec![0] } else { key.to_vec() }
}

/// The first key after all that begin with this prefix; byte 0 alone means: no end.
fn end_of_prefix(prefix: &[u8]) -> Vec<u8> {
    let Some(last) = prefix.iter().rposition(|byte| *byte < 0xff) else { return vec![0] };
    let mut end = prefix[..=last].to_vec();
    end[last] += 1;
    end
}

fn to_json(kv: &KeyValue) -> Value {
    let mut object = json!({
        "create_revision": kv.create_revision,
        "mod_revision": kv.mod_revision,
        "version": kv.version,
    });
    for (name, bytes) in [("key", &kv.key), ("value", &kv.value)] {
        match std::str::from_utf8(bytes) {
            Ok(text) => object[name] = text.into(),
            // JSON has no bytes; what is not text is told apart by its name.
            Err(_) => object[format!("{name}_hex")] = hex(bytes).into(),
        }
    }
    object
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

fn read_input() -> Result<Vec<u8>, Failure> {
    let mut value = Vec::new();
    let read = io::stdin().read_to_end(&mut value);
    read.map_err(|error| Failure::of("the standard input cannot be read", &error))?;
    Ok(value)
}

fn print_line(text: &str) -> Result<(), Failure> {
    print_bytes(text.as_bytes())
}

/// Prints a line that may be anything. Unlike the macros this does not panic when nobody listens.
fn print_bytes(line: &[u8]) -> Result<(), Failure> {
    let mut output = io::stdout().lock();
    let written = output.write_all(line).and_then(|()| output.write_all(b"\n"));
    written.map_err(|error| Failure::of("the standard output cannot be written", &error))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_prefix_ends_where_the_next_one_begins() {
        assert_eq!(end_of_prefix(b"ab"), b"ac");
        assert_eq!(end_of_prefix(b"a\xff\xff"), b"b");
        assert_eq!(end_of_prefix(b"\xff"), b"\0");
        assert_eq!(end_of_prefix(b""), b"\0");
    }

    #[test]
    fn bytes_that_are_no_text_keep_their_value() {
        let kv = KeyValue { key: "k".into(), value: vec![0xff, 1].into(), ..KeyValue::default() };
        let json = to_json(&kv);
        assert_eq!((&json["key"], &json["value_hex"]), (&"k".into(), &"ff01".into()));
        assert_eq!(json.get("value"), None);
    }
}
