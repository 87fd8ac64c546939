//! A blocking client.

use std::io::{BufRead, BufReader, Read, Write};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::time::Duration;

use crate::{Reply, Request, line};

/// Longest reply read, in bytes: a dump of some hundred thousand flows.
const MAX_REPLY: u64 = 1 << 30;

/// Why a request got no answer, or a refusal.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// No dataplane there.
    #[error(
        "cannot reach the dataplane at {path}: {source}; is sluice-dataplane running, and may you open its socket?"
    )]
    Connect {
        /// The socket.
        path: PathBuf,
        /// Why.
        source: std::io::Error,
    },
    /// It went away or kept silent for too long.
    #[error("the dataplane at {path} did not answer: {reason}")]
    Silent {
        /// The socket.
        path: PathBuf,
        /// Why.
        reason: String,
    },
    /// It answered with something else than this version knows.
    #[error("the dataplane at {path} answered what this version does not understand: {reason}")]
    NotUnderstood {
        /// The socket.
        path: PathBuf,
        /// What was odd.
        reason: String,
    },
    /// It refused; the text is its own.
    #[error("{0}")]
    Refused(String),
}

/// A connection to the admin socket of a dataplane.
#[derive(Debug)]
pub struct Client {
    path: PathBuf,
    stream: BufReader<UnixStream>,
    timeout: Duration,
}

impl Client {
    /// Connects; every later read and write may take `timeout` at most.
    ///
    /// # Errors
    /// [`Error::Connect`].
    pub fn connect(path: impl AsRef<Path>, timeout: Duration) -> Result<Self, Error> {
        let path = path.as_ref().to_path_buf();
        let connect = |path: &Path| {
            let stream = UnixStream::connect(path)?;
            stream.set_read_timeout(Some(timeout))?;
            stream.set_write_timeout(Some(timeout))?;
            Ok(stream)
        };
        match connect(&path) {
            Ok(stream) => Ok(Client {
                path,
                stream: BufReader::new(stream),
                timeout,
            }),
            Err(source) => Err(Error::Connect { path, source }),
        }
    }

    /// Asks and waits for the answer. For [`Request::PortWaitOpen`] the time it may take is added.
    ///
    /// # Errors
    /// [`Error::Refused`] with the dataplane's words, or why there was no answer.
    pub fn call(&mut self, request: &Request) -> Result<Reply, Error> {
        let extra = match request {
            Request::PortWaitOpen { timeout_ms, .. } => Duration::from_millis(*timeout_ms),
            _ => Duration::ZERO,
        };
        let wait = self.timeout + extra;
        let answer = self.exchange(request, wait).map_err(|e| Error::Silent {
            path: self.path.clone(),
            reason: match e.kind() {
                std::io::ErrorKind::WouldBlock | std::io::ErrorKind::TimedOut => {
                    format!("nothing within {:.2} s", wait.as_secs_f64())
                }
                _ => e.to_string(),
            },
        })?;
        match serde_json::from_slice(&answer) {
            Ok(Reply::Error(text)) => Err(Error::Refused(text)),
            Ok(reply) => Ok(reply),
            Err(e) => Err(self.not_understood(e.to_string())),
        }
    }

    /// The error for a reply of the wrong kind.
    pub fn not_understood(&self, reason: impl Into<String>) -> Error {
        Error::NotUnderstood {
            path: self.path.clone(),
            reason: reason.into(),
        }
    }

    fn exchange(&mut self, request: &Request, wait: Duration) -> std::io::Result<Vec<u8>> {
        self.stream.get_ref().set_read_timeout(Some(wait))?;
        self.stream.get_mut().write_all(&line(request)?)?;
        let mut answer = Vec::new();
        let mut bounded = Read::take(&mut self.stream, MAX_REPLY);
        bounded.read_until(b'\n', &mut answer)?;
        if answer.last() == Some(&b'\n') {
            Ok(answer)
        } else {
            Err(std::io::Error::other("it closed the connection"))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::net::UnixListener;

    /// A server that gives these answers, one per line it reads, then closes.
    fn serve(answers: &[&str]) -> PathBuf {
        let unique = format!("sluice-admin-{}-{:p}", std::process::id(), answers);
        let path = std::env::temp_dir().join(unique);
        drop(std::fs::remove_file(&path));
        let listener = UnixListener::bind(&path).unwrap();
        let answers: Vec<String> = answers.iter().map(|&a| a.to_owned()).collect();
        std::thread::spawn(move || {
            let (stream, _) = listener.accept().unwrap();
            let mut lines = BufReader::new(stream);
            for answer in answers {
                let mut request = String::new();
                lines.read_line(&mut request).unwrap();
                lines.get_mut().write_all(answer.as_bytes()).unwrap();
            }
        });
        path
    }

    #[test]
    fn answers_come_in_order_and_refusals_are_errors() {
        let path = serve(&["{\"done\":{}}\n", "{\"error\":\"no port p\"}\n", ""]);
        let mut client = Client::connect(&path, Duration::from_secs(5)).unwrap();
        assert_eq!(client.call(&Request::Version).unwrap(), Reply::Done {});
        let refused = client.call(&Request::Version).unwrap_err();
        assert_eq!(refused.to_string(), "no port p");
        let closed = client.call(&Request::Version).unwrap_err();
        assert!(
            closed.to_string().contains("closed the connection"),
            "{closed}"
        );
        std::fs::remove_file(path).unwrap();
    }

    #[test]
    fn silence_ends_with_the_timeout() {
        let path = std::env::temp_dir().join(format!("sluice-admin-mute-{}", std::process::id()));
        let _listener = UnixListener::bind(&path).unwrap();
        let mut client = Client::connect(&path, Duration::from_millis(30)).unwrap();
        let silent = client.call(&Request::Show).unwrap_err();
        assert!(
            silent.to_string().ends_with("nothing within 0.03 s"),
            "{silent}"
        );
        std::fs::remove_file(path).unwrap();
    }

    #[test]
    fn no_socket_says_where_and_what_to_check() {
        let missing = Client::connect("/nonexistent/admin.sock", Duration::from_secs(1));
        let text = missing.unwrap_err().to_string();
        assert!(
            text.contains("/nonexistent/admin.sock")
                && text.contains("is sluice-dataplane running")
        );
    }
}
