//! Single buckets of a group (OpenFlow 1.5.1, 6.7 and 7.3.4.3).

use std::collections::HashSet;

use openflow::model::{Bucket, GroupCommand, GroupMod, GroupType};

use super::{Change, Tables};
use crate::Refused;
use crate::group::Group;

/// Highest number of a bucket (OFPG_BUCKET_MAX).
const BUCKET_MAX: u32 = 0xffff_ff00;
/// The first bucket (OFPG_BUCKET_FIRST).
const BUCKET_FIRST: u32 = 0xffff_fffd;
/// The last bucket (OFPG_BUCKET_LAST).
const BUCKET_LAST: u32 = 0xffff_fffe;
/// Every bucket (OFPG_BUCKET_ALL).
const BUCKET_ALL: u32 = 0xffff_ffff;

impl Tables {
    /// Inserts or removes buckets; the other buckets keep their counters, and the group its type.
    pub(super) fn change_buckets(&mut self, request: &GroupMod) -> Result<Vec<Change>, Refused> {
        let id = request.group;
        let old = self.next.group(id).ok_or(Refused::UnknownGroup(id))?;
        let old = old.clone();
        let held = old.buckets.iter().map(|b| b.bucket.clone()).collect();
        let inserts = request.command == GroupCommand::InsertBucket;
        let mut changed = GroupMod {
            command: GroupCommand::Modify,
            kind: old.kind,
            group: id,
            command_bucket_id: BUCKET_ALL,
            buckets: match inserts {
                true => inserted(held, request)?,
                false => removed(held, request)?,
            },
            selection: request
                .selection
                .clone()
                .filter(|_| inserts)
                .or_else(|| old.selection.clone()),
            properties: Vec::new(),
        };
        // The request does not say the group's type, so its weights may mean nothing.
        if old.kind != GroupType::Select {
            changed.buckets.iter_mut().for_each(|b| b.weight = 0);
        }
        self.check_group(&changed)?;
        let mut group = Group::new(&changed, old.created);
        group.stats = old.stats.clone();
        for bucket in &mut group.buckets {
            let same = |b: &&crate::GroupBucket| b.bucket.id == bucket.bucket.id;
            if let Some(kept) = old.buckets.iter().find(same) {
                bucket.stats = kept.stats.clone();
            }
        }
        self.put_group(group);
        Ok(Vec::new())
    }
}

fn inserted(mut held: Vec<Bucket>, request: &GroupMod) -> Result<Vec<Bucket>, Refused> {
    let ids: HashSet<u32> = held.iter().map(|bucket| bucket.id).collect();
    if request.buckets.iter().any(|b| ids.contains(&b.id)) {
        return Err(Refused::BucketExists(request.group));
    }
    let at = match request.command_bucket_id {
        BUCKET_FIRST => 0,
        BUCKET_LAST => held.len(),
        id => 1 + place(&held, id, request)?,
    };
    held.splice(at..at, request.buckets.iter().cloned());
    Ok(held)
}

fn removed(mut held: Vec<Bucket>, request: &GroupMod) -> Result<Vec<Bucket>, Refused> {
    let at = match request.command_bucket_id {
        BUCKET_ALL => return Ok(Vec::new()),
        BUCKET_FIRST if !held.is_empty() => 0,
        BUCKET_LAST if !held.is_empty() => held.len() - 1,
        id => place(&held, id, request)?,
    };
    held.remove(at);
    Ok(held)
}

fn place(held: &[Bucket], id: u32, request: &GroupMod) -> Result<usize, Refused> {
    let at = held.iter().position(|bucket| bucket.id == id);
    at.ok_or(Refused::UnknownBucket(request.group))
}

/// Refuses numbers that are reserved or given twice.
pub(super) fn check_ids(request: &GroupMod) -> Result<(), Refused> {
    let mut seen = HashSet::new();
    for bucket in &request.buckets {
        if bucket.id > BUCKET_MAX {
            return Err(Refused::BadBucket(request.group));
        }
        if !seen.insert(bucket.id) {
            return Err(Refused::BadBucket(request.group));
        }
    }
    Ok(())
}
