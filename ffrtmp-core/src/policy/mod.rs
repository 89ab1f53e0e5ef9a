//! Policies: pure rules that decide. One file each.

pub mod capability_match;
pub mod engine;
pub mod fifo;
pub mod limits;
pub mod retry;
pub mod round_robin;
pub mod sla;

#[cfg(all(test, feature = "conformance"))]
mod tests {
    use super::*;
    use crate::scheduler::Scheduler;

    #[test]
    fn every_scheduler_keeps_the_contract() {
        let schedulers: [&dyn Scheduler; 3] = [
            &fifo::PriorityFifo::default(),
            &round_robin::RoundRobin::<fifo::PriorityFifo>::default(),
            &capability_match::CapabilityMatch::<fifo::PriorityFifo>::default(),
        ];
        for scheduler in schedulers {
            crate::conformance::scheduler::run(scheduler);
        }
    }
}
