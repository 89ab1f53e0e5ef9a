//! The isolated child of ffrtmp: a fork server with one copy of itself for each attempt. Agents
//! start it; people do not.

mod settings;

use std::env;
use std::process::ExitCode;

use ffrtmp_core::engine::Engine;
use ffrtmp_core::error::{Code, Error, Result};
use ffrtmp_engines::isolated::fault::{Fault, FaultyEngine};
use ffrtmp_engines::isolated::serve;
use ffrtmp_engines::libav::{self, LibavEngine};
use ffrtmp_engines::synthetic::{Behaviour, SyntheticEngine};
use ffrtmp_governor::sandbox::{Layers, Policy};

fn main() -> ExitCode {
    run().unwrap_or_else(|error| {
        eprintln!("ffrtmp-runner: {error}\n  hint: {}", error.hint_text());
        ExitCode::from(error.code().exit_code())
    })
}

fn run() -> Result<ExitCode> {
    let Settings { engine, policy } = Settings::parse(env::args().skip(1))?;
    let sandbox = Layers::new(policy).ahead();
    match engine {
        Chosen::Libav => {
            libav::init();
            serve(LibavEngine::new, &sandbox)
        }
        Chosen::Synthetic(behaviour) => serve(|| Ok(SyntheticEngine::new(behaviour)), &sandbox),
        Chosen::Faulty(fault) => serve_faulty(FaultyEngine::new(fault)?, &sandbox),
    }
}

/// Made before standard input is taken, to be able to speak out of turn.
fn serve_faulty(engine: impl Engine, sandbox: &Layers) -> Result<ExitCode> {
    serve(|| Ok(engine), sandbox)
}

/// What the arguments say: `--sandbox on|off|require[,LAYER...]` and `--without LAYER`, which name
/// layers that are left out, and, for tests, `--synthetic BEHAVIOUR` or `--fault NAME` instead of libav.
#[derive(Debug)]
struct Settings {
    engine: Chosen,
    policy: Policy,
}

#[derive(Debug)]
enum Chosen {
    Libav,
    Synthetic(Behaviour),
    Faulty(Fault),
}

impl Settings {
    fn parse(mut args: impl Iterator<Item = String>) -> Result<Self> {
        let mut settings = Self { engine: Chosen::Libav, policy: Policy::default() };
        while let Some(flag) = args.next() {
            let value = args.next();
            settings.take(&flag, value.as_deref()).map_err(|error| error.field(flag))?;
        }
        Ok(settings)
    }

    fn take(&mut self, flag: &str, value: Option<&str>) -> Result<()> {
        if settings::take(&mut self.policy, flag, value)? {
            return Ok(());
        }
        match flag {
            "--synthetic" => self.engine = Chosen::Synthetic(behaviour(settings::given(value)?)?),
            "--fault" => self.engine = Chosen::Faulty(settings::given(value)?.parse()?),
            _ => return Err(settings::unknown("ffrtmp-runner")),
        }
        Ok(())
    }
}

fn behaviour(text: &str) -> Result<Behaviour> {
    serde_json::from_str(text).map_err(|error| Error::new(Code::InvalidField, "not a behaviour").source(error))
}

#[cfg(test)]
mod tests {
    use ffrtmp_governor::sandbox::{Layer, Mode};

    use super::*;

    fn parse(words: &str) -> Result<Settings> {
        Settings::parse(words.split_whitespace().map(str::to_owned))
    }

    #[test]
    fn arguments_choose_engine_and_sandbox() {
        let settings = parse("--sandbox require --without network --without user --fault hang").unwrap();
        assert!(matches!(settings.engine, Chosen::Faulty(Fault::Hang)));
        assert_eq!((settings.policy.mode, settings.policy.without), (Mode::Require, vec![Layer::Network, Layer::User]));
        let listed = parse("--sandbox on,landlock,seccomp").unwrap();
        assert_eq!(listed.policy.without, [Layer::Landlock, Layer::Seccomp]);
        let plain = parse("").unwrap();
        assert!(matches!((plain.engine, plain.policy.mode), (Chosen::Libav, Mode::On)));
    }

    #[test]
    fn a_wrong_argument_is_named() {
        for words in [
            "--sandbox maybe",
            "--sandbox on,glue",
            "--sandbox",
            "--without glue",
            "--fault none",
            "--help",
            "movie.mp4",
        ] {
            let error = parse(words).unwrap_err();
            assert_eq!(error.field_name(), words.split(' ').next(), "{error}");
        }
    }
}
