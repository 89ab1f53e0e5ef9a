//! Live media in this process: a caller's own frames or samples in, encoded samples out, as fast
//! as they can be had. `examples/live_camera.rs` and `examples/live_transcode.rs` show both.
//!
//! Jobs that pull from servers and push to them are jobs like others, with the engine `gstreamer`;
//! what is here is for programs that have the media in their hands.

pub use ffrtmp_core::plan::AudioEncode;
pub use ffrtmp_engines::gstreamer::session::caller::{
    Data, Frame, Live, LiveBuilder, LiveInput, LiveOutput, Pictures, PixelFormat, Rendition, Sample, SampleFormat,
    Sound, TrackInfo,
};
pub use ffrtmp_engines::gstreamer::session::{Latency, LatencySummary, Pace, StreamFormat};
