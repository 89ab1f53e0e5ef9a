//! What a process that reads foreign media may still do: see [`ffrtmp_core::sandbox`].
