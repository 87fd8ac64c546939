//! Problems are told once when they come, and once when they are gone.

use std::collections::{BTreeMap, BTreeSet};

/// What is wrong now, by who found it: the source, the cluster's objects, a node's switch.
#[derive(Debug, Default)]
pub struct Problems {
    found: BTreeMap<String, BTreeSet<String>>,
    /// What was found wrong with objects, as it was told.
    objects: cluster::Problems,
    count: usize,
}

impl Problems {
    /// Replaces what one finder found; gives what is new and what is gone.
    pub fn replace(
        &mut self,
        finder: &str,
        now: impl IntoIterator<Item = String>,
    ) -> (Vec<String>, Vec<String>) {
        let now: BTreeSet<String> = now.into_iter().collect();
        let before = self.found.insert(finder.to_string(), now.clone());
        let before = before.unwrap_or_default();
        self.count = self.count + now.len() - before.len();
        let new = now.difference(&before).cloned().collect();
        let gone = before.difference(&now).cloned().collect();
        (new, gone)
    }

    /// The same, told in the log.
    pub fn tell(&mut self, finder: &str, now: impl IntoIterator<Item = String>) {
        let (new, gone) = self.replace(finder, now);
        for problem in new {
            tracing::warn!("{problem}");
        }
        for problem in gone {
            tracing::info!("mended: {problem}");
        }
    }

    /// What is wrong with objects now, told in the log as far as it is new or gone.
    pub fn tell_objects(&mut self, now: &cluster::Problems) {
        let before = std::mem::replace(&mut self.objects, now.clone());
        for object in cluster::different(before.by_object(), now.by_object()) {
            let (then, now) = (before.of(object), now.of(object));
            for problem in now.iter().filter(|problem| !then.contains(problem)) {
                tracing::warn!("{problem}");
            }
            for problem in then.iter().filter(|problem| !now.contains(problem)) {
                tracing::info!("mended: {problem}");
            }
            self.count = self.count + now.len() - then.len();
        }
    }

    /// How many there are.
    pub fn count(&self) -> usize {
        self.count
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_problem_is_told_once_and_cleared_once() {
        let mut problems = Problems::default();
        let say = |p: &mut Problems, finder: &str, list: &[&str]| {
            p.replace(finder, list.iter().map(|s| s.to_string()))
        };
        assert_eq!(say(&mut problems, "a", &["x", "y"]).0, ["x", "y"]);
        assert_eq!(say(&mut problems, "a", &["x", "y"]), (vec![], vec![]));
        assert_eq!(say(&mut problems, "b", &["x"]).0, ["x"]);
        assert_eq!(problems.count(), 3);
        assert_eq!(say(&mut problems, "a", &["y"]).1, ["x"]);
        assert_eq!(problems.count(), 2);
    }
}
