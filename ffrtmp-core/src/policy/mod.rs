//! Policies: pure rules that decide. One file each.

use std::sync::Arc;

use crate::error::{Code, Error, Result, nearest};
use crate::scheduler::Scheduler;

pub mod capability_match;
pub mod deadline;
pub mod engine;
pub mod fair_share;
pub mod fifo;
pub mod gpu;
pub mod limits;
pub mod retry;
pub mod round_robin;
pub mod sla;

/// The orders of jobs that [`by_name`] knows.
pub const ORDERS: &[&str] = &["priority-fifo", "fair-share", "deadline"];

/// The scheduler with this name, with its default settings.
///
/// # Errors
/// `invalid_field` naming `scheduler`; the hint lists the known names.
pub fn by_name(name: &str) -> Result<Arc<dyn Scheduler>> {
    match name {
        "priority-fifo" => Ok(Arc::new(fifo::PriorityFifo::default())),
        "fair-share" => Ok(Arc::new(fair_share::FairShare::default())),
        "deadline" => Ok(Arc::new(deadline::EarliestDeadline::default())),
        _ => Err(unknown(name)),
    }
}

fn unknown(name: &str) -> Error {
    let known = ORDERS.join(", ");
    let hint = match nearest(name, ORDERS.iter().copied()) {
        Some(near) => format!("did you mean {near}? known are {known}"),
        None => format!("give one of {known}"),
    };
    Error::new(Code::InvalidField, format!("{name:?} is not a scheduler")).field("scheduler").hint(hint)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_order_has_its_name() {
        for name in ORDERS {
            assert_eq!(by_name(name).ok().map(|scheduler| scheduler.name()), Some(*name));
        }
        let error = by_name("fairshare").err().expect("it is unknown");
        assert_eq!((error.code(), error.field_name()), (Code::InvalidField, Some("scheduler")));
        assert!(error.hint_text().contains("did you mean fair-share"), "{}", error.hint_text());
        assert!(ORDERS.iter().all(|name| error.hint_text().contains(name)));
    }

    #[cfg(feature = "conformance")]
    #[test]
    fn every_scheduler_keeps_the_contract() {
        use capability_match::CapabilityMatch;
        use round_robin::RoundRobin;

        let orders: Vec<_> = ORDERS.iter().filter_map(|name| by_name(name).ok()).collect();
        assert_eq!(orders.len(), ORDERS.len());
        for scheduler in &orders {
            crate::conformance::scheduler::run(&**scheduler);
        }
        crate::conformance::scheduler::run(&RoundRobin::<fifo::PriorityFifo>::default());
        crate::conformance::scheduler::run(&CapabilityMatch::<fair_share::FairShare>::default());
        crate::conformance::scheduler::run(&RoundRobin::<deadline::EarliestDeadline>::default());
    }
}
