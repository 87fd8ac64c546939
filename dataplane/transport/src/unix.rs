//! Unix sockets that operators may use: mode 0660, group `sluice` where there is one.

use std::io;
use std::os::unix::fs::{FileTypeExt, PermissionsExt};
use std::os::unix::net::UnixStream as BlockingStream;
use std::path::Path;

use tokio::net::UnixListener;

/// Group that may use the sockets.
const GROUP: &str = "sluice";

/// Listens on a path. A socket that a former process left behind is replaced, one that is in use
/// is not.
///
/// # Errors
/// What the system says; `AddrInUse` for a socket in use.
pub fn listen(path: &Path) -> io::Result<UnixListener> {
    if let Some(folder) = path.parent() {
        std::fs::create_dir_all(folder)?;
    }
    if let Ok(kind) = std::fs::symlink_metadata(path) {
        if !kind.file_type().is_socket() {
            return Err(io::Error::new(
                io::ErrorKind::AlreadyExists,
                "there is a file that is no socket",
            ));
        }
        if BlockingStream::connect(path).is_ok() {
            return Err(io::Error::new(
                io::ErrorKind::AddrInUse,
                "another process listens there",
            ));
        }
        std::fs::remove_file(path)?;
    }
    let listener = UnixListener::bind(path)?;
    std::fs::set_permissions(path, std::fs::Permissions::from_mode(0o660))?;
    let group = std::fs::read_to_string("/etc/group").unwrap_or_default();
    if let Some(gid) = group_id(&group, GROUP)
        && let Err(error) = std::os::unix::fs::chown(path, None, Some(gid))
    {
        tracing::warn!(
            "{}: cannot give it to group {GROUP}: {error}",
            path.display()
        );
    }
    Ok(listener)
}

/// Number of a group in the text of group(5).
fn group_id(groups: &str, name: &str) -> Option<u32> {
    groups.lines().find_map(|line| {
        let mut fields = line.split(':');
        (fields.next() == Some(name)).then(|| fields.nth(1)?.parse().ok())?
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn groups_are_found_by_name() {
        let groups = "root:x:0:\nsluice:x:993:anna\nsluicex:x:7:\n";
        assert_eq!(group_id(groups, "sluice"), Some(993));
        assert_eq!(group_id(groups, "sluic"), None);
    }

    #[tokio::test(flavor = "current_thread")]
    async fn a_left_over_socket_is_replaced_and_one_in_use_is_not() {
        let path = std::env::temp_dir().join(format!("sluice-socket-{}", std::process::id()));
        drop(std::fs::remove_file(&path));
        let first = listen(&path).unwrap();
        let mode = std::fs::metadata(&path).unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o660);
        assert_eq!(listen(&path).unwrap_err().kind(), io::ErrorKind::AddrInUse);
        drop(first);
        drop(listen(&path).unwrap());
        std::fs::remove_file(&path).unwrap();
        std::fs::write(&path, "precious").unwrap();
        assert!(listen(&path).is_err());
        assert_eq!(std::fs::read(&path).unwrap(), b"precious");
        std::fs::remove_file(&path).unwrap();
    }
}
