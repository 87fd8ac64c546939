//! The in-memory port carries packets in order and counts them.

use packet::{Packet, Pool};
use ports::mem::{MemPort, QUEUE};
use ports::{BURST, Burst, Caps, Port};

fn frames(pool: &Pool, n: usize) -> impl Iterator<Item = Packet> {
    (0..n).map(|i| Packet::from_slice(pool, &[i as u8; 60]).unwrap())
}

#[test]
fn a_burst_takes_no_more_than_it_has_room_for() {
    let pool = Pool::heap(2048);
    let (mut port, wire) = MemPort::new("m0", Caps::default());
    frames(&pool, 40).for_each(|p| wire.inject(p).unwrap());
    let mut burst = Burst::new();
    port.rx(&mut burst);
    assert_eq!((burst.len(), wire.pending()), (BURST, 40 - BURST));
    port.rx(&mut burst);
    assert_eq!(burst.len(), BURST, "a full burst takes nothing");
    port.tx(&mut burst);
    assert!(burst.is_empty());
    let sent = wire.collect_all();
    assert!(
        sent.iter()
            .enumerate()
            .all(|(i, p)| p.head() == [i as u8; 60])
    );
    let stats = port.control().stats();
    assert_eq!((stats.rx_packets, stats.rx_bytes), (32, 32 * 60));
    assert_eq!((stats.tx_packets, stats.tx_bytes), (32, 32 * 60));
}

#[test]
fn what_a_cabled_port_sends_the_other_receives() {
    let pool = Pool::heap(2048);
    let (mut a, mut b) = MemPort::pair("a", "b", Caps::default());
    assert_ne!(a.control().mac(), b.control().mac());
    let mut burst: Burst = frames(&pool, 3).collect();
    a.tx(&mut burst);
    b.rx(&mut burst);
    assert_eq!(burst.len(), 3);
    b.tx(&mut burst);
    a.rx(&mut burst);
    assert_eq!(burst[2].head(), [2; 60]);
}

#[test]
fn packets_nobody_collects_are_dropped_and_counted() {
    let pool = Pool::heap(2048);
    let (mut port, wire) = MemPort::new("m0", Caps::default());
    for _ in 0..QUEUE / BURST {
        port.tx(&mut frames(&pool, BURST).collect());
    }
    port.tx(&mut frames(&pool, 5).collect());
    assert_eq!(port.control().stats().tx_dropped, 5);
    wire.set_link(false);
    wire.collect_all();
    port.tx(&mut frames(&pool, 2).collect());
    assert_eq!(port.control().stats().tx_dropped, 7, "no carrier");
    assert_eq!(pool.in_use(), 0, "dropped packets are freed");
}
