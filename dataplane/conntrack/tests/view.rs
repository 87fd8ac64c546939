//! The table's memory, mapped a second time as another process would.

use std::os::fd::{AsFd, OwnedFd};

use conntrack::{
    Commit, Config, ConnTable, ConnView, Direction, NatRange, NatRequest, TableError, Tuple,
};

const SECOND: u64 = 1_000_000_000;

fn tuple(i: u16) -> Tuple {
    Tuple {
        src: [10, 0, (i >> 8) as u8, i as u8].into(),
        dst: [10, 96, 0, 1].into(),
        src_port: i,
        dst_port: 80,
        proto: 17,
    }
}

fn commit(i: u16) -> Commit<'static> {
    let backend = Some(([10, 1, 0, 1].into(), [10, 1, 0, 9].into()));
    Commit {
        zone: i % 5,
        tuple: tuple(i),
        tcp: None,
        nat: NatRequest {
            src: None,
            dst: Some(NatRange {
                addresses: backend,
                ports: Some((8080, 8080)),
                ..NatRange::default()
            }),
        },
        mark: (u32::from(i), u32::MAX),
        label: (u128::from(i) << 64, u128::MAX),
        force: false,
    }
}

fn memory(table: &ConnTable) -> OwnedFd {
    table.as_fd().try_clone_to_owned().unwrap()
}

#[test]
fn what_the_table_holds_is_read_through_a_second_mapping_while_it_goes_on() {
    let table = ConnTable::new(&Config::new(100_000, [21, 22])).unwrap();
    for i in 0..20_000 {
        table.commit(&commit(i), 0).unwrap();
    }
    let view = ConnView::open(memory(&table)).unwrap();
    assert_eq!(view.capacity(), 100_000);
    assert_eq!(view.iter(0).count(), 20_000);
    for i in (0..20_000).step_by(7) {
        let (conn, direction) = view.lookup(i % 5, &tuple(i), 0).unwrap();
        assert_eq!(direction, Direction::Original);
        let (seen, own) = (view.get(conn, 0).unwrap(), table.get(conn, 0).unwrap());
        assert_eq!(seen, own);
        assert_eq!((seen.mark, seen.label), (u32::from(i), u128::from(i) << 64));
        let back = view.lookup(i % 5, &seen.reply, 0);
        assert_eq!(back, Some((conn, Direction::Reply)));
    }
    // What happens later shows as well.
    let (conn, _) = table.lookup(2, &tuple(7), 0).unwrap();
    table.update(conn, Direction::Reply, None, SECOND);
    table.count(conn, Direction::Reply, 3, 300);
    let seen = view.get(conn, SECOND).unwrap();
    assert!(seen.established);
    assert_eq!((seen.received.packets, seen.received.bytes), (3, 300));
    table.remove(conn);
    assert_eq!(view.get(conn, SECOND), None);
    assert_eq!(view.lookup(2, &tuple(7), SECOND), None);
    // And the memory outlives the table.
    drop(table);
    assert!(view.lookup(3, &tuple(8), SECOND).is_some());
}

#[test]
fn memory_that_is_no_table_or_of_another_layout_is_refused() {
    use std::sync::atomic::AtomicU32;
    use std::sync::atomic::Ordering::Relaxed;

    let empty = os::MemoryFile::create("nothing", 1 << 20).unwrap();
    let fd = empty.as_fd().try_clone_to_owned().unwrap();
    assert!(matches!(ConnView::open(fd), Err(TableError::Foreign)));

    let table = ConnTable::new(&Config::new(10, [1, 2])).unwrap();
    let raw = os::MemoryFile::open("table", memory(&table)).unwrap();
    let words = raw.part::<AtomicU32>(0, 8).unwrap();
    ConnView::open(memory(&table)).unwrap();
    // The version stands behind the magic number.
    words[2].fetch_add(1, Relaxed);
    let newer = ConnView::open(memory(&table));
    assert!(matches!(newer, Err(TableError::Version { found: 2 })));
    words[2].fetch_sub(1, Relaxed);
    // A capacity that the memory is too short for.
    words[4].store(1 << 20, Relaxed);
    let longer = ConnView::open(memory(&table));
    assert!(matches!(longer, Err(TableError::Foreign)));
}
