//! The shape of the workspace, as ARCHITECTURE.md and CONTRIBUTING.md describe it.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

/// Every crate with the crates of ours it may use, directly. What is not listed is refused, so a
/// new arrow is a decision made here and in ARCHITECTURE.md.
const MAY_USE: &[(&str, &[&str])] = &[
    ("sluice-net", &[]),
    ("sluice-openflow", &["sluice-net"]),
    ("sluice-transport", &[]),
    ("sluice-dpdk-sys", &[]),
    ("sluice-packet", &["sluice-dpdk-sys"]),
    ("sluice-os", &[]),
    ("sluice-dpdk", &["sluice-dpdk-sys", "sluice-packet"]),
    (
        "sluice-ports",
        &["sluice-net", "sluice-packet", "sluice-os", "sluice-dpdk"],
    ),
    ("sluice-conntrack", &["sluice-net", "sluice-os"]),
    ("sluice-tables", &["sluice-net", "sluice-openflow"]),
    (
        "sluice-worker",
        &[
            "sluice-net",
            "sluice-openflow",
            "sluice-packet",
            "sluice-os",
            "sluice-ports",
            "sluice-tables",
            "sluice-conntrack",
        ],
    ),
    ("sluice-admin", &[]),
    (
        "sluice-agent",
        &[
            "sluice-net",
            "sluice-openflow",
            "sluice-packet",
            "sluice-ports",
            "sluice-tables",
            "sluice-conntrack",
            "sluice-worker",
            "sluice-admin",
            "sluice-transport",
        ],
    ),
    (
        "sluice-dataplane",
        &[
            "sluice-net",
            "sluice-openflow",
            "sluice-packet",
            "sluice-os",
            "sluice-dpdk",
            "sluice-ports",
            "sluice-tables",
            "sluice-conntrack",
            "sluice-worker",
            "sluice-admin",
            "sluice-transport",
            "sluice-agent",
        ],
    ),
    ("sluice-cluster", &["sluice-net", "sluice-openflow"]),
    (
        "sluice-flows",
        &["sluice-net", "sluice-openflow", "sluice-cluster"],
    ),
    ("sluice-watch", &["sluice-net", "sluice-cluster"]),
    (
        "sluice-session",
        &[
            "sluice-net",
            "sluice-openflow",
            "sluice-transport",
            "sluice-flows",
        ],
    ),
    (
        "sluice-controller",
        &[
            "sluice-net",
            "sluice-openflow",
            "sluice-cluster",
            "sluice-flows",
            "sluice-watch",
            "sluice-session",
        ],
    ),
    (
        "sluice-cni",
        &[
            "sluice-net",
            "sluice-admin",
            "sluice-cluster",
            "sluice-watch",
            "sluice-os",
        ],
    ),
    (
        "sluicectl",
        &[
            "sluice-net",
            "sluice-openflow",
            "sluice-transport",
            "sluice-admin",
            "sluice-cluster",
        ],
    ),
    ("sluice-connect", &[]),
    (
        "sluice-controlplane",
        &["sluice-cluster", "sluice-net", "sluice-openflow"],
    ),
    ("sluice-flowmod", &["sluice-net", "sluice-openflow"]),
    ("sluice-apiserver", &[]),
    ("sluice-workspace-tests", &[]),
];

/// Lines a file may have before its tests.
const LONGEST_FILE: usize = 800;

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("../..")
        .canonicalize()
        .unwrap()
}

fn members() -> BTreeMap<String, (PathBuf, BTreeSet<String>)> {
    let output = Command::new(env!("CARGO"))
        .args([
            "metadata",
            "--format-version",
            "1",
            "--no-deps",
            "--offline",
        ])
        .current_dir(root())
        .output()
        .unwrap();
    assert!(
        output.status.success(),
        "{}",
        String::from_utf8_lossy(&output.stderr)
    );
    let metadata: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
    let package = |p: &serde_json::Value| {
        let name = p["name"].as_str().unwrap().to_owned();
        let manifest = PathBuf::from(p["manifest_path"].as_str().unwrap());
        // A test may look at a crate that the code must not use.
        let uses = p["dependencies"]
            .as_array()
            .unwrap()
            .iter()
            .filter(|d| d["kind"].is_null());
        let ours = uses
            .map(|d| d["name"].as_str().unwrap().to_owned())
            .filter(|name| name.starts_with("sluice"));
        (
            name,
            (manifest.parent().unwrap().to_owned(), ours.collect()),
        )
    };
    metadata["packages"]
        .as_array()
        .unwrap()
        .iter()
        .map(package)
        .collect()
}

fn sources(below: &Path, found: &mut Vec<PathBuf>) {
    for entry in fs::read_dir(below).unwrap().map(Result::unwrap) {
        let path = entry.path();
        let name = entry.file_name().into_string().unwrap();
        if entry.file_type().unwrap().is_dir() {
            if name != "target" && !name.starts_with('.') {
                sources(&path, found);
            }
        } else if name.ends_with(".rs") {
            found.push(path);
        }
    }
}

#[test]
fn dependencies_point_one_way() {
    let allowed: BTreeMap<&str, BTreeSet<&str>> = MAY_USE
        .iter()
        .map(|(name, uses)| (*name, uses.iter().copied().collect()))
        .collect();
    for (name, (_, uses)) in members() {
        let Some(may) = allowed.get(name.as_str()) else {
            panic!(
                "{name} is new: say in MAY_USE what it may use, and in ARCHITECTURE.md what it is"
            );
        };
        for used in &uses {
            assert!(may.contains(used.as_str()), "{name} may not use {used}");
        }
    }
}

#[test]
fn the_readme_lists_every_crate_and_no_other() {
    let readme = fs::read_to_string(root().join("README.md")).unwrap();
    let listed: BTreeSet<String> = readme
        .lines()
        .filter_map(|line| line.strip_prefix("| `")?.split('`').next())
        .filter(|name| name.contains('/'))
        .map(str::to_owned)
        .collect();
    let folders: BTreeSet<String> = members()
        .values()
        .map(|(dir, _)| {
            dir.strip_prefix(root())
                .unwrap()
                .to_str()
                .unwrap()
                .to_owned()
        })
        .collect();
    assert_eq!(listed, folders);
}

#[test]
fn no_file_is_longer_than_the_limit() {
    let mut files = Vec::new();
    sources(&root(), &mut files);
    assert!(files.len() > 20, "found only {} files", files.len());
    let mut too_long = Vec::new();
    // Collections of test cases may be as long as they need to be.
    let in_tests = |file: &PathBuf| file.components().any(|c| c.as_os_str() == "tests");
    for file in files.into_iter().filter(|file| !in_tests(file)) {
        let text = fs::read_to_string(&file).unwrap();
        let lines = text
            .lines()
            .take_while(|line| !line.starts_with("#[cfg(test)]"))
            .count();
        if lines > LONGEST_FILE {
            too_long.push(format!(
                "{} has {lines} lines before its tests",
                file.display()
            ));
        }
    }
    assert!(too_long.is_empty(), "split these:\n{}", too_long.join("\n"));
}

#[test]
fn unsafe_code_stays_in_ffi() {
    for (name, (dir, _)) in members() {
        let in_ffi = dir.strip_prefix(root()).unwrap().starts_with("ffi");
        let mut files = Vec::new();
        sources(&dir, &mut files);
        for file in files {
            let opens = fs::read_to_string(&file)
                .unwrap()
                .contains("allow(unsafe_code)");
            // A test may wrap the allocator in order to count what it does.
            let in_test = file.components().any(|c| c.as_os_str() == "tests");
            assert!(
                in_ffi || in_test || !opens || name == "sluice-workspace-tests",
                "{}",
                file.display()
            );
        }
    }
}

#[test]
fn the_dataplane_has_no_word_for_kubernetes_objects() {
    let words = [
        "kubernetes",
        "kubeovn",
        "EndpointSlice",
        "NetworkPolicy",
        "k8s",
    ];
    let mut files = Vec::new();
    sources(&root().join("dataplane"), &mut files);
    for file in files {
        let text = fs::read_to_string(&file).unwrap();
        for (number, line) in text.lines().enumerate() {
            let comment = line.trim_start().starts_with("//");
            let said = words.iter().find(|word| line.contains(*word));
            assert!(
                comment || said.is_none(),
                "{}:{}: {said:?}",
                file.display(),
                number + 1
            );
        }
    }
}
