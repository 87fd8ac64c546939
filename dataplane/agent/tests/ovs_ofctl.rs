//! The agent as `ovs-ofctl` sees it. Skipped, and says so, where Open vSwitch's tools are missing.

#[allow(dead_code)] // each test file uses a part of it
mod twin;

use std::process::{Command, Output, Stdio};

use twin::{Told, Twin};

#[allow(clippy::print_stderr)] // where the person who runs the tests looks
fn has_ofctl() -> bool {
    let found = Command::new("ovs-ofctl").arg("--version").output().is_ok();
    if !found {
        eprintln!("skipped: ovs-ofctl is not installed (package openvswitch-common)");
    }
    found
}

/// Runs `verb ARGUMENTS`, the target in between; `-` stands for a file with the text of `input`.
fn run(twin: &Twin, words: &[&str], input: &str) -> Output {
    let file = twin.openflow.with_extension("txt");
    std::fs::write(&file, input).unwrap();
    let at = words.iter().position(|w| !w.starts_with("--")).unwrap();
    let mut words: Vec<String> = words.iter().map(|w| (*w).to_owned()).collect();
    if let Some(word) = words.iter_mut().find(|w| *w == "-") {
        *word = file.display().to_string();
    }
    words.insert(at + 1, format!("unix:{}", twin.openflow.display()));
    Command::new("timeout")
        .args(["20", "ovs-ofctl", "-O", "OpenFlow13"])
        .args(words)
        .output()
        .unwrap()
}

/// Output of a command that must succeed.
fn with_input(twin: &Twin, words: &[&str], input: &str) -> String {
    let output = run(twin, words, input);
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(
        output.status.success() && said.is_empty(),
        "{words:?}: {said}"
    );
    String::from_utf8(output.stdout).unwrap()
}

fn ofctl(twin: &Twin, words: &[&str]) -> String {
    with_input(twin, words, "")
}

/// Asserts that a command is answered with an error.
fn refused(twin: &Twin, words: &[&str], error: &str) {
    let output = run(twin, words, "");
    let said = [output.stdout, output.stderr].concat();
    let said = String::from_utf8_lossy(&said);
    assert!(
        said.contains(error),
        "{words:?} should give {error}: {said}"
    );
}

/// Flows as `dump-flows` shows them, without what differs from run to run.
fn flows(twin: &Twin) -> Vec<String> {
    let dump = ofctl(twin, &["--no-stats", "dump-flows"]);
    dump.lines().map(|line| line.trim().to_owned()).collect()
}

#[test]
fn the_switch_describes_itself() {
    if !has_ofctl() {
        return;
    }
    let twin = Twin::start("describes", &[]);
    let show = ofctl(&twin, &["show"]);
    for part in [
        "dpid:0000000000000abc",
        "n_tables:254",
        "1(p1): addr:",
        "2(p2): addr:",
        "state:      LIVE",
        "frags=normal",
    ] {
        assert!(show.contains(part), "{part}: {show}");
    }
    let desc = ofctl(&twin, &["dump-desc"]);
    assert!(desc.contains("DP Description: node-a"), "{desc}");
    let tables = ofctl(&twin, &["dump-tables"]);
    assert!(tables.contains("tables 1...253: ditto"), "{tables}");
    let features = ofctl(&twin, &["dump-table-features"]);
    assert!(features.contains("tables 1...253: ditto"), "{features}");
    assert!(features.contains("next tables: 1-253"), "{features}");
    let ports = ofctl(&twin, &["dump-ports"]);
    assert!(ports.contains("2 ports"), "{ports}");
    let one = ofctl(&twin, &["dump-ports", "2"]);
    assert!(one.contains("port  2") && !one.contains("port  1"), "{one}");
    refused(&twin, &["dump-ports", "77"], "OFPBRC_BAD_PORT");
    ofctl(&twin, &["dump-ports-desc"]);
    assert_eq!(ofctl(&twin, &["get-frags"]).trim(), "normal");
    ofctl(&twin, &["probe"]);
    assert!(ofctl(&twin, &["queue-stats"]).contains("0 queues"));
}

#[test]
fn flows_are_added_changed_compared_and_deleted() {
    if !has_ofctl() {
        return;
    }
    let twin = Twin::start("flows", &[]);
    let file = "table=1,priority=10,tcp,tp_dst=80 actions=output:2\n\
                table=1,priority=10,udp,tp_dst=53 actions=drop\n\
                table=2,cookie=0x77,arp,arp_op=1 actions=CONTROLLER:65535\n\
                table=0,priority=100,ip,nw_dst=10.0.0.0/24 actions=output:1,goto_table:3\n";
    with_input(&twin, &["add-flows", "-"], file);
    let four = [
        "priority=100,ip,nw_dst=10.0.0.0/24 actions=output:1,goto_table:3",
        "table=1, priority=10,tcp,tp_dst=80 actions=output:2",
        "table=1, priority=10,udp,tp_dst=53 actions=drop",
        "cookie=0x77, table=2, arp,arp_op=1 actions=CONTROLLER:65535",
    ];
    let same = |have: Vec<String>, want: &[&str]| {
        let (mut have, mut want) = (have, want.to_vec());
        have.sort();
        want.sort_unstable();
        assert_eq!(have, want);
    };
    same(flows(&twin), &four);
    let aggregate = ofctl(&twin, &["dump-aggregate", "table=1"]);
    assert!(aggregate.contains("flow_count=2"), "{aggregate}");
    ofctl(&twin, &["mod-flows", "table=1,tcp actions=output:1"]);
    assert!(flows(&twin).contains(&"table=1, priority=10,tcp,tp_dst=80 actions=output:1".into()));
    ofctl(
        &twin,
        &["--strict", "del-flows", "table=1,priority=10,tcp,tp_dst=80"],
    );
    ofctl(&twin, &["del-flows", "cookie=0x77/-1"]);
    assert_eq!(flows(&twin).len(), 2);

    // Exit status 2: they differ.
    assert_eq!(
        run(&twin, &["diff-flows", "-"], file).status.code(),
        Some(2)
    );
    with_input(&twin, &["replace-flows", "-"], file);
    assert_eq!(with_input(&twin, &["diff-flows", "-"], file), "");
    same(flows(&twin), &four);
    with_input(
        &twin,
        &["--bundle", "replace-flows", "-"],
        "actions=FLOOD\n",
    );
    same(flows(&twin), &["actions=FLOOD"]);
    for (flow, error) in [
        ("actions=TABLE", "OFPBAC_BAD_OUT_PORT"),
        ("dp_hash=1,actions=drop", "OFPBMC_BAD_FIELD"),
    ] {
        refused(&twin, &["add-flow", flow], error);
    }
    refused(
        &twin,
        &["add-flow", "actions=group:9"],
        "OFPBAC_BAD_OUT_GROUP",
    );
    refused(
        &twin,
        &["add-flow", "actions=meter:9,output:1"],
        "OFPMMFC_INVALID_METER",
    );
    ofctl(&twin, &["del-flows"]);
    assert!(flows(&twin).is_empty());
}

#[test]
fn bundles_are_all_or_nothing() {
    if !has_ofctl() {
        return;
    }
    let twin = Twin::start("bundles", &[]);
    let good = "flow add table=7,priority=1,actions=drop\n\
                group add group_id=4,type=all,bucket=actions=output:1\n\
                flow add table=7,priority=2,actions=group:4\n";
    with_input(&twin, &["bundle", "-"], good);
    assert_eq!(flows(&twin).len(), 2);
    let bad = "flow delete\nflow add table=8,actions=group:44\n";
    let output = run(&twin, &["bundle", "-"], bad);
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(
        said.contains("OFPBAC_BAD_OUT_GROUP") && said.contains("OFPBFC_MSG_FAILED"),
        "{said}"
    );
    assert_eq!(flows(&twin).len(), 2, "nothing was deleted");
}

#[test]
fn groups_and_meters_are_managed() {
    if !has_ofctl() {
        return;
    }
    let twin = Twin::start("groups", &[]);
    let select =
        "group_id=1,type=select,bucket=weight:1,actions=output:1,bucket=weight:2,actions=output:2";
    ofctl(&twin, &["add-group", select]);
    ofctl(
        &twin,
        &[
            "add-group",
            "group_id=2,type=all,bucket=actions=group:1,bucket=actions=output:2",
        ],
    );
    refused(&twin, &["add-group", select], "OFPGMFC_GROUP_EXISTS");
    refused(
        &twin,
        &["mod-group", "group_id=2,type=all,bucket=actions=group:2"],
        "OFPGMFC_LOOP",
    );
    refused(
        &twin,
        &["del-groups", "group_id=1"],
        "OFPGMFC_CHAINED_GROUP",
    );
    ofctl(
        &twin,
        &[
            "mod-group",
            "group_id=2,type=indirect,bucket=actions=output:1",
        ],
    );
    let dump = ofctl(&twin, &["dump-groups"]);
    assert!(
        dump.contains("group_id=2,type=indirect,bucket=actions=output:1"),
        "{dump}"
    );
    assert!(dump.contains("bucket=weight:2,actions=output:2"), "{dump}");
    let stats = ofctl(&twin, &["dump-group-stats"]);
    assert!(
        stats.contains("ref_count=0") && stats.contains("bucket1:packet_count=0"),
        "{stats}"
    );
    assert!(ofctl(&twin, &["dump-group-features"]).contains("fast failover group"));
    ofctl(&twin, &["add-flow", "actions=group:1"]);
    ofctl(&twin, &["del-groups"]);
    assert!(flows(&twin).is_empty(), "flows go with their group");

    ofctl(
        &twin,
        &[
            "add-meter",
            "meter=1,kbps,burst,stats,bands=type=drop,rate=1000,burst_size=100",
        ],
    );
    let dump = ofctl(&twin, &["dump-meters"]);
    assert!(
        dump.contains("meter=1 kbps burst stats bands=\ntype=drop rate=1000 burst_size=100"),
        "{dump}"
    );
    ofctl(
        &twin,
        &[
            "mod-meter",
            "meter=1,pktps,bands=type=dscp_remark,prec_level=1,rate=9",
        ],
    );
    assert!(ofctl(&twin, &["dump-meters"]).contains("type=dscp_remark rate=9 prec_level=1"));
    ofctl(&twin, &["add-flow", "ip actions=meter:1,output:1"]);
    assert!(ofctl(&twin, &["meter-stats"]).contains("flow_count:1"));
    assert!(ofctl(&twin, &["meter-features"]).contains("band_types: drop dscp_remark"));
    ofctl(&twin, &["del-meters"]);
    assert!(flows(&twin).is_empty(), "flows go with their meter");
}

#[test]
fn ports_are_opened_and_closed() {
    if !has_ofctl() {
        return;
    }
    let twin = Twin::start("ports", &[]);
    assert_eq!(twin.told(), [Told::Added(1, 0), Told::Added(2, 0)]);
    ofctl(&twin, &["mod-port", "p1", "no-receive"]);
    ofctl(&twin, &["mod-port", "p1", "no-forward"]);
    assert!(ofctl(&twin, &["show"]).contains("config:     NO_RECV NO_FWD"));
    ofctl(&twin, &["mod-port", "p1", "receive"]);
    ofctl(&twin, &["mod-port", "p1", "down"]);
    assert!(ofctl(&twin, &["show"]).contains("state:      LINK_DOWN"));
    let told = [
        Told::Set(1, 4),
        Told::Set(1, 36),
        Told::Set(1, 32),
        Told::Set(1, 33),
    ];
    // The device's link goes with PORT_DOWN, which may be told once more.
    let mut heard = twin.told();
    heard.dedup();
    assert_eq!(heard, told);
}

#[test]
fn packets_go_out_and_come_in() {
    if !has_ofctl() {
        return;
    }
    let twin = Twin::start("packets", &[]);
    drop(twin.told());
    let frame = "50540000000a50540000000b0806aabb";
    let packet = format!("in_port=controller packet={frame} actions=output:1");
    ofctl(&twin, &["packet-out", &packet]);
    match &twin.told()[..] {
        [Told::PacketOut(out)] => {
            assert_eq!(out.in_port, net::PortNo::CONTROLLER);
            assert_eq!(out.data[..6], [0x50, 0x54, 0, 0, 0, 0x0a]);
        }
        other => panic!("{other:?}"),
    }

    let mut monitor = Command::new("timeout")
        .args(["20", "ovs-ofctl", "-O", "OpenFlow13", "monitor"])
        .arg(format!("unix:{}", twin.openflow.display()))
        .arg("65534")
        .stderr(Stdio::piped())
        .stdout(Stdio::null())
        .spawn()
        .unwrap();
    // The monitor is ready some time after it connected; until then packets go nowhere.
    let stderr = monitor.stderr.take().unwrap();
    let reader = std::thread::spawn(move || {
        use std::io::{BufRead, BufReader};
        let lines = BufReader::new(stderr).lines().map_while(Result::ok);
        lines.take_while(|line| !line.contains("in_port=2")).last();
    });
    let key = net::FlowKey {
        in_port: 2.into(),
        ..net::FlowKey::default()
    };
    let until = std::time::Instant::now() + std::time::Duration::from_secs(10);
    while !reader.is_finished() && std::time::Instant::now() < until {
        twin.packet_in(worker::PacketIn {
            reason: 1,
            table: net::TableId(0),
            cookie: 0x99,
            total_len: 60,
            data: vec![0; 60],
            key,
            controller_id: 0,
            userdata: std::sync::Arc::from([]),
            rest: None,
        });
        std::thread::sleep(std::time::Duration::from_millis(20));
    }
    assert!(reader.is_finished(), "the packet did not reach the monitor");
    monitor.kill().unwrap();
    monitor.wait().unwrap();
    reader.join().unwrap();
}

#[test]
fn ten_thousand_flows_come_back_as_they_went() {
    if !has_ofctl() {
        return;
    }
    let twin = Twin::start("many", &[]);
    let file: String = (0..10_000u32)
        .map(|n| {
            let [_, a, b, c] = n.to_be_bytes();
            format!(
                "table={},ip,nw_dst=10.{a}.{b}.{c} actions=output:{}\n",
                n % 7,
                n % 9 + 1
            )
        })
        .collect();
    with_input(&twin, &["add-flows", "-"], &file);
    assert_eq!(flows(&twin).len(), 10_000);
    assert_eq!(with_input(&twin, &["diff-flows", "-"], &file), "");
}

#[test]
fn queues_are_told_with_their_counts_and_unknown_ones_refused() {
    if !has_ofctl() {
        return;
    }
    let twin = Twin::start("queues", &[]);
    let mut admin = {
        let patience = std::time::Duration::from_secs(5);
        admin::Client::connect(&twin.admin, patience).unwrap()
    };
    let spec = "p7,ofport=7,rate=1g,queues=0+5:min=100m/max=253400k+6,dev=mem".to_owned();
    admin.call(&admin::Request::PortAdd { spec }).unwrap();
    let stats = ofctl(&twin, &["queue-stats"]);
    for part in [
        "3 queues",
        "port 7 queue 0: bytes=60, pkts=1, errors=0",
        "port 7 queue 6: bytes=420, pkts=7, errors=6",
    ] {
        assert!(stats.contains(part), "{part}: {stats}");
    }
    let one = ofctl(&twin, &["queue-stats", "7", "5"]);
    assert!(one.contains("1 queues") && one.contains("queue 5"), "{one}");
    refused(&twin, &["queue-stats", "7", "9"], "OFPQOFC_BAD_QUEUE");
    refused(&twin, &["queue-stats", "8"], "OFPQOFC_BAD_PORT");
    let config = ofctl(&twin, &["queue-get-config", "7"]);
    // Parts of the port's rate, because a port in memory has no speed.
    let rates = "queue 5: min_rate:10.0% max_rate:25.3%";
    for queue in ["queue 0:", rates, "queue 6:"] {
        assert!(config.contains(queue), "{config}");
    }
    refused(&twin, &["queue-get-config", "8"], "OFPQOFC_BAD_PORT");
}

#[test]
fn tunnel_options_become_fields_and_stop_being_ones() {
    if !has_ofctl() {
        return;
    }
    let twin = Twin::start("options", &[]);
    let dump = || ofctl(&twin, &["dump-tlv-map"]);
    assert!(
        dump().contains("max option space=64 max fields=8"),
        "{}",
        dump()
    );
    let unmapped = "NXFMFC_INVALID_TLV_FIELD";
    refused(&twin, &["add-flow", "tun_metadata0=1,actions=2"], unmapped);
    let load = "actions=set_field:1->tun_metadata3,2";
    refused(&twin, &["add-flow", load], unmapped);
    let ovn = "{class=0x102,type=0x80,len=4}->tun_metadata0";
    let wide = "{class=0xffff,type=1,len=8}->tun_metadata3";
    ofctl(&twin, &["add-tlv-map", &format!("{ovn},{wide}")]);
    for line in [
        "0x102\t0x80\t4\ttun_metadata0",
        "0xffff\t0x1\t8\ttun_metadata3",
    ] {
        let words = |text: &str| text.split_whitespace().collect::<Vec<_>>().join(" ");
        assert!(words(&dump()).contains(&words(line)), "{}", dump());
    }
    for (map, error) in [
        (
            "{class=9,type=9,len=4}->tun_metadata0",
            "NXTTMFC_ALREADY_MAPPED",
        ),
        (
            "{class=0x102,type=0x80,len=4}->tun_metadata1",
            "NXTTMFC_DUP_ENTRY",
        ),
        (
            "{class=9,type=9,len=12}->tun_metadata1",
            "NXTTMFC_TABLE_FULL",
        ),
        (
            "{class=9,type=9,len=4}->tun_metadata8",
            "NXTTMFC_BAD_FIELD_IDX",
        ),
    ] {
        refused(&twin, &["add-tlv-map", map], error);
    }
    let matching = "tun_metadata0=0x1204/0xff0f,in_port=1 actions=output:2";
    let moving = "in_port=2 actions=move:NXM_NX_REG14[0..15]->NXM_NX_TUN_METADATA0[16..31],\
                  set_field:0x112233445566->tun_metadata3,output:1";
    // Twice: the second one is not decoded any more.
    for flow in [matching, moving, moving] {
        ofctl(&twin, &["add-flow", flow]);
    }
    let shown = flows(&twin);
    assert!(shown.contains(&matching.to_owned()), "{shown:?}");
    assert!(shown.contains(&moving.to_owned()), "{shown:?}");
    let in_use = "NXTTMFC_INVALID_TLV_DEL";
    refused(&twin, &["del-tlv-map", wide], in_use);
    refused(&twin, &["del-tlv-map"], in_use);
    ofctl(&twin, &["del-flows", "in_port=2"]);
    ofctl(&twin, &["del-tlv-map", wide]);
    refused(&twin, &["add-flow", moving], unmapped);
    ofctl(&twin, &["del-flows"]);
    ofctl(&twin, &["del-tlv-map"]);
    refused(&twin, &["add-flow", "tun_metadata0=1,actions=2"], unmapped);
}

#[test]
fn every_header_action_is_taken_and_shown_as_it_was_sent() {
    if !has_ofctl() {
        return;
    }
    let twin = Twin::start("headers", &[]);
    let all = [
        "ip actions=push_mpls:0x8847,set_field:77->mpls_label,set_field:5->mpls_tc,set_field:9->mpls_ttl,output:2",
        "mpls,mpls_label=16,mpls_bos=1 actions=dec_mpls_ttl,pop_mpls:0x0800,output:2",
        "mpls,in_port=1 actions=encap(mpls),encap(ethernet),output:2",
        "mpls,in_port=2 actions=decap(),decap(packet_type(ns=0,type=0)),output:1",
        "ipv6,ipv6_label=0x00005 actions=set_field:0x3->ipv6_label,output:2",
    ];
    for flow in all {
        ofctl(&twin, &["add-flow", flow]);
    }
    let shown = flows(&twin);
    for flow in all {
        assert!(shown.contains(&flow.to_owned()), "{flow}: {shown:?}");
    }
    let nsh = "actions=encap(nsh(md_type=1)),output:2";
    refused(&twin, &["add-flow", nsh], "NXBAC_BAD_HEADER_TYPE");
}

#[test]
fn connections_are_flushed_by_tuple() {
    if !has_ofctl() {
        return;
    }
    let twin = Twin::start("ct-flush", &[]);
    drop(twin.told());
    let tuple = "ct_nw_src=10.0.0.1,ct_nw_dst=10.0.0.2,ct_nw_proto=17,ct_tp_src=1";
    ofctl(&twin, &["ct-flush", "zone=5", tuple, "ct_tp_dst=7"]);
    let told = twin.told();
    let [twin::Told::Flushed(filter)] = &told[..] else {
        panic!("{told:?}")
    };
    assert_eq!((filter.zone, filter.proto), (Some(5), Some(17)));
    assert_eq!(filter.original.src, "10.0.0.1".parse().ok());
    assert_eq!(filter.original.dst, "10.0.0.2".parse().ok());
    assert_eq!(filter.original.src_port, Some(1));
    assert_eq!(filter.original.dst_port, None);
    assert_eq!(filter.reply.dst_port, Some(7));
}
