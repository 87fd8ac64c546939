//! What the configuration says about the size of the tables.

use clap::Args;
use tables::{MAX_FLOWS, MAX_FLOWS_IN_ALL, MAX_GROUPS, MAX_METERS, Tables};

/// Beyond these, a controller is told that there is no more room, and everything stays.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Args)]
pub struct Sizes {
    /// Most flows in all tables together; about 300 bytes each [default: 4000000]
    #[arg(long, value_name = "N")]
    pub max_flows: Option<usize>,
    /// Most flows in one table, until a controller sets another size [default: 2000000]
    #[arg(long, value_name = "N")]
    pub max_flows_per_table: Option<u32>,
    /// Most groups [default: 1000000]
    #[arg(long, value_name = "N")]
    pub max_groups: Option<usize>,
    /// Most meters [default: 1000000]
    #[arg(long, value_name = "N")]
    pub max_meters: Option<usize>,
}

impl Sizes {
    /// Each value of `self`, or else that of `other`.
    pub fn or(self, other: Sizes) -> Sizes {
        Sizes {
            max_flows: self.max_flows.or(other.max_flows),
            max_flows_per_table: self.max_flows_per_table.or(other.max_flows_per_table),
            max_groups: self.max_groups.or(other.max_groups),
            max_meters: self.max_meters.or(other.max_meters),
        }
    }

    /// Refuses what the tables cannot be.
    pub fn check(self) -> Result<Sizes, String> {
        let limits = [
            (
                "max-flows-per-table",
                self.max_flows_per_table.map(|n| n as usize),
                MAX_FLOWS,
            ),
            ("max-groups", self.max_groups, MAX_GROUPS),
            ("max-meters", self.max_meters, MAX_METERS),
        ];
        for (key, wanted, most) in limits {
            if let Some(wanted) = wanted.filter(|wanted| *wanted > most) {
                return Err(format!("{key} {wanted}: at most {most}"));
            }
        }
        Ok(self)
    }

    /// Empty tables of these sizes.
    pub fn tables(self) -> Tables {
        let mut tables = Tables::new();
        tables.set_most_flows(self.max_flows.unwrap_or(MAX_FLOWS_IN_ALL));
        tables.set_most_groups(self.max_groups.unwrap_or(MAX_GROUPS));
        tables.set_most_meters(self.max_meters.unwrap_or(MAX_METERS));
        if let Some(flows) = self.max_flows_per_table {
            tables.set_table_size(flows);
        }
        tables
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_flag_wins_and_too_much_is_refused() {
        let sizes = |max_flows, max_groups| Sizes {
            max_flows,
            max_groups,
            ..Sizes::default()
        };
        let both = sizes(Some(5), None).or(sizes(Some(7), Some(9)));
        assert_eq!(both, sizes(Some(5), Some(9)));
        assert_eq!(both.check(), Ok(both));
        let error = sizes(None, Some(2_000_000)).check().unwrap_err();
        assert_eq!(error, "max-groups 2000000: at most 1000000");
    }
}
