//! All chunks on this machine, side by side, written in order.

use std::fs::File;
use std::io::{Read, Seek};
use std::path::{Path, PathBuf};
use std::sync::{Arc, OnceLock};
use std::thread;

use ffrtmp_core::engine::{Control, MediaBounds};
use ffrtmp_core::error::{Code, Error, Result};
use ffrtmp_core::job::ChunkReport;
use ffrtmp_core::plan::Plan;
use tempfile::SpooledTempFile;

use super::bucket::{Bucket, Passage, USUAL};
use super::encode::{Bench, Tally};
use super::part::{Coded, PartReader};
use super::plan::{Chunk, ChunkPlan, sources};
use super::stitch::{Relay, Stitcher};
use super::window::Window;
use super::{Fit, decide, scan};
use crate::libav::capabilities::Encoders;
use crate::libav::limit::Limit;
use crate::libav::passes::scratch_beside;
use crate::libav::probe;
use crate::libav::reaper::Reaper;
use crate::libav::session::Tools;
use crate::libav::stills::Taps;
use crate::libav::sys::log::Collector as Lines;
use crate::libav::sys::{Input, TimeBase};
use crate::libav::timeline::Timeline;

/// Bytes of a finished chunk that wait in memory; what is more waits in a file without a name beside
/// the output.
const IN_MEMORY: usize = 4 << 20;

/// A source that is encoded in chunks, and by whom.
pub(in crate::libav) struct Division {
    plan: ChunkPlan,
    path: PathBuf,
    makers: Makers,
}

enum Makers {
    /// Workers on this machine; their parts wait beside the output.
    Workers { count: usize, reason: String, directory: PathBuf },
    /// Somebody else has made the parts.
    Parts(Vec<PathBuf>),
}

impl Division {
    /// Divides the pictures of a source where that is right and faster, or says why not. `seconds`
    /// is the length of the output, as far as it is known.
    ///
    /// # Errors
    /// `canceled`, and those of opening the source.
    pub(in crate::libav) fn consider(
        plan: &Plan,
        path: &Path,
        output: &Path,
        encoders: &Encoders,
        limit: &Limit,
        seconds: Option<f64>,
    ) -> Result<Fit<Self>> {
        let rendition = match decide::kind(plan).and_then(|kind| decide::length(plan.chunks, seconds).map(|()| kind)) {
            Ok((_, rendition)) => rendition,
            Err(reason) => return Ok(Err(reason)),
        };
        // What cannot be opened fails where it is opened, with its reason.
        let chosen = encoders.choose(rendition, rendition.bit_depth.map_or(8, i32::from)).ok();
        let encoder = chosen.as_ref().and_then(|choice| choice.encoders.first()).map(String::as_str);
        let threads = limit.bounds.threads;
        let workers = |chunks| decide::workers(plan.chunks, rendition, encoder.unwrap_or_default(), threads, chunks);
        // What no number of chunks would change needs no look at the source.
        if let Err(reason) = workers(usize::MAX) {
            return Ok(Err(reason));
        }
        let divided = divide(plan, path, &limit.bounds, &limit.control)?;
        Ok(divided.and_then(|plan| {
            let (count, reason) = workers(plan.chunks.len())?;
            let directory =
                scratch_beside(output).unwrap_or_else(|| output.parent().unwrap_or(Path::new(".")).to_path_buf());
            Ok(Self { plan, path: path.to_path_buf(), makers: Makers::Workers { count, reason, directory } })
        }))
    }

    /// Parts that were made elsewhere.
    pub(in crate::libav) fn made(plan: ChunkPlan, path: &Path, parts: &[PathBuf]) -> Self {
        Self { plan, path: path.to_path_buf(), makers: Makers::Parts(parts.to_vec()) }
    }

    /// Stream of the source with the pictures.
    pub(in crate::libav) fn stream(&self) -> usize {
        self.plan.stream
    }

    pub(in crate::libav) fn report(&self) -> ChunkReport {
        let (workers, reason) = match &self.makers {
            Makers::Workers { count, reason, .. } => (*count, reason.clone()),
            Makers::Parts(_) => (0, "the chunks were encoded before".to_owned()),
        };
        let number = |count: usize| u32::try_from(count).unwrap_or(u32::MAX);
        ChunkReport { chunks: number(self.plan.chunks.len()), workers: number(workers), reason }
    }

    /// What the stream of the output is opened with: encoders like those of the chunks.
    pub(in crate::libav) fn tools<'a>(&self, tools: &Tools<'a>) -> Tools<'a> {
        let bounds = MediaBounds { threads: 1, ..tools.limit.bounds };
        Tools {
            encoders: tools.encoders,
            reaper: Arc::clone(&tools.reaper),
            limit: Limit { bounds, ..tools.limit.clone() },
            fullness: None,
            stills: Taps::default(),
            passes: None,
        }
    }

    /// Refuses a source whose clock begins elsewhere: a stream was left out, and the pictures would
    /// not fit the sound.
    pub(in crate::libav) fn check(&self, timeline: &Timeline) -> Fit<()> {
        if timeline.shift() == self.plan.shift { Ok(()) } else { Err("a stream of the source was left out".to_owned()) }
    }

    /// Runs `body` with the pictures at hand. A reason instead of a result says that the source is
    /// not what it seemed; then nothing of the output is of use.
    pub(in crate::libav) fn run<T>(
        &self,
        tools: &Tools<'_>,
        relay: &Relay<'_>,
        body: impl FnOnce(&mut Feed<'_>) -> Result<T>,
    ) -> Result<Fit<T>> {
        let bench = self.bench(tools.encoders, &tools.reaper, &tools.limit);
        let stitcher = relay.stitcher()?;
        let bucket = self.plan.picture()?.renditions.first().and_then(Bucket::of);
        let unfit = OnceLock::new();
        let workers = match &self.makers {
            Makers::Workers { count, .. } => *count,
            Makers::Parts(_) => 0,
        };
        let window = Window::new(self.plan.chunks.iter().map(|chunk| chunk.pictures).collect(), workers);
        let result = thread::scope(|scope| {
            let _closing = Closing(&window);
            for number in 0..workers {
                let work = || self.work(&bench, &window, &unfit);
                let started = thread::Builder::new().name(format!("chunks-{number}")).spawn_scoped(scope, work);
                started.map_err(|error| Error::new(Code::Internal, "no thread for a chunk").source(error))?;
            }
            body(&mut Feed {
                division: self,
                bench: &bench,
                window: &window,
                unfit: &unfit,
                stitcher,
                bucket,
                next: 0,
                current: None,
            })
        });
        match unfit.into_inner() {
            Some(reason) if result.is_err() => Ok(Err(reason)),
            _ => result.map(Ok),
        }
    }

    fn bench<'a>(&'a self, encoders: &'a Encoders, reaper: &'a Arc<Reaper>, limit: &'a Limit) -> Bench<'a> {
        let seconds = limit.seconds.unwrap_or(f64::INFINITY).min(limit.meter.expected());
        let tally = Tally::new(Arc::clone(&limit.meter), self.plan.pictures(), seconds);
        Bench {
            encoders,
            reaper,
            plan: &self.plan,
            path: &self.path,
            bounds: limit.bounds,
            control: &limit.control,
            tally: Arc::new(tally),
        }
    }

    /// One worker.
    fn work(&self, bench: &Bench<'_>, window: &Window<Part>, unfit: &OnceLock<String>) {
        let _lines = Lines::start();
        let mut input = None;
        while let Some(index) = window.take() {
            let answer = Answer { window, index, result: None };
            let wanted = || !window.is_closed();
            let result = self.encode(bench, &mut input, &self.plan.chunks[index], &wanted, unfit);
            answer.give(result);
        }
    }

    fn encode(
        &self,
        bench: &Bench<'_>,
        input: &mut Option<Input>,
        chunk: &Chunk,
        wanted: &dyn Fn() -> bool,
        unfit: &OnceLock<String>,
    ) -> Result<Part> {
        let Makers::Workers { directory, .. } = &self.makers else {
            return Err(Error::new(Code::Internal, "a part is missing"));
        };
        let input = match input {
            Some(input) => input,
            None => input.insert(bench.open()?),
        };
        let sink = tempfile::spooled_tempfile_in(IN_MEMORY, directory);
        match bench.encode(input, chunk, sink, wanted)? {
            Ok(encoded) => Ok(Part::Spooled(PartReader::open(encoded.sink)?)),
            Err(reason) => {
                let error = Error::new(Code::InputUnsupported, format!("the source cannot be divided: {reason}"));
                // The first reason is as good as any other.
                let _ = unfit.set(reason);
                Err(error)
            }
        }
    }
}

/// Looks at a source and divides it.
pub(super) fn divide(plan: &Plan, path: &Path, bounds: &MediaBounds, control: &Control) -> Result<Fit<ChunkPlan>> {
    let picture = match decide::kind(plan) {
        Ok((picture, _)) => picture,
        Err(reason) => return Ok(Err(reason)),
    };
    let Some(index) = picture.stream else {
        return Ok(Err("a generated picture is not read from anywhere".to_owned()));
    };
    let (mut input, _) = probe::open(path, bounds, control)?;
    let Some(stream) = input.stream(index) else {
        let what = format!("the plan names stream {index}, which the input has not");
        return Err(Error::new(Code::InvalidField, what).field("input"));
    };
    if let Err(reason) = decide::stream(picture, stream) {
        return Ok(Err(reason));
    }
    let shift = Timeline::new(&input, &sources(plan, index)).shift();
    let end = plan.duration.map(|length| length.value() - shift as f64 / 1e6);
    let scanned = scan::scan(&mut input, index, end, control)?;
    Ok(scanned.and_then(|scan| ChunkPlan::new(plan, index, shift, &scan)))
}

/// A finished chunk.
enum Part {
    Spooled(PartReader<SpooledTempFile>),
    File(PartReader<File>),
}

impl Part {
    fn next(&mut self) -> Result<Option<Coded>> {
        match self {
            Self::Spooled(reader) => reader.next(),
            Self::File(reader) => reader.next(),
        }
    }
}

/// Answers for a chunk even where its worker panics, since somebody waits for it.
struct Answer<'a> {
    window: &'a Window<Part>,
    index: usize,
    result: Option<Result<Part>>,
}

impl Answer<'_> {
    fn give(mut self, result: Result<Part>) {
        self.result = Some(result);
    }
}

impl Drop for Answer<'_> {
    fn drop(&mut self) {
        let gone = || Err(Error::new(Code::Internal, "the worker of a chunk is gone"));
        self.window.give(self.index, self.result.take().unwrap_or_else(gone));
    }
}

/// Ends the work of a window that nobody reads any more.
struct Closing<'a>(&'a Window<Part>);

impl Drop for Closing<'_> {
    fn drop(&mut self) {
        self.0.close();
    }
}

/// The pictures of all chunks in their order, as far as they are asked for.
pub(in crate::libav) struct Feed<'a> {
    division: &'a Division,
    bench: &'a Bench<'a>,
    window: &'a Window<Part>,
    unfit: &'a OnceLock<String>,
    stitcher: Stitcher,
    bucket: Option<Bucket>,
    /// The chunk that comes next.
    next: usize,
    current: Option<(Part, Coded)>,
}

impl Feed<'_> {
    /// Writes the pictures that are decoded up to a time in seconds, or all; waits for their chunks.
    ///
    /// # Errors
    /// `canceled`; what an encoder or the output failed with.
    pub(in crate::libav) fn advance(&mut self, until: Option<f64>) -> Result<()> {
        loop {
            let Some((mut part, coded)) = self.current.take() else {
                match self.begin()? {
                    true => continue,
                    false => return Ok(()),
                }
            };
            if until.is_some_and(|until| self.stitcher.seconds(&coded) > until) {
                self.current = Some((part, coded));
                return Ok(());
            }
            self.stitcher.write(&coded)?;
            self.current = part.next()?.map(|coded| (part, coded));
        }
    }

    /// Begins the next chunk; false after the last one.
    fn begin(&mut self) -> Result<bool> {
        let Some(chunk) = self.division.plan.chunks.get(self.next) else { return Ok(false) };
        self.next += 1;
        let mut part = match &self.division.makers {
            Makers::Workers { .. } => {
                let part = self.window.next(self.bench.control)?;
                part.ok_or_else(|| Error::new(Code::Internal, "a chunk is missing"))?
            }
            Makers::Parts(paths) => Part::File(open_part(paths, chunk.index as usize)?),
        };
        if let Some(again) = self.pass(&mut part)? {
            part = self.again(chunk, again)?;
        }
        match &part {
            Part::Spooled(reader) => self.stitcher.begin(reader.header())?,
            Part::File(reader) => self.stitcher.begin(reader.header())?,
        }
        self.current = part.next()?.map(|coded| (part, coded));
        Ok(true)
    }

    /// Puts a chunk through the decoder's buffer; the fullness to encode it again from, if it would
    /// empty it.
    fn pass(&mut self, part: &mut Part) -> Result<Option<f64>> {
        let Some(bucket) = &mut self.bucket else { return Ok(None) };
        let base = self.stitcher.base();
        let passage = match part {
            Part::Spooled(reader) => pass(bucket, reader, base)?,
            Part::File(reader) => pass(bucket, reader, base)?,
        };
        Ok(match passage {
            Passage::Kept => None,
            Passage::Again(fullness) => Some(fullness),
        })
    }

    fn again(&mut self, chunk: &Chunk, fullness: f64) -> Result<Part> {
        tracing::debug!(chunk = chunk.index, fullness, "encoded again for the decoder's buffer");
        let chunk = Chunk { fullness: Some(fullness), ..*chunk };
        let directory = match &self.division.makers {
            Makers::Workers { directory, .. } => directory.clone(),
            Makers::Parts(paths) => {
                paths.first().and_then(|path| path.parent()).unwrap_or(Path::new(".")).to_path_buf()
            }
        };
        let mut input = self.bench.open()?;
        let sink = tempfile::spooled_tempfile_in(IN_MEMORY, directory);
        let encoded = self.bench.encode(&mut input, &chunk, sink, &|| true)?.map_err(|reason| {
            let error = Error::new(Code::InputUnsupported, format!("the source cannot be divided: {reason}"));
            let _ = self.unfit.set(reason);
            error
        })?;
        let mut part = Part::Spooled(PartReader::open(encoded.sink)?);
        // From here it passes, or nothing would make it.
        self.pass(&mut part)?;
        Ok(part)
    }
}

fn pass<R: Read + Seek>(bucket: &mut Bucket, reader: &mut PartReader<R>, base: TimeBase) -> Result<Passage> {
    let began = reader.header().fullness.unwrap_or(USUAL);
    let mut pictures = Vec::new();
    reader.rewind()?;
    while let Some(coded) = reader.next()? {
        pictures.push((coded.data.len() as u64, base.seconds(coded.duration)));
    }
    reader.rewind()?;
    Ok(bucket.pass(pictures.into_iter(), began))
}

fn open_part(paths: &[PathBuf], index: usize) -> Result<PartReader<File>> {
    let missing = || Error::new(Code::InvalidField, format!("the part of chunk {index} is missing")).field("parts");
    let path = paths.get(index).ok_or_else(missing)?;
    let (file, _) = probe::open_file(path)?;
    PartReader::open(file)
}
