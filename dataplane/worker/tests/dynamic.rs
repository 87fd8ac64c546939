//! Packets that change tables, and actions that keep state: packets in, packets and flows out.

mod common;

use common::*;
use net::PortNo;
use openflow::model::GroupType;
use openflow::text::{self, Names};
use openflow::{Action, Instructions, Match};
use worker::{Counter, DropReason};

/// An Ethernet frame between hosts; what is in it means nothing.
fn frame(src: u8, dst: u8) -> Vec<u8> {
    udp(src, dst, (1000, 2000), b"x")
}

fn tcp(src: u8, dst: u8, ports: (u16, u16), flags: &str) -> Vec<u8> {
    let builder = etherparse::PacketBuilder::ethernet2(mac(src), mac(dst))
        .ipv4([10, 0, 0, src], [10, 0, 0, dst], 64)
        .tcp(ports.0, ports.1, 1, 1000);
    let builder = match flags {
        "syn" => builder.syn(),
        "fin" => builder.fin().ack(1),
        "rst" => builder.rst(),
        _ => builder.ack(1),
    };
    let mut frame = Vec::new();
    builder.write(&mut frame, b"").unwrap();
    frame
}

/// The learning switch of Open vSwitch's tutorial, with ports 1 to 3.
fn learning_switch() -> Rig {
    let mut rig = Rig::new(3);
    rig.add(
        "table=0,actions=learn(table=1,hard_timeout=10,priority=9,\
         NXM_OF_ETH_DST[]=NXM_OF_ETH_SRC[],load:NXM_OF_IN_PORT[]->NXM_NX_REG0[0..15]),\
         resubmit(,1),resubmit(,2)",
    );
    rig.add("table=1,priority=0,actions=load:0->NXM_NX_REG0[]");
    rig.add("table=2,reg0=0,actions=flood");
    rig.add("table=2,priority=1,actions=output:NXM_NX_REG0[0..15]");
    rig
}

/// Ports that a frame comes out of.
fn goes_to(rig: &mut Rig, port: u32, frame: &[u8]) -> Vec<u32> {
    rig.send(port, frame);
    let ports = rig.all_out().into_iter().map(|(port, _)| port).collect();
    rig.answer_requests();
    ports
}

#[test]
fn a_switch_made_of_learn_floods_until_it_knows_the_address() {
    let mut rig = learning_switch();
    assert_eq!(goes_to(&mut rig, 1, &frame(1, 2)), [2, 3]);
    assert_eq!(goes_to(&mut rig, 2, &frame(2, 1)), [1]);
    assert_eq!(goes_to(&mut rig, 1, &frame(1, 2)), [2]);
    assert_eq!(rig.flows(1).len(), 3);
    assert!(rig.flows(1)[0].contains("load:0x1->NXM_NX_REG0[0..15]"));
}

#[test]
fn an_address_that_moves_is_found_at_its_new_port() {
    let mut rig = learning_switch();
    goes_to(&mut rig, 1, &frame(1, 2));
    goes_to(&mut rig, 2, &frame(2, 1));
    assert_eq!(goes_to(&mut rig, 2, &frame(2, 1)), [1]);
    goes_to(&mut rig, 3, &frame(1, 9));
    assert_eq!(goes_to(&mut rig, 2, &frame(2, 1)), [3]);
    assert_eq!(rig.flows(1).len(), 3);
}

#[test]
fn cached_packets_keep_what_they_taught_alive_and_silence_forgets_it() {
    let mut rig = learning_switch();
    goes_to(&mut rig, 1, &frame(1, 2));
    goes_to(&mut rig, 1, &frame(1, 2));
    let asked = rig.count(Counter::LearnRequests);
    for _ in 0..30 {
        rig.advance(SECOND);
        goes_to(&mut rig, 1, &frame(1, 2));
        assert!(rig.tables.expire(rig.now).is_empty());
    }
    assert!(rig.count(Counter::CacheHits) >= 29);
    // Nobody had to be asked for that.
    assert_eq!(rig.count(Counter::LearnRequests), asked);
    rig.advance(9 * SECOND);
    assert!(rig.tables.expire(rig.now).is_empty());
    rig.advance(SECOND);
    assert_eq!(rig.tables.expire(rig.now).len(), 1);
    rig.tables.publish();
    // The next packet teaches it again.
    goes_to(&mut rig, 1, &frame(1, 2));
    assert_eq!(rig.flows(1).len(), 2);
}

#[test]
fn a_flow_that_was_deleted_is_learned_again_by_the_next_packet() {
    let mut rig = learning_switch();
    goes_to(&mut rig, 1, &frame(1, 2));
    goes_to(&mut rig, 1, &frame(1, 2));
    let learned = Match::any().with(openflow::Field::EthDst, 0x0200_0000_0001_u64);
    rig.delete(1, 9, learned);
    assert_eq!(rig.flows(1).len(), 1);
    goes_to(&mut rig, 1, &frame(1, 2));
    assert_eq!(rig.flows(1).len(), 2);
}

#[test]
fn the_writer_is_not_asked_again_for_each_packet_of_a_burst() {
    let mut rig = learning_switch();
    rig.send(1, &frame(1, 2));
    let frames: Vec<Vec<u8>> = (0..32).map(|_| frame(1, 2)).collect();
    rig.send_burst(1, &frames);
    assert_eq!(rig.answer_requests(), 1);
    assert_eq!(rig.all_out().len(), 2 * 33);
}

#[test]
fn a_queue_of_requests_that_is_full_stops_no_packet() {
    let mut rig = learning_switch();
    let sources = 5000u32;
    for n in 0..sources {
        let mut frame = frame(1, 9);
        frame[8..12].copy_from_slice(&n.to_be_bytes());
        rig.send(1, &frame);
        assert_eq!(rig.all_out().len(), 2);
    }
    let asked = rig.count(Counter::LearnRequests);
    assert_eq!(rig.answer_requests() as u64, asked);
    assert_eq!(asked + rig.count(Counter::LearnOverflows), sources.into());
    assert!(rig.count(Counter::LearnOverflows) > 0);
}

#[test]
fn a_data_connection_announced_by_another_gets_a_pinhole() {
    let mut rig = Rig::new(2);
    // Who speaks to port 21 may be called back from port 20 to whatever port, for a while.
    rig.add(
        "tcp,in_port=1,tp_dst=21,actions=learn(table=0,idle_timeout=30,priority=50,\
         in_port=2,dl_type=0x800,nw_proto=6,NXM_OF_IP_SRC[]=NXM_OF_IP_DST[],\
         NXM_OF_IP_DST[]=NXM_OF_IP_SRC[],tcp_src=20,output:NXM_OF_IN_PORT[]),output:2",
    );
    let call_back = tcp(2, 1, (20, 5555), "syn");
    assert!(goes_to(&mut rig, 2, &call_back).is_empty());
    assert_eq!(goes_to(&mut rig, 1, &tcp(1, 2, (4444, 21), "syn")), [2]);
    assert_eq!(goes_to(&mut rig, 2, &call_back), [1]);
    assert!(goes_to(&mut rig, 2, &tcp(3, 1, (20, 5555), "syn")).is_empty());
    rig.settle();
    assert!(rig.tables.expire(rig.now + 29 * SECOND).is_empty());
    assert_eq!(rig.tables.expire(rig.now + 30 * SECOND).len(), 1);
}

#[test]
fn learn_tells_whether_there_was_room() {
    let mut rig = Rig::new(3);
    rig.add(
        "actions=learn(table=5,limit=2,cookie=7,result_dst=NXM_NX_REG0[0],NXM_OF_ETH_SRC[]),\
         resubmit(,1)",
    );
    rig.add("table=1,reg0=1,actions=output:2");
    rig.add("table=1,reg0=0,actions=output:3");
    assert_eq!(goes_to(&mut rig, 1, &frame(1, 9)), [2]);
    assert_eq!(goes_to(&mut rig, 1, &frame(2, 9)), [2]);
    assert_eq!(goes_to(&mut rig, 1, &frame(3, 9)), [3]);
    assert_eq!(goes_to(&mut rig, 1, &frame(1, 9)), [2]);
    assert_eq!(rig.flows(5).len(), 2);
}

#[test]
fn a_packet_out_can_teach_too() {
    let mut rig = learning_switch();
    let actions = "learn(table=1,NXM_OF_ETH_DST[]=NXM_OF_ETH_SRC[],load:2->NXM_NX_REG0[0..15])";
    let actions = text::parse_actions(actions, &Match::any(), Names::NONE).unwrap();
    rig.packet_out(PortNo::CONTROLLER, actions, &frame(1, 2));
    rig.answer_requests();
    assert_eq!(goes_to(&mut rig, 3, &frame(3, 1)), [2]);
}

#[test]
fn fin_and_rst_shorten_the_flow_that_says_so_also_when_it_is_cached() {
    for last in ["fin", "rst"] {
        let mut rig = Rig::new(2);
        rig.add("tcp,idle_timeout=60,actions=fin_timeout(idle_timeout=5),output:2");
        rig.send(1, &tcp(1, 2, (1, 2), "syn"));
        rig.send(1, &tcp(1, 2, (1, 2), "ack"));
        assert_eq!(rig.answer_requests(), 0);
        rig.send(1, &tcp(1, 2, (1, 2), last));
        assert_eq!((rig.count(Counter::CacheMisses), rig.out(2).len()), (1, 3));
        assert_eq!(rig.answer_requests(), 1);
        // Once is enough.
        rig.send(1, &tcp(1, 2, (1, 2), last));
        assert_eq!(rig.answer_requests(), 0);
        rig.settle();
        assert!(rig.tables.expire(rig.now + 4 * SECOND).is_empty());
        assert_eq!(rig.tables.expire(rig.now + 5 * SECOND).len(), 1);
    }
}

#[test]
fn packets_are_told_apart_by_their_length() {
    let mut rig = Rig::new(3);
    rig.add("actions=check_pkt_larger(100)->NXM_NX_REG0[3],resubmit(,1)");
    rig.add("table=1,reg0=0x8,actions=output:3");
    rig.add("table=1,reg0=0,actions=output:2");
    let sized = |n: usize| udp(1, 2, (1, 2), &vec![0; n - 42]);
    for _ in 0..2 {
        for (len, port) in [(100, 2), (60, 2), (101, 3), (1000, 3)] {
            assert_eq!(goes_to(&mut rig, 1, &sized(len)), [port], "{len} bytes");
        }
    }
    // Packets of one kind stay in the cache.
    let hits = rig.count(Counter::CacheHits);
    rig.send_burst(1, &[sized(101), sized(102), sized(103)]);
    assert_eq!(rig.count(Counter::CacheHits), hits + 3);
}

#[test]
fn a_tag_that_was_pushed_counts_for_the_length() {
    let mut rig = Rig::new(3);
    rig.add("actions=push_vlan:0x8100,check_pkt_larger(100)->NXM_NX_REG0[0],resubmit(,1)");
    rig.add("table=1,reg0=1,actions=output:3");
    rig.add("table=1,reg0=0,actions=output:2");
    let sized = |n: usize| udp(1, 2, (1, 2), &vec![0; n - 42]);
    for (len, port) in [(96, 2), (97, 3), (96, 2)] {
        assert_eq!(goes_to(&mut rig, 1, &sized(len)), [port], "{len} bytes");
    }
}

#[test]
fn of_a_frame_that_will_be_split_the_pieces_count() {
    let mut rig = Rig::new(3);
    rig.add("actions=check_pkt_larger(1000)->NXM_NX_REG0[0],resubmit(,1)");
    rig.add("table=1,reg0=1,actions=output:3");
    rig.add("table=1,reg0=0,actions=output:2");
    // 54 bytes of headers in each of them.
    for (segment, port) in [(946, 2), (947, 3)] {
        let large = large_frame(&rig, &[7; 9000], segment);
        rig.send_packet(1, large);
        let ports: Vec<u32> = rig.all_out().iter().map(|(port, _)| *port).collect();
        assert_eq!(ports, [port; 10]);
    }
}

#[test]
fn what_a_clone_pushes_and_writes_is_gone_afterwards() {
    let mut rig = Rig::new(3);
    rig.add(
        "actions=load:0x11->NXM_NX_REG0[],push:NXM_NX_REG0[],\
         clone(load:0x22->NXM_NX_REG0[],push:NXM_NX_REG0[],pop:NXM_NX_REG1[],pop:NXM_NX_REG2[]),\
         pop:NXM_NX_REG3[],pop:NXM_NX_REG4[],resubmit(,1)",
    );
    rig.add("table=1,reg0=0x11,reg1=0,reg2=0,reg3=0x11,reg4=0,actions=output:2");
    assert_eq!(goes_to(&mut rig, 1, &frame(1, 2)), [2]);
}

#[test]
fn the_action_set_of_a_clone_runs_in_the_clone() {
    let mut rig = Rig::new(3);
    rig.add("actions=clone(resubmit(,1),exit),resubmit(,2)");
    rig.add("table=1,actions=write_actions(mod_dl_dst:02:00:00:00:00:77,output:2)");
    rig.add("table=2,actions=output:3");
    let sent = frame(1, 2);
    rig.send(1, &sent);
    assert_eq!(rig.only(2)[..6], mac(0x77));
    assert_eq!(rig.only(3), sent);
}

#[test]
fn resubmits_to_later_tables_may_be_many_and_those_back_are_limited() {
    let mut rig = Rig::new(2);
    for table in 0..200 {
        let next = format!("table={table},actions=resubmit(,{})", table + 1);
        rig.add(&next);
    }
    rig.add("table=200,actions=output:2");
    // Debug builds need more stack for that than a test's thread has.
    let rig = std::thread::scope(|scope| {
        let deep = std::thread::Builder::new().stack_size(64 << 20);
        let run = deep.spawn_scoped(scope, || {
            rig.send(1, &frame(1, 2));
            assert_eq!(rig.out(2).len(), 1, "{}", rig.why());
            rig.add("table=200,actions=resubmit(,200)");
            rig.send(1, &frame(1, 2));
            rig
        });
        run.unwrap().join().unwrap()
    });
    assert_eq!(rig.dropped(DropReason::TooDeep), 1);
}

#[test]
fn sampled_packets_are_counted_and_go_on() {
    let mut rig = Rig::new(2);
    rig.add("actions=sample(probability=9),output:2");
    for _ in 0..3 {
        assert_eq!(goes_to(&mut rig, 1, &frame(1, 2)), [2]);
    }
    assert_eq!(rig.count(Counter::Sampled), 3);
}

#[test]
fn resubmit_with_ct_looks_up_the_original_direction() {
    let mut rig = Rig::new(2);
    rig.add("priority=5,ip,ct_state=-trk,actions=ct(table=1)");
    rig.add("table=1,ip,ct_state=+trk+new,actions=ct(commit),output:2");
    rig.add("table=1,ip,ct_state=+trk+est,actions=resubmit(,2,ct)");
    // Only the way of the first packet is allowed; answers are looked up as that.
    rig.add("table=2,udp,nw_src=10.0.0.1,nw_dst=10.0.0.2,tp_dst=2000,in_port=2,actions=output:1");
    rig.add("table=2,udp,nw_src=10.0.0.1,nw_dst=10.0.0.2,tp_dst=2000,in_port=1,actions=output:2");
    assert_eq!(goes_to(&mut rig, 1, &frame(1, 2)), [2]);
    let answer = udp(2, 1, (2000, 1000), b"y");
    for _ in 0..2 {
        rig.send(2, &answer);
        assert_eq!(rig.only(1), answer, "{}", rig.why());
        assert_eq!(goes_to(&mut rig, 1, &frame(1, 2)), [2]);
    }
}

#[test]
fn a_note_changes_nothing() {
    let mut rig = Rig::new(2);
    rig.flow(0, 1, any(), vec![Action::Note(vec![1; 6]), output(2)]);
    assert_eq!(goes_to(&mut rig, 1, &frame(1, 2)), [2]);
}

/// Sends a packet that is expected to wait, resumes it, and says where it comes out then.
fn after_pause(rig: &mut Rig, frame: &[u8]) -> Vec<u32> {
    rig.send(1, frame);
    let waits = rig.packet_in().expect("a packet for the controller");
    assert!(waits.rest.is_some() && rig.packet_in().is_none());
    rig.all_out();
    rig.resume(&waits);
    rig.all_out().into_iter().map(|(port, _)| port).collect()
}

#[test]
fn a_paused_packet_goes_on_where_it_stopped() {
    let mut rig = Rig::new(3);
    rig.add(
        "actions=load:7->NXM_NX_REG0[],push:NXM_NX_REG0[],controller(userdata=01.02,pause,max_len=20),\
         pop:NXM_NX_REG1[],resubmit(,2)",
    );
    rig.add("table=2,reg0=7,reg1=7,actions=output:2");
    let frame = frame(1, 2);
    rig.send(1, &frame);
    assert!(rig.all_out().is_empty());
    let waits = rig.packet_in().unwrap();
    assert_eq!((&*waits.userdata, &waits.data), (&[1, 2][..], &frame));
    // The flows that it came from need not be there any more.
    rig.delete(0, 0x8000, any());
    rig.resume(&waits);
    assert_eq!(rig.only(2), frame);
}

#[test]
fn lists_around_a_pause_go_on_from_the_inside_to_the_outside() {
    let mut rig = Rig::new(3);
    rig.add("actions=resubmit(,1),output:3,write_metadata:0x5,goto_table:4");
    rig.add("table=1,actions=resubmit(,2),output:2");
    rig.add("table=2,actions=controller(pause),mod_dl_dst:02:00:00:00:00:55");
    rig.add("table=4,metadata=0x5,actions=in_port");
    assert_eq!(after_pause(&mut rig, &frame(1, 2)), [1, 2, 3]);
}

#[test]
fn the_action_set_waits_too() {
    let mut rig = Rig::new(3);
    rig.rule(0, 9, any(), {
        let mut does = Instructions::apply(vec![]).goto(net::TableId(1));
        does.write = Some(vec![output(3)]);
        does
    });
    rig.add("table=1,actions=controller(pause),output:2");
    assert_eq!(after_pause(&mut rig, &frame(1, 2)), [2, 3]);
}

#[test]
fn a_clone_that_waits_holds_nothing_back() {
    let mut rig = Rig::new(3);
    rig.add("actions=clone(controller(pause),output:2),output:3");
    let sent = frame(1, 2);
    rig.send(1, &sent);
    assert_eq!(rig.only(3), sent);
    let waits = rig.packet_in().unwrap();
    rig.resume(&waits);
    assert_eq!(rig.only(2), sent);
    assert!(rig.all_out().is_empty());
}

/// As in Open vSwitch, the action set goes along with the copy that waits, and stays.
#[test]
fn a_bucket_that_waits_takes_no_action_set_away() {
    let mut rig = Rig::new(3);
    rig.rule(0, 9, any(), {
        let mut does = Instructions::apply(vec![]).goto(net::TableId(1));
        does.write = Some(vec![output(3)]);
        does
    });
    let resubmit = Action::Resubmit {
        port: None,
        table: Some(net::TableId(2)),
        ct: false,
    };
    rig.group(1, GroupType::All, vec![(0, vec![resubmit])]);
    rig.add("table=1,actions=group:1");
    rig.add("table=2,actions=controller(pause),output:2");
    let sent = frame(1, 2);
    rig.send(1, &sent);
    assert_eq!(rig.only(3), sent);
    let waits = rig.packet_in().unwrap();
    rig.resume(&waits);
    let ports: Vec<u32> = rig.all_out().into_iter().map(|(port, _)| port).collect();
    assert_eq!(ports, [2, 3]);
}

#[test]
fn a_packet_can_wait_twice() {
    let mut rig = Rig::new(3);
    rig.add("actions=resubmit(,1),output:3");
    rig.add("table=1,actions=controller(pause),controller(pause,userdata=05),output:2");
    rig.send(1, &frame(1, 2));
    let first = rig.packet_in().unwrap();
    rig.resume(&first);
    assert!(rig.all_out().is_empty());
    let second = rig.packet_in().unwrap();
    assert_eq!(
        (&*second.userdata, second.table),
        (&[5][..], net::TableId(1))
    );
    rig.resume(&second);
    let ports: Vec<u32> = rig.all_out().into_iter().map(|(port, _)| port).collect();
    assert_eq!(ports, [2, 3]);
}

#[test]
fn a_meter_limits_what_a_flow_sends_to_the_controller() {
    let mut rig = Rig::new(2);
    rig.meter(5, 1, 1);
    rig.add("actions=controller(meter_id=5),output:2");
    for _ in 0..20 {
        rig.send(1, &frame(1, 2));
    }
    assert_eq!(rig.out(2).len(), 20);
    let mut told = 0;
    while rig.packet_in().is_some() {
        told += 1;
    }
    assert!((1..20).contains(&told), "{told}");
    assert_eq!(rig.dropped(DropReason::Meter), 20 - told);
}
