//! Which rx queues are to go to other workers, so that none has too much to do.

use crate::{Balance, PortSlot};

/// An rx queue and what it costs its worker, as a share of a processor's time.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Load {
    pub slot: PortSlot,
    pub queue: u16,
    pub worker: usize,
    pub share: f64,
}

/// An rx queue and the worker it is to go to.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Move {
    pub slot: PortSlot,
    pub queue: u16,
    pub to: usize,
}

/// The moves that are worth it: some worker has been busier than `settings` say, and the variance of
/// the workers' loads falls by so much as they ask for. Otherwise none. `busy` is the share of the time
/// that each worker was at work; what its queues do not explain stays with it.
///
/// Each move is the one that lowers the variance most, until none does: a second plan right after the
/// first one is empty.
pub(crate) fn plan(queues: &[Load], busy: &[f64], settings: &Balance) -> Vec<Move> {
    let hottest = busy.iter().copied().fold(0.0, f64::max);
    if hottest * 100.0 <= f64::from(settings.load) || busy.len() < 2 {
        return Vec::new();
    }
    let before = variance(busy);
    let (mut queues, mut busy) = (queues.to_vec(), busy.to_vec());
    let mut moves: Vec<Move> = Vec::new();
    // Each step lowers the variance, so no queue goes round in circles; the bound is for sure.
    for _ in 0..4 * queues.len() {
        let Some((at, to)) = best(&queues, &busy) else {
            break;
        };
        let Some(queue) = queues.get_mut(at) else {
            break;
        };
        for (worker, change) in [(queue.worker, -queue.share), (to, queue.share)] {
            if let Some(load) = busy.get_mut(worker) {
                *load += change;
            }
        }
        queue.worker = to;
        let next = Move {
            slot: queue.slot,
            queue: queue.queue,
            to,
        };
        moves.retain(|old| (old.slot, old.queue) != (next.slot, next.queue));
        moves.push(next);
    }
    let gain = 1.0 - variance(&busy) / before.max(f64::MIN_POSITIVE);
    match gain * 100.0 >= f64::from(settings.improvement) {
        true => moves,
        false => Vec::new(),
    }
}

/// The move that lowers the sum of squares most, and with it the variance, since the sum stays.
fn best(queues: &[Load], busy: &[f64]) -> Option<(usize, usize)> {
    let mut best = None;
    // A twentieth of a processor between workers that are a tenth apart; less is not worth it.
    let mut gained = 0.005;
    for (at, queue) in queues.iter().enumerate() {
        let Some(from) = busy.get(queue.worker) else {
            continue;
        };
        for (to, load) in busy
            .iter()
            .enumerate()
            .filter(|(to, _)| *to != queue.worker)
        {
            // from² + to² - (from - share)² - (to + share)²
            let gain = 2.0 * queue.share * (from - load - queue.share);
            if gain > gained {
                (best, gained) = (Some((at, to)), gain);
            }
        }
    }
    best
}

fn variance(loads: &[f64]) -> f64 {
    let mean = loads.iter().sum::<f64>() / loads.len().max(1) as f64;
    loads.iter().map(|load| (load - mean).powi(2)).sum()
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const USUAL: Balance = Balance {
        interval: 1,
        load: 95,
        improvement: 25,
    };

    fn loads(shares: &[(usize, f64)], workers: usize) -> (Vec<Load>, Vec<f64>) {
        let mut busy = vec![0.0; workers];
        let load = |(at, (worker, share)): (usize, &(usize, f64))| Load {
            slot: PortSlot(at as u16),
            queue: 0,
            worker: *worker,
            share: *share,
        };
        let queues: Vec<Load> = shares.iter().enumerate().map(load).collect();
        for queue in &queues {
            busy[queue.worker] += queue.share;
        }
        (queues, busy)
    }

    fn after(queues: &[Load], busy: &[f64], moves: &[Move]) -> (Vec<Load>, Vec<f64>) {
        let (mut queues, mut busy) = (queues.to_vec(), busy.to_vec());
        for step in moves {
            let is_it = |q: &&mut Load| (q.slot, q.queue) == (step.slot, step.queue);
            let queue = queues.iter_mut().find(is_it).unwrap();
            busy[queue.worker] -= queue.share;
            busy[step.to] += queue.share;
            queue.worker = step.to;
        }
        (queues, busy)
    }

    #[test]
    fn a_busy_worker_gives_away_what_evens_the_load() {
        let (queues, busy) = loads(&[(0, 0.5), (0, 0.3), (0, 0.18), (1, 0.1)], 2);
        let moves = plan(&queues, &busy, &USUAL);
        let (_, now) = after(&queues, &busy, &moves);
        assert!(now.iter().all(|load| *load < 0.65), "{moves:?} {now:?}");
    }

    #[test]
    fn nothing_moves_below_the_limit_or_for_little_or_to_nowhere() {
        let (queues, busy) = loads(&[(0, 0.5), (0, 0.4)], 2);
        assert_eq!(plan(&queues, &busy, &USUAL), []);
        let (queues, busy) = loads(&[(0, 0.99), (1, 0.3)], 2);
        assert_eq!(plan(&queues, &busy, &USUAL), [], "one queue cannot be cut");
        let (queues, busy) = loads(&[(0, 0.6), (0, 0.39), (1, 0.65)], 2);
        assert_eq!(plan(&queues, &busy, &USUAL), [], "too little is gained");
        let (queues, busy) = loads(&[(0, 0.6), (0, 0.39)], 1);
        assert_eq!(plan(&queues, &busy, &USUAL), []);
    }

    #[test]
    fn what_no_queue_explains_stays() {
        let (queues, mut busy) = loads(&[(0, 0.3), (0, 0.3), (1, 0.2)], 2);
        busy[0] += 0.39; // what other workers hand over to it
        let moves = plan(&queues, &busy, &USUAL);
        assert_eq!(moves.len(), 1);
        assert_eq!(moves[0].to, 1);
    }

    proptest! {
        #[test]
        fn a_plan_improves_as_asked_and_the_next_one_is_empty(
            shares in prop::collection::vec((0..4_usize, 0.0..0.6_f64), 0..20),
        ) {
            let (queues, busy) = loads(&shares, 4);
            let moves = plan(&queues, &busy, &USUAL);
            let (queues, now) = after(&queues, &busy, &moves);
            if !moves.is_empty() {
                prop_assert!(busy.iter().any(|load| *load > 0.95));
                prop_assert!(variance(&now) <= 0.75 * variance(&busy) + 1e-9);
                prop_assert!(now.iter().copied().fold(0.0, f64::max)
                    <= busy.iter().copied().fold(0.0, f64::max) + 1e-9);
                prop_assert!(plan(&queues, &now, &USUAL).is_empty());
            }
            let mut moved: Vec<u16> = moves.iter().map(|m| m.slot.0).collect();
            moved.sort_unstable();
            moved.dedup();
            prop_assert_eq!(moved.len(), moves.len(), "each queue moves once");
        }
    }
}
