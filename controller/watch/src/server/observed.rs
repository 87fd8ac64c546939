//! What of ours, and of what we write, stands on an object.

use std::collections::BTreeMap;

use cluster::annotations::{KUBE_OVN, OURS};
use cluster::writes::{basis, is_our_condition};
use cluster::{Kind, ObjectRef};
use serde_json::{Map, Value};

use super::resource::group;

/// What stands on an object, as far as it concerns who writes there.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct Observed {
    pub(crate) uid: String,
    /// `metadata.resourceVersion`
    pub(crate) version: String,
    /// Of Pods: as [`basis`] has it.
    pub(crate) basis: Option<u64>,
    /// Of objects that we make.
    pub(crate) labels: BTreeMap<String, String>,
    /// With prefixes under which we write.
    pub(crate) annotations: BTreeMap<String, String>,
    /// Of objects that we make.
    pub(crate) spec: Value,
    /// Without conditions, on kinds where fields of it are ours.
    pub(crate) status: Map<String, Value>,
    /// Those that are ours, by type.
    pub(crate) conditions: BTreeMap<String, Value>,
}

impl Observed {
    /// Versions of one resource are numbers that grow (API concepts, "resource versions").
    pub(super) fn is_later_than(&self, other: &Observed) -> bool {
        let number = |observed: &Observed| observed.version.parse::<u64>().ok();
        self.uid == other.uid && number(self) > number(other)
    }

    pub(crate) fn of(object: &ObjectRef, value: &Value) -> Self {
        let texts = |pointer: &str, ours: &dyn Fn(&str) -> bool| {
            let map = value.pointer(pointer).and_then(Value::as_object);
            map.into_iter()
                .flatten()
                .filter(|(key, _)| ours(key))
                .filter_map(|(key, value)| Some((key.clone(), value.as_str()?.to_string())))
                .collect()
        };
        let made_by_us = object.kind == Kind::Ip;
        let status = value.get("status").and_then(Value::as_object);
        let conditions = status.and_then(|status| status.get("conditions")?.as_array());
        let conditions = conditions.into_iter().flatten().filter_map(|condition| {
            // Kube-OVN writes conditions of single nodes on ProviderNetworks.
            let node = condition.get("node").and_then(Value::as_str);
            if !node.unwrap_or_default().is_empty() {
                return None;
            }
            let type_ = condition.get("type")?.as_str()?;
            is_our_condition(object.kind, type_).then(|| (type_.to_string(), condition.clone()))
        });
        let has_status = group(object.kind) == "kubeovn.io" || object.kind == Kind::Service;
        let status = status.filter(|_| has_status).into_iter().flatten();
        let text = |pointer: &str| {
            let text = value.pointer(pointer).and_then(Value::as_str);
            text.unwrap_or_default().to_string()
        };
        let annotations = value.pointer("/metadata/annotations");
        let annotations = annotations.and_then(Value::as_object);
        let annotations = annotations.into_iter().flatten();
        let mut annotations: Vec<(&String, &str)> = annotations
            .filter_map(|(key, value)| Some((key, value.as_str()?)))
            .collect();
        annotations.sort_unstable();
        Observed {
            uid: text("/metadata/uid"),
            version: text("/metadata/resourceVersion"),
            basis: (object.kind == Kind::Pod).then(|| basis(annotations.into_iter())),
            labels: texts("/metadata/labels", &|_| made_by_us),
            annotations: texts("/metadata/annotations", &|key| {
                key.starts_with(OURS) || key.starts_with(KUBE_OVN[0])
            }),
            spec: match made_by_us {
                true => value.get("spec").cloned().unwrap_or_default(),
                false => Value::Null,
            },
            status: status
                .filter(|(key, _)| *key != "conditions")
                .map(|(key, value)| (key.clone(), value.clone()))
                .collect(),
            conditions: conditions.collect(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn of_a_pod_only_what_we_write_is_kept() {
        let pod = ObjectRef::namespaced(Kind::Pod, &"bank/a".parse().unwrap());
        let observed = Observed::of(
            &pod,
            &json!({
                "metadata": {
                    "uid": "u", "labels": {"app": "a"},
                    "annotations": {"ovn.kubernetes.io/cidr": "c", "sluice.io/mtu": "1400", "x": "y"},
                },
                "spec": {"nodeName": "n"},
                "status": {"phase": "Running", "conditions": [
                    {"type": "Ready", "status": "True"},
                    {"type": "sluice.io/Accepted", "status": "False"},
                ]},
            }),
        );
        assert_eq!(observed.uid, "u");
        let keys: Vec<_> = observed.annotations.keys().collect();
        assert_eq!(keys, ["ovn.kubernetes.io/cidr", "sluice.io/mtu"]);
        let keys: Vec<_> = observed.conditions.keys().collect();
        assert_eq!(keys, ["sluice.io/Accepted"]);
        assert!(observed.labels.is_empty() && observed.spec.is_null());
        assert!(observed.status.is_empty());
    }

    #[test]
    fn of_a_subnet_the_whole_status_is_kept() {
        let subnet = ObjectRef::cluster(Kind::Subnet, "a");
        let status = json!({"v4usingIPs": 1, "conditions": [{"type": "Ready"}, {"type": "Else"}]});
        let observed = Observed::of(&subnet, &json!({"status": status}));
        assert_eq!(observed.status.keys().collect::<Vec<_>>(), ["v4usingIPs"]);
        assert_eq!(observed.conditions.keys().collect::<Vec<_>>(), ["Ready"]);
    }
}
