//! What the oracle tests share: `ovs-ofctl` as a second opinion.
#![allow(dead_code)] // each test file uses its own part

use std::io::{Read, Write};
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::PathBuf;
use std::process::Command;
use std::sync::atomic::{AtomicU32, Ordering};

use openflow::wire::{self, Framer, Header};
use openflow::{Message, Version};

/// True if `ovs-ofctl` is there; says so if not.
pub fn have_oracle() -> bool {
    let found = Command::new("ovs-ofctl").arg("--version").output().is_ok();
    if !found {
        let mut stderr = std::io::stderr();
        let _ = writeln!(
            stderr,
            "skipped: ovs-ofctl is not installed (apt-get install openvswitch-switch)"
        );
    }
    found
}

/// What differs from the oracle, told all at once.
#[derive(Default)]
pub struct Differences(Vec<String>);

impl Differences {
    pub fn compare(&mut self, about: &str, ours: &str, theirs: Option<&String>) {
        if theirs.map(String::as_str) != Some(ours) {
            let theirs = theirs.map_or("nothing", String::as_str);
            self.0
                .push(format!("{about}\n ours   {ours}\n theirs {theirs}"));
        }
    }

    pub fn none(&self) {
        assert!(
            self.0.is_empty(),
            "{} differ:\n{}",
            self.0.len(),
            self.0.join("\n")
        );
    }
}

/// A folder that goes away with the value.
pub struct Scratch(pub PathBuf);

impl Scratch {
    pub fn new() -> Self {
        static NEXT: AtomicU32 = AtomicU32::new(0);
        let n = NEXT.fetch_add(1, Ordering::Relaxed);
        let path = std::env::temp_dir().join(format!("sluice-of-{}-{n}", std::process::id()));
        std::fs::create_dir_all(&path).unwrap();
        Scratch(path)
    }

    pub fn file(&self, name: &str, content: &[u8]) -> PathBuf {
        let path = self.0.join(name);
        std::fs::write(&path, content).unwrap();
        path
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

/// What `ovs-ofctl ofp-parse` prints for a stream of messages.
pub fn ofp_parse(messages: &[u8]) -> String {
    let scratch = Scratch::new();
    let path = scratch.file("messages", messages);
    let output = Command::new("ovs-ofctl")
        .args([
            "-O",
            "OpenFlow13,OpenFlow14,OpenFlow15",
            "-voff",
            "ofp-parse",
        ])
        .arg(path)
        .output()
        .unwrap();
    String::from_utf8_lossy(&output.stdout).into_owned() + &String::from_utf8_lossy(&output.stderr)
}

/// What stands behind each heading, without the line's end.
pub fn entries(text: &str, heading: &str) -> Vec<String> {
    let mut entries = text.split(heading);
    entries.next();
    entries
        .map(|entry| entry.trim_start_matches('\n').trim_end().to_owned())
        .collect()
}

/// Encodes, or says what could not be.
pub fn encode(message: &Message) -> Vec<u8> {
    encode_in(Version::V1_3, message)
}

/// Likewise, in a version.
pub fn encode_in(version: Version, message: &Message) -> Vec<u8> {
    let mut out = Vec::new();
    wire::encode(version, 7, message, &mut out).unwrap_or_else(|e| panic!("{e}: {message:?}"));
    out
}

/// What `ovs-ofctl VERB SOCKET FILE` sends, header and all, without hello and barrier.
pub fn ofctl_sends(verb: &[&str], lines: &str) -> (Vec<Vec<u8>>, String) {
    let scratch = Scratch::new();
    let file = scratch.file("lines", lines.as_bytes());
    ofctl_sends_arguments(verb, &[file.to_str().unwrap()])
}

/// What `ovs-ofctl VERB SOCKET ARGUMENTS` sends.
pub fn ofctl_sends_arguments(verb: &[&str], arguments: &[&str]) -> (Vec<Vec<u8>>, String) {
    ofctl_sends_in(Version::V1_3, verb, arguments)
}

/// Likewise, in a version.
pub fn ofctl_sends_in(
    version: Version,
    verb: &[&str],
    arguments: &[&str],
) -> (Vec<Vec<u8>>, String) {
    let scratch = Scratch::new();
    let socket = scratch.0.join("switch");
    let listener = UnixListener::bind(&socket).unwrap();
    let (sender, receiver) = std::sync::mpsc::channel();
    std::thread::spawn(move || {
        for stream in listener.incoming() {
            let Ok(stream) = stream else { return };
            let sender = sender.clone();
            std::thread::spawn(move || serve(version, stream, &sender));
        }
    });
    let output = Command::new("ovs-ofctl")
        .args([
            "-O",
            &format!("OpenFlow{}", version.to_string().replace('.', "")),
            "--no-names",
        ])
        .args(verb)
        .arg(format!("unix:{}", socket.display()))
        .args(arguments)
        .output()
        .unwrap();
    let errors = String::from_utf8_lossy(&output.stderr).into_owned();
    (receiver.try_iter().collect(), errors)
}

/// The least of a switch: hello and barriers.
fn serve(version: Version, mut stream: UnixStream, sender: &std::sync::mpsc::Sender<Vec<u8>>) {
    let hello = Message::Hello(openflow::msg::Hello::offering(&[version]));
    let _ = stream.write_all(&encode_in(version, &hello));
    let mut framer = Framer::new();
    let mut buffer = [0; 4096];
    while let Ok(n @ 1..) = stream.read(&mut buffer) {
        framer.push(&buffer[..n]);
        while let Ok(Some(frame)) = framer.next_frame() {
            let header = Header::read(frame).unwrap();
            match header.kind {
                wire::kind::HELLO => {}
                wire::kind::BARRIER_REQUEST => {
                    let mut reply = Vec::new();
                    let barrier = Message::BarrierReply;
                    wire::encode(version, header.xid, &barrier, &mut reply).unwrap();
                    let _ = stream.write_all(&reply);
                }
                _ => {
                    let _ = sender.send(frame.to_vec());
                }
            }
        }
    }
}
