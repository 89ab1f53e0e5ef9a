//! A node, and lists of them.

use comfy_table::{Cell, Table};
use ffrtmp::core::node::{Node, Offer, Telemetry};

use super::quantity::{age, bytes, short};
use crate::console::{Console, one_line};

/// One row per node.
pub(crate) fn list(nodes: &[Node], console: &Console) -> Table {
    let mut table =
        console.columns(&["id", "name", "status", "jobs", "cores", "memory", "gpu", "cpu use", "heartbeat"]);
    for node in nodes {
        let about = &node.about;
        table.add_row(vec![
            Cell::new(short(node.id)),
            Cell::new(one_line(&about.name)),
            console.status(node.status),
            Cell::new(format!("{}/{}", node.active_jobs, about.max_concurrent_jobs)),
            Cell::new(about.cpu_threads),
            Cell::new(bytes(about.ram_total_bytes)),
            Cell::new(if about.has_gpu { one_line(&about.gpu_type) } else { "-".into() }),
            Cell::new(format!("{:.0}%", node.telemetry.cpu_percent)),
            Cell::new(format!("{} ago", age(node.last_heartbeat))),
        ]);
    }
    table
}

/// Everything about a node.
pub(crate) fn facts(node: &Node, console: &Console) -> Table {
    let mut table = console.facts();
    table.add_row(vec![console.heading("id"), Cell::new(node.id)]);
    table.add_row(vec![console.heading("name"), one_line(&node.about.name).into()]);
    table.add_row(vec![console.heading("status"), console.status(node.status)]);
    for (name, value) in said(node).into_iter().chain(seen(&node.telemetry)) {
        table.add_row(vec![console.heading(name), value.into()]);
    }
    table
}

fn said(node: &Node) -> Vec<(&'static str, String)> {
    let about = &node.about;
    let can = &about.capabilities;
    let engines: Vec<_> = can.engines.iter().map(|engine| engine.as_str()).collect();
    let codecs = can.video_codecs.as_ref().map_or("did not say".to_owned(), |codecs| {
        codecs.iter().map(|codec| codec.as_str()).collect::<Vec<_>>().join(", ")
    });
    let mut facts = vec![
        ("jobs", format!("{} of at most {}", node.active_jobs, about.max_concurrent_jobs)),
        ("kind", or_unknown(&about.node_type)),
        ("processor", format!("{}, {} threads", or_unknown(&about.cpu_model), about.cpu_threads)),
        ("memory", bytes(about.ram_total_bytes)),
        ("gpu", if about.has_gpu { or_unknown(&about.gpu_type) } else { "none".into() }),
        ("engines", engines.join(", ")),
        ("codecs", codecs),
        ("encoders", or_unknown(&can.encoders.join(", "))),
        ("enforces", or_unknown(&can.enforced_limits.join(", "))),
    ];
    facts.push(("offers", offers(&node.offer())));
    facts.extend(about.address.as_deref().map(|address| ("address", one_line(address))));
    facts.extend(about.version.as_deref().map(|version| ("version", one_line(version))));
    if !about.labels.is_empty() {
        let labels: Vec<_> = about.labels.iter().map(|(key, value)| format!("{key}={value}")).collect();
        facts.push(("labels", one_line(&labels.join(" "))));
    }
    facts.push(("registered", format!("{} ({} ago)", node.registered_at, age(node.registered_at))));
    facts.push(("heartbeat", format!("{} ({} ago)", node.last_heartbeat, age(node.last_heartbeat))));
    facts
}

/// What jobs are matched with beside engines, codecs, encoders and labels.
fn offers(offer: &Offer) -> String {
    let amount = |bytes: Option<u64>| bytes.map_or("an unknown amount of".to_owned(), self::bytes);
    let sessions = match offer.gpu_sessions {
        Some(1) => "1 encode session".to_owned(),
        Some(sessions) => format!("{sessions} encode sessions"),
        None => "encode sessions without a bound".to_owned(),
    };
    format!("{} memory, {} free disk, {sessions}", amount(offer.memory_bytes), amount(offer.disk_bytes))
}

fn seen(telemetry: &Telemetry) -> Vec<(&'static str, String)> {
    let mut facts = vec![
        ("cpu use", format!("{:.0}%, load {:.2}", telemetry.cpu_percent, telemetry.load_avg_1m)),
        ("memory use", of(telemetry.memory_used_bytes, telemetry.memory_total_bytes)),
        ("disk free", of(telemetry.disk_available_bytes, telemetry.disk_total_bytes)),
    ];
    facts.extend(telemetry.power_watts.map(|watts| ("power", format!("{watts:.1} W"))));
    facts.extend(telemetry.temperature_celsius.map(|degrees| ("temperature", format!("{degrees:.0} °C"))));
    facts
}

fn of(part: u64, whole: u64) -> String {
    format!("{} of {}", bytes(part), bytes(whole))
}

fn or_unknown(text: &str) -> String {
    if text.is_empty() { "unknown".to_owned() } else { one_line(text) }
}
