//! Asks the controller's local socket what a pod's interface shall be.

use std::io::{self, BufRead, BufReader, Read, Write};
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::time::{Duration, Instant};

use cluster::podapi::{Interface, Reply, Request};

use crate::call::{Config, Target};
use crate::failure::{Failure, code};

const PAUSE: Duration = Duration::from_millis(100);
const MAX_REPLY: u64 = 1 << 20;

/// Asks until the controller knows the pod, or until `deadline`.
///
/// # Errors
/// What the controller refused, or what it was still waiting for.
pub fn interface_of(
    config: &Config,
    target: &Target,
    deadline: Instant,
) -> Result<Interface, Failure> {
    let path = &config.controller_socket;
    let request = Request {
        namespace: target.namespace.clone(),
        pod: target.pod.clone(),
        interface: target.interface.clone(),
    };
    loop {
        let left = deadline.saturating_duration_since(Instant::now());
        // At least one try with some time, so that the last word is the controller's own.
        let reason = match ask(path, &request, left.max(PAUSE)) {
            Ok(Reply::Ready(interface)) => return Ok(interface),
            Ok(Reply::Refused(why)) => {
                let msg = format!("{}: the controller refuses", target.who());
                return Err(Failure::new(code::CONTROLLER, msg).with(why));
            }
            Ok(Reply::Waiting(what)) => format!("the controller waits for {what}"),
            Err(e) => format!(
                "no answer from the controller at {} ({e}); is sluice-controller running?",
                path.display()
            ),
        };
        if left <= PAUSE {
            let msg = format!(
                "{}: no address within {} s",
                target.who(),
                config.timeout.as_secs()
            );
            return Err(Failure::new(code::TRY_AGAIN_LATER, msg).with(reason));
        }
        std::thread::sleep(PAUSE);
    }
}

/// True if somebody listens there.
///
/// # Errors
/// As the system says.
pub fn reachable(path: &Path) -> io::Result<()> {
    UnixStream::connect(path).map(drop)
}

fn ask(path: &Path, request: &Request, timeout: Duration) -> io::Result<Reply> {
    let mut stream = UnixStream::connect(path)?;
    stream.set_read_timeout(Some(timeout))?;
    stream.set_write_timeout(Some(timeout))?;
    let mut line = serde_json::to_vec(request)?;
    line.push(b'\n');
    stream.write_all(&line)?;
    let mut answer = String::new();
    BufReader::new(stream.take(MAX_REPLY)).read_line(&mut answer)?;
    Ok(serde_json::from_str(&answer)?)
}
