//! What somebody may have meant.

/// The names that are nearest to one that does not exist, at most three, the nearest first; none
/// where nothing is like it.
pub fn near<'a>(wanted: &str, names: impl IntoIterator<Item = &'a str>) -> Vec<&'a str> {
    // A slip in a short word, one in four letters of a long one; neighbours that change places are one.
    let bound = (wanted.chars().count() / 4).max(1);
    let mut found: Vec<(usize, &str)> = names
        .into_iter()
        .filter(|name| name.len().abs_diff(wanted.len()) <= bound)
        .map(|name| (strsim::osa_distance(wanted, name), name))
        .filter(|(distance, _)| *distance <= bound)
        .collect();
    found.sort_unstable();
    found.dedup();
    found.truncate(3);
    found.into_iter().map(|(_, name)| name).collect()
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
    }
}
