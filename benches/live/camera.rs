//! A camera: pictures on schedule, each with its number written into it large enough to survive an
//! encoder.

use std::path::Path;
use std::time::{Duration, Instant};

use crate::{Result, servers};

/// Pictures per second.
pub(crate) const FPS: u64 = 25;
/// Bits of a number, and the side of the square that shows one.
const BITS: usize = 12;
const SIDE: usize = 32;
/// Pictures that are kept; they are shown forwards and backwards.
const KEPT: u64 = 50;

/// Real pictures where the clips are, generated ones where not, as planar 4:2:0.
pub(crate) struct Camera {
    width: usize,
    pictures: Vec<Vec<u8>>,
}

impl Camera {
    pub(crate) fn new(width: usize, height: usize) -> Result<Self> {
        let beside = || Path::new(env!("CARGO_MANIFEST_DIR")).join("../shared/media").into();
        let clip = Path::new(&std::env::var_os("FFRTMP_MEDIA").unwrap_or_else(beside)).join("bbb720.mp4");
        let mut command = servers::ffmpeg();
        if clip.exists() {
            command.arg("-i").arg(clip);
        } else {
            command.args(["-f", "lavfi", "-i", &format!("testsrc2=size={width}x{height}:rate={FPS}")]);
        }
        let scale = format!("scale={width}:{height}");
        command.args(["-vf", &scale, "-frames:v", &KEPT.to_string(), "-pix_fmt", "yuv420p", "-f", "rawvideo", "-"]);
        let made = servers::succeed(&mut command, Duration::from_secs(60)).stdout;
        let pictures: Vec<_> = made.chunks_exact(width * height * 3 / 2).map(<[u8]>::to_vec).collect();
        if pictures.is_empty() {
            return Err("there are no pictures to show".into());
        }
        Ok(Self { width, pictures })
    }

    /// The picture of a number, which is written into its upper left corner.
    pub(crate) fn picture(&self, number: u64) -> Vec<u8> {
        let turn = 2 * self.pictures.len() - 1;
        let place = number as usize % turn;
        let mut picture = self.pictures[place.min(turn - 1 - place)].clone();
        for bit in 0..BITS {
            let shade = if number >> bit & 1 == 1 { 235 } else { 16 };
            for row in picture.chunks_exact_mut(self.width).take(SIDE) {
                row[bit * SIDE..][..SIDE].fill(shade);
            }
        }
        picture
    }
}

/// The number in a decoded picture, of which `luma` is the brightness.
pub(crate) fn number(luma: &[u8], width: usize) -> u64 {
    let centre = |bit: usize| luma[SIDE / 2 * width + bit * SIDE + SIDE / 2];
    (0..BITS).map(|bit| u64::from(centre(bit) > 128) << bit).sum()
}

/// How many numbers there are before they begin again.
pub(crate) const NUMBERS: u64 = 1 << BITS;

/// Calls `show` with each number at its time, until it says `false`; gives the times of the calls.
pub(crate) fn film(count: u64, mut show: impl FnMut(u64) -> Result<bool>) -> Result<Vec<Instant>> {
    let begun = Instant::now() + Duration::from_millis(50);
    let mut shown = Vec::new();
    for number in 0..count {
        let due = begun + Duration::from_micros(number * 1_000_000 / FPS);
        std::thread::sleep(due.saturating_duration_since(Instant::now()));
        shown.push(Instant::now());
        if !show(number)? {
            break;
        }
    }
    Ok(shown)
}
