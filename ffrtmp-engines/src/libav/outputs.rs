//! Where packets go: one file, several renditions, or a package of segments.
//!
//! Tracks do not know how many outputs there are. They add a stream once, get a route, and write
//! along it; a route leads to every sink that carries the stream.

use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use ffrtmp_core::error::Result;
use ffrtmp_core::media::StreamKind;
use ffrtmp_core::plan::VideoEncode;

use super::hdr::HdrMetadata;
use super::mux::Lane;
use super::rungs::Place;
use super::stage::Delivery;
use super::sys::{AvError, Encoder, Input, Output, Packet, StreamView, TimeBase};
use super::verify;

/// Something that takes the packets of one or more streams and writes them down.
pub(super) trait Sink: Send {
    /// Whether codec headers belong into the container instead of the stream.
    fn wants_global_header(&self) -> bool;

    /// Adds a stream; `add` does so in the container that will carry it.
    ///
    /// # Errors
    /// What `add` says, in the sink's words.
    fn add(&mut self, lane: Lane, add: &mut dyn FnMut(&mut Output) -> Result<usize, AvError>) -> Result<usize>;

    /// Carries language, title and dispositions of a stream over.
    fn describe_stream(&mut self, lane: usize, source: StreamView<'_>);

    /// Carries tags and chapters of the file over; `shift` moves its clock to ours, `limit` is
    /// where the output ends; both in microseconds.
    fn describe(&mut self, input: &Input, shift: i64, limit: Option<i64>) -> Result<()>;

    /// Places by which decoding goes ahead of presentation in a copied stream.
    fn video_delay(&self, lane: usize) -> i32;

    /// All streams are there; packets follow.
    fn start(&mut self) -> Result<()>;

    /// Writes a packet whose times are in `base`.
    fn write(&mut self, lane: usize, packet: &mut Packet, base: TimeBase) -> Result<()>;

    /// Ends the output.
    fn finish(&mut self) -> Result<()>;

    /// What was written.
    fn lanes(&self) -> &[Lane];

    /// The file that stands for all of it.
    fn primary(&self) -> &Path;

    /// Every file, the primary one first.
    fn files(&self) -> Vec<PathBuf>;

    /// What must be found when it is read back.
    fn checks(&self) -> Vec<verify::Output>;
}

/// For whom a stream is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Audience {
    /// The sink of this rendition.
    Rendition(usize),
    /// Every sink.
    Everyone,
}

/// A way to the lanes of one stream.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Route(usize);

/// All outputs of an attempt; clones are the same outputs.
#[derive(Clone)]
pub(super) struct Outputs {
    shared: Arc<Mutex<Shared>>,
    global_header: bool,
}

struct Shared {
    sinks: Vec<Box<dyn Sink>>,
    /// Sink of each rendition.
    renditions: Vec<usize>,
    routes: Vec<Vec<(usize, usize)>>,
    /// Routes of the renditions' pictures.
    pictures: Vec<Route>,
}

impl Outputs {
    /// `renditions` says which sink each rendition goes to; without renditions there is one sink.
    pub(super) fn new(sinks: Vec<Box<dyn Sink>>, renditions: Vec<usize>) -> Self {
        let global_header = sinks.iter().any(|sink| sink.wants_global_header());
        Self {
            shared: Arc::new(Mutex::new(Shared { sinks, renditions, routes: Vec::new(), pictures: Vec::new() })),
            global_header,
        }
    }

    pub(super) fn wants_global_header(&self) -> bool {
        self.global_header
    }

    /// Adds the sound that an encoder makes.
    pub(super) fn add_sound(&self, encoder: &Encoder, codec: &str) -> Result<Route> {
        let base = encoder.time_base();
        self.add(Audience::Everyone, &Lane::audio(codec), &mut |output| output.add_encoded(encoder, base, None))
    }

    /// Adds a stream whose packets come from the source as they are.
    pub(super) fn add_copied(&self, source: StreamView<'_>) -> Result<Route> {
        self.add(Audience::Everyone, &Lane::copied(source), &mut |output| output.add_copied(source))
    }

    pub(super) fn add(
        &self,
        audience: Audience,
        lane: &Lane,
        add: &mut dyn FnMut(&mut Output) -> Result<usize, AvError>,
    ) -> Result<Route> {
        let mut shared = self.lock();
        let targets: Vec<usize> = match audience {
            Audience::Rendition(index) => vec![shared.renditions.get(index).copied().unwrap_or(0)],
            Audience::Everyone => (0..shared.sinks.len()).collect(),
        };
        let mut ways = Vec::with_capacity(targets.len());
        for target in targets {
            ways.push((target, shared.sinks[target].add(lane.clone(), add)?));
        }
        shared.routes.push(ways);
        Ok(Route(shared.routes.len() - 1))
    }

    pub(super) fn describe_stream(&self, route: Route, source: StreamView<'_>) {
        let mut shared = self.lock();
        for (sink, lane) in shared.routes[route.0].clone() {
            shared.sinks[sink].describe_stream(lane, source);
        }
    }

    /// Describes the pictures of every rendition by the stream that they come from.
    pub(super) fn describe_renditions(&self, source: StreamView<'_>) {
        let routes = self.lock().pictures.clone();
        for route in routes {
            self.describe_stream(route, source);
        }
    }

    pub(super) fn describe(&self, input: &Input, shift: i64, limit: Option<i64>) -> Result<()> {
        self.lock().sinks.iter_mut().try_for_each(|sink| sink.describe(input, shift, limit))
    }

    /// Whether a copied stream's pictures are decoded in another order than they are shown.
    pub(super) fn is_reordered(&self, route: Route) -> bool {
        let shared = self.lock();
        shared.routes[route.0].iter().any(|(sink, lane)| shared.sinks[*sink].video_delay(*lane) > 0)
    }

    pub(super) fn start(&self) -> Result<()> {
        self.lock().sinks.iter_mut().try_for_each(|sink| sink.start())
    }

    /// Writes a packet whose times are in `base` to every lane of the route.
    pub(super) fn write(&self, route: Route, packet: &mut Packet, base: TimeBase) -> Result<()> {
        let Shared { sinks, routes, .. } = &mut *self.lock();
        let Some(((last_sink, last_lane), others)) = routes[route.0].split_last() else { return Ok(()) };
        for (sink, lane) in others {
            sinks[*sink].write(*lane, &mut packet.reference()?, base)?;
        }
        sinks[*last_sink].write(*last_lane, packet, base)
    }

    pub(super) fn finish(&self) -> Result<()> {
        self.lock().sinks.iter_mut().try_for_each(|sink| sink.finish())
    }

    /// What every sink has written: its primary file, its files, its lanes.
    pub(super) fn written(&self) -> Vec<Written> {
        self.lock()
            .sinks
            .iter()
            .map(|sink| Written {
                primary: sink.primary().to_path_buf(),
                files: sink.files(),
                lanes: sink.lanes().to_vec(),
                checks: sink.checks(),
            })
            .collect()
    }

    /// Where pictures and sound end, in seconds.
    pub(super) fn reached(&self) -> f64 {
        let shared = self.lock();
        let lanes = shared.sinks.iter().flat_map(|sink| sink.lanes());
        lanes
            .filter(|lane| matches!(lane.kind, StreamKind::Video | StreamKind::Audio))
            .map(|lane| lane.end)
            .fold(0.0, f64::max)
    }

    /// Lets go of every file.
    pub(super) fn close(&self) {
        self.lock().sinks.clear();
    }

    fn lock(&self) -> MutexGuard<'_, Shared> {
        self.shared.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Place for Outputs {
    fn wants_global_header(&self) -> bool {
        self.global_header
    }

    fn open(
        &self,
        rendition: usize,
        encoder: &Encoder,
        plan: &VideoEncode,
        base: TimeBase,
        rate: (i32, i32),
        hdr: &HdrMetadata,
    ) -> Result<Delivery> {
        let lane = Lane::video(plan.codec.as_str(), (plan.size.width, plan.size.height));
        let route = self.add(Audience::Rendition(rendition), &lane, &mut |output| {
            let index = output.add_encoded(encoder, base, Some(rate))?;
            output.set_hdr(index, hdr)?;
            Ok(index)
        })?;
        self.lock().pictures.push(route);
        let outputs = self.clone();
        Ok(Box::new(move |packet, base| outputs.write(route, packet, base)))
    }
}

/// What one sink has written.
pub(super) struct Written {
    pub(super) primary: PathBuf,
    /// The primary one first.
    pub(super) files: Vec<PathBuf>,
    pub(super) lanes: Vec<Lane>,
    /// What must be found when it is read back.
    pub(super) checks: Vec<verify::Output>,
}
