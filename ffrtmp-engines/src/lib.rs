//! Engine implementations of ffrtmp: libav in this process, any engine in a child process, and one
//! without codecs; and how an output is published.

#[cfg(feature = "gstreamer")]
pub mod gstreamer;
pub mod isolated;
pub mod libav;
pub mod publish;
mod stages;
pub mod synthetic;

#[cfg(feature = "gstreamer")]
pub use gstreamer::GstreamerEngine;
pub use isolated::IsolatedEngine;
pub use libav::LibavEngine;
pub use synthetic::SyntheticEngine;
