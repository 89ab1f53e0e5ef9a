//! Raw pictures in on schedule, H.264 access units out. Peers get the pictures through a pipe, which
//! is how they are used; ours gets them by value, which is what a library is for.

use std::io::Write;
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::time::Instant;

use ffrtmp::core::media::VideoCodec;
use ffrtmp::live::{Frame, Live, Pictures, PixelFormat, Rendition};

use crate::camera::{self, Camera, FPS};
use crate::contest::{Bound, Contender, Figures, OURS, Row, quantile};
use crate::units::Heard;
use crate::{Result, Scale};

const WIDTH: usize = 1280;
const HEIGHT: usize = 720;
const PRESET: &str = "veryfast";
const KBPS: u32 = 3000;
/// Pictures that are not counted: threads start, rate control settles.
const WARM: usize = FPS as usize;
const GST: &str = "gst-launch zerolatency";
const FFMPEG: &str = "ffmpeg zerolatency";

pub(crate) fn row(scale: Scale) -> Result<Row> {
    let camera = Arc::new(Camera::new(WIDTH, HEIGHT)?);
    let count = scale.seconds * FPS;
    let (first, second, third) = (Arc::clone(&camera), Arc::clone(&camera), camera);
    let contenders = vec![
        Contender::new(OURS, move || ours(&first, count)),
        Contender::new(GST, move || peer(&mut gst(), &second, count)),
        Contender::new(FFMPEG, move || peer(&mut ffmpeg(), &third, count)),
    ];
    let bound = |figure, peer, at_most| Bound { figure, peer: Some(peer), at_most };
    let bounds = vec![
        bound("p50 ms", GST, 1.0),
        bound("p95 ms", GST, 1.0),
        bound("p50 ms", FFMPEG, 0.25),
        bound("p95 ms", FFMPEG, 0.25),
    ];
    Ok(Row { contenders, bounds })
}

fn ours(camera: &Camera, count: u64) -> Result<Figures> {
    let size = format!("{WIDTH}x{HEIGHT}").parse()?;
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build()?;
    let _inside = runtime.enter();
    let rendition = Rendition::new(VideoCodec::H264, size)?.bitrate(format!("{KBPS}k").parse()?).preset(PRESET);
    let (input, mut output) = Live::builder()
        .pictures(Pictures::Raw { format: PixelFormat::I420, size, fps: Some(FPS.to_string().parse()?) })
        .rendition(rendition.key_frames_every("2".parse()?))
        .start()?;
    let taking = runtime.spawn(async move {
        let mut complete = Vec::new();
        while let Some(sample) = output.recv().await {
            complete.push(sample.map(|_| Instant::now())?);
        }
        Ok::<_, ffrtmp::core::Error>(complete)
    });
    let mut next = camera.picture(0);
    let shown = camera::film(count, |number| {
        let picture = std::mem::take(&mut next);
        let time = std::time::Duration::from_micros(number * 1_000_000 / FPS);
        runtime.block_on(input.push_picture(Frame::new(picture, time)))?;
        next = camera.picture(number + 1);
        Ok(true)
    })?;
    input.finish();
    figures(&shown, &runtime.block_on(taking)??)
}

fn peer(command: &mut Command, camera: &Camera, count: u64) -> Result<Figures> {
    let mut child = command.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn()?;
    let (mut into, from) = child.stdin.take().zip(child.stdout.take()).ok_or("no pipes")?;
    let hearing = std::thread::spawn(move || Heard::all(from));
    let mut next = camera.picture(0);
    let shown = camera::film(count, |number| {
        into.write_all(&next)?;
        next = camera.picture(number + 1);
        Ok(true)
    })?;
    drop(into);
    let heard = hearing.join().map_err(|_| "the reader panicked")??;
    let status = child.wait()?;
    if !status.success() {
        return Err(format!("{command:?}: {status}").into());
    }
    figures(&shown, &heard.complete())
}

fn figures(shown: &[Instant], complete: &[Instant]) -> Result<Figures> {
    if shown.len() != complete.len() {
        return Err(format!("{} pictures in, {} access units out", shown.len(), complete.len()).into());
    }
    let pairs = shown.iter().zip(complete).skip(WARM);
    let added: Vec<_> = pairs.map(|(shown, made)| (*made - *shown).as_secs_f64() * 1e3).collect();
    Ok([("p50 ms", quantile(&added, 0.5)), ("p95 ms", quantile(&added, 0.95))].into())
}

fn gst() -> Command {
    let mut command = Command::new("gst-launch-1.0");
    let raw = format!("blocksize={}", WIDTH * HEIGHT * 3 / 2);
    let parse = [format!("width={WIDTH}"), format!("height={HEIGHT}"), format!("framerate={FPS}/1")];
    let rate = [format!("bitrate={KBPS}"), format!("speed-preset={PRESET}"), format!("key-int-max={}", 2 * FPS)];
    command.args(["-q", "fdsrc", "fd=0", &raw, "!", "rawvideoparse", "format=i420"]).args(parse);
    command.args(["!", "x264enc", "tune=zerolatency"]).args(rate);
    command.args(["!", "video/x-h264,stream-format=byte-stream,alignment=au", "!", "fdsink", "fd=1", "sync=false"]);
    command
}

fn ffmpeg() -> Command {
    let mut command = Command::new("ffmpeg");
    let (size, rate) = (format!("{WIDTH}x{HEIGHT}"), format!("{KBPS}k"));
    command.args(["-v", "error", "-f", "rawvideo", "-pix_fmt", "yuv420p", "-s", &size]);
    command.args(["-r", &FPS.to_string(), "-i", "pipe:0", "-c:v", "libx264", "-preset", PRESET]);
    command.args(["-tune", "zerolatency", "-b:v", &rate, "-maxrate", &rate, "-bufsize", &rate]);
    command.args(["-g", &(2 * FPS).to_string(), "-f", "h264", "pipe:1"]);
    command
}
