//! Answers that ports of this machine give to HTTP requests, as the controller says: for load
//! balancers that ask each machine whether to send to it. They go on while the controller is away.

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::net::{Ipv4Addr, Ipv6Addr};
use std::rc::Rc;
use std::time::Duration;

use openflow::msg::HttpAnswers;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinHandle;

/// Most ports.
const MOST: usize = 4096;
/// Time for a request and its answer.
const TIME: Duration = Duration::from_secs(5);
/// Most bytes of a request's header.
const HEADER: usize = 8192;
/// Most requests at a time on one port.
const AT_ONCE: usize = 16;
/// Until a port that is taken is tried again.
const AGAIN: Duration = Duration::from_secs(5);

/// What a port says.
type Said = Rc<RefCell<(u16, String)>>;

/// Ports with what they say, and who listens there.
#[derive(Debug, Default)]
pub(crate) struct Answers {
    ports: BTreeMap<u16, (Said, JoinHandle<()>)>,
    /// Ports that were named since the last `first`.
    named: Vec<u16>,
}

impl Answers {
    /// Takes over what the controller says. Needs a `LocalSet`.
    pub fn update(&mut self, answers: HttpAnswers) {
        if answers.first {
            self.named.clear();
        }
        for (port, status, body) in answers.entries {
            if port == 0 || (self.ports.len() >= MOST && !self.ports.contains_key(&port)) {
                continue;
            }
            self.named.push(port);
            match self.ports.get(&port) {
                Some((said, _)) => *said.borrow_mut() = (status, body),
                None => {
                    let said = Said::new(RefCell::new((status, body)));
                    let task = tokio::task::spawn_local(listen(port, said.clone()));
                    self.ports.insert(port, (said, task));
                }
            }
        }
        if answers.first {
            // A port that goes on is not closed in between.
            let named = &self.named;
            self.ports.retain(|port, (_, task)| {
                let stays = named.contains(port);
                if !stays {
                    task.abort();
                }
                stays
            });
        }
    }
}

async fn listen(port: u16, said: Said) {
    let room = std::sync::Arc::new(tokio::sync::Semaphore::new(AT_ONCE));
    loop {
        // Both families, or IPv4 alone where there is no other.
        let listener = match TcpListener::bind((Ipv6Addr::UNSPECIFIED, port)).await {
            Ok(listener) => Ok(listener),
            Err(_) => TcpListener::bind((Ipv4Addr::UNSPECIFIED, port)).await,
        };
        let listener = match listener {
            Ok(listener) => listener,
            Err(error) => {
                tracing::warn!(
                    "health checks: cannot listen on port {port}: {error}; trying again"
                );
                tokio::time::sleep(AGAIN).await;
                continue;
            }
        };
        loop {
            // Never closed, so there is always a place some time.
            let place = room.clone().acquire_owned().await;
            match listener.accept().await {
                Ok((stream, _)) => {
                    let said = said.clone();
                    tokio::task::spawn_local(async move {
                        let done = tokio::time::timeout(TIME, converse(stream, &said)).await;
                        if let Ok(Err(error)) = done {
                            tracing::debug!("health checks: port {port}: {error}");
                        }
                        drop(place);
                    });
                }
                Err(error) => {
                    tracing::warn!("health checks: port {port}: {error}");
                    tokio::time::sleep(Duration::from_millis(200)).await;
                }
            }
        }
    }
}

/// One request, whatever it asks for (as kube-proxy's server), one answer.
async fn converse(mut stream: TcpStream, said: &Said) -> std::io::Result<()> {
    let mut header = Vec::new();
    let mut part = [0; 1024];
    while !header.windows(4).any(|end| end == b"\r\n\r\n") {
        let count = stream.read(&mut part).await?;
        if count == 0 || header.len() > HEADER {
            return Ok(());
        }
        header.extend(part.iter().take(count));
    }
    let (status, body) = said.borrow().clone();
    let reason = match status {
        200 => "OK",
        503 => "Service Unavailable",
        _ => "Other",
    };
    let body = match header.starts_with(b"HEAD ") {
        true => (body.len(), String::new()),
        false => (body.len(), body),
    };
    let answer = format!(
        "HTTP/1.1 {status} {reason}\r\nContent-Type: application/json\r\n\
         X-Content-Type-Options: nosniff\r\nContent-Length: {}\r\nConnection: close\r\n\r\n{}",
        body.0, body.1
    );
    stream.write_all(answer.as_bytes()).await?;
    stream.shutdown().await
}

#[cfg(test)]
mod tests {
    use super::*;

    async fn ask(port: u16) -> Option<String> {
        for _ in 0..100 {
            if let Ok(mut stream) = TcpStream::connect((Ipv4Addr::LOCALHOST, port)).await {
                let request = b"GET /healthz HTTP/1.1\r\nHost: x\r\n\r\n";
                stream.write_all(request).await.ok()?;
                let mut answer = String::new();
                stream.read_to_string(&mut answer).await.ok()?;
                return Some(answer);
            }
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        None
    }

    #[tokio::test(flavor = "current_thread")]
    async fn a_port_answers_what_was_said_last_until_it_is_not_named_any_more() {
        let free = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
        let port = free.local_addr().unwrap().port();
        drop(free);
        let mut answers = Answers::default();
        let say = |status, body: &str| HttpAnswers {
            first: true,
            entries: vec![(port, status, body.to_string())],
        };
        let work = async {
            answers.update(say(200, "{\"localEndpoints\":1}"));
            let answer = ask(port).await.unwrap();
            assert!(answer.starts_with("HTTP/1.1 200 OK\r\n"), "{answer}");
            assert!(
                answer.ends_with("\r\n\r\n{\"localEndpoints\":1}"),
                "{answer}"
            );
            answers.update(say(503, "{}"));
            let answer = ask(port).await.unwrap();
            assert!(answer.starts_with("HTTP/1.1 503 "), "{answer}");
            answers.update(HttpAnswers {
                first: true,
                entries: vec![],
            });
            // The task ends at its next turn.
            tokio::task::yield_now().await;
            let refused = TcpStream::connect((Ipv4Addr::LOCALHOST, port)).await;
            assert!(refused.is_err());
        };
        tokio::task::LocalSet::new().run_until(work).await;
    }
}
