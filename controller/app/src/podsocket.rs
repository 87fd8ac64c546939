//! The local socket: `sluice-cni` asks it what a pod's interface shall be (`cluster::podapi`),
//! `sluicectl` whatever an operator wants to know (`cluster::query`).

use std::io;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context;
use cluster::DesiredState;
use cluster::podapi::{self, Reply, Request};
use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader};
use tokio::net::{UnixListener, UnixStream};
use tokio::sync::watch;

use crate::desk::Desk;

/// Longest question; a real one has three names of at most 253 characters.
const LONGEST: u64 = 4096;
/// How long a connection may be silent.
const PATIENCE: Duration = Duration::from_secs(60);

/// The socket; removed when dropped.
#[derive(Debug)]
pub struct PodSocket {
    listener: UnixListener,
    path: PathBuf,
}

impl PodSocket {
    /// Binds, 0660; what a dead process left is replaced.
    pub fn bind(path: &Path) -> anyhow::Result<PodSocket> {
        let shown = path.display();
        if let Some(directory) = path.parent() {
            std::fs::create_dir_all(directory)
                .with_context(|| format!("--socket {shown}: no directory for it"))?;
        }
        if std::os::unix::net::UnixStream::connect(path).is_ok() {
            anyhow::bail!("--socket {shown}: another sluice-controller listens there; stop it");
        }
        match std::fs::remove_file(path) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => {
                return Err(error).with_context(|| format!("--socket {shown}"));
            }
            _ => {}
        }
        let listener = UnixListener::bind(path).with_context(|| format!("--socket {shown}"))?;
        std::fs::set_permissions(path, std::fs::Permissions::from_mode(0o660))?;
        Ok(PodSocket {
            listener,
            path: path.into(),
        })
    }

    /// Answers for ever.
    pub async fn serve(self, state: watch::Receiver<Option<Arc<DesiredState>>>, desk: Desk) {
        loop {
            match self.listener.accept().await {
                Ok((stream, _)) => {
                    tokio::spawn(answer_all(stream, state.clone(), desk.clone()));
                }
                Err(error) => {
                    tracing::error!("{}: {error}", self.path.display());
                    tokio::time::sleep(Duration::from_secs(1)).await;
                }
            }
        }
    }
}

impl Drop for PodSocket {
    fn drop(&mut self) {
        // Best effort: what is left is replaced at the next start.
        let _ = std::fs::remove_file(&self.path);
    }
}

/// One line asked, one line answered, until the other side has had enough.
async fn answer_all(
    stream: UnixStream,
    state: watch::Receiver<Option<Arc<DesiredState>>>,
    desk: Desk,
) {
    let (read, mut write) = stream.into_split();
    let mut lines = BufReader::new(read);
    loop {
        let mut line = Vec::new();
        let mut limited = (&mut lines).take(LONGEST);
        let asked = tokio::time::timeout(PATIENCE, limited.read_until(b'\n', &mut line));
        match asked.await {
            Ok(Ok(length)) if length > 0 => {}
            _ => return,
        }
        let text = match is_question(&line) {
            true => serde_json::to_vec(&desk.answer(&line).await),
            false => serde_json::to_vec(&answer(&line, state.borrow().as_deref())),
        };
        let Ok(mut text) = text else {
            return;
        };
        text.push(b'\n');
        if write.write_all(&text).await.is_err() || line.last() != Some(&b'\n') {
            return;
        }
    }
}

/// Operators' questions say which they are.
fn is_question(line: &[u8]) -> bool {
    let said = serde_json::from_slice::<serde_json::Value>(line);
    said.is_ok_and(|said| said.get("request").is_some())
}

fn answer(line: &[u8], state: Option<&DesiredState>) -> Reply {
    let request: Request = match serde_json::from_slice(line) {
        Ok(request) => request,
        Err(error) => {
            return Reply::Refused(format!("not a question this controller knows: {error}"));
        }
    };
    match state {
        Some(state) => podapi::answer(state, &request),
        None => Reply::Waiting("the controller to read its source".into()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_bad_question_is_refused_and_an_early_one_waits() {
        let Reply::Refused(why) = answer(b"{}\n", None) else {
            panic!()
        };
        assert!(why.contains("missing field"), "{why}");
        let early = br#"{"namespace":"bank","pod":"web-1","interface":"eth0"}"#;
        assert!(matches!(answer(early, None), Reply::Waiting(_)));
        let state = DesiredState::default();
        let Reply::Waiting(what) = answer(early, Some(&state)) else {
            panic!()
        };
        assert!(what.contains("bank/web-1"), "{what}");
    }
}
