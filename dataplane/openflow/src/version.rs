//! Protocol versions.

/// A version of the protocol that the codec knows or can name.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[repr(u8)]
#[allow(missing_docs)] // the numbers are the documentation
pub enum Version {
    V1_0 = 1,
    V1_1 = 2,
    V1_2 = 3,
    V1_3 = 4,
    V1_4 = 5,
    V1_5 = 6,
}

impl Version {
    /// Versions that the model and the codec are made for.
    pub const ALL: &'static [Version] = &[Version::V1_3, Version::V1_4, Version::V1_5];

    /// Versions that [`crate::wire`] encodes and decodes in full.
    pub const SUPPORTED: &'static [Version] = Version::ALL;

    /// From the first byte of a message.
    pub const fn from_wire(byte: u8) -> Option<Version> {
        Some(match byte {
            1 => Version::V1_0,
            2 => Version::V1_1,
            3 => Version::V1_2,
            4 => Version::V1_3,
            5 => Version::V1_4,
            6 => Version::V1_5,
            _ => return None,
        })
    }

    /// The first byte of a message.
    pub const fn to_wire(self) -> u8 {
        self as u8
    }
}

impl std::fmt::Display for Version {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "1.{}", *self as u8 - 1)
    }
}
