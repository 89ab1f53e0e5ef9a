//! The live engine: its contract, and what it does when sources and outputs go wrong.

mod conformance;
