//! Limits of zones as text, as `ovs-dpctl ct-set-limits` takes them.

use std::fmt;
use std::str::FromStr;

/// `default=LIMIT` or `zone=ZONE,limit=LIMIT`; 0 is no limit.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LimitSpec {
    /// For zones that have none of their own.
    Default(u32),
    /// For one zone.
    Zone(u16, u32),
}

impl FromStr for LimitSpec {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let wrong = || {
            format!("zone limit '{text}': write default=LIMIT or zone=ZONE,limit=LIMIT; 0 is none")
        };
        let value = |text: &str, key: &str| -> Option<u32> {
            text.strip_prefix(key)?.strip_prefix('=')?.parse().ok()
        };
        let Some((zone, limit)) = text.split_once(',') else {
            return value(text, "default")
                .map(LimitSpec::Default)
                .ok_or_else(wrong);
        };
        let zone = value(zone, "zone").and_then(|zone| u16::try_from(zone).ok());
        match (zone, value(limit, "limit")) {
            (Some(zone), Some(limit)) => Ok(LimitSpec::Zone(zone, limit)),
            _ => Err(wrong()),
        }
    }
}

impl fmt::Display for LimitSpec {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            LimitSpec::Default(limit) => write!(f, "default={limit}"),
            LimitSpec::Zone(zone, limit) => write!(f, "zone={zone},limit={limit}"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn limits_are_read_as_they_are_written_and_all_else_is_refused() {
        for text in [
            "default=0",
            "default=4294967295",
            "zone=0,limit=5",
            "zone=65535,limit=0",
        ] {
            assert_eq!(text.parse::<LimitSpec>().unwrap().to_string(), text);
        }
        for text in [
            "",
            "5",
            "default",
            "default=-1",
            "zone=1",
            "zone=65536,limit=1",
            "limit=1,zone=1",
        ] {
            let error = text.parse::<LimitSpec>().unwrap_err();
            assert!(error.contains("zone=ZONE,limit=LIMIT"), "{error}");
        }
    }
}
