//! Names out of foreign tags, fit for directories and playlists.

/// Longest part of a directory's name that comes from a tag.
const LONGEST: usize = 24;

/// Letters and digits of a tag, in lower case, for a file name; `None` if nothing is left.
pub(super) fn file_part(tag: &str) -> Option<String> {
    let mut part = String::new();
    for letter in tag.trim().chars() {
        match letter {
            letter if letter.is_ascii_alphanumeric() => part.push(letter.to_ascii_lowercase()),
            _ if part.is_empty() || part.ends_with('-') => {}
            _ => part.push('-'),
        }
        if part.len() == LONGEST {
            break;
        }
    }
    let part = part.trim_end_matches('-');
    (!part.is_empty()).then(|| part.to_owned())
}

/// A name that none of the others has: itself, or with a number behind it.
pub(super) fn distinct(name: String, taken: &[String]) -> String {
    let numbered = (2..).map(|number| format!("{name}_{number}"));
    let free = |candidate: &String| !taken.contains(candidate);
    if free(&name) { name } else { numbered.into_iter().find(free).unwrap_or_default() }
}

/// The language tag of BCP 47 for what a container calls a language; `None` where it says nothing
/// or nonsense.
pub(super) fn language(tag: &str) -> Option<String> {
    let tag = tag.trim();
    let mut parts = tag.split(['-', '_']);
    let first = parts.next()?.to_ascii_lowercase();
    let is_code = (2..=3).contains(&first.len()) && first.bytes().all(|byte| byte.is_ascii_lowercase());
    if !is_code || matches!(first.as_str(), "und" | "mis" | "zxx") {
        return None;
    }
    let short =
        LANGUAGES.iter().find(|(_, long)| long.contains(&first.as_str())).map_or(first.as_str(), |(short, _)| short);
    let rest =
        parts.filter(|part| (2..=8).contains(&part.len()) && part.bytes().all(|byte| byte.is_ascii_alphanumeric()));
    Some(rest.fold(short.to_owned(), |tag, part| format!("{tag}-{part}")))
}

/// One line of text without quotes, as attributes of a playlist take it.
pub(super) fn quotable(text: &str) -> String {
    let plain = |letter: char| if letter.is_control() { ' ' } else { letter };
    let line: String =
        text.chars().map(plain).map(|letter| if letter == '"' { '\'' } else { letter }).take(120).collect();
    line.trim().to_owned()
}

/// Codes of ISO 639-1 with those of ISO 639-2 for the same language, which BCP 47 wants short.
const LANGUAGES: &[(&str, &[&str])] = &[
    ("af", &["afr"]),
    ("ar", &["ara"]),
    ("be", &["bel"]),
    ("bg", &["bul"]),
    ("bn", &["ben"]),
    ("bs", &["bos"]),
    ("ca", &["cat"]),
    ("cs", &["ces", "cze"]),
    ("cy", &["cym", "wel"]),
    ("da", &["dan"]),
    ("de", &["deu", "ger"]),
    ("el", &["ell", "gre"]),
    ("en", &["eng"]),
    ("es", &["spa"]),
    ("et", &["est"]),
    ("eu", &["eus", "baq"]),
    ("fa", &["fas", "per"]),
    ("fi", &["fin"]),
    ("fr", &["fra", "fre"]),
    ("ga", &["gle"]),
    ("gl", &["glg"]),
    ("he", &["heb"]),
    ("hi", &["hin"]),
    ("hr", &["hrv"]),
    ("hu", &["hun"]),
    ("hy", &["hye", "arm"]),
    ("id", &["ind"]),
    ("is", &["isl", "ice"]),
    ("it", &["ita"]),
    ("ja", &["jpn"]),
    ("ka", &["kat", "geo"]),
    ("kk", &["kaz"]),
    ("km", &["khm"]),
    ("ko", &["kor"]),
    ("la", &["lat"]),
    ("lt", &["lit"]),
    ("lv", &["lav"]),
    ("mk", &["mkd", "mac"]),
    ("mn", &["mon"]),
    ("ms", &["msa", "may"]),
    ("my", &["mya", "bur"]),
    ("nb", &["nob"]),
    ("ne", &["nep"]),
    ("nl", &["nld", "dut"]),
    ("nn", &["nno"]),
    ("no", &["nor"]),
    ("pl", &["pol"]),
    ("pt", &["por"]),
    ("ro", &["ron", "rum"]),
    ("ru", &["rus"]),
    ("sk", &["slk", "slo"]),
    ("sl", &["slv"]),
    ("sq", &["sqi", "alb"]),
    ("sr", &["srp"]),
    ("sv", &["swe"]),
    ("sw", &["swa"]),
    ("ta", &["tam"]),
    ("te", &["tel"]),
    ("th", &["tha"]),
    ("tl", &["tgl"]),
    ("tr", &["tur"]),
    ("uk", &["ukr"]),
    ("ur", &["urd"]),
    ("uz", &["uzb"]),
    ("vi", &["vie"]),
    ("zh", &["zho", "chi"]),
];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hostile_tags_become_plain_names() {
        for (tag, part) in [
            ("eng", Some("eng")),
            ("../../etc/passwd", Some("etc-passwd")),
            ("a/b\\c\0d\n", Some("a-b-c-d")),
            ("..", None),
            ("日本語", None),
            ("", None),
            ("pt-BR", Some("pt-br")),
            (&"x".repeat(5000), Some("xxxxxxxxxxxxxxxxxxxxxxxx")),
        ] {
            assert_eq!(file_part(tag).as_deref(), part, "{tag:?}");
        }
        let taken = ["720p".to_owned(), "720p_2".to_owned()];
        assert_eq!(distinct("720p".to_owned(), &taken), "720p_3");
        assert_eq!(quotable("a \"b\"\r\nEXT-X-ENDLIST"), "a 'b'  EXT-X-ENDLIST");
    }

    #[test]
    fn languages_are_told_as_bcp_47_wants_them() {
        for (tag, wanted) in [
            ("eng", Some("en")),
            ("ger", Some("de")),
            ("deu", Some("de")),
            ("pt-BR", Some("pt-BR")),
            ("haw", Some("haw")),
            ("und", None),
            ("english", None),
            ("e\"n", None),
            ("", None),
        ] {
            assert_eq!(language(tag).as_deref(), wanted, "{tag:?}");
        }
    }
}
