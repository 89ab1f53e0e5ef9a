//! Where random ids come from: the operating system, or a seed in a simulation.

use uuid::Uuid;

#[cfg(feature = "simulation")]
use simulated::seeded;

/// A new random (version 4) UUID.
pub(crate) fn uuid() -> Uuid {
    #[cfg(feature = "simulation")]
    if let Some(uuid) = seeded() {
        return uuid;
    }
    Uuid::new_v4()
}

#[cfg(feature = "simulation")]
pub use simulated::seed_this_thread;

#[cfg(feature = "simulation")]
mod simulated {
    use std::cell::Cell;

    use uuid::{Builder, Uuid};

    thread_local! {
        static STATE: Cell<Option<u64>> = const { Cell::new(None) };
    }

    /// From now on the ids that this thread makes follow from `seed`; from the operating system
    /// again with `None`.
    pub fn seed_this_thread(seed: Option<u64>) {
        STATE.set(seed);
    }

    pub(super) fn seeded() -> Option<Uuid> {
        let bytes = (u128::from(next()?) << 64 | u128::from(next()?)).to_be_bytes();
        Some(Builder::from_random_bytes(bytes).into_uuid())
    }

    /// SplitMix64.
    fn next() -> Option<u64> {
        let state = STATE.get()?.wrapping_add(0x9e37_79b9_7f4a_7c15);
        STATE.set(Some(state));
        let mixed = (state ^ (state >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        Some(mixed ^ (mixed >> 31))
    }
}
