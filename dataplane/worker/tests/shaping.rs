//! Ports with rates and queues, on real workers: how much leaves when, who goes first, and what
//! becomes of what waits when the port changes.

mod common;
#[path = "shaping/impaired.rs"]
mod impaired;

use std::sync::Arc;

use common::{MILLISECOND, Rig, SECOND, any, in_port, large_frame, output, udp};
use net::PortNo;
use openflow::Action;
use packet::Packet;
use ports::TunnelKind;
use worker::{Config, DropReason, PortOptions, Queue};

/// A worker with port 1, and port 2 of that rate and these queues.
fn rig(shaping: &str) -> Rig {
    rig_with(shaping, Config::default())
}

fn rig_with(shaping: &str, config: Config) -> Rig {
    let mut rig = Rig::with(1, config);
    let shaping = shaping.parse().unwrap();
    let options = PortOptions {
        shaping,
        ..PortOptions::default()
    };
    rig.port_with(2, &options);
    rig
}

/// A UDP packet of queue `n`, by its source port, of so many bytes.
fn of_queue(rig: &mut Rig, n: u16, bytes: usize) -> Vec<u8> {
    let frame = udp(1, 2, (n, 9), &vec![0; bytes - 42]);
    assert_eq!(frame.len(), bytes);
    rig.add(&format!(
        "priority=2,udp,in_port=1,tp_src={n},actions=set_queue:{n},output:2"
    ));
    frame
}

fn queue(rig: &Rig, id: u32) -> Arc<Queue> {
    let ports = rig.workers.shared().ports();
    let queues = &ports.get(PortNo(2)).unwrap().queues;
    queues.iter().find(|q| q.spec.id == id).unwrap().clone()
}

/// Bits that left, with the time in which the last of them did.
fn drain(rig: &mut Rig) -> (u64, u64) {
    let (start, mut bits) = (rig.now, 0);
    loop {
        let sent = rig.out_packets(2);
        bits += sent.iter().map(|p| p.len() as u64 * 8).sum::<u64>();
        match rig.worker.due() {
            None => return (bits, rig.now - start),
            Some(due) => {
                assert!(due > rig.now, "what may go has gone");
                rig.now = due;
                rig.poll();
            }
        }
    }
}

#[test]
fn a_port_sends_its_burst_at_once_and_then_at_its_rate() {
    // 10,000 bytes, then a packet of 1,000 bytes each millisecond.
    let mut rig = rig("rate=8m,burst=10k");
    rig.flow(0, 1, in_port(1), vec![output(2)]);
    let frame = udp(1, 2, (1, 9), &[0; 958]);
    rig.send_burst(1, &vec![frame; 64]);
    assert_eq!(rig.out(2).len(), 10);
    // A bucket that is not quite empty lets a whole packet through, which is paid for later.
    rig.advance(1);
    assert_eq!(rig.out(2).len(), 1);
    rig.advance(MILLISECOND - 1000);
    assert_eq!(rig.out(2).len(), 0);
    rig.advance(2000);
    assert_eq!(rig.out(2).len(), 1);
    let (bits, nanoseconds) = drain(&mut rig);
    assert_eq!(bits, 52 * 8000);
    assert!(nanoseconds.abs_diff(52 * MILLISECOND) < 3 * MILLISECOND);
    assert_eq!(rig.why(), "");
    assert_eq!(rig.pool.in_use(), 0);
}

#[test]
fn a_busy_port_keeps_its_rate_over_ten_seconds() {
    let mut rig = rig("queues=0+1:max=20m/burst=3000");
    let frame = of_queue(&mut rig, 1, 1250);
    let mut bits = 0;
    // 32 packets every 10 ms are 32 Mbit/s.
    for round in 0..1100u64 {
        rig.send_burst(1, &vec![frame.clone(); 32]);
        let end = rig.now + 10 * MILLISECOND;
        while let Some(due) = rig.worker.due().filter(|due| *due < end) {
            rig.now = due;
            rig.poll();
        }
        rig.now = end;
        let sent: usize = rig.out(2).iter().map(Vec::len).sum();
        if round >= 100 {
            bits += sent as u64 * 8;
        }
    }
    assert!(bits.abs_diff(200_000_000) <= 1_000_000, "{bits}");
    let dropped = rig.dropped(DropReason::QueueFull);
    assert!(dropped > 0 && queue(&rig, 1).dropped() == dropped);
}

#[test]
fn urgent_packets_overtake_and_each_queue_stays_in_order() {
    let mut rig = rig("rate=8m,burst=100,queues=0:prio=2+1:prio=1+2:prio=0");
    let frames: Vec<Vec<u8>> = (0..3).map(|n| of_queue(&mut rig, n, 1000)).collect();
    rig.send_burst(
        1,
        &[0, 1, 2, 0, 1, 2, 0, 1, 2].map(|n: usize| frames[n].clone()),
    );
    let mut order = rig.out(2);
    while let Some(due) = rig.worker.due() {
        rig.now = due;
        rig.poll();
        order.extend(rig.out(2));
    }
    let ports: Vec<u8> = order.iter().map(|frame| frame[35]).collect();
    assert_eq!(ports, [2, 2, 2, 1, 1, 1, 0, 0, 0]);
    for id in 0..3 {
        assert_eq!(queue(&rig, id).sent(), (3, 3000), "queue {id}");
    }
}

#[test]
fn a_large_frame_counts_as_its_segments() {
    let mut rig = rig("rate=8m,burst=100");
    rig.flow(0, 1, in_port(1), vec![output(2)]);
    let packet = large_frame(&rig, &[7; 9000], 1000);
    rig.send_packet(1, packet);
    let after = udp(1, 2, (1, 9), &[0; 958]);
    rig.send(1, &after);
    // Nine times 1,054 bytes, less the burst.
    let (_, nanoseconds) = drain(&mut rig);
    let expected = (9 * 1054 - 100) * 1000;
    assert!(nanoseconds.abs_diff(expected) <= 1000, "{nanoseconds}");
}

#[test]
fn a_meter_counts_the_packets_and_the_bytes_of_a_large_frame() {
    let mut rig = Rig::new(2);
    rig.meter(1, 1000, 1000);
    rig.flow(
        0,
        1,
        in_port(1),
        vec![Action::Meter(net::MeterId(1)), output(2)],
    );
    let packet = large_frame(&rig, &[7; 9000], 1000);
    rig.send_packet(1, packet);
    let pipeline = rig.tables.published().load();
    let input = pipeline.meter(net::MeterId(1)).unwrap().input();
    assert_eq!((input.packets, input.bytes), (9, 9 * 1000 + 54));
}

#[test]
fn what_waits_is_bounded_by_packets_by_time_and_by_the_workers_memory() {
    let config = Config {
        queue_buffers: (300, 1),
        ..Config::default()
    };
    let mut rig = rig_with("rate=8m,burst=100,queues=0+1:limit=10+2:prio=7", config);
    let one = of_queue(&mut rig, 1, 1000);
    rig.send_burst(1, &vec![one; 30]);
    // One has left.
    assert_eq!(queue(&rig, 1).dropped(), 19);
    assert_eq!(rig.dropped(DropReason::QueueFull), 19);
    let two = of_queue(&mut rig, 2, 60);
    for _ in 0..10 {
        rig.send_burst(1, &vec![two.clone(); 32]);
    }
    assert_eq!(queue(&rig, 2).dropped(), 320 - 290);
    rig.out(2);
    // Everything is too old now.
    rig.advance(2 * SECOND);
    assert_eq!(rig.out(2).len(), 0);
    assert_eq!(rig.dropped(DropReason::QueueExpired), 300);
    assert_eq!((rig.worker.due(), rig.pool.in_use()), (None, 0));
    // There is room again, also for large frames, one at a time.
    rig.flow(0, 1, any(), vec![output(2)]);
    for _ in 0..3 {
        let packet = large_frame(&rig, &[7; 9000], 1000);
        rig.send_packet(1, packet);
    }
    let dropped = queue(&rig, 0).dropped();
    assert!(dropped == 9 || dropped == 0, "{dropped}");
    assert_eq!(rig.out_packets(2).len(), 9, "{}", rig.why());
}

#[test]
fn settings_change_while_packets_wait_and_none_is_lost() {
    let mut rig = rig("rate=8m,burst=100,queues=0+1:prio=1");
    let frames = [of_queue(&mut rig, 0, 1000), of_queue(&mut rig, 1, 1000)];
    rig.send_burst(1, &[0, 1, 0, 1, 0, 1].map(|n: usize| frames[n].clone()));
    assert_eq!(rig.out(2).len(), 1);
    let shape = |rig: &mut Rig, text: &str| {
        let shaping = text.parse().unwrap();
        rig.workers.shape_port(PortNo(2), &shaping).unwrap();
        rig.poll();
    };
    // Queue 1 goes first now; the rest of queue 0 is not forgotten.
    shape(&mut rig, "rate=8m,burst=100,queues=0:prio=3+1:prio=1");
    rig.send(1, &frames[1]);
    let mut order = rig.out(2);
    while let Some(due) = rig.worker.due() {
        rig.now = due;
        rig.poll();
        order.extend(rig.out(2));
    }
    let ports: Vec<u8> = order.iter().map(|frame| frame[35]).collect();
    assert_eq!(ports.iter().filter(|n| **n == 1).count(), 4);
    assert_eq!(ports.len(), 6);
    assert_eq!(ports[4..], [0, 0], "{ports:?}");
    assert_eq!(queue(&rig, 1).sent(), (4, 4000));
    // Without a rate, everything goes at once.
    rig.send_burst(1, &vec![frames[0].clone(); 20]);
    shape(&mut rig, "none");
    assert_eq!(rig.out(2).len(), 20);
    assert_eq!((rig.worker.due(), rig.why().as_str()), (None, ""));
    rig.send(1, &frames[0]);
    assert_eq!(rig.out(2).len(), 1);
}

#[test]
fn a_port_that_goes_takes_what_waits_with_it() {
    let mut rig = rig("rate=8k,burst=100");
    rig.flow(0, 1, in_port(1), vec![output(2)]);
    rig.send_burst(1, &vec![udp(1, 2, (1, 9), &[0; 900]); 20]);
    rig.out(2);
    rig.delete_port(2);
    assert_eq!(rig.dropped(DropReason::NoPort), 19);
    rig.advance(SECOND);
    assert_eq!((rig.worker.due(), rig.pool.in_use()), (None, 0));
}

#[test]
fn what_goes_into_a_tunnel_goes_through_the_queues_of_the_uplink() {
    let mut rig = rig("rate=1g,queues=0+3:max=8m/burst=100");
    rig.tunnel(9, TunnelKind::Geneve);
    rig.workers
        .set_vteps(vec!["172.30.0.1/24,port=p2".parse().unwrap()]);
    let peer = "172.30.0.2".parse().unwrap();
    rig.poll();
    assert!(rig.workers.set_neighbor(peer, net::MacAddr([2; 6])));
    rig.add(
        "in_port=1,actions=set_field:172.30.0.2->tun_dst,set_field:5->tun_id,set_queue:3,output:9",
    );
    rig.send_burst(1, &vec![udp(1, 2, (1, 9), &[0; 900]); 4]);
    assert_eq!(rig.out(2).len(), 1, "{}", rig.why());
    drain(&mut rig);
    // Outer headers count: Ethernet, IPv4, UDP and Geneve are 50 bytes.
    assert_eq!(queue(&rig, 3).sent(), (4, 4 * 992));
}

#[test]
fn copies_and_stale_marks_do_not_leak_into_other_ports() {
    let mut rig = rig("rate=1g,queues=1+2");
    let options = PortOptions {
        shaping: "rate=1g,queues=0+1+7".parse().unwrap(),
        ..PortOptions::default()
    };
    rig.port_with(3, &options);
    let actions = "set_queue:2,output:2,output:3,set_queue:7,output:3,pop_queue,output:2";
    rig.add(&format!("in_port=1,actions={actions}"));
    for _ in 0..3 {
        rig.send(1, &udp(1, 2, (1, 9), &[0; 60]));
    }
    let counts = |number: u32| -> Vec<(u32, u64)> {
        let ports = rig.workers.shared().ports();
        let queues = &ports.get(PortNo(number)).unwrap().queues;
        queues.iter().map(|q| (q.spec.id, q.sent().0)).collect()
    };
    assert_eq!(counts(2), [(1, 0), (2, 3)]);
    // Queue 2 of port 3 does not exist: that is its default.
    assert_eq!(counts(3), [(0, 3), (1, 0), (7, 3)]);
    let sent: Vec<Packet> = rig.out_packets(2);
    assert!(sent.len() == 6 && sent.iter().all(|packet| packet.meta().queue == 0));
}
