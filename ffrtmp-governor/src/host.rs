//! The governor that fits this machine.
