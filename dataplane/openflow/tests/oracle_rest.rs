//! Groups, meters, ports and tables, compared with `ovs-ofctl`.

mod common;

use common::Differences;
use net::{GroupId, MacAddr, MeterId, PortNo, TableId};
use openflow::model::{Band, BandKind, GroupCommand, MeterCommand, PortDesc};
use openflow::msg::{
    BandStats, BucketStats, GroupDesc, GroupStats, MeterConfig, MeterStats, MultipartReply,
    PortStats, ReplyBody, TableStats,
};
use openflow::text::{self, Names};
use openflow::{Message, OfError, Version, wire};

const GROUPS: &[&str] = &[
    "group_id=1,type=all,bucket=output:1,bucket=output:2",
    "group_id=2,type=select,bucket=weight:100,actions=output:1,bucket=weight:7,output:2",
    "group_id=3,type=indirect,bucket=actions=set_field:00:11:22:33:44:55->eth_src,output:2",
    "group_id=4,type=ff,bucket=watch_port:1,output:1,bucket=watch_group:5,actions=group:5",
    "group_id=5,type=select,bucket=actions=push_vlan:0x8100,set_field:4101->vlan_vid,output:1",
    "group_id=6,type=all",
    "group_id=7,type=all,bucket=actions=drop",
    "group_id=8,type=select bucket=weight=3,actions=resubmit(,5) bucket=actions=load:1->reg0[]",
    "group_id=4294967040,type=all,bucket=2,bucket=controller",
];

fn reply(body: ReplyBody) -> Vec<u8> {
    common::encode(&Message::MultipartReply(MultipartReply {
        more: false,
        body,
    }))
}

#[test]
fn groups_mean_and_print_as_in_open_vswitch() {
    if !common::have_oracle() {
        return;
    }
    let (sent, errors) = common::ofctl_sends(&["add-groups"], &GROUPS.join("\n"));
    assert_eq!(sent.len(), GROUPS.len(), "{errors}");
    let mut differences = Differences::default();
    let mut descs = Vec::new();
    for (line, frame) in GROUPS.iter().zip(&sent) {
        let group = text::parse_group(line, GroupCommand::Add, Names::NONE)
            .unwrap_or_else(|e| panic!("{line}: {e}"));
        descs.push(GroupDesc {
            group: group.group,
            kind: group.kind,
            buckets: group.buckets.clone(),
            selection: None,
            properties: Vec::new(),
        });
        let ours: Result<_, OfError> = Ok(Message::GroupMod(group));
        let theirs = format!("{:?}", wire::decode(Version::V1_3, frame));
        differences.compare(line, &format!("{ours:?}"), Some(&theirs));
    }
    let messages: Vec<u8> = descs
        .iter()
        .flat_map(|desc| reply(ReplyBody::GroupDesc(vec![desc.clone()])))
        .collect();
    let heading = "OFPST_GROUP_DESC reply (OF1.3) (xid=0x7):";
    let theirs = common::entries(&common::ofp_parse(&messages), heading);
    for (at, desc) in descs.iter().enumerate() {
        let printed = text::print_group_desc(desc, Names::NONE);
        differences.compare("", &format!(" {printed}"), theirs.get(at));
        let again = text::parse_group(&printed, GroupCommand::Add, Names::NONE).unwrap();
        assert_eq!(again.buckets, desc.buckets, "{printed}");
    }
    differences.none();
}

#[test]
fn meters_mean_and_print_as_in_open_vswitch() {
    if !common::have_oracle() {
        return;
    }
    let mut differences = Differences::default();
    let (mut messages, mut printed) = (Vec::new(), Vec::new());
    for line in [
        "meter=1,kbps,band=type=drop,rate=50000",
        "meter=2,kbps,burst,stats,bands=type=drop,rate=1000,burst_size=500",
        "meter=3,pktps,bands=type=dscp_remark,rate=100,prec_level=1",
        "meter=4 pktps burst stats bands=type=drop rate=9 burst_size=2 type=dscp_remark rate=5 \
         burst_size=1 prec_level=2",
        "meter=controller,pktps,band=type=drop,rate=10",
    ] {
        let meter =
            text::parse_meter(line, MeterCommand::Add).unwrap_or_else(|e| panic!("{line}: {e}"));
        let (sent, errors) = common::ofctl_sends_arguments(&["add-meter"], &[line]);
        assert_eq!(sent.len(), 1, "{line}: {errors}");
        let config = MeterConfig {
            flags: meter.flags,
            meter: meter.meter,
            bands: meter.bands.clone(),
        };
        let ours: Result<_, OfError> = Ok(Message::MeterMod(meter));
        let theirs = format!("{:?}", wire::decode(Version::V1_3, &sent[0]));
        differences.compare(line, &format!("{ours:?}"), Some(&theirs));
        let text = text::print_meter_config(&config);
        let again = text::parse_meter(&text, MeterCommand::Add).unwrap();
        assert_eq!((again.flags, &again.bands), (config.flags, &config.bands));
        messages.extend(reply(ReplyBody::MeterConfig(vec![config])));
        printed.push(text);
    }
    let heading = "OFPST_METER_CONFIG reply (OF1.3) (xid=0x7):";
    let theirs = common::entries(&common::ofp_parse(&messages), heading);
    for (at, ours) in printed.iter().enumerate() {
        differences.compare("", ours.trim_end(), theirs.get(at));
    }
    differences.none();
}

#[test]
fn statistics_print_as_in_open_vswitch() {
    if !common::have_oracle() {
        return;
    }
    let group = GroupStats {
        group: GroupId(9),
        ref_count: 2,
        packet_count: 10,
        byte_count: 640,
        duration_sec: 61,
        duration_nsec: 500_000_000,
        buckets: vec![
            BucketStats {
                packet_count: 4,
                byte_count: 256,
            },
            BucketStats::default(),
        ],
    };
    let meter = MeterStats {
        meter: MeterId(3),
        flow_count: 1,
        packet_in_count: 100,
        byte_in_count: 6400,
        duration_sec: 7,
        duration_nsec: 123_456_789,
        bands: vec![
            BandStats {
                packet_count: 5,
                byte_count: 320
            };
            2
        ],
    };
    let port = |port: PortNo, counted: bool| PortStats {
        port,
        rx_packets: 1,
        tx_packets: 2,
        rx_bytes: 3,
        tx_bytes: 4,
        rx_dropped: 5,
        tx_dropped: 6,
        rx_errors: 7,
        tx_errors: 8,
        rx_frame_err: if counted { 9 } else { u64::MAX },
        rx_over_err: if counted { 10 } else { u64::MAX },
        rx_crc_err: if counted { 11 } else { u64::MAX },
        collisions: if counted { 12 } else { u64::MAX },
        duration_sec: 13,
        duration_nsec: 14_000_000,
        properties: Vec::new(),
    };
    let ports = vec![
        port(PortNo(1), true),
        port(PortNo(1000), false),
        port(PortNo::LOCAL, true),
    ];
    let mut descs = Vec::new();
    for (number, config, state, curr) in [
        (1, 0, 4, 0x0840),
        (2, 1 | 4 | 32, 1, 0),
        (3, 64, 0, 0xffff),
        (0xffff_fffe, 32, 2, 0x2020),
    ] {
        descs.push(PortDesc {
            port: PortNo(number),
            hw_addr: MacAddr([2, 0, 0, 0, 0, 1]),
            name: format!("port{config}"),
            config,
            state,
            curr,
            advertised: curr & 0x2000,
            supported: curr,
            peer: 0,
            curr_speed: 10_000_000,
            max_speed: 0,
            properties: Vec::new(),
        });
    }
    let mut differences = Differences::default();
    for (heading, body, ours) in [
        (
            "OFPST_GROUP reply (OF1.3) (xid=0x7):",
            ReplyBody::Group(vec![group.clone()]),
            format!(" {}", text::print_group_stats(&group)),
        ),
        (
            "OFPST_METER reply (OF1.3) (xid=0x7):",
            ReplyBody::Meter(vec![meter.clone()]),
            text::print_meter_stats(&meter),
        ),
        (
            "OFPST_PORT reply (OF1.3) (xid=0x7): 3 ports",
            ReplyBody::PortStats(ports.clone()),
            ports
                .iter()
                .map(|port| text::print_port_stats(port, Names::NONE))
                .collect(),
        ),
        (
            "OFPST_PORT_DESC reply (OF1.3) (xid=0x7):",
            ReplyBody::PortDesc(descs.clone()),
            descs
                .iter()
                .map(|port| text::print_port_desc(port, Names::NONE))
                .collect(),
        ),
    ] {
        let theirs = common::entries(&common::ofp_parse(&reply(body)), heading);
        differences.compare(heading, ours.trim_end(), theirs.first());
    }
    let table = TableStats {
        table: TableId(4),
        active_count: 5,
        lookup_count: 100,
        matched_count: 60,
    };
    let theirs = common::ofp_parse(&reply(ReplyBody::Table(vec![table])));
    let ours = text::print_table_stats(&table, Names::NONE);
    differences.compare(
        "tables",
        ours.trim_end(),
        Some(
            &theirs
                .lines()
                .skip(1)
                .collect::<Vec<_>>()
                .join("\n")
                .trim_end()
                .to_owned(),
        ),
    );
    differences.none();
}

#[test]
fn bands_keep_their_kind() {
    let text = "meter=4,pktps,bands=type=dscp_remark,rate=5,prec_level=2";
    let meter = text::parse_meter(text, MeterCommand::Add).unwrap();
    let band = Band {
        kind: BandKind::DscpRemark { prec_level: 2 },
        rate: 5,
        burst: 0,
    };
    assert_eq!(meter.bands, [band]);
}
