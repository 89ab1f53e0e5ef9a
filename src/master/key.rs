//! The API key of a master: given, or generated once and kept beside the database.

use std::fs::{self, OpenOptions};
use std::io::{Read, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;

use ffrtmp_core::error::{Code, Error, Result};

/// Reads a key file: one line, surrounding white space ignored.
///
/// # Errors
/// `invalid_config` naming `api-key-file`.
pub fn read(path: &Path) -> Result<String> {
    let wrong = |message: String| Error::new(Code::InvalidConfig, message).field("api-key-file");
    let text = fs::read_to_string(path).map_err(|error| {
        wrong(format!("cannot read {}", path.display()))
            .hint(
                "name a file that holds the key; a master without a key of its own writes api-key beside its database",
            )
            .source(error)
    })?;
    let key = text.trim().to_owned();
    check(&key).map_err(|error| wrong(format!("{} holds no usable key", path.display())).source(error))?;
    Ok(key)
}

/// The key kept in `path`, made there with mode 0600 if there is none. The flag tells whether it
/// is new.
///
/// # Errors
/// `storage` if it cannot be written, `invalid_config` if what is there is not a key.
pub fn ensure(path: &Path) -> Result<(String, bool)> {
    if path.exists() {
        return Ok((read(path)?, false));
    }
    let key = generate()?;
    let storage = |error| Error::new(Code::Storage, format!("cannot write {}", path.display())).source(error);
    let mut file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(path).map_err(storage)?;
    writeln!(file, "{key}").and_then(|()| file.sync_all()).map_err(storage)?;
    Ok((key, true))
}

/// Refuses keys that cannot stand in a header or are trivially guessed.
///
/// # Errors
/// `invalid_config` naming `api-key`.
pub fn check(key: &str) -> Result<()> {
    if key.len() < 8 || key.len() > 512 || !key.bytes().all(|byte| byte.is_ascii_graphic()) {
        return Err(Error::new(Code::InvalidConfig, "an API key has 8 to 512 visible ASCII characters")
            .field("api-key")
            .hint("make one with `openssl rand -base64 32`"));
    }
    Ok(())
}

/// 32 bytes of the system's randomness in hexadecimal.
fn generate() -> Result<String> {
    let mut bytes = [0_u8; 32];
    fs::File::open("/dev/urandom")
        .and_then(|mut random| random.read_exact(&mut bytes))
        .map_err(|error| Error::new(Code::Storage, "cannot read /dev/urandom").source(error))?;
    Ok(bytes.iter().map(|byte| format!("{byte:02x}")).collect())
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use super::*;

    #[test]
    fn a_key_is_made_once_and_is_private() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("api-key");
        let (key, new) = ensure(&path).unwrap();
        assert!(new && key.len() == 64);
        assert_eq!(ensure(&path).unwrap(), (key, false));
        assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
        fs::write(&path, "\n").unwrap();
        assert_eq!(read(&path).unwrap_err().field_name(), Some("api-key-file"));
        assert!(check("short").is_err() && check("with space in it").is_err());
    }
}
