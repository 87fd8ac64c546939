//! Which object a flow comes from: the cookie, and the label that goes with it.

use std::fmt;

use cluster::ObjectRef;

use crate::Table;

/// What a flow is part of. The numbers are in cookies, so they are fixed for ever.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[repr(u8)]
#[allow(missing_docs)] // each is the file of that name
pub enum Feature {
    Pipeline = 1,
    Classify = 2,
    SpoofGuard = 3,
    Arp = 4,
    Nd = 5,
    Conntrack = 6,
    Service = 7,
    Routing = 8,
    Hairpin = 9,
    Qos = 10,
    L2 = 11,
    Tunnel = 12,
    Output = 13,
    Limits = 14,
    Backends = 20,
    /// Flows that connections leave behind (`learn`).
    Affinity = 21,
    Policy = 30,
    PolicyLog = 31,
    SubnetRules = 40,
    Conflict = 41,
    Host = 60,
    Edge = 61,
    Frontend = 62,
    Announce = 63,
}

/// The high byte of every cookie that this controller gives.
pub const COOKIE_MARK: u8 = 0x5c;

/// The bits of a cookie that say whose it is, and the feature.
pub const FEATURE_MASK: u64 = 0xffff << 48;

/// What stands in these bits of the cookies of a feature.
pub const fn cookies_of(feature: Feature) -> u64 {
    (COOKIE_MARK as u64) << 56 | (feature as u64) << 48
}

/// Feature and object that a flow comes from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Origin {
    /// The cookie: mark (8 bits), feature (8 bits), hash of the object (48 bits).
    pub cookie: u64,
    /// The object, as `Kind namespace/name`.
    pub label: String,
}

impl Origin {
    /// Of an object of the cluster.
    pub fn object(feature: Feature, object: &ObjectRef) -> Self {
        Origin::labelled(feature, object.to_string())
    }

    /// Of a part of an object, which has a cookie of its own and so counts its own packets.
    pub fn part(feature: Feature, object: &ObjectRef, part: &str) -> Self {
        Origin::labelled(feature, format!("{object} {part}"))
    }

    /// Of the pipeline itself, whatever the cluster holds.
    pub fn table(feature: Feature, table: Table) -> Self {
        Origin::labelled(feature, format!("Pipeline {}", table.name()))
    }

    fn labelled(feature: Feature, label: String) -> Self {
        let object = hash64(label.as_bytes()) >> 16;
        let cookie = cookies_of(feature) | object;
        Origin { cookie, label }
    }
}

impl fmt::Display for Origin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.label)
    }
}

/// FNV-1a, 64 bits, with a final mix: the same in every process and version, since cookies, group
/// numbers and network numbers live in switches longer than we do.
pub fn hash64(bytes: &[u8]) -> u64 {
    let fnv = bytes.iter().fold(0xcbf2_9ce4_8422_2325u64, |hash, byte| {
        (hash ^ u64::from(*byte)).wrapping_mul(0x0000_0100_0000_01b3)
    });
    // The finalizer of MurmurHash3: FNV's high bits depend little on the last bytes.
    let mixed = (fnv ^ (fnv >> 33)).wrapping_mul(0xff51_afd7_ed55_8ccd);
    let mixed = (mixed ^ (mixed >> 33)).wrapping_mul(0xc4ce_b9fe_1a85_ec53);
    mixed ^ (mixed >> 33)
}

#[cfg(test)]
mod tests {
    use cluster::{Kind, NamespacedName};

    use super::*;

    #[test]
    fn cookies_never_change() {
        let pod = ObjectRef::namespaced(Kind::Pod, &NamespacedName::new("bank", "web-1"));
        let origin = Origin::object(Feature::SpoofGuard, &pod);
        assert_eq!(origin.label, "Pod bank/web-1");
        // Switches keep cookies over our restarts and upgrades: this value must hold for ever.
        assert_eq!(format!("{:#x}", origin.cookie), "0x5c030c1d3a31ff72");
        assert_ne!(origin.cookie, Origin::object(Feature::Arp, &pod).cookie);
    }
}
