//! Why limits cannot be had by control groups: one reason for each limit.

use std::fmt::{self, Display, Formatter};

use ffrtmp_core::governor::Limit;

use super::layout::{Controller, Layout};

/// Why limits cannot be had. Shown, it is every reason once.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct WhyNot(Vec<(Option<Limit>, String)>);

impl WhyNot {
    pub(super) fn of_layout(layout: &Layout) -> Self {
        let limits = [
            (Limit::Cpu, Controller::Cpu),
            (Limit::Memory, Controller::Memory),
            (Limit::Pids, Controller::Pids),
            (Limit::Io, Controller::Io),
        ];
        Self(limits.map(|(limit, controller)| (Some(limit), layout.why_not(controller).to_owned())).into())
    }

    /// Why this limit cannot be had.
    #[must_use]
    pub fn of(&self, limit: Limit) -> &str {
        let own = self.0.iter().find(|(of, _)| *of == Some(limit)).or(self.0.first());
        own.map_or("no control groups are used", |(_, why)| why)
    }
}

impl<T: Into<String>> From<T> for WhyNot {
    /// One reason for all limits.
    fn from(why: T) -> Self {
        Self(vec![(None, why.into())])
    }
}

impl Display for WhyNot {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        let mut reasons: Vec<_> = self.0.iter().map(|(_, why)| why.as_str()).collect();
        reasons.sort_unstable();
        reasons.dedup();
        f.write_str(&reasons.join("; "))
    }
}
