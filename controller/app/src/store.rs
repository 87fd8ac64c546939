//! The state directory: who holds which address, kept over restarts.

use std::fs::{DirBuilder, File, OpenOptions};
use std::io::Write;
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use anyhow::{Context, bail};
use cluster::State;

const FILE: &str = "addresses.json";

/// The directory, locked for this process.
#[derive(Debug)]
pub struct Store {
    path: PathBuf,
    written: String,
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
        let path = directory.join(FILE);
        let written = match std::fs::read_to_string(&path) {
            Ok(text) => text,
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => String::new(),
            Err(error) => bail!("{}: {error}", path.display()),
        };
        let state = if written.is_empty() {
            State::default()
        } else {
            State::from_json(&written).with_context(|| path.display().to_string())?
        };
        let store = Store {
            path,
            written,
            _lock: lock,
        };
        Ok((store, state))
    }

    /// Keeps the state: all of it or, if that fails, what was kept before.
    pub fn save(&mut self, state: &State) -> anyhow::Result<()> {
        let text = state.to_json();
        if text == self.written {
            return Ok(());
        }
        self.replace(&text)
            .with_context(|| format!("{}: cannot be written", self.path.display()))?;
        self.written = text;
        Ok(())
    }

    /// Written beside, flushed, then renamed over the old one: a crash leaves one or the other.
    fn replace(&self, text: &str) -> std::io::Result<()> {
        let new = self.path.with_extension("json.new");
        let mut options = OpenOptions::new();
        let options = options.create(true).truncate(true).write(true).mode(0o640);
        let mut file = options.open(&new)?;
        file.write_all(text.as_bytes())?;
        file.sync_all()?;
        std::fs::rename(&new, &self.path)?;
        let directory = self.path.parent().unwrap_or(Path::new("."));
        File::open(directory)?.sync_all()
    }
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
