//! `ffrtmp config recommend`: settings of an agent for this machine.

use ffrtmp::core::{Code, Error};
use ffrtmp::governor::{HostFacts, Recommendation, recommend};
use serde_json::Value;

use crate::cli::{Format, local};
use crate::console::Console;
use crate::stop::Done;

pub(super) fn run(command: &local::Config, console: &Console) -> Done {
    let local::Config::Recommend(command) = command;
    let recommended = recommend(command.environment, &HostFacts::detect());
    match console.format() {
        Format::Json => console.json(&recommended),
        Format::Yaml => lines(&recommended, console, |name, value| format!("{name}: {value}")),
        Format::Bash => lines(&recommended, console, variable),
        Format::Table | Format::Text => text(&recommended, console),
    }
}

fn text(recommended: &Recommendation, console: &Console) -> Done {
    console.line(format_args!("recommended for {} on this machine:", recommended.environment))?;
    let mut table = console.facts();
    for (name, value) in [
        ("jobs at once", recommended.max_concurrent_jobs.to_string()),
        ("CPU limit per job", format!("{} % of a core", recommended.cpu_limit_percent)),
        ("memory limit per job", format!("{} MB", recommended.memory_limit_mb)),
        ("poll interval", format!("{} s", recommended.poll_interval.as_secs())),
        ("heartbeat interval", format!("{} s", recommended.heartbeat_interval.as_secs())),
    ] {
        table.add_row(vec![console.heading(name), value.into()]);
    }
    console.table(&table)?;
    recommended.reasons.iter().try_for_each(|reason| console.line(format_args!("because {reason}")))?;
    console.line(format_args!(
        "start it: ffrtmp-agent --register --max-concurrent-jobs {} --poll-interval {}s --heartbeat-interval {}s",
        recommended.max_concurrent_jobs,
        recommended.poll_interval.as_secs(),
        recommended.heartbeat_interval.as_secs(),
    ))
}

/// One line per setting, the reasons as comments before them.
fn lines(recommended: &Recommendation, console: &Console, line: fn(&str, &Value) -> String) -> Done {
    let Ok(Value::Object(fields)) = serde_json::to_value(recommended) else {
        return Err(Error::new(Code::Internal, "the recommendation is no object").into());
    };
    recommended.reasons.iter().try_for_each(|reason| console.line(format_args!("# {reason}")))?;
    let settings = fields.iter().filter(|(name, _)| *name != "reasons");
    settings.into_iter().try_for_each(|(name, value)| console.line(line(name, value)))
}

fn variable(name: &str, value: &Value) -> String {
    let value = value.as_str().map_or_else(|| value.to_string(), str::to_owned);
    format!("export FFRTMP_{}={value}", name.to_uppercase())
}
