//! Texts that overlap, for a container that shows one after the other: where several are due, one
//! text holds the lines of all.

use std::collections::VecDeque;
use std::fmt::Write as _;

use super::{Span, TEXT_FIELD};

/// Texts that are shown together, and their bytes; beyond that the oldest ends. No screen has room
/// for more, and a film with thousands at once costs no more than one with these.
const MOST: usize = 32;
const MOST_BYTES: usize = 32 << 10;
/// Place of the style among the fields of a line of dialogue, from 0.
const STYLE_FIELD: usize = 2;

/// Lines of dialogue on their way. What is due changes when one begins or ends, so that it is known
/// how long it stays only when the next one begins.
#[derive(Debug, Default)]
pub(super) struct Together {
    /// In the order in which they began.
    due: VecDeque<Due>,
    /// Since when they are due, all of them, in microseconds.
    from: i64,
}

#[derive(Debug)]
struct Due {
    line: String,
    end: i64,
}

impl Together {
    /// Takes lines that appear together, and gives back what is shown until then. One that is
    /// late begins where the one before it began.
    pub(super) fn add(&mut self, lines: Vec<String>, span: Span) -> Vec<(Span, String)> {
        let (start, end) = (span.start.max(self.from), span.start.saturating_add(span.length));
        if end <= start && self.due.iter().any(|due| due.end > start) {
            return Vec::new();
        }
        let mut shown = self.until(start);
        self.from = start;
        for line in lines {
            if end > start {
                self.begin(Due { line, end });
            } else {
                // Nobody sees it, but it is passed on as it came.
                shown.push((Span { start, length: 0 }, line));
            }
        }
        shown
    }

    /// What is still to be shown.
    pub(super) fn rest(&mut self) -> Vec<(Span, String)> {
        self.until(i64::MAX)
    }

    fn begin(&mut self, new: Due) {
        // The same words in several layers are the outline of one text.
        if let Some(same) = self.due.iter_mut().find(|due| text(&due.line) == text(&new.line)) {
            same.end = same.end.max(new.end);
            return;
        }
        self.due.push_back(new);
        let bytes = |due: &VecDeque<Due>| due.iter().map(|due| due.line.len()).sum::<usize>();
        while self.due.len() > MOST || self.due.len() > 1 && bytes(&self.due) > MOST_BYTES {
            self.due.pop_front();
        }
    }

    fn until(&mut self, end: i64) -> Vec<(Span, String)> {
        let mut shown = Vec::new();
        while let Some(change) = self.due.iter().map(|due| due.end).min().map(|first| first.min(end)) {
            if change > self.from {
                shown.push((Span { start: self.from, length: change - self.from }, self.joined()));
                self.from = change;
            }
            self.due.retain(|due| due.end > change);
            if change == end {
                break;
            }
        }
        shown
    }

    /// One line of dialogue that says what all do: those below begin in their own style. libav's
    /// encoder takes on what a style has, but does not give up what it lacks.
    fn joined(&self) -> String {
        let mut lines = self.due.iter().map(|due| due.line.as_str());
        let mut joined = lines.next().unwrap_or_default().to_owned();
        for line in lines.filter(|line| !text(line).is_empty()) {
            let style = line.split(',').nth(STYLE_FIELD).unwrap_or_default();
            let _ = write!(joined, "{{\\b0\\i0\\u0\\r{style}}}\\N{}", text(line));
        }
        joined
    }
}

/// What a line of dialogue says; it may hold commas itself.
fn text(line: &str) -> &str {
    line.splitn(TEXT_FIELD + 1, ',').nth(TEXT_FIELD).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn line(words: &str) -> String {
        format!("0,0,Default,,0,0,0,,{words}")
    }

    /// Beginning, end, words.
    type Text<'a> = (i64, i64, &'a str);

    /// What is shown of texts.
    fn shown(texts: &[Text<'_>]) -> Vec<(i64, i64, String)> {
        let mut together = Together::default();
        let mut shown = Vec::new();
        for (start, end, words) in texts {
            shown.extend(together.add(vec![line(words)], Span { start: *start, length: end - start }));
        }
        shown.extend(together.rest());
        let words = |line: &str| text(line).replace("{\\b0\\i0\\u0\\rDefault}\\N", "/");
        shown.iter().map(|(span, line)| (span.start, span.start + span.length, words(line))).collect()
    }

    #[test]
    fn what_overlaps_is_shown_together() {
        let cases: &[(&[Text<'_>], &[Text<'_>])] = &[
            (&[(1, 3, "a, b"), (3, 4, "c")], &[(1, 3, "a, b"), (3, 4, "c")]),
            (&[(2, 4, "a"), (3, 5, "b")], &[(2, 3, "a"), (3, 4, "a/b"), (4, 5, "b")]),
            (
                &[(0, 9, "a"), (1, 2, "b"), (4, 6, "c")],
                &[(0, 1, "a"), (1, 2, "a/b"), (2, 4, "a"), (4, 6, "a/c"), (6, 9, "a")],
            ),
            (&[(1, 2, "a"), (1, 3, "b"), (1, 2, "c")], &[(1, 2, "a/b/c"), (2, 3, "b")]),
            // The outline of a text; one that says nothing; one that nobody sees.
            (&[(1, 2, "a"), (1, 3, "a")], &[(1, 3, "a")]),
            (&[(1, 2, "a"), (1, 2, "")], &[(1, 2, "a")]),
            (&[(1, 1, "a"), (2, 4, "b"), (3, 3, "c")], &[(1, 1, "a"), (2, 4, "b")]),
            // Out of order: the rest is shown.
            (&[(4, 8, "a"), (2, 6, "b"), (3, 4, "c")], &[(4, 6, "a/b"), (6, 8, "a")]),
        ];
        for (texts, wanted) in cases {
            let shown = shown(texts);
            let shown: Vec<_> = shown.iter().map(|(start, end, words)| (*start, *end, words.as_str())).collect();
            assert_eq!(shown, *wanted, "{texts:?}");
        }
    }

    #[test]
    fn a_crowd_of_texts_pushes_the_oldest_out() {
        let words: Vec<String> = (0..100).map(|number| number.to_string()).collect();
        let crowd: Vec<_> = words.iter().zip(0..).map(|(words, start)| (start, 1000, words.as_str())).collect();
        let shown = shown(&crowd);
        let (_, _, last) = &shown[99];
        assert_eq!((last.split('/').count(), last.split('/').next(), shown.len()), (MOST, Some("68"), 100));
        let long = "x".repeat(MOST_BYTES - 1);
        let mut together = Together::default();
        together.add(vec![line(&long), line("new")], Span { start: 0, length: 9 });
        assert_eq!(together.rest(), [(Span { start: 0, length: 9 }, line("new"))]);
    }
}
