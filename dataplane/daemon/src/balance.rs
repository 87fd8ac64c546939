//! What the configuration says about moving ports between cores.

use clap::Args;
use worker::Balance;

/// When rx queues go to other cores by themselves.
#[derive(Clone, Debug, Default, PartialEq, Eq, Args)]
pub struct AutoBalance {
    /// Move rx queues from busy cores to others by load: on or off [default: on]
    #[arg(long, value_name = "on|off")]
    pub auto_balance: Option<String>,
    /// Seconds between two looks at the load [default: 60]
    #[arg(long, value_name = "SECONDS")]
    pub auto_balance_interval: Option<u64>,
    /// Only if some core was busy for more than so many percent of that time [default: 95]
    #[arg(long, value_name = "PERCENT")]
    pub auto_balance_load: Option<u8>,
    /// Only if the variance of the cores' loads falls by so many percent [default: 25]
    #[arg(long, value_name = "PERCENT")]
    pub auto_balance_improvement: Option<u8>,
}

impl AutoBalance {
    /// Each value of `self`, or else that of `other`.
    pub fn or(self, other: AutoBalance) -> AutoBalance {
        AutoBalance {
            auto_balance: self.auto_balance.or(other.auto_balance),
            auto_balance_interval: self.auto_balance_interval.or(other.auto_balance_interval),
            auto_balance_load: self.auto_balance_load.or(other.auto_balance_load),
            auto_balance_improvement: self
                .auto_balance_improvement
                .or(other.auto_balance_improvement),
        }
    }

    /// What the workers are told.
    pub fn resolve(&self) -> Result<Option<Balance>, String> {
        let usual = Balance::default();
        let interval = self
            .auto_balance_interval
            .unwrap_or(usual.interval / 1_000_000_000);
        if !(5..=86_400).contains(&interval) {
            return Err(format!(
                "auto-balance-interval {interval}: 5 to 86400 seconds"
            ));
        }
        let percent = |key: &str, given: Option<u8>, usual: u8| match given.unwrap_or(usual) {
            percent @ 0..=100 => Ok(percent),
            percent => Err(format!("{key} {percent}: 0 to 100 percent")),
        };
        let balance = Balance {
            interval: interval * 1_000_000_000,
            load: percent("auto-balance-load", self.auto_balance_load, usual.load)?,
            improvement: percent(
                "auto-balance-improvement",
                self.auto_balance_improvement,
                usual.improvement,
            )?,
        };
        match self.auto_balance.as_deref() {
            None | Some("on") => Ok(Some(balance)),
            Some("off") => Ok(None),
            Some(other) => Err(format!("auto-balance '{other}': write on or off")),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_is_on_unless_told_otherwise_and_nonsense_is_refused() {
        let usual = AutoBalance::default();
        assert_eq!(usual.resolve(), Ok(Some(Balance::default())));
        let off = AutoBalance {
            auto_balance: Some("off".into()),
            ..AutoBalance::default()
        };
        assert_eq!(off.clone().or(usual).resolve(), Ok(None));
        let wrong = AutoBalance {
            auto_balance: Some("maybe".into()),
            ..AutoBalance::default()
        };
        assert!(wrong.resolve().is_err());
        let wrong = AutoBalance {
            auto_balance_load: Some(101),
            ..AutoBalance::default()
        };
        assert_eq!(
            wrong.resolve().unwrap_err(),
            "auto-balance-load 101: 0 to 100 percent"
        );
        let wrong = AutoBalance {
            auto_balance_interval: Some(1),
            ..AutoBalance::default()
        };
        assert!(wrong.resolve().is_err());
    }
}
