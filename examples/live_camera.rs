//! Pictures of a camera, encoded as they come: `cargo run --features gstreamer --example live_camera`.
//!
//! Forty milliseconds lie between two pictures. On the way the bit rate is halved, as for a network
//! that got worse, and a key frame is asked for, as by a viewer who joins; what the encoding added
//! to the way from the lens to the viewer is printed at the end.

use std::time::Duration;

use ffrtmp::core::media::VideoCodec;
use ffrtmp::live::{Frame, Live, LiveInput, Pictures, PixelFormat, Rendition};
use ffrtmp::prelude::*;

const WIDTH: usize = 1280;
const HEIGHT: usize = 720;
const PICTURES: u64 = 75;

#[tokio::main]
async fn main() -> Result<()> {
    let size = format!("{WIDTH}x{HEIGHT}").parse()?;
    let (input, mut output) = Live::builder()
        .pictures(Pictures::Raw { format: PixelFormat::Nv12, size, fps: Some("25".parse()?) })
        .rendition(Rendition::new(VideoCodec::H264, size)?.bitrate("3M".parse()?).key_frames_every("2".parse()?))
        .start()?;
    let camera = tokio::spawn(film(input));

    let (mut bytes, mut keys) = ([0, 0], Vec::new());
    while let Some(sample) = output.recv().await {
        let sample = sample?;
        bytes[usize::from(sample.pts >= Duration::from_secs(2))] += sample.data.len();
        if sample.is_key {
            keys.push(sample.pts.as_secs_f64());
        }
    }
    let input = camera.await.map_err(|error| Error::new(Code::Internal, error.to_string()))??;
    let latency = input.latency().all;
    #[expect(clippy::print_stdout, reason = "it is what the example shows")]
    {
        println!("{} pictures, key frames at {keys:?} s", latency.pictures);
        println!("{} kB in two seconds, then {} kB in one at half the rate", bytes[0] / 1000, bytes[1] / 1000);
        println!("added latency: median {:.1?}, 95 % below {:.1?}", latency.p50, latency.p95);
    }
    Ok(())
}

/// Pushes a picture every 40 ms, as a camera would.
async fn film(input: LiveInput) -> Result<LiveInput> {
    let mut schedule = tokio::time::interval(Duration::from_millis(40));
    for index in 0..PICTURES {
        schedule.tick().await;
        match index {
            45 => input.request_key_frame(),
            50 => input.set_bitrate(0, "1500k".parse()?)?,
            _ => {}
        }
        // Where encoding does not keep up this waits; a camera that cannot would drop the picture.
        input.push_picture(Frame::new(picture(index as usize), Duration::from_millis(index * 40))).await?;
    }
    input.finish();
    Ok(input)
}

/// A gradient that moves: brightness first, then both colours in turn, at a quarter of the size.
fn picture(index: usize) -> Vec<u8> {
    let mut pixels = vec![128; WIDTH * HEIGHT * 3 / 2];
    for (row, line) in pixels[..WIDTH * HEIGHT].chunks_exact_mut(WIDTH).enumerate() {
        line.iter_mut()
            .enumerate()
            .for_each(|(column, pixel)| *pixel = ((column / 4 + row / 2 + index * 5) % 220) as u8);
    }
    pixels
}
