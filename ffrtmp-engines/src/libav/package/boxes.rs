//! The few boxes of ISO/IEC 14496-12 that a package has to read or mend. Pure functions over bytes.
//!
//! What a sample entry says about its codec is read in `codecs.rs`.

/// A box: its type, where it begins, where its payload begins, and where it ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Atom {
    pub(super) kind: [u8; 4],
    pub(super) start: usize,
    pub(super) body: usize,
    pub(super) end: usize,
}

impl Atom {
    /// The bytes inside the box.
    pub(super) fn payload<'a>(&self, bytes: &'a [u8]) -> &'a [u8] {
        bytes.get(self.body..self.end).unwrap_or_default()
    }
}

/// The boxes that follow each other in `bytes[from..to]`; ends at the first that is not whole.
pub(super) fn atoms(bytes: &[u8], from: usize, to: usize) -> impl Iterator<Item = Atom> + '_ {
    let mut at = from;
    let to = to.min(bytes.len());
    std::iter::from_fn(move || {
        let atom = atom_at(bytes.get(..to)?, at)?;
        at = atom.end;
        Some(atom)
    })
}

/// The first box of a kind within another's payload, or at the top for `None`.
pub(super) fn find(bytes: &[u8], inside: Option<Atom>, kind: &[u8; 4]) -> Option<Atom> {
    let (from, to) = inside.map_or((0, bytes.len()), |atom| (atom.body, atom.end));
    atoms(bytes, from, to).find(|atom| &atom.kind == kind)
}

/// The box at the end of a path of kinds.
pub(super) fn descend(bytes: &[u8], path: &[&[u8; 4]]) -> Option<Atom> {
    let mut inside = None;
    for kind in path {
        inside = Some(find(bytes, inside, kind)?);
    }
    inside
}

fn atom_at(bytes: &[u8], start: usize) -> Option<Atom> {
    let size = be32(bytes, start)? as usize;
    let kind = bytes.get(start + 4..start + 8)?.try_into().ok()?;
    let (body, size) = match size {
        0 => (start + 8, bytes.len() - start),
        1 => (start + 16, usize::try_from(be64(bytes, start + 8)?).ok()?),
        size => (start + 8, size),
    };
    let end = start.checked_add(size)?;
    (body <= end && end <= bytes.len()).then_some(Atom { kind, start, body, end })
}

/// Splits a first piece of a fragmented file into its header and its fragments.
pub(super) fn split_header(bytes: &[u8]) -> (&[u8], &[u8]) {
    let header = atoms(bytes, 0, bytes.len()).find(|atom| !matches!(&atom.kind, b"ftyp" | b"moov"));
    bytes.split_at(header.map_or(bytes.len(), |atom| atom.start))
}

/// Brands at the start of a segment: CMAF segments of the DASH media segment format.
pub(super) fn segment_type() -> Vec<u8> {
    atom(b"styp", b"msdh\0\0\0\0msdhcmfs")
}

/// The header with the brands of a CMAF track whose pictures have no negative offsets.
pub(super) fn with_brand(header: &[u8]) -> Option<Vec<u8>> {
    let movie = find(header, None, b"moov")?;
    Some([&atom(b"ftyp", b"cmfc\0\0\0\0cmfciso6mp41"), &header[movie.start..]].concat())
}

/// Ticks per second of the only track.
pub(super) fn timescale(header: &[u8]) -> Option<u32> {
    let media = descend(header, &[b"moov", b"trak", b"mdia", b"mdhd"])?.payload(header);
    be32(media, if media.first() == Some(&1) { 20 } else { 12 })
}

/// The header with an edit list: presentation begins at this time of the media. What lies before it
/// is decoded but not shown, as the priming of audio codecs.
pub(super) fn with_presentation_start(header: &[u8], media_time: u32) -> Option<Vec<u8>> {
    let movie = find(header, None, b"moov")?;
    let track = find(header, Some(movie), b"trak")?;
    let place = find(header, Some(track), b"tkhd")?.end;
    // Version 0, one entry: as long as the media, from the time given, at normal speed.
    let entry = [&[0; 4][..], &1_u32.to_be_bytes(), &[0; 4], &media_time.to_be_bytes(), &[0, 1, 0, 0]].concat();
    let edits = atom(b"edts", &atom(b"elst", &entry));
    let mut mended = Vec::with_capacity(header.len() + edits.len());
    mended.extend_from_slice(&header[..place]);
    mended.extend_from_slice(&edits);
    mended.extend_from_slice(&header[place..]);
    for grown in [movie, track] {
        let size = be32(&mended, grown.start)?.checked_add(u32::try_from(edits.len()).ok()?)?;
        mended.get_mut(grown.start..grown.start + 4)?.copy_from_slice(&size.to_be_bytes());
    }
    Some(mended)
}

/// Sets when the first sample of a fragment is decoded.
pub(super) fn set_decode_time(fragment: &mut [u8], ticks: u64) -> Option<()> {
    let time = descend(fragment, &[b"moof", b"traf", b"tfdt"])?;
    let at = time.body + 4;
    if fragment.get(time.body) == Some(&1) {
        fragment.get_mut(at..at + 8)?.copy_from_slice(&ticks.to_be_bytes());
    } else {
        fragment.get_mut(at..at + 4)?.copy_from_slice(&u32::try_from(ticks).ok()?.to_be_bytes());
    }
    Some(())
}

/// Where the first sample of a fragment ends, counted from where its `moof` begins.
pub(super) fn first_sample_end(fragment: &[u8]) -> Option<usize> {
    const DATA_OFFSET: u32 = 0x1;
    const FIRST_FLAGS: u32 = 0x4;
    const DURATION: u32 = 0x100;
    const SIZE: u32 = 0x200;
    let movie = find(fragment, None, b"moof")?;
    let track = find(fragment, Some(movie), b"traf")?;
    let run = find(fragment, Some(track), b"trun")?.payload(fragment);
    let flags = be32(run, 0)? & 0x00ff_ffff;
    if flags & DATA_OFFSET == 0 || be32(run, 4)? == 0 {
        return None;
    }
    let offset = be32(run, 8)? as usize;
    let size = if flags & SIZE != 0 {
        let entry = 12 + if flags & FIRST_FLAGS != 0 { 4 } else { 0 };
        be32(run, entry + if flags & DURATION != 0 { 4 } else { 0 })?
    } else {
        default_sample_size(find(fragment, Some(track), b"tfhd")?.payload(fragment))?
    };
    let end = offset.checked_add(size as usize)?;
    (movie.start + end <= fragment.len()).then_some(end)
}

fn default_sample_size(header: &[u8]) -> Option<u32> {
    // Optional fields before it, each with its flag and size.
    const BEFORE: [(u32, usize); 3] = [(0x1, 8), (0x2, 4), (0x8, 4)];
    let flags = be32(header, 0)?;
    let before: usize = BEFORE.iter().filter(|(flag, _)| flags & flag != 0).map(|(_, size)| size).sum();
    (flags & 0x10 != 0).then(|| be32(header, 8 + before)).flatten()
}

fn atom(kind: &[u8; 4], payload: &[u8]) -> Vec<u8> {
    let size = u32::try_from(payload.len() + 8).unwrap_or(u32::MAX);
    [&size.to_be_bytes()[..], kind, payload].concat()
}

pub(super) fn be16(bytes: &[u8], at: usize) -> Option<u16> {
    bytes.get(at..at + 2)?.try_into().ok().map(u16::from_be_bytes)
}

pub(super) fn be32(bytes: &[u8], at: usize) -> Option<u32> {
    bytes.get(at..at + 4)?.try_into().ok().map(u32::from_be_bytes)
}

fn be64(bytes: &[u8], at: usize) -> Option<u64> {
    bytes.get(at..at + 8)?.try_into().ok().map(u64::from_be_bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn fragment(truns: &[u8], tfhd: &[u8], data: usize) -> Vec<u8> {
        let tfdt = atom(b"tfdt", &[&[1, 0, 0, 0][..], &[0; 8]].concat());
        let track = atom(b"traf", &[atom(b"tfhd", tfhd), tfdt, atom(b"trun", truns)].concat());
        [atom(b"moof", &track), atom(b"mdat", &vec![7; data])].concat()
    }

    #[test]
    fn the_first_sample_is_found_by_either_kind_of_size() {
        // Flags: data offset, duration and size per sample.
        let sized = [0, 0, 3, 1, 0, 0, 0, 1, 0, 0, 0, 90, 0, 0, 0, 40, 0, 0, 0, 5];
        assert_eq!(first_sample_end(&fragment(&sized, &[0, 2, 0, 0, 0, 0, 0, 1], 60)), Some(95));
        // Default duration and size in the track fragment's header.
        let plain = [0, 0, 0, 1, 0, 0, 0, 1, 0, 0, 0, 90];
        let header = [0, 2, 0, 0x18, 0, 0, 0, 1, 0, 0, 0, 40, 0, 0, 0, 6];
        assert_eq!(first_sample_end(&fragment(&plain, &header, 60)), Some(96));
        assert_eq!(first_sample_end(&fragment(&plain, &header, 0)), None, "the data is not there");
    }

    #[test]
    fn decode_times_and_presentation_starts_are_set() {
        let mut bytes = fragment(&[0; 8], &[0; 8], 1);
        set_decode_time(&mut bytes, 0x1_0000_0001).unwrap();
        let time = descend(&bytes, &[b"moof", b"traf", b"tfdt"]).unwrap();
        assert_eq!(time.payload(&bytes), [1, 0, 0, 0, 0, 0, 0, 1, 0, 0, 0, 1]);

        let track = atom(b"trak", &[atom(b"tkhd", &[9; 4]), atom(b"mdia", &[])].concat());
        let header = [atom(b"ftyp", b"cmf2"), atom(b"moov", &track)].concat();
        let mended = with_presentation_start(&header, 1024).unwrap();
        let edits = descend(&mended, &[b"moov", b"trak", b"edts", b"elst"]).unwrap().payload(&mended);
        assert_eq!(with_brand(&header).unwrap()[8..12], *b"cmfc");
        assert_eq!(edits, [0, 0, 0, 0, 0, 0, 0, 1, 0, 0, 0, 0, 0, 0, 4, 0, 0, 1, 0, 0]);
        assert!(descend(&mended, &[b"moov", b"trak", b"mdia"]).is_some_and(|media| media.end == mended.len()));
    }

    #[test]
    fn damage_is_no_box() {
        let whole = fragment(&[0; 8], &[0; 8], 1);
        for cut in 0..whole.len() {
            first_sample_end(&whole[..cut]);
            set_decode_time(&mut whole[..cut].to_vec(), 1);
            split_header(&whole[..cut]);
            with_presentation_start(&whole[..cut], 1);
        }
        assert_eq!(atoms(&[0, 0, 0, 4, b'f', b'r', b'e', b'e'], 0, 8).count(), 0, "smaller than its own header");
    }
}
