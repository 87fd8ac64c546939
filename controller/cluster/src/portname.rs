//! The name of a pod's port: a fixed hash, so that controller and CNI plugin compute the same one
//! without asking each other.

/// The interface of a pod that the cluster network serves, as every kubelet names it.
pub const DEFAULT_INTERFACE: &str = "eth0";

/// Longest name Linux allows for an interface (IFNAMSIZ is 16 with the closing zero).
pub const MAX_LEN: usize = 15;

const PREFIX: &str = "sl";
const ALPHABET: &[u8; 32] = b"0123456789abcdefghjkmnpqrstvwxyz";

/// The port, and host interface, of one interface of one pod: `sl` and 13 characters.
///
/// The 13 characters are the first 65 bits of a SHA-256, so that nobody can choose a pod's name
/// such that its port is called like another pod's.
pub fn port_name(namespace: &str, pod: &str, interface: &str) -> String {
    let bits = u128::from_be_bytes(crate::hash::bytes(&[namespace, pod, interface]));
    let mut name = String::with_capacity(MAX_LEN);
    name.push_str(PREFIX);
    for position in 1..=(MAX_LEN - PREFIX.len()) as u32 {
        let digit = (bits >> (128 - 5 * position)) & 31;
        name.push(char::from(ALPHABET[digit as usize]));
    }
    name
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_port_name_is_a_valid_interface_name_and_never_changes() {
        let name = port_name("bank", "web-1", "eth0");
        assert_eq!(name.len(), MAX_LEN);
        assert!(name.bytes().all(|b| b.is_ascii_alphanumeric()));
        // Ports live longer than processes: this value must hold for ever.
        assert_eq!(name, "sls41snd0719qnx");
    }

    #[test]
    fn each_part_and_where_it_ends_counts() {
        let names = [
            port_name("bank", "web-1", "eth0"),
            port_name("bank", "web-1", "net1"),
            port_name("bank", "web-2", "eth0"),
            port_name("bankw", "eb-1", "eth0"),
            port_name("ban", "kweb-1", "eth0"),
        ];
        let distinct: std::collections::BTreeSet<_> = names.iter().collect();
        assert_eq!(distinct.len(), names.len());
    }
}
