//! The promises of `docs/metrics.md`, for tests: what is served is compared with the page, both ways.

use std::collections::{BTreeMap, BTreeSet};

/// Kind and label names of a metric.
type Promise = (String, BTreeSet<String>);

/// What the page promises under a heading, by name.
fn promised(heading: &str) -> BTreeMap<String, Promise> {
    let page = std::fs::read_to_string(concat!(env!("CARGO_MANIFEST_DIR"), "/docs/metrics.md")).unwrap();
    let level = heading.split(' ').next().unwrap_or_default().len();
    let ends = |line: &str| line.split(' ').next().is_some_and(|mark| mark.starts_with('#') && mark.len() <= level);
    let section = page.lines().skip_while(|line| !line.starts_with(heading)).skip(1).take_while(|line| !ends(line));
    section.filter_map(row).collect()
}

/// A row such as ``| `name{a,b}` | gauge | what |``.
fn row(line: &str) -> Option<(String, Promise)> {
    let mut cells = line.strip_prefix("| `")?.split('|').map(str::trim);
    let (what, kind) = (cells.next()?.trim_end_matches('`'), cells.next()?);
    let (name, labels) = what.trim_end_matches('}').split_once('{').unwrap_or((what, ""));
    let labels = labels.split(',').filter(|label| !label.is_empty()).map(str::to_owned).collect();
    Some((name.to_owned(), (kind.to_owned(), labels)))
}

/// What a text of metrics serves, by name. Every family has help and at least one series.
fn served(text: &str) -> BTreeMap<String, Promise> {
    let mut families = BTreeMap::<String, Promise>::new();
    let mut helped = BTreeSet::new();
    for line in text.lines() {
        if let Some(help) = line.strip_prefix("# HELP ") {
            let (name, help) = help.split_once(' ').expect("a help text");
            assert!(!help.is_empty() && helped.insert(name.to_owned()), "{line}");
        } else if let Some(kind) = line.strip_prefix("# TYPE ") {
            let (name, kind) = kind.split_once(' ').expect("a kind");
            families.insert(name.to_owned(), (kind.to_owned(), BTreeSet::new()));
        } else {
            let (series, value) = line.rsplit_once(' ').expect("a value");
            assert!(value == "NaN" || value.parse::<f64>().is_ok(), "{line}");
            let (name, labels) = series.split_once('{').unwrap_or((series, ""));
            let base = ["_bucket", "_sum", "_count"].iter().find_map(|part| name.strip_suffix(part));
            let family = base.filter(|base| families.contains_key(*base)).unwrap_or(name);
            let (_, known) = families.get_mut(family).unwrap_or_else(|| panic!("{line} before its kind"));
            known.extend(labels.split("\",").filter_map(|label| Some(label.split_once("=\"")?.0.to_owned())));
        }
    }
    assert_eq!(helped, families.keys().cloned().collect::<BTreeSet<_>>(), "each has help");
    for (_, labels) in families.values_mut() {
        labels.remove("le");
    }
    families
}

/// Compares a text with the page. `also` are labels that every series has.
pub(crate) fn keeps_its_promise(heading: &str, text: &str, also: &[&str]) {
    let mut promised = promised(heading);
    assert!(!promised.is_empty(), "the page has no {heading}");
    for (_, labels) in promised.values_mut() {
        labels.extend(also.iter().map(|label| (*label).to_owned()));
    }
    let served = served(text);
    let differs = |(name, promise): &(&String, &Promise)| served.get(*name) != Some(promise);
    let broken: Vec<_> =
        promised.iter().filter(differs).map(|(name, promise)| (name, promise, served.get(name))).collect();
    assert!(broken.is_empty(), "promised and not served so: {broken:#?}");
    let unknown: Vec<_> = served.keys().filter(|name| !promised.contains_key(*name)).collect();
    assert!(unknown.is_empty(), "served and not on the page: {unknown:?}");
}

/// Series of a text.
pub(crate) fn series(text: &str) -> usize {
    text.lines().filter(|line| !line.starts_with('#')).count()
}

#[test]
fn a_promise_is_read_as_it_is_written() {
    assert_eq!(row("| `a{b,c}` | gauge | d |"), Some(("a".into(), ("gauge".into(), ["b".into(), "c".into()].into()))));
    assert_eq!(row("| `a` | counter | |"), Some(("a".into(), ("counter".into(), BTreeSet::new()))));
    assert_eq!(row("|---|---|---|"), None);
    let text = "# HELP a b\n# TYPE a histogram\na_bucket{x=\"1, 2\",le=\"1\"} 2\na_sum 1.5\na_count 2\n";
    assert_eq!(served(text)["a"], ("histogram".into(), ["x".into()].into()));
}
