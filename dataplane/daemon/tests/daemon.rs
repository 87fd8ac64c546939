//! The daemon as an operator meets it: exit codes, messages, and real packets between network
//! namespaces under `ovs-ofctl`. Tests that need root or a missing tool say so and pass.

use std::fs;
use std::io::{BufRead, BufReader, Read};
use std::path::PathBuf;
use std::process::{Child, Command, Output, Stdio};
use std::time::{Duration, Instant};

use admin::{Client, Reply, Request};

const DAEMON: &str = env!("CARGO_BIN_EXE_sluice-dataplane");

fn run(program: &str, words: &[&str]) -> Output {
    let mut command = Command::new("timeout");
    command.args(["20", program]).args(words);
    command.output().unwrap()
}

/// Runs a command that must succeed.
fn ok(program: &str, words: &[&str]) -> String {
    let output = run(program, words);
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{program} {words:?}: {said}");
    String::from_utf8_lossy(&output.stdout).into_owned()
}

#[allow(clippy::print_stderr)] // where the person who runs the tests looks
fn can_run(tools: &[&str]) -> bool {
    let root = fs::read_to_string("/proc/self/status").is_ok_and(|s| s.contains("\nUid:\t0\t0\t"));
    if !root {
        eprintln!("skipped: making network namespaces needs root");
        return false;
    }
    for tool in tools {
        if Command::new(tool).arg("--version").output().is_err() {
            eprintln!("skipped: {tool} is not installed");
            return false;
        }
    }
    true
}

/// Network namespaces and a folder, gone in the end.
struct Lab {
    name: String,
    spaces: Vec<String>,
    folder: PathBuf,
}

impl Lab {
    fn new(name: &str, spaces: usize) -> Lab {
        let name = format!("sldt{}{name}", std::process::id());
        let folder = std::env::temp_dir().join(&name);
        fs::create_dir_all(&folder).unwrap();
        let spaces: Vec<String> = (0..spaces).map(|n| format!("{name}-{n}")).collect();
        for space in &spaces {
            ok("ip", &["netns", "add", space]);
            ok("ip", &["-n", space, "link", "set", "lo", "up"]);
        }
        Lab {
            name,
            spaces,
            folder,
        }
    }

    fn path(&self, name: &str) -> String {
        self.folder.join(name).display().to_string()
    }

    /// Starts the daemon in namespace 0 and waits until it runs.
    fn daemon(&self, more: &[&str]) -> Daemon {
        let mut child = Command::new("ip")
            .args([
                "netns",
                "exec",
                &self.spaces[0],
                DAEMON,
                "--no-huge",
                "--memory",
                "64",
            ])
            .args(["--name", "lab", "--dpid", "0x5"])
            .args(["--listen", &format!("punix:{}", self.path("br.mgmt"))])
            .args(["--admin", &self.path("admin.sock")])
            .args(more)
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        let mut log = BufReader::new(child.stderr.take().unwrap());
        let mut said = String::new();
        while !said.contains("running:") {
            assert!(log.read_line(&mut said).unwrap() > 0, "it ended: {said}");
        }
        // Goes on reading, so that the daemon never waits for us.
        let rest = std::thread::spawn(move || {
            let mut rest = String::new();
            drop(log.read_to_string(&mut rest));
            rest
        });
        Daemon {
            child,
            said,
            rest: Some(rest),
        }
    }

    fn ofctl(&self, words: &[&str]) -> String {
        let target = format!("unix:{}", self.path("br.mgmt"));
        let verb = words.iter().position(|w| !w.starts_with("--")).unwrap();
        let mut all = words.to_vec();
        all.insert(verb + 1, &target);
        ok("ovs-ofctl", &[&["-O", "OpenFlow13"], &all[..]].concat())
    }

    /// Moves an interface into a namespace and gives it an address.
    fn attach(&self, iface: &str, space: usize, address: &str) {
        let (from, to) = (&self.spaces[0], &self.spaces[space]);
        ok("ip", &["-n", from, "link", "set", iface, "netns", to]);
        ok("ip", &["-n", to, "addr", "add", address, "dev", iface]);
        ok("ip", &["-n", to, "link", "set", iface, "up"]);
    }

    fn ping(&self, space: usize, address: &str, count: &str) -> bool {
        let words = [
            "netns",
            "exec",
            &self.spaces[space],
            "ping",
            "-n",
            "-q",
            "-c",
            count,
        ];
        let more = ["-i", "0.05", "-W", "1", address];
        run("ip", &[&words[..], &more[..]].concat())
            .status
            .success()
    }

    fn admin(&self) -> Client {
        Client::connect(self.path("admin.sock"), Duration::from_secs(10)).unwrap()
    }
}

impl Drop for Lab {
    fn drop(&mut self) {
        for space in &self.spaces {
            run("ip", &["netns", "del", space]);
        }
        drop(fs::remove_dir_all(&self.folder));
    }
}

struct Daemon {
    child: Child,
    said: String,
    rest: Option<std::thread::JoinHandle<String>>,
}

impl Daemon {
    /// SIGTERM; gives what it said since it ran. It must end in time and with 0.
    fn stop(mut self) -> String {
        ok("kill", &[&self.child.id().to_string()]);
        let until = Instant::now() + Duration::from_secs(10);
        let status = loop {
            match self.child.try_wait().unwrap() {
                Some(status) => break status,
                None if Instant::now() > until => panic!("it does not stop"),
                None => std::thread::sleep(Duration::from_millis(20)),
            }
        };
        assert_eq!(status.code(), Some(0));
        self.rest.take().unwrap().join().unwrap()
    }
}

impl Drop for Daemon {
    fn drop(&mut self) {
        drop(self.child.kill());
        drop(self.child.wait());
    }
}

fn fails(words: &[&str], code: i32) -> String {
    let output = run(DAEMON, words);
    assert_eq!(output.status.code(), Some(code), "{words:?}");
    let said = String::from_utf8(output.stderr).unwrap();
    let own: Vec<&str> = said
        .lines()
        .filter(|line| line.starts_with("sluice-dataplane: "))
        .collect();
    assert_eq!(own.len(), 1, "one line: {said}");
    own[0].to_owned()
}

#[test]
fn wrong_use_exits_with_2_and_one_line() {
    let unknown = fails(&["--colour", "red"], 2);
    assert!(unknown.contains("--colour"), "{unknown}");
    let file = std::env::temp_dir().join(format!("sluice-daemon-{}.toml", std::process::id()));
    fs::write(&file, "name = \"a\"\nmemroy = 5\n").unwrap();
    let key = fails(&["--config", &file.display().to_string()], 2);
    assert!(key.contains("line 2, `memroy`: unknown field"), "{key}");
    fs::remove_file(file).unwrap();
    let version = run(DAEMON, &["--version"]);
    assert!(version.status.success());
    assert!(String::from_utf8_lossy(&version.stdout).starts_with("sluice-dataplane "));
}

#[test]
fn a_socket_in_use_exits_with_1_and_names_it() {
    let path = std::env::temp_dir().join(format!("sluice-daemon-{}.sock", std::process::id()));
    drop(fs::remove_file(&path));
    let taken = std::os::unix::net::UnixListener::bind(&path).unwrap();
    let admin = path.display().to_string();
    let common = ["--no-huge", "--memory", "64", "--metrics", "none"];
    let said = fails(&[&common[..], &["--admin", &admin]].concat(), 1);
    assert!(
        said.contains(&admin) && said.contains("another process"),
        "{said}"
    );
    assert!(path.exists(), "the other's socket is left alone");
    drop(taken);
    fs::remove_file(path).unwrap();

    let port = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let target = format!("ptcp:{}:127.0.0.1", port.local_addr().unwrap().port());
    let more = ["--admin", &admin, "--listen", &target];
    let said = fails(&[&common[..], &more[..]].concat(), 1);
    assert!(
        said.contains(&target) && said.contains("choose another"),
        "{said}"
    );
}

#[test]
fn systemd_is_told_and_its_watchdog_is_fed() {
    let folder = std::env::temp_dir().join(format!("sluice-notify-{}", std::process::id()));
    fs::create_dir_all(&folder).unwrap();
    let path = |name: &str| folder.join(name).display().to_string();
    let systemd = std::os::unix::net::UnixDatagram::bind(path("notify")).unwrap();
    systemd
        .set_read_timeout(Some(Duration::from_secs(20)))
        .unwrap();
    let child = Command::new(DAEMON)
        .args(["--no-huge", "--memory", "64", "--metrics", "none"])
        .args(["--admin", &path("admin.sock")])
        .args(["--listen", &format!("punix:{}", path("br.mgmt"))])
        .env("NOTIFY_SOCKET", path("notify"))
        .env("WATCHDOG_USEC", "600000")
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    let daemon = Daemon {
        child,
        said: String::new(),
        rest: Some(std::thread::spawn(String::new)),
    };
    let hear = || {
        let mut buffer = [0; 1024];
        let n = systemd.recv(&mut buffer).unwrap();
        String::from_utf8_lossy(&buffer[..n]).into_owned()
    };
    let first = hear();
    assert!(
        first.contains("READY=1") && first.contains("STATUS=0 ports"),
        "{first}"
    );
    assert!(fs::metadata(path("br.mgmt")).is_ok(), "ready means ready");
    assert_eq!(hear().trim(), "WATCHDOG=1");
    assert_eq!(hear().trim(), "WATCHDOG=1");
    daemon.stop();
    fs::remove_dir_all(folder).unwrap();
}

#[test]
fn packets_flow_as_the_tables_say_from_the_barrier_on() {
    if !can_run(&["ovs-ofctl", "ping"]) {
        return;
    }
    let lab = Lab::new("flow", 3);
    let id = std::process::id() % 100_000;
    let (a, b) = (format!("dta{id}"), format!("dtb{id}"));
    let ports = [
        format!("a,ofport=1,dev=tap,iface={a}"),
        format!("b,ofport=2,dev=tap,iface={b}"),
    ];
    let ports = [
        "--port",
        &ports[0],
        "--port",
        &ports[1],
        "--metrics",
        "127.0.0.1:9651",
    ];
    let daemon = lab.daemon(&ports);
    lab.attach(&a, 1, "10.9.0.1/24");
    lab.attach(&b, 2, "10.9.0.2/24");
    let show = lab.ofctl(&["show"]);
    assert!(
        show.contains("1(a): addr:") && show.contains("2(b): addr:"),
        "{show}"
    );
    assert!(lab.ofctl(&["dump-desc"]).contains("DP Description: lab"));

    assert!(!lab.ping(1, "10.9.0.2", "2"), "there are no flows yet");
    lab.ofctl(&["add-flow", "in_port=1,actions=output:2"]);
    lab.ofctl(&["add-flow", "in_port=2,actions=output:1"]);
    assert!(lab.ping(1, "10.9.0.2", "10"));
    let flows = lab.ofctl(&["dump-flows", "in_port=1"]);
    assert!(!flows.contains("n_packets=0"), "{flows}");

    // add-flow ends with a barrier: not one packet more passes after it.
    lab.ofctl(&["add-flow", "priority=40000,ip,actions=drop"]);
    assert!(!lab.ping(1, "10.9.0.2", "3"));
    lab.ofctl(&["--strict", "del-flows", "priority=40000,ip"]);
    assert!(lab.ping(1, "10.9.0.2", "10"));

    let Reply::Drops(drops) = lab.admin().call(&Request::Drops).unwrap() else {
        panic!();
    };
    let dropped = |reason: &str| drops.iter().any(|d| d.reason == reason && d.packets > 0);
    assert!(dropped("table_miss") && dropped("rule"), "{drops:?}");
    let Reply::Flows(flows) = lab.admin().call(&Request::Flows { filter: None }).unwrap() else {
        panic!();
    };
    assert_eq!(flows.len(), 2);

    let space = &lab.spaces[0];
    let page = [
        "netns",
        "exec",
        space,
        "curl",
        "-sf",
        "http://127.0.0.1:9651/metrics",
    ];
    if can_run(&["curl", "promtool"]) {
        let page = ok("ip", &page);
        assert!(
            page.contains("sluice_port_receive_packets_total{port=\"a\"}"),
            "{page}"
        );
        assert!(page.contains("sluice_flows{table=\"0\"} 2"), "{page}");
        let file = lab.path("metrics");
        fs::write(&file, page).unwrap();
        let check = ok(
            "sh",
            &["-c", &format!("promtool check metrics < {file} 2>&1")],
        );
        assert_eq!(check, "", "promtool finds nothing to say");
    }
    let said = daemon.stop();
    assert!(said.contains("stopped"), "{said}");
    assert!(
        fs::metadata(lab.path("br.mgmt")).is_err(),
        "no socket is left behind"
    );
    assert!(lab.name.starts_with("sldt"));
}

#[test]
fn a_port_added_closed_carries_packets_once_it_is_opened() {
    if !can_run(&["ovs-ofctl", "ping"]) {
        return;
    }
    let lab = Lab::new("open", 3);
    let id = std::process::id() % 100_000;
    let (a, b) = (format!("dtc{id}"), format!("dtd{id}"));
    let first = format!("a,ofport=1,dev=tap,iface={a}");
    let daemon = lab.daemon(&["--metrics", "none", "--port", &first]);
    lab.ofctl(&["add-flow", "in_port=1,actions=output:1000"]);
    lab.ofctl(&["add-flow", "in_port=1000,actions=output:1"]);
    let spec = format!("b,closed=true,mtu=1400,dev=tap,iface={b}");
    let mut admin = lab.admin();
    let Reply::Port {
        port,
        created: true,
    } = admin.call(&Request::PortAdd { spec }).unwrap()
    else {
        panic!();
    };
    assert_eq!((port.ofport, port.open, port.mtu), (1000, false, 1400));
    lab.attach(&a, 1, "10.9.0.1/24");
    lab.attach(&b, 2, "10.9.0.2/24");
    assert!(!lab.ping(1, "10.9.0.2", "2"), "it is closed");

    // As the CNI plugin does: the address changes once the interface is in its namespace.
    let set = ["-n", &lab.spaces[2], "link", "set", &b];
    ok(
        "ip",
        &[&set[..], &["address", "02:00:0a:09:00:02"]].concat(),
    );
    let until = Instant::now() + Duration::from_secs(5);
    while !lab
        .ofctl(&["show"])
        .contains("1000(b): addr:02:00:0a:09:00:02")
    {
        assert!(Instant::now() < until, "{}", lab.ofctl(&["show"]));
        std::thread::sleep(Duration::from_millis(50));
    }

    let waiter = {
        let mut admin = lab.admin();
        std::thread::spawn(move || {
            let name = "b".to_owned();
            let timeout_ms = 10_000;
            admin
                .call(&Request::PortWaitOpen { name, timeout_ms })
                .unwrap()
        })
    };
    lab.ofctl(&["mod-port", "b", "receive"]);
    lab.ofctl(&["mod-port", "b", "forward"]);
    let Reply::Port { port, .. } = waiter.join().unwrap() else {
        panic!();
    };
    assert!(port.open);
    assert!(lab.ping(1, "10.9.0.2", "5"));

    let name = "b".to_owned();
    let gone = admin.call(&Request::PortDel { name }).unwrap();
    assert_eq!(gone, Reply::PortDeleted { existed: true });
    let there = run("ip", &["-n", &lab.spaces[2], "link", "show", &b]);
    assert!(!there.status.success(), "the interface went with the port");
    daemon.stop();
}

#[test]
fn a_port_that_fails_is_told_and_the_others_run() {
    if !can_run(&["ovs-ofctl"]) {
        return;
    }
    let lab = Lab::new("fail", 1);
    let good = format!(
        "good,ofport=2,dev=tap,iface=dte{}",
        std::process::id() % 100_000
    );
    let bad = "bad,ofport=1,dev=veth,iface=nowhere0";
    let daemon = lab.daemon(&["--metrics", "none", "--port", bad, "--port", &good]);
    assert!(daemon.said.contains("port bad: ") && daemon.said.contains("nowhere0"));
    assert!(
        daemon.said.contains("1 ports (1 failed)"),
        "{}",
        daemon.said
    );
    let Reply::Ports(ports) = lab.admin().call(&Request::PortList).unwrap() else {
        panic!();
    };
    let failed: Vec<_> = ports.iter().filter(|p| p.error.is_some()).collect();
    assert_eq!(
        (ports.len(), failed.len(), failed[0].name.as_str()),
        (2, 1, "bad")
    );
    daemon.stop();
}
