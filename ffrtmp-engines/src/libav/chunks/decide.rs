//! Whether a job's pictures are encoded in chunks.

use std::num::NonZero;
use std::thread;

use ffrtmp_core::encoding::{Chunking, Deinterlace};
use ffrtmp_core::plan::{Gop, PicturePlan, Plan, RateControl, VideoEncode, VideoPlan};

use super::{Fit, cut};
use crate::libav::encoders::Family;
use crate::libav::sys::StreamView;

/// Chunks that every worker shall have, so that all end at about the same time.
const PER_WORKER: usize = 4;
/// The same for libvpx, whose key frames are too dear for more.
const PER_WORKER_VPX: usize = 2;
/// Pictures above this size keep an encoder's own threads busy, and several lookaheads of them would
/// take more memory than one encoder.
const MOST_PIXELS: u64 = 1280 * 720;
/// Bytes that the encoders of all workers may hold together.
const MEMORY: u64 = 1 << 30;
/// Pictures that an encoder holds at most: x264's lookahead of the slow presets and its references.
const HELD: u64 = 80;

/// The rendition that may be divided, or why the work is of the wrong kind for it.
pub(super) fn kind(plan: &Plan) -> Fit<(&PicturePlan, &VideoEncode)> {
    if plan.chunks == Chunking::Off {
        return Err("chunks are switched off".to_owned());
    }
    let Some(VideoPlan::Encode(picture)) = &plan.video else {
        return Err("no pictures are encoded".to_owned());
    };
    let [rendition] = picture.renditions.as_slice() else {
        return Err("several renditions share one decode".to_owned());
    };
    if plan.segments.is_some() {
        return Err("the output is cut into segments".to_owned());
    }
    if !plan.stills.is_empty() {
        return Err("stills are taken from the one decode".to_owned());
    }
    match rendition.rate {
        RateControl::Quality { .. } => {}
        RateControl::Average { .. } | RateControl::Constant { .. } => {
            return Err("a bit rate is held over the whole of the pictures".to_owned());
        }
    }
    match rendition.gop {
        Gop::Free | Gop::AtMost(_) => Ok((picture, rendition)),
        Gop::Fixed(_) | Gop::FixedAndCuts(_) => Err("key frames have fixed places".to_owned()),
    }
}

/// Whether there can be chunks enough for two workers, fewer of which are never faster: told before
/// anything else is looked at.
pub(super) fn length(chunking: Chunking, seconds: Option<f64>) -> Fit<()> {
    let shortest = cut::SHORTEST * (2 * PER_WORKER) as f64;
    match seconds.filter(|seconds| chunking == Chunking::Auto && *seconds < shortest) {
        Some(seconds) => Err(format!("{seconds:.2} s are too few for chunks")),
        None => Ok(()),
    }
}

/// Whether the stream can be divided at all.
pub(super) fn stream(picture: &PicturePlan, stream: StreamView<'_>) -> Fit<()> {
    if stream.is_interlaced() && picture.deinterlace != Deinterlace::Off {
        return Err("deinterlacing looks at the pictures before and after".to_owned());
    }
    Ok(())
}

/// How many workers share the chunks, and why that is worth it.
pub(super) fn workers(
    chunking: Chunking,
    rendition: &VideoEncode,
    encoder: &str,
    threads: usize,
    chunks: usize,
) -> Fit<(usize, String)> {
    let cores = if threads > 0 { threads } else { thread::available_parallelism().map_or(1, NonZero::get) };
    let size = rendition.size;
    let each = size.pixels() * 3 / 2 * u64::from(rendition.bit_depth.unwrap_or(8).div_ceil(8)) * HELD;
    let room = usize::try_from(MEMORY / each.max(1)).unwrap_or(1).max(1);
    if chunks < 2 {
        return Err("the pictures are too few to be divided".to_owned());
    }
    if chunking == Chunking::On {
        return Ok((cores.min(chunks).min(room).max(1), "chunks were asked for".to_owned()));
    }
    if cores < 2 {
        return Err("there is one core only".to_owned());
    }
    if size.pixels() > MOST_PIXELS {
        return Err(format!("pictures of {size} keep the threads of one encoder busy, in less memory"));
    }
    let Some(gain) = gain(Family::of(encoder), rendition, cores) else {
        return Err(format!("{encoder} divides the work itself"));
    };
    let per_worker = match Family::of(encoder) {
        Family::Vpx8 | Family::Vpx9 => PER_WORKER_VPX,
        _ => PER_WORKER,
    };
    let workers = (chunks / per_worker).min(cores).min(room);
    if (workers as f64) < gain {
        let what = if chunks == 1 {
            "the pictures fit into one chunk".to_owned()
        } else {
            format!("{chunks} chunks are too few for {cores} cores")
        };
        return Err(what);
    }
    let reason = format!(
        "{workers} encoders of one thread are faster than one with {cores} threads at {size}, which is worth {gain:.1} of them"
    );
    Ok((workers, reason))
}

/// How many encoders of one thread an encoder with a thread per core is worth; `None` where its
/// threads lose nothing. Measured at 720p and 480p.
fn gain(family: Family, rendition: &VideoEncode, cores: usize) -> Option<f64> {
    let cores = cores as f64;
    match family {
        // Frame threads wait for the lines of the frames they refer to.
        Family::X264 => Some(cores * 0.9),
        // Rows and columns of tiles: two threads' worth at 480p, more with more columns.
        Family::Vpx9 => Some(cores.min(1.4 * f64::from(rendition.size.width) / 854.0).max(1.1)),
        Family::Vpx8 => Some(cores.min(1.5)),
        _ => None,
    }
}
