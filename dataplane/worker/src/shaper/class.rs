//! One queue: what waits, for how long, and what it has had.

use std::collections::VecDeque;

use ports::QueueSpec;

use super::{Paced, Size};

/// A queue.
pub(super) struct Class<T> {
    pub priority: u8,
    weight: u64,
    /// Bytes over weight so far, scaled; only differences count.
    pub had: u64,
    max: Option<Paced>,
    min: Option<Paced>,
    waiting: VecDeque<Waiting<T>>,
    bytes: u64,
    limit: usize,
    limit_bytes: u64,
    /// Nanoseconds.
    patience: u64,
}

/// What waits.
pub(super) struct Waiting<T> {
    pub item: T,
    pub size: Size,
    /// Nanoseconds.
    pub since: u64,
}

/// Of [`Class::had`] per byte at weight 1: shares are exact to 0.03 % at the largest weight and the
/// smallest frame.
const SCALE: u64 = 1 << 16;
/// How far a queue may run ahead of its level by its lowest rate, or fall behind by its highest, bytes.
/// What is beyond is forgotten, so that the past is no reason to starve it, or others.
const MEMORY: u64 = 256 << 10;
/// Bytes that may always wait: two of the largest frames.
const LEAST_BYTES: u64 = 128 << 10;
/// And at most.
const MOST_BYTES: u64 = 256 << 20;

impl<T> Class<T> {
    pub fn new(spec: &QueueSpec, port: Option<u64>) -> Self {
        let rate = spec.max.into_iter().chain(port).min();
        let of_rate = |ms: u64| rate.map_or(MOST_BYTES, |rate| rate / 8000 * ms);
        let limit_bytes = of_rate(spec.wait_ms.into()).clamp(LEAST_BYTES, MOST_BYTES);
        let emptied = rate.map_or(0, |rate| limit_bytes.saturating_mul(8_000_000_000) / rate);
        let limit = spec.limit as usize;
        Class {
            priority: spec.priority,
            weight: spec.weight.max(1).into(),
            had: 0,
            max: spec.max.map(|rate| Paced::new(rate, spec.burst)),
            min: spec.min.map(|rate| Paced::new(rate, None)),
            waiting: VecDeque::with_capacity(limit),
            bytes: 0,
            limit,
            limit_bytes,
            patience: emptied.max(u64::from(spec.wait_ms) * 1_000_000) * 4,
        }
    }

    pub fn is_empty(&self) -> bool {
        self.waiting.is_empty()
    }

    /// Appends; gives back what there is no room for. A queue that was empty begins with its level.
    #[inline]
    pub fn push(&mut self, waiting: Waiting<T>, level: u64) -> Result<(), T> {
        let bytes = self.bytes + u64::from(waiting.size.bytes);
        if self.waiting.len() >= self.limit || bytes > self.limit_bytes {
            return Err(waiting.item);
        }
        if self.waiting.is_empty() {
            if (self.had.wrapping_sub(level) as i64) < 0 {
                self.had = level;
            }
            self.remember(level);
        }
        self.bytes = bytes;
        self.waiting.push_back(waiting);
        Ok(())
    }

    #[inline]
    pub fn pop(&mut self) -> Option<Waiting<T>> {
        let waiting = self.waiting.pop_front()?;
        self.bytes -= u64::from(waiting.size.bytes);
        Some(waiting)
    }

    pub fn drain(&mut self) -> impl Iterator<Item = Waiting<T>> {
        self.bytes = 0;
        self.waiting.drain(..)
    }

    /// When the first one has waited for too long, nanoseconds.
    #[inline]
    pub fn expires(&self) -> u64 {
        let first = self.waiting.front();
        first.map_or(u64::MAX, |w| w.since.saturating_add(self.patience))
    }

    /// Nanoseconds until the highest rate allows something.
    #[inline]
    pub fn wait(&self, now: u64) -> u64 {
        self.max.map_or(0, |max| max.wait(now))
    }

    /// It has had its lowest rate, if there is one.
    #[inline]
    pub fn has_floor(&self, now: u64) -> bool {
        self.min.is_none_or(|min| min.wait(now) != 0)
    }

    #[inline]
    pub fn pay(&mut self, bytes: u32, level: u64, now: u64) {
        for paced in [&mut self.max, &mut self.min].into_iter().flatten() {
            paced.charge(now, bytes);
        }
        self.had = self
            .had
            .wrapping_add(u64::from(bytes) * SCALE / self.weight);
        self.remember(level);
    }

    /// Forgets what is too far from the level.
    fn remember(&mut self, level: u64) {
        let most = MEMORY * SCALE / self.weight;
        let ahead = self.had.wrapping_sub(level) as i64;
        if ahead.unsigned_abs() > most {
            self.had = match ahead < 0 {
                true => level.wrapping_sub(most),
                false => level.wrapping_add(most),
            };
        }
    }
}
