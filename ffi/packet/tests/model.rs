//! A packet behaves as a vector of bytes does, whatever its segments are.

use packet::{Csum, Gso, Packet, Pool};
use proptest::collection::vec;
use proptest::prelude::*;

#[derive(Clone, Debug)]
enum Op {
    Prepend(Vec<u8>),
    TrimFront(usize),
    Truncate(usize),
    Append(Vec<u8>),
    PullUp(usize),
    Chain(Vec<u8>),
    WriteAt(usize, Vec<u8>),
    Insert(usize, Vec<u8>),
    AppendRange(usize, usize),
    Copy,
}

fn op() -> impl Strategy<Value = Op> {
    prop_oneof![
        vec(any::<u8>(), 0..90).prop_map(Op::Prepend),
        (0..300usize).prop_map(Op::TrimFront),
        (0..600usize).prop_map(Op::Truncate),
        vec(any::<u8>(), 0..400).prop_map(Op::Append),
        (0..400usize).prop_map(Op::PullUp),
        vec(any::<u8>(), 0..200).prop_map(Op::Chain),
        (0..500usize, vec(any::<u8>(), 0..100)).prop_map(|(at, bytes)| Op::WriteAt(at, bytes)),
        (0..70usize, vec(any::<u8>(), 0..20)).prop_map(|(at, bytes)| Op::Insert(at, bytes)),
        (0..500usize, 0..500usize).prop_map(|(start, n)| Op::AppendRange(start, n)),
        Just(Op::Copy),
    ]
}

fn apply(pool: &Pool, packet: &mut Packet, model: &mut Vec<u8>, op: Op) {
    match op {
        Op::Prepend(bytes) => {
            let room = packet
                .prepend(bytes.len())
                .expect("the pool is not limited");
            room.copy_from_slice(&bytes);
            model.splice(0..0, bytes);
        }
        Op::TrimFront(n) => {
            assert_eq!(packet.trim_front(n), n <= model.len());
            if n <= model.len() {
                model.drain(..n);
            }
        }
        Op::Truncate(n) => {
            packet.truncate(n);
            model.truncate(n);
        }
        Op::Append(bytes) => {
            assert!(packet.append(&bytes));
            model.extend(bytes);
        }
        Op::PullUp(n) => {
            let possible = n <= model.len() && n <= usize::from(packet.mbuf().buf_len);
            assert_eq!(packet.pull_up(n), possible);
            if possible {
                assert_eq!(&packet.head()[..n], &model[..n]);
            }
        }
        Op::Chain(bytes) => {
            let tail = Packet::from_slice(pool, &bytes).expect("the pool is not limited");
            packet.chain(tail).expect("one kind of pool");
            model.extend(bytes);
        }
        Op::WriteAt(at, bytes) => {
            let possible = at + bytes.len() <= model.len();
            assert_eq!(packet.write_at(at, &bytes), possible);
            if possible {
                model[at..at + bytes.len()].copy_from_slice(&bytes);
            }
        }
        Op::Insert(at, bytes) => {
            let possible = at <= 64 && at <= model.len();
            assert_eq!(packet.insert(at, &bytes), possible);
            if possible {
                model.splice(at..at, bytes);
            }
        }
        Op::AppendRange(start, n) => {
            let copy = packet.copy(pool).expect("the pool is not limited");
            let possible = start + n <= model.len();
            assert_eq!(packet.append_range(&copy, start..start + n), possible);
            if possible {
                model.extend_from_within(start..start + n);
            }
        }
        Op::Copy => *packet = packet.copy(pool).expect("the pool is not limited"),
    }
}

fn check(packet: &Packet, model: &[u8]) {
    assert_eq!(packet.to_vec(), model);
    assert_eq!(packet.len(), model.len());
    assert_eq!(packet.segments().count(), packet.segment_count());
    assert!(model.starts_with(packet.head()));
    let middle = model.len() / 3;
    let mut out = vec![0; model.len() - middle];
    assert!(packet.read_at(middle, &mut out));
    assert_eq!(out, &model[middle..]);
    assert!(!packet.read_at(middle + 1, &mut out) || out.is_empty());
}

proptest! {
    #[test]
    fn a_packet_is_its_bytes(
        room in prop_oneof![Just(1usize), Just(60), Just(2048)],
        start in vec(any::<u8>(), 0..500),
        ops in vec(op(), 0..40),
    ) {
        let pool = Pool::heap(room);
        let mut model = start.clone();
        let mut packet = Packet::from_slice(&pool, &start).expect("the pool is not limited");
        check(&packet, &model);
        for op in ops {
            apply(&pool, &mut packet, &mut model, op);
            check(&packet, &model);
        }
        drop(packet);
        prop_assert_eq!(pool.in_use(), 0, "segments leaked");
    }

    #[test]
    fn a_pool_that_runs_dry_changes_nothing(
        limit in 1usize..6,
        start in vec(any::<u8>(), 0..100),
        more in vec(any::<u8>(), 0..600),
    ) {
        let pool = Pool::heap_limited(64, limit);
        if let Some(mut packet) = Packet::from_slice(&pool, &start) {
            let grown = packet.append(&more);
            let expected = if grown { [start.as_slice(), &more].concat() } else { start };
            prop_assert_eq!(packet.to_vec(), expected);
        }
        prop_assert_eq!(pool.in_use(), 0);
    }
}

#[test]
fn offsets_follow_the_bytes_they_point_at() {
    let pool = Pool::heap(2048);
    let mut packet = Packet::from_slice(&pool, &[0; 100]).unwrap();
    let meta = packet.meta_mut();
    meta.csum = Csum::Partial;
    meta.csum_start = 34;
    meta.csum_offset = 16;
    meta.gso = Gso::Tcp4;
    meta.hdr_len = 54;
    packet.prepend(4).unwrap();
    assert_eq!((packet.meta().csum_start, packet.meta().hdr_len), (38, 58));
    packet.prepend(250).unwrap(); // beyond the headroom: a segment of its own
    assert_eq!(packet.segment_count(), 2);
    assert_eq!(
        (packet.meta().csum_start, packet.meta().hdr_len),
        (288, 308)
    );
    assert!(packet.trim_front(254));
    assert_eq!((packet.meta().csum_start, packet.meta().hdr_len), (34, 54));
    assert_eq!(packet.meta().csum, Csum::Partial);
    assert!(packet.trim_front(35));
    assert_eq!(packet.meta().csum, Csum::Unknown, "its start was cut off");
}

#[test]
fn a_recycled_packet_knows_nothing_of_its_former_life() {
    let pool = Pool::heap_limited(256, 1);
    let mut packet = Packet::from_slice(&pool, b"first").unwrap();
    packet.meta_mut().in_port = 7;
    packet.meta_mut().csum = Csum::Valid;
    drop(packet);
    let packet = pool.alloc().expect("the one segment came back");
    assert_eq!(*packet.meta(), packet::PacketMeta::default());
    assert_eq!(packet.len(), 0);
    assert_eq!(packet.headroom(), usize::from(packet::HEADROOM));
}

#[test]
fn a_frame_of_64_kib_is_a_chain_and_comes_back_whole() {
    let pool = Pool::heap(2048);
    let bytes: Vec<u8> = (0..65_549u32).map(|i| (i % 251) as u8).collect();
    let packet = Packet::from_slice(&pool, &bytes).unwrap();
    assert!(packet.segment_count() > 28);
    assert_eq!(packet.to_vec(), bytes);
    let big = Pool::heap(65_000);
    let copy = packet.copy(&big).unwrap();
    assert_eq!(copy.segment_count(), 2);
    assert_eq!(copy.to_vec(), bytes);
}

#[test]
fn packets_may_die_in_another_thread_and_after_their_pool() {
    let pool = Pool::heap(128);
    let packet = Packet::from_slice(&pool, &[1; 400]).unwrap();
    drop(pool);
    std::thread::spawn(move || assert_eq!(packet.to_vec(), [1; 400]))
        .join()
        .unwrap();
}
