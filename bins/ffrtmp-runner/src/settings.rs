//! What the arguments of a runner say about the sandbox; both runners have the same.

use ffrtmp_core::error::{Code, Error, Result};
use ffrtmp_governor::sandbox::Policy;

/// Takes `--sandbox on|off|require[,LAYER...]`, whose layers are left out, or `--without LAYER`;
/// whether it was one of them.
pub(crate) fn take(policy: &mut Policy, flag: &str, value: Option<&str>) -> Result<bool> {
    match flag {
        "--sandbox" => set(policy, given(value)?)?,
        "--without" => policy.without.push(given(value)?.parse()?),
        _ => return Ok(false),
    }
    Ok(true)
}

/// The value of a flag.
pub(crate) fn given(value: Option<&str>) -> Result<&str> {
    value.ok_or_else(|| Error::new(Code::InvalidField, "the value is missing"))
}

/// An argument that a runner does not know.
pub(crate) fn unknown(program: &str) -> Error {
    Error::new(Code::InvalidRequest, format!("{program} knows no such argument"))
        .hint("it is started by agents; people use `ffrtmp transcode`")
}

/// A mode, and layers that are left out of it: `on,landlock,seccomp` is all but two.
fn set(policy: &mut Policy, words: &str) -> Result<()> {
    let mut words = words.split(',');
    policy.mode = words.next().unwrap_or_default().parse()?;
    for layer in words {
        policy.without.push(layer.parse()?);
    }
    Ok(())
}
