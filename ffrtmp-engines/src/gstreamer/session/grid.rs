//! A constant rate: pictures are moved to the nearest place of a grid, what shares a place is left
//! out, and an empty place gets the picture before it once the next one is here. No picture waits
//! for the one after it, so the grid adds no latency.

use ffrtmp_core::units::FrameRate;

/// Places that are filled at most; a longer gap stays one.
const LONGEST_FILL: u64 = 60;
const SECOND: u128 = 1_000_000_000;

/// Where the next pictures go.
#[derive(Debug)]
pub(super) struct Grid {
    rate: FrameRate,
    /// The place that was filled last.
    last: Option<u64>,
}

/// What becomes of a picture.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Placed {
    /// Times in nanoseconds at which the picture before is shown again first.
    pub(super) again: (u64, u64),
    /// The place of the picture itself.
    place: u64,
}

impl Grid {
    pub(super) const fn new(rate: FrameRate) -> Self {
        Self { rate, last: None }
    }

    /// The place of a picture at this time; `None` leaves it out.
    pub(super) fn place(&mut self, time: u64) -> Option<Placed> {
        let period = SECOND * u128::from(self.rate.den);
        let place = ((u128::from(time) * u128::from(self.rate.num) + period / 2) / period) as u64;
        let first = match self.last {
            Some(last) if place <= last => return None,
            Some(last) if place - last <= LONGEST_FILL => last + 1,
            _ => place,
        };
        self.last = Some(place);
        Some(Placed { again: (first, place), place })
    }

    /// The time of a place.
    pub(super) fn time(&self, place: u64) -> u64 {
        (u128::from(place) * SECOND * u128::from(self.rate.den) / u128::from(self.rate.num)) as u64
    }

    /// Length of one place.
    pub(super) fn period(&self) -> u64 {
        self.time(1)
    }
}

impl Placed {
    pub(super) const fn place(self) -> u64 {
        self.place
    }

    /// Places of the repetitions.
    pub(super) fn repeated(self) -> impl Iterator<Item = u64> {
        self.again.0..self.again.1
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shown(rate: FrameRate, times: &[u64]) -> Vec<(u64, bool)> {
        let mut grid = Grid::new(rate);
        let mut shown = Vec::new();
        for time in times {
            if let Some(placed) = grid.place(time * 1_000_000) {
                shown.extend(placed.repeated().map(|place| (grid.time(place) / 1_000_000, true)));
                shown.push((grid.time(placed.place()) / 1_000_000, false));
            }
        }
        shown
    }

    #[test]
    fn pictures_find_their_places() {
        let rate = FrameRate::whole(25);
        // Jitter is taken out.
        assert_eq!(shown(rate, &[1, 38, 85]), [(0, false), (40, false), (80, false)]);
        // Of two in one place the first stays; holes are filled.
        assert_eq!(shown(rate, &[0, 5, 40, 160]), [(0, false), (40, false), (80, true), (120, true), (160, false)]);
        // Time does not go back.
        assert_eq!(shown(rate, &[400, 0, 440]), [(400, false), (440, false)]);
        // A long gap stays one.
        assert_eq!(shown(rate, &[0, 60_000]), [(0, false), (60_000, false)]);
    }

    #[test]
    fn places_do_not_drift() {
        let ntsc = Grid::new(FrameRate { num: 30_000, den: 1001 });
        // 100 hours of 30000/1001 are 10,789,210.789… pictures.
        assert_eq!(ntsc.time(10_789_210), 359_999_973_666_666);
    }
}
