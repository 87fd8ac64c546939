//! Taking text apart: numbers, and lists whose items may hold lists in parentheses.

use super::TextError;

/// A number: decimal, hexadecimal after `0x`, octal after `0`.
pub(super) fn integer(text: &str) -> Result<u128, TextError> {
    let bad = || TextError::new(format!("{text}: not a number"));
    let parsed = match text.strip_prefix("0x").or_else(|| text.strip_prefix("0X")) {
        Some(hex) => digits(hex, 16),
        None if text.len() > 1 && text.starts_with('0') => digits(text, 8),
        None => digits(text, 10),
    };
    parsed.ok_or_else(bad)
}

/// Digits only: no sign, no space.
fn digits(text: &str, radix: u32) -> Option<u128> {
    let plain = !text.is_empty() && text.bytes().all(|b| b.is_ascii_alphanumeric());
    plain
        .then(|| u128::from_str_radix(text, radix).ok())
        .flatten()
}

/// A number that fits.
pub(super) fn number<T: TryFrom<u128>>(what: &str, text: &str) -> Result<T, TextError> {
    let value =
        integer(text).map_err(|_| TextError::new(format!("{what} {text}: not a number")))?;
    T::try_from(value).map_err(|_| TextError::new(format!("{what} {text}: out of range")))
}

/// Items between commas and white space, outside of parentheses, brackets and quotes. Empty ones
/// are left out.
pub(super) fn items(text: &str) -> Vec<&str> {
    let separators = |c: char| c == ',' || c.is_ascii_whitespace();
    split(text, separators)
        .into_iter()
        .map(str::trim)
        .filter(|item| !item.is_empty())
        .collect()
}

/// Arguments between commas, outside of parentheses; empty ones count.
pub(super) fn arguments(text: &str) -> Vec<&str> {
    split(text, |c| c == ',')
        .into_iter()
        .map(str::trim)
        .collect()
}

fn split(text: &str, separator: impl Fn(char) -> bool) -> Vec<&str> {
    let (mut depth, mut quoted, mut start) = (0usize, false, 0);
    let mut parts = Vec::new();
    for (at, c) in text.char_indices() {
        match c {
            '"' => quoted = !quoted,
            '(' | '[' if !quoted => depth += 1,
            ')' | ']' if !quoted => depth = depth.saturating_sub(1),
            c if depth == 0 && !quoted && separator(c) => {
                parts.push(text.get(start..at).unwrap_or_default());
                start = at + c.len_utf8();
            }
            _ => {}
        }
    }
    parts.push(text.get(start..).unwrap_or_default());
    parts
}

/// Key and argument: `key:argument`, `key=argument`, `key(argument)`, or the key alone. Whatever
/// comes first of the three decides, except that an arrow belongs to the argument.
pub(super) fn key_argument(item: &str) -> Result<(&str, Option<&str>), TextError> {
    let Some(at) = item.find([':', '=', '(']) else {
        return Ok((item, None));
    };
    let (key, rest) = item.split_at(at);
    let key = key.trim();
    if let Some(inner) = rest.strip_prefix('(') {
        return match inner.strip_suffix(')') {
            Some(inner) => Ok((key, Some(inner.trim()))),
            // Something behind the parenthesis, as in check_pkt_larger(N)->dst.
            None if rest.contains(')') => Ok((key, Some(rest))),
            None => Err(TextError::new(format!("{item}: missing )"))),
        };
    }
    let argument = rest.get(1..).unwrap_or_default().trim();
    Ok((key, Some(argument)))
}

/// `value` or `value/mask`.
pub(super) fn value_mask(text: &str) -> (&str, Option<&str>) {
    match text.split_once('/') {
        Some((value, mask)) => (value.trim(), Some(mask.trim())),
        None => (text.trim(), None),
    }
}

/// `low-high` or one value for both.
pub(super) fn range(text: &str) -> (&str, &str) {
    text.split_once('-').unwrap_or((text, text))
}
