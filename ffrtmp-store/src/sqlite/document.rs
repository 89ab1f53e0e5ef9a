//! Nodes as JSON, the form in which rows keep them.

use ffrtmp_core::node::Node;
use ffrtmp_core::{Code, Error};
use rusqlite::Row;

use super::fault::Fault;

/// The text of a node, proven to be readable again: JSON has no NaN and a limited depth, and one
/// unreadable row would stand in the way of every list.
pub(super) fn of_node(node: &Node) -> Result<String, Fault> {
    let text = serde_json::to_string(node).map_err(unstorable)?;
    serde_json::from_str::<Node>(&text).map_err(unstorable)?;
    Ok(text)
}

fn unstorable(error: serde_json::Error) -> Error {
    Error::new(Code::InvalidField, "a value cannot be stored as JSON")
        .field("telemetry")
        .hint("send finite numbers and values nested less than 100 deep")
        .source(error)
}

/// Reads `document`.
pub(super) fn node(row: &Row<'_>) -> Result<Node, Fault> {
    let text = row.get_ref(0)?.as_str().map_err(rusqlite::Error::from)?;
    serde_json::from_str(text).map_err(|error| Fault::Unreadable {
        what: "node",
        name: "document".to_owned(),
        source: error.into(),
    })
}
