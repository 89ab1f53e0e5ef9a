//! The isolated child of ffrtmp for live work: the fork server of `ffrtmp-runner` with the engine of
//! GStreamer. Agents start it; people do not.

#[path = "../settings.rs"]
mod settings;

use std::env;
use std::process::ExitCode;

use ffrtmp_core::error::Result;
use ffrtmp_engines::gstreamer::{self, GstreamerEngine};
use ffrtmp_engines::isolated::serve;
use ffrtmp_engines::libav;
use ffrtmp_governor::sandbox::{Layers, Policy};

/// As agents name it.
const PROGRAM: &str = "ffrtmp-runner-gstreamer";

fn main() -> ExitCode {
    run().unwrap_or_else(|error| {
        eprintln!("{PROGRAM}: {error}\n  hint: {}", error.hint_text());
        ExitCode::from(error.code().exit_code())
    })
}

fn run() -> Result<ExitCode> {
    let sandbox = Layers::new(policy(env::args().skip(1))?);
    libav::init();
    // Every child is a copy of this process, with all that was loaded into it.
    serve(|| gstreamer::preload().and_then(|()| GstreamerEngine::new()), &sandbox)
}

fn policy(mut args: impl Iterator<Item = String>) -> Result<Policy> {
    let mut policy = Policy::default();
    while let Some(flag) = args.next() {
        let value = args.next();
        let known = settings::take(&mut policy, &flag, value.as_deref());
        if !known.map_err(|error| error.field(&*flag))? {
            return Err(settings::unknown(PROGRAM).field(flag));
        }
    }
    Ok(policy)
}

#[cfg(test)]
mod tests {
    use ffrtmp_governor::sandbox::{Layer, Mode};

    use super::*;

    #[test]
    fn arguments_choose_the_sandbox() {
        let parse = |words: &str| policy(words.split_whitespace().map(str::to_owned));
        let policy = parse("--sandbox require,landlock --without user").unwrap();
        assert_eq!((policy.mode, policy.without), (Mode::Require, vec![Layer::Landlock, Layer::User]));
        for words in ["--sandbox maybe", "--without", "--fault hang"] {
            assert_eq!(parse(words).unwrap_err().field_name(), words.split(' ').next(), "{words}");
        }
    }
}
