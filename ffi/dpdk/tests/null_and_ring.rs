//! EAL without hugepages, pools, and packets through virtual devices. One process, one test: EAL starts
//! once.

use dpdk::{DevicePort, Eal, EalConfig, PortConfig, Queues, RegisteredThread, Sent, create_pool};
use packet::{Packet, Pool, free_bulk};
use std::sync::Arc;

fn config(extra: &str) -> EalConfig {
    EalConfig {
        memory: Some(64),
        no_huge: true,
        file_prefix: format!("sluicetest{}", std::process::id()),
        extra: extra.split_whitespace().map(str::to_owned).collect(),
    }
}

fn start(eal: Eal, devargs: &str, pool: &Pool) -> (Arc<DevicePort>, Queues) {
    let port = Arc::new(DevicePort::attach(eal, devargs).unwrap());
    let config = PortConfig {
        rx_queues: 1,
        tx_queues: 1,
        descriptors: 512,
        mtu: None,
        pool: pool.clone(),
        rss_key: Vec::new(),
    };
    let queues = port.start(&config).unwrap();
    (port, queues)
}

fn receive(queues: &mut Queues) -> Vec<Packet> {
    let mut packets = Vec::new();
    queues.rx[0].receive(32, |packet, whole| {
        assert!(whole);
        packets.push(packet);
    });
    packets
}

#[test]
fn packets_pass_through_virtual_devices_and_buffers_come_back() {
    let eal = Eal::start(&config("")).unwrap();
    let again = Eal::start(&config("")).unwrap_err().to_string();
    assert!(again.contains("once per process"), "{again}");
    let thread = RegisteredThread::register(eal).unwrap();
    assert_ne!(thread.id(), u32::MAX, "the thread has mempool caches");

    let pool = create_pool(eal, "frames", 2047, 2048).unwrap();
    let other = create_pool(eal, "other", 255, 2048).unwrap();
    assert_eq!(pool.data_room(), 2048);
    chains_return_to_their_pool(&pool);
    a_pool_can_run_dry(&other);
    the_null_device_gives_and_takes(eal, &pool);
    the_ring_device_gives_back_what_it_took(eal, &pool, &other);
    impossible_devices_are_explained(eal);
    assert_eq!((pool.in_use(), other.in_use()), (0, 0), "buffers leaked");
    let left = std::path::Path::new("/run/dpdk").join(&config("").file_prefix);
    assert!(!left.exists(), "EAL left {left:?}");
}

fn chains_return_to_their_pool(pool: &Pool) {
    let bytes: Vec<u8> = (0..65_549u32).map(|i| (i % 251) as u8).collect();
    let mut packet = Packet::from_slice(pool, &bytes).unwrap();
    assert!(packet.segment_count() > 28 && packet.to_vec() == bytes);
    assert_eq!(pool.in_use(), packet.segment_count());
    assert!(packet.prepend(300).is_some() && packet.trim_front(310) && packet.pull_up(1500));
    assert_eq!(packet.to_vec(), bytes[10..]);
    let on_heap = packet.copy(&Pool::heap(1000)).unwrap();
    let small = Packet::from_slice(pool, &[1; 60]).unwrap();
    free_bulk([packet, on_heap, small]);
    assert_eq!(pool.in_use(), 0);
}

fn a_pool_can_run_dry(pool: &Pool) {
    let all: Vec<Packet> = std::iter::from_fn(|| pool.alloc()).collect();
    assert_eq!(all.len(), 255);
    assert!(Packet::from_slice(pool, b"x").is_none());
    let mut last = all.into_iter().next().unwrap();
    assert!(!last.append(&[0; 1_000_000]), "more than the whole pool");
    assert_eq!(last.len(), 0);
}

fn the_null_device_gives_and_takes(eal: Eal, pool: &Pool) {
    let (port, mut queues) = start(eal, "net_null0,size=100", pool);
    assert_eq!(port.info().driver, "net_null");
    assert!(port.link().up);
    let packets = receive(&mut queues);
    assert_eq!((packets.len(), packets[0].len()), (32, 100));
    assert_eq!(*packets[0].meta(), packet::PacketMeta::default());
    let mut sent = Sent::default();
    let heap = Pool::heap(2048);
    queues.tx[0].push(Packet::from_slice(&heap, &[7; 64]).unwrap(), &mut sent);
    for packet in packets {
        queues.tx[0].push(packet, &mut sent);
    }
    queues.tx[0].flush(&mut sent);
    assert_eq!(
        (sent.packets, sent.bytes, sent.dropped),
        (33, 32 * 100 + 64, 0)
    );
    assert_eq!(heap.in_use(), 0, "sent as a copy in DPDK's memory");
    assert_eq!(port.stats().tx_packets, 33);
    let error = port.start(&PortConfig {
        rx_queues: 1,
        tx_queues: 1,
        descriptors: 512,
        mtu: None,
        pool: pool.clone(),
        rss_key: Vec::new(),
    });
    assert!(error.unwrap_err().to_string().contains("started before"));
}

fn the_ring_device_gives_back_what_it_took(eal: Eal, pool: &Pool, other: &Pool) {
    let (port, mut queues) = start(eal, "net_ring0", pool);
    let mut packet = Packet::from_slice(other, &[9; 3000]).unwrap();
    packet.meta_mut().in_port = 5;
    let mut sent = Sent::default();
    queues.tx[0].push(packet, &mut sent);
    queues.tx[0].flush(&mut sent);
    assert_eq!((sent.packets, sent.bytes), (1, 3000));
    let received = receive(&mut queues);
    assert_eq!(received[0].to_vec(), [9; 3000]);
    assert_eq!(
        received[0].meta().in_port,
        0,
        "a received packet starts with fresh meta data"
    );
    // The device can be taken away and attached again under the same name.
    drop((port, queues, received));
    let (_port, mut queues) = start(eal, "net_ring0", pool);
    assert!(receive(&mut queues).is_empty());
}

fn impossible_devices_are_explained(eal: Eal) {
    let (_port, _queues) = start(
        eal,
        "net_null1",
        &create_pool(eal, "p3", 511, 2048).unwrap(),
    );
    for (devargs, expected) in [
        ("net_null1", "another port uses this device"),
        ("net_nosuch0", "no bus or driver knows such a name"),
        ("0000:ff:1f.7", "attach: "),
        ("net_af_packet0,iface=slnowhere", "SIOCGIFINDEX"),
    ] {
        let said = DevicePort::attach(eal, devargs).unwrap_err().to_string();
        assert!(said.contains(expected), "{devargs}: {said}");
        assert!(!said.contains('\n'), "one line: {said}");
    }
}
