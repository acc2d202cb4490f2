//! `kontiki put`, `get` and `del`.

use std::io::{self, Read};
use std::os::unix::ffi::OsStringExt;
use std::process::ExitCode;
use std::time::Duration;

use kontiki_etcd::Client;
use kontiki_etcd::api::etcdserverpb::{DeleteRangeRequest, RangeRequest};
use kontiki_etcd::api::kontiki::v1::AdminStatusResponse;
use kontiki_etcd::api::mvccpb::KeyValue;
use kontiki_etcd::client::ClientError;
use serde_json::{Value, json};
use tokio::time::timeout;

use crate::arguments::{Del, Endpoints, Get, Put};
use crate::failure::Failure;
use crate::output::{print_bytes, print_json, print_line};

/// The time limit for asking the members for their status, to explain a failure.
const EXPLAIN_WITHIN: Duration = Duration::from_secs(2);

/// Sets a key to a value.
pub async fn put(put: Put) -> Result<ExitCode, Failure> {
    let value = if put.value == "-" { read_input()? } else { put.value.into_vec() };
    let mut client = client(&put.to)?;
    let revision = match client.put(put.key.into_vec(), value).await {
        Ok(revision) => revision,
        Err(error) => return Err(failed(&client, error).await),
    };
    if put.json {
        print_json(&json!({ "revision": revision }))?;
    } else {
        print_line("OK")?;
    }
    Ok(ExitCode::SUCCESS)
}

/// Prints the value of a key, or the keys with a prefix and their values, one per line. The exit
/// status is 1 if a key does not exist, in JSON as well; a prefix without keys is a success.
pub async fn get(get: Get) -> Result<ExitCode, Failure> {
    let key = get.key.into_vec();
    let range_end = if get.prefix { end_of_prefix(&key) } else { Vec::new() };
    let request =
        RangeRequest { key: from(&key).into(), range_end: range_end.into(), ..Default::default() };
    let mut client = client(&get.to)?;
    let answer = match client.get(request).await {
        Ok(answer) => answer,
        Err(error) => return Err(failed(&client, error).await),
    };
    let is_missing = answer.kvs.is_empty() && !get.prefix;
    if get.json {
        let revision = answer.header.map_or(0, |header| header.revision);
        let kvs: Vec<Value> = answer.kvs.iter().map(to_json).collect();
        print_json(&json!({ "revision": revision, "kvs": kvs }))?;
        return Ok(if is_missing { ExitCode::FAILURE } else { ExitCode::SUCCESS });
    }
    if is_missing {
        return Err(Failure::new("the key does not exist"));
    }
    for kv in &answer.kvs {
        let key = if get.prefix { [&kv.key[..], b"\t"].concat() } else { Vec::new() };
        print_bytes(&[&key, &kv.value[..], b"\n"].concat())?;
    }
    Ok(ExitCode::SUCCESS)
}

/// Removes a key, or the keys with a prefix; prints how many were removed.
pub async fn del(del: Del) -> Result<ExitCode, Failure> {
    let key = del.key.into_vec();
    let range_end = if del.prefix { end_of_prefix(&key) } else { Vec::new() };
    let request = DeleteRangeRequest {
        key: from(&key).into(),
        range_end: range_end.into(),
        ..Default::default()
    };
    let mut client = client(&del.to)?;
    let deleted = match client.delete(request).await {
        Ok(deleted) => deleted,
        Err(error) => return Err(failed(&client, error).await),
    };
    if del.json {
        print_json(&json!({ "deleted": deleted }))?;
    } else {
        print_line(&deleted.to_string())?;
    }
    Ok(ExitCode::SUCCESS)
}

fn client(to: &Endpoints) -> Result<Client, Failure> {
    let client = Client::new(&to.endpoints).map_err(|error| Failure::new(error.to_string()))?;
    Ok(client.with_timeout(to.timeout()))
}

/// The failure for an error, with the members' status if that explains it.
async fn failed(client: &Client, error: ClientError) -> Failure {
    let failure = Failure::new(error.to_string());
    let is_explained = matches!(error, ClientError::Refused(_) | ClientError::BadEndpoint(_));
    if is_explained {
        return failure;
    }
    let statuses = timeout(EXPLAIN_WITHIN, client.status()).await.unwrap_or_default();
    let answers: Vec<_> = statuses.iter().filter_map(|one| one.status.as_ref().ok()).collect();
    failure.advise(explain(&answers, client.timeout()))
}

/// One sentence on why no request can be carried out, from the members that answered.
fn explain(answers: &[&AdminStatusResponse], timeout: Duration) -> String {
    let Some(first) = answers.first() else {
        return "no member answers: is the cluster up, and are these its endpoints? \
                `kontiki status --endpoints ...` asks each"
            .to_owned();
    };
    let voters: Vec<u64> =
        first.members.iter().filter(|member| !member.learner).map(|member| member.id).collect();
    let alive = voters.iter().filter(|id| answers.iter().any(|one| one.id == **id)).count();
    let needed = voters.len() / 2 + 1;
    let leader = answers.iter().find(|one| one.leader != 0).map(|one| one.leader);
    match leader {
        _ if alive < needed => format!(
            "no leader: {alive} of {} members answer, and {needed} are needed to elect one; start \
             the others, or name their endpoints too",
            voters.len()
        ),
        None => format!(
            "no leader: {alive} of {} members answer and have not elected one yet; try again",
            voters.len()
        ),
        Some(leader) => format!(
            "member {leader} leads and {alive} of {} members answer, but none answered the request \
             within {timeout:?}; try again, or wait longer with --timeout",
            voters.len()
        ),
    }
}

/// The first key of a range. It must not be empty; the byte 0 sorts before all other keys.
fn from(key: &[u8]) -> Vec<u8> {
    if key.is_empty() { vec![0] } else { key.to_vec() }
}

/// The first key after all keys with this prefix; byte 0 alone means that the range has no end.
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
            // JSON has no byte strings; a value that is not text gets a different field name.
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

#[cfg(test)]
mod tests {
    use kontiki_etcd::api::kontiki::v1::AdminMember;

    use super::*;

    #[test]
    fn a_prefix_ends_where_the_next_one_begins() {
        assert_eq!(end_of_prefix(b"ab"), b"ac");
        assert_eq!(end_of_prefix(b"a\xff\xff"), b"b");
        assert_eq!(end_of_prefix(b"\xff"), b"\0");
        assert_eq!(end_of_prefix(b""), b"\0");
    }

    #[test]
    fn a_missing_majority_is_distinguished_from_an_election() {
        let members = (1..=3).map(|id| AdminMember { id, ..AdminMember::default() }).collect();
        let one = AdminStatusResponse { id: 1, members, ..AdminStatusResponse::default() };
        let two = AdminStatusResponse { id: 2, ..one.clone() };
        let explained = |answers: &[&AdminStatusResponse]| explain(answers, Duration::from_secs(5));
        assert!(explained(&[]).starts_with("no member answers"));
        assert!(
            explained(&[&one]).starts_with("no leader: 1 of 3 members answer, and 2 are needed")
        );
        assert!(
            explained(&[&one, &two]).starts_with("no leader: 2 of 3 members answer and have not")
        );
        let led = AdminStatusResponse { leader: 2, ..one.clone() };
        assert!(
            explained(&[&led]).starts_with("no leader: 1 of 3"),
            "the member knows a leader that does not answer"
        );
        assert!(explained(&[&led, &two]).starts_with("member 2 leads and 2 of 3 members answer"));
    }

    #[test]
    fn bytes_that_are_not_text_are_shown_as_hex() {
        let kv = KeyValue { key: "k".into(), value: vec![0xff, 1].into(), ..KeyValue::default() };
        let json = to_json(&kv);
        assert_eq!((&json["key"], &json["value_hex"]), (&"k".into(), &"ff01".into()));
        assert_eq!(json.get("value"), None);
    }
}
