//! What workers may do to one place at once, in every order that the memory model allows (loom).
//!
//! The code under test is the crate's own, over loom's atomics. To show that a test here can fail,
//! its fences can be left out: then loom must find the order in which it goes wrong.

#![allow(dead_code)] // Of the modules, only what touches memory is tried.
#![allow(clippy::wrong_self_convention)] // Public in the library, where this is not asked.

#[path = "../src/entry.rs"]
mod entry;
#[path = "../src/index.rs"]
mod index;
#[path = "../src/tuple.rs"]
mod tuple;

/// In place of `src/sync.rs`.
mod sync {
    use std::cell::Cell;
    use std::sync::atomic::Ordering;

    pub use loom::sync::atomic::{AtomicU32, AtomicU64};

    thread_local! {
        /// loom runs all threads of a model on the thread that asked for it.
        pub static WITHOUT_FENCES: Cell<bool> = const { Cell::new(false) };
    }

    pub fn fence(order: Ordering) {
        if !WITHOUT_FENCES.get() {
            loom::sync::atomic::fence(order);
        }
    }

    macro_rules! shared {
        (
            $(#[$attribute:meta])*
            $visibility:vis struct $name:ident {
                $($(#[$note:meta])* $shown:vis $field:ident: $type:ty,)*
            }
        ) => {
            #[derive(Default)]
            $visibility struct $name {
                $($(#[$note])* $shown $field: $type,)*
            }
        };
    }
    pub(crate) use shared;
}

use entry::{Direction, Entry, NewEntry};
use index::{Bucket, Hit, Index};
use loom::sync::Arc;
use loom::thread;
use std::sync::atomic::Ordering::Relaxed;
use tuple::Packed;

/// A connection all of whose words are told by a number.
fn new_entry(number: u64) -> NewEntry {
    let of_number = |direction: u64| {
        let word = number * 10 + direction;
        // What the directions of a tuple have in common stands in the first word's upper half.
        Packed([number << 32 | word, word, word, word, word])
    };
    NewEntry {
        original: of_number(1),
        reply: of_number(2),
        status: 0,
        mark: number as u32,
        label: u128::from(number),
        created: 0,
        deadline: 1,
        sequences: [[0; 3]; 2],
    }
}

fn check(model: impl Fn() + Sync + Send + 'static) {
    let mut builder = loom::model::Builder::new();
    // Which values loads may see is tried in full; of changes between threads, one forced one is
    // enough for the faults that leaving out a fence makes.
    builder.preemption_bound = Some(1);
    builder.max_branches = 100_000;
    builder.check(model);
}

/// One worker ends a connection and gives its place to another; a second one reads meanwhile.
fn reader_beside_reuse() {
    let entry = Arc::new(Entry::default());
    let first = entry.publish(&new_entry(1));
    let writer = {
        let entry = entry.clone();
        thread::spawn(move || {
            assert!(entry.retire(first, |_| true));
            entry.publish(&new_entry(2))
        })
    };
    let (generation, _) = entry.head();
    if generation & 1 == 1
        && let Some((original, reply)) = entry.tuples(generation)
    {
        let number = if generation == first { 1 } else { 2 };
        let expected = new_entry(number);
        assert_eq!((original, reply), (expected.original, expected.reply));
    }
    let second = writer.join().unwrap();
    assert_ne!(first, second);
    let expected = new_entry(2);
    assert_eq!(
        entry.tuples(second),
        Some((expected.original, expected.reply))
    );
    assert_eq!(entry.tuples(first), None);
}

#[test]
fn a_reader_never_takes_words_of_two_connections_for_one() {
    check(reader_beside_reuse);
}

#[test]
#[should_panic = "left == right"]
fn without_fences_it_would() {
    sync::WITHOUT_FENCES.set(true);
    check(reader_beside_reuse);
}

#[test]
fn a_change_of_status_never_reaches_the_next_connection_at_its_place() {
    check(|| {
        let entry = Arc::new(Entry::default());
        let first = entry.publish(&new_entry(1));
        let follower = {
            let entry = entry.clone();
            thread::spawn(move || entry.change_status(first, |word| word | 8))
        };
        assert!(entry.retire(first, |_| true));
        let second = entry.publish(&new_entry(2));
        follower.join().unwrap();
        assert_eq!(entry.status(second), Some(0));
    });
}

#[test]
fn two_changes_of_status_are_both_there_in_the_end() {
    check(|| {
        let entry = Arc::new(Entry::default());
        let generation = entry.publish(&new_entry(1));
        let other = {
            let entry = entry.clone();
            thread::spawn(move || entry.change_status(generation, |word| word | 1))
        };
        entry.change_status(generation, |word| word | 2);
        other.join().unwrap();
        assert_eq!(entry.status(generation), Some(3));
    });
}

/// Both workers insert into the same buckets; a reader that finds a slot finds its connection.
#[test]
fn connections_inserted_at_once_are_all_found_and_only_when_they_are_whole() {
    const HASH: u64 = 77;
    check(|| {
        let buckets: Vec<Bucket> = (0..2).map(|_| Bucket::default()).collect();
        let index = Arc::new(Index::over(buckets));
        let entries: Arc<Vec<Entry>> = Arc::new((0..2).map(|_| Entry::default()).collect());
        let hit = |place| Hit {
            place,
            direction: Direction::Original,
        };
        let inserter = {
            let (index, entries) = (index.clone(), entries.clone());
            thread::spawn(move || {
                entries[1].mark.store(5, Relaxed);
                assert!(index.insert(HASH, hit(1)));
            })
        };
        assert!(index.insert(HASH, hit(0)));
        let seen = index.find(HASH, |found| (found == hit(1)).then_some(found.place));
        if let Some(place) = seen {
            assert_eq!(entries[place as usize].mark.load(Relaxed), 5);
        }
        inserter.join().unwrap();
        for place in 0..2 {
            let found = index.find(HASH, |found| (found == hit(place)).then_some(()));
            assert!(found.is_some(), "place {place} is lost");
        }
        index.remove(HASH, hit(0));
        let found = index.find(HASH, |found| (found == hit(0)).then_some(()));
        assert!(found.is_none());
    });
}
