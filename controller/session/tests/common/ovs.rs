//! Open vSwitch as a node's switch, without a kernel: its dummy datapath, whose ports are Unix
//! sockets that this process holds the other end of. Needs no privileges.

use std::io::{Read, Write};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::mpsc::{Receiver, channel};
use std::time::Duration;

use super::world::{Node, Wire, retry};

/// The far end of a dummy port.
pub struct Socket {
    stream: UnixStream,
    received: Receiver<Vec<u8>>,
}

impl Socket {
    /// Connects to a dummy port's socket, which frames with two bytes of length.
    fn connect(path: &Path) -> Socket {
        let stream = retry(|| UnixStream::connect(path).ok()).expect("no socket of the port");
        let mut reading = stream.try_clone().unwrap();
        let (sender, received) = channel();
        std::thread::spawn(move || {
            let mut length = [0; 2];
            while reading.read_exact(&mut length).is_ok() {
                let mut frame = vec![0; usize::from(u16::from_be_bytes(length))];
                if reading.read_exact(&mut frame).is_err() || sender.send(frame).is_err() {
                    return;
                }
            }
        });
        Socket { stream, received }
    }
}

impl Wire for Socket {
    fn send(&mut self, frame: &[u8]) {
        let mut bytes = (frame.len() as u16).to_be_bytes().to_vec();
        bytes.extend_from_slice(frame);
        self.stream.write_all(&bytes).unwrap();
    }

    fn receive(&mut self) -> Option<Vec<u8>> {
        self.received.try_recv().ok()
    }
}

/// One node.
pub struct Ovs {
    directory: tempfile::TempDir,
    daemons: Vec<Child>,
}

/// True where Open vSwitch is installed.
pub fn is_installed() -> bool {
    Path::new(SCHEMA).exists()
}

const SCHEMA: &str = "/usr/share/openvswitch/vswitch.ovsschema";

impl Ovs {
    /// A node with the bridge `br-int`, a Geneve port `geneve0` (2) and an uplink `uplink0` (1), and
    /// a physical bridge under the tunnel with address 172.30.0.`number`.
    pub fn start(node: &str, number: u8) -> Ovs {
        let mut ovs = Ovs {
            directory: tempfile::tempdir().unwrap(),
            daemons: Vec::new(),
        };
        let database = ovs.path("conf.db");
        ovs.run(
            "ovsdb-tool",
            &["create", database.to_str().unwrap(), SCHEMA],
        );
        let remote = format!("--remote=punix:{}", ovs.path("db.sock").display());
        let log = format!("--log-file={}", ovs.path("ovsdb.log").display());
        let quiet = ["-vconsole:off", "--pidfile"];
        ovs.spawn(
            "ovsdb-server",
            &[
                &remote,
                &log,
                quiet[0],
                quiet[1],
                database.to_str().unwrap(),
            ],
        );
        retry(|| UnixStream::connect(ovs.path("db.sock")).ok()).expect("no database");
        ovs.vsctl("--no-wait init");
        let log = format!("--log-file={}", ovs.path("vswitchd.log").display());
        let database = format!("unix:{}", ovs.path("db.sock").display());
        let dummy = ["--enable-dummy=system", "--disable-system"];
        ovs.spawn(
            "ovs-vswitchd",
            &[dummy[0], dummy[1], &log, quiet[0], quiet[1], &database],
        );
        retry(|| ovs.path("ovs-vswitchd.pid").exists().then_some(())).expect("no switch");

        ovs.vsctl(&format!(
            "add-br br-phy -- set bridge br-phy datapath_type=dummy \
             other_config:hwaddr={} -- add-port br-phy phy0",
            vtep_mac(number)
        ));
        ovs.set_dummy("phy0", None);
        ovs.vsctl(&format!(
            "add-br br-int -- set bridge br-int datapath_type=dummy fail_mode=secure \
             protocols=OpenFlow13 other_config:dp-desc={node} \
             other_config:datapath-id=000000000000000{number} -- add-port br-int geneve0 -- set \
             interface geneve0 type=geneve ofport_request=2 options:remote_ip=flow options:key=flow -- add-port br-int uplink0"
        ));
        ovs.set_dummy("uplink0", Some(1));
        ovs.appctl(&format!("netdev-dummy/ip4addr br-phy 172.30.0.{number}/24"));
        ovs.appctl("ovs/route/add 172.30.0.0/24 br-phy");
        for other in (1..=2).filter(|other| *other != number) {
            let mac = vtep_mac(other);
            ovs.appctl(&format!("tnl/neigh/set br-phy 172.30.0.{other} {mac}"));
        }
        ovs
    }

    fn set_dummy(&self, name: &str, number: Option<u32>) {
        let socket = self.path(&format!("{name}.port"));
        let number = number.map_or(String::new(), |n| format!("ofport_request={n}"));
        let socket = socket.display();
        self.vsctl(&format!(
            "set interface {name} type=dummy options:pstream=punix:{socket} {number}"
        ));
    }

    fn vsctl(&self, args: &str) {
        let database = format!("--db=unix:{}", self.path("db.sock").display());
        let mut all = vec![database.as_str(), "--timeout=10"];
        all.extend(args.split_whitespace());
        self.run("ovs-vsctl", &all);
    }

    fn appctl(&self, args: &str) -> String {
        self.run("ovs-appctl", &args.split_whitespace().collect::<Vec<_>>())
    }

    fn path(&self, name: &str) -> PathBuf {
        self.directory.path().join(name)
    }

    fn command(&self, program: &str, args: &[&str]) -> Command {
        let mut command = Command::new(program);
        for variable in ["OVS_RUNDIR", "OVS_LOGDIR", "OVS_DBDIR", "OVS_SYSCONFDIR"] {
            command.env(variable, self.directory.path());
        }
        command.args(args).current_dir(self.directory.path());
        command
    }

    fn run(&self, program: &str, args: &[&str]) -> String {
        let output = self.command(program, args).output().unwrap();
        let said = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "{program} {args:?}: {said}");
        String::from_utf8(output.stdout).unwrap()
    }

    fn spawn(&mut self, program: &str, args: &[&str]) {
        let mut command = self.command(program, args);
        let child = command
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        self.daemons.push(child);
    }
}

impl Node for Ovs {
    fn add_port(&self, name: &str, number: u32) {
        self.vsctl(&format!("add-port br-int {name}"));
        self.set_dummy(name, Some(number));
    }

    fn wire(&self, name: &str) -> Box<dyn Wire> {
        Box::new(Socket::connect(&self.path(&format!("{name}.port"))))
    }

    fn tunnel_wire(&self) -> Option<Box<dyn Wire>> {
        Some(self.wire("phy0"))
    }

    fn set_controller(&self, target: &str) {
        self.vsctl(&format!("set-controller br-int {target}"));
    }

    fn ofctl(&self, args: &[&str]) -> String {
        let bridge = format!("unix:{}", self.path("br-int.mgmt").display());
        let mut all = vec!["-O", "OpenFlow13", args[0], &bridge];
        all.extend(&args[1..]);
        self.run("ovs-ofctl", &all)
    }

    /// Open vSwitch answers a barrier before its datapath has heard of the new flows.
    fn settle(&self) {
        std::thread::sleep(Duration::from_millis(500));
    }
}

impl Drop for Ovs {
    fn drop(&mut self) {
        for daemon in self.daemons.iter_mut().rev() {
            let _ = daemon.kill();
            let _ = daemon.wait();
        }
    }
}

/// The MAC address of a node's tunnel endpoint.
pub fn vtep_mac(number: u8) -> String {
    format!("02:00:ac:1e:00:{number:02x}")
}
