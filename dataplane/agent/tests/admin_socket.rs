//! The admin socket.

#[allow(dead_code)] // each test file uses a part of it
mod twin;

use std::io::{BufRead, BufReader, Write};
use std::os::unix::net::UnixStream;
use std::time::{Duration, Instant};

use admin::{Client, Reply, Request};
use twin::{Told, Twin};

fn client(twin: &Twin) -> Client {
    Client::connect(&twin.admin, Duration::from_secs(5)).unwrap()
}

fn add(spec: &str) -> Request {
    Request::PortAdd { spec: spec.into() }
}

#[test]
fn ports_come_and_go_and_adding_twice_is_adding_once() {
    let twin = Twin::start("admin-ports", &[]);
    let mut admin = client(&twin);
    let spec = "web,closed=true,dev=tap,iface=web";
    let Reply::Port {
        port,
        created: true,
    } = admin.call(&add(spec)).unwrap()
    else {
        panic!()
    };
    assert_eq!((port.ofport, port.open, port.config), (1000, false, 36));
    assert_eq!(
        (port.kind.as_str(), port.iface.as_deref()),
        ("tap", Some("web"))
    );
    let Reply::Port { created: false, .. } = admin.call(&add(spec)).unwrap() else {
        panic!()
    };
    let other = admin
        .call(&add("web,dev=tap,iface=other"))
        .unwrap_err()
        .to_string();
    assert!(other.contains("port web: there is one already"), "{other}");
    let taken = admin
        .call(&add("x,ofport=1,dev=mem"))
        .unwrap_err()
        .to_string();
    assert_eq!(
        taken,
        "port x: ofport 1 is taken by port p1; choose another number"
    );
    let broken = admin.call(&add("y,dev=broken")).unwrap_err().to_string();
    assert_eq!(broken, "port y: cannot open broken: it is broken");
    let Reply::Ports(ports) = admin.call(&Request::PortList).unwrap() else {
        panic!()
    };
    let failed: Vec<_> = ports.iter().filter_map(|p| p.error.as_deref()).collect();
    assert_eq!(failed.len(), 2);
    let del = |name: &str| Request::PortDel { name: name.into() };
    assert_eq!(
        admin.call(&del("web")).unwrap(),
        Reply::PortDeleted { existed: true }
    );
    assert_eq!(
        admin.call(&del("web")).unwrap(),
        Reply::PortDeleted { existed: false }
    );
    let told = twin.told();
    assert_eq!(told[2..], [Told::Added(1000, 36), Told::Deleted(1000)]);
}

#[test]
fn waiting_for_a_port_ends_when_it_is_opened_or_the_time_is_over() {
    let twin = Twin::start("admin-wait", &[]);
    let mut admin = client(&twin);
    admin
        .call(&add("web,ofport=9,closed=true,dev=mem"))
        .unwrap();
    let wait = |timeout_ms| Request::PortWaitOpen {
        name: "web".into(),
        timeout_ms,
    };
    let began = Instant::now();
    let Reply::Port { port, .. } = admin.call(&wait(50)).unwrap() else {
        panic!()
    };
    assert!(!port.open && began.elapsed() >= Duration::from_millis(50));
    let unknown = Request::PortWaitOpen {
        name: "nope".into(),
        timeout_ms: 1,
    };
    assert!(
        admin
            .call(&unknown)
            .unwrap_err()
            .to_string()
            .contains("no port nope")
    );
}

#[test]
fn everything_that_can_be_read_is_answered() {
    let twin = Twin::start("admin-read", &[]);
    let mut admin = client(&twin);
    let Reply::Show(show) = admin.call(&Request::Show).unwrap() else {
        panic!()
    };
    assert_eq!(
        (show.dpid, show.name.as_str(), show.tables),
        (0xabc, "node-a", 254)
    );
    assert_eq!(show.ports.len(), 2);
    assert!(show.sessions.iter().any(|s| s.state == "listening"));
    let Reply::Version(version) = admin.call(&Request::Version).unwrap() else {
        panic!()
    };
    assert_eq!(version.openflow, ["1.3", "1.4", "1.5"]);
    assert!(matches!(admin.call(&Request::Groups).unwrap(), Reply::Groups(g) if g.is_empty()));
    assert!(matches!(admin.call(&Request::Meters).unwrap(), Reply::Meters(m) if m.is_empty()));
    assert!(matches!(admin.call(&Request::Tables).unwrap(), Reply::Tables(t) if t.is_empty()));
    assert!(matches!(admin.call(&Request::Drops).unwrap(), Reply::Drops(d) if d.is_empty()));
    assert!(matches!(admin.call(&Request::Cores).unwrap(), Reply::Cores(c) if c.len() == 1));
    assert!(matches!(admin.call(&Request::Cache).unwrap(), Reply::Caches(c) if c.len() == 1));
    let Reply::Neighbors(next) = admin.call(&Request::NeighborList).unwrap() else {
        panic!()
    };
    assert_eq!(
        (next[0].state.as_str(), next[0].port.as_str()),
        ("static", "p1")
    );
    let flush = |filter: &[&str]| Request::CtFlush {
        zone: Some(3),
        filter: filter.iter().map(|f| (*f).to_owned()).collect(),
    };
    assert_eq!(
        admin.call(&flush(&[])).unwrap(),
        Reply::CtFlushed { count: 3 }
    );
    let web = flush(&["ct_nw_dst=10.0.0.1,ct_nw_proto=6,ct_tp_dst=80"]);
    assert_eq!(admin.call(&web).unwrap(), Reply::CtFlushed { count: 3 });
    let flushed = |told: Vec<Told>| match told.last() {
        Some(Told::Flushed(filter)) => *filter,
        other => panic!("{other:?}"),
    };
    let filter = flushed(twin.told());
    assert_eq!((filter.zone, filter.proto), (Some(3), Some(6)));
    assert_eq!(filter.original.dst_port, Some(80));
    let error = admin
        .call(&flush(&["ct_tp_dst=80"]))
        .unwrap_err()
        .to_string();
    assert!(error.contains("needs ct_nw_proto"), "{error}");
    let set = |limits: &[&str]| Request::CtSetLimits {
        limits: limits.iter().map(|limit| (*limit).to_owned()).collect(),
    };
    admin
        .call(&set(&["default=9", "zone=3,limit=5", "zone=4,limit=0"]))
        .unwrap();
    // One that cannot be read, and nothing is done.
    let error = admin
        .call(&set(&["default=1", "zone=3"]))
        .unwrap_err()
        .to_string();
    assert!(error.contains("zone limit 'zone=3'"), "{error}");
    admin
        .call(&Request::CtDelLimits { zones: vec![4, 5] })
        .unwrap();
    let Reply::ZoneLimits(limits) = admin.call(&Request::CtLimits).unwrap() else {
        panic!()
    };
    assert_eq!(limits.default, 9);
    let zones: Vec<_> = limits
        .zones
        .iter()
        .map(|z| (z.zone, z.limit, z.count))
        .collect();
    assert_eq!(zones, [(3, 5, 0)]);
    let Reply::Tracker(tracker) = admin.call(&Request::CtShow).unwrap() else {
        panic!()
    };
    assert_eq!((tracker.connections, tracker.connections_max), (0, 100));
    assert!(tracker.timeouts.contains(&("udp-single".to_owned(), 30)));
    let Reply::Fdb(fdb) = admin.call(&Request::FdbList).unwrap() else {
        panic!()
    };
    let [learnt] = &fdb.entries[..] else {
        panic!("{fdb:?}")
    };
    assert_eq!(
        (learnt.port.as_str(), learnt.vlan, learnt.age),
        ("p1", 10, 7)
    );
    assert_eq!((fdb.capacity, fdb.learned, fdb.evicted), (8192, 5, 2));
    let forget = |port: Option<&str>| Request::FdbFlush {
        port: port.map(str::to_owned),
    };
    let flushed = |count| Reply::FdbFlushed { count };
    assert_eq!(admin.call(&forget(None)).unwrap(), flushed(4));
    assert_eq!(admin.call(&forget(Some("p2"))).unwrap(), flushed(2));
    assert!(admin.call(&forget(Some("p9"))).is_err());
    let set = Request::NeighborSet {
        ip: "172.30.0.9".into(),
        mac: "02:00:00:00:00:09".into(),
    };
    assert_eq!(admin.call(&set).unwrap(), Reply::Done {});
    let bad = Request::NeighborSet {
        ip: "there".into(),
        mac: "02:00:00:00:00:09".into(),
    };
    assert!(
        admin
            .call(&bad)
            .unwrap_err()
            .to_string()
            .contains("'there' is no IP address")
    );
    let del = Request::NeighborDel {
        ip: "172.30.0.9".into(),
    };
    assert!(
        admin
            .call(&del)
            .unwrap_err()
            .to_string()
            .contains("no next hop 172.30.0.9")
    );
}

#[test]
fn flows_groups_and_meters_are_told_with_the_objects_they_come_from() {
    use openflow::model::*;
    use openflow::msg::{CookieLabels, Hello};
    use openflow::{Message, Version, text::Names, text::parse_flow, wire};
    let twin = Twin::start("admin-flows", &[]);
    let mut switch = UnixStream::connect(&twin.openflow).unwrap();
    let flow = |text| parse_flow(text, FlowCommand::Add, Names::NONE).unwrap();
    let meter = "meter=4,kbps,bands=type=drop,rate=1000";
    let group = "group_id=3,type=all,bucket=actions=output:1,bucket=actions=output:2";
    let labels = vec![
        (7, "Pod bank/web-1".to_owned()),
        (8, "Service bank/web".to_owned()),
    ];
    let messages = [
        Message::Hello(Hello::offering(&[Version::V1_3])),
        Message::CookieLabels(CookieLabels { entries: labels }),
        Message::MeterMod(openflow::text::parse_meter(meter, MeterCommand::Add).unwrap()),
        Message::GroupMod(
            openflow::text::parse_group(group, GroupCommand::Add, Names::NONE).unwrap(),
        ),
        Message::FlowMod(flow("cookie=7,in_port=1,actions=meter:4,output:2")),
        Message::FlowMod(flow(
            "cookie=8,table=1,priority=9,tcp,tp_dst=80,actions=group:3",
        )),
        Message::BarrierRequest,
    ];
    let mut bytes = Vec::new();
    for message in &messages {
        wire::encode(Version::V1_3, 1, message, &mut bytes).unwrap();
    }
    switch.write_all(&bytes).unwrap();
    // Hello and barrier reply: everything was done.
    std::io::Read::read_exact(&mut switch, &mut [0; 24]).unwrap();

    let mut admin = client(&twin);
    let mut flows = |filter: Option<&str>| {
        let filter = filter.map(str::to_owned);
        let Reply::Flows(flows) = admin.call(&Request::Flows { filter }).unwrap() else {
            panic!();
        };
        flows
    };
    let all = flows(None);
    let shown: Vec<_> = all
        .iter()
        .map(|f| {
            (
                f.object.as_deref().unwrap(),
                f.matching.as_str(),
                f.actions.as_str(),
            )
        })
        .collect();
    let expected = [
        ("Pod bank/web-1", "in_port=1", "meter:4,output:2"),
        ("Service bank/web", "tcp,tp_dst=80", "group:3"),
    ];
    assert_eq!(shown, expected);
    assert!(
        all[0].text.starts_with("cookie=0x7, duration=0"),
        "{}",
        all[0].text
    );
    assert!(
        all[0]
            .text
            .ends_with("n_bytes=0, in_port=1 actions=meter:4,output:2")
    );
    assert_eq!(flows(Some("in_port=p1")).len(), 1);
    assert_eq!(flows(Some("table=1,tcp")).len(), 1);
    assert_eq!(flows(Some("cookie=8/-1")).len(), 1);
    let filter = Some("colour=red".to_owned());
    let error = admin
        .call(&Request::Flows { filter })
        .unwrap_err()
        .to_string();
    assert!(error.contains("filter 'colour=red'"), "{error}");

    let Reply::Groups(groups) = admin.call(&Request::Groups).unwrap() else {
        panic!();
    };
    assert_eq!(groups[0].object.as_deref(), Some("Service bank/web"));
    assert_eq!(groups[0].text, group);
    let Reply::Meters(meters) = admin.call(&Request::Meters).unwrap() else {
        panic!();
    };
    assert_eq!(meters[0].object.as_deref(), Some("Pod bank/web-1"));
    assert_eq!(meters[0].text, "meter=4 kbps bands=\ntype=drop rate=1000");
    let Reply::Tables(tables) = admin.call(&Request::Tables).unwrap() else {
        panic!();
    };
    assert_eq!(
        tables.iter().map(|t| (t.id, t.active)).collect::<Vec<_>>(),
        [(0, 1), (1, 1)]
    );
}

#[test]
fn nonsense_is_answered_and_the_connection_stays_unless_it_never_ends() {
    let twin = Twin::start("admin-nonsense", &[]);
    let mut stream = UnixStream::connect(&twin.admin).unwrap();
    let mut lines = BufReader::new(stream.try_clone().unwrap());
    let mut line = String::new();
    stream
        .write_all(b"dance\n{\"request\":\"version\"}\n")
        .unwrap();
    lines.read_line(&mut line).unwrap();
    assert!(line.starts_with("{\"error\":"), "{line}");
    line.clear();
    lines.read_line(&mut line).unwrap();
    assert!(line.starts_with("{\"version\":"), "{line}");
    stream
        .write_all(&vec![b'x'; admin::MAX_REQUEST + 10])
        .unwrap();
    line.clear();
    lines.read_line(&mut line).unwrap();
    assert!(line.contains("at most 65536 bytes"), "{line}");
    line.clear();
    assert!(lines.read_line(&mut line).map_or(true, |n| n == 0));
}

#[test]
fn a_port_is_moved_to_the_core_that_is_asked_for() {
    let twin = Twin::start("admin-move", &[]);
    let mut admin = client(&twin);
    let to = |name: &str, cpu| Request::PortMove {
        name: name.into(),
        cpu,
        rxq: 2,
    };
    assert_eq!(admin.call(&to("p1", 3)).unwrap(), Reply::Done {});
    let told = twin
        .told
        .try_iter()
        .find(|told| matches!(told, Told::Moved(..)));
    assert_eq!(told, Some(Told::Moved(1, 2, 3)));
    let refused = admin.call(&to("nowhere", 3)).unwrap_err().to_string();
    assert!(refused.contains("there is no port nowhere"), "{refused}");
}

#[test]
fn a_port_gets_other_rates_and_queues_while_it_runs() {
    let twin = Twin::start("shape", &[]);
    let mut admin = client(&twin);
    let add = "q,ofport=8,queues=3,dev=mem".to_owned();
    admin.call(&Request::PortAdd { spec: add }).unwrap();
    let mut shape = |name: &str, shaping: &str| {
        admin.call(&Request::PortShape {
            name: name.into(),
            shaping: shaping.into(),
        })
    };
    let done = shape("q", "rate=1g,queues=0+5:min=2m/max=100m/prio=1/weight=3");
    assert_eq!(done.unwrap(), Reply::Done {});
    for (name, shaping, why) in [
        ("nobody", "none", "no port nobody"),
        ("q", "rate=fast", "rate 'fast' is not a rate"),
        ("q", "vlan=1", "'vlan=1' is not rate="),
        ("q", "queues=1:min=1m", "give rate= too"),
    ] {
        let error = shape(name, shaping).unwrap_err().to_string();
        assert!(error.contains(why), "{error}");
    }
    let port = Some("q".to_owned());
    let Reply::Queues(queues) = admin.call(&Request::Queues { port }).unwrap() else {
        panic!("another reply");
    };
    let [zero, five] = &queues[..] else {
        panic!("{queues:?}");
    };
    assert_eq!((zero.id, zero.max_rate), (0, None));
    let rates = (five.min_rate, five.max_rate);
    assert_eq!(rates, (Some(2_000_000), Some(100_000_000)));
    assert_eq!((five.priority, five.weight, five.dropped), (1, 3, 5));
    let port = Some("nobody".to_owned());
    assert!(admin.call(&Request::Queues { port }).is_err());
}
