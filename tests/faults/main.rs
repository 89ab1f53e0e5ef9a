//! Hostile and runaway work through the real programs: each row does one harm and says what was seen.
//! A harm ends one attempt and nothing else: the agent lives, what was started is gone, and a sound
//! job runs afterwards.
//!
//! `make faults` prints the table. `FFRTMP_FAULTS=NAME` runs the rows whose names hold that word;
//! `FFRTMP_FAULTS_ATTEMPTS` is the number of attempts in a row (200, `make faults` takes 1,000).
//!
//! | file | subject |
//! |---|---|
//! | `table.rs` | rows, verdicts, the table |
//! | `stage.rs` | a cluster whose agents harm themselves, and what must be left of it |
//! | `greed.rs` | memory, processor, processes, disk, deafness |
//! | `media.rs` | files that reach for other files, for hosts, for themselves |
//! | `death.rs` | crashes, and the death of runner and agent |
//! | `endurance.rs` | many attempts in a row |
//! | `quota.rs` | limits on the processor, measured |
//! | `settings.rs` | settings that cannot be |

#[path = "../system/cluster/mod.rs"]
#[allow(dead_code, unused_imports, reason = "the tests of the system look at more")]
mod cluster;

mod death;
mod endurance;
mod greed;
mod media;
mod quota;
mod settings;
mod stage;
mod table;

#[test]
fn a_harm_ends_one_attempt_and_nothing_else() {
    let rows = [greed::ROWS, media::ROWS, death::ROWS, quota::ROWS, settings::ROWS, endurance::ROWS].concat();
    table::run(&rows);
}
