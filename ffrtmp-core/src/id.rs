//! Identities: jobs, nodes, tenants, and the fence that orders attempts.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};
use uuid::Uuid;

use crate::entropy;
use crate::error::{Code, Error};

macro_rules! uuid_id {
    ($(#[$doc:meta])* $name:ident, $what:literal) => {
        $(#[$doc])*
        #[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
        #[serde(transparent)]
        #[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
        pub struct $name(Uuid);

        impl $name {
            /// A new random (version 4) id.
            #[must_use]
            pub fn random() -> Self {
                Self(entropy::uuid())
            }

            /// An id from a number, for fixtures and simulations.
            #[must_use]
            pub const fn from_u128(value: u128) -> Self {
                Self(Uuid::from_u128(value))
            }

            /// The id as a number, for compact storage.
            #[must_use]
            pub const fn as_u128(self) -> u128 {
                self.0.as_u128()
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                fmt::Display::fmt(&self.0, f)
            }
        }

        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(f, concat!($what, ":{}"), self.0)
            }
        }

        impl FromStr for $name {
            type Err = Error;

            fn from_str(text: &str) -> Result<Self, Error> {
                Uuid::parse_str(text).map(Self).map_err(|_| {
                    Error::new(Code::InvalidField, format!(concat!("{:?} is not a ", $what, " id"), text))
                        .field(concat!($what, "_id"))
                        .hint(concat!("give the full ", $what, " id, a UUID"))
                })
            }
        }
    };
}

uuid_id!(
    /// Identity of a job, stable over all its attempts.
    JobId,
    "job"
);
uuid_id!(
    /// Identity of an agent, generated once and kept in its work directory.
    NodeId,
    "node"
);

/// How a person names a job: its id, a unique prefix of it, or its sequence number.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum JobKey {
    /// The full id.
    Id(JobId),
    /// At least four hexadecimal digits (dashes allowed) that start exactly one id.
    Prefix(String),
    /// The number that counts submissions, from 1.
    Sequence(u64),
}

impl FromStr for JobKey {
    type Err = Error;

    /// Reads a full UUID, a decimal sequence number of up to 9 digits, or an id prefix.
    /// A text of digits only is a sequence number.
    fn from_str(text: &str) -> Result<Self, Error> {
        if let Ok(id) = Uuid::parse_str(text) {
            return Ok(Self::Id(JobId(id)));
        }
        if !text.is_empty() && text.len() <= 9 && text.bytes().all(|b| b.is_ascii_digit()) {
            return text.parse().map(Self::Sequence).map_err(|_| not_a_key(text));
        }
        let hex = text.len() >= 4 && text.len() < 36 && text.bytes().all(|b| b.is_ascii_hexdigit() || b == b'-');
        if hex { Ok(Self::Prefix(text.to_ascii_lowercase())) } else { Err(not_a_key(text)) }
    }
}

impl From<JobId> for JobKey {
    fn from(id: JobId) -> Self {
        Self::Id(id)
    }
}

impl fmt::Display for JobKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Id(id) => id.fmt(f),
            Self::Prefix(prefix) => f.write_str(prefix),
            Self::Sequence(number) => number.fmt(f),
        }
    }
}

fn not_a_key(text: &str) -> Error {
    Error::new(Code::JobNotFound, format!("no job is named {text:?}"))
        .field("job_id")
        .hint("give a job id, a unique prefix of at least 4 characters, or a sequence number")
}

/// Whose job it is: `default` where a request does not say. It orders and bounds jobs; it keeps nothing
/// secret, since everybody who has the key of a master may submit as any tenant.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct TenantId(String);

impl TenantId {
    /// The tenant of a system without tenants.
    #[must_use]
    pub fn single() -> Self {
        Self("default".into())
    }

    /// The name as text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for TenantId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl FromStr for TenantId {
    type Err = Error;

    /// Takes 1 to 64 letters, digits, dots, underscores and dashes of ASCII.
    fn from_str(text: &str) -> Result<Self, Error> {
        let fits = |byte: u8| byte.is_ascii_alphanumeric() || b"._-".contains(&byte);
        if !(1..=64).contains(&text.len()) || !text.bytes().all(fits) {
            return Err(Error::new(Code::InvalidField, "is not the name of a tenant")
                .field("tenant")
                .hint("give 1 to 64 letters, digits, dots, underscores or dashes"));
        }
        Ok(Self(text.to_owned()))
    }
}

impl Default for TenantId {
    fn default() -> Self {
        Self::single()
    }
}

/// Orders the attempts of a job: it grows by one with every claim, and whoever holds an older one
/// is refused. Zero means "never claimed".
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct Fence(pub u64);

impl Fence {
    /// The fence of the next attempt.
    #[must_use]
    pub fn next(self) -> Self {
        Self(self.0 + 1)
    }
}

impl fmt::Display for Fence {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys() {
        assert_eq!("17".parse::<JobKey>().unwrap(), JobKey::Sequence(17));
        assert_eq!("00ab".parse::<JobKey>().unwrap(), JobKey::Prefix("00ab".into()));
        let id = JobId::from_u128(7);
        assert_eq!(id.to_string().parse::<JobKey>().unwrap(), JobKey::Id(id));
        for bad in ["", "abc", "-i", "../etc", "zzzz", "a\0bcd"] {
            assert!(bad.parse::<JobKey>().is_err(), "{bad:?}");
        }
    }
}
