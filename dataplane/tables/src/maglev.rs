//! Maglev hashing: which bucket a hash falls to, such that a bucket that goes or comes moves few
//! hashes among the others (Eisenbud et al., NSDI 2016, 3.4), with weights.

// Positions are taken modulo the table's size.
#![allow(clippy::indexing_slicing)]

/// Table sizes, all prime, so that every step visits every slot.
const SIZES: [usize; 9] = [251, 509, 1021, 2039, 4093, 8191, 16_381, 32_749, 65_537];
/// Slots per bucket that are aimed at: shares are then right within about a percent.
const SLOTS_PER_BUCKET: usize = 100;

/// A bucket that takes part: its identity, which decides where it stands, and its weight.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Member {
    pub identity: u64,
    pub weight: u16,
}

/// Index of the member for each slot; empty if no member has a weight.
pub(crate) fn fill(members: &[Member]) -> Box<[u16]> {
    let total: u64 = members.iter().map(|m| u64::from(m.weight)).sum();
    let Some(heaviest) = members.iter().map(|m| m.weight).max().filter(|w| *w > 0) else {
        return Box::default();
    };
    // What counts is the number of buckets if all had the weight of the lightest that has one.
    let lightest = members.iter().map(|m| m.weight).filter(|w| *w > 0).min();
    let lightest = u64::from(lightest.unwrap_or(heaviest));
    let wanted = (total / lightest) as usize * SLOTS_PER_BUCKET;
    let size = SIZES
        .into_iter()
        .find(|size| *size >= wanted)
        .unwrap_or(65_537);

    let mut walks: Vec<Walk> = members.iter().map(|m| Walk::new(*m, size)).collect();
    let mut slots = vec![u16::MAX; size];
    let mut free = size;
    while free > 0 {
        for (index, walk) in walks.iter_mut().enumerate() {
            // A turn goes to a member as often as its weight, relative to the heaviest, says.
            walk.credit += u32::from(members[index].weight);
            if walk.credit < u32::from(heaviest) || free == 0 {
                continue;
            }
            walk.credit -= u32::from(heaviest);
            while slots[walk.at] != u16::MAX {
                walk.at = (walk.at + walk.step) % size;
            }
            slots[walk.at] = index as u16;
            free -= 1;
        }
    }
    slots.into()
}

struct Walk {
    at: usize,
    step: usize,
    credit: u32,
}

impl Walk {
    fn new(member: Member, size: usize) -> Self {
        let (low, high) = (member.identity as u32, (member.identity >> 32) as u32);
        Walk {
            at: low as usize % size,
            step: high as usize % (size - 1) + 1,
            credit: 0,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn members(weights: &[u16]) -> Vec<Member> {
        let member = |(at, weight): (usize, &u16)| Member {
            identity: (at as u64 + 1).wrapping_mul(0x9e37_79b9_7f4a_7c15),
            weight: *weight,
        };
        weights.iter().enumerate().map(member).collect()
    }

    #[test]
    fn shares_follow_weights_within_two_percent() {
        for weights in [&[1u16, 1][..], &[1, 2], &[100, 100, 50, 0], &[7; 60]] {
            let slots = fill(&members(weights));
            let total: u32 = weights.iter().map(|w| u32::from(*w)).sum();
            for (index, weight) in weights.iter().enumerate() {
                let have = slots.iter().filter(|s| usize::from(**s) == index).count() as f64;
                let want = slots.len() as f64 * f64::from(*weight) / f64::from(total);
                assert!(
                    (have - want).abs() <= 1.0 + want * 0.02,
                    "{weights:?} {index}"
                );
            }
        }
        assert!(fill(&members(&[0, 0])).is_empty() && fill(&[]).is_empty());
    }

    #[test]
    fn removing_one_of_ten_moves_few_of_the_others() {
        let before = members(&[1; 10]);
        let mut after = before.clone();
        after[3].weight = 0;
        let (before, after) = (fill(&before), fill(&after));
        assert_eq!(before.len(), after.len());
        let others = before.iter().zip(&after).filter(|(b, _)| **b != 3);
        let moved = others.filter(|(b, a)| b != a).count();
        assert!(
            moved * 100 / before.len() <= 6,
            "{moved} of {}",
            before.len()
        );
    }
}
