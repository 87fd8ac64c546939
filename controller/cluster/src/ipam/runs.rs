//! A set of numbers, kept as runs while numbers come and go one by one: which addresses are held,
//! to be counted and told without looking at each of them.

use std::collections::BTreeMap;
use std::fmt::Write as _;

use super::ranges::RangeSet;
use crate::addr::Family;

/// Longest text of ranges, bytes; what is longer is cut.
const LONGEST: usize = 1000;

/// Inclusive runs, neither overlapping nor touching: the last number by the first.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Runs(BTreeMap<u128, u128>);

impl Runs {
    /// The run that begins at or before a number.
    fn at_or_before(&self, value: u128) -> Option<(u128, u128)> {
        let run = self.0.range(..=value).next_back();
        run.map(|(first, last)| (*first, *last))
    }

    pub(crate) fn insert(&mut self, value: u128) {
        let (mut first, mut last) = (value, value);
        if let Some((before, end)) = self.at_or_before(value) {
            if end >= value {
                return;
            }
            if end.checked_add(1) == Some(value) {
                first = before;
            }
        }
        if let Some(next) = value.checked_add(1)
            && let Some(end) = self.0.remove(&next)
        {
            last = end;
        }
        self.0.insert(first, last);
    }

    pub(crate) fn remove(&mut self, value: u128) {
        let Some((first, last)) = self.at_or_before(value).filter(|(_, last)| *last >= value)
        else {
            return;
        };
        self.0.remove(&first);
        if first < value {
            self.0.insert(first, value - 1);
        }
        if value < last {
            self.0.insert(value + 1, last);
        }
    }

    /// The parts of `first..=last` that are in the set, in order.
    fn within(&self, first: u128, last: u128) -> impl Iterator<Item = (u128, u128)> {
        let start = match self.at_or_before(first) {
            Some((start, end)) if end >= first => start,
            _ => first,
        };
        let runs = self.0.range(start..=last.max(start));
        runs.map(move |(from, to)| (*from.max(&first), *to.min(&last)))
            .filter(|(from, to)| from <= to)
    }

    /// How many numbers of these ranges are in the set.
    pub(crate) fn count_of(&self, ranges: &RangeSet) -> u128 {
        let ranges = ranges.ranges().iter();
        let runs = ranges.flat_map(|&(first, last)| self.within(first, last));
        runs.fold(0, |all, (first, last)| {
            all.saturating_add(last - first).saturating_add(1)
        })
    }

    /// As text: the whole set.
    pub(crate) fn all_text(&self, family: Family) -> String {
        text(self.0.iter().map(|(first, last)| (*first, *last)), family)
    }

    /// As text: what of these ranges is in the set.
    pub(crate) fn inside_text(&self, ranges: &RangeSet, family: Family) -> String {
        let ranges = ranges.ranges().iter();
        text(
            ranges.flat_map(|&(first, last)| self.within(first, last)),
            family,
        )
    }

    /// As text: what of these ranges is not in the set.
    pub(crate) fn outside_text(&self, ranges: &RangeSet, family: Family) -> String {
        let gaps = ranges.ranges().iter().flat_map(|&(first, last)| {
            let mut from = Some(first);
            let ends = self.within(first, last).map(Some).chain([None]);
            ends.filter_map(move |run| {
                let start = from?;
                match run {
                    Some((held, end)) => {
                        from = end.checked_add(1);
                        (start < held).then(|| (start, held - 1))
                    }
                    None => (start <= last).then_some((start, last)),
                }
            })
        });
        text(gaps, family)
    }
}

/// `a-b,c`, as Kube-OVN writes ranges in the status of its objects.
fn text(ranges: impl Iterator<Item = (u128, u128)>, family: Family) -> String {
    let mut text = String::new();
    for (first, last) in ranges {
        if !text.is_empty() {
            text.push(',');
        }
        if text.len() > LONGEST {
            text.push_str("...");
            break;
        }
        let (from, to) = (family.address(first), family.address(last));
        // Writing to a String cannot fail.
        let _ = match first == last {
            true => write!(text, "{from}"),
            false => write!(text, "{from}-{to}"),
        };
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::collections::BTreeSet;

    #[test]
    fn ranges_are_written_as_kube_ovn_writes_them_and_cut_when_they_are_many() {
        let given = RangeSet::new(vec![(0x0a00_0002, 0x0a00_000a), (0x0a00_0014, 0x0a00_0014)]);
        let mut runs = Runs::default();
        for last in [3, 5, 4, 9] {
            runs.insert(0x0a00_0000 + last);
        }
        assert_eq!(runs.all_text(Family::V4), "10.0.0.3-10.0.0.5,10.0.0.9");
        assert_eq!(
            runs.outside_text(&given, Family::V4),
            "10.0.0.2,10.0.0.6-10.0.0.8,10.0.0.10,10.0.0.20"
        );
        for odd in 0..5000 {
            runs.insert(0x0a00_0001 + 2 * odd);
        }
        let text = runs.all_text(Family::V4);
        assert!(
            text.len() < LONGEST + 50 && text.ends_with(",..."),
            "{text}"
        );
    }

    proptest! {
        #[test]
        fn runs_are_a_set_of_numbers(
            steps in proptest::collection::vec((0u128..24, any::<bool>()), 0..80),
            cuts in proptest::collection::vec((0u128..24, 0u128..6), 0..4),
        ) {
            let (mut runs, mut set) = (Runs::default(), BTreeSet::new());
            for (value, add) in steps {
                if add {
                    runs.insert(value);
                    set.insert(value);
                } else {
                    runs.remove(value);
                    set.remove(&value);
                }
                let numbers: BTreeSet<u128> = runs.0.iter().flat_map(|(a, b)| *a..=*b).collect();
                prop_assert_eq!(&numbers, &set);
                let firsts: Vec<_> = runs.0.iter().collect();
                prop_assert!(firsts.windows(2).all(|pair| *pair[0].1 + 1 < *pair[1].0));
            }
            let cuts = cuts.into_iter().map(|(first, length)| (first, first + length));
            let given = RangeSet::new(cuts.collect());
            let inside = set.iter().filter(|value| given.contains(**value)).count();
            prop_assert_eq!(runs.count_of(&given), inside as u128);
            let addresses = |text: String| -> BTreeSet<u128> {
                let parts = text.split(',').filter(|part| !part.is_empty());
                let number = |text: &str| {
                    u128::from(text.parse::<std::net::Ipv4Addr>().unwrap().to_bits())
                };
                parts
                    .flat_map(|part| {
                        let (first, last) = part.split_once('-').unwrap_or((part, part));
                        number(first)..=number(last)
                    })
                    .collect()
            };
            let all: BTreeSet<u128> = (0..40).filter(|value| given.contains(*value)).collect();
            let free = addresses(runs.outside_text(&given, Family::V4));
            prop_assert_eq!(free, all.difference(&set).copied().collect::<BTreeSet<_>>());
            let held = addresses(runs.inside_text(&given, Family::V4));
            prop_assert_eq!(held, all.intersection(&set).copied().collect::<BTreeSet<_>>());
        }
    }
}
