//! Which bucket a hash falls to: shares by weight, and a bucket that goes or comes leaves the
//! others' hashes where they are ([ADR 25](../../../docs/adr/0025-even-rendezvous.md)).
//!
//! The range of hashes is cut into slots. For each slot every bucket draws a lot of its own, by a
//! hash of slot and bucket, and the lowest wins (weighted rendezvous hashing, Thaler and Ravishankar
//! 1998, Schindelhauer and Schomaker 2005): who is not there any more changes nothing for the
//! slots that it had not won. Chance alone would make shares uneven, so each bucket's lots are
//! multiplied by a handicap, near one, that makes them even. Nothing but the set of buckets decides:
//! neither their order nor what was there before, so that all nodes choose alike.

// Positions are counted from the lengths of the vectors they are used for.
#![allow(clippy::indexing_slicing)]

/// Parts of the range of hashes for which lots are drawn.
const BLOCKS: usize = 1 << 13;
/// Slots that a block is divided into: more where there are many buckets.
const PARTS: [usize; 4] = [1, 2, 4, 8];
/// By how much the lots of two halves, quarters and eighths of a block differ. It is little, so that
/// few slots change hands when one bucket more makes smaller slots necessary.
const DIFFERENCES: [(usize, f32); 3] = [(4, 0.06), (2, 0.045), (1, 0.045)];
/// Slots that the lightest bucket is to have at least, if the largest table has so many: shares are
/// then right within a percent.
const SLOTS_EACH: u64 = 400;
/// Rounds of finding handicaps.
const ROUNDS: u32 = 64;

/// A bucket that takes part: its identity, which decides its lots, and its weight.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Member {
    pub identity: u64,
    pub weight: u16,
}

/// The member of each slot.
#[derive(Debug, Default)]
pub(crate) enum Slots {
    /// There is none.
    #[default]
    Empty,
    /// It is always this one.
    One(u16),
    /// Of up to 256 members.
    Few(Box<[u8]>),
    Many(Box<[u16]>),
}

impl Slots {
    /// The table of these members; those without weight get nothing.
    pub fn of(members: &[Member]) -> Self {
        let runners = runners(members);
        let [first, _, ..] = runners[..] else {
            return runners
                .first()
                .map_or(Slots::Empty, |one| Slots::One(one.index));
        };
        let lightest = runners
            .iter()
            .map(|r| r.weight)
            .min()
            .unwrap_or(first.weight);
        let total: u64 = runners.iter().map(|r| u64::from(r.weight)).sum();
        let wanted = total * SLOTS_EACH / u64::from(lightest);
        let fits = |parts: &usize| wanted <= (BLOCKS * parts) as u64;
        let parts = PARTS.into_iter().find(fits).unwrap_or(8);
        let owners = Race::new(&runners, lightest, parts).run();
        let index = |owner: &u16| runners[usize::from(*owner)].index;
        match members.len() {
            ..=256 => Slots::Few(owners.iter().map(|owner| index(owner) as u8).collect()),
            _ => Slots::Many(owners.iter().map(index).collect()),
        }
    }

    /// The member for a hash.
    #[inline]
    pub fn get(&self, hash: u64) -> Option<usize> {
        // The high half of the product, so that all bits of a good hash count.
        let at = |len: usize| ((u128::from(hash) * len as u128) >> 64) as usize;
        match self {
            Slots::Empty => None,
            Slots::One(member) => Some(usize::from(*member)),
            Slots::Few(slots) => slots
                .get(at(slots.len()))
                .map(|member| usize::from(*member)),
            Slots::Many(slots) => slots
                .get(at(slots.len()))
                .map(|member| usize::from(*member)),
        }
    }

    /// Bytes beside the struct itself.
    pub fn bytes(&self) -> usize {
        match self {
            Slots::Empty | Slots::One(_) => 0,
            Slots::Few(slots) => slots.len(),
            Slots::Many(slots) => slots.len() * 2,
        }
    }
}

/// A member with a weight.
#[derive(Clone, Copy)]
struct Runner {
    identity: u64,
    weight: u16,
    index: u16,
}

/// In an order that does not depend on the one they were given in, and told apart if they are equal.
fn runners(members: &[Member]) -> Vec<Runner> {
    let mut runners: Vec<Runner> = members
        .iter()
        .enumerate()
        .filter(|(_, member)| member.weight > 0)
        .map(|(at, member)| Runner {
            identity: member.identity,
            weight: member.weight,
            index: at as u16,
        })
        .collect();
    runners.sort_by_key(|r| (r.identity, r.weight, r.index));
    let mut same = (0, 0u64);
    for runner in &mut runners {
        same = match runner.identity == same.0 {
            true => (same.0, same.1 + 1),
            false => (runner.identity, 0),
        };
        runner.identity = mix(runner.identity.wrapping_add(same.1));
    }
    runners
}

/// A lot, and whose it is.
#[derive(Clone, Copy)]
struct Lot {
    draw: f32,
    runner: u16,
}

/// A slot that handicaps decide.
struct Contest {
    slot: u32,
    /// Its lots, in [`Race::lots`].
    from: u32,
    to: u32,
}

/// The lots of all slots, on the way to handicaps that make shares even.
struct Race<'a> {
    runners: &'a [Runner],
    /// Weights together.
    total: u64,
    /// The runner of each slot; preliminary where there is a contest.
    owners: Vec<u16>,
    /// Slots that nobody contests, of each runner.
    safe: Vec<u32>,
    contests: Vec<Contest>,
    lots: Vec<Lot>,
}

impl<'a> Race<'a> {
    /// Draws the lots of so many parts of each block.
    fn new(runners: &'a [Runner], lightest: u16, parts: usize) -> Self {
        let total: u64 = runners.iter().map(|r| u64::from(r.weight)).sum();
        let mut race = Race {
            runners,
            total,
            owners: Vec::with_capacity(BLOCKS * parts),
            safe: vec![0; runners.len()],
            contests: Vec::new(),
            lots: Vec::new(),
        };
        // The fewer blocks a runner has, the more chance may have been against it, and the further
        // its handicap may go.
        let runs = total as f32 / f32::from(lightest);
        let reach = 1.05 + 8.0 * root(runs / BLOCKS as f32);
        let slower: Vec<f32> = runners.iter().map(|r| 1.0 / f32::from(r.weight)).collect();
        let mut draws = vec![0.0f32; runners.len()];
        let mut near = Vec::new();
        for block in 0..BLOCKS {
            let salt = mix(block as u64 + 1);
            let mut least = f32::INFINITY;
            for ((runner, slower), draw) in runners.iter().zip(&slower).zip(&mut draws) {
                *draw = exponential(mix(runner.identity ^ salt)) * slower;
                least = least.min(*draw);
            }
            near.clear();
            for (at, draw) in draws.iter().enumerate() {
                if *draw <= least * reach {
                    near.push(Lot {
                        draw: *draw,
                        runner: at as u16,
                    });
                }
            }
            race.divide(block, &near, parts);
        }
        race
    }

    /// The parts of a block have its lots, a little changed.
    fn divide(&mut self, block: usize, near: &[Lot], parts: usize) {
        let [.., most] = PARTS;
        for part in 0..parts {
            if let [one] = near {
                self.owners.push(one.runner);
                self.safe[usize::from(one.runner)] += 1;
                continue;
            }
            let from = self.lots.len() as u32;
            let place = part * (most / parts);
            self.lots.extend(near.iter().map(|lot| {
                let identity = self.runners[usize::from(lot.runner)].identity;
                Lot {
                    draw: lot.draw * changed(identity, block * most, place),
                    ..*lot
                }
            }));
            self.contests.push(Contest {
                slot: self.owners.len() as u32,
                from,
                to: self.lots.len() as u32,
            });
            self.owners.push(0);
        }
    }

    /// The runner of each slot.
    fn run(mut self) -> Vec<u16> {
        let mut handicaps = vec![1.0f32; self.runners.len()];
        let mut best = (u64::MAX, handicaps.clone());
        // How boldly each handicap is changed, and how far its share was off before.
        let mut steps = vec![(0.9f32, 0.0f32); self.runners.len()];
        for _ in 0..ROUNDS {
            let mut counts = self.safe.clone();
            for contest in &self.contests {
                counts[usize::from(self.winner(contest, &handicaps))] += 1;
            }
            let (wrong, is_even) = self.judge(&counts);
            if wrong < best.0 {
                best.0 = wrong;
                best.1.clone_from(&handicaps);
            }
            if is_even {
                break;
            }
            for (at, runner) in self.runners.iter().enumerate() {
                let target = self.share(runner);
                let off = (counts[at] as f32 + 0.5) / (target + 0.5) - 1.0;
                let (gain, before) = &mut steps[at];
                // Where a small change of handicap changes much, steps become small.
                *gain *= if off * *before < 0.0 { 0.5 } else { 1.1 };
                *gain = gain.min(1.0);
                *before = off;
                handicaps[at] *= 1.0 + *gain * off.clamp(-0.7, 2.0);
            }
        }
        for contest in &self.contests {
            self.owners[contest.slot as usize] = self.winner(contest, &best.1);
        }
        self.owners
    }

    #[inline]
    fn winner(&self, contest: &Contest, handicaps: &[f32]) -> u16 {
        let mut best = (f32::INFINITY, 0);
        for lot in &self.lots[contest.from as usize..contest.to as usize] {
            let draw = lot.draw * handicaps[usize::from(lot.runner)];
            if draw < best.0 {
                best = (draw, lot.runner);
            }
        }
        best.1
    }

    /// How far counts are from the shares, all together; and whether each is as near as it must be.
    fn judge(&self, counts: &[u32]) -> (u64, bool) {
        let mut wrong = 0;
        let mut is_even = true;
        for (runner, count) in self.runners.iter().zip(counts) {
            let target = u64::from(runner.weight) * self.owners.len() as u64;
            let off = (u64::from(*count) * self.total).abs_diff(target);
            wrong += off;
            is_even &= off <= self.total.max(target / 400);
        }
        (wrong, is_even)
    }

    /// A runner's share of the slots.
    fn share(&self, runner: &Runner) -> f32 {
        self.owners.len() as f32 * f32::from(runner.weight) / self.total as f32
    }
}

/// What a lot is multiplied by in a part of a block. Of two halves the first has what both had
/// together, and so on down: a part has the same lots however finely the rest is divided.
fn changed(identity: u64, block: usize, place: usize) -> f32 {
    let mut factor = 1.0;
    let mut part = 0;
    for (half, difference) in DIFFERENCES {
        if place & half != 0 {
            part |= half;
            let hash = mix(identity ^ mix(!((block + part) as u64)));
            factor *= 1.0 + difference * (fraction(hash) - 0.5);
        }
    }
    factor
}

/// A number from 0 to 1, evenly distributed.
#[inline]
fn fraction(hash: u64) -> f32 {
    (hash >> 40) as f32 / (1 << 24) as f32
}

/// A number that is nearly exponentially distributed, so that who has twice the weight wins twice as
/// often: minus the logarithm of one minus a fraction, by its series. Products and sums only, which
/// all processors compute alike; libraries' logarithms may differ in the last digit.
#[inline]
fn exponential(hash: u64) -> f32 {
    let v = fraction(hash);
    v * (1.0 + v * (0.5 + v * (0.333_333_34 + v * (0.25 + v * (0.2 + v)))))
}

/// Square root by Newton's method, for the same reason.
fn root(x: f32) -> f32 {
    let mut guess = x.max(1.0);
    for _ in 0..16 {
        guess = 0.5 * (guess + x / guess);
    }
    guess
}

/// The last mix of MurmurHash3.
#[inline]
fn mix(mut h: u64) -> u64 {
    h = (h ^ (h >> 33)).wrapping_mul(0xff51_afd7_ed55_8ccd);
    h = (h ^ (h >> 33)).wrapping_mul(0xc4ce_b9fe_1a85_ec53);
    h ^ (h >> 33)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// Slots of the largest table; smaller ones are looked at as if they were that.
    const FINE: usize = 1 << 16;

    fn member(identity: u64, weight: u16) -> Member {
        // As they come: hashes.
        let identity = mix(identity ^ 0x5555);
        Member { identity, weight }
    }

    /// Identity of the winner of each of 65,536 parts of the range of hashes.
    fn winners(members: &[Member]) -> Vec<u64> {
        let slots = Slots::of(members);
        let hash = |at: usize| (at as u64) << 48;
        (0..FINE)
            .map(|at| members[slots.get(hash(at)).unwrap()].identity)
            .collect()
    }

    /// Fractions of all flows that moved from the one who went, and among the others.
    fn moved(before: &[u64], after: &[u64], gone: u64) -> (f64, f64) {
        let (mut of_gone, mut of_others) = (0, 0);
        for (before, after) in before.iter().zip(after) {
            match *before == gone {
                true => of_gone += 1,
                false => of_others += u32::from(before != after),
            }
        }
        let part = |n: u32| f64::from(n) / FINE as f64;
        (part(of_gone), part(of_others))
    }

    fn weights() -> impl Strategy<Value = Vec<u16>> {
        let len = 2..=200usize;
        let each = prop_oneof![
            Just(1u16..=1),
            Just(1..=4),
            Just(50..=150),
            Just(1..=100u16)
        ];
        (len, each).prop_flat_map(|(len, weight)| proptest::collection::vec(weight, len))
    }

    proptest! {
        #![proptest_config(ProptestConfig { cases: 5, rng_seed: proptest::test_runner::RngSeed::Fixed(1), failure_persistence: None, ..ProptestConfig::default() })]

        /// 1/N and one percent of all flows: a bucket that goes moves its own and few others, and so
        /// does one that comes, which is the same seen from behind.
        #[test]
        fn one_of_many_goes_or_comes(weights in weights(), seed in any::<u64>(), at in any::<prop::sample::Index>()) {
            let members: Vec<Member> = weights
                .iter()
                .enumerate()
                .map(|(n, weight)| member(seed.wrapping_add(n as u64), *weight))
                .collect();
            let mut fewer = members.clone();
            let gone = fewer.remove(at.index(members.len()));
            let total: f64 = weights.iter().map(|w| f64::from(*w)).sum();
            let due = f64::from(gone.weight) / total;
            let (own, others) = moved(&winners(&members), &winners(&fewer), gone.identity);
            prop_assert!(own + others <= due + 0.01, "{own} + {others} of {due}");
        }

        /// Shares are right within two percent, or a slot's width where a share is of few slots.
        #[test]
        fn shares_follow_weights(weights in weights(), seed in any::<u64>()) {
            let members: Vec<Member> = weights
                .iter()
                .enumerate()
                .map(|(n, weight)| member(seed.wrapping_add(n as u64), *weight))
                .collect();
            let mut have = std::collections::HashMap::new();
            for winner in winners(&members) {
                *have.entry(winner).or_insert(0.0) += 1.0;
            }
            let total: f64 = weights.iter().map(|w| f64::from(*w)).sum();
            for member in &members {
                let want = FINE as f64 * f64::from(member.weight) / total;
                let have: f64 = have.get(&member.identity).copied().unwrap_or(0.0);
                let slot = (FINE / BLOCKS) as f64;
                prop_assert!((have - want).abs() <= (want * 0.02).max(slot), "{have} of {want}");
            }
        }

        /// Two nodes that got the buckets in another order choose alike.
        #[test]
        fn order_does_not_matter(weights in proptest::collection::vec(0..4u16, 1..40), shift in 0..40usize) {
            // Some are equal.
            let members: Vec<Member> = weights
                .iter()
                .enumerate()
                .map(|(n, weight)| member(n as u64 / 2 * 2, *weight))
                .collect();
            let mut other = members.clone();
            other.rotate_left(shift % members.len());
            other.reverse();
            if members.iter().any(|m| m.weight > 0) {
                prop_assert_eq!(winners(&members), winners(&other));
            }
        }
    }

    #[test]
    fn classes_meet_without_a_jump() {
        // Where one bucket more makes slots half as large.
        for n in [21u64, 41, 82] {
            let members: Vec<Member> = (0..n).map(|at| member(at, 7)).collect();
            let fewer = &members[1..];
            let sizes = [Slots::of(fewer).bytes(), Slots::of(&members).bytes()];
            let gone = members[0].identity;
            let (own, others) = moved(&winners(&members), &winners(fewer), gone);
            assert!(own + others <= 1.0 / n as f64 + 0.01, "{n}: {own} {others}");
            assert!(sizes[0] < sizes[1], "{n}: {sizes:?}");
        }
    }

    #[test]
    fn nobody_one_and_very_unequal_ones() {
        assert_eq!(Slots::of(&[]).get(7), None);
        assert_eq!(Slots::of(&[member(1, 0), member(2, 0)]).get(7), None);
        let one = Slots::of(&[member(1, 0), member(2, 9)]);
        assert_eq!((one.get(u64::MAX), one.bytes()), (Some(1), 0));
        // Who has next to nothing may get nothing, but nobody gets lost.
        let members = [member(1, u16::MAX), member(2, 1), member(3, u16::MAX)];
        let counts = winners(&members);
        let of = |at: usize| {
            counts
                .iter()
                .filter(|w| **w == members[at].identity)
                .count()
        };
        assert_eq!(of(0) + of(1) + of(2), FINE);
        assert!(of(0).abs_diff(of(2)) < FINE / 100 && of(1) <= 16);
        let many: Vec<Member> = (0..1000).map(|at| member(at, 1)).collect();
        let counts = winners(&many);
        assert_eq!(Slots::of(&many).bytes(), 2 * FINE);
        let of = |at: usize| counts.iter().filter(|w| **w == many[at].identity).count();
        assert!((0..1000).all(|at| (58..=73).contains(&of(at))));
    }
}
