//! What the kernel does for us, asked of the kernel.

use os::{PacketSocket, Tap, allowed_cpus, in_netns, interface, pin_current_thread};
use std::io::Write;
use std::path::Path;
use std::process::Command;

fn may_run() -> bool {
    let root = Command::new("id")
        .arg("-u")
        .output()
        .is_ok_and(|o| o.stdout == b"0\n");
    let tun = Path::new("/dev/net/tun").exists();
    if !(root && tun) {
        // Past the test harness, which would keep it to itself.
        let _ = writeln!(
            std::io::stderr(),
            "skipped: needs root ({root}) and /dev/net/tun ({tun})"
        );
    }
    root && tun
}

/// A network namespace, gone when dropped.
struct Namespace(String);

impl Namespace {
    fn new(test: &str) -> Namespace {
        let name = format!("slcos-{test}-{}", std::process::id());
        let made = Command::new("ip").args(["netns", "add", &name]).status();
        assert!(made.is_ok_and(|status| status.success()));
        Namespace(name)
    }

    fn run<T: Send>(&self, work: impl FnOnce() -> T + Send) -> T {
        in_netns(&Path::new("/run/netns").join(&self.0), work).unwrap()
    }
}

impl Drop for Namespace {
    fn drop(&mut self) {
        let _ = Command::new("ip").args(["netns", "del", &self.0]).status();
    }
}

#[test]
fn a_thread_stays_where_it_is_pinned() {
    let cpus = allowed_cpus().unwrap();
    let last = *cpus.last().unwrap();
    let pinned = std::thread::spawn(move || {
        pin_current_thread(last).unwrap();
        allowed_cpus().unwrap()
    });
    assert_eq!(pinned.join().unwrap(), [last]);
    assert_eq!(
        allowed_cpus().unwrap(),
        cpus,
        "other threads are left alone"
    );
    let said = pin_current_thread(100_000).unwrap_err().to_string();
    assert!(said.contains("CPU 100000"), "{said}");
}

#[test]
fn work_in_a_namespace_leaves_the_caller_where_it_was() {
    if !may_run() {
        return;
    }
    let here = std::fs::read_link("/proc/thread-self/ns/net").unwrap();
    let there = Namespace::new("ns");
    let seen = there.run(|| std::fs::read_link("/proc/thread-self/ns/net").unwrap());
    assert_ne!(seen, here);
    assert_eq!(
        std::fs::read_link("/proc/thread-self/ns/net").unwrap(),
        here
    );
    let said = in_netns(Path::new("/run/netns/slnowhere"), || ())
        .unwrap_err()
        .to_string();
    assert!(said.contains("/run/netns/slnowhere"), "{said}");
}

#[test]
fn a_tap_is_configured_by_name_and_known_by_its_descriptor() {
    if !may_run() {
        return;
    }
    let there = Namespace::new("tap");
    let tap = there.run(|| {
        let tap = Tap::create("t0").unwrap();
        assert!(!interface::is_running("t0").unwrap());
        interface::set_mac("t0", [2, 0, 0, 0, 0, 9]).unwrap();
        interface::set_mtu("t0", 1400).unwrap();
        assert_eq!(interface::mtu("t0").unwrap(), 1400);
        interface::set_up("t0", true).unwrap();
        assert!(interface::is_running("t0").unwrap());
        os::disable_offloads("t0").unwrap();
        tap
    });
    // From here on the name says nothing: the interface is elsewhere.
    assert!(interface::index("t0").is_err());
    assert_eq!(tap.name().unwrap(), "t0");
    assert_eq!(tap.mac().unwrap(), [2, 0, 0, 0, 0, 9]);
    assert!(tap.is_up());
    there.run(|| interface::set_up("t0", false).unwrap());
    assert!(!tap.is_up());
    there.run(|| interface::set_up("t0", true).unwrap());
    tap.set_carrier(false).unwrap();
    // The kernel tells the carrier on from a work queue.
    let told = |_| {
        std::thread::sleep(std::time::Duration::from_millis(5));
        there.run(|| !interface::is_running("t0").unwrap())
    };
    assert!((0..400).any(told), "no carrier, still running");
    let deleted = there.run(|| Command::new("ip").args(["link", "del", "t0"]).status());
    assert!(deleted.is_ok_and(|status| status.success()));
    assert!(!tap.is_up(), "a deleted interface is not up");
}

#[test]
fn a_packet_socket_does_not_see_what_its_host_sends() {
    if !may_run() {
        return;
    }
    let there = Namespace::new("ps");
    there.run(|| {
        let tap = Tap::create("t0").unwrap();
        interface::set_up("t0", true).unwrap();
        let socket = PacketSocket::open("t0").unwrap();
        let (mut header, mut head) = ([0; os::VNET_HEADER], [0; 2048]);
        let frame = [0x5a; 60];
        let parts = [
            std::io::IoSlice::new(&header),
            std::io::IoSlice::new(&frame),
        ];
        socket.send(&parts).unwrap();
        let mut out = Vec::new();
        while let Ok(received) = tap.recv(&mut [0; os::VNET_HEADER], &mut head, &mut []) {
            out.push(head[..received.len].to_vec());
        }
        assert!(
            out.contains(&frame.to_vec()),
            "what the socket sends leaves by the tap"
        );
        while let Ok(received) = socket.recv(&mut header, &mut head, &mut []) {
            assert_ne!(head[..received.len], frame, "and does not come back");
        }
        // A frame longer than the buffers is said to be cut.
        tap.send(&[
            std::io::IoSlice::new(&[0; os::VNET_HEADER]),
            std::io::IoSlice::new(&[1; 900]),
        ])
        .unwrap();
        let cut = socket.recv(&mut header, &mut head[..100], &mut []).unwrap();
        assert!(cut.truncated);
    });
}
