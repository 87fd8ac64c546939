//! Network namespaces, real tools in them, and a loop between two ports.
#![allow(dead_code)] // not every test uses all

use os::{PacketSocket, in_netns};
use packet::{Csum, Gso};
use ports::{Burst, Port};
use std::io::{IoSlice, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::path::PathBuf;
use std::process::Command;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering::Relaxed};
use std::thread;
use std::time::{Duration, Instant};

/// Runs a command line and returns its output; panics with it on failure.
pub fn run(line: &str) -> String {
    let mut words = line.split(' ');
    let output = Command::new(words.next().unwrap())
        .args(words)
        .output()
        .unwrap_or_else(|e| panic!("{line}: {e}"));
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    let errors = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{line}: {text}{errors}");
    text
}

pub fn may_run() -> bool {
    let root = Command::new("id")
        .arg("-u")
        .output()
        .is_ok_and(|o| o.stdout == b"0\n");
    let tun = PathBuf::from("/dev/net/tun").exists();
    let ip = Command::new("ip").arg("-V").output().is_ok();
    if !(root && tun && ip) {
        // Past the test harness, which would keep it to itself.
        let _ = writeln!(
            std::io::stderr(),
            "skipped: needs root ({root}), /dev/net/tun ({tun}) and ip ({ip})"
        );
    }
    root && tun && ip
}

/// Two network namespaces, gone when dropped.
pub struct Pair {
    pub names: [String; 2],
    pub links: Vec<String>,
}

impl Pair {
    pub fn new(test: &str) -> Pair {
        let names = ["a", "b"].map(|end| format!("slcports-{test}-{end}-{}", std::process::id()));
        for name in &names {
            run(&format!("ip netns add {name}"));
            run(&format!("ip -n {name} link set lo up"));
        }
        let links = Vec::new();
        Pair { names, links }
    }

    pub fn path(&self, end: usize) -> PathBuf {
        PathBuf::from(format!("/run/netns/{}", self.names[end]))
    }

    /// Moves an interface into end `end`, with addresses 10.9.0.(end+1) and fd09::(end+1).
    pub fn attach(&self, end: usize, iface: &str) {
        let ns = &self.names[end];
        let host = end + 1;
        run(&format!("ip link set {iface} netns {ns}"));
        run(&format!("ip -n {ns} link set {iface} name eth0"));
        run(&format!("ip -n {ns} addr add 10.9.0.{host}/24 dev eth0"));
        run(&format!(
            "ip -n {ns} addr add fd09::{host}/64 dev eth0 nodad"
        ));
        run(&format!("ip -n {ns} link set eth0 up"));
    }

    /// Pings from end 0; once the first reply has come, twenty in a row must come, in one of three tries.
    pub fn ping(&self, address: &str) {
        let ns = &self.names[0];
        let first = [
            "netns", "exec", ns, "ping", "-n", "-c", "1", "-W", "1", address,
        ];
        let answered = (0..10).any(|_| {
            // A new interface needs a moment until its queues and neighbours are set up.
            let output = Command::new("ip").args(first).output();
            output.is_ok_and(|output| output.status.success())
        });
        assert!(answered, "{address} does not answer");
        // A machine busy with other tests may starve the kernel's side once; a port that loses
        // packets by itself does so each time.
        let mut said = String::new();
        let clean = (0..3).any(|_| {
            let output = Command::new("ip")
                .args(["netns", "exec", ns, "ping", "-n", "-c", "20"])
                .args(["-i", "0.01", "-W", "2", address])
                .output();
            said = output.map_or_else(
                |error| error.to_string(),
                |output| String::from_utf8_lossy(&output.stdout).into_owned(),
            );
            said.contains(" 0% packet loss")
        });
        assert!(clean, "{said}");
    }

    /// Sends a frame with an 802.1Q tag from end 0 to end 1 and checks that it arrives as it was.
    pub fn tagged_frame(&self) {
        let socket = |end| {
            in_netns(&self.path(end), || PacketSocket::open("eth0"))
                .unwrap()
                .unwrap()
        };
        let (from, to) = (socket(0), socket(1));
        let mut frame = [0x5a; 100];
        frame[..6].fill(0xff);
        frame[6..12].copy_from_slice(&[2, 0, 0, 0, 0, 1]);
        frame[12..16].copy_from_slice(&[0x81, 0, 0, 100]); // VLAN 100
        frame[16..18].copy_from_slice(&[0x88, 0xb5]); // IEEE 802 local experimental
        from.send(&[IoSlice::new(&[0; os::VNET_HEADER]), IoSlice::new(&frame)])
            .unwrap();
        let deadline = Instant::now() + Duration::from_secs(3);
        let (mut header, mut head) = ([0; os::VNET_HEADER], [0; 2048]);
        while Instant::now() < deadline {
            let Ok(received) = to.recv(&mut header, &mut head, &mut []) else {
                thread::sleep(Duration::from_millis(1));
                continue;
            };
            // This end's kernel takes the tag out of the frame.
            let rest = &head[12..received.len.max(12)];
            if received.vlan == Some((0x8100, 100)) && *rest == frame[16..] {
                return;
            }
        }
        panic!("the tagged frame did not arrive");
    }

    /// Sends `total` bytes over TCP from end 0 to end 1 and checks every one.
    pub fn stream(&self, address: &'static str, total: usize) {
        let listener = in_netns(&self.path(1), || TcpListener::bind((address, 5001))).unwrap();
        let listener = listener.unwrap();
        let server = thread::spawn(move || {
            let (mut stream, _) = listener.accept().unwrap();
            let mut buffer = vec![0; 1 << 18];
            let mut at = 0_usize;
            loop {
                match stream.read(&mut buffer).unwrap() {
                    0 => return at,
                    n => {
                        let wrong = (0..n).find(|i| buffer[*i] != ((at + i) % 251) as u8);
                        assert_eq!(wrong, None, "a byte changed on the way");
                        at += n;
                    }
                }
            }
        });
        let connect = || TcpStream::connect((address, 5001));
        let mut stream = in_netns(&self.path(0), connect).unwrap().unwrap();
        stream
            .set_write_timeout(Some(Duration::from_secs(10)))
            .unwrap();
        let pattern: Vec<u8> = (0..251 * 1000).map(|i| (i % 251) as u8).collect();
        let mut sent = 0;
        while sent < total {
            let n = pattern.len().min(total - sent);
            stream.write_all(&pattern[..n]).unwrap();
            sent += n;
        }
        drop(stream);
        assert_eq!(server.join().unwrap(), total);
    }
}

impl Drop for Pair {
    fn drop(&mut self) {
        for name in &self.names {
            let _ = Command::new("ip").args(["netns", "del", name]).status();
        }
        for link in &self.links {
            // Gone already if its peer was in a namespace.
            let _ = Command::new("ip").args(["link", "del", link]).output();
        }
    }
}

#[derive(Default)]
pub struct Seen {
    pub stop: AtomicBool,
    pub large: AtomicUsize,
    pub open_checksums: AtomicUsize,
    pub tagged: AtomicUsize,
}

/// Passes packets between two ports until told to stop.
pub fn join(
    mut a: Box<dyn Port>,
    mut b: Box<dyn Port>,
    seen: &Arc<Seen>,
) -> thread::JoinHandle<()> {
    let seen = Arc::clone(seen);
    thread::spawn(move || {
        let mut burst = Burst::new();
        while !seen.stop.load(Relaxed) {
            a.rx(&mut burst);
            count(&burst, &seen);
            let idle = burst.is_empty();
            b.tx(&mut burst);
            b.rx(&mut burst);
            count(&burst, &seen);
            if idle && burst.is_empty() {
                thread::yield_now();
            }
            a.tx(&mut burst);
        }
    })
}

fn count(burst: &Burst, seen: &Seen) {
    for packet in burst {
        let meta = packet.meta();
        let large = meta.gso != Gso::None;
        assert!(
            large || packet.len() <= 1518,
            "an ordinary frame of {}",
            packet.len()
        );
        seen.large.fetch_add(usize::from(large), Relaxed);
        seen.open_checksums
            .fetch_add(usize::from(meta.csum == Csum::Partial), Relaxed);
        let tagged = packet.head().get(12..16) == Some(&[0x81, 0, 0, 100]);
        seen.tagged.fetch_add(usize::from(tagged), Relaxed);
    }
}
