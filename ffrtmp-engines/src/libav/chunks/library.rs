//! Chunks in steps, for several machines: divide once, encode anywhere, stitch where the output is.

use std::fs::OpenOptions;
use std::io::BufWriter;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use ffrtmp_core::engine::{Control, MediaBounds, Observer, Source};
use ffrtmp_core::error::{Code, Error, Result};
use ffrtmp_core::job::JobReport;
use ffrtmp_core::plan::Plan;

use super::encode::{Bench, Tally};
use super::plan::{ChunkDone, ChunkPlan};
use super::run::{self, Division};
use crate::libav::LibavEngine;
use crate::libav::fault::file_failed;
use crate::libav::meter::Meter;
use crate::libav::remains::Remains;
use crate::libav::sys::log::Collector;

impl LibavEngine {
    /// Divides a source for a plan with one rendition. The same source and plan are divided alike
    /// everywhere; nothing is decoded.
    ///
    /// # Errors
    /// `input_unsupported` with the reason for what cannot be divided: encode it in one piece. Those
    /// of [`Engine::probe`](ffrtmp_core::engine::Engine::probe).
    pub fn split(&self, plan: &Plan, source: &Source, bounds: &MediaBounds, control: &Control) -> Result<ChunkPlan> {
        let _lines = Collector::start();
        run::divide(plan, file(source)?, bounds, control)?.map_err(not_divided)
    }

    /// Encodes a chunk of a plan into a file that [`LibavEngine::stitch`] takes: packets, sealed with
    /// a checksum. The same chunk gives the same bytes each time, so an attempt that was interrupted
    /// is simply repeated. On an error the file is removed.
    ///
    /// # Errors
    /// `input_unsupported` where the source is not what [`LibavEngine::split`] saw; those of an
    /// encode.
    ///
    /// # Cancel safety
    /// As [`LibavEngine::execute`].
    pub fn encode_chunk(
        &self,
        plan: &ChunkPlan,
        index: u32,
        source: &Source,
        output: &Path,
        bounds: &MediaBounds,
        control: &Control,
    ) -> Result<ChunkDone> {
        let _lines = Collector::start();
        let chunk = plan.chunks.get(index as usize).filter(|chunk| chunk.index == index);
        let chunk = chunk.ok_or_else(|| {
            let what = format!("there is no chunk {index}");
            Error::new(Code::InvalidField, what).field("index").hint(format!("{} chunks from 0", plan.chunks.len()))
        })?;
        let remains = Remains::of(output);
        let file_of = OpenOptions::new()
            .write(true)
            .create(true)
            .truncate(true)
            .custom_flags(libc::O_NONBLOCK | libc::O_CLOEXEC)
            .open(output)
            .map_err(file_failed)?;
        let bench = Bench {
            encoders: &self.encoders,
            reaper: &self.reaper,
            plan,
            path: file(source)?,
            bounds: *bounds,
            control,
            tally: Arc::new(Tally::new(Arc::new(Meter::new()), chunk.pictures, 0.0)),
        };
        let encoded = bench
            .encode(&mut bench.open()?, chunk, BufWriter::new(file_of), &|| true)
            .map_err(|error| control.checkpoint().err().unwrap_or(error))?
            .map_err(not_divided)?;
        let written = encoded.sink.into_inner().map_err(std::io::IntoInnerError::into_error).map_err(file_failed)?;
        written.sync_all().map_err(file_failed)?;
        remains.keep();
        let hash = encoded.sealed.hash.iter().fold("blake3:".to_owned(), |text, byte| format!("{text}{byte:02x}"));
        let (packets, bytes) = (encoded.sealed.packets, encoded.sealed.bytes);
        Ok(ChunkDone { index, packets, bytes, hash, encoder: encoded.encoder })
    }

    /// Writes the output of a plan from its parts in order, with sound and all other tracks from the
    /// source. Nothing is encoded twice, except a chunk that would empty the buffer of a decoder.
    ///
    /// # Errors
    /// `input_invalid` for a damaged part, `invalid_field` for a wrong one, `engine_unavailable` for
    /// parts of another encoder; those of [`LibavEngine::execute`].
    #[allow(clippy::too_many_arguments, reason = "those of an attempt, and the parts")]
    pub fn stitch(
        &self,
        plan: &ChunkPlan,
        source: &Source,
        parts: &[PathBuf],
        output: &Path,
        bounds: &MediaBounds,
        control: &Control,
        observer: &dyn Observer,
    ) -> Result<JobReport> {
        let _lines = Collector::start();
        let division = Division::made(plan.clone(), file(source)?, parts);
        self.attempt(&plan.plan, source, Some(division), output, bounds, control, observer)
    }
}

fn file(source: &Source) -> Result<&Path> {
    match source {
        Source::File(path) => Ok(path),
        Source::Generated(_) => {
            Err(Error::new(Code::InputUnsupported, "a generated picture cannot be divided").field("input"))
        }
        Source::Live(endpoint) => Err(Source::refused_live(endpoint)),
    }
}

pub(in crate::libav) fn not_divided(reason: String) -> Error {
    Error::new(Code::InputUnsupported, format!("the pictures cannot be divided: {reason}"))
        .field("input")
        .hint("encode them in one piece")
}
