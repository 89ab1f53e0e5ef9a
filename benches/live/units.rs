//! When each access unit of an H.264 byte stream was complete.

use std::io::Read;
use std::time::Instant;

use crate::Result;

/// Everything that was read, and how much of it was there when.
#[derive(Default)]
pub(crate) struct Heard {
    bytes: Vec<u8>,
    arrived: Vec<(usize, Instant)>,
}

impl Heard {
    /// Reads to the end.
    pub(crate) fn all(mut from: impl Read) -> Result<Self> {
        let mut heard = Self::default();
        let mut chunk = vec![0; 1 << 16];
        loop {
            let count = from.read(&mut chunk)?;
            if count == 0 {
                return Ok(heard);
            }
            heard.bytes.extend_from_slice(&chunk[..count]);
            heard.arrived.push((heard.bytes.len(), Instant::now()));
        }
    }

    /// When the last byte of each access unit was there, in order.
    pub(crate) fn complete(&self) -> Vec<Instant> {
        let mut ends: Vec<_> = self.starts().into_iter().skip(1).collect();
        ends.push(self.bytes.len());
        let at = |end: usize| self.arrived.get(self.arrived.partition_point(|(there, _)| *there < end));
        ends.into_iter().filter_map(|end| at(end).map(|(_, time)| *time)).collect()
    }

    /// Where access units begin: at the first of the units that lie before a picture's first slice.
    fn starts(&self) -> Vec<usize> {
        let (mut starts, mut ahead) = (Vec::new(), None);
        for at in start_codes(&self.bytes) {
            // A start code may have a zero before it that belongs to it.
            let begin = if at > 0 && self.bytes[at - 1] == 0 { at - 1 } else { at };
            let Some(kind) = self.bytes.get(at + 3).map(|byte| byte & 31) else { continue };
            // first_mb_in_slice is 0 where the first bit of its code is set.
            let is_first = self.bytes.get(at + 4).is_some_and(|byte| byte & 0x80 != 0);
            match kind {
                1 | 5 if is_first => starts.push(ahead.take().unwrap_or(begin)),
                6..=9 => ahead = ahead.or(Some(begin)),
                _ => {}
            }
        }
        starts
    }
}

fn start_codes(bytes: &[u8]) -> impl Iterator<Item = usize> {
    bytes.windows(3).enumerate().filter(|(_, three)| *three == [0, 0, 1]).map(|(at, _)| at)
}
