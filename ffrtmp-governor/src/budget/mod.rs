//! What of the machine is given out, and when nothing more is.
