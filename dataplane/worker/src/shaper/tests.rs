//! Rates and shares of queues that always have something to send, against a model that divides a
//! rate as a sum says, and what happens to single packets.

use proptest::prelude::*;

use super::*;

const SECOND: u64 = 1_000_000_000;
const MEGABIT: u64 = 1_000_000;

fn shaper(text: &str) -> Shaper<u64> {
    Shaper::new(queues(text))
}

fn queues(text: &str) -> Arc<Queues> {
    let shaping = text.parse().unwrap_or_else(|e| panic!("{text}: {e}"));
    Arc::new(Queues::new(&shaping, 1, 0, None))
}

fn size(bytes: u32) -> Size {
    Size { packets: 1, bytes }
}

/// Numbers that look like chance.
struct Dice(u64);

impl Dice {
    fn below(&mut self, n: u64) -> u64 {
        self.0 = self
            .0
            .wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add(1);
        (self.0 >> 33) % n
    }
}

/// Bits per second that each place gets, of frames of its size, while all of them always have
/// something waiting and the worker comes by after at most `nap` nanoseconds.
fn shares(shaper: &mut Shaper<u64>, frames: &[u32], seconds: u64, nap: u64) -> Vec<u64> {
    shares_from(5 * SECOND, shaper, frames, seconds, nap)
}

fn shares_from(
    begin: u64,
    shaper: &mut Shaper<u64>,
    frames: &[u32],
    seconds: u64,
    nap: u64,
) -> Vec<u64> {
    let mut dice = Dice(7);
    let mut sent = vec![0; frames.len()];
    // Bursts are used up first.
    let measured = begin + SECOND / 10;
    let mut now = begin;
    while now < measured + seconds * SECOND {
        for (place, bytes) in frames.iter().enumerate() {
            while *bytes != 0 && shaper.push(place as u8, now, size(*bytes), now).is_ok() {}
        }
        loop {
            match shaper.next(now) {
                Next::Send((_, size), place) => {
                    if now >= measured {
                        sent[usize::from(place)] += u64::from(size.bytes) * 8;
                    }
                    // What left makes room at once.
                    let bytes = frames[usize::from(place)];
                    if bytes != 0 {
                        let _ = shaper.push(place, now, self::size(bytes), now);
                    }
                }
                Next::Expired(..) => {}
                Next::Wait(until) => {
                    assert!(until > now);
                    now = until.min(now + 1 + dice.below(nap));
                    break;
                }
                Next::Idle => {
                    now += 1 + dice.below(nap);
                    break;
                }
            }
        }
    }
    sent.iter().map(|bits| bits / seconds).collect()
}

fn close(rate: u64, expected: u64, per_mille: u64, slack: u64) -> bool {
    rate.abs_diff(expected) <= expected * per_mille / 1000 + slack
}

#[test]
fn a_highest_rate_holds_to_a_percent_over_ten_seconds_for_frames_of_every_size() {
    for (rate, frames) in [
        (MEGABIT, [64, 1514]),
        (20 * MEGABIT, [64, 9000]),
        (100 * MEGABIT, [1514, 65_000]),
        (1000 * MEGABIT, [9000, 65_000]),
    ] {
        for bytes in frames {
            let slack = u64::from(bytes) * 8 / 10;
            for text in [format!("queues=0:max={rate}"), format!("rate={rate}")] {
                let got = shares(&mut shaper(&text), &[bytes], 10, 500_000);
                assert!(close(got[0], rate, 2, slack), "{text}, {bytes} B: {got:?}");
            }
        }
    }
}

#[test]
fn smaller_priority_numbers_take_all_but_what_is_promised_to_others() {
    let text = "rate=200m,queues=0:prio=1+1:prio=1/min=30m+2:prio=7/min=10m+3:prio=0/max=100m";
    let got = shares(&mut shaper(text), &[1514, 300, 9000, 64], 2, 100_000);
    // 100 at most, then 10 and 30 promised, then the rest by weight: 90 for two, 45 each.
    for (rate, expected) in got.iter().zip([45, 45, 10, 100]) {
        assert!(close(*rate, expected * MEGABIT, 5, 100_000), "{got:?}");
    }
    let starved = "rate=100m,queues=0+1:prio=1";
    let got = shares(&mut shaper(starved), &[1514, 1514], 1, 100_000);
    assert!(got[1] == 0 && close(got[0], 100 * MEGABIT, 5, 0), "{got:?}");
}

#[test]
fn weights_share_by_bytes_whatever_the_sizes_of_frames() {
    let text = "rate=500m,queues=0:weight=1+1:weight=2+2:weight=5+3:weight=2";
    let got = shares(&mut shaper(text), &[64, 65_000, 1514, 9000], 4, 50_000);
    for (rate, weight) in got.iter().zip([1, 2, 5, 2]) {
        assert!(close(*rate, 50 * MEGABIT * weight, 10, 0), "{got:?}");
    }
    let far = "rate=100m,queues=0:weight=1000+1";
    let got = shares(&mut shaper(far), &[64, 64], 1, 50_000);
    assert!(close(got[1], 100 * MEGABIT / 1001, 20, 10_000), "{got:?}");
}

#[test]
fn a_queue_that_had_much_by_its_promise_is_not_made_to_pay_for_it_later() {
    let mut shaper = shaper("rate=100m,queues=0+1:min=80m");
    let got = shares(&mut shaper, &[1514, 1514], 2, 50_000);
    assert!(close(got[1], 80 * MEGABIT, 10, 0), "{got:?}");
    // The other one pauses; then both are there again.
    shares_from(10 * SECOND, &mut shaper, &[0, 1514], 1, 50_000);
    let got = shares_from(20 * SECOND, &mut shaper, &[1514, 1514], 2, 50_000);
    assert!(close(got[0], 20 * MEGABIT, 20, 0), "{got:?}");
}

#[test]
fn packets_of_a_queue_stay_in_order_and_leave_no_later_than_said() {
    let mut shaper = shaper("rate=10m,queues=0+1:max=1m");
    let mut now = SECOND;
    let mut last = [0, 0];
    for n in 1..200 {
        shaper.push((n % 2) as u8, n, size(1000), now).unwrap();
    }
    let mut sent = 0;
    loop {
        match shaper.next(now) {
            Next::Send((n, _), place) => {
                assert!(n > last[usize::from(place)] && n % 2 == u64::from(place));
                last[usize::from(place)] = n;
                sent += 1;
            }
            Next::Expired(..) => panic!("nothing waits as long"),
            Next::Wait(until) => {
                // Not a moment earlier, not a moment later.
                assert!(
                    matches!(shaper.next(until - 1), Next::Wait(same) if same.abs_diff(until) <= 1)
                );
                now = until;
            }
            Next::Idle => break,
        }
    }
    assert_eq!(sent, 199);
}

#[test]
fn what_is_too_much_is_refused_and_what_is_too_old_is_dropped() {
    let mut shaper = shaper("rate=8m,queues=0:limit=3+1:prio=1/wait=100");
    for n in 0..3 {
        assert_eq!(shaper.push(0, n, size(64), 0), Ok(()));
    }
    assert_eq!(shaper.push(0, 9, size(64), 0), Err((9, 0)));
    // A place that does not exist any more is the first.
    assert_eq!(shaper.push(77, 9, size(64), 0), Err((9, 0)));
    // 100 ms at 8 Mbit/s are 100,000 bytes, but two large frames always find room.
    for n in 0..2 {
        assert_eq!(shaper.push(1, n, size(65_000), 0), Ok(()));
    }
    assert_eq!(shaper.push(1, 2, size(65_000), 0), Err((2, 1)));
    let all: Vec<_> = std::iter::from_fn(|| match shaper.next(10 * SECOND) {
        Next::Idle => None,
        next => Some(next),
    })
    .collect();
    let expired = all.iter().filter(|next| matches!(next, Next::Expired(..)));
    assert_eq!((all.len(), expired.count()), (5, 5));
}

#[test]
fn what_waited_can_be_taken_out_in_order() {
    let mut shaper = shaper("rate=1m,queues=0+4+9");
    for n in 0..6 {
        shaper.push((n % 3) as u8, n, size(100), n).unwrap();
    }
    let all: Vec<_> = shaper
        .drain()
        .map(|(id, n, _, since)| (id, n, since))
        .collect();
    let expected = [
        (0, 0, 0),
        (0, 3, 3),
        (4, 1, 1),
        (4, 4, 4),
        (9, 2, 2),
        (9, 5, 5),
    ];
    assert_eq!(all, expected);
    assert_eq!(shaper.next(SECOND), Next::Idle);
}

/// Rates of queues that always have something to send: the slow, obvious way.
fn model(text: &str) -> Vec<f64> {
    let queues = queues(text);
    let all: Vec<_> = queues.places().iter().map(|queue| queue.spec).collect();
    let mut left = queues.shaping().rate.unwrap() as f64;
    let floor = |q: &ports::QueueSpec| q.min.unwrap_or(0) as f64;
    let ceiling = |q: &ports::QueueSpec| q.max.map_or(f64::MAX, |max| max as f64);
    let mut rates = vec![0.0; all.len()];
    for level in 0..8 {
        let below: f64 = all.iter().filter(|q| q.priority > level).map(floor).sum();
        let here = |q: &&ports::QueueSpec| q.priority == level;
        // Everyone's share grows with the water until the level's part is used up.
        let at = |q: &ports::QueueSpec, water: f64| {
            (f64::from(q.weight) * water).min(ceiling(q)).max(floor(q))
        };
        let used = |water: f64| all.iter().filter(here).map(|q| at(q, water)).sum::<f64>();
        let (mut low, mut high) = (0.0, 1e12);
        for _ in 0..100 {
            let middle = (low + high) / 2.0;
            match used(middle) <= left - below {
                true => low = middle,
                false => high = middle,
            }
        }
        for (rate, q) in rates
            .iter_mut()
            .zip(&all)
            .filter(|(_, q)| q.priority == level)
        {
            *rate = at(q, low);
        }
        left -= used(low);
    }
    rates
}

fn queue() -> impl Strategy<Value = (u8, u16, Option<u64>, Option<u64>, u32)> {
    let size = prop::sample::select(vec![64u32, 590, 1514, 9000]);
    let floor = prop::option::of(1..20u64);
    (0..3u8, 1..6u16, floor, prop::option::of(20..90u64), size)
}

#[test]
fn a_queue_at_its_highest_rate_leaves_the_shares_of_others_alone() {
    let text = "rate=100m,queues=0:min=7m+1:weight=2/max=29m+2";
    let got = shares(&mut shaper(text), &[64, 64, 590], 1, 100_000);
    for (got, expected) in got.iter().zip([355, 290, 355]) {
        assert!(
            got.abs_diff(expected * MEGABIT / 10) < MEGABIT,
            "{got} of {expected}"
        );
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(24))]

    #[test]
    fn shares_are_those_of_the_model(all in prop::collection::vec(queue(), 1..5)) {
        let texts: Vec<String> = all.iter().enumerate().map(|(id, (prio, weight, min, max, _))| {
            let min = min.map_or(String::new(), |min| format!("/min={min}m"));
            let max = max.map_or(String::new(), |max| format!("/max={max}m"));
            format!("{id}:prio={prio}/weight={weight}{min}{max}")
        }).collect();
        let text = format!("rate=100m,queues={}", texts.join("+"));
        let frames: Vec<u32> = all.iter().map(|(.., size)| *size).collect();
        let got = shares(&mut shaper(&text), &frames, 1, 100_000);
        for (got, expected) in got.iter().zip(model(&text)) {
            // Two frames of the largest size, and what is in the buckets of the promised rates.
            let slack = 400_000.0 + expected * 0.02;
            prop_assert!((*got as f64 - expected).abs() <= slack, "{text}: {got}, {expected}");
        }
    }
}
