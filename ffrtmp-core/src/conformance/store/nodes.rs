//! Nodes: registration, commands, removal.

use crate::error::Code;
use crate::id::NodeId;
use crate::node::{NodeCommand, NodeStatus, Telemetry};

use super::Harness;
use super::fixture::*;

/// The second time replaces what it said and keeps when it came and that it is drained.
pub async fn a_node_registers_once_and_again(harness: &dyn Harness) {
    let store = harness.fresh().await;
    let id = NodeId::from_u128(1);
    let (node, is_new) = store.register_node(id, about("one"), at(0)).await.expect("accepted");
    assert!(is_new && node.status == NodeStatus::Available && node.registered_at == at(0));
    store.apply_node(id, NodeCommand::Drain, at(1)).await.expect("accepted");
    let (again, is_new) = store.register_node(id, about("renamed"), at(2)).await.expect("accepted");
    assert!(!is_new && again.draining && again.registered_at == at(0) && again.last_heartbeat == at(2));
    assert_eq!(again.about.name, "renamed");
    assert_eq!(store.node(id).await.expect("stored"), again);
    assert_eq!(store.list_nodes().await.expect("answered"), [again]);
}

/// Two nodes may have the same name.
pub async fn nodes_are_listed_by_name(harness: &dyn Harness) {
    let store = harness.fresh().await;
    for (id, name) in [(1, "c"), (2, "a"), (3, "b"), (4, "a")] {
        store.register_node(NodeId::from_u128(id), about(name), at(0)).await.expect("accepted");
    }
    let names: Vec<_> = store.list_nodes().await.expect("answered").into_iter().map(|node| node.about.name).collect();
    assert_eq!(names, ["a", "a", "b", "c"]);
}

/// Each command is stored.
pub async fn commands_change_a_node(harness: &dyn Harness) {
    let store = harness.fresh().await;
    let id = NodeId::from_u128(1);
    store.register_node(id, about("one"), at(0)).await.expect("accepted");
    let telemetry = Some(Telemetry { cpu_percent: 0.1 + 0.2, power_watts: Some(1.0 / 3.0), ..Telemetry::default() });
    let steps = [
        (NodeCommand::Heartbeat { telemetry: telemetry.clone(), active_jobs: 2 }, NodeStatus::Busy),
        (NodeCommand::Drain, NodeStatus::Draining),
        (NodeCommand::Activate, NodeStatus::Busy),
        (NodeCommand::Lost, NodeStatus::Offline),
        (NodeCommand::Heartbeat { telemetry: None, active_jobs: 0 }, NodeStatus::Available),
    ];
    for (second, (command, expected)) in (1..).zip(steps) {
        let node = store.apply_node(id, command.clone(), at(second)).await.expect("accepted");
        assert_eq!(node.status, expected, "{command:?}");
        assert_eq!(store.node(id).await.expect("stored"), node);
    }
    let node = store.node(id).await.expect("stored");
    assert_eq!((node.last_heartbeat, Some(node.telemetry)), (at(5), telemetry));
}

/// It can register anew.
pub async fn a_removed_node_is_gone(harness: &dyn Harness) {
    let store = harness.fresh().await;
    let id = NodeId::from_u128(1);
    store.register_node(id, about("one"), at(0)).await.expect("accepted");
    let held = claimed(&*store).await;
    store.remove_node(id).await.expect("accepted");
    assert!(store.list_nodes().await.expect("answered").is_empty());
    assert_eq!(code(store.remove_node(id).await), Code::NodeNotFound);
    assert_eq!(stored(&*store, held.id).await, held, "its jobs keep its name");
    let (_, is_new) = store.register_node(id, about("one"), at(9)).await.expect("accepted");
    assert!(is_new);
}

/// In every call that names one.
pub async fn an_unknown_node_is_not_found(harness: &dyn Harness) {
    let store = harness.fresh().await;
    let id = NodeId::random();
    assert_eq!(code(store.node(id).await), Code::NodeNotFound);
    assert_eq!(code(store.apply_node(id, NodeCommand::Lost, at(0)).await), Code::NodeNotFound);
    assert_eq!(code(store.remove_node(id).await), Code::NodeNotFound);
}

/// Stored or refused, the node stays readable.
pub async fn telemetry_that_json_cannot_hold_does_no_harm(harness: &dyn Harness) {
    let store = harness.fresh().await;
    let id = NodeId::from_u128(1);
    store.register_node(id, about("one"), at(0)).await.expect("accepted");
    let telemetry = Some(Telemetry { load_avg_1m: f64::NAN, ..Telemetry::default() });
    let heartbeat = NodeCommand::Heartbeat { telemetry, active_jobs: 1 };
    let accepted = store.apply_node(id, heartbeat, at(1)).await.is_ok();
    let node = store.node(id).await.expect("readable");
    assert_eq!(node.active_jobs, u32::from(accepted));
    assert_eq!(store.list_nodes().await.expect("readable").len(), 1);
}
