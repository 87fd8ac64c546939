//! A set of numbers kept as ranges: what a pool must not hand out.

use std::net::IpAddr;

use crate::addr::{Family, bits};

/// Inclusive ranges, sorted, neither overlapping nor touching.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct RangeSet(Vec<(u128, u128)>);

impl RangeSet {
    /// From ranges in any order.
    pub(crate) fn new(mut ranges: Vec<(u128, u128)>) -> Self {
        ranges.sort_unstable();
        let mut merged: Vec<(u128, u128)> = Vec::with_capacity(ranges.len());
        for (first, last) in ranges {
            match merged.last_mut() {
                Some(before) if first <= before.1.saturating_add(1) => {
                    before.1 = before.1.max(last);
                }
                _ => merged.push((first, last)),
            }
        }
        RangeSet(merged)
    }

    /// The last number of the range that has `value` in it.
    pub(crate) fn end_of(&self, value: u128) -> Option<u128> {
        let after = self.0.partition_point(|&(first, _)| first <= value);
        let &(_, last) = self.0.get(after.checked_sub(1)?)?;
        (value <= last).then_some(last)
    }

    /// The ranges of the set that reach into `first..=last`, cut to it, in order.
    pub(crate) fn within(&self, first: u128, last: u128) -> impl Iterator<Item = (u128, u128)> {
        let start = self.0.partition_point(|&(_, end)| end < first);
        let cut = move |&(from, to): &(u128, u128)| (from.max(first), to.min(last));
        self.0[start..]
            .iter()
            .take_while(move |&&(from, _)| first <= last && from <= last)
            .map(cut)
    }

    /// What of `first..=last` is in the set.
    pub(crate) fn clipped(&self, first: u128, last: u128) -> RangeSet {
        RangeSet(self.within(first, last).collect())
    }

    /// What is in this set and not in the other.
    pub(crate) fn without(&self, other: &RangeSet) -> RangeSet {
        let mut left = Vec::with_capacity(self.0.len() + other.0.len());
        for &(first, last) in &self.0 {
            let mut from = Some(first);
            for (cut_first, cut_last) in other.within(first, last) {
                if let Some(start) = from
                    && start < cut_first
                {
                    left.push((start, cut_first - 1));
                }
                from = cut_last.checked_add(1);
            }
            if let Some(start) = from
                && start <= last
            {
                left.push((start, last));
            }
        }
        RangeSet(left)
    }

    /// A number that is in both sets.
    pub(crate) fn common(&self, other: &RangeSet) -> Option<u128> {
        self.0
            .iter()
            .find_map(|&(first, last)| Some(other.within(first, last).next()?.0))
    }

    /// How many numbers are in the set.
    pub(crate) fn len(&self) -> u128 {
        let lengths = self.0.iter().map(|&(first, last)| last - first);
        lengths.fold(0, |all, length| {
            all.saturating_add(length).saturating_add(1)
        })
    }

    /// How many numbers from `first` to `last` are not in the set.
    pub(crate) fn gaps(&self, first: u128, last: u128) -> u128 {
        let all = (last - first).saturating_add(1);
        all.saturating_sub(self.clipped(first, last).len())
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// The ranges, in order.
    pub(crate) fn ranges(&self) -> &[(u128, u128)] {
        &self.0
    }

    /// True if `value` is in the set.
    pub(crate) fn contains(&self, value: u128) -> bool {
        self.end_of(value).is_some()
    }
}

/// Reads an entry of `excludeIps`: an address, or `first..last`.
pub(crate) fn parse_range(text: &str) -> Result<(Family, u128, u128), String> {
    let one = |text: &str| -> Result<IpAddr, String> {
        text.trim()
            .parse()
            .map_err(|_| format!("{:?} is not an address", text.trim()))
    };
    let (first, last) = match text.split_once("..") {
        Some((first, last)) => (one(first)?, one(last)?),
        None => {
            let address = one(text)?;
            (address, address)
        }
    };
    if Family::of(first) != Family::of(last) {
        return Err(format!("{first} and {last} are of different families"));
    }
    if first > last {
        return Err(format!(
            "the range ends at {last}, before it begins at {first}"
        ));
    }
    Ok((Family::of(first), bits(first), bits(last)))
}

/// Reads an entry of an IPPool's `ips`: as [`parse_range`], or a prefix.
pub(crate) fn parse_part(text: &str) -> Result<(Family, u128, u128), String> {
    if !text.contains('/') {
        return parse_range(text);
    }
    let net: ipnet::IpNet = text
        .trim()
        .parse()
        .map_err(|_| format!("{:?} is not a prefix", text.trim()))?;
    let family = Family::of_net(net);
    Ok((family, bits(net.network()), bits(net.broadcast())))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn an_exclusion_is_an_address_or_a_range() {
        assert_eq!(parse_range("0.0.0.7"), Ok((Family::V4, 7, 7)));
        assert_eq!(parse_range(" ::5..::9 "), Ok((Family::V6, 5, 9)));
        for (bad, why) in [
            ("10.0.0", "is not an address"),
            ("10.0.0.1..", "is not an address"),
            ("10.0.0.9..10.0.0.1", "before it begins"),
            ("10.0.0.1..::1", "different families"),
            ("10.0.0.0/24", "is not an address"),
        ] {
            assert!(parse_range(bad).unwrap_err().contains(why), "{bad}");
        }
    }

    proptest! {
        #[test]
        fn a_set_of_ranges_contains_what_its_ranges_contain(
            ranges in proptest::collection::vec((0u128..60, 0u128..8), 0..10),
        ) {
            let ranges: Vec<_> = ranges.into_iter().map(|(first, len)| (first, first + len)).collect();
            let set = RangeSet::new(ranges.clone());
            for value in 0..80 {
                let wanted = ranges.iter().any(|&(first, last)| (first..=last).contains(&value));
                prop_assert_eq!(set.contains(value), wanted);
                if let Some(end) = set.end_of(value) {
                    prop_assert!(!set.contains(end + 1));
                }
            }
            prop_assert_eq!(set.len(), (0..80).filter(|v| set.contains(*v)).count() as u128);
        }

        #[test]
        fn sets_are_cut_and_taken_from_each_other_number_by_number(
            a in proptest::collection::vec((0u128..60, 0u128..8), 0..10),
            b in proptest::collection::vec((0u128..60, 0u128..8), 0..10),
            first in 0u128..40,
            length in 0u128..40,
        ) {
            let set = |ranges: &[(u128, u128)]| {
                RangeSet::new(ranges.iter().map(|&(first, len)| (first, first + len)).collect())
            };
            let (a, b) = (set(&a), set(&b));
            let (without, clipped) = (a.without(&b), a.clipped(first, first + length));
            for value in 0..80 {
                prop_assert_eq!(without.contains(value), a.contains(value) && !b.contains(value));
                let inside = (first..=first + length).contains(&value);
                prop_assert_eq!(clipped.contains(value), a.contains(value) && inside);
            }
            let common = (0..80).find(|v| a.contains(*v) && b.contains(*v));
            prop_assert_eq!(a.common(&b).is_some(), common.is_some());
        }
    }
}
