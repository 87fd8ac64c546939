//! `rate=10g,queues=0-3:prio=1+5:max=1g/min=100m`: how fast a port may send, and its queues.

use std::fmt;
use std::str::FromStr;

/// How fast a port sends, and what its queues may do. The default: as fast as it can, no queues.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Shaping {
    /// Bits per second; none: as fast as the device takes packets.
    pub rate: Option<u64>,
    /// Bytes that may be sent at once after a pause, with a rate; none: [`BURST_MS`] at the rate.
    pub burst: Option<u64>,
    /// Its queues, each number at most once, by number.
    pub queues: Vec<QueueSpec>,
    /// What becomes of packets behind the queues; none: nothing. Only a controller says this.
    pub impairment: Option<Impairment>,
}

/// A bad line: packets are late, or lost.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Impairment {
    /// Nanoseconds by which a packet is late.
    pub delay: u64,
    /// Nanoseconds that it may be more or less, each as likely. Packets overtake one another then.
    pub jitter: u64,
    /// Of a million packets, so many are lost, each independent of the others.
    pub loss_ppm: u32,
    /// Packets on the line at a time; what comes when it is full is lost.
    pub limit: u32,
}

/// A queue of a port.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct QueueSpec {
    /// Number in OpenFlow.
    pub id: u32,
    /// Bits per second that it gets whatever the others send.
    pub min: Option<u64>,
    /// Bits per second that it never exceeds.
    pub max: Option<u64>,
    /// Bytes that may be sent at once after a pause, with `max`; none: [`BURST_MS`] at that rate.
    pub burst: Option<u64>,
    /// Queues with a smaller one go first, 0 to 7.
    pub priority: u8,
    /// Share among queues of the same priority, 1 to 1000.
    pub weight: u16,
    /// Packets that may wait.
    pub limit: u32,
    /// Milliseconds for which packets may arrive faster than they leave at the queue's highest
    /// rate. What has waited four times as long is dropped.
    pub wait_ms: u32,
}

/// Burst at a rate if none is given, milliseconds: more than a worker ever sleeps.
pub const BURST_MS: u64 = 4;
/// Most queues of a port.
pub const QUEUES_MAX: usize = 64;
const LIMIT: u32 = 1000;
const LIMIT_MAX: u32 = 16_384;
const WAIT_MS: u32 = 50;
const WAIT_MS_MAX: u32 = 10_000;
/// Bits per second; below, a large frame would take hours.
const RATES: std::ops::RangeInclusive<u64> = 1_000..=10_000_000_000_000;
/// Bytes.
const BURSTS: std::ops::RangeInclusive<u64> = 64..=1_000_000_000;
const QUEUE_KEYS: &str = "min, max, burst, prio, weight, limit, wait";

impl QueueSpec {
    /// A queue that counts what is sent through it, and does nothing else unless its port has a rate.
    pub fn new(id: u32) -> Self {
        QueueSpec {
            id,
            min: None,
            max: None,
            burst: None,
            priority: 0,
            weight: 1,
            limit: LIMIT,
            wait_ms: WAIT_MS,
        }
    }
}

impl Shaping {
    /// No rates, and queues of these numbers.
    pub fn counting(ids: &[u32]) -> Self {
        let mut queues: Vec<_> = ids.iter().copied().map(QueueSpec::new).collect();
        queues.sort_unstable_by_key(|queue| queue.id);
        queues.dedup();
        Shaping {
            queues,
            ..Shaping::default()
        }
    }

    /// True if packets may have to wait.
    pub fn is_shaped(&self) -> bool {
        self.rate.is_some()
            || self.impairment.is_some()
            || self.queues.iter().any(|queue| queue.max.is_some())
    }

    /// True if there is nothing to say of the port.
    pub fn is_empty(&self) -> bool {
        *self == Shaping::default()
    }

    /// Takes one of the keys `rate`, `burst` and `queues`.
    ///
    /// # Errors
    /// What is wrong with the value, in one line.
    pub fn take(&mut self, key: &str, value: &str) -> Result<(), String> {
        match key {
            "rate" => self.rate = Some(parse_rate("rate", value)?),
            "burst" => self.burst = Some(parse_burst(value)?),
            _ => self.queues = parse_queues(value)?,
        }
        Ok(())
    }

    /// Refuses what contradicts itself.
    ///
    /// # Errors
    /// What does, in one line.
    pub fn check(&self) -> Result<(), String> {
        if self.rate.is_none() && self.burst.is_some() {
            return Err("burst= needs rate=".into());
        }
        for queue in &self.queues {
            let id = queue.id;
            if self.rate.is_none() {
                let ranked = queue.priority != 0 || queue.weight != 1;
                if queue.min.is_some() || ranked {
                    return Err(format!(
                        "queue {id}: min, prio and weight share out the port's rate; give rate= too"
                    ));
                }
            }
            if queue.burst.is_some() && queue.max.is_none() {
                return Err(format!("queue {id}: burst needs max"));
            }
            if let (Some(min), Some(max)) = (queue.min, queue.max)
                && min > max
            {
                return Err(format!("queue {id}: min is above max"));
            }
        }
        let promised: u64 = self.queues.iter().filter_map(|queue| queue.min).sum();
        match self.rate {
            Some(rate) if promised > rate => Err(format!(
                "the queues' min rates are {} together, and the port's rate is {}; lower them",
                Rate(promised),
                Rate(rate)
            )),
            _ => Ok(()),
        }
    }
}

/// `rate=..,burst=..,queues=..`, in any order; `none` for the default.
impl FromStr for Shaping {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let mut shaping = Shaping::default();
        for token in text.split(',').filter(|token| *token != "none") {
            match token.split_once('=') {
                Some((key @ ("rate" | "burst" | "queues"), value)) => shaping.take(key, value)?,
                _ => {
                    return Err(format!(
                        "'{token}' is not rate=, burst= or queues=, nor none"
                    ));
                }
            }
        }
        shaping.check()?;
        Ok(shaping)
    }
}

/// The spelling that is read back, but for an impairment, which is only shown.
impl fmt::Display for Shaping {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut parts = Vec::new();
        if let Some(rate) = self.rate {
            parts.push(format!("rate={}", Rate(rate)));
        }
        if let Some(burst) = self.burst {
            parts.push(format!("burst={}", Rate(burst)));
        }
        if !self.queues.is_empty() {
            let queues: Vec<String> = self.queues.iter().map(QueueSpec::to_string).collect();
            parts.push(format!("queues={}", queues.join("+")));
        }
        parts.extend(self.impairment.map(|impairment| impairment.to_string()));
        f.write_str(&parts.join(","))
    }
}

impl fmt::Display for Impairment {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let ms = |ns: u64| ns as f64 / 1e6;
        write!(
            f,
            "delay={}ms,jitter={}ms,loss={}%,limit={}",
            ms(self.delay),
            ms(self.jitter),
            f64::from(self.loss_ppm) / 1e4,
            self.limit
        )
    }
}

impl fmt::Display for QueueSpec {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let usual = QueueSpec::new(self.id);
        let mut parts = Vec::new();
        let amounts = [("min", self.min), ("max", self.max), ("burst", self.burst)];
        for (key, value) in amounts {
            parts.extend(value.map(|value| format!("{key}={}", Rate(value))));
        }
        let numbers = [
            ("prio", self.priority.into(), usual.priority.into()),
            ("weight", self.weight.into(), usual.weight.into()),
            ("limit", self.limit, usual.limit),
            ("wait", self.wait_ms, usual.wait_ms),
        ];
        for (key, value, usual) in numbers {
            if value != usual {
                parts.push(format!("{key}={value}"));
            }
        }
        match parts.is_empty() {
            true => write!(f, "{}", self.id),
            false => write!(f, "{}:{}", self.id, parts.join("/")),
        }
    }
}

/// A number with the largest of the endings k, m, g that loses nothing.
#[derive(Clone, Copy)]
struct Rate(u64);

impl fmt::Display for Rate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (unit, ending) in UNITS {
            if self.0 != 0 && self.0.is_multiple_of(unit) {
                return write!(f, "{}{ending}", self.0 / unit);
            }
        }
        write!(f, "{}", self.0)
    }
}

const UNITS: [(u64, &str); 3] = [(1_000_000_000, "g"), (1_000_000, "m"), (1_000, "k")];

/// A whole number with one of the endings k, m, g.
fn parse_amount(value: &str) -> Option<u64> {
    let value = value.to_ascii_lowercase();
    let with_unit = |(unit, ending): (u64, &str)| Some((value.strip_suffix(ending)?, unit));
    let (digits, unit) = UNITS.into_iter().find_map(with_unit).unwrap_or((&value, 1));
    digits.parse::<u64>().ok()?.checked_mul(unit)
}

fn parse_rate(key: &str, value: &str) -> Result<u64, String> {
    let rate = parse_amount(value).filter(|rate| RATES.contains(rate));
    rate.ok_or_else(|| {
        format!("{key} '{value}' is not a rate in bit/s, like 100m or 10g (at least 1k)")
    })
}

fn parse_burst(value: &str) -> Result<u64, String> {
    let burst = parse_amount(value).filter(|burst| BURSTS.contains(burst));
    burst.ok_or_else(|| format!("burst '{value}' is not a number of bytes, like 64k"))
}

/// Parts like `0`, `1-3` or `4:max=1g/prio=1`, joined by +.
fn parse_queues(value: &str) -> Result<Vec<QueueSpec>, String> {
    let mut queues: Vec<QueueSpec> = Vec::new();
    for part in value.split('+') {
        let (ids, settings) = part.split_once(':').unwrap_or((part, ""));
        let (first, last) = ids.split_once('-').unwrap_or((ids, ids));
        let (first, last): (u32, u32) = match (first.parse(), last.parse()) {
            // All ones stands for every queue (OpenFlow 1.3.5, A.3.5.7: OFPQ_ALL).
            (Ok(first), Ok(last)) if first <= last && last < u32::MAX => (first, last),
            _ => return Err(wrong_queues(value)),
        };
        if (last - first) as usize >= QUEUES_MAX {
            return Err(wrong_queues(value));
        }
        let settings = parse_queue(settings)?;
        queues.extend((first..=last).map(|id| QueueSpec { id, ..settings }));
    }
    queues.sort_unstable_by_key(|queue| queue.id);
    queues.dedup();
    for (queue, next) in queues.iter().zip(queues.iter().skip(1)) {
        if queue.id == next.id {
            return Err(format!("queue {} is there twice, differently", queue.id));
        }
    }
    match queues.len() {
        1..=QUEUES_MAX => Ok(queues),
        _ => Err(wrong_queues(value)),
    }
}

fn wrong_queues(value: &str) -> String {
    format!(
        "queues '{value}': numbers joined by + or -, as 0+1 or 0-7, at most {QUEUES_MAX}, each with \
         settings if wanted, as 1:max=1g/min=100m/prio=1"
    )
}

fn parse_queue(settings: &str) -> Result<QueueSpec, String> {
    let mut queue = QueueSpec::new(0);
    for token in settings.split('/').filter(|token| !token.is_empty()) {
        let (key, value) = token.split_once('=').unwrap_or((token, ""));
        match key {
            "min" => queue.min = Some(parse_rate(key, value)?),
            "max" => queue.max = Some(parse_rate(key, value)?),
            "burst" => queue.burst = Some(parse_burst(value)?),
            "prio" => queue.priority = parse_number(key, value, 0..=7)?,
            "weight" => queue.weight = parse_number(key, value, 1..=1000)?,
            "limit" => queue.limit = parse_number(key, value, 1..=LIMIT_MAX)?,
            "wait" => queue.wait_ms = parse_number(key, value, 1..=WAIT_MS_MAX)?,
            _ => {
                return Err(format!(
                    "a queue has no '{key}'; it has {QUEUE_KEYS}, as in 1:max=1g/prio=1"
                ));
            }
        }
    }
    Ok(queue)
}

fn parse_number<T>(key: &str, value: &str, range: std::ops::RangeInclusive<T>) -> Result<T, String>
where
    T: FromStr + PartialOrd + fmt::Display,
{
    let number = value.parse().ok().filter(|n| range.contains(n));
    let (least, most) = (range.start(), range.end());
    number.ok_or_else(|| format!("{key} '{value}' is not {least} to {most}"))
}
