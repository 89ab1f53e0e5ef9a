//! The table of an MP4 that says how long each picture is shown (ISO/IEC 14496-12, 8.6.1.2), read
//! for its sum: libav takes whatever it says.

use super::Input;
use super::pages::Pages;

/// Boxes that are looked into, and entries of the table.
const MOST_BOXES: u32 = 10_000;
const MOST_ENTRIES: u32 = 1 << 20;

/// What a track says of its length, in seconds.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Told {
    /// In its header.
    pub(crate) header: f64,
    /// By the sum of its table.
    pub(crate) table: f64,
    /// Of one sample, in the mean.
    pub(crate) mean: f64,
}

impl Input {
    /// What the track of a stream says; `None` where it has no such table.
    pub(crate) fn told(&mut self, index: usize) -> Option<Told> {
        let is_mp4 = self.format().split(',').any(|name| name == "mp4");
        let id = u32::try_from(self.stream(index).filter(|_| is_mp4)?.raw().id).ok()?;
        let end = self.total_bytes();
        told(&mut Pages::new(|position, buffer| self.peek(position, buffer)), end, id)
    }
}

fn told(pages: &mut Pages<'_>, end: u64, id: u32) -> Option<Told> {
    let mut boxes = Boxes { pages, left: MOST_BOXES };
    let movie = boxes.find(Place { start: 0, end }, *b"moov")?;
    // What comes in fragments has tables of its own.
    if boxes.find(movie, *b"mvex").is_some() {
        return None;
    }
    let mut rest = movie;
    let track = loop {
        let track = boxes.find(rest, *b"trak")?;
        if boxes.track_id(track) == Some(id) {
            break track;
        }
        rest.start = track.end;
    };
    let media = boxes.find(track, *b"mdia")?;
    let (scale, length) = boxes.header(media)?;
    let table = [*b"minf", *b"stbl", *b"stts"].into_iter().try_fold(media, |place, name| boxes.find(place, name))?;
    let (samples, sum) = boxes.sum(table)?;
    let seconds = |ticks: u64| ticks as f64 / f64::from(scale);
    (scale > 0 && length > 0 && samples > 0).then(|| Told {
        header: seconds(length),
        table: seconds(sum),
        mean: seconds(sum.min(length)) / samples as f64,
    })
}

/// What is inside of a box.
#[derive(Clone, Copy, Debug)]
struct Place {
    start: u64,
    end: u64,
}

struct Boxes<'a, 'b> {
    pages: &'a mut Pages<'b>,
    left: u32,
}

impl Boxes<'_, '_> {
    /// The first box of a name.
    fn find(&mut self, within: Place, name: [u8; 4]) -> Option<Place> {
        let mut position = within.start;
        while position.saturating_add(8) <= within.end {
            self.left = self.left.checked_sub(1)?;
            let [a, b, c, d, own @ ..]: [u8; 8] = self.pages.at(position)?;
            let (head, size) = match u32::from_be_bytes([a, b, c, d]) {
                0 => (8, within.end - position),
                1 => (16, u64::from_be_bytes(self.pages.at(position + 8)?)),
                size => (8, u64::from(size)),
            };
            let end = position.checked_add(size).filter(|end| size >= head && *end <= within.end)?;
            if own == name {
                return Some(Place { start: position + head, end });
            }
            position = end;
        }
        None
    }

    fn track_id(&mut self, track: Place) -> Option<u32> {
        let header = self.find(track, *b"tkhd")?;
        let [version]: [u8; 1] = self.pages.at(header.start)?;
        self.number(header.start + if version == 1 { 20 } else { 12 })
    }

    /// Ticks of a second, and length in ticks; a length that is not known is none.
    fn header(&mut self, media: Place) -> Option<(u32, u64)> {
        let header = self.find(media, *b"mdhd")?;
        let [version]: [u8; 1] = self.pages.at(header.start)?;
        if version == 1 {
            let length = u64::from_be_bytes(self.pages.at(header.start + 24)?);
            return Some((self.number(header.start + 20)?, length)).filter(|_| length != u64::MAX);
        }
        let length = self.number(header.start + 16)?;
        Some((self.number(header.start + 12)?, u64::from(length))).filter(|_| length != u32::MAX)
    }

    /// Samples of a table, and their ticks together.
    fn sum(&mut self, table: Place) -> Option<(u64, u64)> {
        let entries = self.number(table.start + 4)?;
        let room = table.end.saturating_sub(table.start + 8) / 8;
        if entries > MOST_ENTRIES || u64::from(entries) > room {
            return None;
        }
        let mut sum = (0_u64, 0_u64);
        for entry in 0..u64::from(entries) {
            let position = table.start + 8 + entry * 8;
            let (count, each) = (self.number(position)?, self.number(position + 4)?);
            sum = (sum.0 + u64::from(count), sum.1.saturating_add(u64::from(count) * u64::from(each)));
        }
        Some(sum)
    }

    fn number(&mut self, position: u64) -> Option<u32> {
        self.pages.at(position).map(u32::from_be_bytes)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn boxed(name: &[u8; 4], inside: &[&[u8]]) -> Vec<u8> {
        let inside = inside.concat();
        [&(inside.len() as u32 + 8).to_be_bytes()[..], name, &inside].concat()
    }

    fn numbers(numbers: &[u32]) -> Vec<u8> {
        numbers.iter().flat_map(|number| number.to_be_bytes()).collect()
    }

    /// A file of two tracks, of which the second has this header and this table.
    fn file(header: &[u32], table: &[u32], after: &[u8]) -> Vec<u8> {
        let track = |id: u32, header: &[u32], table: &[u32]| {
            let table = boxed(b"stbl", &[&boxed(b"stsd", &[]), &boxed(b"stts", &[&numbers(table)])]);
            let media = boxed(b"mdia", &[&boxed(b"mdhd", &[&numbers(header)]), &boxed(b"minf", &[&table])]);
            boxed(b"trak", &[&boxed(b"tkhd", &[&numbers(&[0, 0, 0, id, 0])]), &media])
        };
        let tracks = [track(1, &[0, 0, 0, 1, 7], &[0, 1, 1, 7]), track(9, header, table)].concat();
        let free = [numbers(&[1]), b"free".to_vec(), 20_u64.to_be_bytes().to_vec(), vec![5; 4]].concat();
        [boxed(b"ftyp", &[b"isom"]), free, boxed(b"moov", &[&tracks, after])].concat()
    }

    #[test]
    fn a_table_tells_its_sum() {
        let told = |bytes: &[u8], id: u32| {
            let mut pages = Pages::new(|position, buffer| {
                let rest = usize::try_from(position).ok().and_then(|start| bytes.get(start..)).unwrap_or_default();
                let count = rest.len().min(buffer.len());
                buffer[..count].copy_from_slice(&rest[..count]);
                Ok(count)
            });
            told(&mut pages, bytes.len() as u64, id)
        };
        let header = [0, 0, 0, 100, 400];
        let long = [1 << 24, 0, 0, 0, 0, 100, 0, 400];
        let found = |header: f64, table: f64, mean: f64| Some(Told { header, table, mean });
        assert_eq!(told(&file(&header, &[0, 2, 3, 100, 1, 100], &[]), 9), found(4.0, 4.0, 1.0));
        assert_eq!(told(&file(&long, &[0, 2, 3, 100, 1, 900], &[]), 9), found(4.0, 12.0, 1.0));
        assert_eq!(told(&file(&header, &[0, 1, 1, 100], &[]), 9), found(4.0, 1.0, 1.0));
        assert_eq!(told(&file(&header, &[0, 1, 1, 100], &[]), 1), found(7.0, 7.0, 7.0));
        // No such track, nothing in it, no length, more entries than there are, fragments.
        let whole = file(&header, &[0, 1, 4, 100], &[]);
        assert_eq!(told(&whole, 2), None);
        assert_eq!(told(&file(&header, &[0, 0], &[]), 9), None);
        assert_eq!(told(&file(&[0, 0, 0, 100, u32::MAX], &[0, 1, 1, 1], &[]), 9), None);
        assert_eq!(told(&file(&header, &[0, 2, 1, 1], &[]), 9), None);
        assert_eq!(told(&file(&header, &[0, 1, 4, 100], &boxed(b"mvex", &[])), 9), None);
        for end in 0..whole.len() {
            assert_eq!(told(&whole[..end], 9), None, "cut off at {end}");
        }
    }
}
