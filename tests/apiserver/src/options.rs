//! How the server behaves.

use std::path::PathBuf;
use std::time::Duration;

/// Settings of a server. The default is a healthy one on a port of its own, over TLS.
#[derive(Clone, Debug)]
pub struct Options {
    /// `address:port` to listen at; port 0 takes a free one.
    pub listen: String,
    /// TLS with a certificate of the server's own authority; plain HTTP otherwise.
    pub tls: bool,
    /// Folder for the kubeconfig; a temporary one, removed with the server, if not given.
    pub directory: Option<PathBuf>,
    /// Requests of other users than the administrator are checked against Roles and their bindings.
    pub rbac: bool,
    /// Requests without credentials are `system:anonymous` instead of being refused with 401.
    pub anonymous: bool,
    /// Changes that each collection remembers for watches (objects, not bytes).
    pub history: usize,
    /// How often a quiet watch that asked for bookmarks gets one. The real server: a minute.
    pub bookmark_interval: Duration,
    /// How long a watch lives that sets no `timeoutSeconds`.
    pub watch_timeout: Duration,
    /// Where ClusterIPs come from, one network for each family, the first family first.
    pub service_networks: Vec<String>,
    /// NodePorts, both ends included.
    pub node_ports: (u16, u16),
    /// Writes EndpointSlices from Services and Pods, as kube-controller-manager does.
    pub endpoints: bool,
    /// Deletes what has lost its owners, as kube-controller-manager does.
    pub garbage: bool,
    /// Empties and removes Namespaces that are deleted, as kube-controller-manager does.
    pub namespaces: bool,
    /// Reports Pods that are bound to a node as running, as the kubelet does: with the addresses
    /// that their annotation `ovn.kubernetes.io/ip_address` has, and lets deleted ones go.
    pub kubelet: bool,
}

impl Default for Options {
    fn default() -> Self {
        Options {
            listen: "127.0.0.1:0".into(),
            tls: true,
            directory: None,
            rbac: false,
            anonymous: false,
            history: 100_000,
            bookmark_interval: Duration::from_secs(60),
            watch_timeout: Duration::from_secs(40 * 60),
            service_networks: vec!["10.96.0.0/16".into(), "fd00:10:96::/112".into()],
            node_ports: (30_000, 32_767),
            endpoints: false,
            garbage: false,
            namespaces: true,
            kubelet: false,
        }
    }
}
