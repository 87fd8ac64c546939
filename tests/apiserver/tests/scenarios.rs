//! What the server itself does, and its stand-ins for controllers.

use apiserver::{ApiServer, Options};
use serde_json::{Value, json};

async fn start(options: Options) -> ApiServer {
    ApiServer::start(options).await.unwrap()
}

#[tokio::test]
async fn services_get_addresses_and_node_ports_that_nobody_else_has() {
    let server = start(Options::default()).await;
    server
        .apply(
            "
apiVersion: v1
kind: Service
metadata: {name: a}
spec: {type: NodePort, ipFamilyPolicy: PreferDualStack, ports: [{port: 53, name: t}, {port: 53, name: u, protocol: UDP}]}
---
apiVersion: v1
kind: Service
metadata: {name: b}
spec: {type: LoadBalancer, externalTrafficPolicy: Local, ports: [{port: 80, nodePort: 30000, protocol: SCTP}]}
---
apiVersion: v1
kind: Service
metadata: {name: c}
spec: {clusterIP: None, selector: {a: b}}
",
        )
        .unwrap();
    let spec = |name: &str| server.get("Service", "default", name).unwrap()["spec"].clone();
    let (a, b, c) = (spec("a"), spec("b"), spec("c"));
    assert_eq!(a["clusterIPs"], json!(["10.96.0.2", "fd00:10:96::2"]));
    assert_eq!(a["ipFamilies"], json!(["IPv4", "IPv6"]));
    assert_eq!(a["ports"][0]["nodePort"], a["ports"][1]["nodePort"]);
    assert_eq!(a["ports"][0]["targetPort"], 53);
    assert_eq!(b["clusterIP"], "10.96.0.3");
    assert!(b["healthCheckNodePort"].as_i64().is_some_and(|n| n > 30000));
    assert_eq!(c["clusterIPs"], json!(["None"]));
    let taken = server
        .apply("{apiVersion: v1, kind: Service, metadata: {name: d}, spec: {clusterIP: 10.96.0.3, ports: [{port: 1}]}}")
        .unwrap_err();
    assert_eq!((taken.code, taken.reason.as_str()), (422, "Invalid"));
    assert!(taken.message.contains("already allocated"), "{taken}");
    let moved = server.patch(
        "Service",
        "default",
        "a",
        json!({"spec": {"clusterIP": "10.96.0.9", "clusterIPs": null}}),
    );
    assert!(
        moved
            .unwrap_err()
            .message
            .contains("may not change once set")
    );
    // Back to ClusterIP, the node ports go.
    server
        .patch(
            "Service",
            "default",
            "a",
            json!({"spec": {"type": "ClusterIP"}}),
        )
        .unwrap();
    assert_eq!(spec("a")["ports"][0].get("nodePort"), None);
}

#[tokio::test]
async fn a_custom_resource_has_the_schema_of_its_definition() {
    let server = start(Options::default()).await;
    let object = |spec: Value| json!({"apiVersion": "example.org/v1", "kind": "Thing", "metadata": {"name": "x"}, "spec": spec});
    assert_eq!(
        server.apply_object(object(json!({}))).unwrap_err().code,
        404
    );
    server
        .apply(
            "
apiVersion: apiextensions.k8s.io/v1
kind: CustomResourceDefinition
metadata: {name: things.example.org}
spec:
  group: example.org
  scope: Cluster
  names: {plural: things, kind: Thing}
  versions:
  - name: v1
    served: true
    storage: true
    subresources: {status: {}}
    schema:
      openAPIV3Schema:
        type: object
        properties:
          spec:
            type: object
            required: [size]
            properties:
              size: {type: integer, minimum: 1}
              color: {type: string, enum: [red, blue], default: red}
              names: {type: array, x-kubernetes-list-type: set, items: {type: string, pattern: '^[a-z]+$'}}
          status: {type: object, x-kubernetes-preserve-unknown-fields: true}
",
        )
        .unwrap();
    let missing = server
        .apply_object(object(json!({"names": ["a", "B"]})))
        .unwrap_err();
    assert_eq!(missing.code, 422);
    assert!(
        missing.message.contains("spec.size: Required value"),
        "{missing}"
    );
    assert!(missing.message.contains("spec.names[1]"), "{missing}");
    let unknown = server
        .apply_object(object(json!({"size": 3, "unknown": {"a": 1}})))
        .unwrap_err();
    assert_eq!(unknown.code, 500);
    assert!(
        unknown
            .message
            .ends_with(".spec.unknown: field not declared in schema"),
        "{unknown}"
    );
    server.apply_object(object(json!({"size": 3}))).unwrap();
    // Other writes are pruned.
    server
        .patch("Thing", "", "x", json!({"spec": {"unknown": {"a": 1}}}))
        .unwrap();
    let made = server.get("Thing", "", "x").unwrap();
    assert_eq!(made["spec"], json!({"size": 3, "color": "red"}));
    assert_eq!(made["metadata"]["generation"], 1);
    server
        .patch_status("Thing", "", "x", json!({"anything": true}))
        .unwrap();
    let made = server.get("Thing", "", "x").unwrap();
    assert_eq!(made["status"]["anything"], true);
    assert_eq!(made["metadata"]["generation"], 1);
    let wrong = server
        .patch("Thing", "", "x", json!({"spec": {"color": "green"}}))
        .unwrap_err();
    assert!(wrong.message.contains("Unsupported value"), "{wrong}");
    server.delete("crd", "", "things.example.org").unwrap();
    assert_eq!(server.get("Thing", "", "x"), None);
}

#[tokio::test]
async fn a_finalizer_keeps_an_object_until_it_is_taken_off() {
    let server = start(Options::default()).await;
    server
        .apply("{apiVersion: v1, kind: ConfigMap, metadata: {name: c, finalizers: [sluice.io/x]}}")
        .unwrap();
    server.delete("ConfigMap", "default", "c").unwrap();
    let waiting = server.get("ConfigMap", "default", "c").unwrap();
    assert!(waiting["metadata"]["deletionTimestamp"].is_string());
    let more = json!({"metadata": {"finalizers": ["sluice.io/x", "sluice.io/y"]}});
    assert_eq!(
        server
            .patch("ConfigMap", "default", "c", more)
            .unwrap_err()
            .code,
        422
    );
    server
        .patch(
            "ConfigMap",
            "default",
            "c",
            json!({"metadata": {"finalizers": null}}),
        )
        .unwrap();
    assert_eq!(server.get("ConfigMap", "default", "c"), None);
}

#[tokio::test]
async fn a_namespace_goes_when_its_last_object_has_gone() {
    let server = start(Options::default()).await;
    server
        .apply(
            "
apiVersion: v1
kind: Namespace
metadata: {name: bank}
---
apiVersion: v1
kind: ConfigMap
metadata: {name: a, namespace: bank}
---
apiVersion: v1
kind: ConfigMap
metadata: {name: b, namespace: bank, finalizers: [sluice.io/x]}
",
        )
        .unwrap();
    server.delete("Namespace", "", "bank").unwrap();
    assert_eq!(
        server.get("Namespace", "", "bank").unwrap()["status"]["phase"],
        "Terminating"
    );
    assert_eq!(server.list("ConfigMap", "bank").len(), 1);
    let new =
        server.apply("{apiVersion: v1, kind: ConfigMap, metadata: {name: c, namespace: bank}}");
    assert_eq!(new.unwrap_err().code, 403);
    server
        .patch(
            "ConfigMap",
            "bank",
            "b",
            json!({"metadata": {"finalizers": []}}),
        )
        .unwrap();
    assert_eq!(server.get("Namespace", "", "bank"), None);
}

const WEB: &str = "
apiVersion: v1
kind: Node
metadata: {name: n1, labels: {topology.kubernetes.io/zone: z1}}
---
apiVersion: v1
kind: Service
metadata: {name: web, labels: {tier: front}}
spec: {selector: {app: web}, trafficDistribution: PreferClose, ports: [{name: http, port: 80, targetPort: http}]}
---
apiVersion: v1
kind: Pod
metadata: {name: web-1, labels: {app: web}, annotations: {ovn.kubernetes.io/ip_address: 10.16.0.2}}
spec: {nodeName: n1, containers: [{name: c, image: i, ports: [{name: http, containerPort: 8080}]}]}
";

#[tokio::test]
async fn endpoint_slices_follow_pods_through_readiness_and_termination() {
    let server = start(Options {
        endpoints: true,
        kubelet: true,
        ..Options::default()
    })
    .await;
    server.apply(WEB).unwrap();
    let slices = |server: &ApiServer| server.list("EndpointSlice", "default");
    let one = |server: &ApiServer, wanted: Value| {
        let slices = server.list("EndpointSlice", "default");
        slices.len() == 1 && slices[0]["endpoints"][0]["conditions"] == wanted
    };
    let ready = json!({"ready": true, "serving": true, "terminating": false});
    assert!(
        server.eventually(10, |s| one(s, ready.clone())).await,
        "{:?}",
        slices(&server)
    );
    let slice = slices(&server).remove(0);
    assert_eq!(
        slice["ports"],
        json!([{"name": "http", "port": 8080, "protocol": "TCP"}])
    );
    assert_eq!(
        slice["metadata"]["labels"]["kubernetes.io/service-name"],
        "web"
    );
    let endpoint = &slice["endpoints"][0];
    assert_eq!(
        (&endpoint["nodeName"], &endpoint["zone"]),
        (&json!("n1"), &json!("z1"))
    );
    assert_eq!(endpoint["hints"], json!({"forZones": [{"name": "z1"}]}));
    assert_eq!(endpoint["addresses"], json!(["10.16.0.2"]));

    server
        .delete_with_grace("Pod", "default", "web-1", Some(60))
        .unwrap();
    let leaving = json!({"ready": false, "serving": true, "terminating": true});
    assert!(
        server.eventually(10, |s| one(s, leaving.clone())).await,
        "{:?}",
        slices(&server)
    );
    server.delete("Pod", "default", "web-1").unwrap();
    let empty = |s: &ApiServer| s.list("EndpointSlice", "default")[0]["endpoints"] == json!([]);
    assert!(server.eventually(10, empty).await, "{:?}", slices(&server));
    server.delete("Service", "default", "web").unwrap();
    assert!(
        server
            .eventually(10, |s| s.list("EndpointSlice", "default").is_empty())
            .await
    );
}

#[tokio::test]
async fn what_has_lost_its_owner_is_deleted() {
    let server = start(Options {
        garbage: true,
        ..Options::default()
    })
    .await;
    server
        .apply("{apiVersion: v1, kind: ConfigMap, metadata: {name: owner}}")
        .unwrap();
    let uid = server.get("ConfigMap", "default", "owner").unwrap()["metadata"]["uid"].clone();
    let owner = json!({"apiVersion": "v1", "kind": "ConfigMap", "name": "owner", "uid": uid});
    server
        .apply_object(json!({"apiVersion": "v1", "kind": "ConfigMap",
                             "metadata": {"name": "owned", "ownerReferences": [owner]}}))
        .unwrap();
    server.delete("ConfigMap", "default", "owner").unwrap();
    assert_eq!(server.get("ConfigMap", "default", "owned"), None);
}
