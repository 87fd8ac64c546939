//! What somebody may have meant.

/// The names that are nearest to one that does not exist, at most three, the nearest first; none
/// where nothing is like it.
pub fn near<'a>(wanted: &str, names: impl IntoIterator<Item = &'a str>) -> Vec<&'a str> {
    let bound = 1 + wanted.chars().count() / 4;
    let mut found: Vec<(usize, &str)> = Vec::new();
    for name in names {
        let distance = match name.len().abs_diff(wanted.len()) {
            difference if difference > bound => continue,
            _ => distance(wanted, name),
        };
        if distance <= bound {
            found.push((distance, name));
        }
    }
    found.sort_unstable();
    found.dedup();
    found.truncate(3);
    found.into_iter().map(|(_, name)| name).collect()
}

/// Insertions, deletions, changes and swaps of neighbours that make one of the other.
fn distance(a: &str, b: &str) -> usize {
    let (a, b): (Vec<char>, Vec<char>) = (a.chars().collect(), b.chars().collect());
    let mut before: Vec<usize> = Vec::new();
    let mut row: Vec<usize> = (0..=b.len()).collect();
    for (i, x) in a.iter().enumerate() {
        let mut next = vec![i + 1];
        for (j, y) in b.iter().enumerate() {
            let mut best = (row[j] + usize::from(x != y))
                .min(row[j + 1] + 1)
                .min(next[j] + 1);
            if i > 0 && j > 0 && *x == b[j - 1] && a[i - 1] == *y {
                best = best.min(before[j - 1] + 1);
            }
            next.push(best);
        }
        before = std::mem::replace(&mut row, next);
    }
    row.last().copied().unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_slip_of_the_finger_is_found_and_another_word_is_not() {
        let names = ["shop/web-1", "shop/web-2", "shop/db-0", "bank/web-1"];
        assert_eq!(near("shop/wbe-1", names)[0], "shop/web-1");
        assert_eq!(near("shop/web-3", names), ["shop/web-1", "shop/web-2"]);
        assert_eq!(near("billing/ledger", names), [""; 0]);
        assert_eq!(distance("ab", "ba"), 1);
        assert_eq!(distance("", "abc"), 3);
    }
}
