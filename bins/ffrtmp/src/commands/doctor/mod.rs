//! `ffrtmp doctor`: what this machine can do, what is missing, and which Debian package brings it.
//! Encoders are proven by a test encode each, not by a device name.

mod codecs;
mod guards;
mod host;

use std::borrow::Cow;

use ffrtmp::core::{Code, Error};
use serde::Serialize;
use serde_json::json;

use super::converse;
use crate::cli::Globals;
use crate::config::{Settings, Surroundings};
use crate::console::Console;
use crate::stop::Done;

/// How one thing stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
enum Standing {
    /// It works.
    Works,
    /// It is not there; transcoding works without it.
    Absent,
    /// It will make trouble.
    Short,
    /// Transcoding does not work without it.
    Missing,
}

/// One thing that was looked at.
#[derive(Debug, Serialize)]
struct Finding {
    what: Cow<'static, str>,
    standing: Standing,
    detail: String,
    /// What brings it or mends it.
    #[serde(skip_serializing_if = "Option::is_none")]
    cure: Option<String>,
}

impl Finding {
    fn works(what: impl Into<Cow<'static, str>>, detail: impl Into<String>) -> Self {
        Self { what: what.into(), standing: Standing::Works, detail: detail.into(), cure: None }
    }

    fn not(
        what: impl Into<Cow<'static, str>>,
        standing: Standing,
        detail: impl Into<String>,
        cure: impl Into<String>,
    ) -> Self {
        Self { what: what.into(), standing, detail: detail.into(), cure: Some(cure.into()) }
    }
}

pub(super) fn run(globals: &Globals, console: &Console) -> Done {
    let mut findings = codecs::findings();
    findings.extend(host::findings());
    findings.extend(guards::findings());
    findings.extend(master(globals));
    show(&findings, console)?;
    match findings.iter().find(|finding| finding.standing == Standing::Missing) {
        None => Ok(()),
        Some(finding) => {
            Err(Error::new(Code::CodecUnavailable, format!("transcoding does not work: {}", finding.detail))
                .field(finding.what.to_string())
                .hint(finding.cure.clone().unwrap_or_default())
                .into())
        }
    }
}

fn show(findings: &[Finding], console: &Console) -> Done {
    if console.is_json() {
        let works = findings.iter().all(|finding| finding.standing != Standing::Missing);
        return console.json(&json!({ "transcoding_works": works, "findings": findings }));
    }
    let mut table = console.columns(&["", "what", "found", "to get it"]);
    for finding in findings {
        let (word, color) = match finding.standing {
            Standing::Works => ("ok", comfy_table::Color::Green),
            Standing::Absent => ("-", comfy_table::Color::Reset),
            Standing::Short => ("short", comfy_table::Color::Yellow),
            Standing::Missing => ("MISSING", comfy_table::Color::Red),
        };
        table.add_row(vec![
            console.tinted(word, color),
            finding.what.as_ref().into(),
            crate::console::one_line(&finding.detail).into(),
            finding.cure.as_deref().unwrap_or_default().into(),
        ]);
    }
    console.table(&table)
}

/// Asks the master for its health where one is configured.
fn master(globals: &Globals) -> Vec<Finding> {
    const WHAT: &str = "master";
    let settings = match Surroundings::of_process().and_then(|around| Settings::load(globals, &around)) {
        Ok(settings) if settings.master.origin == "default" => return Vec::new(),
        Ok(settings) => settings,
        Err(error) => return vec![Finding::not(WHAT, Standing::Short, error.to_string(), error.hint_text())],
    };
    let asked = converse(globals, async |client| {
        let health = client.health().await?;
        // Health needs no key; a list does.
        client.nodes().await?;
        Ok(health)
    });
    let address = settings.master.value;
    vec![match asked {
        Ok(health) => Finding::works(WHAT, format!("{address} is {}, version {}", health.status, health.version)),
        Err(crate::stop::Stop::Failed(error)) => {
            Finding::not(WHAT, Standing::Short, format!("{address}: {error}"), error.hint_text())
        }
        Err(_) => Finding::not(WHAT, Standing::Short, format!("{address} did not answer"), "see --master"),
    }]
}
