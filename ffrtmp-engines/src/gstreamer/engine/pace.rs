//! Whether encoding keeps up with the source. Pure: times are arguments.

use std::collections::VecDeque;
use std::time::Duration;

/// Below this an encoder is slow; measuring is not exact to the frame.
const KEEPS_UP: f64 = 0.98;
/// Media by which an encoder may be further behind than before without being slow: it gives its pictures
/// one by one, and threads wait for each other.
const UNEVEN: Duration = Duration::from_millis(250);
/// Distance between looks.
const LOOK: Duration = Duration::from_millis(500);
/// A slower preset is tried after this many spans without trouble, twice as many after each that
/// failed.
const CALM: u32 = 3;
/// Most spans of calm that are waited for.
const MOST_CALM: u32 = 48;

/// One look at an attempt, all since its start.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Look {
    pub(super) wall: Duration,
    /// End of what is encoded.
    pub(super) encoded: Duration,
    /// End of what the source has given.
    pub(super) offered: Duration,
    /// Pictures that are encoded.
    pub(super) pictures: u64,
    /// Pictures that could not be taken from the source in time.
    pub(super) dropped: u64,
}

/// What follows from a look.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) enum Verdict {
    Fine,
    /// It has not kept up over the span, at this speed.
    Slow(f64),
    /// It has kept up for so long that a slower preset may do.
    Calm,
}

/// Speed over a span of time.
#[derive(Clone, Debug)]
pub(super) struct Pace {
    span: Duration,
    looks: VecDeque<Look>,
    slowest: Option<f64>,
    /// When the last verdict was that something changes.
    changed: Duration,
    /// Time since then in which the source gave nothing: that it was encoded in time proves nothing.
    idle: Duration,
    calm: u32,
}

impl Pace {
    pub(super) fn over(span: Duration) -> Self {
        Self {
            span: span.max(LOOK),
            looks: VecDeque::new(),
            slowest: None,
            changed: Duration::ZERO,
            idle: Duration::ZERO,
            calm: CALM,
        }
    }

    /// Whether it is time for a look.
    pub(super) fn is_due(&self, wall: Duration) -> bool {
        self.looks.back().is_none_or(|last| wall.saturating_sub(last.wall) >= LOOK)
    }

    /// The lowest speed over a span.
    pub(super) fn slowest(&self) -> Option<f64> {
        self.slowest
    }

    pub(super) fn look(&mut self, now: Look) -> Verdict {
        while self.looks.get(1).is_some_and(|second| now.wall.saturating_sub(second.wall) >= self.span) {
            self.looks.pop_front();
        }
        if let Some(last) = self.looks.back().filter(|last| last.offered == now.offered) {
            self.idle += now.wall.saturating_sub(last.wall);
        }
        self.looks.push_back(now);
        let Some(first) = self.looks.front().copied() else { return Verdict::Fine };
        let wall = now.wall.saturating_sub(first.wall);
        if wall < self.span {
            return Verdict::Fine;
        }
        let speed = speed(&first, &now, wall);
        self.slowest = Some(self.slowest.map_or(speed, |slowest| slowest.min(speed)));
        self.judge(speed, now.wall)
    }

    fn judge(&mut self, speed: f64, wall: Duration) -> Verdict {
        let since = wall.saturating_sub(self.changed);
        if speed < KEEPS_UP {
            if since < self.span {
                return Verdict::Fine;
            }
            // It was calm not long ago and a slower preset was too slow: wait longer next time.
            if since < self.span * 2 {
                self.calm = (self.calm * 2).min(MOST_CALM);
            }
            self.begin_anew(wall);
            return Verdict::Slow(speed);
        }
        if since.saturating_sub(self.idle) >= self.span * self.calm {
            self.begin_anew(wall);
            return Verdict::Calm;
        }
        Verdict::Fine
    }

    fn begin_anew(&mut self, wall: Duration) {
        (self.changed, self.idle) = (wall, Duration::ZERO);
        let last = self.looks.pop_back();
        self.looks.clear();
        self.looks.extend(last);
    }
}

/// Media encoded for each second of media that could have been: 1 keeps up. Time in which the source
/// gave nothing is nobody's fault.
fn speed(first: &Look, now: &Look, wall: Duration) -> f64 {
    let dropped = now.dropped.saturating_sub(first.dropped);
    if dropped > 0 {
        // What is left is encoded in time, and the sound with it: only the number of pictures tells.
        let pictures = now.pictures.saturating_sub(first.pictures);
        return pictures as f64 / (pictures + dropped) as f64;
    }
    if backlog(now) <= backlog(first) + wall.mul_f64(1.0 - KEEPS_UP).max(UNEVEN) {
        return 1.0;
    }
    let encoded = now.encoded.saturating_sub(first.encoded).as_secs_f64();
    let offered = now.offered.saturating_sub(first.offered).as_secs_f64();
    if offered > 0.0 { (encoded / offered).min(1.0) } else { 1.0 }
}

/// Media that the source gave and that is not encoded yet.
fn backlog(look: &Look) -> Duration {
    look.offered.saturating_sub(look.encoded)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Looks once a second for so long at an encoder of this speed, which makes 20 pictures per second
    /// while `dropped` are dropped.
    fn watch(pace: &mut Pace, from: u64, seconds: u64, speed: f64, dropped: u64) -> Vec<(u64, Verdict)> {
        let mut verdicts = Vec::new();
        for second in from..from + seconds {
            let wall = Duration::from_secs(second);
            let (encoded, pictures, dropped) = (wall.mul_f64(speed), 20 * second, dropped * second);
            let look = Look { wall, encoded, offered: encoded, pictures, dropped };
            match pace.look(look) {
                Verdict::Fine => {}
                verdict => verdicts.push((second, verdict)),
            }
        }
        verdicts
    }

    #[test]
    fn slow_is_told_after_its_span_and_not_at_every_look() {
        let mut pace = Pace::over(Duration::from_secs(10));
        let verdicts = watch(&mut pace, 0, 25, 0.8, 5);
        let times: Vec<_> = verdicts.iter().map(|(second, _)| *second).collect();
        assert_eq!(times, [10, 20]);
        assert!(matches!(verdicts[0].1, Verdict::Slow(speed) if (speed - 0.8).abs() < 0.02), "{verdicts:?}");
        assert!(pace.slowest().is_some_and(|slowest| (slowest - 0.8).abs() < 0.02));
    }

    #[test]
    fn a_slower_preset_is_tried_after_calm_and_later_if_it_did_not_do() {
        let mut pace = Pace::over(Duration::from_secs(10));
        assert_eq!(watch(&mut pace, 0, 31, 1.0, 0), [(30, Verdict::Calm)]);
        assert!(matches!(watch(&mut pace, 31, 11, 0.7, 3)[..], [(40, Verdict::Slow(_))]));
        assert_eq!(watch(&mut pace, 42, 60, 1.0, 0), [(100, Verdict::Calm)], "six spans instead of three");
    }

    #[test]
    fn an_encoder_that_is_uneven_is_not_slow() {
        let mut pace = Pace::over(Duration::from_secs(1));
        for half in 0..40_u64 {
            let offered = Duration::from_millis(500 * half);
            let encoded = offered.saturating_sub(Duration::from_millis(half * 37 % 200));
            let look = Look { wall: offered, encoded, offered, ..Look::default() };
            assert!(!matches!(pace.look(look), Verdict::Slow(_)), "{half}");
        }
    }

    #[test]
    fn a_source_that_is_away_makes_the_encoder_neither_slow_nor_fast() {
        let mut pace = Pace::over(Duration::from_secs(2));
        let mut verdicts = Vec::new();
        for second in 0..40_u64 {
            let wall = Duration::from_secs(second);
            let media = Duration::from_secs(second.min(5).max(second.saturating_sub(30)));
            let look = Look { wall, encoded: media, offered: media, ..Look::default() };
            verdicts.extend(Some((second, pace.look(look))).filter(|(_, verdict)| *verdict != Verdict::Fine));
        }
        assert_eq!(verdicts, [(36, Verdict::Calm)], "six seconds of media, five of them before it went");
    }
}
