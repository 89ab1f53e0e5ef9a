//! A node, and lists of them.

use comfy_table::{Cell, Table};
use ffrtmp::core::node::{Gpu, GpuClass, GpuTelemetry, Node, Offer, Safeguard, Telemetry};

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
        ("engines", engines.join(", ")),
        ("codecs", codecs),
        ("encoders", or_unknown(&can.encoders.join(", "))),
    ];
    match &can.limits[..] {
        [] => facts.push(("enforces", or_unknown(&can.enforced_limits.join(", ")))),
        limits => facts.extend(limits.iter().map(|limit| ("limit", safeguard(limit, "enforced", "only watched")))),
    }
    facts.extend(can.sandbox.iter().map(|layer| ("sandbox", safeguard(layer, "on", "off"))));
    let now = |gpu: &Gpu| node.telemetry.gpus.iter().find(|seen| seen.index == gpu.index);
    match &about.gpus[..] {
        [] => facts.push(("gpu", if about.has_gpu { or_unknown(&about.gpu_type) } else { "none".into() })),
        gpus => facts.extend(gpus.iter().map(|gpu| ("gpu", self::gpu(gpu, now(gpu))))),
    }
    facts.push(("offers", offers(&node.offer(), about.has_gpu || !about.gpus.is_empty())));
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
fn offers(offer: &Offer, has_gpu: bool) -> String {
    let amount = |bytes: Option<u64>| bytes.map_or("an unknown amount of".to_owned(), self::bytes);
    let sessions = match offer.gpu_sessions {
        _ if !has_gpu => String::new(),
        Some(1) => ", 1 encode session".to_owned(),
        Some(sessions) => format!(", {sessions} encode sessions"),
        None => ", encode sessions without a bound".to_owned(),
    };
    format!("{} memory, {} free disk{sessions}", amount(offer.memory_bytes), amount(offer.disk_bytes))
}

fn safeguard(guard: &Safeguard, on: &str, off: &str) -> String {
    let state = if guard.on { on } else { off };
    let detail = if guard.detail.is_empty() { String::new() } else { format!(": {}", guard.detail) };
    one_line(&format!("{} {state}{detail}", guard.name))
}

/// What a graphics processor is, and how it is.
fn gpu(gpu: &Gpu, now: Option<&GpuTelemetry>) -> String {
    let mut parts = vec![format!("{}: {}", gpu.index, gpu.name)];
    parts.extend((gpu.class != GpuClass::Unknown).then(|| gpu.class.to_string()));
    parts.extend((!gpu.driver.is_empty()).then(|| format!("driver {}", gpu.driver)));
    parts.extend((!gpu.pci.is_empty()).then(|| gpu.pci.clone()));
    parts.extend((gpu.memory_total_bytes > 0).then(|| bytes(gpu.memory_total_bytes)));
    parts.extend((gpu.max_encode_sessions > 0).then(|| format!("{} encode sessions", gpu.max_encode_sessions)));
    if let Some(now) = now {
        parts.extend(now.lost.as_ref().map(|why| format!("LOST: {why}")));
        parts.extend(now.utilization_percent.map(|percent| format!("use {percent:.0}%")));
        parts.extend(now.encoder_percent.map(|percent| format!("encoders {percent:.0}%")));
        parts.extend(now.temperature_celsius.map(|degrees| format!("{degrees:.0} °C")));
        parts.extend(now.power_watts.map(|watts| format!("{watts:.0} W")));
    }
    one_line(&parts.join(", "))
}

/// Time that work waited for something: some of it, and all of it at once.
fn pressure(telemetry: &Telemetry) -> Option<String> {
    let kinds = [
        ("cpu", telemetry.cpu_pressure_avg10, telemetry.cpu_pressure_full_avg10),
        ("memory", telemetry.memory_pressure_avg10, telemetry.memory_pressure_full_avg10),
        ("io", telemetry.io_pressure_avg10, telemetry.io_pressure_full_avg10),
    ];
    let told: Vec<_> = kinds
        .into_iter()
        .filter_map(|(what, some, full)| {
            let full = full.map_or(String::new(), |full| format!(" (all {full:.1}%)"));
            Some(format!("{what} {:.1}%{full}", some?))
        })
        .collect();
    (!told.is_empty()).then(|| told.join(", "))
}

fn seen(telemetry: &Telemetry) -> Vec<(&'static str, String)> {
    let mut facts = vec![
        ("cpu use", format!("{:.0}%, load {:.2}", telemetry.cpu_percent, telemetry.load_avg_1m)),
        ("memory use", of(telemetry.memory_used_bytes, telemetry.memory_total_bytes)),
        ("disk free", of(telemetry.disk_available_bytes, telemetry.disk_total_bytes)),
    ];
    facts.extend(pressure(telemetry).map(|pressure| ("pressure", pressure)));
    if let (Some(used), Some(whole)) =
        (telemetry.swap_used_bytes, telemetry.swap_total_bytes.filter(|whole| *whole > 0))
    {
        facts.push(("swap use", of(used, whole)));
    }
    if let (Some(received), Some(sent)) =
        (telemetry.network_receive_bytes_per_second, telemetry.network_send_bytes_per_second)
    {
        facts.push(("network", format!("{}/s in, {}/s out", bytes(received as u64), bytes(sent as u64))));
    }
    facts.extend(telemetry.power_watts.map(|watts| ("power", format!("{watts:.1} W"))));
    facts.extend(telemetry.temperature_celsius.map(|degrees| ("temperature", format!("{degrees:.0} °C"))));
    facts.extend(telemetry.held_back.as_deref().map(|why| ("takes no jobs", one_line(why))));
    facts
}

fn of(part: u64, whole: u64) -> String {
    format!("{} of {}", bytes(part), bytes(whole))
}

fn or_unknown(text: &str) -> String {
    if text.is_empty() { "unknown".to_owned() } else { one_line(text) }
}
