//! The objects of all files as one view, in which only what changes is touched.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::path::Path;
use std::sync::Arc;

use cluster::{Changes, ClusterView, ObjectRef};

use super::content::File;
use crate::object::{self, Object};
use crate::source::SourceProblem;

/// Every object, and which files it is in: the first of them is followed.
#[derive(Default)]
pub(super) struct Objects {
    view: Arc<ClusterView>,
    files_of: HashMap<ObjectRef, BTreeSet<Arc<Path>>>,
    /// Objects that a file has more than once.
    repeated: BTreeSet<(ObjectRef, Arc<Path>)>,
    /// Objects that are in more than one place.
    contested: BTreeSet<ObjectRef>,
    /// Objects of files that were read anew, if they are not what they were there.
    touched: BTreeSet<ObjectRef>,
    /// What differs from the last picture; none: there was none yet.
    changed: Option<Changes>,
}

impl Objects {
    /// A file says something else than before; none: it was not there, or is gone.
    pub fn claim(&mut self, path: &Arc<Path>, before: Option<&File>, now: Option<&File>) {
        let (before, now) = (by_name(before), by_name(now));
        for id in before.keys().filter(|id| !now.contains_key(*id)) {
            self.touched.insert((*id).clone());
            self.repeated.remove(&((*id).clone(), path.clone()));
            if let Some(files) = self.files_of.get_mut(*id) {
                files.remove(path);
            }
        }
        for (id, said) in &now {
            if before.get(id) == Some(said) {
                continue;
            }
            self.touched.insert((*id).clone());
            let files = self.files_of.entry((*id).clone()).or_default();
            files.insert(path.clone());
            let place = ((*id).clone(), path.clone());
            match said.times > 1 {
                true => self.repeated.insert(place),
                false => self.repeated.remove(&place),
            };
        }
    }

    /// Brings the view up to date.
    pub fn follow(&mut self, files: &BTreeMap<Arc<Path>, File>) {
        if self.touched.is_empty() {
            return;
        }
        let view = Arc::make_mut(&mut self.view);
        let mut changed = BTreeSet::new();
        let mut of_file: BTreeMap<Arc<Path>, BTreeSet<ObjectRef>> = BTreeMap::new();
        for id in std::mem::take(&mut self.touched) {
            let there = self.files_of.get(&id).filter(|files| !files.is_empty());
            let Some(there) = there else {
                self.files_of.remove(&id);
                self.contested.remove(&id);
                if object::remove(view, &id) {
                    changed.insert(id);
                }
                continue;
            };
            let repeated = |path: &Arc<Path>| self.repeated.contains(&(id.clone(), path.clone()));
            match there.len() > 1 || there.iter().any(repeated) {
                true => self.contested.insert(id.clone()),
                false => self.contested.remove(&id),
            };
            if let Some(first) = there.first() {
                of_file.entry(first.clone()).or_default().insert(id);
            }
        }
        for (path, mut ids) in of_file {
            let entries = files.get(&path).into_iter().flat_map(|file| &file.objects);
            for entry in entries {
                // The first of its name.
                if ids.remove(&entry.object.id) && entry.object.clone().replace_in(view) {
                    changed.insert(entry.object.id.clone());
                }
            }
        }
        if let Some(all) = &mut self.changed {
            all.merge(Changes::Objects(changed));
        }
    }

    /// Files that have something that is in more than one place.
    pub fn contested_files(&self) -> BTreeSet<&Arc<Path>> {
        let files = self.contested.iter();
        files
            .filter_map(|id| self.files_of.get(id))
            .flatten()
            .collect()
    }

    /// What of a file is not followed, because another place says it already.
    pub fn report_contested(
        &self,
        path: &Arc<Path>,
        file: &File,
        problems: &mut Vec<SourceProblem>,
    ) {
        let mut met = BTreeSet::new();
        for entry in &file.objects {
            let id = &entry.object.id;
            if !self.contested.contains(id) {
                continue;
            }
            let first = self.files_of.get(id).and_then(|files| files.first());
            let first = first.unwrap_or(path);
            if met.insert(id) && first == path {
                continue;
            }
            problems.push(SourceProblem {
                file: path.to_path_buf(),
                line: Some(entry.line),
                object: Some(id.to_string()),
                field: "metadata.name".into(),
                message: format!(
                    "is in {} already, which is followed; remove one of the two",
                    first.display()
                ),
            });
        }
    }

    /// The cluster, and what of it is not as it was in the picture before.
    pub fn picture(&mut self, complete: bool) -> (Arc<ClusterView>, Changes) {
        if self.view.complete != complete {
            Arc::make_mut(&mut self.view).complete = complete;
        }
        let changed = self.changed.replace(Changes::none());
        (self.view.clone(), changed.unwrap_or(Changes::Everything))
    }
}

/// What a file says of an object: the first time, and how often.
#[derive(PartialEq)]
struct Said<'a> {
    object: &'a Object,
    times: usize,
}

fn by_name(file: Option<&File>) -> HashMap<&ObjectRef, Said<'_>> {
    let mut all: HashMap<&ObjectRef, Said<'_>> = HashMap::new();
    for entry in file.into_iter().flat_map(|file| &file.objects) {
        let object = &entry.object;
        let said = all.entry(&object.id).or_insert(Said { object, times: 0 });
        said.times += 1;
    }
    all
}
