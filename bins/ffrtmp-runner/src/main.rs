//! The isolated child of ffrtmp: runs one attempt, then ends. Agents start it; people do not.

use std::env;
use std::process::ExitCode;

use ffrtmp_core::error::{Code, Error, Result};
use ffrtmp_core::sandbox::Unconfined;
use ffrtmp_engines::isolated::fault::FaultyEngine;
use ffrtmp_engines::isolated::serve;
use ffrtmp_engines::libav::{self, LibavEngine};
use ffrtmp_engines::synthetic::{Behaviour, SyntheticEngine};

fn main() -> ExitCode {
    run().unwrap_or_else(|error| {
        eprintln!("ffrtmp-runner: {error}\n  hint: {}", error.hint_text());
        ExitCode::from(error.code().exit_code())
    })
}

/// Without arguments the engine is libav; `--synthetic BEHAVIOUR` and `--fault NAME` are for tests.
fn run() -> Result<ExitCode> {
    let args: Vec<String> = env::args().skip(1).collect();
    match args.iter().map(String::as_str).collect::<Vec<_>>()[..] {
        [] => {
            libav::init();
            serve(LibavEngine::new, &Unconfined)
        }
        ["--synthetic", behaviour] => {
            let behaviour: Behaviour = serde_json::from_str(behaviour).map_err(|error| {
                Error::new(Code::InvalidField, "not a behaviour").field("--synthetic").source(error)
            })?;
            serve(|| Ok(SyntheticEngine::new(behaviour)), &Unconfined)
        }
        ["--fault", name] => {
            let engine = FaultyEngine::new(name.parse()?)?;
            serve(|| Ok(engine), &Unconfined)
        }
        _ => Err(Error::new(Code::InvalidRequest, "ffrtmp-runner takes no arguments")
            .hint("it is started by agents; people use `ffrtmp transcode`")),
    }
}
