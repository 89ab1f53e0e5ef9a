//! Bits at equal SSIM, from three qualities each.

/// A parabola of the logarithm of bits over SSIM in decibels, as the Bjøntegaard rate has it
/// (ITU-T VCEG-M33), through three points instead of four.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Curve {
    points: [Point; 3],
}

/// What one quality gave.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Point {
    pub(crate) ssim_db: f64,
    pub(crate) bits: f64,
}

impl Curve {
    /// None unless there are three different points.
    pub(crate) fn through(mut points: Vec<Point>) -> Option<Self> {
        points.sort_by(|one, other| one.ssim_db.total_cmp(&other.ssim_db));
        let differ = points.windows(2).all(|two| two[1].ssim_db - two[0].ssim_db > 1e-6);
        points.try_into().ok().filter(|_| differ).map(|points| Self { points })
    }

    /// Our bits over theirs, averaged where both have values: 1.01 is one percent more.
    pub(crate) fn bits_over(&self, theirs: &Self) -> Option<f64> {
        let from = self.points[0].ssim_db.max(theirs.points[0].ssim_db);
        let to = self.points[2].ssim_db.min(theirs.points[2].ssim_db);
        // Simpson's rule is exact for parabolas.
        let difference = |at: f64| self.log_bits(at) - theirs.log_bits(at);
        let mean = (difference(from) + 4.0 * difference(f64::midpoint(from, to)) + difference(to)) / 6.0;
        (from < to).then(|| mean.exp())
    }

    fn log_bits(&self, at: f64) -> f64 {
        let [a, b, c] = self.points.map(|point| point.ssim_db);
        let [x, y, z] = self.points.map(|point| point.bits.ln());
        x * (at - b) * (at - c) / ((a - b) * (a - c))
            + y * (at - a) * (at - c) / ((b - a) * (b - c))
            + z * (at - a) * (at - b) / ((c - a) * (c - b))
    }
}
