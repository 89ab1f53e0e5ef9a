//! Limits by control groups, v1 and v2: see [`ffrtmp_core::governor`].
