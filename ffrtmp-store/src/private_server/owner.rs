//! Whom the server runs as, and the directory that is its own.

use std::fs;
use std::os::unix::fs::{PermissionsExt, chown};
use std::path::Path;

use ffrtmp_core::{Code, Error, Result};
use tempfile::TempDir;

use super::broken;

/// Whom the server runs as, since PostgreSQL refuses to run as root.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Owner {
    pub(super) uid: u32,
    pub(super) gid: u32,
}

impl Owner {
    /// `None` where this process is not root and the server runs as its user.
    pub(super) fn needed() -> Result<Option<Self>> {
        if !rustix::process::geteuid().is_root() {
            return Ok(None);
        }
        let users = fs::read_to_string("/etc/passwd").map_err(|error| broken("cannot read /etc/passwd", error))?;
        ["postgres", "nobody"].iter().find_map(|name| Self::named(name, &users)).map(Some).ok_or_else(|| {
            Error::new(Code::Unavailable, "this is root, and there is no user to run PostgreSQL as")
                .hint("run as another user, or add the user `postgres`")
        })
    }

    fn named(name: &str, users: &str) -> Option<Self> {
        let mut fields = users.lines().map(|line| line.split(':')).find_map(|mut fields| {
            let found = fields.next() == Some(name);
            found.then_some(fields)
        })?;
        let uid = fields.nth(1)?.parse().ok()?;
        let gid = fields.next()?.parse().ok()?;
        Some(Self { uid, gid })
    }
}

pub(super) fn home(owner: Option<&Owner>) -> Result<TempDir> {
    let home = tempfile::Builder::new()
        .prefix("ffrtmp-pg-")
        .permissions(fs::Permissions::from_mode(0o700))
        .tempdir()
        .map_err(|error| broken("cannot make a temporary directory", error))?;
    give(home.path(), owner)?;
    Ok(home)
}

pub(super) fn give(path: &Path, owner: Option<&Owner>) -> Result<()> {
    let Some(owner) = owner else { return Ok(()) };
    chown(path, Some(owner.uid), Some(owner.gid))
        .map_err(|error| broken("cannot hand the directory to the server's user", error))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn users_are_read() {
        let users = "root:x:0:0:root:/root:/bin/sh\npostgres:x:101:104:,,,:/var/lib:/bin/bash\nbroken\n";
        assert_eq!(Owner::named("postgres", users), Some(Owner { uid: 101, gid: 104 }));
        assert_eq!(Owner::named("broken", users), None);
    }
}
