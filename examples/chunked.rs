//! One film in chunks, step by step: `cargo run --example chunked -- IN OUT [CRF]`.
//!
//! `split`, `encode_chunk` and `stitch` are plain functions over values and files, so each chunk may
//! be encoded on another machine, in any order and as often as need be: the plan travels as JSON,
//! the parts as files. Here all of it happens in this process. An ordinary transcode divides the
//! pictures by itself where that is faster.

use std::path::Path;

use ffrtmp::core::engine::{MediaBounds, Source, Task, Unobserved};
use ffrtmp::core::plan::OutputRequest;
use ffrtmp::engines::LibavEngine;
use ffrtmp::engines::libav::ChunkPlan;
use ffrtmp::prelude::*;

fn main() -> Result<()> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let [input, output, rest @ ..] = arguments.as_slice() else {
        return Err(Error::new(Code::InvalidField, "two files are needed").hint("chunked IN OUT [CRF]"));
    };
    let crf = rest.first().map_or("23", String::as_str).parse()?;
    let (engine, bounds, control) = (LibavEngine::new()?, MediaBounds::default(), Control::default());
    let source = Source::File(input.into());
    let parameters = Parameters { crf: Some(crf), ..Parameters::default() };
    let container = ffrtmp::core::media::Container::from_path(output);
    let request = OutputRequest { parameters, container, ..OutputRequest::default() };
    let plan = engine.plan(&Task { source: source.clone(), output: output.into(), request, bounds, live: None })?;

    // On the machine that has the job.
    let divided = engine.split(&plan, &source, &bounds, &control)?;
    let sent = serde_json::to_string(&divided).map_err(|error| Error::new(Code::Internal, error.to_string()))?;

    // On any machine that has the source.
    let received: ChunkPlan =
        serde_json::from_str(&sent).map_err(|error| Error::new(Code::Internal, error.to_string()))?;
    let parts: Vec<_> =
        received.chunks.iter().map(|chunk| Path::new(output).with_extension(chunk.index.to_string())).collect();
    for (chunk, part) in received.chunks.iter().zip(&parts).rev() {
        let done = engine.encode_chunk(&received, chunk.index, &source, part, &bounds, &control)?;
        eprintln!("chunk {}: {} packets, {} bytes, {}", done.index, done.packets, done.bytes, done.hash);
    }

    // Where the output is wanted.
    let stitched = engine.stitch(&divided, &source, &parts, Path::new(output), &bounds, &control, &Unobserved);
    for part in &parts {
        std::fs::remove_file(part).map_err(|error| Error::new(Code::Storage, "a part stays behind").source(error))?;
    }
    let report = stitched?;
    #[expect(clippy::print_stdout, reason = "it is what the example shows")]
    {
        println!("{output}: {} frames from {} chunks, {} bytes", report.frames, parts.len(), report.size_bytes);
    }
    Ok(())
}
