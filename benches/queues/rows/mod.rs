//! What is measured.

mod api;
mod drain;
mod history;
mod latency;
mod snapshot;

use crate::Result;
use crate::ground::Ground;

/// One row of the table in `docs/benchmarks.md`.
pub(crate) struct Entry {
    pub(crate) name: &'static str,
    pub(crate) title: &'static str,
    pub(crate) run: fn(&Ground) -> Result<()>,
}

pub(crate) const ALL: &[Entry] = &[
    Entry {
        name: "postgres-batched",
        title: "Postgres, claim + start + fenced finish in batches, against graphile-worker batched",
        run: drain::postgres_batched,
    },
    Entry {
        name: "postgres-single",
        title: "Postgres, 64 callers with single-job calls, against graphile-worker unbatched",
        run: drain::postgres_single,
    },
    Entry {
        name: "sqlite-single",
        title: "SQLite FULL, 64 callers with single-job calls, against honker single",
        run: drain::sqlite_single,
    },
    Entry {
        name: "sqlite-batched",
        title: "SQLite FULL in batches, against honker in batches of the same size",
        run: drain::sqlite_batched,
    },
    Entry {
        name: "history",
        title: "1,000,000 ended and 100,000 queued jobs against an empty table",
        run: history::run,
    },
    Entry { name: "snapshot", title: "Postgres while another session holds an old snapshot", run: snapshot::run },
    Entry {
        name: "api",
        title: "through the master's HTTPS API with 16 agents and the synthetic engine",
        run: api::run,
    },
    Entry { name: "latency", title: "submit to start on an idle agent, through HTTPS", run: latency::run },
];

/// Those named, or all.
pub(crate) fn chosen(names: &[String]) -> Result<Vec<&'static Entry>> {
    if names.is_empty() {
        return Ok(ALL.iter().collect());
    }
    names
        .iter()
        .map(|name| ALL.iter().find(|row| row.name == name).ok_or_else(|| format!("no row {name}: see --list").into()))
        .collect()
}
