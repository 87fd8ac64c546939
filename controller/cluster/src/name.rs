//! How objects are called: `namespace/name`, and `Kind namespace/name` in messages and labels.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

/// The name of an object that lives in a namespace; written `namespace/name`.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(into = "String", try_from = "String")]
pub struct NamespacedName {
    /// The namespace; never empty (manifests without one mean `default`).
    pub namespace: String,
    /// The name within the namespace.
    pub name: String,
}

impl NamespacedName {
    /// From its two parts.
    pub fn new(namespace: impl Into<String>, name: impl Into<String>) -> Self {
        NamespacedName {
            namespace: namespace.into(),
            name: name.into(),
        }
    }
}

impl fmt::Display for NamespacedName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.namespace, self.name)
    }
}

impl From<NamespacedName> for String {
    fn from(name: NamespacedName) -> String {
        name.to_string()
    }
}

/// The text is not `namespace/name`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("not a name of the form namespace/name")]
pub struct ParseNameError;

impl FromStr for NamespacedName {
    type Err = ParseNameError;

    fn from_str(text: &str) -> Result<Self, ParseNameError> {
        match text.split_once('/') {
            Some((namespace, name))
                if !namespace.is_empty() && !name.is_empty() && !name.contains('/') =>
            {
                Ok(NamespacedName::new(namespace, name))
            }
            _ => Err(ParseNameError),
        }
    }
}

impl TryFrom<String> for NamespacedName {
    type Error = ParseNameError;

    fn try_from(text: String) -> Result<Self, ParseNameError> {
        text.parse()
    }
}

/// The kinds of object that are read, by their Kubernetes names.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Kind {
    /// `v1`
    Node,
    /// `v1`
    Namespace,
    /// `v1`
    Pod,
    /// `v1`
    Service,
    /// `discovery.k8s.io/v1`
    EndpointSlice,
    /// `kubeovn.io/v1`
    Subnet,
    /// `kubeovn.io/v1`
    Vlan,
    /// `kubeovn.io/v1`
    ProviderNetwork,
    /// `kubeovn.io/v1`
    IpPool,
    /// `kubeovn.io/v1`
    Ip,
    /// `kubeovn.io/v1`
    Vip,
    /// `apps/v1`
    StatefulSet,
    /// `networking.k8s.io/v1`
    NetworkPolicy,
    /// `policy.networking.k8s.io/v1alpha1`
    AdminNetworkPolicy,
    /// `policy.networking.k8s.io/v1alpha1`
    BaselineAdminNetworkPolicy,
    /// `policy.networking.k8s.io/v1alpha2`
    ClusterNetworkPolicy,
}

impl Kind {
    /// Every kind.
    pub const ALL: [Kind; 16] = [
        Kind::Node,
        Kind::Namespace,
        Kind::Pod,
        Kind::Service,
        Kind::EndpointSlice,
        Kind::Subnet,
        Kind::Vlan,
        Kind::ProviderNetwork,
        Kind::IpPool,
        Kind::Ip,
        Kind::Vip,
        Kind::StatefulSet,
        Kind::NetworkPolicy,
        Kind::AdminNetworkPolicy,
        Kind::BaselineAdminNetworkPolicy,
        Kind::ClusterNetworkPolicy,
    ];

    /// The name as written in `kind:`.
    pub const fn as_str(self) -> &'static str {
        match self {
            Kind::Node => "Node",
            Kind::Namespace => "Namespace",
            Kind::Pod => "Pod",
            Kind::Service => "Service",
            Kind::EndpointSlice => "EndpointSlice",
            Kind::Subnet => "Subnet",
            Kind::Vlan => "Vlan",
            Kind::ProviderNetwork => "ProviderNetwork",
            Kind::IpPool => "IPPool",
            Kind::Ip => "IP",
            Kind::Vip => "Vip",
            Kind::StatefulSet => "StatefulSet",
            Kind::NetworkPolicy => "NetworkPolicy",
            Kind::AdminNetworkPolicy => "AdminNetworkPolicy",
            Kind::BaselineAdminNetworkPolicy => "BaselineAdminNetworkPolicy",
            Kind::ClusterNetworkPolicy => "ClusterNetworkPolicy",
        }
    }

    /// The group and version as written in `apiVersion:`.
    pub const fn api_version(self) -> &'static str {
        match self {
            Kind::Node | Kind::Namespace | Kind::Pod | Kind::Service => "v1",
            Kind::EndpointSlice => "discovery.k8s.io/v1",
            Kind::Subnet
            | Kind::Vlan
            | Kind::ProviderNetwork
            | Kind::IpPool
            | Kind::Ip
            | Kind::Vip => "kubeovn.io/v1",
            Kind::StatefulSet => "apps/v1",
            Kind::NetworkPolicy => "networking.k8s.io/v1",
            Kind::AdminNetworkPolicy | Kind::BaselineAdminNetworkPolicy => {
                "policy.networking.k8s.io/v1alpha1"
            }
            Kind::ClusterNetworkPolicy => "policy.networking.k8s.io/v1alpha2",
        }
    }

    /// True for kinds that live in a namespace.
    pub const fn is_namespaced(self) -> bool {
        matches!(
            self,
            Kind::Pod
                | Kind::Service
                | Kind::EndpointSlice
                | Kind::StatefulSet
                | Kind::NetworkPolicy
        )
    }
}

impl fmt::Display for Kind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// One object of the cluster; written `Pod bank/web-1` or `Subnet bank-overlay`.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ObjectRef {
    /// What it is.
    pub kind: Kind,
    /// Its namespace, or `None` for kinds that have none.
    pub namespace: Option<String>,
    /// Its name.
    pub name: String,
}

impl ObjectRef {
    /// An object without a namespace.
    pub fn cluster(kind: Kind, name: impl Into<String>) -> Self {
        ObjectRef {
            kind,
            namespace: None,
            name: name.into(),
        }
    }

    /// An object in a namespace.
    pub fn namespaced(kind: Kind, name: &NamespacedName) -> Self {
        ObjectRef {
            kind,
            namespace: Some(name.namespace.clone()),
            name: name.name.clone(),
        }
    }
}

impl fmt::Display for ObjectRef {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.namespace {
            Some(namespace) => write!(f, "{} {}/{}", self.kind, namespace, self.name),
            None => write!(f, "{} {}", self.kind, self.name),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_survives_being_written_and_read() {
        let name = NamespacedName::new("bank", "web-1");
        assert_eq!(name.to_string().parse(), Ok(name.clone()));
        assert_eq!(
            serde_json::to_string(&name).unwrap(),
            r#""bank/web-1""#.to_string()
        );
        for bad in ["web-1", "/web-1", "bank/", "a/b/c", ""] {
            assert_eq!(bad.parse::<NamespacedName>(), Err(ParseNameError), "{bad}");
        }
    }

    #[test]
    fn an_object_is_written_as_an_operator_says_it() {
        let pod = ObjectRef::namespaced(Kind::Pod, &NamespacedName::new("bank", "web-1"));
        assert_eq!(pod.to_string(), "Pod bank/web-1");
        assert_eq!(
            ObjectRef::cluster(Kind::Subnet, "bank-overlay").to_string(),
            "Subnet bank-overlay"
        );
    }
}
