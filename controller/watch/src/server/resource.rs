//! Where the objects of a kind are on an API server.

use cluster::{Kind, ObjectRef};
use kube::core::Request;

/// The name of a kind in a path.
pub(crate) fn plural(kind: Kind) -> String {
    match kind {
        Kind::ProviderNetwork => "provider-networks".into(),
        _ => {
            let name = kind.as_str().to_lowercase();
            match name.strip_suffix('y') {
                Some(stem) => format!("{stem}ies"),
                None => format!("{name}s"),
            }
        }
    }
}

/// The group of a kind; empty for the core group.
pub(crate) fn group(kind: Kind) -> &'static str {
    let api_version = kind.api_version();
    api_version.split_once('/').map_or("", |(group, _)| group)
}

/// True for kinds that a server has only if somebody installed them.
pub(crate) fn is_custom(kind: Kind) -> bool {
    matches!(group(kind), "kubeovn.io" | "policy.networking.k8s.io")
}

/// True for kinds whose absence is nobody's mistake.
pub(crate) fn is_optional(kind: Kind) -> bool {
    group(kind) == "policy.networking.k8s.io"
}

fn root(kind: Kind) -> String {
    match group(kind) {
        "" => format!("/api/{}", kind.api_version()),
        _ => format!("/apis/{}", kind.api_version()),
    }
}

/// Every object of a kind.
pub(crate) fn all(kind: Kind) -> Request {
    Request::new(format!("{}/{}", root(kind), plural(kind)))
}

/// Where one object is.
pub(crate) fn beside(object: &ObjectRef) -> Request {
    let (root, plural) = (root(object.kind), plural(object.kind));
    Request::new(match &object.namespace {
        Some(namespace) => format!("{root}/namespaces/{namespace}/{plural}"),
        None => format!("{root}/{plural}"),
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::Value;

    #[test]
    fn our_own_kinds_are_where_their_definitions_say() {
        let folder = concat!(env!("CARGO_MANIFEST_DIR"), "/../../deploy/crds");
        let mut found = 0;
        for file in std::fs::read_dir(folder).unwrap() {
            let text = std::fs::read_to_string(file.unwrap().path()).unwrap();
            let crd: Value = serde_saphyr::from_str(&text).unwrap();
            let spec = &crd["spec"];
            let kind = spec["names"]["kind"].as_str().unwrap();
            let kind = Kind::ALL.into_iter().find(|k| k.as_str() == kind).unwrap();
            assert_eq!(plural(kind), spec["names"]["plural"].as_str().unwrap());
            let version = spec["versions"][0]["name"].as_str().unwrap();
            let group = spec["group"].as_str().unwrap();
            assert_eq!(kind.api_version(), format!("{group}/{version}"));
            let scope = if kind.is_namespaced() {
                "Namespaced"
            } else {
                "Cluster"
            };
            assert_eq!(spec["scope"], scope, "{kind}");
            assert!(is_custom(kind));
            found += 1;
        }
        assert!(found >= 6);
    }

    #[test]
    fn paths_are_those_of_the_kubernetes_api() {
        assert_eq!(all(Kind::Pod).url_path, "/api/v1/pods");
        assert_eq!(
            all(Kind::EndpointSlice).url_path,
            "/apis/discovery.k8s.io/v1/endpointslices"
        );
        let pod = ObjectRef::namespaced(Kind::Pod, &"bank/web-1".parse().unwrap());
        assert_eq!(beside(&pod).url_path, "/api/v1/namespaces/bank/pods");
    }
}
