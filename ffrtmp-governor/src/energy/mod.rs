//! What of the machine's energy an attempt used.
