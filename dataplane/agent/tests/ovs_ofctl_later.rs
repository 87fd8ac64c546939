//! What `ovs-ofctl` can do from 1.4 and 1.5 on only. Skipped, and says so, where Open vSwitch's tools
//! are missing.

#[allow(dead_code)] // each test file uses a part of it
mod twin;

use std::io::{BufRead, BufReader};
use std::process::{Command, Output};

use twin::Twin;

const V14: &str = "OpenFlow14";
const V15: &str = "OpenFlow15";

#[allow(clippy::print_stderr)] // where the person who runs the tests looks
fn has_ofctl() -> bool {
    let found = Command::new("ovs-ofctl").arg("--version").output().is_ok();
    if !found {
        eprintln!("skipped: ovs-ofctl is not installed (package openvswitch-common)");
    }
    found
}

fn run(twin: &Twin, version: &str, words: &[&str]) -> Output {
    let at = words.iter().position(|w| !w.starts_with("--")).unwrap();
    let mut words: Vec<String> = words.iter().map(|w| (*w).to_owned()).collect();
    words.insert(at + 1, format!("unix:{}", twin.openflow.display()));
    Command::new("timeout")
        .args(["20", "ovs-ofctl", "-O", version])
        .args(words)
        .output()
        .unwrap()
}

/// Output of a command that must succeed.
fn ofctl(twin: &Twin, version: &str, words: &[&str]) -> String {
    let output = run(twin, version, words);
    let said = String::from_utf8_lossy(&output.stderr);
    let good = output.status.success() && said.is_empty();
    assert!(good, "{version} {words:?}: {said}");
    String::from_utf8(output.stdout).unwrap()
}

/// Asserts that a command is answered with an error.
fn refused(twin: &Twin, version: &str, words: &[&str], error: &str) {
    let output = run(twin, version, words);
    let said = [output.stdout, output.stderr].concat();
    let said = String::from_utf8_lossy(&said);
    assert!(
        said.contains(error),
        "{words:?} should give {error}: {said}"
    );
}

#[test]
fn tables_are_named_and_evict_and_tell_how_full_they_are() {
    if !has_ofctl() {
        return;
    }
    for version in [V14, V15] {
        let twin = Twin::start(&format!("tables-{version}"), &[]);
        let does = |words: &[&str]| ofctl(&twin, version, words);
        does(&["mod-table", "3", "name:routing"]);
        does(&["mod-table", "3", "evict"]);
        does(&["mod-table", "3", "vacancy:20,80"]);
        let desc = does(&["dump-table-desc"]);
        let third = desc.split("table 3").nth(1).unwrap();
        let third = &third[..third.find("table 4").unwrap()];
        assert!(third.contains("eviction=on"), "{third}");
        assert!(
            third.contains("vacancy=on vacancy_down=20% vacancy_up=80% vacancy=100%"),
            "{third}"
        );
        let features = does(&["dump-table-features"]);
        assert!(features.contains("table 3 (\"routing\")"), "{features}");
        does(&[
            "--names",
            "add-flow",
            "table=routing,importance=9,actions=drop",
        ]);
        let flows = does(&["--names", "dump-flows"]);
        assert!(flows.contains("table=routing,"), "{flows}");
        assert!(flows.contains("importance=9"), "{flows}");
        does(&["mod-table", "3", "noevict"]);
        does(&["mod-table", "all", "evict"]);
        let desc = does(&["dump-table-desc"]);
        assert_eq!(desc.matches("eviction=on").count(), 254);
    }
}

#[test]
fn buckets_are_inserted_and_removed() {
    if !has_ofctl() {
        return;
    }
    let twin = Twin::start("buckets", &[]);
    let does = |words: &[&str]| ofctl(&twin, V15, words);
    does(&[
        "add-group",
        "group_id=1,type=select,selection_method=hash,fields(ip_src,tcp_dst),\
         bucket=bucket_id:5,weight:1,actions=output:1,bucket=bucket_id:6,weight:2,actions=output:2",
    ]);
    let insert = |place: &str, id: &str| {
        let buckets = format!(
            "group_id=1,command_bucket_id={place},bucket=bucket_id:{id},weight:3,actions=output:2"
        );
        does(&["insert-buckets", &buckets]);
    };
    insert("first", "1");
    insert("last", "9");
    insert("5", "55");
    let ids = || -> Vec<String> {
        let groups = does(&["dump-groups"]);
        assert!(
            groups.contains("selection_method=hash,fields(ip_src,tcp_dst)"),
            "{groups}"
        );
        let ids = groups.split("bucket_id:").skip(1);
        ids.map(|rest| rest.split(',').next().unwrap().to_owned())
            .collect()
    };
    assert_eq!(ids(), ["1", "5", "55", "6", "9"]);
    does(&["remove-buckets", "group_id=1,command_bucket_id=55"]);
    does(&["remove-buckets", "group_id=1,command_bucket_id=first"]);
    assert_eq!(ids(), ["5", "6", "9"]);
    refused(
        &twin,
        V15,
        &["remove-buckets", "group_id=1,command_bucket_id=77"],
        "OFPGMFC_UNKNOWN_BUCKET",
    );
    does(&["remove-buckets", "group_id=1,command_bucket_id=all"]);
    assert_eq!(ids().len(), 0);
}

#[test]
fn flows_are_dumped_with_what_the_version_adds() {
    if !has_ofctl() {
        return;
    }
    for version in [V14, V15] {
        let twin = Twin::start(&format!("dumps-{version}"), &[]);
        let does = |words: &[&str]| ofctl(&twin, version, words);
        does(&[
            "add-flow",
            "priority=7,importance=3,ip,nw_src=10.0.0.0/8,actions=output:1",
        ]);
        let bundled = [
            "--bundle",
            "add-flow",
            "table=2,priority=8,arp,actions=output:2",
        ];
        does(&bundled);
        let dump = does(&["dump-flows"]);
        assert!(dump.contains("importance=3"), "{dump}");
        assert!(
            dump.contains("priority=7,ip,nw_src=10.0.0.0/8 actions=output:1"),
            "{dump}"
        );
        assert_eq!(dump.contains("idle_age="), version == V15, "{dump}");
        let sum = does(&["dump-aggregate"]);
        assert!(sum.contains("flow_count=2"), "{sum}");
        assert!(does(&["queue-get-config", "1"]).contains("QUEUE"));
        refused(
            &twin,
            version,
            &["mod-table", "254", "evict"],
            "OFPTMFC_BAD_TABLE",
        );
        refused(
            &twin,
            version,
            &["add-flow", "actions=group:9"],
            "OFPBAC_BAD_OUT_GROUP",
        );
    }
}

#[test]
fn who_watches_flows_sees_others_come_and_go() {
    if !has_ofctl() {
        return;
    }
    for version in ["OpenFlow13", V14, V15] {
        let twin = Twin::start(&format!("watches-{version}"), &[]);
        ofctl(&twin, version, &["add-flow", "in_port=1,actions=output:2"]);
        // What is there goes to the standard output, what happens to the standard error.
        let target = twin.openflow.display();
        let mut watcher = Command::new("sh")
            .arg("-c")
            .arg(format!(
                "exec timeout 30 ovs-ofctl -O {version} monitor unix:{target} watch: 2>&1"
            ))
            .stdout(std::process::Stdio::piped())
            .spawn()
            .unwrap();
        let mut lines = BufReader::new(watcher.stdout.take().unwrap()).lines();
        let mut seen = String::new();
        let mut until = |what: &str| {
            while !seen.contains(what) {
                let line = lines
                    .next()
                    .unwrap_or_else(|| panic!("no {what} in {seen}"));
                seen.push_str(&line.unwrap());
                seen.push('\n');
            }
            seen.clone()
        };
        until("in_port=1 actions=output:2");
        ofctl(&twin, version, &["add-flow", "in_port=2,actions=output:1"]);
        ofctl(&twin, version, &["mod-flows", "in_port=1,actions=output:3"]);
        ofctl(&twin, version, &["del-flows", "in_port=2"]);
        let seen = until("event=DELETED");
        watcher.kill().unwrap();
        watcher.wait().unwrap();
        let first = match version {
            "OpenFlow13" => "event=ADDED",
            _ => "event=INITIAL",
        };
        for line in [
            format!("{first} table=0 cookie=0 in_port=1 actions=output:2"),
            "event=ADDED table=0 cookie=0 in_port=2 actions=output:1".into(),
            "event=MODIFIED table=0 cookie=0 in_port=1 actions=output:3".into(),
            "event=DELETED reason=delete table=0 cookie=0 in_port=2 actions=output:1".into(),
        ] {
            assert!(
                seen.contains(&line),
                "{version}: {line} is missing in {seen}"
            );
        }
    }
}
