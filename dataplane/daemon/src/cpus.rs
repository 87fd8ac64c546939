//! Lists of processors, such as `1` or `2-5,8`.

/// Parses a list; each processor at most once, in the order given.
pub fn parse(text: &str) -> Result<Vec<usize>, String> {
    let wrong = || format!("cpus '{text}': write a list like 1 or 2-5 or 1,3");
    let mut cpus = Vec::new();
    for part in text.split(',') {
        let (first, last) = part.split_once('-').unwrap_or((part, part));
        let number = |text: &str| text.trim().parse::<usize>().map_err(|_| wrong());
        let (first, last) = (number(first)?, number(last)?);
        if first > last || last > 4095 {
            return Err(wrong());
        }
        cpus.extend(first..=last);
    }
    let mut seen = std::collections::BTreeSet::new();
    match cpus.iter().find(|cpu| !seen.insert(**cpu)) {
        Some(cpu) => Err(format!("cpus '{text}': {cpu} stands there twice")),
        None => Ok(cpus),
    }
}

/// Refuses processors that this process may not use.
pub fn check(cpus: &[usize], allowed: &[usize]) -> Result<(), String> {
    match cpus.iter().find(|cpu| !allowed.contains(cpu)) {
        None => Ok(()),
        Some(cpu) => {
            let allowed: Vec<String> = allowed.iter().map(usize::to_string).collect();
            let allowed = allowed.join(",");
            Err(format!(
                "cpus: processor {cpu} cannot be used here; there are {allowed}"
            ))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lists_are_parsed_or_refused() {
        assert_eq!(parse("1"), Ok(vec![1]));
        assert_eq!(parse("2-4,8"), Ok(vec![2, 3, 4, 8]));
        for bad in ["", "a", "3-1", "1,,2", "1-", "99999"] {
            assert!(parse(bad).unwrap_err().contains("write a list"), "{bad}");
        }
        assert_eq!(
            parse("1,0-2"),
            Err("cpus '1,0-2': 1 stands there twice".into())
        );
        assert!(check(&[0, 1], &[0, 1]).is_ok());
        let error = check(&[7], &[0, 1]).unwrap_err();
        assert_eq!(
            error,
            "cpus: processor 7 cannot be used here; there are 0,1"
        );
    }
}
