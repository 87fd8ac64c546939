//! Ports are spelled as the contract says, and a mistake is explained.

use net::{PortNo, Vni};
use ports::{Mark, OuterSpec, PortKind, PortSpec, QueueSpec, Shaping, TunnelKind, TunnelSpec};

fn spec(text: &str) -> PortSpec {
    text.parse().unwrap()
}

fn reason(text: &str) -> String {
    text.parse::<PortSpec>().unwrap_err().to_string()
}

#[test]
fn everything_after_dev_belongs_to_dpdk() {
    let port = spec("uplink0,ofport=1,dev=net_af_packet0,iface=eth1,blocksz=4096");
    assert_eq!(
        (port.name.as_str(), port.ofport),
        ("uplink0", Some(PortNo(1)))
    );
    let devargs = "net_af_packet0,iface=eth1,blocksz=4096".to_owned();
    assert_eq!(port.kind, PortKind::Dpdk { devargs });
    let devargs = "0000:3b:00.0".to_owned();
    assert_eq!(
        spec("n,mtu=9000,dev=0000:3b:00.0").kind,
        PortKind::Dpdk { devargs }
    );
}

#[test]
fn taps_and_veths_take_our_own_keys() {
    let port = spec("pod1,dev=tap,iface=pod1if,closed=true,mtu=1400");
    let iface = "pod1if".to_owned();
    assert_eq!(port.kind, PortKind::Tap { iface });
    assert_eq!(
        (port.closed, port.mtu, port.ofport),
        (true, Some(1400), None)
    );
    let iface = "pod1".to_owned();
    assert_eq!(spec("pod1,dev=tap").kind, PortKind::Tap { iface });
    let iface = "v0".to_owned();
    assert_eq!(
        spec("pod1,closed=true,dev=veth,iface=v0").kind,
        PortKind::Veth { iface }
    );
}

#[test]
fn tunnels_default_to_what_flows_set() {
    let any = TunnelSpec {
        kind: TunnelKind::Geneve,
        remote: None,
        key: None,
        outer: OuterSpec::default(),
    };
    assert_eq!(
        spec("geneve0,ofport=2,tunnel=geneve").kind,
        PortKind::Tunnel(any)
    );
    assert_eq!(
        spec("geneve0,tunnel=geneve,remote=flow,key=flow").kind,
        PortKind::Tunnel(any)
    );
    let fixed = TunnelSpec {
        kind: TunnelKind::Vxlan,
        remote: Some("fd00::1".parse().unwrap()),
        key: Some(Vni::new(77).unwrap()),
        outer: OuterSpec::default(),
    };
    assert_eq!(
        spec("vx,tunnel=vxlan,remote=fd00::1,key=77").kind,
        PortKind::Tunnel(fixed)
    );
}

#[test]
fn the_outer_header_of_a_tunnel_is_described_as_open_vswitch_does_it() {
    let PortKind::Tunnel(tunnel) =
        spec("g,tunnel=geneve,tos=0xb8,ttl=inherit,df_default=false,csum=false").kind
    else {
        panic!("a tunnel");
    };
    let outer = OuterSpec {
        tos: Mark::Fixed(0xb8),
        ttl: Mark::Inherit,
        dont_fragment: false,
        checksum: Some(false),
    };
    assert_eq!(tunnel.outer, outer);
    for (text, why) in [
        ("g,tunnel=geneve,tos=3", "ECN bits"),
        (
            "g,tunnel=geneve,tos=256",
            "neither inherit nor a number from 0 to 255",
        ),
        (
            "g,tunnel=geneve,ttl=0",
            "neither inherit nor a number from 1 to 255",
        ),
        ("g,tunnel=geneve,csum=yes", "csum is true or false"),
        ("g,csum=true,dev=tap", "belong to tunnel= ports"),
    ] {
        let error = text.parse::<PortSpec>().unwrap_err().to_string();
        assert!(error.contains(why), "{text}: {error}");
    }
}

#[test]
fn the_printed_form_reads_back() {
    for text in [
        "uplink0,ofport=1,dev=net_af_packet0,iface=eth1",
        "pod1,ofport=1000,closed=true,mtu=1400,dev=tap,iface=pod1",
        "pod2,dev=veth,iface=v0",
        "gen,ofport=1,dev=generate,mode=udp,flows=1000,rate=10000,src=10.2.0.0/15,dsts=10",
        "gen,dev=generate,mode=tcp,flows=1",
        "out,dev=sink",
        "out,dev=echo",
        "pod3,spread=true,dev=veth,iface=v0",
        "uplink0,rxq=4,dev=0000:3b:00.0",
        "geneve0,ofport=2,tunnel=geneve",
        "vx,tunnel=vxlan,remote=192.0.2.1,key=5",
        "vx,tunnel=vxlan,tos=inherit,ttl=9,df_default=false,csum=true",
    ] {
        assert_eq!(spec(text).to_string(), text);
    }
}

#[test]
fn a_mistake_is_named_with_what_to_write_instead() {
    for (text, expected) in [
        ("uplink0", "needs a name and a device"),
        (",dev=tap", "1 to 15 printable"),
        ("a-name-too-long-for-linux,dev=tap", "1 to 15 printable"),
        (
            "p,ofport=0,dev=tap",
            "ofport '0' is not a number from 1 to 4294967039",
        ),
        ("p,ofport=4294967040,dev=tap", "ofport '4294967040'"),
        (
            "p,colour=red,dev=tap",
            "unknown key 'colour'; keys are ofport",
        ),
        (
            "p,dev=tap,ifce=x",
            "dev=tap takes iface, closed, mtu, vlan, rate, burst, queues, spread; not 'ifce=x'",
        ),
        ("p,dev=veth", "needs iface="),
        ("p,dev=", "dev= is empty"),
        ("p,ofport=3", "neither dev= nor tunnel="),
        ("p,tunnel=geneve,dev=tap", "both dev= and tunnel="),
        ("p,remote=10.0.0.1,dev=tap", "belong to tunnel="),
        ("p,tunnel=gre", "tunnel 'gre' is not geneve or vxlan"),
        (
            "p,tunnel=geneve,key=16777216",
            "VNI 16777216 is outside 0..=16777215",
        ),
        (
            "p,tunnel=geneve,remote=nowhere",
            "neither an IP address nor 'flow'",
        ),
        ("p,mtu=9,dev=tap", "mtu '9' is not 68 to 65000"),
        ("p,closed=maybe,dev=tap", "closed is true or false"),
        ("p,spread=2,dev=tap", "spread is true or false"),
        ("p,rxq=0,dev=0000:3b:00.0", "rxq '0' is not 1 to 64"),
        ("p,rxq=2,dev=tap", "one rx queue; give spread=true"),
        ("p,rxq=2,tunnel=geneve", "belong to dev="),
    ] {
        let said = reason(text);
        assert!(said.starts_with(&format!("port '{text}': ")), "{said}");
        assert!(said.contains(expected), "'{text}' said: {said}");
    }
}

#[test]
fn a_port_may_be_local_and_have_a_vlan_and_queues() {
    let text = "br0,ofport=LOCAL,vlan=10,queues=0+2+5-7,dev=tap,iface=br0";
    let port = spec(text);
    assert_eq!(port.ofport, Some(PortNo::LOCAL));
    assert_eq!(port.vlan.map(|vlan| vlan.get()), Some(10));
    assert_eq!(port.shaping, Shaping::counting(&[7, 0, 2, 5, 6]));
    assert!(!port.shaping.is_shaped());
    let again = "br0,ofport=LOCAL,vlan=10,queues=0+2+5+6+7,dev=tap,iface=br0";
    assert_eq!(port.to_string(), again);
    assert_eq!(spec(again), port);
    for (text, why) in [
        ("p,vlan=0,dev=tap", "1 to 4094"),
        ("p,vlan=4095,dev=tap", "1 to 4094"),
        ("p,queues=,dev=tap", "0+1"),
        ("p,queues=4294967295,dev=tap", "0+1"),
        ("p,queues=0-64,dev=tap", "at most 64"),
        ("p,queues=3-1,dev=tap", "0+1"),
        ("p,queues=1,tunnel=geneve", "belong to dev="),
        ("p,ofport=NORMAL,dev=tap", "nor LOCAL"),
    ] {
        assert!(reason(text).contains(why), "{text}: {}", reason(text));
    }
}

#[test]
fn a_port_and_its_queues_may_have_rates() {
    let text = "up,rate=10g,burst=1m,queues=0+1:min=100m/max=1g+2-3:prio=7/weight=30/limit=99/wait=5,dev=tap,iface=up";
    let port = spec(text);
    let [zero, one, _, three] = port.shaping.queues[..] else {
        panic!("{port}");
    };
    assert_eq!(
        (port.shaping.rate, port.shaping.burst),
        (Some(10_000_000_000), Some(1_000_000))
    );
    assert_eq!(zero, QueueSpec::new(0));
    assert_eq!((one.min, one.max), (Some(100_000_000), Some(1_000_000_000)));
    assert_eq!((three.id, three.priority, three.weight), (3, 7, 30));
    assert_eq!((three.limit, three.wait_ms), (99, 5));
    assert_eq!(spec(&port.to_string()), port);
    let settings = port.shaping.to_string();
    assert_eq!(settings.parse(), Ok(port.shaping));
    assert_eq!("none".parse(), Ok(Shaping::default()));
    // Behind the device too, where that is ours.
    let tap = spec("p,dev=tap,rate=1500k,queues=4:max=1m/burst=9000");
    assert_eq!(
        tap.shaping.to_string(),
        "rate=1500k,queues=4:max=1m/burst=9k"
    );
    for (text, why) in [
        ("p,rate=fast,dev=tap", "rate 'fast' is not a rate"),
        ("p,rate=999,dev=tap", "at least 1k"),
        ("p,rate=1g,burst=3,dev=tap", "burst '3'"),
        ("p,burst=3k,dev=tap", "burst= needs rate="),
        ("p,queues=1:min=1m,dev=tap", "give rate= too"),
        ("p,queues=1:weight=2,dev=tap", "give rate= too"),
        ("p,queues=1:burst=2000,dev=tap", "burst needs max"),
        (
            "p,rate=1g,queues=1:min=2m/max=1m,dev=tap",
            "min is above max",
        ),
        (
            "p,rate=1g,queues=1-3:min=400m,dev=tap",
            "are 1200m together",
        ),
        (
            "p,rate=1g,queues=1:prio=8,dev=tap",
            "prio '8' is not 0 to 7",
        ),
        (
            "p,rate=1g,queues=1:weight=0,dev=tap",
            "weight '0' is not 1 to",
        ),
        ("p,queues=1:rate=1m,dev=tap", "a queue has no 'rate'"),
        ("p,queues=0-3+2:max=1m,dev=tap", "queue 2 is there twice"),
        ("p,rate=1g,tunnel=vxlan", "belong to dev="),
    ] {
        assert!(reason(text).contains(why), "{text}: {}", reason(text));
    }
    let wrong = "rate=1g,vlan=3".parse::<Shaping>().unwrap_err();
    assert!(wrong.contains("'vlan=3' is not rate="), "{wrong}");
}

#[test]
fn what_a_test_device_cannot_do_is_explained() {
    for (text, part) in [
        ("p,dev=generate,flows=0", "flows '0' is not 1 to"),
        ("p,dev=generate,mode=quic", "none of udp, zipf"),
        (
            "p,dev=generate,colour=red",
            "dev=generate takes mode, flows",
        ),
        (
            "p,dev=generate,mode=new,replies=true",
            "replies=true belongs to",
        ),
        ("p,dev=generate,src=10.0.0.0", "NET/LEN"),
        ("p,dev=sink,rate=1", "dev=sink takes nothing"),
    ] {
        assert!(reason(text).contains(part), "{}", reason(text));
    }
}

#[test]
fn several_workers_may_serve_a_port() {
    let port = spec("uplink0,ofport=1,rxq=4,dev=0000:3b:00.0");
    assert_eq!((port.rxq, port.spread), (4, false));
    let port = spec("pod1,dev=tap,iface=x,spread=true");
    assert_eq!((port.rxq, port.spread), (1, true));
}
