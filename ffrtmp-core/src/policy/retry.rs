//! When a failed attempt is tried again.

use std::time::Duration;

use crate::id::{Fence, JobId};

/// Retries of a job that does not say how many.
pub const DEFAULT_MAX_RETRIES: u32 = 3;

const BASE: Duration = Duration::from_secs(1);
/// The longest wait before a retry.
pub const MAX_DELAY: Duration = Duration::from_secs(60);

/// The wait before retry `n` (from 0): `min(2^n · 1 s, 60 s)`, less up to a quarter of it as
/// jitter, so that jobs that failed together do not return together. The jitter comes from the
/// job and its fence: the same attempt always waits the same time.
#[must_use]
pub fn delay(n: u32, job: JobId, fence: Fence) -> Duration {
    let full = BASE.saturating_mul(2_u32.saturating_pow(n)).min(MAX_DELAY);
    full - full.mul_f64(0.25 * unit_hash(job, fence))
}

/// A number in 0..1 from the FNV-1a hash of job and fence.
fn unit_hash(job: JobId, fence: Fence) -> f64 {
    let hash = job
        .to_string()
        .bytes()
        .chain(fence.0.to_le_bytes())
        .fold(0xcbf2_9ce4_8422_2325_u64, |hash, byte| (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3));
    (hash >> 11) as f64 / (1_u64 << 53) as f64
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn doubles_up_to_a_minute_with_bounded_jitter() {
        for n in 0..40 {
            let full = (2_f64.powi(n)).min(60.0);
            for job in 0..50 {
                let delay = delay(n as u32, JobId::from_u128(job), Fence(job as u64)).as_secs_f64();
                assert!(delay <= full && delay >= full * 0.75, "n={n} delay={delay}");
            }
        }
    }
}
