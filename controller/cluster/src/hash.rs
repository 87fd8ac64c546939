//! Numbers derived from names, the same for ever and everywhere.

use sha2::{Digest, Sha256};

/// The first bytes of a SHA-256 over the parts, each closed by a zero, which no Kubernetes name
/// contains.
pub(crate) fn bytes<const N: usize>(parts: &[&str]) -> [u8; N] {
    const { assert!(N <= 32, "a SHA-256 has 32 bytes") }
    let mut hash = Sha256::new();
    for part in parts {
        hash.update(part.as_bytes());
        hash.update([0]);
    }
    let digest = hash.finalize();
    let mut bytes = [0; N];
    bytes.copy_from_slice(&digest[..N]);
    bytes
}
