//! Shares of connections as weights: whole numbers, so that every node computes the same.

use std::collections::BTreeMap;

use super::{Choice, Narrowing, Verdict};
use crate::desired::{Endpoint, Routing};

/// Of so many connections [`Routing::canary`] counts.
const ALL: u16 = 10_000;

/// Gives every endpoint that is left its weight. Those of one zone and one side of the canary have
/// equal ones; a zone or a side that has no endpoint leaves its share to the others.
pub(super) fn share<'a>(mut left: Narrowing<'a>, routing: &Routing) -> Choice<'a> {
    let sides = routing
        .canary
        .map(|canary| [ALL - canary.min(ALL), canary.min(ALL)]);
    if let Some(sides) = sides {
        let both = [false, true].map(|side| left.left().any(|e| e.canary == side));
        for (side, share) in [false, true].into_iter().zip(sides) {
            if share == 0 && both[usize::from(!side)] {
                left.leave_out(Verdict::CanaryWithoutShare, |e| e.canary == side);
            }
        }
    }
    let zones = &routing.zone_weights;
    let weight_of = |e: &Endpoint| {
        e.zone
            .as_ref()
            .and_then(|zone| zones.get(zone))
            .copied()
            .unwrap_or(0)
    };
    for side in [false, true] {
        let of_side = |e: &Endpoint| e.canary == side;
        if left.left().any(|e| of_side(e) && weight_of(e) > 0) {
            left.leave_out(Verdict::ZoneWithoutShare, |e| {
                of_side(e) && weight_of(e) == 0
            });
        }
    }

    // Endpoints that share alike: how many, their zone's weight, and their side's.
    let mut classes: BTreeMap<(bool, Option<&str>), u128> = BTreeMap::new();
    let class_of = |e: &'a Endpoint| {
        let zone = e.zone.as_deref().filter(|_| weight_of(e) > 0);
        (e.canary, zone)
    };
    for endpoint in left.left() {
        *classes.entry(class_of(endpoint)).or_default() += 1;
    }
    let zone_weight = |zone: Option<&str>| {
        let weight = zone.and_then(|zone| zones.get(zone)).copied();
        u128::from(weight.unwrap_or(1))
    };
    let side_sum = |side: bool| -> u128 {
        let of_side = classes.keys().filter(|(canary, _)| *canary == side);
        of_side.map(|(_, zone)| zone_weight(*zone)).sum()
    };
    let side_share = |side: bool| match sides {
        Some(sides) if side_sum(!side) > 0 => u128::from(sides[usize::from(side)]),
        _ => 1,
    };
    let shares: BTreeMap<_, _> = classes
        .iter()
        .map(|(class @ (side, zone), count)| {
            let part = Part {
                numerator: side_share(*side) * zone_weight(*zone),
                denominator: side_sum(*side) * count,
            };
            (*class, part)
        })
        .collect();
    let weights = whole(&shares.values().copied().collect::<Vec<_>>());
    let weights: BTreeMap<_, _> = shares.keys().copied().zip(weights).collect();
    let verdicts = left.verdicts.into_iter().map(|(endpoint, verdict)| {
        let used = || Verdict::Used {
            weight: weights.get(&class_of(endpoint)).copied().unwrap_or(1),
        };
        (endpoint, verdict.unwrap_or_else(used))
    });
    Choice {
        verdicts: verdicts.collect(),
        variant: left.variant.join(" "),
    }
}

#[derive(Clone, Copy)]
struct Part {
    numerator: u128,
    denominator: u128,
}

/// The smallest whole numbers of those proportions; where they do not fit in 16 bits, the nearest
/// that do.
fn whole(parts: &[Part]) -> Vec<u16> {
    // Numerators are below 2^30 and denominators below 2^40: products of a few of them fit. Where
    // very many zones make them too large, the common denominator is cut off, at an error of 2^-60.
    const LARGEST: u128 = 1 << 80;
    let common = parts.iter().fold(1u128, |all, part| {
        let next = all / gcd(all, part.denominator) * part.denominator;
        if next > LARGEST { LARGEST } else { next }
    });
    let numbers: Vec<u128> = parts
        .iter()
        .map(|part| part.numerator * common / part.denominator)
        .collect();
    let divisor = numbers
        .iter()
        .fold(0, |all, number| gcd(all, *number))
        .max(1);
    let most = numbers.iter().max().map_or(1, |most| most / divisor).max(1);
    let limit = u128::from(u16::MAX);
    let fit = |number: &u128| {
        let number = number / divisor;
        let number = if most <= limit {
            number
        } else {
            (number * limit + most / 2) / most
        };
        // Cannot be more than `limit` by now.
        u16::try_from(number).unwrap_or(u16::MAX).max(1)
    };
    numbers.iter().map(fit).collect()
}

fn gcd(a: u128, b: u128) -> u128 {
    if b == 0 { a } else { gcd(b, a % b) }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(parts: &[(u128, u128)]) -> Vec<u16> {
        let part = |(numerator, denominator): &(u128, u128)| Part {
            numerator: *numerator,
            denominator: *denominator,
        };
        whole(&parts.iter().map(part).collect::<Vec<_>>())
    }

    #[test]
    fn proportions_become_the_smallest_whole_numbers() {
        assert_eq!(of(&[(1, 7)]), [1]);
        assert_eq!(of(&[(9_000, 3), (1_000, 3)]), [9, 1]);
        assert_eq!(of(&[(9_000, 2), (1_000, 3)]), [27, 2]);
        assert_eq!(of(&[(80, 4), (20, 1)]), [1, 1]);
    }

    #[test]
    fn what_does_not_fit_is_cut_to_the_nearest_that_does() {
        let weights = of(&[(9_999, 1), (1, 1_000)]);
        assert_eq!(weights, [u16::MAX, 1], "a share is never nothing");
        let [a, b] = of(&[(65_521 * 65_519, 1), (65_521 * 1_000, 1)])[..] else {
            panic!("two")
        };
        assert!(
            (f64::from(a) / f64::from(b) / 65.519 - 1.0).abs() < 0.001,
            "{a}:{b}"
        );
    }

    #[test]
    fn very_many_unequal_denominators_do_not_overflow() {
        let primes = [
            10_007u128, 10_009, 10_037, 10_039, 10_061, 10_067, 10_069, 10_079,
        ];
        let parts: Vec<_> = primes.iter().map(|p| (1u128 << 29, p * 65_521)).collect();
        let weights = of(&parts);
        assert!(weights.iter().all(|w| *w > 65_000), "{weights:?}");
    }
}
