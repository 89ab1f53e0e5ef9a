//! Rows side by side: what one operation does alike to neighbours is one statement. Agents claim,
//! start and finish jobs in the order of their submission, so most of a batch is one run.

use std::ops::RangeInclusive;

use ffrtmp_core::job::Job;
use rusqlite::{Connection, params};

use super::facet::Facet;
use super::fault::Fault;
use super::rows::{Table, micros, not_there};

/// Sequence numbers without gaps.
pub(super) type Run = RangeInclusive<u64>;

/// Joins each number to the run before it where it is the next one.
pub(super) fn runs(sequences: impl IntoIterator<Item = u64>) -> Vec<Run> {
    let mut runs: Vec<Run> = Vec::new();
    for sequence in sequences {
        match runs.last_mut() {
            Some(run) if run.end() + 1 == sequence => *run = *run.start()..=sequence,
            _ => runs.push(sequence..=sequence),
        }
    }
    runs
}

/// Removes these rows of a table, all of which must be there.
pub(super) fn remove(
    connection: &Connection,
    table: Table,
    sequences: impl IntoIterator<Item = u64>,
) -> Result<(), Fault> {
    let sql = match table {
        Table::Pending => "DELETE FROM pending WHERE sequence BETWEEN ?1 AND ?2",
        Table::Active => "DELETE FROM active WHERE sequence BETWEEN ?1 AND ?2",
        Table::Ended => "DELETE FROM ended WHERE sequence BETWEEN ?1 AND ?2",
    };
    for run in runs(sequences) {
        let removed = connection.prepare_cached(sql)?.execute([run.start(), run.end()])?;
        all_there(&run, removed)?;
    }
    Ok(())
}

fn all_there(run: &Run, changed: usize) -> Result<(), Fault> {
    let wanted = run.end() - run.start() + 1;
    if changed as u64 == wanted { Ok(()) } else { Err(not_there(*run.start())) }
}

/// What an operation still has to write to the rows of active jobs. Their memory has it already.
#[derive(Default)]
pub(super) struct Later {
    signs: Vec<(Run, Sign)>,
    gone: Vec<u64>,
}

/// A sign of life: all that it changes is in columns.
#[derive(Clone, Copy, Debug, PartialEq)]
struct Sign {
    facet: Facet,
    started_at: Option<i64>,
    progress: f64,
    last_activity_at: Option<i64>,
    lease_expires_at: Option<i64>,
}

impl From<&Job> for Sign {
    fn from(job: &Job) -> Self {
        Self {
            facet: Facet::from(job),
            started_at: micros(job.started_at),
            progress: job.progress,
            last_activity_at: micros(job.last_activity_at),
            lease_expires_at: micros(job.lease_expires_at),
        }
    }
}

impl Later {
    /// The job gave a sign of life.
    pub(super) fn sign(&mut self, job: &Job) {
        let (sequence, sign) = (job.sequence_number, Sign::from(job));
        match self.signs.last_mut() {
            Some((run, last)) if *last == sign && run.end() + 1 == sequence => *run = *run.start()..=sequence,
            _ => self.signs.push((sequence..=sequence, sign)),
        }
    }

    /// The job is active no more.
    pub(super) fn gone(&mut self, sequence: u64) {
        self.gone.push(sequence);
    }

    /// Writes everything, in the order in which it came.
    pub(super) fn write(&mut self, connection: &Connection) -> Result<(), Fault> {
        for (run, sign) in self.signs.drain(..) {
            let changed = connection
                .prepare_cached(
                    "UPDATE active SET facet = ?3, started_at = ?4, progress = ?5, last_activity_at = ?6,
                            lease_expires_at = ?7 WHERE sequence BETWEEN ?1 AND ?2",
                )?
                .execute(params![
                    run.start(),
                    run.end(),
                    sign.facet.0,
                    sign.started_at,
                    sign.progress,
                    sign.last_activity_at,
                    sign.lease_expires_at,
                ])?;
            all_there(&run, changed)?;
        }
        remove(connection, Table::Active, self.gone.drain(..))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_next_number_joins_a_run() {
        assert_eq!(runs([4, 5, 6, 8, 7, 7, 9]), [4..=6, 8..=8, 7..=7, 7..=7, 9..=9]);
        assert!(runs([]).is_empty());
    }
}
