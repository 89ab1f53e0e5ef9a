//! Digests that stand for texts of users in indexes: of one size, whatever the text holds.

use uuid::Uuid;

/// The digest of a text of several parts.
pub(super) fn of(parts: &[&[u8]]) -> Uuid {
    let mut hasher = blake3::Hasher::new();
    for part in parts {
        hasher.update(&(part.len() as u64).to_le_bytes());
        hasher.update(part);
    }
    let mut digest = [0; 16];
    hasher.finalize_xof().fill(&mut digest);
    Uuid::from_bytes(digest)
}
