//! Our engine in a child of the bench: a live task from one server to another.

use std::path::PathBuf;
use std::process::{Command, ExitCode};

use ffrtmp::core::engine::{Control, Engine, Observer, Progress, Source, Task};
use ffrtmp::core::live::{Endpoint, LiveEvent, LiveEventKind, LiveRules, LiveTask};
use ffrtmp::engines::GstreamerEngine;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::Result;

/// First argument of a child.
pub(crate) const FLAG: &str = "--attempt";

/// What a child is to do.
#[derive(Serialize, Deserialize)]
pub(crate) struct Order {
    pub(crate) input: String,
    pub(crate) push: String,
    pub(crate) parameters: Value,
    /// Seconds from the first output to the end.
    pub(crate) seconds: u64,
}

impl Order {
    pub(crate) fn command(&self) -> Result<Command> {
        let mut command = Command::new(std::env::current_exe()?);
        command.args([FLAG, &serde_json::to_string(self)?]);
        Ok(command)
    }
}

/// The child: runs the task, and says its report.
pub(crate) fn main(order: &str) -> ExitCode {
    match obey(order) {
        Ok(report) => {
            println!("{report}");
            ExitCode::SUCCESS
        }
        Err(error) => {
            eprintln!("ours: {error}");
            ExitCode::FAILURE
        }
    }
}

fn obey(order: &str) -> Result<String> {
    let order: Order = serde_json::from_str(order)?;
    let source = Source::Live(Endpoint::parse(&order.input, "input")?);
    let mut task = Task::new(source, PathBuf::from("unused"), "live-rtmp".parse()?);
    task.request.parameters = serde_json::from_value(order.parameters)?;
    let push = vec![Endpoint::parse(&order.push, "output")?];
    task.live = Some(LiveTask { push, record: false, rules: LiveRules::default() });
    let (control, (started, starts)) = (Control::default(), std::sync::mpsc::channel());
    let report = std::thread::scope(|scope| {
        let ending = control.clone();
        scope.spawn(move || {
            // The sender is gone when the attempt ended before there was output.
            if starts.recv().is_ok() {
                std::thread::sleep(std::time::Duration::from_secs(order.seconds));
                ending.finish();
            }
        });
        GstreamerEngine::new()?.run(&task, &control, &Starts(started))
    })?;
    Ok(serde_json::to_string(&report)?)
}

/// Tells of the first output.
struct Starts(std::sync::mpsc::Sender<()>);

impl Observer for Starts {
    fn progress(&self, _: Progress) {}

    fn log(&self, level: &str, text: &str) {
        eprintln!("{level}: {text}");
    }

    fn event(&self, event: &LiveEvent) {
        if event.kind == LiveEventKind::OutputStarted {
            // Only the first is waited for.
            let _ = self.0.send(());
        }
    }
}

/// What is common to tasks of the rows: one rendition that holds nothing back.
pub(crate) fn rendition(size: &str, rate: &str, preset: &str) -> Value {
    serde_json::json!({"codec": "h264", "resolution": size, "bitrate": rate, "preset": preset, "keyframe_interval": 2})
}
