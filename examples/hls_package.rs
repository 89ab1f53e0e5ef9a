//! A film for the web, as HLS: `cargo run --example hls_package -- IN OUT.m3u8`.
//!
//! `OUT.m3u8` is the multivariant playlist; renditions, sound and subtitles lie in the directory
//! `OUT/`, each with its own playlist. Both are published together, the playlist last: whoever finds
//! it finds every segment. Name the output `.mpd` and the same becomes DASH.

use ffrtmp::encoding::{Auto, Ladder, SegmentKind};
use ffrtmp::prelude::*;

fn main() -> Result<()> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let [input, output] = arguments.as_slice() else {
        return Err(Error::new(Code::InvalidField, "two files are needed").hint("hls_package IN OUT.m3u8"));
    };
    let parameters = Parameters {
        // 1080p, 720p, 480p and 360p, as far as the source reaches.
        ladder: Some(Ladder::Auto(Auto::Auto)),
        preset: Some("veryfast".to_owned()),
        // Segments of CMAF are the ones that HLS and DASH share; older players want `Ts`.
        segment_type: Some(SegmentKind::Fmp4),
        segment_duration: Some("4".parse()?),
        // A divisor of the segments, the same in all renditions.
        keyframe_interval: Some("2".parse()?),
        ..Parameters::default()
    };
    let report = Transcode::new(input, output).parameters(parameters).run()?;

    let bytes: u64 = report.files.iter().map(|file| file.size_bytes).sum();
    #[expect(clippy::print_stdout, reason = "it is what the example shows")]
    {
        for rendition in &report.renditions {
            println!("{}: {} at {} kb/s", rendition.name, rendition.resolution, rendition.bit_rate / 1000);
        }
        println!("{output}: {} files, {bytes} bytes", report.files.len());
    }
    Ok(())
}
