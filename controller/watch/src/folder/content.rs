//! What each file of the folder says, and what it said when it could last be read.

use std::collections::{BTreeMap, BTreeSet};
use std::fs::{self, Metadata};
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use cluster::ObjectRef;
use tracing::{info, warn};

use super::document::{self, Document};
use super::objects::Objects;
use crate::object::{self, BadObject, Object, Reading};
use crate::source::{Snapshot, SourceProblem};

/// Nobody's manifests are larger; a larger file is something else.
const LARGEST_FILE: u64 = 256 << 20;

/// Time stamps of files are no finer than this; the coarsest tick of a kernel is 10 ms.
const RESOLUTION: Duration = Duration::from_millis(20);

/// Groups whose kinds ask for something of the network: that we do not do it is worth a warning.
const NETWORK_GROUPS: [&str; 3] = [
    "kubeovn.io/",
    "networking.k8s.io/",
    "policy.networking.k8s.io/",
];

/// The folder as it was last read.
pub(super) struct Content {
    root: PathBuf,
    files: BTreeMap<Arc<Path>, File>,
    objects: Objects,
    /// False until every file has been read once.
    started: bool,
    /// What is wrong with the folder itself.
    root_problem: Option<SourceProblem>,
    /// Kinds told about already.
    foreign: BTreeSet<String>,
}

pub(super) struct File {
    stamp: Option<Stamp>,
    pub(super) objects: Vec<Entry>,
    problems: Vec<SourceProblem>,
    /// True while something that was there from the start has never been readable: it may speak of
    /// what an earlier process knew. What comes later and cannot be read has never been in force.
    unknown: bool,
}

pub(super) struct Entry {
    pub(super) line: u64,
    pub(super) object: Object,
}

/// What changes when a file does.
#[derive(Clone, Copy, PartialEq, Eq)]
struct Stamp {
    modified: SystemTime,
    length: u64,
    inode: u64,
}

impl Stamp {
    /// `None` for a file that has only just been written: it could be written once more within
    /// the resolution of its time stamp, so it has to be read again at the next look.
    fn of(metadata: &Metadata) -> Option<Self> {
        use std::os::unix::fs::MetadataExt;
        let modified = metadata.modified().ok()?;
        let age = SystemTime::now().duration_since(modified).ok()?;
        (age > RESOLUTION).then(|| Stamp {
            modified,
            length: metadata.len(),
            inode: metadata.ino(),
        })
    }
}

impl Content {
    pub(super) fn new(root: PathBuf) -> Self {
        Content {
            root,
            files: BTreeMap::new(),
            objects: Objects::default(),
            started: false,
            root_problem: None,
            foreign: BTreeSet::new(),
        }
    }

    /// Reads what has changed; true if anything has.
    pub(super) fn refresh(&mut self) -> bool {
        let found = match manifests(&self.root) {
            Ok(found) => found,
            Err(error) => {
                // Everything stays as it was: a folder that is away for a moment (a mount, a
                // checkout) must not take the network with it.
                let problem = SourceProblem {
                    file: self.root.clone(),
                    line: None,
                    object: None,
                    field: String::new(),
                    message: format!(
                        "cannot be read ({error}); what it said before stays in force"
                    ),
                };
                let changed = self.root_problem.as_ref() != Some(&problem);
                self.root_problem = Some(problem);
                return changed;
            }
        };
        let mut changed = self.root_problem.take().is_some();
        let gone = self
            .files
            .keys()
            .filter(|path| !found.contains_key(&***path));
        let gone: Vec<Arc<Path>> = gone.cloned().collect();
        for path in gone {
            changed = true;
            let previous = self.files.remove(&path);
            self.objects.claim(&path, previous.as_ref(), None);
        }
        for (path, stamp) in found {
            let known = self.files.get(&*path);
            if known.is_some_and(|file| file.stamp.is_some() && file.stamp == stamp) {
                continue;
            }
            let path: Arc<Path> = path.into();
            let previous = self.files.remove(&path);
            let file = self.read(&path, stamp, previous.as_ref());
            let same = previous.as_ref().is_some_and(|p| p.says_the_same(&file));
            if !same {
                changed = true;
                self.objects.claim(&path, previous.as_ref(), Some(&file));
            }
            self.files.insert(path, file);
        }
        self.objects.follow(&self.files);
        self.started = true;
        changed
    }

    fn read(&mut self, path: &Path, stamp: Option<Stamp>, previous: Option<&File>) -> File {
        let problem = |line, called, field: &str, message: String| SourceProblem {
            file: path.to_path_buf(),
            line,
            object: called,
            field: field.to_string(),
            message,
        };
        let stays = match previous {
            Some(_) => "the previous version of the file stays in force",
            None => "nothing of it is in force",
        };
        let mut file = File {
            stamp,
            objects: Vec::new(),
            problems: Vec::new(),
            unknown: false,
        };
        let documents = match read_text(path) {
            Ok(text) if is_json(path) => document::json(&text),
            Ok(text) => document::yaml(&text),
            Err(error) => {
                let message = format!("cannot be read ({error}); {stays}");
                file.problems.push(problem(None, None, "", message));
                // Tried again at every look, since the stamp need not change when it is mended.
                file.stamp = None;
                file.unknown = previous.map_or(!self.started, |previous| previous.unknown);
                file.keep(previous, |_| true);
                return file;
            }
        };
        let mut bad_objects: Vec<(u64, BadObject)> = Vec::new();
        let mut bad_syntax = false;
        for Document { line, content } in documents {
            match content {
                Ok(value) => match object::read(&value) {
                    Reading::Object(object) => {
                        let object = *object;
                        file.objects.push(Entry { line, object });
                    }
                    Reading::Foreign { api_version, kind } => {
                        self.tell_foreign(path, &api_version, &kind);
                    }
                    Reading::Bad(bad) => bad_objects.push((line, bad)),
                },
                Err(error) => {
                    bad_syntax = true;
                    let message = format!(
                        "{}; {}",
                        error.message,
                        match previous {
                            Some(_) => "what the file said before and says no more stays in force",
                            None => "this document is not in force",
                        }
                    );
                    file.problems
                        .push(problem(Some(error.line), None, "", message));
                }
            }
        }
        let there: BTreeSet<ObjectRef> = file.objects.iter().map(|e| e.object.id.clone()).collect();
        let (mut nameless, mut unknown) = (bad_syntax, bad_syntax);
        let mut kept: BTreeSet<ObjectRef> = BTreeSet::new();
        for (line, bad) in bad_objects {
            let had = |id: &ObjectRef| previous.is_some_and(|p| p.has(id));
            let consequence = match &bad.id {
                Some(id) if had(id) => {
                    kept.insert(id.clone());
                    "its previous version stays in force"
                }
                _ => {
                    nameless |= bad.id.is_none();
                    unknown = true;
                    "it is not in force"
                }
            };
            let message = format!("{}; {consequence}", bad.message);
            file.problems
                .push(problem(Some(line), bad.called, &bad.field, message));
        }
        file.unknown = unknown && previous.map_or(!self.started, |previous| previous.unknown);
        // Something that has no name was perhaps one of those that are missing now.
        file.keep(previous, |id| {
            (nameless || kept.contains(id)) && !there.contains(id)
        });
        file
    }

    fn tell_foreign(&mut self, path: &Path, api_version: &str, kind: &str) {
        if !self.foreign.insert(format!("{api_version} {kind}")) {
            return;
        }
        let file = path.display();
        if NETWORK_GROUPS
            .iter()
            .any(|group| api_version.starts_with(group))
        {
            warn!(
                "{file}: objects of kind {kind} ({api_version}) are not supported and have no effect"
            );
        } else {
            info!(
                "{file}: objects of kind {kind} ({api_version}) do not concern the network and are skipped"
            );
        }
    }

    /// The cluster as the files say it, and what of it is not as it was in the snapshot before.
    pub(super) fn snapshot(&mut self) -> Snapshot {
        let complete = !self.files.values().any(|file| file.unknown);
        let mut problems: Vec<SourceProblem> = self.root_problem.iter().cloned().collect();
        let contested = self.objects.contested_files();
        for (path, file) in &self.files {
            problems.extend(file.problems.iter().cloned());
            if contested.contains(path) {
                self.objects.report_contested(path, file, &mut problems);
            }
        }
        let (view, changed) = self.objects.picture(complete);
        Snapshot {
            view,
            problems,
            changed,
        }
    }
}

impl File {
    fn has(&self, id: &ObjectRef) -> bool {
        self.objects.iter().any(|entry| entry.object.id == *id)
    }

    /// Keeps objects of the previous version in force.
    fn keep(&mut self, previous: Option<&File>, which: impl Fn(&ObjectRef) -> bool) {
        let before = previous.iter().flat_map(|previous| &previous.objects);
        let kept = before.filter(|entry| which(&entry.object.id));
        self.objects.extend(kept.map(|entry| Entry {
            line: entry.line,
            object: entry.object.clone(),
        }));
    }

    fn says_the_same(&self, other: &File) -> bool {
        self.problems == other.problems
            && self.unknown == other.unknown
            && self.objects.len() == other.objects.len()
            && self
                .objects
                .iter()
                .zip(&other.objects)
                .all(|(a, b)| a.object == b.object)
    }
}

fn is_json(path: &Path) -> bool {
    path.extension().is_some_and(|ext| ext == "json")
}

fn read_text(path: &Path) -> io::Result<String> {
    if fs::metadata(path)?.len() > LARGEST_FILE {
        let message = format!("larger than {} MiB", LARGEST_FILE >> 20);
        return Err(io::Error::new(io::ErrorKind::FileTooLarge, message));
    }
    String::from_utf8(fs::read(path)?)
        .map_err(|_| io::Error::new(io::ErrorKind::InvalidData, "not UTF-8 text"))
}

/// Every manifest below the folder: `.yaml`, `.yml` and `.json`, hidden files and folders left out
/// (editors' copies, `.git`, the `..data` of a mounted ConfigMap). Links to files are followed,
/// links to folders are not.
fn manifests(root: &Path) -> io::Result<BTreeMap<PathBuf, Option<Stamp>>> {
    let mut found = BTreeMap::new();
    let mut folders = vec![root.to_path_buf()];
    while let Some(folder) = folders.pop() {
        let entries = match fs::read_dir(&folder) {
            Ok(entries) => entries,
            // A folder that went away since it was listed has no manifests.
            Err(error) if error.kind() == io::ErrorKind::NotFound && folder != root => continue,
            Err(error) => return Err(error),
        };
        for entry in entries {
            let entry = entry?;
            let path = entry.path();
            if entry.file_name().as_encoded_bytes().starts_with(b".") {
                continue;
            }
            if entry.file_type()?.is_dir() {
                folders.push(path);
                continue;
            }
            let extension = path.extension().and_then(|ext| ext.to_str());
            if !matches!(extension, Some("yaml" | "yml" | "json")) {
                continue;
            }
            match fs::metadata(&path) {
                Ok(metadata) if metadata.is_dir() => {}
                Ok(metadata) => {
                    found.insert(path, Stamp::of(&metadata));
                }
                // Gone since it was listed, or a link that leads nowhere: not there.
                Err(error) if error.kind() == io::ErrorKind::NotFound => {}
                Err(_) => {
                    found.insert(path, None);
                }
            }
        }
    }
    Ok(found)
}
