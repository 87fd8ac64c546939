//! What the configuration says about connection tracking.

use std::time::Duration;

use clap::Args;
use conntrack::{ConnTable, LimitSpec, TableError, Timeouts};

/// How connections are tracked, and how many.
#[derive(Clone, Debug, Default, PartialEq, Eq, Args)]
pub struct Tracking {
    /// Most tracked connections; about 235 bytes each, used as they come [default: 1048576]
    #[arg(long, value_name = "N")]
    pub ct_max: Option<u32>,
    /// Most of them of which one direction only was seen; beyond that the oldest of these give way
    /// [default: half of ct-max]
    #[arg(long, value_name = "N")]
    pub ct_half_open: Option<u32>,
    /// Most of these from one source address; 0: no limit [default: an eighth of ct-max]
    #[arg(long, value_name = "N")]
    pub ct_half_open_per_source: Option<u32>,
    /// Most connections of a zone: default=LIMIT or zone=ZONE,limit=LIMIT; 0: no limit
    #[arg(long, value_name = "LIMIT")]
    pub ct_zone_limit: Vec<String>,
    /// TCP: strict (refuse segments outside the window) or liberal [default: liberal]
    #[arg(long, value_name = "MODE")]
    pub ct_tcp: Option<String>,
    /// Take up TCP connections whose beginning was not seen [default: true]
    #[arg(long, value_name = "BOOL")]
    pub ct_pickup: Option<bool>,
    /// Seconds after which a silent connection is forgotten, by protocol and state, like
    /// udp-single=30; `sluicectl ct show` has them all
    #[arg(long, value_name = "NAME=SECONDS")]
    pub ct_timeout: Vec<String>,
}

/// What a table of connections is made from.
#[derive(Clone, Debug)]
pub struct Resolved {
    config: conntrack::Config,
    limits: Vec<LimitSpec>,
}

const CONNECTIONS: u32 = 1 << 20;
/// 16 GB of memory, which nobody reserves by mistake.
const MOST: u32 = 1 << 26;

impl Tracking {
    /// Each value of `self`, or else that of `other`.
    pub fn or(self, other: Tracking) -> Tracking {
        let texts = |own: Vec<String>, other| if own.is_empty() { other } else { own };
        Tracking {
            ct_max: self.ct_max.or(other.ct_max),
            ct_half_open: self.ct_half_open.or(other.ct_half_open),
            ct_half_open_per_source: self
                .ct_half_open_per_source
                .or(other.ct_half_open_per_source),
            ct_zone_limit: texts(self.ct_zone_limit, other.ct_zone_limit),
            ct_tcp: self.ct_tcp.or(other.ct_tcp),
            ct_pickup: self.ct_pickup.or(other.ct_pickup),
            ct_timeout: texts(self.ct_timeout, other.ct_timeout),
        }
    }

    /// Refuses what cannot be.
    pub fn resolve(self) -> Result<Resolved, String> {
        let capacity = self.ct_max.unwrap_or(CONNECTIONS);
        if !(1..=MOST).contains(&capacity) {
            return Err(format!("ct-max {capacity}: 1 to {MOST}"));
        }
        let mut config = conntrack::Config::new(capacity, [0, 0]);
        if let Some(half_open) = self.ct_half_open {
            if !(1..=capacity).contains(&half_open) {
                return Err(format!(
                    "ct-half-open {half_open}: 1 to ct-max ({capacity})"
                ));
            }
            config.half_open = half_open;
            config.half_open_per_source = (half_open / 4).max(1);
        }
        if let Some(share) = self.ct_half_open_per_source {
            config.half_open_per_source = share;
        }
        config.strict = match self.ct_tcp.as_deref() {
            None | Some("liberal") => false,
            Some("strict") => true,
            Some(other) => return Err(format!("ct-tcp '{other}': write strict or liberal")),
        };
        config.loose = self.ct_pickup.unwrap_or(true);
        for text in &self.ct_timeout {
            set_timeout(&mut config.timeouts, text)?;
        }
        let limits = self.ct_zone_limit.iter().map(|text| text.parse());
        Ok(Resolved {
            config,
            limits: limits.collect::<Result<_, _>>()?,
        })
    }
}

fn set_timeout(timeouts: &mut Timeouts, text: &str) -> Result<(), String> {
    let wrong = || format!("ct-timeout '{text}': write NAME=SECONDS, like udp-single=30");
    let (name, seconds) = text.split_once('=').ok_or_else(wrong)?;
    let seconds: u64 = seconds.parse().map_err(|_| wrong())?;
    timeouts
        .set(name, Duration::from_secs(seconds))
        .map_err(|why| format!("ct-timeout {why}"))
}

impl Resolved {
    /// An empty table.
    ///
    /// # Errors
    /// If the machine has not that much memory.
    pub fn table(&self, seed: [u64; 2]) -> Result<ConnTable, TableError> {
        let table = ConnTable::new(&conntrack::Config {
            seed,
            ..self.config.clone()
        })?;
        for limit in &self.limits {
            table.set_limit(*limit);
        }
        Ok(table)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn texts(texts: &[&str]) -> Vec<String> {
        texts.iter().map(|text| (*text).to_owned()).collect()
    }

    #[test]
    fn what_is_configured_is_what_the_table_is_made_with() {
        let flags = Tracking {
            ct_max: Some(1000),
            ct_timeout: texts(&["udp-single=7", "tcp-established=3600"]),
            ..Tracking::default()
        };
        let file = Tracking {
            ct_max: Some(5),
            ct_half_open: Some(100),
            ct_zone_limit: texts(&["default=50", "zone=3,limit=9"]),
            ct_tcp: Some("strict".into()),
            ct_pickup: Some(false),
            ..Tracking::default()
        };
        let table = flags.or(file).resolve().unwrap().table([1, 2]).unwrap();
        let config = table.config();
        assert_eq!((config.capacity, config.half_open), (1000, 100));
        assert_eq!(config.half_open_per_source, 25);
        assert_eq!((config.strict, config.loose), (true, false));
        assert_eq!(config.timeouts.udp_single, Duration::from_secs(7));
        assert_eq!(config.timeouts.tcp_established, Duration::from_secs(3600));
        assert_eq!(table.default_zone_limit(), 50);
        assert_eq!(table.zone_limit(3).limit, Some(9));
        let plain = Tracking::default().resolve().unwrap();
        assert_eq!(plain.config.capacity, 1 << 20);
        assert!(!plain.config.strict && plain.config.loose);
    }

    #[test]
    fn what_cannot_be_is_refused_in_one_line() {
        let plain = Tracking::default;
        let wrong = [
            (
                Tracking {
                    ct_max: Some(0),
                    ..plain()
                },
                "ct-max 0: 1 to",
            ),
            (
                Tracking {
                    ct_max: Some(5),
                    ct_half_open: Some(6),
                    ..plain()
                },
                "ct-half-open 6: 1 to ct-max (5)",
            ),
            (
                Tracking {
                    ct_tcp: Some("loose".into()),
                    ..plain()
                },
                "strict or liberal",
            ),
            (
                Tracking {
                    ct_timeout: texts(&["udp"]),
                    ..plain()
                },
                "NAME=SECONDS",
            ),
            (
                Tracking {
                    ct_timeout: texts(&["udp=5"]),
                    ..plain()
                },
                "no timeout 'udp'",
            ),
            (
                Tracking {
                    ct_timeout: texts(&["icmp=0"]),
                    ..plain()
                },
                "ct-timeout icmp=0: 1 to",
            ),
            (
                Tracking {
                    ct_zone_limit: texts(&["5"]),
                    ..plain()
                },
                "zone limit '5'",
            ),
        ];
        for (tracking, hint) in wrong {
            let error = tracking.resolve().unwrap_err();
            assert!(error.contains(hint) && !error.contains('\n'), "{error}");
        }
    }
}
