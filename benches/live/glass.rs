//! Camera to screen: pictures that carry their number are published, pulled, transcoded, pushed and
//! read back. Publisher and reader are the same for everybody, and their time is in every figure.

use std::io::{Read, Write};
use std::process::{Child, ChildStdout, Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use crate::attempt::{self, Order};
use crate::camera::{self, Camera, FPS, NUMBERS};
use crate::contest::{Bound, Contender, Figures, OURS, Row, quantile};
use crate::servers::{self, RtmpServer, Running};
use crate::{Result, Scale};

const WIDTH: usize = 640;
const HEIGHT: usize = 360;
const RATE: &str = "800k";
const PRESET: &str = "veryfast";
/// Seconds that are not counted: what was waiting when the reader came arrives at once.
const SETTLE: u64 = 2;
const DEFAULT: &str = "ffmpeg, default flags";
const LOW: &str = "ffmpeg, low-latency flags";

pub(crate) fn row(scale: Scale) -> Result<Row> {
    let camera = Arc::new(Camera::new(WIDTH, HEIGHT)?);
    let contender = |name, make: fn(&str, &str) -> Result<Command>| {
        let camera = Arc::clone(&camera);
        Contender::new(name, move || turn(&camera, scale.seconds, make))
    };
    let contenders = vec![contender(OURS, ours), contender(DEFAULT, by_default), contender(LOW, low_latency)];
    let bounds = vec![
        Bound { figure: "p95 ms", peer: None, at_most: 400.0 },
        Bound { figure: "p95 ms", peer: Some(DEFAULT), at_most: 0.5 },
        Bound { figure: "p95 ms", peer: Some(LOW), at_most: 1.0 },
    ];
    Ok(Row { contenders, bounds })
}

fn turn(camera: &Arc<Camera>, seconds: u64, make: impl Fn(&str, &str) -> Result<Command>) -> Result<Figures> {
    let server = RtmpServer::start();
    let is_enough = Arc::new(AtomicBool::new(false));
    let filming = std::thread::spawn({
        let (mut publisher, camera) = (publisher(&server.url("source"))?, Arc::clone(camera));
        let is_enough = Arc::clone(&is_enough);
        move || -> Result<Vec<Instant>> {
            let mut into = publisher.stdin.take().ok_or("no pipe")?;
            let shown = camera::film(NUMBERS, |number| {
                into.write_all(&camera.picture(number))?;
                Ok(!is_enough.load(Ordering::Relaxed))
            });
            drop(into);
            publisher.wait()?;
            shown
        }
    });
    let out = server.url("made");
    let _worker = Running::start(&mut make(&server.url("source"), &out)?);
    servers::until("the output is there", Duration::from_secs(30), || {
        server.statistics().contains("<name>made</name>")
    });
    let (mut reader, screen) = reader(&out)?;
    let seen = watch(screen, ((SETTLE + seconds) * FPS) as usize);
    is_enough.store(true, Ordering::Relaxed);
    let shown = filming.join().map_err(|_| "the camera panicked")??;
    reader.kill()?;
    reader.wait()?;
    figures(&shown, &seen)
}

/// Number and time of each picture that was seen, until they are so many or there are no more.
fn watch(mut screen: ChildStdout, count: usize) -> Vec<(u64, Instant)> {
    let (mut seen, mut picture) = (Vec::new(), vec![0; WIDTH * HEIGHT * 3 / 2]);
    while seen.len() < count && screen.read_exact(&mut picture).is_ok() {
        seen.push((camera::number(&picture, WIDTH), Instant::now()));
    }
    seen
}

fn figures(shown: &[Instant], seen: &[(u64, Instant)]) -> Result<Figures> {
    let settled = seen.iter().skip((SETTLE * FPS) as usize);
    let taken = settled.filter_map(|(number, at)| Some((*at - *shown.get(*number as usize)?).as_secs_f64() * 1e3));
    let taken: Vec<_> = taken.collect();
    if taken.is_empty() {
        return Err(format!("only {} pictures were seen of {}", seen.len(), shown.len()).into());
    }
    Ok([("p50 ms", quantile(&taken, 0.5)), ("p95 ms", quantile(&taken, 0.95))].into())
}

fn publisher(url: &str) -> Result<Child> {
    let mut command = Command::new("ffmpeg");
    command.args(["-v", "error", "-f", "rawvideo", "-pix_fmt", "yuv420p", "-s", &format!("{WIDTH}x{HEIGHT}")]);
    command.args(["-r", &FPS.to_string(), "-i", "pipe:0", "-c:v", "libx264", "-preset", "ultrafast"]);
    command.args([
        "-tune",
        "zerolatency",
        "-g",
        &FPS.to_string(),
        "-b:v",
        "2M",
        "-flush_packets",
        "1",
        "-f",
        "flv",
        url,
    ]);
    Ok(command.stdin(Stdio::piped()).stdout(Stdio::null()).spawn()?)
}

fn reader(url: &str) -> Result<(Child, ChildStdout)> {
    let mut command = servers::ffmpeg();
    command.args(["-threads", "1", "-fflags", "nobuffer", "-flags", "low_delay", "-analyzeduration", "0"]);
    command.args(["-i", url, "-an", "-vsync", "passthrough", "-pix_fmt", "yuv420p", "-f", "rawvideo", "pipe:1"]);
    let mut child = command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::null()).spawn()?;
    let screen = child.stdout.take().ok_or("no pipe")?;
    Ok((child, screen))
}

fn ours(input: &str, push: &str) -> Result<Command> {
    let parameters = attempt::rendition(&format!("{WIDTH}x{HEIGHT}"), RATE, PRESET);
    Order { input: input.to_owned(), push: push.to_owned(), parameters, seconds: 3600 }.command()
}

fn by_default(input: &str, push: &str) -> Result<Command> {
    let mut command = servers::ffmpeg();
    // The one flag that is no default: a reader waits for a key frame, which is not what is measured.
    command.args(["-i", input, "-c:v", "libx264", "-b:v", RATE, "-g", "50", "-f", "flv", push]);
    Ok(command)
}

fn low_latency(input: &str, push: &str) -> Result<Command> {
    let mut command = servers::ffmpeg();
    command.args(["-fflags", "nobuffer", "-flags", "low_delay", "-analyzeduration", "0", "-i", input]);
    command.args(["-c:v", "libx264", "-preset", PRESET, "-tune", "zerolatency", "-b:v", RATE, "-g", "50"]);
    command.args(["-flush_packets", "1", "-f", "flv", push]);
    Ok(command)
}
