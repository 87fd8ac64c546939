//! `kubernetes.io/ingress-bandwidth` and `egress-bandwidth`: quantities of bits a second, as for
//! the bandwidth plugin of the CNI project.

use super::Reader;
use crate::annotations;

/// Bits a second; what Kubernetes itself allows (1k to 1P), as far as a meter's 32 bits of kbit go.
const LEAST: u128 = 1_000;
const MOST: u128 = 1_000 * u32::MAX as u128;

impl Reader<'_> {
    /// 1,000 bits a second.
    pub(super) fn bandwidth(&mut self, name: &str) -> Option<u32> {
        let annotation = annotations::kubernetes(self.meta, name)?;
        let bits = quantity(annotation.value).filter(|bits| (LEAST..=MOST).contains(bits));
        if let Some(kbps) = bits.and_then(|bits| u32::try_from(bits / 1000).ok()) {
            return Some(kbps);
        }
        let what = format!(
            "{:?} is not a quantity of bits a second between 1k and 4294G: there is no such limit",
            annotation.value
        );
        self.refuse(annotation, what, "write it like \"10M\"");
        None
    }
}

/// A quantity as Kubernetes writes it (`10M`, `1.5Gi`, `2e6`), rounded down.
fn quantity(text: &str) -> Option<u128> {
    let end = text
        .find(|c: char| !c.is_ascii_digit() && c != '.')
        .unwrap_or(text.len());
    let (number, suffix) = text.split_at_checked(end)?;
    let (whole, decimals) = number.split_once('.').unwrap_or((number, ""));
    if number.len() > 18 || whole.is_empty() && decimals.is_empty() || decimals.contains('.') {
        return None;
    }
    let (times, by) = scale(suffix)?;
    let digits: u128 = format!("{whole}{decimals}").parse().ok()?;
    let by = by.checked_mul(10u128.checked_pow(u32::try_from(decimals.len()).ok()?)?)?;
    Some(digits.checked_mul(times)? / by)
}

/// What a suffix multiplies and divides by (`resource.Quantity` of Kubernetes' API).
fn scale(suffix: &str) -> Option<(u128, u128)> {
    let times = |power: u32| Some((10u128.pow(power), 1));
    match suffix {
        "" => Some((1, 1)),
        "n" => Some((1, 1_000_000_000)),
        "u" => Some((1, 1_000_000)),
        "m" => Some((1, 1_000)),
        "k" => times(3),
        "M" => times(6),
        "G" => times(9),
        "T" => times(12),
        "P" => times(15),
        "E" => times(18),
        "Ki" => Some((1 << 10, 1)),
        "Mi" => Some((1 << 20, 1)),
        "Gi" => Some((1 << 30, 1)),
        "Ti" => Some((1 << 40, 1)),
        "Pi" => Some((1 << 50, 1)),
        "Ei" => Some((1 << 60, 1)),
        _ => {
            let exponent = suffix.strip_prefix(['e', 'E'])?;
            match exponent.parse::<i8>().ok()? {
                power @ 0..=18 => times(power.unsigned_abs().into()),
                power @ -18..=-1 => Some((1, 10u128.pow(power.unsigned_abs().into()))),
                _ => None,
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn quantities_are_what_kubernetes_says_they_are() {
        for (text, bits) in [
            ("10M", 10_000_000),
            ("1.5G", 1_500_000_000),
            ("1Mi", 1_048_576),
            ("2e6", 2_000_000),
            ("2E6", 2_000_000),
            ("3000", 3_000),
            (".5k", 500),
            ("5.k", 5_000),
            ("1500000m", 1_500),
            ("1P", 1_000_000_000_000_000),
        ] {
            assert_eq!(quantity(text), Some(bits), "{text}");
        }
        for text in [
            "", "M", "-1M", "+1M", "10 M", "10m bit", "1.2.3", "10K", "10Mbit", "1e99", ".",
        ] {
            assert_eq!(quantity(text), None, "{text}");
        }
    }
}
