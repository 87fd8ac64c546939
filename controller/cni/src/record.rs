//! Which container owns which port, kept in a file per port, and the lock on it.
//!
//! A port is named after the pod, but a pod that was recreated under its old name has a new
//! container, and the runtime may well remove the old one after it added the new one. The record
//! tells the two apart. It lies on a tmpfs: after a reboot there are no ports either.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Read, Seek, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use crate::failure::{Failure, code};

/// Who owns a port.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Owner {
    /// Network of the configuration.
    pub network: String,
    /// `CNI_CONTAINERID`.
    pub container: String,
    /// `CNI_IFNAME`.
    pub interface: String,
    /// The pod's namespace, for people.
    pub namespace: String,
    /// The pod's name, for people.
    pub pod: String,
}

/// The record of one port, locked until dropped: calls for one port take turns.
pub struct Record {
    path: PathBuf,
    file: File,
    owner: Option<Owner>,
}

impl Record {
    /// Opens the record of a port, or an empty one, and locks it.
    ///
    /// # Errors
    /// Names the file.
    pub fn open(dir: &Path, port: &str) -> Result<Self, Failure> {
        let path = dir.join(format!("{port}.json"));
        let broken = |e: io::Error| io_failure(&path, &e);
        fs::create_dir_all(dir).map_err(broken)?;
        loop {
            let file = OpenOptions::new()
                .read(true)
                .write(true)
                .create(true)
                .truncate(false)
                .mode(0o600)
                .open(&path)
                .map_err(broken)?;
            file.lock().map_err(broken)?;
            // Whoever held the lock may have removed the file; then this is a ghost.
            if !same_file(&file, &path) {
                continue;
            }
            let mut text = String::new();
            (&file).read_to_string(&mut text).map_err(broken)?;
            // A torn record (power lost) counts as none: the port is made anew.
            let owner = serde_json::from_str(&text).ok();
            return Ok(Record { path, file, owner });
        }
    }

    /// Ports that have a record.
    ///
    /// # Errors
    /// Names the directory.
    pub fn ports(dir: &Path) -> Result<Vec<String>, Failure> {
        let entries = match fs::read_dir(dir) {
            Ok(entries) => entries,
            Err(e) if e.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
            Err(e) => return Err(io_failure(dir, &e)),
        };
        let name = |entry: fs::DirEntry| {
            let name = entry.file_name().into_string().ok()?;
            name.strip_suffix(".json").map(str::to_owned)
        };
        Ok(entries.flatten().filter_map(name).collect())
    }

    /// Who owns it.
    pub fn owner(&self) -> Option<&Owner> {
        self.owner.as_ref()
    }

    /// Writes down a new owner.
    ///
    /// # Errors
    /// Names the file.
    pub fn write(&mut self, owner: Owner) -> Result<(), Failure> {
        let write = |file: &mut File| {
            file.set_len(0)?;
            file.rewind()?;
            serde_json::to_writer(&*file, &owner)?;
            file.flush()
        };
        write(&mut self.file).map_err(|e| io_failure(&self.path, &e))?;
        self.owner = Some(owner);
        Ok(())
    }

    /// Removes the record.
    ///
    /// # Errors
    /// Names the file.
    pub fn remove(self) -> Result<(), Failure> {
        match fs::remove_file(&self.path) {
            Err(e) if e.kind() != io::ErrorKind::NotFound => Err(io_failure(&self.path, &e)),
            _ => Ok(()),
        }
    }
}

fn same_file(file: &File, path: &Path) -> bool {
    use std::os::unix::fs::MetadataExt;
    match (file.metadata(), fs::metadata(path)) {
        (Ok(a), Ok(b)) => (a.dev(), a.ino()) == (b.dev(), b.ino()),
        _ => false,
    }
}

fn io_failure(path: &Path, error: &io::Error) -> Failure {
    let msg = format!("cannot use {}", path.display());
    Failure::new(code::IO, msg).with(error)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn owner(container: &str) -> Owner {
        Owner {
            network: "sluice".into(),
            container: container.into(),
            interface: "eth0".into(),
            namespace: "bank".into(),
            pod: "web-1".into(),
        }
    }

    #[test]
    fn an_owner_is_remembered_replaced_and_forgotten() {
        let dir = std::env::temp_dir().join(format!("sluice-cni-record-{}", std::process::id()));
        let mut record = Record::open(&dir, "slx").unwrap();
        assert_eq!(record.owner(), None);
        record.write(owner("a-long-container-id")).unwrap();
        record.write(owner("b")).unwrap();
        drop(record);
        let record = Record::open(&dir, "slx").unwrap();
        assert_eq!(record.owner(), Some(&owner("b")));
        assert_eq!(Record::ports(&dir).unwrap(), ["slx"]);
        record.remove().unwrap();
        assert_eq!(Record::ports(&dir).unwrap(), Vec::<String>::new());
        fs::remove_dir_all(dir).unwrap();
    }

    #[test]
    fn a_second_call_waits_and_then_sees_a_fresh_record() {
        let dir = std::env::temp_dir().join(format!("sluice-cni-lock-{}", std::process::id()));
        let mut first = Record::open(&dir, "slx").unwrap();
        first.write(owner("a")).unwrap();
        let (entered, waiting) = std::sync::mpsc::channel();
        let second = std::thread::spawn({
            let dir = dir.clone();
            move || {
                entered.send(()).unwrap();
                Record::open(&dir, "slx").unwrap().owner().cloned()
            }
        });
        waiting.recv().unwrap();
        std::thread::sleep(std::time::Duration::from_millis(50));
        assert!(!second.is_finished());
        first.remove().unwrap();
        // `remove` unlinked the file the other call had opened: it starts over with a new one.
        assert_eq!(second.join().unwrap(), None);
        fs::remove_dir_all(dir).unwrap();
    }
}
