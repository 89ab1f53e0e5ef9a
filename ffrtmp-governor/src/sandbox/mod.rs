//! What a process that reads foreign media may still do: layers around the child of one attempt.
//!
//! [`Layers`] implements [`Sandbox`]. Each layer holds without the others, so that a hole in one, or
//! a kernel without it, leaves the next:
//!
//! | layer | file | takes away |
//! |---|---|---|
//! | `no_new_privs` | here | privileges by exec of set-user-id programs |
//! | `network` | `namespaces.rs` | every network interface |
//! | `mounts` | `view.rs` | every file that is not of the attempt, as if it did not exist |
//! | `user` | `user.rs` | root's identity |
//! | `rlimits` | `limits.rs` | memory, files, processes without end, core dumps |
//! | `landlock` | `landlock.rs` | files again, by the kernel's access control; TCP; signals to others |
//! | `seccomp` | `seccomp.rs` | system calls that transcoding does not make |
//! | `capabilities` | `capabilities.rs` | every privilege that is left |
//!
//! `places.rs` says which files an attempt reaches, `sys.rs` has the system calls.
//!
//! What is not here: limits on processor and memory as a whole, which are those of [`crate::cgroups`],
//! and who calls this: `ffrtmp-runner`, in the child, before it opens the input. Nobody else finds
//! out which layers work: the runner's trial child says it in `EngineCapabilities::sandbox`.

mod capabilities;
mod landlock;
mod limits;
mod namespaces;
mod places;
mod seccomp;
mod sys;
mod user;
mod view;

use std::fmt;
use std::path::PathBuf;
use std::str::FromStr;

use ffrtmp_core::error::{Code, Error, Result};
use ffrtmp_core::node::Safeguard;
use ffrtmp_core::sandbox::{Reach, Sandbox};
use rustix::process::{getppid, parent_process_death_signal, set_parent_process_death_signal};

use namespaces::{HostNetwork, Spaces};
use places::Places;

/// The user as which attempts run where the agent is root: nobody.
const NOBODY: u32 = 65_534;

/// One layer of the sandbox.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Layer {
    /// Exec gives no privileges.
    NoNewPrivs,
    /// An empty network namespace.
    Network,
    /// A tree of mounts with nothing in it but the attempt's places.
    Mounts,
    /// An unprivileged user where the agent is root.
    User,
    /// Limits of the process.
    Rlimits,
    /// Access control by the process itself.
    Landlock,
    /// An allow-list of system calls.
    Seccomp,
    /// No capability in any set.
    Capabilities,
}

impl Layer {
    /// Every layer in the order in which they are put on.
    pub const ALL: &'static [Self] = &[
        Self::NoNewPrivs,
        Self::Network,
        Self::Mounts,
        Self::User,
        Self::Rlimits,
        Self::Landlock,
        Self::Seccomp,
        Self::Capabilities,
    ];

    /// Its stable name.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::NoNewPrivs => "no_new_privs",
            Self::Network => "network",
            Self::Mounts => "mounts",
            Self::User => "user",
            Self::Rlimits => "rlimits",
            Self::Landlock => "landlock",
            Self::Seccomp => "seccomp",
            Self::Capabilities => "capabilities",
        }
    }

    const fn cure(self) -> &'static str {
        match self {
            Self::NoNewPrivs | Self::Rlimits => "the kernel is too old; ffrtmp needs Linux 5.4",
            Self::Network | Self::Mounts => {
                "allow user namespaces (user.max_user_namespaces, kernel.apparmor_restrict_unprivileged_userns) or start the agent with CAP_SYS_ADMIN"
            }
            Self::User => "start the agent as a user that is not root, or give it CAP_SETUID and CAP_SETGID",
            Self::Landlock => {
                "use Linux 5.13 or later with landlock in its list of security modules (lsm=landlock,...)"
            }
            Self::Seccomp => "use a kernel with CONFIG_SECCOMP_FILTER",
            Self::Capabilities => "make inputs readable and outputs writable for the agent's user without privileges",
        }
    }
}

impl fmt::Display for Layer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.as_str())
    }
}

impl FromStr for Layer {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self> {
        Self::ALL.iter().find(|layer| layer.as_str() == text).copied().ok_or_else(|| {
            let known: Vec<_> = Self::ALL.iter().map(|layer| layer.as_str()).collect();
            Error::new(Code::InvalidField, format!("unknown layer {text:?}"))
                .field("sandbox")
                .hint(format!("known: {}", known.join(", ")))
        })
    }
}

/// How much of the sandbox there must be.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Mode {
    /// Every layer that can be had.
    #[default]
    On,
    /// None.
    Off,
    /// Every layer, or no attempt.
    Require,
}

impl FromStr for Mode {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self> {
        match text {
            "on" => Ok(Self::On),
            "off" => Ok(Self::Off),
            "require" => Ok(Self::Require),
            _ => Err(Error::new(Code::InvalidField, format!("unknown mode {text:?}"))
                .field("sandbox")
                .hint("known: on, off, require")),
        }
    }
}

/// Which layers there shall be.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Policy {
    /// How much there must be.
    pub mode: Mode,
    /// Layers that shall not be there, whatever the mode.
    pub without: Vec<Layer>,
    /// User and group as which an attempt runs where the agent is root; nobody by default.
    pub user: Option<(u32, u32)>,
    /// Files and directories that every attempt may read, such as those of an unusual driver.
    pub also_read: Vec<PathBuf>,
}

/// The sandbox of this crate.
#[derive(Clone, Debug, Default)]
pub struct Layers {
    policy: Policy,
    /// Set in a process that has left the host's network, and in its copies.
    host: Option<HostNetwork>,
}

impl Layers {
    /// A sandbox by this policy.
    #[must_use]
    pub const fn new(policy: Policy) -> Self {
        Self { policy, host: None }
    }

    /// The same in a fork server: this process, of which each attempt will be a copy, leaves the
    /// network at once where it may, so that its copies need not each make a namespace. A copy whose
    /// work opens connections returns. Called while there is one thread.
    #[must_use]
    pub fn ahead(mut self) -> Self {
        if self.wants(Layer::Network) {
            self.host = HostNetwork::leave();
        }
        self
    }

    fn wants(&self, layer: Layer) -> bool {
        self.policy.mode != Mode::Off && !self.policy.without.contains(&layer)
    }
}

impl Sandbox for Layers {
    fn confine(&self, reach: &Reach) -> Result<Vec<Safeguard>> {
        if let Some(host) = self.host.as_ref().filter(|_| reach.network) {
            host.enter().map_err(|error| {
                Error::new(Code::EngineUnavailable, "the attempt cannot return to the network of the host")
                    .operation("sandbox.network")
                    .source(error)
            })?;
        }
        let mut put_on = PutOn { layers: self, found: Vec::with_capacity(Layer::ALL.len()) };
        if self.policy.mode == Mode::Off {
            Layer::ALL.iter().for_each(|layer| put_on.say(*layer, Err("switched off".into())));
            return Ok(put_on.found);
        }
        put_on.all(reach);
        put_on.judged()
    }
}

/// By what means a layer is on, or why not.
type Outcome = Result<String, String>;

/// A sandbox being put on.
struct PutOn<'a> {
    layers: &'a Layers,
    found: Vec<Safeguard>,
}

impl PutOn<'_> {
    /// The order matters: what needs privileges or files comes first, the filter of system calls
    /// last but for the capabilities, whose end it lets pass.
    fn all(&mut self, reach: &Reach) {
        let wants = |layer| self.layers.wants(layer);
        let places = Places::of(reach, &self.layers.policy.also_read);
        // Both are undone by a change of the user.
        let orders = (parent_process_death_signal().ok().flatten(), getppid());

        let no_new_privs = wants(Layer::NoNewPrivs).then(no_new_privs);
        // Rules name files as they are now; behind the new mounts they may be out of sight.
        let rules = wants(Layer::Landlock).then(|| landlock::Rules::new(reach, &places));
        let mut spaces = Spaces::default();
        let network = wants(Layer::Network).then(|| network(&mut spaces, reach, self.layers.host.as_ref()));
        let mounts = wants(Layer::Mounts).then(|| spaces.mounts().and_then(|()| view::enter(&places)));
        let (uid, gid) = self.layers.policy.user.unwrap_or((NOBODY, NOBODY));
        let mut left = user::Left::default();
        let user = wants(Layer::User).then(|| {
            user::leave_root(uid, gid, &places).map(|(means, kept)| {
                left = kept;
                means
            })
        });
        let rlimits = wants(Layer::Rlimits).then(|| limits::bound(reach, &mut spaces));
        let landlock = rules.map(|rules| rules.and_then(landlock::Rules::enforce));
        if wants(Layer::Capabilities) {
            capabilities::prepare();
        }
        if let Err(reason) = keep_orders(orders) {
            tracing::warn!(reason, "the child may outlive its parent");
        }
        let seccomp = wants(Layer::Seccomp).then(|| seccomp::install(reach));
        let capabilities = wants(Layer::Capabilities).then(|| capabilities::drop_all(&left));

        for (layer, outcome) in [
            (Layer::NoNewPrivs, no_new_privs),
            (Layer::Network, network),
            (Layer::Mounts, mounts),
            (Layer::User, user),
            (Layer::Rlimits, rlimits),
            (Layer::Landlock, landlock),
            (Layer::Seccomp, seccomp),
            (Layer::Capabilities, capabilities),
        ] {
            self.say(layer, outcome.unwrap_or_else(|| Err("taken away by the policy".into())));
        }
    }

    fn say(&mut self, layer: Layer, outcome: Outcome) {
        self.found.push(match outcome {
            Ok(means) => Safeguard::on(layer.as_str(), means),
            Err(reason) => Safeguard::off(layer.as_str(), reason),
        });
    }

    /// What was found, unless more is required.
    fn judged(self) -> Result<Vec<Safeguard>> {
        let required = |layer: &&Layer| self.layers.policy.mode == Mode::Require && self.layers.wants(**layer);
        for layer in Layer::ALL.iter().filter(required) {
            if let Some(guard) = self.found.iter().find(|guard| guard.name == layer.as_str() && !guard.on) {
                return Err(missing(*layer, &guard.detail));
            }
        }
        Ok(self.found)
    }
}

fn missing(layer: Layer, reason: &str) -> Error {
    Error::new(Code::EngineUnavailable, format!("the sandbox is required and its layer {layer} is off: {reason}"))
        .field("sandbox")
        .hint(format!("{}; or leave the layer out", layer.cure()))
}

fn no_new_privs() -> Outcome {
    rustix::thread::set_no_new_privs(true).map_err(refused)?;
    Ok("exec gives no privileges".into())
}

fn network(spaces: &mut Spaces, reach: &Reach, left: Option<&HostNetwork>) -> Outcome {
    match left {
        _ if reach.network => Err("the task opens connections".into()),
        Some(_) => Ok("the empty network namespace of the runner".into()),
        None => spaces.network(),
    }
}

/// Renews the order to end with the parent, which a change of the user takes back.
fn keep_orders(
    (signal, parent): (Option<rustix::process::Signal>, Option<rustix::process::Pid>),
) -> Result<(), &'static str> {
    let Some(signal) = signal else { return Ok(()) };
    set_parent_process_death_signal(Some(signal)).map_err(|_| "the order cannot be renewed")?;
    if getppid() == parent {
        return Ok(());
    }
    // It died in between: do what the signal would have done.
    rustix::process::kill_process(rustix::process::getpid(), signal).map_err(|_| "the parent is gone")
}

fn refused(error: impl Into<std::io::Error>) -> String {
    let error: std::io::Error = error.into();
    format!("the kernel refuses: {error}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn layers_and_modes_are_read_by_name() {
        for layer in Layer::ALL {
            assert_eq!(layer.as_str().parse::<Layer>().unwrap(), *layer);
        }
        assert_eq!("require".parse::<Mode>().unwrap(), Mode::Require);
        assert_eq!("landlok".parse::<Layer>().unwrap_err().field_name(), Some("sandbox"));
        assert_eq!("maybe".parse::<Mode>().unwrap_err().code(), Code::InvalidField);
    }

    #[test]
    fn a_required_layer_that_is_missing_is_named_with_its_cure() {
        let policy = Policy { mode: Mode::Require, without: vec![Layer::Network], ..Policy::default() };
        let layers = Layers::new(policy);
        let found = |landlock| {
            let mut put_on = PutOn { layers: &layers, found: Vec::new() };
            put_on.say(Layer::Network, Err("taken away".into()));
            put_on.say(Layer::Landlock, landlock);
            put_on.judged()
        };
        assert_eq!(found(Ok("ABI 7".into())).unwrap().len(), 2, "what the policy took away is not required");
        let error = found(Err("the kernel has none".into())).unwrap_err();
        assert_eq!(error.code(), Code::EngineUnavailable);
        assert!(error.to_string().contains("landlock") && error.hint_text().contains("5.13"), "{error}");
    }

    #[test]
    fn switched_off_it_touches_nothing_and_says_so() {
        let layers = Layers::new(Policy { mode: Mode::Off, ..Policy::default() });
        let found = layers.confine(&Reach::default()).unwrap();
        assert_eq!(found.len(), Layer::ALL.len());
        assert!(found.iter().all(|guard| !guard.on && guard.detail == "switched off"));
    }
}
