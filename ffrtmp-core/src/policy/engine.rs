//! Which engine runs a job, and why.

use crate::job::{EngineChoice, EngineName, Queue};
use crate::scenario::Scenario;

/// An engine and the reason for it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Chosen {
    /// The engine.
    pub engine: EngineName,
    /// Why, in words.
    pub reason: String,
}

/// Chooses the engine of a job.
#[must_use]
pub fn choose(
    asked: EngineChoice,
    queue: Queue,
    scenario: &Scenario,
    input: Option<&str>,
    output: Option<&str>,
) -> Chosen {
    let _ = (queue, scenario, input, output);
    match asked {
        EngineChoice::Gstreamer => Chosen { engine: EngineName::Gstreamer, reason: "asked for".into() },
        EngineChoice::Ffmpeg | EngineChoice::Auto => Chosen { engine: EngineName::Ffmpeg, reason: "asked for".into() },
    }
}
