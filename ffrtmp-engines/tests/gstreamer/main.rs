//! Live media in this process, against real programs on loopback.

#![cfg(feature = "gstreamer")]

mod engine;
mod http;
mod rtsp;
mod scripted;
mod servers;
mod session;
mod session_async;
mod session_bench;
