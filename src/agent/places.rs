//! Which files and hosts the jobs of an agent may touch.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::path::{Component, Path, PathBuf};

use ffrtmp_core::error::{Code, Error, Result};

/// The directories and hosts that jobs may use.
#[derive(Clone, Debug)]
pub(super) struct Places {
    roots: Vec<PathBuf>,
    hosts: Vec<String>,
}

impl Places {
    /// Allows these directories, symlinks resolved, and besides public addresses these hosts.
    ///
    /// # Errors
    /// `invalid_config` naming `allow-path` for a directory that does not exist.
    pub(super) fn new(roots: &[PathBuf], hosts: &[String]) -> Result<Self> {
        let roots = roots
            .iter()
            .map(|root| {
                root.canonicalize().ok().filter(|root| root.is_dir()).ok_or_else(|| {
                    Error::new(Code::InvalidConfig, format!("{} is not a directory", root.display()))
                        .field("allow-path")
                        .hint("name directories that exist")
                })
            })
            .collect::<Result<_>>()?;
        Ok(Self { roots, hosts: hosts.iter().map(|host| host.to_ascii_lowercase()).collect() })
    }

    /// The existing file that an input names: a path or a `file://` URI; a relative path counts
    /// from the first directory.
    ///
    /// # Errors
    /// `path_not_allowed`, `input_not_found`, `input_unreadable`.
    pub(super) fn input(&self, text: &str) -> Result<PathBuf> {
        let path = self.absolute(text, "input")?;
        self.refuse_outside(&path, text, "input")?;
        let real = path.canonicalize().map_err(|error| unreadable(text, error))?;
        self.check(&real, text, "input")?;
        let kind = std::fs::metadata(&real).map_err(|error| unreadable(text, error))?;
        if !kind.is_file() {
            let what = if kind.is_dir() { "a directory" } else { "a special file" };
            return Err(Error::new(Code::InputUnreadable, format!("{text:?} is {what}")).field("input"));
        }
        std::fs::File::open(&real).map_err(|error| unreadable(text, error))?;
        Ok(real)
    }

    /// The file that an output names; its directory must exist.
    ///
    /// # Errors
    /// `path_not_allowed`, `output_directory_missing`, `output_not_writable`.
    pub(super) fn output(&self, text: &str) -> Result<PathBuf> {
        let path = self.absolute(text, "output")?;
        self.refuse_outside(&path, text, "output")?;
        let name = path.file_name().map(ToOwned::to_owned).ok_or_else(|| {
            Error::new(Code::OutputNotWritable, format!("{text:?} does not name a file")).field("output")
        })?;
        let parent = path.parent().unwrap_or(Path::new("/"));
        let real = parent.canonicalize().map_err(|error| {
            let code = match error.kind() {
                std::io::ErrorKind::NotFound | std::io::ErrorKind::NotADirectory => Code::OutputDirectoryMissing,
                _ => Code::OutputNotWritable,
            };
            Error::new(code, format!("cannot use the directory of {text:?}")).field("output").source(error)
        })?;
        self.check(&real.join(&name), text, "output")?;
        Ok(real.join(name))
    }

    /// Whether a remote address may be contacted on behalf of `host`.
    ///
    /// # Errors
    /// `host_not_allowed` for a private, loopback or link-local address of a host that is not
    /// named.
    pub(super) fn check_address(&self, host: &str, address: IpAddr, field: &'static str) -> Result<()> {
        if self.names_host(host) || !is_private(address) {
            return Ok(());
        }
        Err(Error::new(Code::HostNotAllowed, format!("{host} has the private address {address}"))
            .field(field)
            .hint(format!("start the agent with --allow-host {host} if the host is meant")))
    }

    /// Whether the operator named the host.
    #[must_use]
    pub(super) fn names_host(&self, host: &str) -> bool {
        let host = host.trim_start_matches('[').trim_end_matches(']').to_ascii_lowercase();
        self.hosts.contains(&host)
    }

    fn absolute(&self, text: &str, field: &'static str) -> Result<PathBuf> {
        let local = match file_uri(text) {
            Some(path) => percent_decoded(path, field)?,
            None => text.to_owned(),
        };
        if local.is_empty() || local.contains('\0') {
            return Err(Error::new(Code::InvalidField, "the path is empty or holds a NUL").field(field));
        }
        let path = Path::new(&local);
        match self.roots.first() {
            Some(root) if path.is_relative() => Ok(root.join(path)),
            _ => Ok(path.to_path_buf()),
        }
    }

    /// Refuses what lies outside by its text alone, so that nothing is told about files there.
    fn refuse_outside(&self, path: &Path, text: &str, field: &'static str) -> Result<()> {
        let mut plain = PathBuf::new();
        for part in path.components() {
            match part {
                Component::ParentDir => {
                    plain.pop();
                }
                Component::CurDir => {}
                other => plain.push(other),
            }
        }
        // A root reached through a symlink of its own is found after resolution.
        let nearest = plain.ancestors().find_map(|ancestor| ancestor.canonicalize().ok());
        match nearest {
            Some(real) if self.roots.iter().any(|root| real.starts_with(root)) => Ok(()),
            _ => Err(self.outside(text, field)),
        }
    }

    fn check(&self, real: &Path, text: &str, field: &'static str) -> Result<()> {
        if self.roots.iter().any(|root| real.starts_with(root)) { Ok(()) } else { Err(self.outside(text, field)) }
    }

    fn outside(&self, text: &str, field: &'static str) -> Error {
        let roots = self.roots.iter().map(|root| root.display().to_string()).collect::<Vec<_>>().join(", ");
        Error::new(Code::PathNotAllowed, format!("{text:?} lies outside the allowed directories"))
            .field(field)
            .hint(format!("allowed: {roots}; start the agent with --allow-path DIR to allow more"))
    }
}

/// The path part of a `file:` URI of this host, in any case and with or without an authority.
fn file_uri(text: &str) -> Option<&str> {
    let rest = text.get(..5).filter(|scheme| scheme.eq_ignore_ascii_case("file:")).and(text.get(5..))?;
    let Some(after) = rest.strip_prefix("//") else { return Some(rest) };
    let local = after.get(..9).filter(|host| host.eq_ignore_ascii_case("localhost")).and(after.get(9..));
    Some(local.unwrap_or(after))
}

fn unreadable(text: &str, error: std::io::Error) -> Error {
    let code = match error.kind() {
        std::io::ErrorKind::NotFound | std::io::ErrorKind::NotADirectory => Code::InputNotFound,
        _ => Code::InputUnreadable,
    };
    Error::new(code, format!("cannot open {text:?}")).field("input").source(error)
}

fn percent_decoded(text: &str, field: &'static str) -> Result<String> {
    let wrong = || Error::new(Code::InvalidField, format!("{text:?} is not a well-formed file URI")).field(field);
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.bytes();
    while let Some(byte) = rest.next() {
        if byte != b'%' {
            bytes.push(byte);
            continue;
        }
        let mut digit = || rest.next().and_then(|byte| char::from(byte).to_digit(16)).ok_or_else(wrong);
        let value = digit()? * 16 + digit()?;
        bytes.push(u8::try_from(value).map_err(|_| wrong())?);
    }
    String::from_utf8(bytes).map_err(|_| wrong())
}

/// Loopback, private, link-local, shared, documentation, multicast and other special addresses.
fn is_private(address: IpAddr) -> bool {
    match address {
        IpAddr::V4(v4) => is_private_v4(v4),
        IpAddr::V6(v6) => v6.to_ipv4_mapped().map_or_else(|| is_private_v6(v6), is_private_v4),
    }
}

fn is_private_v4(v4: Ipv4Addr) -> bool {
    let [a, b, ..] = v4.octets();
    v4.is_loopback()
        || v4.is_private()
        || v4.is_link_local()
        || v4.is_unspecified()
        || v4.is_broadcast()
        || v4.is_multicast()
        || v4.is_documentation()
        || a == 0
        || (a == 100 && (64..128).contains(&b))
        || (a == 198 && (18..20).contains(&b))
        || (a == 192 && b == 0 && v4.octets()[2] == 0)
        || (a == 192 && b == 88 && v4.octets()[2] == 99)
        || a >= 240
}

fn is_private_v6(v6: Ipv6Addr) -> bool {
    let first = v6.segments()[0];
    v6.is_loopback()
        || v6.is_unspecified()
        || v6.is_multicast()
        || (first & 0xfe00) == 0xfc00
        || (first & 0xffc0) == 0xfe80
        || (first == 0x2001 && v6.segments()[1] == 0xdb8)
        || (first & 0xffc0) == 0xfec0
        // An IPv4 address written as IPv6, as the old form ::a.b.c.d.
        || v6.segments()[..6] == [0; 6]
        // NAT64 and 6to4 carry an IPv4 address inside.
        || (first == 0x64 && v6.segments()[1] == 0xff9b)
        || first == 0x2002
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_files_under_the_roots() {
        let base = tempfile::tempdir().unwrap();
        let root = base.path().join("media");
        std::fs::create_dir_all(root.join("sub")).unwrap();
        std::fs::write(root.join("in.mp4"), "x").unwrap();
        std::fs::write(root.join("with space.mp4"), "x").unwrap();
        std::fs::write(base.path().join("secret.mp4"), "x").unwrap();
        std::os::unix::fs::symlink(base.path().join("secret.mp4"), root.join("link.mp4")).unwrap();
        std::os::unix::fs::symlink(base.path(), root.join("up")).unwrap();
        let places = Places::new(std::slice::from_ref(&root), &[]).unwrap();
        assert!(places.input("in.mp4").is_ok());
        assert!(places.input(&root.join("sub/../in.mp4").display().to_string()).is_ok());
        for form in ["file://", "FILE://", "file:", "File://localhost"] {
            assert!(places.input(&format!("{form}{}/with%20space.mp4", root.display())).is_ok(), "{form}");
        }
        assert_eq!(places.input("none.mp4").unwrap_err().code(), Code::InputNotFound);
        assert_eq!(places.input("sub").unwrap_err().code(), Code::InputUnreadable);
        for bad in ["../secret.mp4", "link.mp4", "up/secret.mp4", "/etc/passwd", "/dev/zero", "../none"] {
            assert_eq!(places.input(bad).unwrap_err().code(), Code::PathNotAllowed, "{bad}");
        }
        assert!(places.output("new.mp4").is_ok());
        assert_eq!(places.output("nowhere/new.mp4").unwrap_err().code(), Code::OutputDirectoryMissing);
        for bad in ["../new.mp4", "up/new.mp4", "/etc/new.mp4", "/nowhere/new.mp4"] {
            assert_eq!(places.output(bad).unwrap_err().code(), Code::PathNotAllowed, "{bad}");
        }
    }

    #[test]
    fn private_addresses_need_to_be_named() {
        let places = Places::new(&[], &["Media.Example".into(), "::1".into()]).unwrap();
        for private in [
            "127.0.0.1",
            "10.1.2.3",
            "169.254.169.254",
            "::1",
            "fe80::1",
            "fd00::1",
            "::ffff:127.0.0.1",
            "0.0.0.0",
            "100.64.0.1",
            "192.0.0.1",
            "::127.0.0.1",
            "fec0::1",
        ] {
            let address = private.parse().unwrap();
            assert!(places.check_address("evil.example", address, "input").is_err(), "{private}");
            assert!(places.check_address("media.example", address, "input").is_ok(), "{private}");
        }
        assert!(places.check_address("cdn.example", "93.184.216.34".parse().unwrap(), "input").is_ok());
        assert!(places.names_host("[::1]"));
    }
}
