//! Events are the same objects in two groups, with other names for their fields.

use serde_json::Value;

/// Field in the core group, field in `events.k8s.io`.
const FIELDS: &[(&str, &str)] = &[
    ("involvedObject", "regarding"),
    ("message", "note"),
    ("reportingComponent", "reportingController"),
    ("source", "deprecatedSource"),
    ("firstTimestamp", "deprecatedFirstTimestamp"),
    ("lastTimestamp", "deprecatedLastTimestamp"),
    ("count", "deprecatedCount"),
];

/// Renames the fields of an Event for `group`.
pub(crate) fn event_in_version(event: &mut Value, group: &str) {
    let Some(map) = event.as_object_mut() else {
        return;
    };
    for (core, new) in FIELDS {
        let (from, to) = if group.is_empty() {
            (*new, *core)
        } else {
            (*core, *new)
        };
        if let Some(value) = map.remove(from) {
            map.insert(to.to_owned(), value);
        }
    }
}
