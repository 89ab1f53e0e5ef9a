//! Three rungs of a 720p source with sound, from a server to a server: processor time for a second of
//! media, beside one ffmpeg that decodes once and sends the same three outputs.

use std::path::{Path, PathBuf};
use std::process::Command;

use serde_json::json;

use crate::attempt::Order;
use crate::contest::{Bound, Contender, Figures, OURS, Row};
use crate::servers::{self, RtmpServer};
use crate::{Result, Scale, sys};

const FFMPEG: &str = "one ffmpeg";
const PRESET: &str = "veryfast";
const RUNGS: [(&str, u32, u32, &str); 3] =
    [("720p", 1280, 720, "2500k"), ("480p", 854, 480, "1200k"), ("360p", 640, 360, "600k")];

pub(crate) fn row(scale: Scale) -> Result<Row> {
    let contender =
        |name, make: fn(&RtmpServer, u64) -> Result<Command>| Contender::new(name, move || turn(scale.seconds, make));
    let bounds = vec![Bound { figure: "CPU s/s", peer: Some(FFMPEG), at_most: 1.0 }];
    Ok(Row { contenders: vec![contender(OURS, ours), contender(FFMPEG, ffmpeg)], bounds })
}

fn turn(seconds: u64, make: impl Fn(&RtmpServer, u64) -> Result<Command>) -> Result<Figures> {
    let server = RtmpServer::start();
    let scratch = tempfile::tempdir()?;
    let _publisher = servers::publish(&clip(scratch.path()), "flv", &server.url("source"));
    let (usage, _) = sys::run(&mut make(&server, seconds)?)?;
    let mut shortest = f64::INFINITY;
    for (name, ..) in RUNGS {
        let recording = server.published(&format!("made_{name}"));
        let packets = recording.first().map(|path| servers::packets(path, None)).unwrap_or_default();
        let times = || packets.iter().filter(|packet| packet.is_video).map(|packet| packet.pts);
        shortest = shortest.min(times().fold(0.0, f64::max) - times().fold(f64::INFINITY, f64::min));
    }
    // Not NaN either.
    if !(shortest.is_finite() && shortest > seconds as f64 / 2.0) {
        return Err(format!("a rung is {shortest:.1} s long").into());
    }
    Ok([("CPU s/s", usage.cpu.as_secs_f64() / shortest), ("peak MiB", usage.peak as f64 / 1_048_576.0)].into())
}

/// A real clip where it is, a generated one where not.
fn clip(scratch: &Path) -> PathBuf {
    let beside = || Path::new(env!("CARGO_MANIFEST_DIR")).join("../shared/media").into();
    let real = Path::new(&std::env::var_os("FFRTMP_MEDIA").unwrap_or_else(beside)).join("bbb720.mp4");
    if real.exists() { real } else { servers::clip(scratch, "1280x720", 6) }
}

fn ours(server: &RtmpServer, seconds: u64) -> Result<Command> {
    let ladder: Vec<_> = RUNGS
        .iter()
        .map(|(name, width, height, rate)| json!({"name": name, "resolution": format!("{width}x{height}"), "bitrate": rate}))
        .collect();
    let parameters =
        json!({"codec": "h264", "preset": PRESET, "keyframe_interval": 2, "audio_bitrate": "128k", "ladder": ladder});
    Order { input: server.url("source"), push: server.url("made"), parameters, seconds }.command()
}

fn ffmpeg(server: &RtmpServer, seconds: u64) -> Result<Command> {
    let mut command = servers::ffmpeg();
    let scaled = "[0:v]split=3[v0][s1][s2];[s1]scale=854:480[v1];[s2]scale=640:360[v2]";
    command.args(["-i", &server.url("source"), "-filter_complex", scaled]);
    for (index, (.., rate)) in RUNGS.iter().enumerate() {
        command.args(["-map", &format!("[v{index}]")]);
        for what in ["b", "maxrate", "bufsize"] {
            command.args([&format!("-{what}:v:{index}"), *rate]);
        }
    }
    command.args(["-map", "0:a", "-c:v", "libx264", "-preset", PRESET, "-tune", "zerolatency", "-g", "50"]);
    command.args(["-c:a", "aac", "-b:a", "128k", "-t", &seconds.to_string(), "-flags", "+global_header", "-f", "tee"]);
    let output = |(index, (name, ..)): (usize, &(&str, u32, u32, &str))| {
        format!("[select=\\'v:{index},a:0\\':f=flv]{}", server.url(&format!("made_{name}")))
    };
    command.arg(RUNGS.iter().enumerate().map(output).collect::<Vec<_>>().join("|"));
    Ok(command)
}
