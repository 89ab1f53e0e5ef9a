//! The live engine: its contract, and what it does when sources and outputs go wrong.

mod attempt;
mod conformance;
mod ends;
mod late;
mod losses;
mod presets;
mod sources;
mod sync;
