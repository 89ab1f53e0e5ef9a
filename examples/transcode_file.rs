//! One file to another: `cargo run --example transcode_file -- IN OUT [SCENARIO]`.

use ffrtmp::prelude::*;

/// Prints how far it is, once per percent.
struct Percent(std::sync::atomic::AtomicU64);

impl Observer for Percent {
    fn progress(&self, progress: Progress) {
        let percent = progress.percent.unwrap_or(0.0) as u64;
        if self.0.swap(percent, std::sync::atomic::Ordering::Relaxed) != percent {
            eprintln!("{percent} % at {:.1}x", progress.speed);
        }
    }

    fn log(&self, level: &str, text: &str) {
        eprintln!("{level}: {text}");
    }
}

fn main() -> Result<()> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let [input, output, rest @ ..] = arguments.as_slice() else {
        return Err(Error::new(Code::InvalidField, "two files are needed").hint("transcode_file IN OUT [SCENARIO]"));
    };
    let scenario: Scenario = rest.first().map_or(Ok(Scenario::default()), |text| text.parse())?;
    let report = Transcode::new(input, output).scenario(scenario).run_observed(&Percent(u64::MAX.into()))?;
    #[expect(clippy::print_stdout, reason = "it is what the example shows")]
    {
        println!("{output}: {} frames, {} bytes, {:.1}x", report.frames, report.size_bytes, report.speed);
    }
    Ok(())
}
