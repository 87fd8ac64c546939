//! `connect`: how many TCP connections per second a network carries, and how long one takes.
//!
//! A connection is what a short request makes: handshake, one byte there, one byte back, end. The
//! server ends it, as HTTP servers do, so that no port of the client waits in TIME_WAIT.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use clap::{Parser, Subcommand};

/// A connection that takes longer has failed.
const PATIENCE: Duration = Duration::from_secs(1);

#[derive(Parser)]
#[command(version, about = "Opens TCP connections as fast as it gets them")]
struct Arguments {
    #[command(subcommand)]
    command: Command,
    /// Threads; each has one connection at a time.
    #[arg(long, global = true, default_value_t = 4)]
    threads: u16,
}

#[derive(Subcommand)]
enum Command {
    /// Answer each connection until killed.
    Serve { address: SocketAddr },
    /// Open connections, print one line of JSON.
    Ask {
        address: SocketAddr,
        #[arg(long, default_value_t = 2.0)]
        seconds: f64,
    },
}

fn main() -> Result<()> {
    let arguments = Arguments::parse();
    match arguments.command {
        Command::Serve { address } => serve(address, arguments.threads),
        Command::Ask { address, seconds } => {
            let run = Duration::try_from_secs_f64(seconds).context("--seconds is no time")?;
            let line = ask(address, run, arguments.threads)?.to_json();
            writeln!(std::io::stdout(), "{line}").context("nobody reads the result")?;
            Ok(())
        }
    }
}

fn serve(address: SocketAddr, threads: u16) -> Result<()> {
    let listener =
        TcpListener::bind(address).with_context(|| format!("cannot listen on {address}"))?;
    thread::scope(|scope| {
        for _ in 0..threads {
            scope.spawn(|| {
                for stream in listener.incoming().flatten() {
                    // Who goes away before the answer is none of ours; the client counts it.
                    let _ = answer(stream);
                }
            });
        }
    });
    Ok(())
}

fn answer(mut stream: TcpStream) -> std::io::Result<()> {
    stream.set_read_timeout(Some(PATIENCE))?;
    let mut byte = [0];
    stream.read_exact(&mut byte)?;
    stream.write_all(&byte)
}

#[derive(Default)]
struct Outcome {
    /// What each connection took, ns.
    took: Vec<u64>,
    failed: u64,
    seconds: f64,
}

fn ask(address: SocketAddr, run: Duration, threads: u16) -> Result<Outcome> {
    // One before the clock starts: is there anybody?
    one(address).with_context(|| format!("{address} does not answer"))?;
    let begin = Instant::now();
    let parts: Vec<Outcome> = thread::scope(|scope| {
        let workers: Vec<_> = (0..threads)
            .map(|_| {
                scope.spawn(|| {
                    let mut part = Outcome::default();
                    while begin.elapsed() < run {
                        let start = Instant::now();
                        match one(address) {
                            Ok(()) => {
                                part.took.push(
                                    u64::try_from(start.elapsed().as_nanos()).unwrap_or(u64::MAX),
                                );
                            }
                            Err(_) => part.failed += 1,
                        }
                    }
                    part
                })
            })
            .collect();
        workers
            .into_iter()
            .filter_map(|worker| worker.join().ok())
            .collect()
    });
    let mut all = Outcome {
        seconds: begin.elapsed().as_secs_f64(),
        ..Outcome::default()
    };
    for part in parts {
        all.took.extend(part.took);
        all.failed += part.failed;
    }
    all.took.sort_unstable();
    Ok(all)
}

fn one(address: SocketAddr) -> std::io::Result<()> {
    let mut stream = TcpStream::connect_timeout(&address, PATIENCE)?;
    stream.set_read_timeout(Some(PATIENCE))?;
    stream.write_all(b"x")?;
    let mut answer = Vec::with_capacity(2);
    stream.read_to_end(&mut answer)?;
    if answer == b"x" {
        Ok(())
    } else {
        Err(std::io::ErrorKind::UnexpectedEof.into())
    }
}

impl Outcome {
    fn to_json(&self) -> String {
        let done = self.took.len();
        format!(
            r#"{{"connections": {done}, "failed": {}, "seconds": {:.3}, "per_second": {:.0}, "p50_us": {:.1}, "p99_us": {:.1}}}"#,
            self.failed,
            self.seconds,
            done as f64 / self.seconds.max(f64::MIN_POSITIVE),
            self.percentile(50),
            self.percentile(99),
        )
    }

    /// In microseconds; 0 when there was no connection.
    fn percentile(&self, percent: usize) -> f64 {
        let at = self.took.len() * percent / 100;
        self.took.get(at).map_or(0.0, |ns| *ns as f64 / 1000.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn connections_are_counted_and_failures_told_apart() {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
        let address = listener.local_addr().expect("its address");
        // The first is the one before the clock; then one good and one that gets no answer, in turns.
        thread::spawn(move || {
            for (i, stream) in listener.incoming().flatten().enumerate() {
                if i % 2 == 0 {
                    let _ = answer(stream);
                }
            }
        });
        let outcome = ask(address, Duration::from_millis(50), 1).expect("an answer");
        let done = outcome.took.len() as u64;
        assert!(
            outcome.failed >= 1 && outcome.failed.abs_diff(done) <= 1,
            "{done} and {}",
            outcome.failed
        );
    }

    #[test]
    fn percentiles_are_of_what_the_connections_took() {
        let outcome = Outcome {
            took: (1..=100).map(|us| us * 1000).collect(),
            failed: 3,
            seconds: 2.0,
        };
        assert_eq!(
            outcome.to_json(),
            r#"{"connections": 100, "failed": 3, "seconds": 2.000, "per_second": 50, "p50_us": 51.0, "p99_us": 100.0}"#
        );
    }
}
