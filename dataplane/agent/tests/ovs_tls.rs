//! TLS with Open vSwitch's programs at the other end. Skipped, and says so, where they are missing.

#[allow(dead_code)] // each test file uses a part of it
mod twin;

use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::time::Duration;

use agent::Options;
use transport::{Tls, TlsFiles};
use twin::Twin;

#[allow(clippy::print_stderr)] // where the person who runs the tests looks
fn has(programs: &[&str]) -> bool {
    let missing = programs
        .iter()
        .find(|program| Command::new(program).arg("--version").output().is_err());
    if let Some(missing) = missing {
        eprintln!("skipped: {missing} is not installed");
    }
    missing.is_none()
}

/// A folder of keys and certificates, made by openssl as an operator would.
struct Pki(PathBuf);

impl Pki {
    fn new(name: &str) -> Pki {
        let folder = std::env::temp_dir().join(format!("sluice-pki-{}-{name}", std::process::id()));
        drop(std::fs::remove_dir_all(&folder));
        std::fs::create_dir_all(&folder).unwrap();
        Pki(folder)
    }

    fn openssl(&self, words: &str) {
        let done = Command::new("openssl")
            .args(words.split(' '))
            .current_dir(&self.0)
            .output()
            .unwrap();
        let said = String::from_utf8_lossy(&done.stderr);
        assert!(done.status.success(), "openssl {words}: {said}");
    }

    fn ca(&self, name: &str) {
        self.openssl(&format!(
            "req -x509 -newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes -days 2 \
             -subj /CN={name} -keyout {name}-key.pem -out {name}.pem"
        ));
    }

    /// A side's files: signed by one CA, trusting another.
    fn side(&self, name: &str, ca: &str, trusts: &str) -> TlsFiles {
        self.openssl(&format!(
            "req -newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes -subj /CN={name} \
             -keyout {name}-key.pem -out {name}-req.pem"
        ));
        let extensions = self.0.join("extensions");
        std::fs::write(&extensions, "basicConstraints=CA:FALSE\n").unwrap();
        self.openssl(&format!(
            "x509 -req -in {name}-req.pem -CA {ca}.pem -CAkey {ca}-key.pem -CAcreateserial \
             -days 2 -extfile extensions -out {name}.pem"
        ));
        let path = |file: String| self.0.join(file);
        TlsFiles {
            private_key: path(format!("{name}-key.pem")),
            certificate: path(format!("{name}.pem")),
            ca_cert: path(format!("{trusts}.pem")),
        }
    }
}

impl Drop for Pki {
    fn drop(&mut self) {
        drop(std::fs::remove_dir_all(&self.0));
    }
}

fn words(files: &TlsFiles) -> [String; 3] {
    let word = |name: &str, path: &Path| format!("--{name}={}", path.display());
    [
        word("private-key", &files.private_key),
        word("certificate", &files.certificate),
        word("ca-cert", &files.ca_cert),
    ]
}

fn options(files: TlsFiles) -> Options {
    Options {
        tls: Some(Tls::load(files).unwrap()),
        max_backoff: Duration::from_millis(200),
        ..Options::default()
    }
}

fn ofctl(files: &TlsFiles, target: &str, verb: &[&str]) -> Output {
    Command::new("timeout")
        .args(["20", "ovs-ofctl", "-O", "OpenFlow13"])
        .args(words(files))
        .arg(verb[0])
        .arg(target)
        .args(&verb[1..])
        .output()
        .unwrap()
}

#[test]
fn ovs_ofctl_is_let_in_with_a_certificate_and_not_without() {
    if !has(&["ovs-ofctl", "openssl"]) {
        return;
    }
    let pki = Pki::new("ofctl");
    for name in ["switches", "controllers", "others"] {
        pki.ca(name);
    }
    let switch = pki.side("switch", "switches", "controllers");
    let controller = pki.side("controller", "controllers", "switches");
    let twin = Twin::with("ofctl-tls", &["pssl:0:127.0.0.1"], options(switch));
    let target = format!("ssl:{}", twin.tcp());
    let add = ofctl(
        &controller,
        &target,
        &["add-flow", "tcp,tp_dst=6653,actions=output:1"],
    );
    assert!(
        add.status.success(),
        "{}",
        String::from_utf8_lossy(&add.stderr)
    );
    let dump = ofctl(&controller, &target, &["dump-flows"]);
    let dump = String::from_utf8_lossy(&dump.stdout).into_owned();
    assert!(dump.contains("tcp,tp_dst=6653"), "{dump}");

    let stranger = pki.side("stranger", "others", "switches");
    assert!(!ofctl(&stranger, &target, &["dump-flows"]).status.success());
    let clear = target.replace("ssl", "tcp");
    assert!(!ofctl(&controller, &clear, &["dump-flows"]).status.success());
    assert!(
        ofctl(&controller, &target, &["dump-flows"])
            .status
            .success()
    );
}

/// Ends with the test.
struct Running(Child);

impl Drop for Running {
    fn drop(&mut self) {
        drop(self.0.kill());
        drop(self.0.wait());
    }
}

#[test]
fn the_switch_connects_to_a_controller_of_open_vswitch() {
    if !has(&["ovs-testcontroller", "openssl"]) {
        return;
    }
    let pki = Pki::new("testcontroller");
    for name in ["switches", "controllers"] {
        pki.ca(name);
    }
    let switch = pki.side("switch", "switches", "controllers");
    let controller = pki.side("controller", "controllers", "switches");
    let free = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let port = free.local_addr().unwrap().port();
    drop(free);
    let running = Command::new("ovs-testcontroller")
        .args(words(&controller))
        .arg(format!("--unixctl={}", pki.0.join("ctl").display()))
        .arg(format!("pssl:{port}:127.0.0.1"))
        .current_dir(&pki.0)
        .stderr(Stdio::null())
        .spawn();
    let _running = Running(running.unwrap());
    let target = format!("ssl:127.0.0.1:{port}");
    let twin = Twin::with("testcontroller", &[&target], options(switch));
    let mut admin = admin::Client::connect(&twin.admin, Duration::from_secs(20)).unwrap();
    let mut state = String::new();
    for _ in 0..400 {
        let Ok(admin::Reply::Show(show)) = admin.call(&admin::Request::Show) else {
            panic!()
        };
        let of = |s: &&admin::Session| s.target == target && s.role.is_none();
        state.clone_from(&show.sessions.iter().find(of).unwrap().state);
        // It installs a table-miss flow once it knows the switch.
        if state == "connected" && show.flows > 0 {
            return;
        }
        std::thread::sleep(Duration::from_millis(50));
    }
    panic!("not connected, or nothing installed: {state}");
}
