//! Live media in this process, against real programs on loopback.

#![cfg(feature = "gstreamer")]

mod engine;
mod servers;
