//! The state directory: who holds which address, kept over restarts.
//!
//! `addresses.json` is the state as it was at some time, `addresses.journal` has a line for each
//! change since. When the journal is longer than the state itself, the state is written anew. A line
//! counts when it is on the disk with its line end; what a crash has left of a last one was never
//! acted upon.

use std::fs::{DirBuilder, File, OpenOptions};
use std::io::Write;
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use anyhow::{Context, bail};
use cluster::State;

const FILE: &str = "addresses.json";
const JOURNAL: &str = "addresses.journal";
/// Bytes of journal that are no reason to write the state anew, however small it is.
const SMALL: usize = 1 << 16;

/// The directory, locked for this process.
#[derive(Debug)]
pub struct Store {
    path: PathBuf,
    /// Bytes of the state as it was written last.
    whole: usize,
    journal: File,
    /// Bytes of the journal that are whole lines.
    lines: usize,
    /// There is more in the journal than whole lines.
    torn: bool,
    /// What is kept.
    saved: State,
    _lock: File,
}

impl Store {
    /// Opens the directory, makes it if it is not there, and reads what was kept.
    pub fn open(directory: &Path) -> anyhow::Result<(Store, State)> {
        let shown = directory.display();
        DirBuilder::new()
            .recursive(true)
            .mode(0o750)
            .create(directory)
            .with_context(|| {
                format!("--state {shown}: cannot be made; name a directory that can")
            })?;
        let mut options = OpenOptions::new();
        let lock = options.create(true).truncate(false).write(true).mode(0o640);
        let lock = lock
            .open(directory.join("lock"))
            .with_context(|| format!("--state {shown}: cannot be written"))?;
        if lock.try_lock().is_err() {
            bail!("--state {shown}: another sluice-controller uses it; stop it, or name another");
        }
        let (path, journal) = (directory.join(FILE), directory.join(JOURNAL));
        let written = read(&path)?;
        let mut state = if written.is_empty() {
            State::default()
        } else {
            let text = String::from_utf8_lossy(&written);
            State::from_json(&text).with_context(|| path.display().to_string())?
        };
        let changes = read(&journal)?;
        let lines = replay(&mut state, &changes).with_context(|| journal.display().to_string())?;
        let mut options = OpenOptions::new();
        let options = options.create(true).append(true).mode(0o640);
        let file = options
            .open(&journal)
            .and_then(|file| File::open(directory)?.sync_all().map(|()| file))
            .with_context(|| format!("{}: cannot be written", journal.display()))?;
        let store = Store {
            path,
            whole: written.len(),
            journal: file,
            lines,
            torn: lines < changes.len(),
            saved: state.version(),
            _lock: lock,
        };
        Ok((store, state))
    }

    /// Keeps the state: all of it or, if that fails, what was kept before.
    pub fn save(&mut self, state: &State) -> anyhow::Result<()> {
        let Some(mut line) = state.change_since(&self.saved) else {
            return Ok(());
        };
        line.push('\n');
        self.append(&line)
            .with_context(|| format!("{}: cannot be written", self.shown()))?;
        self.saved = state.version();
        // Kept already: what fails here is tried again with the next change.
        if self.lines > self.whole.max(SMALL)
            && let Err(error) = self.replace(&state.to_json())
        {
            tracing::warn!("{}: grows; it cannot be shortened: {error}", self.shown());
        }
        Ok(())
    }

    fn shown(&self) -> String {
        self.path.with_file_name(JOURNAL).display().to_string()
    }

    fn append(&mut self, line: &str) -> std::io::Result<()> {
        if self.torn {
            self.journal.set_len(self.lines as u64)?;
        }
        self.torn = true; // until it is all there
        self.journal.write_all(line.as_bytes())?;
        self.journal.sync_data()?;
        self.torn = false;
        self.lines += line.len();
        Ok(())
    }

    /// Written beside, flushed, then renamed over the old one: a crash leaves one or the other. A
    /// crash before the journal is emptied does no harm: its lines end in the same state.
    fn replace(&mut self, text: &str) -> std::io::Result<()> {
        let new = self.path.with_extension("json.new");
        let mut options = OpenOptions::new();
        let options = options.create(true).truncate(true).write(true).mode(0o640);
        let mut file = options.open(&new)?;
        file.write_all(text.as_bytes())?;
        file.sync_all()?;
        std::fs::rename(&new, &self.path)?;
        let directory = self.path.parent().unwrap_or(Path::new("."));
        File::open(directory)?.sync_all()?;
        self.whole = text.len();
        self.journal.set_len(0)?;
        self.lines = 0;
        self.journal.sync_all()
    }
}

fn read(path: &Path) -> anyhow::Result<Vec<u8>> {
    match std::fs::read(path) {
        Ok(bytes) => Ok(bytes),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(Vec::new()),
        Err(error) => bail!("{}: {error}", path.display()),
    }
}

/// Applies the journal's lines; gives how many bytes of it they are. A last line that is none was
/// being written when somebody died.
fn replay(state: &mut State, journal: &[u8]) -> anyhow::Result<usize> {
    let mut done = 0;
    for (number, line) in journal.split_inclusive(|byte| *byte == b'\n').enumerate() {
        let text = line.strip_suffix(b"\n");
        let applied = text.is_some_and(|text| {
            std::str::from_utf8(text).is_ok_and(|text| state.apply(text).is_ok())
        });
        if !applied && done + line.len() == journal.len() {
            break;
        }
        if !applied {
            bail!(
                "line {} is damaged; move the file away to start with what {FILE} alone says",
                number + 1
            );
        }
        done += line.len();
    }
    Ok(done)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_saved_is_read_again_and_two_processes_cannot_share_it() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("state");
        let (mut store, state) = Store::open(&path).unwrap();
        assert_eq!(state, State::default());
        store.save(&state).unwrap();
        let second = Store::open(&path).unwrap_err().to_string();
        assert!(second.contains("another sluice-controller"), "{second}");
        drop(store);
        assert_eq!(Store::open(&path).unwrap().1, state);
    }

    /// A state of so many Services' addresses.
    fn state(count: u8) -> State {
        let mut state = State::default();
        for n in 0..count {
            let line =
                format!(r#"{{"balanced":{{"bank/web-{n}":["10.0.0.{n}"]}},"next_release":{n}}}"#);
            state.apply(&line).unwrap();
        }
        state
    }

    #[test]
    fn changes_are_lines_and_a_line_that_was_being_written_is_forgotten() {
        let directory = tempfile::tempdir().unwrap();
        let (mut store, _) = Store::open(directory.path()).unwrap();
        store.save(&state(1)).unwrap();
        store.save(&state(2)).unwrap();
        drop(store);
        let journal = directory.path().join(JOURNAL);
        let written = std::fs::read(&journal).unwrap();
        let lines = written.iter().filter(|byte| **byte == b'\n').count();
        assert_eq!((lines, directory.path().join(FILE).exists()), (2, false));
        for cut in 1..30 {
            let end = written.len() - cut;
            for tail in [&[][..], &[0, 0, b'\n']] {
                std::fs::write(&journal, [&written[..end], tail].concat()).unwrap();
                let (mut store, read) = Store::open(directory.path()).unwrap();
                assert_eq!(read, state(1), "{cut} bytes less");
                store.save(&state(3)).unwrap();
                drop(store);
                assert_eq!(Store::open(directory.path()).unwrap().1, state(3));
            }
        }
    }

    #[test]
    fn a_damaged_line_before_others_stops_the_start() {
        let directory = tempfile::tempdir().unwrap();
        std::fs::write(
            directory.path().join(JOURNAL),
            "{\"next_release\":1}\nnothing\n{\"next_release\":2}\n",
        )
        .unwrap();
        let error = format!("{:#}", Store::open(directory.path()).unwrap_err());
        assert!(
            error.contains("line 2") && error.contains("move the file away"),
            "{error}"
        );
    }

    #[test]
    fn a_long_journal_becomes_a_state_and_a_crash_between_the_two_does_no_harm() {
        let directory = tempfile::tempdir().unwrap();
        let (mut store, mut before) = Store::open(directory.path()).unwrap();
        let journal = directory.path().join(JOURNAL);
        let mut all = String::new();
        for round in 0..2000 {
            let next = state(if round % 2 == 0 { 200 } else { 150 });
            all.extend(next.change_since(&before));
            all.push('\n');
            store.save(&next).unwrap();
            if std::fs::read(&journal).unwrap().is_empty() {
                assert!(round > 5, "not before it is worth it");
                drop(store);
                assert_eq!(Store::open(directory.path()).unwrap().1, next);
                std::fs::write(&journal, &all).unwrap();
                assert_eq!(Store::open(directory.path()).unwrap().1, next);
                return;
            }
            before = next;
        }
        panic!("the journal grew for ever");
    }

    #[test]
    fn a_damaged_file_stops_the_start_and_is_left_alone() {
        let directory = tempfile::tempdir().unwrap();
        std::fs::write(directory.path().join(FILE), "{not json").unwrap();
        let error = format!("{:#}", Store::open(directory.path()).unwrap_err());
        assert!(error.contains("move it away"), "{error}");
        let kept = std::fs::read_to_string(directory.path().join(FILE)).unwrap();
        assert_eq!(kept, "{not json");
    }
}
