//! Classes of pods and the selections that name them, found from either side.
//!
//! Both hang on hooks: a class on one for its namespace, for each of its labels, and for each label
//! of its namespace; a selection on the hooks of one label that it requires. What does not hang on
//! a hook together does not match.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::hash::{DefaultHasher, Hash, Hasher};

use crate::name::ObjectRef;
use crate::policy::classes::Key;
use crate::policy::spec::Selection;
use crate::view::{LabelSelector, Operator};

/// A hash; those that hash alike are looked at more closely.
type Hook = u64;

/// A selection's number in [`Meeting`].
pub(super) type SelectionId = u32;

/// Pods of one class.
#[derive(Debug)]
pub(super) struct Class {
    pub key: Key,
    /// The selections that it is in.
    pub selections: BTreeSet<SelectionId>,
    /// Its policy sets: of ingress, of egress.
    pub sets: [Option<u32>; 2],
}

/// A selection, and who uses it.
#[derive(Debug)]
pub(super) struct Selected {
    what: Selection,
    hooks: Vec<Hook>,
    /// Identities.
    pub classes: BTreeSet<u32>,
    /// Policies whose rules name it.
    pub named_by: BTreeSet<ObjectRef>,
    /// Policies that hold for it.
    pub ruled_by: BTreeSet<ObjectRef>,
}

/// A namespace that has a class.
#[derive(Debug, Default)]
struct Namespace {
    labels: BTreeMap<String, String>,
    classes: BTreeSet<u32>,
}

/// Every class and every selection.
#[derive(Debug, Default)]
pub(super) struct Meeting {
    classes: BTreeMap<u32, Class>,
    namespaces: BTreeMap<String, Namespace>,
    selections: BTreeMap<SelectionId, Selected>,
    numbers: BTreeMap<Selection, SelectionId>,
    next: SelectionId,
    classes_on: HashMap<Hook, BTreeSet<u32>>,
    selections_on: HashMap<Hook, BTreeSet<SelectionId>>,
    /// Identities by the name of a port that they have.
    by_port: BTreeMap<String, BTreeSet<u32>>,
}

impl Meeting {
    pub fn class(&self, identity: u32) -> Option<&Class> {
        self.classes.get(&identity)
    }

    pub fn class_mut(&mut self, identity: u32) -> Option<&mut Class> {
        self.classes.get_mut(&identity)
    }

    pub fn selection(&self, id: SelectionId) -> Option<&Selected> {
        self.selections.get(&id)
    }

    pub fn selection_mut(&mut self, id: SelectionId) -> Option<&mut Selected> {
        self.selections.get_mut(&id)
    }

    /// The classes of a selection that has been entered.
    pub fn classes_of(&self, selection: &Selection) -> Option<&BTreeSet<u32>> {
        let id = self.numbers.get(selection)?;
        Some(&self.selections.get(id)?.classes)
    }

    pub fn with_port(&self, name: &str) -> impl Iterator<Item = u32> {
        self.by_port.get(name).into_iter().flatten().copied()
    }

    /// Brings a class in; gives the selections that it is in. `labels` are those of its namespace,
    /// if that has no class yet.
    pub fn enter(
        &mut self,
        identity: u32,
        key: Key,
        labels: impl FnOnce() -> BTreeMap<String, String>,
    ) -> Vec<SelectionId> {
        for (name, ..) in &key.ports {
            let having = self.by_port.entry(name.clone()).or_default();
            having.insert(identity);
        }
        let namespace = self.namespaces.entry(key.namespace.clone());
        let namespace = namespace.or_insert_with(|| Namespace {
            labels: labels(),
            classes: BTreeSet::new(),
        });
        namespace.classes.insert(identity);
        let class = Class {
            key,
            selections: BTreeSet::new(),
            sets: [None, None],
        };
        self.classes.insert(identity, class);
        self.hang(identity)
    }

    /// Takes a class out; gives what it was.
    pub fn leave(&mut self, identity: u32) -> Option<Class> {
        let left = self.unhang(identity);
        let mut class = self.classes.remove(&identity)?;
        for (name, ..) in &class.key.ports {
            if let Some(having) = self.by_port.get_mut(name) {
                having.remove(&identity);
                if having.is_empty() {
                    self.by_port.remove(name);
                }
            }
        }
        if let Some(namespace) = self.namespaces.get_mut(&class.key.namespace) {
            namespace.classes.remove(&identity);
            if namespace.classes.is_empty() {
                self.namespaces.remove(&class.key.namespace);
            }
        }
        class.selections.extend(left);
        Some(class)
    }

    /// A namespace has these labels now; gives its classes, and the selections that one of them was
    /// in or is in.
    pub fn relabel(
        &mut self,
        name: &str,
        labels: BTreeMap<String, String>,
    ) -> (BTreeSet<u32>, BTreeSet<SelectionId>) {
        let mut touched = BTreeSet::new();
        let Some(namespace) = self.namespaces.get(name) else {
            return Default::default();
        };
        if namespace.labels == labels {
            return Default::default();
        }
        let classes = namespace.classes.clone();
        for identity in &classes {
            touched.extend(self.unhang(*identity));
        }
        if let Some(namespace) = self.namespaces.get_mut(name) {
            namespace.labels = labels;
        }
        for identity in &classes {
            touched.extend(self.hang(*identity));
        }
        (classes, touched)
    }

    fn hang(&mut self, identity: u32) -> Vec<SelectionId> {
        let Some(class) = self.classes.get_mut(&identity) else {
            return Vec::new();
        };
        let none = BTreeMap::new();
        let namespace = self.namespaces.get(&class.key.namespace);
        let labels = namespace.map_or(&none, |namespace| &namespace.labels);
        for hook in class_hooks(&class.key, labels) {
            self.classes_on.entry(hook).or_default().insert(identity);
            for id in self.selections_on.get(&hook).into_iter().flatten() {
                if let Some(selection) = self.selections.get_mut(id)
                    && selection.what.matches(&class.key, labels)
                {
                    selection.classes.insert(identity);
                    class.selections.insert(*id);
                }
            }
        }
        class.selections.iter().copied().collect()
    }

    fn unhang(&mut self, identity: u32) -> Vec<SelectionId> {
        let Some(class) = self.classes.get_mut(&identity) else {
            return Vec::new();
        };
        let none = BTreeMap::new();
        let namespace = self.namespaces.get(&class.key.namespace);
        let labels = namespace.map_or(&none, |namespace| &namespace.labels);
        for hook in class_hooks(&class.key, labels) {
            take(&mut self.classes_on, hook, identity);
        }
        let left = std::mem::take(&mut class.selections);
        for id in &left {
            if let Some(selection) = self.selections.get_mut(id) {
                selection.classes.remove(&identity);
            }
        }
        left.into_iter().collect()
    }

    /// The number of a selection, which is entered if it is new.
    pub fn select(&mut self, what: Selection) -> SelectionId {
        if let Some(id) = self.numbers.get(&what) {
            return *id;
        }
        let id = self.next;
        self.next += 1;
        // Of what it requires, what the fewest classes have.
        let count = |hook: &Hook| self.classes_on.get(hook).map_or(0, BTreeSet::len);
        let ways = selection_hooks(&what).into_iter();
        let hooks = ways.min_by_key(|hooks| hooks.iter().map(count).sum::<usize>());
        let hooks = hooks.unwrap_or_default();
        let mut classes = BTreeSet::new();
        for hook in &hooks {
            self.selections_on.entry(*hook).or_default().insert(id);
            for identity in self.classes_on.get(hook).into_iter().flatten() {
                let Some(class) = self.classes.get_mut(identity) else {
                    continue;
                };
                let namespace = self.namespaces.get(&class.key.namespace);
                if namespace.is_some_and(|n| what.matches(&class.key, &n.labels)) {
                    class.selections.insert(id);
                    classes.insert(*identity);
                }
            }
        }
        self.numbers.insert(what.clone(), id);
        let selected = Selected {
            what,
            hooks,
            classes,
            named_by: BTreeSet::new(),
            ruled_by: BTreeSet::new(),
        };
        self.selections.insert(id, selected);
        id
    }

    /// Forgets a selection if nobody uses it any more.
    pub fn tidy(&mut self, id: SelectionId) {
        let used = |s: &Selected| !s.named_by.is_empty() || !s.ruled_by.is_empty();
        if self.selections.get(&id).is_none_or(used) {
            return;
        }
        let Some(selection) = self.selections.remove(&id) else {
            return;
        };
        self.numbers.remove(&selection.what);
        for hook in selection.hooks {
            take(&mut self.selections_on, hook, id);
        }
        for identity in selection.classes {
            if let Some(class) = self.classes.get_mut(&identity) {
                class.selections.remove(&id);
            }
        }
    }
}

fn take(map: &mut HashMap<Hook, BTreeSet<u32>>, hook: Hook, member: u32) {
    if let Some(members) = map.get_mut(&hook) {
        members.remove(&member);
        if members.is_empty() {
            map.remove(&hook);
        }
    }
}

fn hook(parts: impl Hash) -> Hook {
    let mut hasher = DefaultHasher::new();
    parts.hash(&mut hasher);
    hasher.finish()
}

fn anything() -> Hook {
    hook("anything")
}

fn in_namespace(namespace: &str) -> Hook {
    hook(("namespace", namespace))
}

fn label_in(namespace: &str, key: &str, value: &str) -> Hook {
    hook(("label of namespace", namespace, key, value))
}

fn label(key: &str, value: &str) -> Hook {
    hook(("label", key, value))
}

fn namespace_label(key: &str, value: &str) -> Hook {
    hook(("namespace label", key, value))
}

fn class_hooks(key: &Key, namespace: &BTreeMap<String, String>) -> BTreeSet<Hook> {
    let labels = key.labels.iter();
    let labels = labels.flat_map(|(k, v)| [label(k, v), label_in(&key.namespace, k, v)]);
    let namespaces = namespace.iter().map(|(k, v)| namespace_label(k, v));
    let always = [anything(), in_namespace(&key.namespace)];
    labels.chain(namespaces).chain(always).collect()
}

/// Ways to find every class of a selection, each on a few hooks.
fn selection_hooks(selection: &Selection) -> Vec<Vec<Hook>> {
    let mut ways: Vec<Vec<Hook>> = match selection {
        Selection::Own(namespace, pods) => required(pods, |k, v| label_in(namespace, k, v)),
        Selection::Of(subject) => {
            let mut ways = required(&subject.pods, label);
            ways.extend(required(&subject.namespaces, namespace_label));
            ways
        }
    };
    if ways.is_empty() {
        ways.push(match selection {
            Selection::Own(namespace, _) => vec![in_namespace(namespace)],
            Selection::Of(_) => vec![anything()],
        });
    }
    ways
}

/// The hooks of each label that a selector requires, of which one has to be there.
fn required(selector: &LabelSelector, hook: impl Fn(&str, &str) -> Hook) -> Vec<Vec<Hook>> {
    let exact = selector.match_labels.iter();
    let exact = exact.map(|(key, value)| vec![hook(key, value)]);
    let expressions = selector.match_expressions.iter();
    let some = expressions.filter_map(|requirement| match &requirement.operator {
        Operator::In(values) => {
            let hooks = values.iter().map(|value| hook(&requirement.key, value));
            Some(hooks.collect())
        }
        Operator::NotIn(_) | Operator::Exists | Operator::DoesNotExist => None,
    });
    exact.chain(some).collect()
}
