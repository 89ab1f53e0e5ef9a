//! The state machine of a job: one table, one transition function. `docs/state-machine.md` draws
//! it; [`crate::lifecycle`] is the only caller that changes a job.

use crate::error::{Code, Error, Result};
use crate::job::JobState;
use JobState::{Assigned, Canceled, Completed, Failed, Paused, Queued, Rejected, Retrying, Running, Waiting};

/// What may follow a state.
#[must_use]
pub const fn successors(from: JobState) -> &'static [JobState] {
    match from {
        Waiting => &[Queued, Canceled, Failed],
        Queued => &[Assigned, Paused, Canceled, Rejected],
        Paused => &[Queued, Running, Canceled, Retrying, Failed],
        Assigned => &[Running, Retrying, Failed, Canceled],
        Running => &[Completed, Failed, Retrying, Paused, Canceled],
        Retrying => &[Queued, Failed, Canceled],
        Failed | Canceled => &[Queued],
        Completed | Rejected => &[],
    }
}

/// The state after a change, if the table has it.
///
/// # Errors
/// `wrong_state` for a change that the table does not have.
pub fn transition(from: JobState, to: JobState) -> Result<JobState> {
    if successors(from).contains(&to) {
        return Ok(to);
    }
    Err(Error::new(Code::WrongState, format!("a job that is {from} cannot become {to}")).field("state"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn all_pairs() {
        let expected: &[(JobState, &[JobState])] = &[
            (Waiting, &[Queued, Canceled, Failed]),
            (Queued, &[Assigned, Paused, Canceled, Rejected]),
            (Paused, &[Queued, Running, Canceled, Retrying, Failed]),
            (Assigned, &[Running, Retrying, Failed, Canceled]),
            (Running, &[Completed, Failed, Retrying, Paused, Canceled]),
            (Retrying, &[Queued, Failed, Canceled]),
            (Failed, &[Queued]),
            (Canceled, &[Queued]),
            (Completed, &[]),
            (Rejected, &[]),
        ];
        // The contract's table and two pairs more: a paused attempt can still lose its node or fail.
        for from in JobState::ALL {
            let (_, allowed) = expected.iter().find(|(state, _)| state == from).expect("every state has a row");
            for to in JobState::ALL {
                assert_eq!(transition(*from, *to).is_ok(), allowed.contains(to), "{from} -> {to}");
            }
        }
    }
}
