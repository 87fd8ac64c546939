//! What a worker measures of itself.

mod common;

use common::{Rig, in_port, output, udp};
use worker::telemetry::{BURST_SIZES, EVERY};
use worker::{Counter, Stage, TelemetrySnapshot};

/// A worker that has taken so many rounds with so many packets in each.
fn busy(rounds: u32, packets: u16) -> (Rig, TelemetrySnapshot) {
    let mut rig = Rig::new(2);
    rig.flow(
        0,
        1,
        in_port(1).with(openflow::Field::EthType, 0x0800u16),
        vec![output(2)],
    );
    let frames: Vec<_> = (0..packets).map(|n| udp(1, 2, (n, 9), b"x")).collect();
    for _ in 0..rounds {
        rig.send_burst(1, &frames);
        assert_eq!(rig.out(2).len(), usize::from(packets));
    }
    let seen = rig.workers.shared().telemetry(0).snapshot();
    (rig, seen)
}

#[test]
fn one_round_in_so_many_is_timed_stage_by_stage() {
    let rounds = EVERY * 20;
    let (rig, seen) = busy(rounds, 3);
    let share = seen.sampled_rounds as f64 / f64::from(rounds) * f64::from(EVERY);
    assert!((0.5..2.0).contains(&share), "{seen:?}");
    assert_eq!(seen.sampled_packets, seen.sampled_rounds * 3);
    for stage in Stage::ALL {
        let ticks = seen.ticks_per_packet(*stage).unwrap();
        // The first round, in which the tables were walked, is not always one of those timed.
        assert!(ticks > 0.0 || *stage == Stage::Walk, "{stage:?}");
    }
    let counters = rig.workers.shared().counters(0);
    assert_eq!(counters.get(Counter::RxPackets), u64::from(rounds) * 3);
}

#[test]
fn one_packet_of_each_timed_burst_has_its_residence_counted() {
    let (_, seen) = busy(EVERY * 10, 5);
    assert_eq!(seen.residence.count(), seen.sampled_rounds);
    let (half, longest) = (seen.residence.quantile(0.5).unwrap(), seen.residence.max());
    assert!(half > 0 && half <= longest, "{half} {longest}");
}

#[test]
fn the_bursts_of_timed_rounds_are_counted_by_size() {
    let (_, seen) = busy(EVERY * 10, 7);
    let at = BURST_SIZES.iter().position(|size| *size == 8).unwrap();
    assert!(seen.bursts[at] > 0);
    assert_eq!(seen.bursts[at], seen.sampled_rounds);
    assert_eq!(seen.bursts.iter().sum::<u64>(), seen.sampled_rounds);
    assert_eq!(seen.burst_packets, seen.sampled_rounds * 7);
}

#[test]
fn an_idle_worker_is_not_timed() {
    let mut rig = Rig::new(1);
    for _ in 0..EVERY * 5 {
        rig.poll();
    }
    let seen = rig.workers.shared().telemetry(0).snapshot();
    assert_eq!(
        seen,
        TelemetrySnapshot {
            residence: seen.residence.clone(),
            ..Default::default()
        }
    );
    assert_eq!(seen.residence.count(), 0);
    assert_eq!(seen.ticks_per_packet(Stage::Rx), None);
}
