//! One pod's interface as it stands on its Pod, for who sets the interface up on a node.

use cluster::podapi::Reply;
use cluster::writes::interface;
use cluster::{Kind, NamespacedName, ObjectRef};
use serde_json::Value;

use super::connection::Connection;
use super::resource;

/// What an API server says of a pod's interface.
///
/// # Errors
/// What keeps the server from answering; it may do so later.
pub async fn interface_of(connection: &Connection, name: &NamespacedName) -> Result<Reply, String> {
    let object = ObjectRef::namespaced(Kind::Pod, name);
    let request = resource::beside(&object).get(&object.name, &Default::default());
    let request = request.map_err(|error| error.to_string())?;
    match connection.ask(request).await {
        Ok(pod) => Ok(read(&pod, name)),
        Err(error) if error.code() == Some(404) => Ok(Reply::Waiting(format!(
            "Pod {name} to appear at the API server"
        ))),
        Err(error) => Err(error.to_string()),
    }
}

fn read(pod: &Value, name: &NamespacedName) -> Reply {
    let annotations = pod.pointer("/metadata/annotations");
    let annotations = annotations.and_then(Value::as_object).into_iter().flatten();
    let annotations = annotations
        .filter_map(|(key, value)| Some((key.clone(), value.as_str()?.to_string())))
        .collect();
    let node = pod.pointer("/spec/nodeName").and_then(Value::as_str);
    match interface(name, node.unwrap_or_default(), &annotations) {
        Ok(Some(interface)) => Reply::Ready(interface),
        Err(why) => Reply::Refused(format!("Pod {name}: {why}; delete the pod to have it anew")),
        Ok(None) => match refusal(pod) {
            Some(why) => Reply::Refused(why.to_string()),
            None => Reply::Waiting(format!(
                "sluice-controller to write the addresses of Pod {name} on it"
            )),
        },
    }
}

/// Why the pod is given nothing, where the controller says so.
fn refusal(pod: &Value) -> Option<&str> {
    let conditions = pod.pointer("/status/conditions")?.as_array()?;
    let text = |condition: &'_ Value, field: &str| {
        condition
            .get(field)
            .and_then(Value::as_str)
            .map(str::to_string)
    };
    let refused = conditions.iter().find(|condition| {
        text(condition, "type").as_deref() == Some("sluice.io/Accepted")
            && text(condition, "reason").as_deref() == Some("Refused")
    })?;
    refused.get("message")?.as_str()
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn a_pod_has_its_interface_or_waits_or_is_refused() {
        let name = NamespacedName::new("bank", "web-1");
        let mut pod = json!({"spec": {"nodeName": "n1"}});
        assert!(matches!(read(&pod, &name), Reply::Waiting(_)));
        pod["status"] = json!({"conditions": [
            {"type": "sluice.io/Accepted", "status": "False", "reason": "Refused", "message": "taken"}]});
        assert_eq!(read(&pod, &name), Reply::Refused("taken".into()));
        pod["metadata"] = json!({"annotations": {
            "ovn.kubernetes.io/allocated": "true", "ovn.kubernetes.io/routed": "true",
            "ovn.kubernetes.io/ip_address": "10.16.0.2", "ovn.kubernetes.io/cidr": "10.16.0.0/16",
            "ovn.kubernetes.io/gateway": "10.16.0.1", "ovn.kubernetes.io/logical_switch": "apps",
            "ovn.kubernetes.io/mac_address": "02:5c:0a:10:00:02", "sluice.io/mtu": "1400"}});
        let Reply::Ready(interface) = read(&pod, &name) else {
            panic!("{:?}", read(&pod, &name));
        };
        assert_eq!(interface.addresses, ["10.16.0.2/16".parse().unwrap()]);
        assert_eq!((interface.node.as_str(), interface.mtu), ("n1", 1400));
        pod["metadata"]["annotations"]["sluice.io/mtu"] = json!("x");
        assert!(matches!(read(&pod, &name), Reply::Refused(_)));
    }
}
