//! Nodes: one JSON document each, changed under a lock of its row.

use ffrtmp_core::clock::Timestamp;
use ffrtmp_core::id::NodeId;
use ffrtmp_core::node::{About, Node, NodeCommand};
use ffrtmp_core::{Code, Error};
use sqlx::postgres::{PgConnection, PgRow};
use sqlx::{Connection, Row};

use super::fault::Fault;
use super::rows::uuid;
use crate::node_not_found;

pub(super) async fn register(
    connection: &mut PgConnection,
    id: NodeId,
    about: About,
    now: Timestamp,
) -> Result<(Node, bool), Fault> {
    let fresh = Node::new(id, about.clone(), now);
    let made = sqlx::query("INSERT INTO ffrtmp.nodes (id, document) VALUES ($1, $2) ON CONFLICT (id) DO NOTHING")
        .bind(uuid(id))
        .bind(text(&fresh)?)
        .execute(&mut *connection)
        .await?;
    if made.rows_affected() == 1 {
        return Ok((fresh, true));
    }
    let again = |node: &mut Node| {
        node.register_again(about, now);
        Ok(())
    };
    change(connection, id, again).await.map(|node| (node, false))
}

/// Stores a node as it is, in place of one of the same id.
pub(super) async fn put(connection: &mut PgConnection, node: &Node) -> Result<(), Fault> {
    let sql = "INSERT INTO ffrtmp.nodes (id, document) VALUES ($1, $2)
               ON CONFLICT (id) DO UPDATE SET document = excluded.document";
    sqlx::query(sql).bind(uuid(node.id)).bind(text(node)?).execute(connection).await?;
    Ok(())
}

pub(super) async fn apply(
    connection: &mut PgConnection,
    id: NodeId,
    command: NodeCommand,
    now: Timestamp,
) -> Result<Node, Fault> {
    change(connection, id, |node| node.apply(command, now)).await
}

async fn change(
    connection: &mut PgConnection,
    id: NodeId,
    change: impl FnOnce(&mut Node) -> ffrtmp_core::Result<()>,
) -> Result<Node, Fault> {
    let mut transaction = connection.begin().await?;
    let row = sqlx::query("SELECT document FROM ffrtmp.nodes WHERE id = $1 FOR UPDATE")
        .bind(uuid(id))
        .fetch_optional(&mut *transaction)
        .await?;
    let mut node = read(&row.ok_or_else(|| node_not_found(id))?)?;
    change(&mut node)?;
    sqlx::query("UPDATE ffrtmp.nodes SET document = $2 WHERE id = $1")
        .bind(uuid(id))
        .bind(text(&node)?)
        .execute(&mut *transaction)
        .await?;
    transaction.commit().await?;
    Ok(node)
}

pub(super) async fn find(connection: &mut PgConnection, id: NodeId) -> Result<Node, Fault> {
    let sql = "SELECT document FROM ffrtmp.nodes WHERE id = $1";
    let row = sqlx::query(sql).bind(uuid(id)).fetch_optional(connection).await?;
    read(&row.ok_or_else(|| node_not_found(id))?)
}

pub(super) async fn list(connection: &mut PgConnection) -> Result<Vec<Node>, Fault> {
    let rows = sqlx::query("SELECT document FROM ffrtmp.nodes").fetch_all(connection).await?;
    let mut nodes: Vec<Node> = rows.iter().map(read).collect::<Result<_, _>>()?;
    nodes.sort_by(|one, other| (&one.about.name, one.id).cmp(&(&other.about.name, other.id)));
    Ok(nodes)
}

pub(super) async fn remove(connection: &mut PgConnection, id: NodeId) -> Result<(), Fault> {
    let gone = sqlx::query("DELETE FROM ffrtmp.nodes WHERE id = $1").bind(uuid(id)).execute(connection).await?;
    if gone.rows_affected() == 1 { Ok(()) } else { Err(node_not_found(id).into()) }
}

fn read(row: &PgRow) -> Result<Node, Fault> {
    serde_json::from_str(row.try_get(0)?).map_err(|error| Fault::unreadable("node", "document", error))
}

/// The document of a node, proven to be readable again: JSON has no NaN.
fn text(node: &Node) -> Result<String, Fault> {
    let unstorable = |error| {
        Error::new(Code::InvalidField, "a value cannot be stored as JSON")
            .field("telemetry")
            .hint("send finite numbers")
            .source(error)
    };
    let text: String = serde_json::to_string(node).map_err(unstorable)?;
    serde_json::from_str::<Node>(&text).map_err(unstorable)?;
    Ok(text)
}
