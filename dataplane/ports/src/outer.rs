//! The keys of a tunnel port that say what its outer headers look like.

use std::fmt;
use std::ops::RangeInclusive;

/// What a tunnel's outer header says, with the names and defaults that Open vSwitch has for it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct OuterSpec {
    /// `tos=N|inherit`: DSCP in the upper six bits. ECN is always that of the packet inside
    /// (RFC 6040).
    pub tos: Mark,
    /// `ttl=N|inherit`.
    pub ttl: Mark,
    /// `df_default=true|false`: forbid routers to fragment what is sent (IPv4).
    pub dont_fragment: bool,
    /// `csum=true|false`: UDP checksum. Over IPv6 there is one unless it is false, over IPv4 only if
    /// it is true.
    pub checksum: Option<bool>,
}

/// Where a field of the outer header comes from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mark {
    /// It is the same in all packets.
    Fixed(u8),
    /// From the packet inside; what is not IP gets the default.
    Inherit,
}

impl OuterSpec {
    /// The outer time to live unless the port says another.
    pub const TTL: u8 = 64;
}

impl Default for OuterSpec {
    fn default() -> Self {
        OuterSpec {
            tos: Mark::Fixed(0),
            ttl: Mark::Fixed(Self::TTL),
            dont_fragment: true,
            checksum: None,
        }
    }
}

impl OuterSpec {
    pub(crate) fn take(&mut self, key: &str, value: &str) -> Result<(), String> {
        let flag = || {
            let parsed = value.parse::<bool>();
            parsed.map_err(|_| format!("{key} is true or false, not '{value}'"))
        };
        match key {
            "df_default" => self.dont_fragment = flag()?,
            "csum" => self.checksum = Some(flag()?),
            "tos" => self.tos = Mark::parse(key, value, 0..=0xff)?,
            _ => self.ttl = Mark::parse(key, value, 1..=0xff)?,
        }
        if let Mark::Fixed(tos) = self.tos
            && tos & 3 != 0
        {
            return Err(format!(
                "tos '{tos}' has ECN bits, which come from the packet inside; give a multiple of 4"
            ));
        }
        Ok(())
    }
}

impl Mark {
    fn parse(key: &str, value: &str, range: RangeInclusive<u8>) -> Result<Mark, String> {
        let number = match value.strip_prefix("0x") {
            Some(digits) => u8::from_str_radix(digits, 16).ok(),
            None => value.parse().ok(),
        };
        match number.filter(|number| range.contains(number)) {
            _ if value == "inherit" => Ok(Mark::Inherit),
            Some(number) => Ok(Mark::Fixed(number)),
            None => Err(format!(
                "{key} '{value}' is neither inherit nor a number from {} to {}",
                range.start(),
                range.end()
            )),
        }
    }
}

impl fmt::Display for Mark {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Mark::Fixed(number) => write!(f, "{number}"),
            Mark::Inherit => f.write_str("inherit"),
        }
    }
}

/// What differs from the default, each key with a comma in front.
impl fmt::Display for OuterSpec {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let default = OuterSpec::default();
        if self.tos != default.tos {
            write!(f, ",tos={}", self.tos)?;
        }
        if self.ttl != default.ttl {
            write!(f, ",ttl={}", self.ttl)?;
        }
        if self.dont_fragment != default.dont_fragment {
            write!(f, ",df_default={}", self.dont_fragment)?;
        }
        if let Some(checksum) = self.checksum {
            write!(f, ",csum={checksum}")?;
        }
        Ok(())
    }
}
