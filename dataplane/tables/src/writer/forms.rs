//! Forms of matches and masks, each kept once however many flows have it.

use std::hash::{Hash, Hasher};
use std::sync::Arc;

use hashbrown::{Equivalent, HashSet};
use net::FlowKey;
use openflow::{Field, Match};

use crate::Mask;
use crate::rule::Form;

/// All that are in use, and some that were lately.
#[derive(Debug, Default)]
pub(super) struct Forms {
    forms: HashSet<ByFields>,
    masks: HashSet<Arc<Mask>>,
}

#[derive(Debug)]
struct ByFields(Arc<Form>);

impl PartialEq for ByFields {
    fn eq(&self, other: &Self) -> bool {
        self.0.fields == other.0.fields
    }
}

impl Eq for ByFields {}

impl Hash for ByFields {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.0.fields.hash(state);
    }
}

impl Equivalent<ByFields> for [(Field, u128)] {
    fn equivalent(&self, key: &ByFields) -> bool {
        *self == *key.0.fields
    }
}

impl Forms {
    /// The form of a match, to be kept.
    pub(super) fn intern(&mut self, matching: &Match, mask: &FlowKey) -> Arc<Form> {
        let fields = fields_of(matching);
        if let Some(ByFields(form)) = self.forms.get(&*fields) {
            return form.clone();
        }
        self.tidy();
        let mask = Mask::new(mask);
        let mask = self
            .masks
            .get_or_insert_with(&mask, |_| Arc::new(mask.clone()));
        let form = Arc::new(Form {
            fields,
            mask: mask.clone(),
        });
        self.forms.insert(ByFields(form.clone()));
        form
    }

    /// The form of a match, only to compare with.
    pub(super) fn peek(&self, matching: &Match, mask: &FlowKey) -> Arc<Form> {
        let fields = fields_of(matching);
        if let Some(ByFields(form)) = self.forms.get(&*fields) {
            return form.clone();
        }
        let mask = Mask::new(mask);
        let mask = match self.masks.get(&mask) {
            Some(mask) => mask.clone(),
            None => Arc::new(mask),
        };
        Arc::new(Form { fields, mask })
    }

    /// Forgets what no flow has any more, instead of growing.
    fn tidy(&mut self) {
        if self.forms.len() >= self.forms.capacity() {
            self.forms
                .retain(|ByFields(form)| Arc::strong_count(form) > 1);
            self.masks.retain(|mask| Arc::strong_count(mask) > 1);
        }
    }
}

fn fields_of(matching: &Match) -> Box<[(Field, u128)]> {
    matching.iter().map(|f| (f.field, f.mask)).collect()
}
