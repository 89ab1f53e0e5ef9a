//! Samples of one codec in, of another out: `cargo run --features gstreamer --example live_transcode`.
//!
//! The samples that go in are made by a first session, as they would come from a camera that
//! encodes, or out of a file; a second one decodes them and encodes them to VP9. Neither knows of
//! the other: what passes between them are bytes, times and the codec's parameters.

use std::time::Duration;

use ffrtmp::core::media::VideoCodec;
use ffrtmp::live::{Frame, Live, LiveInput, LiveOutput, Pictures, PixelFormat, Rendition, Sample, StreamFormat};
use ffrtmp::prelude::*;

const WIDTH: usize = 640;
const HEIGHT: usize = 360;
const PICTURES: usize = 50;

#[tokio::main]
async fn main() -> Result<()> {
    let samples = h264().await?;
    let bytes: usize = samples.iter().map(|sample| sample.data.len()).sum();

    let (input, output) = Live::builder()
        .pictures(Pictures::Coded {
            codec: VideoCodec::H264,
            format: StreamFormat::Lengths,
            config: samples.first().and_then(|first| first.config.clone()),
            fps: Some("25".parse()?),
        })
        .rendition(Rendition::new(VideoCodec::Vp9, "320x180".parse()?)?.bitrate("300k".parse()?))
        .start()?;
    let feeding = tokio::spawn(async move {
        for sample in samples {
            input.push_picture(Frame::new(sample.data, sample.pts).dts(sample.dts)).await?;
        }
        input.finish();
        Ok::<LiveInput, Error>(input)
    });
    let made = collect(output).await?;
    let input = feeding.await.map_err(|error| Error::new(Code::Internal, error.to_string()))??;

    #[expect(clippy::print_stdout, reason = "it is what the example shows")]
    {
        println!("H.264 {WIDTH}x{HEIGHT}: {PICTURES} pictures, {} kB", bytes / 1000);
        let bytes: usize = made.iter().map(|sample| sample.data.len()).sum();
        println!("VP9 320x180: {} pictures, {} kB", made.len(), bytes / 1000);
        println!("added latency: median {:.1?}", input.latency().all.p50);
    }
    Ok(())
}

/// What goes in.
async fn h264() -> Result<Vec<Sample>> {
    let size = format!("{WIDTH}x{HEIGHT}").parse()?;
    let (input, output) = Live::builder()
        .pictures(Pictures::Raw { format: PixelFormat::I420, size, fps: Some("25".parse()?) })
        .rendition(Rendition::new(VideoCodec::H264, size)?.key_frames_every("1".parse()?))
        .start()?;
    let feeding = tokio::spawn(async move {
        for index in 0..PICTURES {
            let shade = |place: usize| ((place % WIDTH / 2 + index * 4) % 220) as u8;
            let mut pixels: Vec<u8> = (0..WIDTH * HEIGHT).map(shade).collect();
            pixels.resize(WIDTH * HEIGHT * 3 / 2, 128);
            input.push_picture(Frame::new(pixels, Duration::from_millis(index as u64 * 40))).await?;
        }
        // Dropped here, the input finishes the session.
        Ok::<(), Error>(())
    });
    let samples = collect(output).await?;
    feeding.await.map_err(|error| Error::new(Code::Internal, error.to_string()))??;
    Ok(samples)
}

async fn collect(mut output: LiveOutput) -> Result<Vec<Sample>> {
    let mut samples = Vec::new();
    while let Some(sample) = output.recv().await {
        samples.push(sample?);
    }
    Ok(samples)
}
