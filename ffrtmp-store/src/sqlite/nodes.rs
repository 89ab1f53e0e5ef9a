//! Writes about nodes.

use ffrtmp_core::Code;
use ffrtmp_core::clock::Timestamp;
use ffrtmp_core::id::NodeId;
use ffrtmp_core::node::{About, Node, NodeCommand};
use rusqlite::{Connection, params};

use super::document;
use super::fault::Fault;
use super::query;
use crate::node_not_found;

pub(super) fn register(
    connection: &Connection,
    id: NodeId,
    about: About,
    now: Timestamp,
) -> Result<(Node, bool), Fault> {
    let (node, is_new) = match query::node(connection, id) {
        Ok(mut node) => {
            node.register_again(about, now);
            (node, false)
        }
        Err(Fault::Refused(error)) if error.code() == Code::NodeNotFound => (Node::new(id, about, now), true),
        Err(fault) => return Err(fault),
    };
    save(connection, &node)?;
    Ok((node, is_new))
}

pub(super) fn apply(connection: &Connection, id: NodeId, command: NodeCommand, now: Timestamp) -> Result<Node, Fault> {
    let mut node = query::node(connection, id)?;
    node.apply(command, now)?;
    save(connection, &node)?;
    Ok(node)
}

pub(super) fn remove(connection: &Connection, id: NodeId) -> Result<(), Fault> {
    let removed = connection.prepare_cached("DELETE FROM nodes WHERE id = ?1")?.execute([id.to_string()])?;
    if removed == 0 { Err(node_not_found(id).into()) } else { Ok(()) }
}

pub(super) fn save(connection: &Connection, node: &Node) -> Result<(), Fault> {
    connection
        .prepare_cached(
            "INSERT INTO nodes VALUES (?1, ?2, ?3)
             ON CONFLICT (id) DO UPDATE SET name = excluded.name, document = excluded.document",
        )?
        .execute(params![node.id.to_string(), node.about.name, document::of_node(node)?])?;
    Ok(())
}
