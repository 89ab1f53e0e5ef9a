//! `ffrtmp config recommend`: settings of an agent for this machine, in shapes that an agent takes as
//! they are: JSON and YAML for its `--config`, variables for its environment.

use ffrtmp::core::{Code, Error};
use ffrtmp::governor::host::{self, HostOptions};
use ffrtmp::governor::{Abilities, HostFacts, Recommendation, probe, recommend};
use serde_json::Value;

use crate::cli::{Format, local};
use crate::console::{Console, one_line};
use crate::stop::Done;

pub(super) fn run(command: &local::Config, console: &Console) -> Done {
    let local::Config::Recommend(command) = command;
    let recommended = recommend(command.environment, &HostFacts::detect(), &abilities());
    match console.format() {
        Format::Json => console.json(&recommended),
        Format::Yaml => lines(&recommended, console, |name, value| format!("{name}: {value}")),
        Format::Bash => lines(&recommended, console, variable),
        Format::Table | Format::Text => text(&recommended, console),
    }
}

/// What this machine proves that it can do. What cannot be tried is left open.
fn abilities() -> Abilities {
    let governor = host::detect(&HostOptions::default());
    let engine = crate::local::engine();
    let known = engine.as_ref().ok().and_then(|engine| engine.try_capabilities().ok());
    let encoders = known.iter().flat_map(|known| &known.video_encoders).flat_map(|(_, encoders)| encoders);
    let disk = probe::disk::read(".".as_ref()).ok();
    Abilities {
        limits: governor.map(|governor| governor.limits()).unwrap_or_default(),
        sandbox: known.map(|known| known.sandbox.clone()).unwrap_or_default(),
        encoders: encoders.cloned().collect(),
        disk_available_bytes: disk.as_ref().map(|disk| disk.available),
        disk_total_bytes: disk.as_ref().map(|disk| disk.total),
    }
}

fn text(recommended: &Recommendation, console: &Console) -> Done {
    console.line(format_args!("recommended for {} on this machine:", recommended.environment))?;
    let mut table = console.columns(&["setting", "value", "because"]);
    for Setting { name, value, reason } in settings(recommended)? {
        table.add_row(vec![console.heading(&name), plain(&value).into(), one_line(&reason).into()]);
    }
    console.table(&table)?;
    console.line(format_args!(
        "start it: ffrtmp-agent --register --max-concurrent-jobs {} --poll-interval {}s --heartbeat-interval {}s",
        recommended.max_concurrent_jobs,
        recommended.poll_interval.as_secs(),
        recommended.heartbeat_interval.as_secs(),
    ))?;
    console.line(format_args!(
        "or all of it: ffrtmp config recommend --environment {} --output yaml > agent.yaml; ffrtmp-agent --config agent.yaml",
        recommended.environment
    ))
}

/// One line per setting, its reason as a comment before it.
fn lines(recommended: &Recommendation, console: &Console, line: fn(&str, &Value) -> String) -> Done {
    settings(recommended)?.into_iter().try_for_each(|Setting { name, value, reason }| {
        console.line(format_args!("# {}", one_line(&reason)))?;
        console.line(line(&name, &value))
    })
}

struct Setting {
    name: String,
    value: Value,
    reason: String,
}

fn settings(recommended: &Recommendation) -> Result<Vec<Setting>, Error> {
    let Ok(Value::Object(fields)) = serde_json::to_value(recommended) else {
        return Err(Error::new(Code::Internal, "the recommendation is no object"));
    };
    let setting = |(name, value): (String, Value)| {
        let reason = recommended.reasons.get(name.as_str())?.clone();
        Some(Setting { name, value, reason })
    };
    Ok(fields.into_iter().filter_map(setting).collect())
}

fn variable(name: &str, value: &Value) -> String {
    format!("export FFRTMP_{}={}", name.to_uppercase(), plain(value))
}

fn plain(value: &Value) -> String {
    value.as_str().map_or_else(|| value.to_string(), str::to_owned)
}
