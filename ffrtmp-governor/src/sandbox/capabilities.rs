//! The layer `capabilities`: no privilege in any set, and no way back to one.

use rustix::thread::{
    CapabilitiesSecureBits, CapabilitySet, CapabilitySets, clear_ambient_capability_set,
    remove_capability_from_bounding_set, set_capabilities, set_capabilities_secure_bits,
};

use super::user::Left;
use super::{Outcome, refused};

/// Takes away what the filter of system calls would not let pass later: the bounds of sets to come,
/// and root's habit of getting them all back. Without the privilege to, there is nothing to take:
/// exec gives none to a process with `no_new_privs`.
pub(super) fn prepare() {
    let _ = clear_ambient_capability_set();
    for number in 0..u64::BITS {
        let capability = CapabilitySet::from_bits_retain(1 << number);
        if remove_capability_from_bounding_set(capability).is_err() {
            break;
        }
    }
    let all = CapabilitiesSecureBits::NO_ROOT
        | CapabilitiesSecureBits::NO_SETUID_FIXUP
        | CapabilitiesSecureBits::NO_CAP_AMBIENT_RAISE;
    let locks = CapabilitiesSecureBits::NO_ROOT_LOCKED
        | CapabilitiesSecureBits::NO_SETUID_FIXUP_LOCKED
        | CapabilitiesSecureBits::KEEP_CAPS_LOCKED
        | CapabilitiesSecureBits::NO_CAP_AMBIENT_RAISE_LOCKED;
    let _ = set_capabilities_secure_bits(all | locks);
}

/// Drops every privilege but what had to stay.
pub(super) fn drop_all(left: &Left) -> Outcome {
    let none = CapabilitySet::empty();
    let kept = CapabilitySets { effective: left.privileges, permitted: left.privileges, inheritable: none };
    set_capabilities(None, kept).map_err(refused)?;
    match &left.path {
        Some(path) if !left.privileges.is_empty() => {
            Err(format!("{} stays, since {} is closed to the agent otherwise", names(left.privileges), path.display()))
        }
        _ => Ok("none in any set".into()),
    }
}

fn names(privileges: CapabilitySet) -> String {
    let names: Vec<_> = privileges.iter_names().map(|(name, _)| format!("cap_{}", name.to_lowercase())).collect();
    names.join(", ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_stays_is_named() {
        assert_eq!(names(CapabilitySet::DAC_READ_SEARCH), "cap_dac_read_search");
    }
}
