//! `kontiki events`: what happens to members, one line for each event, until Ctrl-C.
//!
//! Each endpoint has a connection and a task of its own, which pass events on through one short
//! queue. If the output is too slow, the connections are not read, and the members count what this
//! reader misses.

use std::process::ExitCode;

use clap::Args;
use kontiki_etcd::Client;
use kontiki_etcd::api::kontiki::v1::AdminEvent;
use serde::Serialize;
use tokio::sync::mpsc;

use crate::arguments::Endpoints;
use crate::failure::Failure;
use crate::output::{print_json, print_line};

/// How many events may wait for the output.
const QUEUE: usize = 64;

/// Show what happens to members.
#[derive(Debug, Args)]
pub struct Events {
    /// Print a JSON object for each event.
    #[arg(long)]
    pub json: bool,
    /// End after so many events.
    #[arg(long, value_name = "N")]
    pub count: Option<u64>,
    /// The members whose events are shown.
    #[command(flatten)]
    pub to: Endpoints,
}

/// An event in the output.
#[derive(Serialize)]
struct Line<'a> {
    time: String,
    member: u64,
    kind: &'a str,
    text: &'a str,
    /// How many events were missed, if any were.
    #[serde(skip_serializing_if = "Option::is_none")]
    missed: Option<u64>,
}

/// Shows events until all members that answered have ended. Fails if none answers.
pub async fn run(events: Events) -> Result<ExitCode, Failure> {
    let (sender, mut receiver) = mpsc::channel(QUEUE);
    for endpoint in &events.to.endpoints {
        let client = Client::new([endpoint]).map_err(|error| Failure::new(error.to_string()))?;
        let client = client.with_timeout(events.to.timeout());
        tokio::spawn(pass_on(endpoint.clone(), client, sender.clone()));
    }
    drop(sender);
    let (mut shown, mut has_answered) = (0, false);
    while let Some(event) = receiver.recv().await {
        has_answered = true;
        if events.json {
            print_json(&line(&event))?;
        } else {
            print_line(&text(&event))?;
        }
        shown += 1;
        if events.count.is_some_and(|count| shown >= count) {
            return Ok(ExitCode::SUCCESS);
        }
    }
    if has_answered {
        return Ok(ExitCode::SUCCESS);
    }
    Err(Failure::new("no member answers").advise("name running members with --endpoints"))
}

/// Passes the events of one member on until its stream ends.
async fn pass_on(endpoint: String, client: Client, to: mpsc::Sender<AdminEvent>) {
    let mut events = match client.events().await {
        Ok(events) => events,
        Err(error) => return eprintln!("{endpoint} does not answer: {error}"),
    };
    loop {
        match events.message().await {
            Ok(Some(event)) if event.kind == "alive" => {}
            Ok(Some(event)) => {
                if to.send(event).await.is_err() {
                    return;
                }
            }
            Ok(None) => return eprintln!("{endpoint}: the member has ended"),
            Err(status) => return eprintln!("{endpoint}: {}", status.message()),
        }
    }
}

fn line(event: &AdminEvent) -> Line<'_> {
    Line {
        time: utc(event.unix_ms),
        member: event.member,
        kind: &event.kind,
        text: &event.text,
        missed: Some(event.missed).filter(|missed| *missed > 0),
    }
}

fn text(event: &AdminEvent) -> String {
    format!("{} member {} {}", utc(event.unix_ms), event.member, event.text)
}

/// A time in milliseconds since 1970, in the form of RFC 3339.
fn utc(unix_ms: u64) -> String {
    let (seconds, ms) = (unix_ms / 1000, unix_ms % 1000);
    let (days, second) = (seconds / 86_400, seconds % 86_400);
    let (hour, minute, second) = (second / 3600, second / 60 % 60, second % 60);
    let (mut year, mut day) = (1970, days);
    let is_leap = |year: u64| {
        year.is_multiple_of(4) && (!year.is_multiple_of(100) || year.is_multiple_of(400))
    };
    let days_of = |year| if is_leap(year) { 366 } else { 365 };
    while day >= days_of(year) {
        day -= days_of(year);
        year += 1;
    }
    let february = if is_leap(year) { 29 } else { 28 };
    let mut month = 1;
    for days in [31, february, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31] {
        if day < days {
            break;
        }
        day -= days;
        month += 1;
    }
    format!("{year:04}-{month:02}-{:02}T{hour:02}:{minute:02}:{second:02}.{ms:03}Z", day + 1)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_utc() {
        assert_eq!(utc(0), "1970-01-01T00:00:00.000Z");
        assert_eq!(utc(951_782_399_999), "2000-02-28T23:59:59.999Z");
        assert_eq!(utc(951_868_799_000), "2000-02-29T23:59:59.000Z");
        assert_eq!(utc(1_796_083_200_007), "2026-12-01T00:00:00.007Z");
        assert_eq!(utc(4_107_542_400_000), "2100-03-01T00:00:00.000Z");
    }

    #[test]
    fn an_event_is_a_sentence_or_an_object() {
        let (kind, said) = ("became".to_owned(), "leads in term 4".to_owned());
        let event = AdminEvent { member: 2, unix_ms: 7, kind, text: said, missed: 0 };
        assert_eq!(text(&event), "1970-01-01T00:00:00.007Z member 2 leads in term 4");
        let json = serde_json::to_string(&line(&event)).expect("JSON");
        let expected = concat!(
            r#"{"time":"1970-01-01T00:00:00.007Z","member":2,"kind":"became","#,
            r#""text":"leads in term 4"}"#
        );
        assert_eq!(json, expected);
    }
}
