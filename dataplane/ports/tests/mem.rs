//! The port in memory.

use packet::{Packet, Pool};
use ports::mem::MemPort;
use ports::{Burst, Caps, Port};

#[test]
fn each_queue_hangs_on_a_wire_of_its_own() {
    let pool = Pool::heap(2048);
    let (mut port, wires) = MemPort::with_queues("p", Caps::default(), 2, 3);
    assert_eq!(wires.len(), 3);
    let control = port.control().clone();
    let mut queues = port.split().unwrap();
    assert!(port.split().is_none());
    assert_eq!((queues.rx.len(), queues.tx.len()), (2, 3));
    for (at, wire) in wires.iter().take(2).enumerate() {
        let packet = Packet::from_slice(&pool, &[at as u8; 60]).unwrap();
        wire.inject(packet).unwrap();
    }
    for (at, part) in queues.rx.iter_mut().enumerate() {
        let mut burst = Burst::new();
        part.rx(&mut burst);
        assert_eq!(burst.len(), 1);
        assert_eq!(burst[0].head()[0], at as u8);
        assert_eq!(queues.tx[2 - at].tx(&mut burst), 0);
    }
    let sent: Vec<usize> = wires.iter().map(|w| w.collect_all().len()).collect();
    assert_eq!(sent, [0, 1, 1]);
    let stats = control.stats();
    assert_eq!((stats.rx_packets, stats.tx_packets), (2, 2));
}

#[test]
fn a_port_with_one_queue_is_not_split() {
    let (mut port, _wire) = MemPort::new("p", Caps::default());
    assert!(port.split().is_none());
}
