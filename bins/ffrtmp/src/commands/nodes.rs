//! `ffrtmp nodes`: list and steer the nodes of a master.

use ffrtmp::core::id::NodeId;
use ffrtmp::core::node::Node;
use ffrtmp::core::{Code, Error, Result};
use ffrtmp::transport::http::MasterClient;
use serde_json::json;

use super::converse;
use crate::cli::Globals;
use crate::cli::nodes::Nodes;
use crate::console::Console;
use crate::describe;
use crate::stop::Done;

pub(super) fn run(command: Nodes, globals: &Globals, console: &Console) -> Done {
    converse(globals, async |client| match &command {
        Nodes::List => list(&client.nodes().await?, console),
        Nodes::Describe(one) => show(&client.node(&id(&client, &one.id).await?).await?, console),
        Nodes::Drain(one) => changed(&client.drain(&id(&client, &one.id).await?).await?, console),
        Nodes::Activate(one) => changed(&client.activate(&id(&client, &one.id).await?).await?, console),
        Nodes::Remove(one) => remove(&client, &one.id, console).await,
    })
}

fn list(nodes: &[Node], console: &Console) -> Done {
    if console.is_json() {
        return console.json(&json!({ "nodes": nodes, "count": nodes.len(), "next_cursor": null }));
    }
    if nodes.is_empty() {
        console.note("no nodes: start one with `ffrtmp-agent --register`");
        return Ok(());
    }
    console.table(&describe::node::list(nodes, console))
}

fn show(node: &Node, console: &Console) -> Done {
    if console.is_json() { console.json(node) } else { console.table(&describe::node::facts(node, console)) }
}

fn changed(node: &Node, console: &Console) -> Done {
    if console.is_json() {
        return console.json(node);
    }
    console.line(format_args!("{} {} {}", node.id, crate::console::one_line(&node.about.name), node.status))
}

async fn remove(client: &MasterClient, word: &str, console: &Console) -> Done {
    let id = id(client, word).await?;
    client.remove_node(&id).await?;
    if console.is_json() {
        return console.json(&json!({ "id": id, "removed": true }));
    }
    console.line(format_args!("{id} removed"))
}

/// The full id of a node that was named by id, unique prefix, or name.
async fn id(client: &MasterClient, word: &str) -> Result<String> {
    if word.parse::<NodeId>().is_ok() {
        return Ok(word.to_owned());
    }
    find(&client.nodes().await?, word).map(|node| node.id.to_string())
}

fn find<'a>(nodes: &'a [Node], word: &str) -> Result<&'a Node> {
    let lower = word.to_ascii_lowercase();
    let starts = |node: &&Node| word.len() >= 4 && node.id.to_string().starts_with(&lower);
    let named: Vec<_> = nodes.iter().filter(|node| node.about.name == word).collect();
    let found = if named.is_empty() { nodes.iter().filter(starts).collect() } else { named };
    match found.as_slice() {
        [node] => Ok(node),
        [] => Err(Error::new(Code::NodeNotFound, format!("no node is named {word:?}"))
            .field("ID")
            .hint("give an id, a unique prefix of at least 4 characters, or a name; `ffrtmp nodes list` shows them")),
        many => Err(Error::new(Code::InvalidField, format!("{word:?} names {} nodes", many.len()))
            .field("ID")
            .hint("give more characters of the id")),
    }
}

#[cfg(test)]
mod tests {
    use ffrtmp::core::clock::Timestamp;
    use ffrtmp::core::node::About;

    use super::*;

    #[test]
    fn nodes_are_found_by_name_or_unique_prefix() {
        let node = |id, name: &str| {
            let about = About { name: name.into(), ..About::default() };
            Node::new(NodeId::from_u128(id), about, Timestamp::default())
        };
        let nodes = [node(0xa1 << 120, "one"), node(0xa2 << 120, "two"), node(0xa2 << 120 | 1, "two")];
        assert_eq!(find(&nodes, "one").unwrap().about.name, "one");
        assert_eq!(find(&nodes, "A100").unwrap().about.name, "one");
        assert_eq!(find(&nodes, "two").unwrap_err().code(), Code::InvalidField);
        assert_eq!(find(&nodes, "a200").unwrap_err().code(), Code::InvalidField);
        assert_eq!(find(&nodes, "a1").unwrap_err().code(), Code::NodeNotFound);
    }
}
