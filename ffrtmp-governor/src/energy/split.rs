//! The formula of the module: pure, over one interval.

/// A node between two looks.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub(crate) struct Interval {
    /// Joules that it used.
    pub(crate) joules: f64,
    /// Seconds that its processors worked, all together.
    pub(crate) busy: f64,
    /// Seconds that they could have worked.
    pub(crate) capacity: f64,
}

/// An attempt in that time.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub(crate) struct Part {
    /// Seconds that processors worked for it.
    pub(crate) cpu: f64,
    /// Share of the interval for which it was there, 0 to 1.
    pub(crate) presence: f64,
}

/// Joules of each attempt; never more than the node's together. Kernels count processors and
/// processes by different clocks, so attempts may seem to have worked longer than the processors:
/// then these worked just as long.
pub(crate) fn split(interval: &Interval, parts: &[Part]) -> Vec<f64> {
    let amount = |value: f64| if value.is_finite() { value.max(0.0) } else { 0.0 };
    let presence = |part: &Part| if amount(part.cpu) > 0.0 { amount(part.presence) } else { 0.0 };
    let worked: f64 = parts.iter().map(|part| amount(part.cpu)).sum();
    let present: f64 = parts.iter().map(presence).sum();
    let busy = amount(interval.busy).max(worked);
    let capacity = amount(interval.capacity).max(busy);
    if worked == 0.0 {
        return vec![0.0; parts.len()];
    }
    let joules = amount(interval.joules);
    let idle = joules * (1.0 - busy / capacity) * worked / busy;
    let idle_of = |part: &Part| if present > 0.0 { idle * presence(part) / present } else { 0.0 };
    parts.iter().map(|part| joules * amount(part.cpu) / capacity + idle_of(part)).collect()
}

/// A graphics processor between two looks.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub(crate) struct GpuInterval {
    /// Joules that it used.
    pub(crate) joules: f64,
    /// Those that it would have used idle.
    pub(crate) idle: f64,
    /// Encode sessions on it, of every program.
    pub(crate) sessions: u32,
}

/// Joules of each attempt on it by the time for which each was there; what sessions of other
/// programs used stays with the node.
pub(crate) fn split_gpu(interval: &GpuInterval, presences: &[f64]) -> Vec<f64> {
    let amount = |value: f64| if value.is_finite() { value.clamp(0.0, 1.0) } else { 0.0 };
    let present: f64 = presences.iter().map(|presence| amount(*presence)).sum();
    let sharers = f64::from(interval.sessions).max(present);
    let above = (interval.joules - interval.idle).max(0.0);
    if sharers == 0.0 || !above.is_finite() {
        return vec![0.0; presences.len()];
    }
    presences.iter().map(|presence| above * amount(*presence) / sharers).collect()
}
