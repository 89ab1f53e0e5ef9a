//! Several sizes of one film from one decode: `cargo run --example ladder -- IN OUT.mp4 [LADDER]`.
//!
//! Each rendition is scaled from the one above it, and their key frames are at the same times, so
//! that a player can change between them. They appear together: `OUT.mp4` has the largest, the
//! others lie beside it as `OUT_NAME.mp4`.

use ffrtmp::encoding::{Ladder, Rendition};
use ffrtmp::prelude::*;

fn main() -> Result<()> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let [input, output, rest @ ..] = arguments.as_slice() else {
        return Err(Error::new(Code::InvalidField, "two files are needed").hint("ladder IN OUT.mp4 [LADDER]"));
    };
    let ladder = match rest.first() {
        // Such as `auto`, or `1080p:5M,720p:crf23`.
        Some(text) => text.parse()?,
        None => two_qualities()?,
    };
    let parameters = Parameters { ladder: Some(ladder), preset: Some("veryfast".to_owned()), ..Parameters::default() };
    let transcode = Transcode::new(input, output).parameters(parameters);

    // A plan is a plain value: nothing is read beyond the header and nothing is written.
    let plan = transcode.plan()?;
    let sizes: Vec<String> = plan.renditions().iter().map(|rendition| rendition.size.to_string()).collect();
    eprintln!("planned: {}", sizes.join(", "));

    let report = transcode.run()?;
    #[expect(clippy::print_stdout, reason = "it is what the example shows")]
    {
        for (rendition, file) in report.renditions.iter().zip(&report.files) {
            let kbps = rendition.bit_rate / 1000;
            println!(
                "{}: {} {}, {} frames, {kbps} kb/s",
                rendition.name, file.path, rendition.resolution, rendition.frames
            );
        }
        println!("{:.1} s of film in {:.1} s", report.duration_seconds, report.wall_seconds);
    }
    Ok(())
}

/// The same list as values.
fn two_qualities() -> Result<Ladder> {
    Ok(Ladder::Renditions(vec![
        Rendition {
            name: Some("good".to_owned()),
            resolution: Some("720p".parse()?),
            crf: Some("21".parse()?),
            ..Rendition::default()
        },
        Rendition {
            name: Some("small".to_owned()),
            resolution: Some("360p".parse()?),
            bitrate: Some("600k".parse()?),
            ..Rendition::default()
        },
    ]))
}
