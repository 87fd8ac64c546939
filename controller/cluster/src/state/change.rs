//! What differs between two states, as a line of text: keeping one costs what has changed.

use std::collections::BTreeMap;
use std::net::IpAddr;

use serde::{Deserialize, Serialize};

use super::{Allocation, Index, Released, State, SubnetState};
use crate::map::{Map, changes};
use crate::name::NamespacedName;

/// Entries that are different now; none: gone.
type Entries<K, V> = BTreeMap<K, Option<V>>;

#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct StateChange {
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    subnets: Entries<String, SubnetState>,
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pods: Entries<NamespacedName, Allocation>,
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    kept: Entries<NamespacedName, Allocation>,
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    vips: Entries<String, Allocation>,
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    balanced: Entries<NamespacedName, Vec<IpAddr>>,
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    released: Entries<NamespacedName, Released>,
    next_release: u64,
}

impl State {
    /// What makes this state of an earlier one, as one line of JSON without a line end; none if they
    /// are the same.
    pub fn change_since(&self, before: &State) -> Option<String> {
        if self == before {
            return None;
        }
        let change = StateChange {
            subnets: entries(&before.subnets, &self.subnets),
            pods: entries(&before.pods, &self.pods),
            kept: entries(&before.kept, &self.kept),
            vips: entries(&before.vips, &self.vips),
            balanced: entries(&before.balanced, &self.balanced),
            released: entries(&before.released, &self.released),
            next_release: self.next_release,
        };
        // Strings, numbers and maps keyed by strings: serialising them cannot fail.
        Some(serde_json::to_string(&change).unwrap_or_default())
    }

    /// Applies a line of [`State::change_since`]; nothing is changed where it is none. Applied in
    /// order, lines give the last state whichever of them the first one had in it already.
    ///
    /// # Errors
    /// What is wrong with the line.
    pub fn apply(&mut self, line: &str) -> Result<(), serde_json::Error> {
        let change: StateChange = serde_json::from_str(line)?;
        put(&mut self.subnets, change.subnets);
        put(&mut self.pods, change.pods);
        put(&mut self.kept, change.kept);
        put(&mut self.vips, change.vips);
        put(&mut self.balanced, change.balanced);
        put(&mut self.released, change.released);
        self.next_release = change.next_release;
        Ok(())
    }

    /// The same, to compare with later: without the index, at no cost.
    pub fn version(&self) -> State {
        State {
            subnets: self.subnets.clone(),
            pods: self.pods.clone(),
            kept: self.kept.clone(),
            vips: self.vips.clone(),
            balanced: self.balanced.clone(),
            released: self.released.clone(),
            next_release: self.next_release,
            ledger: Index::default(),
        }
    }
}

fn entries<K: Ord + Clone, V: PartialEq + Clone>(
    before: &Map<K, V>,
    after: &Map<K, V>,
) -> Entries<K, V> {
    changes(before, after)
        .map(|change| (change.key.clone(), change.after.cloned()))
        .collect()
}

fn put<K: Ord, V: PartialEq>(map: &mut Map<K, V>, entries: Entries<K, V>) {
    for (key, value) in entries {
        map.set(key, value);
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::super::Seen;
    use super::*;

    /// One step: which pod, what of it.
    fn step(state: &mut State, (which, how): (u8, u8)) {
        let name = NamespacedName::new("bank", format!("web-{which}"));
        match how % 4 {
            0 | 1 => {
                let allocation = Allocation {
                    subnet: "a".into(),
                    v4: (how < 128).then_some([10, 0, 0, which].into()),
                    v6: (how >= 128).then_some("fd00::1".parse().unwrap()),
                    mac: net::MacAddr([2, 0, 0, 0, how, which]),
                    uid: None,
                    node: Some(format!("node{how}")),
                    workload: None,
                    seen: Seen(true),
                    written: Seen(false),
                };
                drop(state.pods.insert(name, allocation));
            }
            2 => state.release(&name),
            _ => drop(
                state
                    .balanced
                    .set(name, (how > 9).then(|| vec![[10, 1, 0, how].into()])),
            ),
        }
    }

    proptest! {
        #[test]
        fn lines_make_the_state_again_from_nothing_and_from_any_state_between(
            steps in prop::collection::vec((0u8..6, any::<u8>()), 1..40),
            base in 0usize..40,
        ) {
            let (mut state, mut lines, mut bases) = (State::default(), Vec::new(), Vec::new());
            bases.push(state.to_json());
            for one in steps {
                let before = state.version();
                step(&mut state, one);
                lines.extend(state.change_since(&before));
                prop_assert_eq!(state.change_since(&state.version()), None);
                bases.push(state.to_json());
            }
            let base = &bases[base % bases.len()];
            let mut read = State::from_json(base).unwrap();
            for line in &lines {
                prop_assert!(!line.contains('\n'));
                read.apply(line).unwrap();
            }
            prop_assert_eq!(read.to_json(), state.to_json());
        }
    }

    #[test]
    fn what_is_no_line_changes_nothing() {
        let mut state = State::default();
        step(&mut state, (1, 0));
        let before = state.to_json();
        for text in ["", "{", "[]", "{}", r#"{"next_release":1,"others":{}}"#] {
            assert!(state.apply(text).is_err(), "{text}");
            assert_eq!(state.to_json(), before);
        }
    }
}
