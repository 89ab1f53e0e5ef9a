//! What becomes of the tags of a source in each container.
//!
//! Tags that describe the source file or its coding would be wrong on the output. A title and a
//! language are kept in the place and the form that the container has for them.

use std::collections::BTreeMap;

use ffrtmp_core::media::Container;

/// Most bytes of a tag; longer ones are no words, but are read into memory by every player.
const MAX_TAG: usize = 64 << 10;

/// What happened to a stream on its way.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Passage {
    Copied,
    Encoded,
}

/// Tags of the file.
pub(super) fn of_file(tags: BTreeMap<String, String>) -> Vec<(String, String)> {
    tags.into_iter().filter(|(key, value)| is_kept(key, value)).collect()
}

/// Title of a chapter, if it has one.
pub(super) fn of_chapter(title: Option<String>) -> Option<String> {
    title.filter(|title| is_kept("title", title))
}

/// Tags of a stream.
pub(super) fn of_stream(
    tags: BTreeMap<String, String>,
    container: Container,
    passage: Passage,
) -> Vec<(String, String)> {
    let mut tags: BTreeMap<_, _> = tags.into_iter().filter(|(key, value)| is_kept(key, value)).collect();
    if passage == Passage::Encoded {
        // Said of a layer that only the source's own packets have.
        tags.retain(|key, _| !key.eq_ignore_ascii_case("alpha_mode"));
    }
    let handler = remove(&mut tags, "handler_name").filter(|name| !is_generic(name));
    let title = remove(&mut tags, "title").or(handler);
    let language = remove(&mut tags, "language");
    if let Some(title) = title {
        let key = if is_mpeg4(container) { "handler_name" } else { "title" };
        tags.insert(key.to_owned(), title);
    }
    if let Some(language) = language {
        let has_three = is_mpeg4(container) || container == Container::MpegTs;
        let language = if has_three { three_letters(&language).unwrap_or(language) } else { language };
        tags.insert("language".to_owned(), language);
    }
    tags.into_iter().collect()
}

const fn is_mpeg4(container: Container) -> bool {
    matches!(container, Container::Mp4 | Container::Fmp4 | Container::Hls | Container::Dash)
}

fn remove(tags: &mut BTreeMap<String, String>, name: &str) -> Option<String> {
    let key = tags.keys().find(|key| key.eq_ignore_ascii_case(name))?.clone();
    tags.remove(&key)
}

fn is_kept(key: &str, value: &str) -> bool {
    const DROPPED: &[&str] = &[
        "major_brand",
        "minor_version",
        "compatible_brands",
        "encoder",
        "rotate",
        "duration",
        "bps",
        "number_of_frames",
        "number_of_bytes",
        "vendor_id",
        "source_id",
    ];
    if value.is_empty() || value.len() > MAX_TAG || key.len() > MAX_TAG {
        return false;
    }
    let key = key.to_ascii_lowercase();
    !DROPPED.contains(&key.split('-').next().unwrap_or_default()) && !key.starts_with("_statistics")
}

/// Names that MPEG-4 writers give every track.
fn is_generic(handler: &str) -> bool {
    const GENERIC: &[&str] = &[
        "videohandler",
        "videohandle",
        "soundhandler",
        "soundhandle",
        "subtitlehandler",
        "texthandler",
        "datahandler",
        "timecodehandler",
        "core media video",
        "core media audio",
        "apple video media handler",
        "apple sound media handler",
        "mainconcept mp4 video media handler",
        "mainconcept mp4 sound media handler",
        "l-smash video handler",
        "l-smash audio handler",
    ];
    let handler = handler.trim().to_ascii_lowercase();
    handler.is_empty() || GENERIC.contains(&handler.as_str()) || handler.starts_with("iso media file produced by")
}

/// The code of three letters for a tag such as `en` or `pt-BR`; `None` if it is none of these.
fn three_letters(language: &str) -> Option<String> {
    let first = language.split(['-', '_']).next().unwrap_or_default().to_ascii_lowercase();
    match first.len() {
        3 if first.bytes().all(|letter| letter.is_ascii_lowercase()) => Some(first),
        2 => ISO_639.split(' ').find_map(|entry| entry.strip_prefix(first.as_str())).map(str::to_owned),
        _ => None,
    }
}

/// ISO 639-1 codes, each with its code of ISO 639-2/T.
const ISO_639: &str = "\
    aaaar ababk aeave afafr akaka amamh anarg arara asasm avava ayaym azaze babak bebel bgbul bhbih \
    bibis bmbam bnben bobod brbre bsbos cacat ceche chcha cocos crcre csces cuchu cvchv cycym dadan \
    dedeu dvdiv dzdzo eeewe elell eneng eoepo esspa etest eueus fafas ffful fifin fjfij fofao frfra \
    fyfry gagle gdgla glglg gngrn guguj gvglv hahau heheb hihin hohmo hrhrv hthat huhun hyhye hzher \
    iaina idind ieile igibo iiiii ikipk ioido isisl itita iuiku jajpn jvjav kakat kgkon kikik kjkua \
    kkkaz klkal kmkhm knkan kokor krkau kskas kukur kvkom kwcor kykir lalat lbltz lglug lilim lnlin \
    lolao ltlit lulub lvlav mgmlg mhmah mimri mkmkd mlmal mnmon mrmar msmsa mtmlt mymya nanau nbnob \
    ndnde nenep ngndo nlnld nnnno nonor nrnbl nvnav nynya ococi ojoji omorm orori ososs papan pipli \
    plpol pspus ptpor quque rmroh rnrun roron rurus rwkin sasan scsrd sdsnd sesme sgsag sisin skslk \
    slslv smsmo snsna sosom sqsqi srsrp ssssw stsot susun svswe swswa tatam tetel tgtgk ththa titir \
    tktuk tltgl tntsn toton trtur tstso tttat twtwi tytah uguig ukukr ururd uzuzb veven vivie vovol \
    wawln wowol xhxho yiyid yoyor zazha zhzho zuzul";

#[cfg(test)]
mod tests {
    use super::*;

    fn stream(tags: &[(&str, &str)], container: Container, passage: Passage) -> Vec<(String, String)> {
        of_stream(owned(tags).into_iter().collect(), container, passage)
    }

    fn owned(tags: &[(&str, &str)]) -> Vec<(String, String)> {
        tags.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned())).collect()
    }

    #[test]
    fn titles_change_their_place_and_no_track_is_named_after_its_kind() {
        let matroska = [("language", "en"), ("title", "Commentary"), ("DURATION", "00:00:08.0"), ("BPS-eng", "9")];
        let mpeg4 = [("handler_name", "Commentary"), ("language", "eng"), ("vendor_id", "[0][0][0][0]")];
        let passage = Passage::Copied;
        assert_eq!(stream(&matroska, Container::Mp4, passage), owned(&mpeg4[..2]));
        assert_eq!(stream(&matroska, Container::Mkv, passage), owned(&matroska[..2]));
        assert_eq!(stream(&mpeg4, Container::Mkv, passage), owned(&[("language", "eng"), ("title", "Commentary")]));
        for name in ["VideoHandler", "SoundHandler", "Core Media Audio", " "] {
            assert_eq!(stream(&[("handler_name", name)], Container::Mkv, passage), [], "{name}");
        }
    }

    #[test]
    fn what_is_not_true_any_more_goes() {
        let tags = [("alpha_mode", "1"), ("comment", "kept"), ("title", "")];
        assert_eq!(stream(&tags, Container::Webm, Passage::Copied), owned(&tags[..2]));
        assert_eq!(stream(&tags, Container::Webm, Passage::Encoded), owned(&tags[1..2]));
        let long = "x".repeat(MAX_TAG + 1);
        assert_eq!(
            of_file(owned(&[("title", &long), ("artist", "A"), ("encoder", "E")]).into_iter().collect()).len(),
            1
        );
        assert_eq!(of_chapter(Some(String::new())), None);
    }

    #[test]
    fn languages_have_three_letters_where_the_container_wants_them() {
        for (tag, code) in [("en", "eng"), ("pt-BR", "por"), ("zh_Hans", "zho"), ("GER", "ger"), ("und", "und")] {
            assert_eq!(three_letters(tag).as_deref(), Some(code), "{tag}");
            assert_eq!(stream(&[("language", tag)], Container::Mkv, Passage::Copied), owned(&[("language", tag)]));
        }
        for tag in ["", "e", "xx", "english", "日本", "1a"] {
            assert_eq!(three_letters(tag), None, "{tag}");
        }
        assert_eq!(ISO_639.split(' ').filter(|entry| entry.len() == 5).count(), 184);
    }
}
