//! Memory for arenas: zeroed, aligned, and the same for everyone who maps it.

use std::os::fd::AsFd;
use std::sync::atomic::Ordering::Relaxed;
use std::sync::atomic::{AtomicU32, AtomicU64};

use os::{MemoryFile, Region};

os::shared! {
    /// Words of two sizes.
    #[repr(align(64))]
    struct Line {
        wide: AtomicU64,
        narrow: [AtomicU32; 2],
    }
}

#[test]
fn a_region_is_zeroed_aligned_to_huge_pages_and_can_be_written() {
    for len in [0usize, 1, 1000, 1_000_000] {
        let mut region = Region::<u64>::new(len).unwrap();
        assert_eq!(region.len(), len);
        assert_eq!(region.as_ptr() as usize % (2 << 20), 0);
        assert!(region.iter().all(|word| *word == 0));
        for (i, word) in region.iter_mut().enumerate() {
            *word = i as u64;
        }
        assert!(region.iter().enumerate().all(|(i, word)| *word == i as u64));
        region.prefetch(len + 10_000_000, 2);
        assert_eq!(region.bytes(), len * 8);
    }
}

#[test]
fn more_memory_than_there_is_is_refused_with_what_it_was_for() {
    let error = Region::<u64>::named("cache entries", 1 << 50).unwrap_err();
    assert!(error.to_string().contains("for cache entries"), "{error}");
    assert_eq!(error.errno(), Some(12));
    let error = Region::<u64>::named("cache entries", usize::MAX).unwrap_err();
    assert!(error.to_string().contains("cache entries"), "{error}");
    let error = MemoryFile::create("connections", 1 << 50).unwrap_err();
    assert!(error.to_string().contains("for connections"), "{error}");
}

#[test]
fn what_is_written_through_one_mapping_of_a_memory_file_is_read_through_the_other() {
    let file = MemoryFile::create("test", 1 << 20).unwrap();
    let lines = file.part::<Line>(4096, 100).unwrap();
    let fd = file.as_fd().try_clone_to_owned().unwrap();
    let again = MemoryFile::open("test again", fd).unwrap();
    assert_eq!(again.bytes(), 1 << 20);
    let same = again.part::<Line>(4096, 100).unwrap();
    assert_ne!(lines.as_ptr(), same.as_ptr());
    lines[99].wide.store(7, Relaxed);
    same[98].narrow[1].store(8, Relaxed);
    assert_eq!(same[99].wide.load(Relaxed), 7);
    assert_eq!(lines[98].narrow[1].load(Relaxed), 8);
    // The part keeps its memory.
    drop((file, again, same));
    assert_eq!(lines[99].wide.load(Relaxed), 7);
}

#[test]
fn a_part_outside_its_memory_or_at_an_odd_place_is_none() {
    let file = MemoryFile::create("test", 4096).unwrap();
    assert_eq!(file.part::<Line>(0, 64).unwrap().len(), 64);
    assert!(file.part::<Line>(0, 65).is_none());
    assert!(file.part::<Line>(64, 64).is_none());
    assert!(file.part::<Line>(8, 1).is_none());
    assert!(file.part::<Line>(usize::MAX - 63, 1).is_none());
    assert!(file.part::<Line>(0, usize::MAX / 32).is_none());
}

#[test]
fn a_file_that_could_shrink_is_not_mapped() {
    let path = std::env::temp_dir().join(format!("sluice-os-{}", std::process::id()));
    std::fs::write(&path, [0; 4096]).unwrap();
    let file = std::fs::OpenOptions::new()
        .read(true)
        .write(true)
        .open(&path)
        .unwrap();
    std::fs::remove_file(&path).unwrap();
    MemoryFile::open("a file", file.into()).unwrap_err();
}
