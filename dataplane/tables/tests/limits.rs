//! Full tables: refusal, eviction, vacancy events; and single buckets of groups.

use net::{GroupId, PortNo, TableId};
use openflow::model::*;
use openflow::{Action, Field, Instructions, Match};
use tables::{
    Change, EvictBy, FlowFilter, Refused, RemovedReason, TableLimits, Tables, Vacancy, VacancyEvent,
};

const SECOND: u64 = 1_000_000_000;
const T0: TableId = TableId(0);

fn flow(port: u32) -> FlowMod {
    let matching = Match::any().with(Field::InPort, port);
    FlowMod {
        cookie: u64::from(port),
        ..FlowMod::add(T0, 5, matching, Instructions::drop())
    }
}

fn important(port: u32, importance: u16) -> FlowMod {
    FlowMod {
        importance,
        ..flow(port)
    }
}

fn timed(port: u32, idle_timeout: u16, hard_timeout: u16) -> FlowMod {
    FlowMod {
        idle_timeout,
        hard_timeout,
        ..flow(port)
    }
}

fn limited(max_entries: u32, evict_by: Option<EvictBy>) -> Tables {
    let mut tables = Tables::new();
    let limits = TableLimits {
        max_entries,
        evict: evict_by.is_some(),
        evict_by: evict_by.unwrap_or_default(),
        ..TableLimits::default()
    };
    tables.set_limits(T0, limits).unwrap();
    tables
}

/// Cookies of the flows that had to go for this one.
fn evicted(tables: &mut Tables, request: &FlowMod, now: u64) -> Vec<u64> {
    let changes = tables.flow_mod(request, now).unwrap();
    let gone = changes.iter().filter_map(|change| match change {
        Change::Removed(rule, reason) => {
            assert_eq!(*reason, RemovedReason::Eviction);
            Some(rule.cookie)
        }
        _ => None,
    });
    gone.collect()
}

fn cookies(tables: &Tables) -> Vec<u64> {
    let flows = tables.flows(&FlowFilter::default());
    let mut cookies: Vec<u64> = flows.iter().map(|rule| rule.cookie).collect();
    cookies.sort_unstable();
    cookies
}

const ONLY_IMPORTANCE: EvictBy = EvictBy {
    importance: true,
    lifetime: false,
    other: false,
};
const ONLY_LIFETIME: EvictBy = EvictBy {
    importance: false,
    lifetime: true,
    other: false,
};

#[test]
fn a_full_table_refuses_and_keeps_what_it_has() {
    let mut tables = limited(2, None);
    tables.flow_mod(&flow(1), 0).unwrap();
    tables.flow_mod(&flow(2), 0).unwrap();
    assert!(matches!(
        tables.flow_mod(&flow(3), 0),
        Err(Refused::TableFull(T0))
    ));
    // One in the place of another needs no room.
    tables.flow_mod(&flow(2), 0).unwrap();
    assert_eq!(cookies(&tables), [1, 2]);
}

#[test]
fn the_least_important_flow_makes_room() {
    let mut tables = limited(3, Some(ONLY_IMPORTANCE));
    for (port, importance) in [(1, 9), (2, 3), (3, 5)] {
        assert!(evicted(&mut tables, &important(port, importance), 0).is_empty());
    }
    assert_eq!(evicted(&mut tables, &important(4, 7), 0), [2]);
    assert_eq!(evicted(&mut tables, &important(5, 1), 0), [3]);
    // The newest is the least important by now.
    assert_eq!(evicted(&mut tables, &important(6, 1), 0), [5]);
    assert_eq!(cookies(&tables), [1, 4, 6]);
}

#[test]
fn the_flow_that_would_go_next_makes_room_and_lasting_ones_stay() {
    let mut tables = limited(3, Some(ONLY_LIFETIME));
    tables.flow_mod(&timed(1, 10, 0), 0).unwrap();
    tables.flow_mod(&timed(2, 0, 60), 0).unwrap();
    tables.flow_mod(&flow(3), 0).unwrap();
    // A packet after 55 seconds: the idle timeout ends later than the hard one.
    let used = tables.flows(&FlowFilter::default());
    let idle = used.iter().find(|rule| rule.cookie == 1).unwrap();
    idle.stats.add(1, 60, 55 * SECOND);
    assert_eq!(evicted(&mut tables, &flow(4), 56 * SECOND), [2]);
    assert_eq!(evicted(&mut tables, &flow(5), 56 * SECOND), [1]);
    assert!(matches!(
        tables.flow_mod(&flow(6), 56 * SECOND),
        Err(Refused::TableFull(T0))
    ));
    assert_eq!(cookies(&tables), [3, 4, 5]);
}

#[test]
fn what_a_bundle_evicted_comes_back_when_it_fails_and_may_be_evicted_again() {
    let mut tables = limited(2, Some(EvictBy::default()));
    tables.flow_mod(&flow(1), 0).unwrap();
    tables.flow_mod(&flow(2), 1).unwrap();
    let saved = tables.save();
    assert_eq!(evicted(&mut tables, &flow(3), 2), [1]);
    tables.restore(saved);
    assert_eq!(cookies(&tables), [1, 2]);
    assert_eq!(evicted(&mut tables, &flow(4), 3), [1]);
    assert_eq!(evicted(&mut tables, &flow(5), 4), [2]);
}

#[test]
fn a_table_that_was_made_smaller_shrinks_with_the_next_flow() {
    let mut tables = limited(10, Some(EvictBy::default()));
    for port in 1..=5 {
        tables.flow_mod(&flow(port), u64::from(port)).unwrap();
    }
    let limits = tables.limits(T0).unwrap();
    let smaller = TableLimits {
        max_entries: 3,
        ..limits
    };
    tables.set_limits(T0, smaller).unwrap();
    assert_eq!(cookies(&tables).len(), 5);
    assert_eq!(evicted(&mut tables, &flow(6), 9), [1, 2, 3]);
    assert_eq!(cookies(&tables), [4, 5, 6]);
}

#[test]
fn a_flow_for_which_too_few_may_be_evicted_is_refused_and_evicts_none() {
    let mut tables = limited(10, Some(ONLY_LIFETIME));
    tables.flow_mod(&timed(1, 0, 60), 0).unwrap();
    for port in 2..=5 {
        tables.flow_mod(&flow(port), 0).unwrap();
    }
    let mut shrink = |max_entries| {
        let limits = tables.limits(T0).unwrap();
        let smaller = TableLimits {
            max_entries,
            ..limits
        };
        tables.set_limits(T0, smaller).unwrap();
        let full = Err(Refused::TableFull(T0));
        assert_eq!(tables.flow_mod(&flow(6), 1).map(|_| ()), full);
        assert_eq!(cookies(&tables), [1, 2, 3, 4, 5]);
    };
    shrink(0);
    shrink(2);
    let limits = tables.limits(T0).unwrap();
    let larger = TableLimits {
        max_entries: 5,
        ..limits
    };
    tables.set_limits(T0, larger).unwrap();
    assert_eq!(evicted(&mut tables, &flow(6), 2), [1]);
}

#[test]
fn free_space_is_told_once_at_each_threshold() {
    let mut tables = Tables::new();
    let limits = TableLimits {
        max_entries: 10,
        watch_vacancy: true,
        vacancy: Vacancy { down: 30, up: 60 },
        ..TableLimits::default()
    };
    tables.set_limits(T0, limits).unwrap();
    for port in 1..=7 {
        tables.flow_mod(&flow(port), 0).unwrap();
        assert_eq!(tables.vacancy_events(), [], "{port} flows");
    }
    assert_eq!(tables.vacancy(T0), 30);
    tables.flow_mod(&flow(8), 0).unwrap();
    assert_eq!(tables.vacancy_events(), [(T0, VacancyEvent::Down)]);
    tables.flow_mod(&flow(9), 0).unwrap();
    let delete = |port| FlowMod::delete_strict(T0, 5, flow(port).matching);
    for port in 4..=8 {
        assert_eq!(tables.vacancy_events(), [], "up to {port} deleted");
        tables.flow_mod(&delete(port), 0).unwrap();
    }
    // 4 of 10 are left: 60 % is not more than 60 %.
    assert_eq!(tables.vacancy_events(), []);
    tables.flow_mod(&delete(9), 0).unwrap();
    assert_eq!(tables.vacancy_events(), [(T0, VacancyEvent::Up)]);
    assert_eq!(tables.vacancy_events(), []);
}

const FIRST: u32 = 0xffff_fffd;
const LAST: u32 = 0xffff_fffe;
const ALL: u32 = 0xffff_ffff;

fn buckets(command: GroupCommand, command_bucket_id: u32, ids: &[u32]) -> GroupMod {
    let bucket = |id: &u32| Bucket {
        id: *id,
        weight: match command {
            // Who inserts a bucket need not know what kind of group it is.
            GroupCommand::InsertBucket => 1,
            _ => 0,
        },
        watch_port: PortNo::ANY,
        watch_group: GroupId::ANY,
        actions: vec![Action::Output {
            port: PortNo(*id + 1),
            max_len: 0,
        }],
        properties: Vec::new(),
    };
    GroupMod {
        command,
        kind: GroupType::All,
        group: GroupId(1),
        command_bucket_id,
        buckets: ids.iter().map(bucket).collect(),
        selection: None,
        properties: Vec::new(),
    }
}

fn ids(tables: &Tables) -> Vec<u32> {
    let group = tables.pipeline().group(GroupId(1)).unwrap();
    group.buckets.iter().map(|b| b.bucket.id).collect()
}

#[test]
fn buckets_are_inserted_and_removed_where_asked_and_the_others_keep_their_counters() {
    use GroupCommand::{Add, InsertBucket, RemoveBucket};
    let mut tables = Tables::new();
    let mut does = |request: GroupMod| tables.group_mod(&request, 0).map(|_| ids(&tables));
    let one = GroupId(1);
    assert_eq!(
        does(buckets(InsertBucket, LAST, &[1])),
        Err(Refused::UnknownGroup(one))
    );
    assert_eq!(
        does(buckets(Add, ALL, &[5, 5])),
        Err(Refused::BadBucket(one))
    );
    assert_eq!(
        does(buckets(Add, ALL, &[FIRST])),
        Err(Refused::BadBucket(one))
    );
    assert_eq!(does(buckets(Add, ALL, &[10, 20])), Ok(vec![10, 20]));
    let group = tables.pipeline().group(one).unwrap();
    group.buckets[1].stats.add(3, 300);
    group.stats.add(3, 300);
    let mut does = |request: GroupMod| tables.group_mod(&request, 0).map(|_| ids(&tables));
    assert_eq!(
        does(buckets(InsertBucket, FIRST, &[1, 2])),
        Ok(vec![1, 2, 10, 20])
    );
    assert_eq!(
        does(buckets(InsertBucket, 10, &[11])),
        Ok(vec![1, 2, 10, 11, 20])
    );
    assert_eq!(
        does(buckets(InsertBucket, LAST, &[30])),
        Ok(vec![1, 2, 10, 11, 20, 30])
    );
    assert_eq!(
        does(buckets(InsertBucket, LAST, &[2])),
        Err(Refused::BucketExists(one))
    );
    assert_eq!(
        does(buckets(InsertBucket, 99, &[3])),
        Err(Refused::UnknownBucket(one))
    );
    assert_eq!(
        does(buckets(RemoveBucket, FIRST, &[])),
        Ok(vec![2, 10, 11, 20, 30])
    );
    assert_eq!(
        does(buckets(RemoveBucket, LAST, &[])),
        Ok(vec![2, 10, 11, 20])
    );
    assert_eq!(does(buckets(RemoveBucket, 10, &[])), Ok(vec![2, 11, 20]));
    assert_eq!(
        does(buckets(RemoveBucket, 10, &[])),
        Err(Refused::UnknownBucket(one))
    );
    let group = tables.pipeline().group(one).unwrap();
    assert_eq!(group.buckets[2].stats.counters().packets, 3);
    assert_eq!(group.stats.counters().packets, 3);
    assert_eq!(
        tables
            .group_mod(&buckets(RemoveBucket, ALL, &[]), 0)
            .map(|_| ids(&tables)),
        Ok(vec![])
    );
}
