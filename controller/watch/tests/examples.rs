//! The manifests that come with the project are what they say.

use std::path::Path;

use cluster::desired::{Rate, SubnetKind};
use cluster::{NamespacedName, Settings, State, resolve};
use watch::Folder;

fn deploy(folder: &str) -> std::path::PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("../../deploy")
        .join(folder)
}

#[test]
fn the_bank_example_gives_the_network_it_describes_and_nothing_is_left_undone() {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_time()
        .build()
        .unwrap();
    let snapshot = runtime.block_on(async {
        let mut folder = Folder::open(&deploy("examples/bank")).unwrap();
        folder.next().await
    });
    assert_eq!(snapshot.problems, []);
    let desired = resolve(&snapshot.view, &Settings::default(), &mut State::default());
    assert_eq!(desired.problems, []);
    assert_eq!(desired.waiting, [].into());

    let overlay = &desired.subnets["bank-overlay"];
    assert!(matches!(overlay.kind, SubnetKind::Overlay { vni } if vni.get() == 4096));
    let underlay = &desired.subnets["bank-legacy"];
    let SubnetKind::Underlay { provider, vlan } = &underlay.kind else {
        panic!("{underlay:?}");
    };
    assert_eq!(
        (provider.as_str(), vlan.map(|id| id.get())),
        ("datacentre", Some(100))
    );
    assert_eq!(desired.provider_networks["datacentre"].uplinks.len(), 2);
    assert_eq!(
        desired.nodes["node2"].vtep,
        Some("172.30.0.2".parse().unwrap())
    );

    let pod = |name: &str| &desired.pods[&NamespacedName::new("bank", name)];
    assert_eq!(pod("ledger").v4, Some("10.100.0.7".parse().unwrap()));
    assert_eq!(pod("ledger").mac.to_string(), "02:00:0a:64:00:07");
    assert_eq!(pod("ledger").subnet, "bank-legacy");
    let rate = Some(Rate {
        kbps: 50_000,
        burst_kbit: 40_000,
    });
    let (out, into) = (pod("batch-out").qos, pod("batch-in").qos);
    assert_eq!((out.egress, out.ingress), (rate, None));
    assert_eq!((into.egress, into.ingress), (None, rate));

    for (service, ip, port, target) in [
        ("web", "10.96.0.10", 80, 8080),
        ("quotes", "10.96.0.11", 5000, 9090),
    ] {
        let service = &desired.services[&NamespacedName::new("bank", service)];
        assert_eq!(
            service.cluster_ips,
            [ip.parse::<std::net::IpAddr>().unwrap()]
        );
        let [only] = service.ports.as_slice() else {
            panic!("{service:?}");
        };
        assert_eq!((only.port, only.endpoints.len()), (port, 4));
        assert!(only.endpoints.iter().all(|e| e.ready && e.port == target));
        let on_node1 = only
            .endpoints
            .iter()
            .filter(|e| e.node.as_deref() == Some("node1"));
        assert_eq!(on_node1.count(), 2);
    }
}
