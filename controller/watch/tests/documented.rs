//! `docs/kubernetes.md` has a row for every annotation and every field of our own kinds, and for
//! no other.

use std::collections::BTreeSet;
use std::path::Path;

use cluster::{Kind, annotations};
use serde_json::Value;

fn read(path: &str) -> String {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../..");
    std::fs::read_to_string(root.join(path)).unwrap()
}

/// `(name, kind)` for each row whose first cell is a name and whose second is kinds.
fn rows(document: &str) -> BTreeSet<(String, String)> {
    let mut rows = BTreeSet::new();
    for line in document.lines().filter(|line| line.starts_with("| `")) {
        let cells: Vec<&str> = line.split('|').map(str::trim).collect();
        let name = cells[1].trim_matches('`').to_string();
        if !name.starts_with("spec.") && !name.contains(".io/") {
            continue;
        }
        for kind in cells[2].split(',').map(str::trim) {
            rows.insert((name.clone(), kind.to_string()));
        }
    }
    rows
}

fn is_kind(text: &str) -> bool {
    Kind::ALL.iter().any(|kind| kind.as_str() == text)
}

#[test]
fn every_annotation_has_a_row_and_every_row_an_annotation() {
    let mut in_code = BTreeSet::new();
    for kind in Kind::ALL {
        let known = annotations::of(kind);
        let kube_ovn = annotations::KUBE_OVN[0];
        let kube_ovn = known.kube_ovn.iter().map(|n| format!("{kube_ovn}{n}"));
        let ours = known.ours.iter().chain(known.written);
        let ours = ours.map(|name| format!("{}{name}", annotations::OURS));
        let kubernetes = known.kubernetes.iter();
        let kubernetes = kubernetes.map(|name| format!("{}{name}", annotations::KUBERNETES));
        let ours = ours.chain(kubernetes);
        in_code.extend(kube_ovn.chain(ours).map(|name| (name, kind.to_string())));
    }
    let documented: BTreeSet<_> = rows(&read("docs/kubernetes.md"))
        .into_iter()
        // Conditions have a table of their own, whose second cell is a sentence.
        .filter(|(name, kind)| !name.starts_with("spec.") && is_kind(kind))
        .filter(|(name, _)| !name.ends_with("Accepted") && !name.ends_with("InForce"))
        .collect();
    assert_eq!(documented, in_code);
}

#[test]
fn every_field_of_our_kinds_has_a_row_and_every_row_a_field() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../deploy/crds");
    let mut declared = BTreeSet::new();
    for file in std::fs::read_dir(folder).unwrap() {
        let name = file.unwrap().file_name().into_string().unwrap();
        let text = read(&format!("deploy/crds/{name}"));
        let crd: Value = serde_saphyr::from_str(&text).unwrap();
        let kind = crd["spec"]["names"]["kind"].as_str().unwrap().to_string();
        let schema = &crd["spec"]["versions"][0]["schema"]["openAPIV3Schema"];
        let spec = schema["properties"]["spec"]["properties"].as_object();
        let fields = spec.unwrap().keys();
        declared.extend(fields.map(|field| (format!("spec.{field}"), kind.clone())));
    }
    let documented: BTreeSet<_> = rows(&read("docs/kubernetes.md"))
        .into_iter()
        .filter(|(name, _)| name.starts_with("spec."))
        .filter(|(_, kind)| declared.iter().any(|(_, known)| known == kind))
        .collect();
    assert_eq!(documented, declared);
}
