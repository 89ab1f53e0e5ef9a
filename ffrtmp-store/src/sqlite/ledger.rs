//! What the writer remembers of the queue so that no claim or metric has to scan for it: the
//! tally, and how many queued jobs each requirement class has. It follows the open transaction and
//! goes back with it.
//!
//! This is sound because one process owns the database (`open` takes a lock) and one thread of it
//! writes.

use std::collections::HashMap;

use ffrtmp_core::node::Requirements;
use ffrtmp_core::store::Counts;

use crate::tally::{Cell, Tally};

/// Row of a requirement class.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) struct ClassId(pub(super) i64);

/// Where a job stands, as far as the ledger counts it.
#[derive(Clone, Copy, Debug)]
pub(super) struct Standing {
    pub(super) cell: Cell,
    /// Its class, if it is queued.
    pub(super) queued: Option<ClassId>,
}

#[derive(Debug)]
struct Class {
    requirements: Requirements,
    queued: u64,
}

#[derive(Debug)]
enum Entry {
    Moved { from: Option<Standing>, to: Option<Standing> },
    Opened(ClassId),
}

/// A point in the open transaction to go back to.
#[derive(Clone, Copy, Debug)]
pub(super) struct Mark(usize);

#[derive(Debug, Default)]
pub(super) struct Ledger {
    tally: Tally,
    classes: HashMap<ClassId, Class>,
    by_requirements: HashMap<Requirements, ClassId>,
    /// Classes with at least one queued job.
    busy: std::collections::BTreeSet<i64>,
    journal: Vec<Entry>,
}

impl Ledger {
    /// Takes a class over from the database.
    pub(super) fn open_class(&mut self, id: ClassId, requirements: Requirements) {
        self.by_requirements.insert(requirements.clone(), id);
        self.classes.insert(id, Class { requirements, queued: 0 });
        self.journal.push(Entry::Opened(id));
    }

    /// Takes a count over from the database.
    pub(super) fn load(&mut self, cell: Cell, jobs: u64) {
        self.tally.add(cell, jobs);
    }

    /// Takes a queue over from the database.
    pub(super) fn load_queue(&mut self, id: ClassId, jobs: u64) {
        if let Some(class) = self.classes.get_mut(&id) {
            class.queued = jobs;
            self.busy.insert(id.0);
        }
    }

    /// A job came, went or changed.
    pub(super) fn moved(&mut self, from: Option<Standing>, to: Option<Standing>) {
        self.shift(from, to);
        self.journal.push(Entry::Moved { from, to });
    }

    pub(super) fn class(&self, requirements: &Requirements) -> Option<ClassId> {
        self.by_requirements.get(requirements).copied()
    }

    /// Classes with queued jobs, and how many each has.
    pub(super) fn queued(&self) -> impl Iterator<Item = (ClassId, &Requirements, u64)> {
        self.busy.iter().filter_map(|id| {
            self.classes.get(&ClassId(*id)).map(|class| (ClassId(*id), &class.requirements, class.queued))
        })
    }

    pub(super) fn counts(&self) -> Counts {
        self.tally.counts()
    }

    pub(super) fn mark(&self) -> Mark {
        Mark(self.journal.len())
    }

    /// The transaction went back to `mark`.
    pub(super) fn undo(&mut self, mark: Mark) {
        while self.journal.len() > mark.0 {
            match self.journal.pop() {
                Some(Entry::Moved { from, to }) => self.shift(to, from),
                Some(Entry::Opened(id)) => {
                    if let Some(class) = self.classes.remove(&id) {
                        self.by_requirements.remove(&class.requirements);
                    }
                }
                None => break,
            }
        }
    }

    /// The transaction went back to its start.
    pub(super) fn undo_all(&mut self) {
        self.undo(Mark(0));
    }

    /// The transaction is committed.
    pub(super) fn keep(&mut self) {
        self.journal.clear();
    }

    fn shift(&mut self, from: Option<Standing>, to: Option<Standing>) {
        if let Some(from) = from {
            self.tally.remove(from.cell);
        }
        if let Some(to) = to {
            self.tally.add(to.cell, 1);
        }
        let (left, joined) = (from.and_then(|from| from.queued), to.and_then(|to| to.queued));
        if left == joined {
            return;
        }
        if let Some(class) = left.and_then(|id| self.classes.get_mut(&id).map(|class| (id, class))) {
            class.1.queued = class.1.queued.saturating_sub(1);
            if class.1.queued == 0 {
                self.busy.remove(&class.0.0);
            }
        }
        if let Some((id, class)) = joined.and_then(|id| self.classes.get_mut(&id).map(|class| (id, class))) {
            class.queued += 1;
            self.busy.insert(id.0);
        }
    }
}
