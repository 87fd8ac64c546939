//! Ports with an impairment: how late packets are, how many are lost, and what becomes of those
//! under way when the port changes.

use ports::{Impairment, Shaping};

use super::*;

fn impairment(delay_ms: u64, loss_ppm: u32, limit: u32) -> Impairment {
    Impairment {
        delay: delay_ms * MILLISECOND,
        jitter: 0,
        loss_ppm,
        limit,
    }
}

/// Impairs port 2, and shapes it.
fn impair(rig: &mut Rig, shaping: &str, impairment: Option<Impairment>) {
    let shaping = Shaping {
        impairment,
        ..shaping.parse().unwrap()
    };
    rig.workers.shape_port(PortNo(2), &shaping).unwrap();
    rig.poll();
}

fn plain_rig() -> Rig {
    let mut rig = Rig::new(2);
    rig.flow(0, 1, in_port(1), vec![output(2)]);
    rig
}

#[test]
fn packets_are_late_by_the_delay_and_the_worker_says_when_the_next_is_due() {
    let mut rig = plain_rig();
    impair(&mut rig, "none", Some(impairment(10, 0, 1000)));
    for n in 0..50u8 {
        rig.send(1, &udp(1, 2, (n.into(), 9), &[n]));
        rig.advance(MILLISECOND / 10);
    }
    assert_eq!((rig.out(2).len(), rig.pool.in_use()), (0, 50));
    let mut came = Vec::new();
    let first = rig.worker.due().unwrap();
    assert_eq!(first, rig.now + 5 * MILLISECOND);
    while let Some(due) = rig.worker.due() {
        rig.now = due - 1;
        rig.poll();
        assert_eq!(rig.out(2).len(), 0, "early");
        rig.now = due;
        rig.poll();
        came.extend(rig.out(2).iter().map(|frame| frame[42]));
    }
    assert_eq!(came, (0..50).collect::<Vec<u8>>());
    assert_eq!((rig.why().as_str(), rig.pool.in_use()), ("", 0));
}

#[test]
fn what_is_lost_and_what_is_too_much_is_counted_and_other_ports_are_not_touched() {
    let mut rig = plain_rig();
    rig.port(3, ports::Caps::default());
    rig.add("priority=2,in_port=1,udp,tp_src=7,actions=output:3,output:2");
    impair(&mut rig, "none", Some(impairment(0, 250_000, 1000)));
    let (mut came, mut others) = (0, 0);
    for _ in 0..500 {
        rig.send_burst(1, &vec![udp(1, 2, (7, 9), &[0; 18]); 32]);
        came += rig.out(2).len() as u64;
        others += rig.out(3).len();
    }
    let lost = rig.dropped(DropReason::ImpairmentLoss);
    assert_eq!((came + lost, others), (16_000, 16_000));
    // Six standard deviations are 329.
    assert!(lost.abs_diff(4000) < 329, "{lost}");
    impair(&mut rig, "none", Some(impairment(5, 0, 20)));
    rig.send_burst(1, &vec![udp(1, 2, (7, 9), &[0; 18]); 32]);
    assert_eq!(rig.dropped(DropReason::ImpairmentFull), 12);
    rig.advance(5 * MILLISECOND);
    assert_eq!((rig.out(2).len(), rig.out(3).len()), (20, 32));
    assert_eq!((rig.worker.due(), rig.pool.in_use()), (None, 0));
}

#[test]
fn a_delay_comes_on_top_of_a_rate_and_large_frames_are_late_in_one_piece() {
    let mut rig = plain_rig();
    impair(&mut rig, "rate=8m,burst=100", Some(impairment(20, 0, 1000)));
    let packet = large_frame(&rig, &[7; 9000], 1000);
    rig.send_packet(1, packet);
    rig.send(1, &udp(1, 2, (1, 9), &[0; 958]));
    let start = rig.now;
    let mut sent = Vec::new();
    while let Some(due) = rig.worker.due() {
        rig.now = due;
        rig.poll();
        let count = rig.out_packets(2).len();
        sent.extend((count > 0).then_some((rig.now - start, count)));
    }
    let expected = 20 * MILLISECOND + (9 * 1054 - 100) * 1000;
    assert_eq!(sent[0].0, 20 * MILLISECOND);
    assert!(sent[1].0.abs_diff(expected) <= 1000, "{sent:?}");
}

#[test]
fn packets_under_way_are_not_lost_when_the_impairment_changes_or_ends() {
    let mut rig = plain_rig();
    impair(&mut rig, "none", Some(impairment(100, 0, 1000)));
    rig.send_burst(1, &vec![udp(1, 2, (1, 9), &[1]); 10]);
    impair(&mut rig, "none", Some(impairment(1, 0, 5)));
    rig.send_burst(1, &vec![udp(1, 2, (1, 9), &[2]); 3]);
    // The line is fuller than it may become: what comes now is lost, what was there is not.
    assert_eq!(rig.dropped(DropReason::ImpairmentFull), 3);
    rig.advance(99 * MILLISECOND);
    assert_eq!(rig.out(2).len(), 0);
    rig.advance(MILLISECOND);
    assert_eq!(rig.out(2).len(), 10);
    rig.send_burst(1, &vec![udp(1, 2, (1, 9), &[3]); 5]);
    impair(&mut rig, "none", None);
    assert_eq!(
        rig.out(2).len(),
        5,
        "they arrive when nothing holds them back any more"
    );
    rig.send(1, &udp(1, 2, (1, 9), &[4]));
    assert_eq!(rig.out(2).len(), 1);
    assert_eq!((rig.worker.due(), rig.pool.in_use()), (None, 0));
}

#[test]
fn a_port_that_goes_takes_what_is_late_with_it() {
    let mut rig = plain_rig();
    impair(&mut rig, "none", Some(impairment(100, 0, 1000)));
    rig.send_burst(1, &vec![udp(1, 2, (1, 9), &[1]); 10]);
    rig.delete_port(2);
    assert_eq!(rig.dropped(DropReason::NoPort), 10);
    assert_eq!((rig.worker.due(), rig.pool.in_use()), (None, 0));
}
