//! Graphics processors: what they are, how they are, which one an attempt gets.
