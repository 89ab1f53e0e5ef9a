//! The pages for people say what the code does.

use std::fs;
use std::path::Path;

use ffrtmp_core::fsm;
use ffrtmp_core::job::JobState;
use ffrtmp_core::plan::rate;
use ffrtmp_core::scenario::{EXAMPLES, GRAMMAR, WORDS};

fn page(name: &str) -> String {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs").join(name);
    fs::read_to_string(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

fn assert_line(page: &str, line: &str) {
    assert!(page.lines().any(|own| own == line), "the page lacks this line:\n{line}");
}

#[test]
fn scenarios() {
    let page = page("scenarios.md");
    assert_line(&page, GRAMMAR);
    for word in WORDS {
        assert_line(&page, &format!("| `{}` | {} |", word.word, word.meaning));
    }
    for example in EXAMPLES {
        assert!(page.contains(&format!("`{example}`")), "the page lacks the example {example}");
    }
    for row in rate::rows() {
        let rates: Vec<_> = row.bitrates.iter().map(|(_, bitrate)| bitrate.to_string()).collect();
        assert_line(&page, &format!("| {} | {} | {} |", row.size, row.fps, rates.join(" | ")));
    }
}

#[test]
fn state_machine() {
    let page = page("state-machine.md");
    let drawn: Vec<_> = page.lines().filter_map(|line| line.trim().split_once(" --> ")).collect();
    let mut edges = 0;
    for from in JobState::ALL {
        let successors = fsm::successors(*from);
        edges += successors.len();
        let names: Vec<_> = successors.iter().map(|to| to.as_str()).collect();
        let shown = if names.is_empty() { "nothing".to_owned() } else { names.join(", ") };
        assert_line(&page, &format!("| {from} | {shown} |"));
        for to in names {
            let edge = |(start, end): &&(&str, &str)| {
                *start == from.as_str() && end.split(':').next().is_some_and(|end| end.trim() == to)
            };
            assert!(drawn.iter().any(|pair| edge(&pair)), "the drawing lacks {from} --> {to}");
        }
    }
    let between_states = drawn.iter().filter(|(from, to)| *from != "[*]" && *to != "[*]").count();
    assert_eq!(between_states, edges, "the drawing has an arrow that the table of the code does not have");
}
