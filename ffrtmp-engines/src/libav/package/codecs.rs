//! Names of codecs for playlists, as RFC 6381 and the codecs' own bindings write them. Pure
//! functions over what the muxer wrote: the sample entry of an initialization segment, or the
//! parameter sets in a transport stream's first picture.

use super::boxes::{Atom, atoms, be16, be32, descend, find};

/// Fields of a video sample entry before its boxes, and of an audio one.
const VISUAL: usize = 78;
const SOUND: usize = 28;

/// The codec of the only track of an initialization segment.
pub(super) fn of_header(header: &[u8]) -> Option<String> {
    let entries = descend(header, &[b"moov", b"trak", b"mdia", b"minf", b"stbl", b"stsd"])?;
    let entry = atoms(header, entries.body + 8, entries.end).next()?;
    let name = std::str::from_utf8(&entry.kind).ok()?;
    let within = |kind: &[u8; 4], skip: usize| -> Option<&[u8]> {
        let inside = Atom { body: entry.body.checked_add(skip)?, ..entry };
        Some(find(header, Some(inside), kind)?.payload(header))
    };
    match name {
        "avc1" | "avc3" => avc(name, within(b"avcC", VISUAL)?.get(1..4)?),
        "hvc1" | "hev1" => hevc(name, within(b"hvcC", VISUAL)?.get(1..13)?),
        "av01" => av1(within(b"av1C", VISUAL)?, within(b"colr", VISUAL)),
        "vp08" | "vp09" => vp(name, within(b"vpcC", VISUAL)?),
        "mp4a" => mpeg_audio(within(b"esds", SOUND)?),
        "Opus" => Some("opus".to_owned()),
        "fLaC" | "ac-3" | "ec-3" | "alac" => Some(name.to_owned()),
        _ => None,
    }
}

/// The codec of a stream in a transport stream: by its headers, as in MP4 or as NAL units, or else by
/// its first packet.
pub(super) fn of_elementary(codec: &str, headers: &[u8], packet: &[u8]) -> Option<String> {
    let is_record = headers.first() == Some(&1);
    let mut units = nal_units(headers).chain(nal_units(packet));
    match codec {
        "h264" if is_record => avc("avc1", headers.get(1..4)?),
        "h264" => units.find(|unit| unit[0] & 0x1f == 7).and_then(|unit| avc("avc1", unit.get(1..4)?)),
        "hevc" | "h265" if is_record => hevc("hvc1", headers.get(1..13)?),
        "hevc" | "h265" => {
            let unit = units.find(|unit| unit[0] >> 1 & 0x3f == 33)?;
            // After two bytes of header and one of its own: the profile, tier and level.
            hevc("hvc1", &unescaped(unit.get(3..)?, 12))
        }
        "aac" => {
            let object = object_type(headers).or_else(|| adts_object_type(packet)).unwrap_or(2);
            Some(format!("mp4a.40.{object}"))
        }
        "mp3" => Some("mp4a.40.34".to_owned()),
        "mp2" => Some("mp4a.40.33".to_owned()),
        "ac3" => Some("ac-3".to_owned()),
        "eac3" => Some("ec-3".to_owned()),
        "opus" => Some("opus".to_owned()),
        _ => None,
    }
}

/// Profile, constraints and level in hexadecimal.
fn avc(name: &str, profile: &[u8]) -> Option<String> {
    match profile {
        [profile, constraints, level] => Some(format!("{name}.{profile:02X}{constraints:02X}{level:02X}")),
        _ => None,
    }
}

/// ISO/IEC 14496-15, annex E.3: profile space and number, compatibility with its bits reversed,
/// tier and level, constraint bytes without zeros at the end.
fn hevc(name: &str, profile: &[u8]) -> Option<String> {
    let (first, level) = (*profile.first()?, *profile.get(11)?);
    let space = ["", "A", "B", "C"][usize::from(first >> 6)];
    let tier = if first & 0x20 == 0 { 'L' } else { 'H' };
    let compatibility = be32(profile, 1)?.reverse_bits();
    let constraints = profile.get(5..11)?;
    let used = constraints.iter().rposition(|byte| *byte != 0).map_or(0, |last| last + 1);
    let constraints: String = constraints[..used].iter().map(|byte| format!(".{byte:X}")).collect();
    Some(format!("{name}.{space}{}.{compatibility:X}.{tier}{level}{constraints}", first & 0x1f))
}

/// AV1 in ISOBMFF, section 5: the short form, or the long one where colours are not the usual.
fn av1(configuration: &[u8], colour: Option<&[u8]>) -> Option<String> {
    let (first, second) = (*configuration.get(1)?, *configuration.get(2)?);
    let tier = if second & 0x80 == 0 { 'M' } else { 'H' };
    let depth = match (second & 0x40 != 0, second & 0x20 != 0) {
        (false, _) => 8,
        (true, false) => 10,
        (true, true) => 12,
    };
    let short = format!("av01.{}.{:02}{tier}.{depth:02}", first >> 5, first & 0x1f);
    let colour = colour.filter(|colour| colour.starts_with(b"nclx"));
    let Some((primaries, transfer, matrix)) =
        colour.and_then(|colour| Some((be16(colour, 4)?, be16(colour, 6)?, be16(colour, 8)?)))
    else {
        return Some(short);
    };
    let full = colour.and_then(|colour| colour.get(10)).is_some_and(|byte| byte & 0x80 != 0);
    if (primaries, transfer, matrix, full) == (1, 1, 1, false) || [primaries, transfer, matrix].contains(&2) {
        return Some(short);
    }
    let (mono, subsampling) = (second >> 4 & 1, [second >> 3 & 1, second >> 2 & 1]);
    let position = if subsampling == [1, 1] { second & 3 } else { 0 };
    Some(format!(
        "{short}.{mono}.{}{}{position}.{primaries:02}.{transfer:02}.{matrix:02}.{}",
        subsampling[0],
        subsampling[1],
        u8::from(full)
    ))
}

/// VP codec ISO media file format binding: profile, level and depth, and the rest where it is not
/// the usual.
fn vp(name: &str, configuration: &[u8]) -> Option<String> {
    let field = |at: usize| configuration.get(4 + at).copied();
    let (profile, level, bits) = (field(0)?, field(1)?, field(2)?);
    let short = format!("{name}.{profile:02}.{level:02}.{:02}", bits >> 4);
    let colour = [field(3)?, field(4)?, field(5)?];
    let (subsampling, full) = (bits >> 1 & 7, bits & 1);
    if subsampling <= 1 && full == 0 && (colour == [1; 3] || colour.contains(&2)) {
        return Some(short);
    }
    Some(format!("{short}.{subsampling:02}.{:02}.{:02}.{:02}.{full:02}", colour[0], colour[1], colour[2]))
}

/// The object type of an elementary stream descriptor (ISO/IEC 14496-1), and of AAC its kind.
fn mpeg_audio(descriptor: &[u8]) -> Option<String> {
    let stream = tagged(descriptor.get(4..)?, 3)?;
    let flags = *stream.get(2)?;
    let mut skip = 3 + if flags & 0x80 != 0 { 2 } else { 0 };
    if flags & 0x40 != 0 {
        skip += 1 + usize::from(*stream.get(skip)?);
    }
    skip += if flags & 0x20 != 0 { 2 } else { 0 };
    let decoder = tagged(stream.get(skip..)?, 4)?;
    let kind = *decoder.first()?;
    if kind != 0x40 {
        return Some(format!("mp4a.{kind:02X}"));
    }
    Some(format!("mp4a.40.{}", object_type(tagged(decoder.get(13..)?, 5)?)?))
}

/// The kind of AAC in its configuration (ISO/IEC 14496-3).
fn object_type(configuration: &[u8]) -> Option<u16> {
    match configuration.first()? >> 3 {
        31 => Some(32 + (be16(configuration, 0)? >> 5 & 0x3f)),
        short => Some(u16::from(short)),
    }
}

/// The body of the descriptor at the start, if it has this tag.
fn tagged(bytes: &[u8], tag: u8) -> Option<&[u8]> {
    let mut length = 0;
    let rest = bytes.strip_prefix(&[tag])?;
    for (place, byte) in rest.iter().take(4).enumerate() {
        length = length << 7 | usize::from(byte & 0x7f);
        if byte & 0x80 == 0 {
            let body = rest.get(place + 1..)?;
            return Some(&body[..length.min(body.len())]);
        }
    }
    None
}

/// What an ADTS header says, one less than the object type.
fn adts_object_type(packet: &[u8]) -> Option<u16> {
    let header = packet.get(..3)?;
    (header[0] == 0xff && header[1] & 0xf6 == 0xf0).then(|| u16::from(header[2] >> 6) + 1)
}

/// NAL units of an Annex B byte stream, or with lengths in front as in MP4; none is empty.
fn nal_units(packet: &[u8]) -> impl Iterator<Item = &[u8]> {
    let annex_b = packet.starts_with(&[0, 0, 1]) || packet.starts_with(&[0, 0, 0, 1]);
    let mut rest = packet;
    std::iter::from_fn(move || {
        if !annex_b {
            let length = be32(rest, 0)? as usize;
            let unit = rest.get(4..4usize.checked_add(length)?)?;
            rest = &rest[4 + length..];
            return Some(unit);
        }
        let start = rest.windows(3).position(|window| window == [0, 0, 1])? + 3;
        let unit = &rest[start..];
        let end = unit.windows(3).position(|window| window == [0, 0, 1]).unwrap_or(unit.len());
        rest = &unit[end..];
        Some(&unit[..end])
    })
    .filter(|unit| !unit.is_empty())
}

/// The first bytes of a unit without the bytes that only keep start codes away.
fn unescaped(unit: &[u8], count: usize) -> Vec<u8> {
    let mut plain: Vec<u8> = Vec::with_capacity(count);
    let mut zeros = 0;
    for byte in unit {
        if zeros >= 2 && *byte == 3 {
            zeros = 0;
            continue;
        }
        zeros = if *byte == 0 { zeros + 1 } else { 0 };
        plain.push(*byte);
        if plain.len() == count {
            break;
        }
    }
    plain
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn configurations_have_their_names() {
        let hevc_main = [0x01, 0x60, 0, 0, 0, 0x90, 0, 0, 0, 0, 0, 93];
        let hevc_main10 = [0x22, 0x20, 0, 0, 0, 0xb0, 0, 0, 0, 0, 0, 153];
        let bt2020 = [&b"nclx"[..], &[0, 9, 0, 16, 0, 9, 0]].concat();
        let cases = [
            (avc("avc1", &[0x64, 0, 0x28]), "avc1.640028"),
            (avc("avc1", &[0x42, 0xc0, 0x1e]), "avc1.42C01E"),
            (hevc("hvc1", &hevc_main), "hvc1.1.6.L93.90"),
            (hevc("hvc1", &hevc_main10), "hvc1.2.4.H153.B0"),
            (av1(&[0x81, 0x04, 0x0c, 0], None), "av01.0.04M.08"),
            (av1(&[0x81, 0x2d, 0xcc, 0], None), "av01.1.13H.10"),
            (av1(&[0x81, 0x0c, 0x4d, 0], Some(&bt2020)), "av01.0.12M.10.0.111.09.16.09.0"),
            (vp("vp09", &[1, 0, 0, 0, 0, 31, 0x82, 1, 1, 1]), "vp09.00.31.08"),
            (vp("vp09", &[1, 0, 0, 0, 2, 51, 0xa2, 9, 16, 9]), "vp09.02.51.10.01.09.16.09.00"),
        ];
        for (name, wanted) in cases {
            assert_eq!(name.as_deref(), Some(wanted));
        }
    }

    #[test]
    fn descriptors_name_mpeg_audio() {
        // Descriptors as FFmpeg writes them, with lengths of four bytes.
        let esds = |kind: u8, specific: &[u8]| {
            let pad = [0x80, 0x80, 0x80];
            let inner = [&[5], &pad[..], &[specific.len() as u8], specific].concat();
            let decoder = [&[4][..], &pad, &[13 + inner.len() as u8, kind], &[0; 12], &inner].concat();
            [&[0; 4][..], &[3], &pad, &[3 + decoder.len() as u8, 0, 1, 0], &decoder].concat()
        };
        assert_eq!(mpeg_audio(&esds(0x40, &[0x11, 0x90])).as_deref(), Some("mp4a.40.2"));
        assert_eq!(mpeg_audio(&esds(0x40, &[0x2b, 0x11])).as_deref(), Some("mp4a.40.5"));
        assert_eq!(mpeg_audio(&esds(0x40, &[0xf9, 0x40])).as_deref(), Some("mp4a.40.42"));
        assert_eq!(mpeg_audio(&esds(0x6b, &[])).as_deref(), Some("mp4a.6B"));
        for cut in 0..30 {
            mpeg_audio(&esds(0x40, &[0x11, 0x90])[..cut]);
        }
    }

    #[test]
    fn parameter_sets_are_found_in_packets() {
        let sps = [0x67, 0x4d, 0x40, 0x1f, 0xaa];
        let annex_b = [&[0, 0, 0, 1, 0x09, 0xf0, 0, 0, 1][..], &sps, &[0, 0, 1, 0x65, 1]].concat();
        assert_eq!(of_elementary("h264", &[], &annex_b).as_deref(), Some("avc1.4D401F"));
        let sized = [&[0, 0, 0, 2, 0x09, 0xf0, 0, 0, 0, 5][..], &sps].concat();
        assert_eq!(of_elementary("h264", &[], &sized).as_deref(), Some("avc1.4D401F"));
        // The zeros of the constraints carry emulation prevention bytes.
        let hevc = [0, 0, 1, 0x42, 1, 1, 0x01, 0x60, 0, 0, 3, 0, 0x90, 0, 0, 3, 0, 0, 3, 0, 0x5d, 7];
        assert_eq!(of_elementary("hevc", &[], &hevc).as_deref(), Some("hvc1.1.6.L93.90"));
        assert_eq!(of_elementary("aac", &[], &[0xff, 0xf1, 0x50, 0x80]).as_deref(), Some("mp4a.40.2"));
        assert_eq!(of_elementary("aac", &[0x2b, 0x11], &[1]).as_deref(), Some("mp4a.40.5"));
        assert_eq!(of_elementary("h264", &[1, 0x64, 0, 0x28], &[]).as_deref(), Some("avc1.640028"));
        assert_eq!(of_elementary("h264", &annex_b, &[]).as_deref(), Some("avc1.4D401F"));
        assert_eq!(of_elementary("h264", &[], &[0, 0, 1]), None);
        assert_eq!(of_elementary("h264", &[], &[0, 0, 0, 0xff, 0x67]), None);
    }
}
