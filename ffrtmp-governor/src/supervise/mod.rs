//! Governance of processes that ffrtmp did not start.
