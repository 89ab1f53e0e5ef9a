//! Rows, verdicts, the table.

use std::any::Any;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::time::{Duration, Instant};

/// One harm.
#[derive(Clone, Copy)]
pub(crate) struct Row {
    /// Its name in the table.
    pub(crate) name: &'static str,
    /// Does it, fails where something is not as it must be, and says what was seen.
    pub(crate) harm: fn() -> Seen,
}

/// What was seen of a harm that ended well.
pub(crate) enum Seen {
    /// As it must be; in words.
    Held(String),
    /// This machine cannot show it, and why.
    Skipped(String),
}

enum Verdict {
    Pass,
    Skip,
    Fail,
}

/// Runs the rows that are wanted and prints the table.
pub(crate) fn run(rows: &[Row]) {
    let wanted = std::env::var("FFRTMP_FAULTS").unwrap_or_default();
    let mut lines = Vec::new();
    let mut failed = Vec::new();
    for row in rows.iter().filter(|row| row.name.contains(&wanted)) {
        let begun = Instant::now();
        let (verdict, said) = match catch_unwind(AssertUnwindSafe(row.harm)) {
            Ok(Seen::Held(said)) => (Verdict::Pass, said),
            Ok(Seen::Skipped(why)) => (Verdict::Skip, why),
            Err(panic) => (Verdict::Fail, words(&*panic)),
        };
        if matches!(verdict, Verdict::Fail) {
            failed.push(row.name);
        }
        let line = line(&verdict, row.name, begun.elapsed(), &said);
        eprintln!("{line}");
        lines.push(line);
    }
    assert!(!lines.is_empty(), "no row is called {wanted:?}");
    eprintln!("\n{}", lines.join("\n"));
    assert!(failed.is_empty(), "{} of {} rows failed: {}", failed.len(), lines.len(), failed.join(", "));
}

fn line(verdict: &Verdict, name: &str, took: Duration, said: &str) -> String {
    let verdict = match verdict {
        Verdict::Pass => "pass",
        Verdict::Skip => "SKIP",
        Verdict::Fail => "FAIL",
    };
    let said = said.lines().next().unwrap_or_default();
    format!("{verdict}  {name:<34} {:>6.1} s  {said}", took.as_secs_f64())
}

fn words(panic: &(dyn Any + Send)) -> String {
    let text = panic.downcast_ref::<String>().map(String::as_str);
    text.or_else(|| panic.downcast_ref::<&str>().copied()).unwrap_or("a panic without words").to_owned()
}
