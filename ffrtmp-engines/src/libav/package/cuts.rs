//! Where segments begin: at key frames of the video, and of sound as near to them as its packets
//! allow. Pure arithmetic in seconds; nothing here reads or writes.

use ffrtmp_core::error::{Code, Error, Result};

/// Boundaries of renditions are the same moment if they are no further apart, in seconds. Clocks of
/// renditions may differ, so one may round.
const SAME: f64 = 0.002;
/// A last piece shorter than this part of a segment stays with the segment before.
const TAIL: f64 = 0.25;

/// The boundaries of all video renditions, as far as they are known.
#[derive(Debug)]
pub(super) struct Boundaries {
    /// Length of segments that is aimed at.
    step: f64,
    /// Every boundary after the start.
    known: Vec<f64>,
    /// No boundary that is still to come lies before this.
    clear: f64,
    /// Whether `known` is all there is.
    complete: bool,
}

/// One video stream's way through its own boundaries.
#[derive(Debug)]
pub(super) struct Pictures {
    /// Whether it decides where segments begin. What is copied next to it has its own key frames.
    binding: bool,
    next: f64,
    cuts: usize,
}

/// One sound or text stream's way through the boundaries of the video.
#[derive(Debug, Default)]
pub(super) struct Follower {
    begun: bool,
    passed: usize,
    /// Where the segment that is being filled is meant to begin.
    place: f64,
}

/// What to do before a packet of sound.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Cut {
    Here,
    No,
    /// What it depends on is not there yet.
    Unknown,
}

/// What comes from a packet on.
#[derive(Clone, Copy, Debug)]
pub(super) struct Rest {
    pub(super) seconds: f64,
    /// Whether the stream ends then.
    pub(super) is_all: bool,
}

impl Boundaries {
    pub(super) fn new(step: f64) -> Self {
        Self { step, known: Vec::new(), clear: 0.0, complete: false }
    }

    /// The video is over, or there is none: from here on sound is cut by time.
    pub(super) fn complete(&mut self) {
        self.complete = true;
    }

    /// All renditions must have been cut at all boundaries.
    pub(super) fn check(&self, pictures: &Pictures) -> Result<()> {
        match self.known.get(pictures.cuts) {
            Some(missed) if pictures.binding => Err(misaligned(*missed)),
            _ => Ok(()),
        }
    }
}

impl Pictures {
    pub(super) fn new(binding: bool, step: f64) -> Self {
        Self { binding, next: step, cuts: 0 }
    }

    /// Whether a segment begins with a picture that is decoded at `dts` and shown from `pts` for
    /// `length`.
    ///
    /// # Errors
    /// `encode_failed` where another rendition was cut elsewhere.
    pub(super) fn place(&mut self, all: &mut Boundaries, key: bool, dts: f64, pts: f64, length: f64) -> Result<bool> {
        if self.binding {
            all.clear = all.clear.max(dts);
        }
        // Half a frame early is a matter of rounding.
        let reached = pts + length / 2.0;
        if !key || reached < self.next {
            return Ok(false);
        }
        self.next = ((reached / all.step).floor() + 1.0) * all.step;
        if self.binding {
            match all.known.get(self.cuts) {
                None => all.known.push(pts),
                Some(other) if (other - pts).abs() <= SAME => {}
                Some(other) => return Err(misaligned(other.min(pts))),
            }
        }
        self.cuts += 1;
        Ok(true)
    }
}

impl Follower {
    /// Whether a segment begins with a packet that lasts from `start` for `length`, and what is
    /// known to come from there on.
    pub(super) fn place(&mut self, all: &Boundaries, start: f64, length: f64, rest: Rest) -> Cut {
        if !self.begun {
            self.begun = true;
            self.skip(all, start, length);
            return Cut::No;
        }
        let reached = start + length / 2.0;
        match all.known.get(self.passed) {
            Some(boundary) if reached >= *boundary => {
                self.skip(all, start, length);
                Cut::Here
            }
            Some(_) => Cut::No,
            None if !all.complete && all.clear < reached => Cut::Unknown,
            None if !all.complete || reached < self.place + all.step => Cut::No,
            None if rest.seconds < all.step * TAIL && rest.is_all => Cut::No,
            None if rest.seconds < all.step * TAIL => Cut::Unknown,
            None => self.place_alone(all, start, length),
        }
    }

    /// The same without waiting for anything.
    pub(super) fn place_alone(&mut self, all: &Boundaries, start: f64, length: f64) -> Cut {
        let reached = start + length / 2.0;
        if reached < self.place + all.step {
            return Cut::No;
        }
        self.place += all.step * ((reached - self.place) / all.step).floor();
        Cut::Here
    }

    /// Passes every boundary that lies before a packet.
    fn skip(&mut self, all: &Boundaries, start: f64, length: f64) {
        while let Some(boundary) = all.known.get(self.passed).filter(|boundary| start + length / 2.0 >= **boundary) {
            self.place = *boundary;
            self.passed += 1;
        }
    }
}

fn misaligned(seconds: f64) -> Error {
    let what = format!("the renditions have no common key frame at {seconds:.3} s, so players cannot switch there");
    Error::new(Code::EncodeFailed, what).hint("give all renditions the same GOP length and frame rate, or make files")
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Boundaries of a video with a key frame every `gop` frames at `rate`.
    fn video(all: &mut Boundaries, rate: f64, gop: usize, seconds: f64) -> Pictures {
        let mut pictures = Pictures::new(true, all.step);
        for frame in 0..(seconds * rate) as usize {
            let time = frame as f64 / rate;
            pictures.place(all, frame % gop == 0, time - 0.08, time, 1.0 / rate).unwrap();
        }
        pictures
    }

    #[test]
    fn segments_begin_at_the_first_key_frame_from_each_multiple_on() {
        for (rate, gop, step, wanted) in [
            (25.0, 50, 2.0, vec![2.0, 4.0]),
            (25.0, 25, 2.0, vec![2.0, 4.0]),
            (25.0, 70, 2.0, vec![2.8, 5.6]),
            (25.0, 10, 1.5, vec![1.6, 3.2, 4.8]),
            (30000.0 / 1001.0, 60, 2.0, vec![2.002, 4.004]),
            (25.0, 1000, 2.0, vec![]),
        ] {
            let mut all = Boundaries::new(step);
            video(&mut all, rate, gop, 5.8);
            let rounded: Vec<_> = all.known.iter().map(|time| (time * 1e3).round() / 1e3).collect();
            assert_eq!(rounded, wanted, "{rate} {gop} {step}");
        }
    }

    #[test]
    fn renditions_must_agree_and_copies_need_not() {
        let mut all = Boundaries::new(2.0);
        for (rate, gop) in [(25.0, 50), (50.0, 100)] {
            let pictures = video(&mut all, rate, gop, 6.0);
            all.check(&pictures).unwrap();
        }
        let mut other = Pictures::new(true, 2.0);
        assert!(other.place(&mut all, true, 2.2, 2.2, 0.04).is_err(), "a key frame elsewhere");
        let early = Pictures::new(true, 2.0);
        assert!(all.check(&early).is_err(), "no key frame at all");
        let mut copy = Pictures::new(false, 2.0);
        assert!(copy.place(&mut all, true, 2.2, 2.2, 0.04).unwrap());
        all.check(&copy).unwrap();
    }

    fn cuts(all: &Boundaries, until: f64) -> Vec<f64> {
        let (mut follower, length) = (Follower::default(), 1024.0 / 48000.0);
        let starts = (0..).map(|count| f64::from(count) * length).take_while(|start| *start < until);
        starts
            .filter(|start| {
                let rest = Rest { seconds: until - start, is_all: true };
                follower.place(all, *start, length, rest) == Cut::Here
            })
            .collect()
    }

    #[test]
    fn sound_is_cut_within_half_a_packet_of_the_video() {
        let mut all = Boundaries::new(2.0);
        video(&mut all, 24.0, 70, 9.0);
        all.complete();
        for (cut, boundary) in cuts(&all, 9.0).iter().zip(&all.known) {
            assert!((cut - boundary).abs() <= 512.5 / 48000.0, "{cut} {boundary}");
        }
        assert_eq!(cuts(&all, 9.0).len(), all.known.len());
        // Sound that goes on after the video is cut by time, without a short last piece.
        assert_eq!(cuts(&all, 13.3).len(), all.known.len() + 2);
        assert_eq!(cuts(&all, 10.9).len(), all.known.len());
    }

    #[test]
    fn sound_alone_is_cut_by_time() {
        let mut all = Boundaries::new(4.0);
        all.complete();
        let cuts: Vec<_> = cuts(&all, 13.0).iter().map(|cut| cut.round()).collect();
        assert_eq!(cuts, [4.0, 8.0, 12.0]);
    }

    #[test]
    fn sound_waits_for_the_video() {
        let mut all = Boundaries::new(2.0);
        let mut follower = Follower::default();
        let rest = Rest { seconds: 9.0, is_all: false };
        assert_eq!(follower.place(&all, 0.0, 0.02, rest), Cut::No);
        assert_eq!(follower.place(&all, 1.0, 0.02, rest), Cut::Unknown);
        video(&mut all, 25.0, 50, 2.5);
        assert_eq!(follower.place(&all, 1.0, 0.02, rest), Cut::No);
        assert_eq!(follower.place(&all, 1.99, 0.02, rest), Cut::Here);
        assert_eq!(follower.place(&all, 2.3, 0.02, rest), Cut::No);
        assert_eq!(follower.place(&all, 2.5, 0.02, rest), Cut::Unknown);
    }
}
