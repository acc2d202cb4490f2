//! Masks values that may differ between two servers, before their outputs are compared.

/// Fields of JSON whose values are exempt.
const JSON_FIELDS: [&str; 18] = [
    "cluster_id",
    "member_id",
    "raft_term",
    "ID",
    "name",
    "peerURLs",
    "clientURLs",
    "Endpoint",
    "endpoint",
    "took",
    "leader",
    "raftIndex",
    "raftAppliedIndex",
    "raftTerm",
    "dbSize",
    "dbSizeInUse",
    // Of the log lines that etcdctl writes about failures:
    "ts",
    "target",
];

/// Lines of the form "fields" whose values are exempt.
const LINE_FIELDS: [&str; 14] = [
    "ClusterID",
    "MemberID",
    "RaftTerm",
    "Term",
    "ID",
    "Name",
    "PeerURL",
    "ClientURL",
    "Endpoint",
    "Leader",
    "RaftIndex",
    "RaftAppliedIndex",
    "DBSize",
    "DBSizeInUse",
];

/// In the rows that describe an endpoint, the columns that are exempt: endpoint, id, size, whether
/// it leads, term, and the two indices.
const STATUS_COLUMNS: [usize; 7] = [0, 1, 3, 4, 6, 7, 8];
/// In the rows that describe an endpoint's health: the endpoint, and the time that it took.
const HEALTH_COLUMNS: [usize; 2] = [0, 2];
/// In the rows that describe a member: id, name and the two addresses.
const MEMBER_COLUMNS: [usize; 4] = [0, 2, 3, 4];

/// Masks an output, given as escaped text with `\n` at the ends of lines.
pub fn all(escaped: &str) -> String {
    // If etcdctl itself panics, the addresses in its stack trace differ from run to run.
    let reported = escaped.split("goroutine ").next().unwrap_or_default();
    let lines = reported.split("\\n");
    let masked = lines.map(|masked| line(&json(&masked.replace("\\\"", "\""))));
    masked.collect::<Vec<_>>().join("\n")
}

fn json(text: &str) -> String {
    let mut masked = text.to_owned();
    for field in JSON_FIELDS {
        masked = values_after(&masked, &format!("\"{field}\":"));
    }
    masked
}

/// Replaces the number, string or list after each `marker`.
fn values_after(text: &str, marker: &str) -> String {
    let mut parts = text.split(marker);
    let mut masked = parts.next().unwrap_or_default().to_owned();
    for part in parts {
        let end = match part.as_bytes().first() {
            Some(b'"') => part[1..].find('"').map_or(part.len(), |end| end + 2),
            Some(b'[') => part.find(']').map_or(part.len(), |end| end + 1),
            _ => part.find([',', '}']).unwrap_or(part.len()),
        };
        masked += marker;
        masked.push('_');
        masked += &part[end..];
    }
    masked
}

/// Masks each address on the loopback device, on which both listen.
fn addresses(text: &str) -> String {
    let mut parts = text.split("127.0.0.1:");
    let mut masked = parts.next().unwrap_or_default().to_owned();
    for part in parts {
        masked.push('_');
        masked += part.trim_start_matches(|letter: char| letter.is_ascii_digit());
    }
    masked
}

fn line(text: &str) -> String {
    let text = &addresses(text);
    let field = text.split_once(" : ").map(|(name, _)| name.trim_matches('"'));
    if let Some(field) = field.filter(|field| LINE_FIELDS.contains(field)) {
        return format!("{field} : _");
    }
    if text.starts_with("+--") {
        return "+--".to_owned();
    }
    if text.contains(" is healthy: ") || text.starts_with("\"Took\"") {
        return text.split(['=', '"']).next().unwrap_or_default().to_owned();
    }
    let cells: Vec<&str> = match text.strip_prefix('|') {
        // Without the empty part after the last bar.
        Some(row) => row.trim_end_matches('|').split('|').map(str::trim).collect(),
        None => text.split(", ").collect(),
    };
    match cells[..] {
        [_, "true", _, ""] | ["ENDPOINT", "HEALTH", ..] | ["ID", "STATUS", ..] => {
            columns(&cells, &HEALTH_COLUMNS)
        }
        [_, _, _, _, _, _, _, _, _, _, ..] => columns(&cells, &STATUS_COLUMNS),
        [_, "started", _, _, _, _] => columns(&cells, &MEMBER_COLUMNS),
        _ => text.clone(),
    }
}

fn columns(cells: &[&str], exempt: &[usize]) -> String {
    let cells = cells.iter().enumerate();
    // A heading stays; it is not a value.
    let masked = cells.map(|(column, cell)| {
        let is_heading = cell.chars().all(|letter| letter.is_ascii_uppercase() || letter == ' ');
        if exempt.contains(&column) && !is_heading { "_" } else { cell }
    });
    masked.collect::<Vec<_>>().join(", ")
}
