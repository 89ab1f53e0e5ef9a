//! State, queue, priority, classification and engine of a job as one small number, by which lists
//! are filtered and counts are taken from one index. They are stored: never change the arithmetic.

use ffrtmp_core::job::{Classification, EngineName, Job, JobState, Priority, Queue};
use ffrtmp_core::store::JobFilter;

use crate::record::Coded;
use crate::tally::Cell;

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Facet(pub(super) i64);

/// Room for the codes of each word, in the order of the digits, the last one varying fastest.
const QUEUES: i64 = 8;
const PRIORITIES: i64 = 8;
const CLASSIFICATIONS: i64 = 8;
const ENGINES: i64 = 8;

impl From<Words> for Facet {
    fn from(words: Words) -> Self {
        let Words { cell: Cell { state, queue, priority, engine }, classification } = words;
        let mut number = i64::from(state.code());
        number = number * QUEUES + i64::from(queue.code());
        number = number * PRIORITIES + i64::from(priority.code());
        number = number * CLASSIFICATIONS + i64::from(classification.code());
        Self(number * ENGINES + engine.map_or(0, |engine| i64::from(engine.code())))
    }
}

impl From<&Job> for Facet {
    fn from(job: &Job) -> Self {
        Words { cell: Cell::from(job), classification: job.classification }.into()
    }
}

/// A facet in words; `None` for a number that this version does not know.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Words {
    pub(super) cell: Cell,
    pub(super) classification: Classification,
}

impl Facet {
    pub(super) fn words(self) -> Option<Words> {
        let mut rest = self.0;
        let mut digit = |base: i64| {
            let digit = rest.rem_euclid(base);
            rest = rest.div_euclid(base);
            i16::try_from(digit).unwrap_or(-1)
        };
        let (engine, classification, priority, queue) =
            (digit(ENGINES), digit(CLASSIFICATIONS), digit(PRIORITIES), digit(QUEUES));
        let engine = if engine == 0 { None } else { Some(EngineName::from_code(engine)?) };
        let cell = Cell {
            state: JobState::from_code(i16::try_from(rest).ok()?)?,
            queue: Queue::from_code(queue)?,
            priority: Priority::from_code(priority)?,
            engine,
        };
        Some(Words { cell, classification: Classification::from_code(classification)? })
    }

    /// Whether jobs with this facet can pass the filter.
    pub(super) fn passes(self, filter: &JobFilter) -> bool {
        self.words().is_some_and(|Words { cell, classification }| {
            (filter.states.is_empty() || filter.states.contains(&cell.state))
                && filter.queue.is_none_or(|queue| queue == cell.queue)
                && filter.priority.is_none_or(|priority| priority == cell.priority)
                && filter.classification.is_none_or(|wanted| wanted == classification)
        })
    }

    /// The same in SQL, on `column`: conditions whose places stand for codes.
    pub(super) fn conditions(filter: &JobFilter, column: &str) -> Vec<(String, Vec<i64>)> {
        let engines = ENGINES;
        let classifications = engines * CLASSIFICATIONS;
        let priorities = classifications * PRIORITIES;
        let queues = priorities * QUEUES;
        let mut conditions = Vec::new();
        if !filter.states.is_empty() {
            let places = vec!["?"; filter.states.len()].join(", ");
            let codes = filter.states.iter().map(|state| i64::from(state.code())).collect();
            conditions.push((format!("{column} / {queues} IN ({places})"), codes));
        }
        let mut digit = |below: i64, base: i64, code: Option<i16>| {
            conditions.extend(code.map(|code| (format!("{column} / {below} % {base} = ?"), vec![i64::from(code)])));
        };
        digit(priorities, QUEUES, filter.queue.map(Coded::code));
        digit(classifications, PRIORITIES, filter.priority.map(Coded::code));
        digit(engines, CLASSIFICATIONS, filter.classification.map(Coded::code));
        conditions
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_facet_is_its_words_and_nothing_else() {
        let mut seen = std::collections::BTreeSet::new();
        for (state, queue) in
            JobState::ALL.iter().flat_map(|state| Queue::ALL.iter().map(move |queue| (*state, *queue)))
        {
            for (priority, classification) in
                Priority::ALL.iter().flat_map(|p| Classification::ALL.iter().map(move |c| (*p, *c)))
            {
                for engine in [None, Some(EngineName::Ffmpeg), Some(EngineName::Synthetic)] {
                    let words = Words { cell: Cell { state, queue, priority, engine }, classification };
                    let facet = Facet::from(words);
                    assert_eq!(facet.words(), Some(words));
                    assert!(seen.insert(facet));
                }
            }
        }
        assert_eq!(Facet(-1).words(), None);
    }
}
