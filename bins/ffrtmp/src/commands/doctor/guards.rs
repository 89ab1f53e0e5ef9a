//! What holds attempts: limits by their names and means, the layers of the sandbox, graphics
//! processors and their encode sessions.

use ffrtmp::core::node::{Gpu, Safeguard};
use ffrtmp::governor::HostFacts;
use ffrtmp::governor::host::{self, HostOptions};

use super::{Finding, Standing};
use crate::describe::quantity::bytes;

pub(super) fn findings() -> Vec<Finding> {
    let mut findings = limits();
    findings.extend(sandbox());
    findings.extend(gpus(&HostFacts::detect().gpus));
    findings
}

fn limits() -> Vec<Finding> {
    match host::detect(&HostOptions::default()) {
        Ok(governor) => governor.limits().iter().map(limit).collect(),
        Err(error) => vec![Finding::not("limits", Standing::Short, error.to_string(), error.hint_text())],
    }
}

fn limit(limit: &Safeguard) -> Finding {
    let what = format!("limit {}", limit.name);
    if limit.on {
        return Finding::works(what, limit.detail.clone());
    }
    let cure = match limit.name.as_str() {
        "io" => {
            "run the agent as a service with Delegate=yes, or as root; the kernel bounds it by blkio (v1) or io (v2)"
        }
        "timeout" | "disk" => "nothing to do: the agent holds it",
        _ => "run the agent as a service with Delegate=yes, or as root",
    };
    Finding::not(what, Standing::Absent, limit.detail.clone(), cure)
}

/// The layers as a trial child found them.
fn sandbox() -> Vec<Finding> {
    let Ok(engine) = crate::local::engine() else { return Vec::new() };
    let layers = engine.try_capabilities().map(|known| known.sandbox.clone()).unwrap_or_default();
    layers.iter().map(layer).collect()
}

fn layer(layer: &Safeguard) -> Finding {
    let what = format!("sandbox {}", layer.name);
    match layer.on {
        true => Finding::works(what, layer.detail.clone()),
        false => Finding::not(
            what,
            Standing::Absent,
            layer.detail.clone(),
            "a newer kernel or fewer restrictions on this user; the other layers hold without it",
        ),
    }
}

fn gpus(gpus: &[Gpu]) -> Vec<Finding> {
    gpus.iter()
        .map(|gpu| {
            let Gpu { index, name, class, driver, memory_total_bytes, max_encode_sessions, .. } = gpu;
            let sessions = match max_encode_sessions {
                0 => "encode sessions unknown".to_owned(),
                sessions => format!("{sessions} encode sessions at once"),
            };
            Finding::works(
                format!("gpu {index}"),
                format!("{name}, {class}, driver {driver}, {}, {sessions}", bytes(*memory_total_bytes)),
            )
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_off_has_its_reason_and_a_cure() {
        let off = limit(&Safeguard::off("memory", "no delegation"));
        assert_eq!(
            (off.what.as_ref(), off.standing, off.detail.as_str()),
            ("limit memory", Standing::Absent, "no delegation")
        );
        assert!(off.cure.is_some_and(|cure| cure.contains("Delegate")));
        assert_eq!(limit(&Safeguard::on("cpu", "cgroup v2")).standing, Standing::Works);
        assert_eq!(layer(&Safeguard::on("seccomp", "")).standing, Standing::Works);
        let gpu = Gpu { index: 1, name: "Tesla T4".into(), max_encode_sessions: 8, ..Gpu::default() };
        assert!(gpus(&[gpu])[0].detail.contains("8 encode sessions"));
    }
}
