//! The libav engine on generated, real and hostile media.
//!
//! Inputs are made by the engine itself, or by the `ffmpeg` program where something is needed that
//! the engine does not write; such cases are skipped where it is not installed. Results are checked
//! with `ffprobe` where it is installed, else with the engine's own probe.

mod chunks;
mod clips;
mod containers;
mod control;
mod copying;
mod encoders;
mod findings;
mod hostile;
mod ladders;
mod losses;
mod matrix;
mod mutations;
mod packages;
mod pictures;
mod pinned;
mod shapes;
mod stills;
mod subtitles;
mod timing;
mod workbench;
