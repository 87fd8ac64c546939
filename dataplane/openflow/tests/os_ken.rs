//! The wire vectors of os-ken 3.1.0 (Apache-2.0; not in this repository): each message of 1.3, 1.4
//! and 1.5 decodes and is written again as the same bytes, or stands in the list of those that are
//! not, with the reason.
//!
//! They are in the wheel and in the source package, in `os_ken/tests/packet_data`:
//!
//!     pip download --no-deps os-ken==3.1.0 && unzip -q os_ken-3.1.0-*.whl 'os_ken/tests/packet_data/*'
//!     OS_KEN_PACKET_DATA=$PWD/os_ken/tests/packet_data cargo test -p sluice-openflow --test os_ken
//!
//! Skipped without.

use std::io::Write;
use std::path::Path;

use openflow::{Version, wire};

/// Messages that come out otherwise than they went in, and why.
const OTHERWISE: &[(&str, &str)] = &[
    // 1.3
    (
        "libofproto-OFP13-flow_mod_match_conj.packet",
        "writes ipv4_dst, but the match says not ip: refused",
    ),
    (
        "ovs-ofctl-of13-action_ct.packet",
        "a zone of 28 bits; Open vSwitch 3.1 refuses it too",
    ),
    (
        "ovs-ofctl-of13-match_conj.packet",
        "order of the match fields",
    ),
    ("4-4-ofp_packet_in.packet", "order of the match fields"),
    ("4-59-ofp_packet_in.packet", "order of the match fields"),
    (
        "4-60-ofp_flow_mod.packet",
        "matches fields of different protocols at once: refused",
    ),
    (
        "4-2-ofp_flow_mod.packet",
        "sets vlan_vid without OFPVID_PRESENT: refused",
    ),
    (
        "4-12-ofp_flow_stats_reply.packet",
        "sets vlan_vid without OFPVID_PRESENT: refused",
    ),
    (
        "4-45-ofp_meter_mod.packet",
        "an experimenter's band: refused",
    ),
    (
        "4-55-ofp_table_features_request.packet",
        "lengths in the lists of fields are filled in",
    ),
    (
        "4-56-ofp_table_features_reply.packet",
        "lengths in the lists of fields are filled in",
    ),
    (
        "4-63-onf_flow_monitor_request.packet",
        "matches fields of different protocols at once: refused",
    ),
    // 1.4
    ("5-4-ofp_packet_in.packet", "order of the match fields"),
    ("5-57-ofp_packet_in.packet", "order of the match fields"),
    (
        "5-58-ofp_flow_mod.packet",
        "matches fields of different protocols at once: refused",
    ),
    (
        "5-2-ofp_flow_mod.packet",
        "sets vlan_vid without OFPVID_PRESENT: refused",
    ),
    (
        "5-12-ofp_flow_stats_reply.packet",
        "sets vlan_vid without OFPVID_PRESENT: refused",
    ),
    (
        "5-43-ofp_meter_mod.packet",
        "an experimenter's band: refused",
    ),
    (
        "5-53-ofp_table_features_request.packet",
        "lengths in the lists of fields are filled in",
    ),
    (
        "5-54-ofp_table_features_reply.packet",
        "lengths in the lists of fields are filled in",
    ),
    (
        "5-70-ofp_bundle_add_msg.packet",
        "an echo request in a bundle: refused",
    ),
    // 1.5
    (
        "libofproto-OFP15-flow_mod_match_conj.packet",
        "writes ipv4_dst, but the match says not ip: refused",
    ),
    (
        "libofproto-OFP15-packet_out.packet",
        "comes from port OFPP_MAX: refused, by Open vSwitch 3.1 too",
    ),
    (
        "libofproto-OFP15-flow_desc_reply.packet",
        "an instruction that says that it has 2,056 bytes",
    ),
    (
        "libofproto-OFP15-meter_features_reply.packet",
        "40 bytes whose header says 32",
    ),
];

/// The folder of each version.
const FOLDERS: &[(Version, &str)] = &[
    (Version::V1_3, "of13"),
    (Version::V1_4, "of14"),
    (Version::V1_5, "of15"),
];

#[test]
fn vectors_decode_and_come_out_the_same() {
    let Ok(root) = std::env::var("OS_KEN_PACKET_DATA") else {
        let _ = writeln!(std::io::stderr(), "skipped: OS_KEN_PACKET_DATA is not set");
        return;
    };
    let mut wrong = Vec::new();
    for (version, folder) in FOLDERS {
        let (mut seen, mut same) = (0, 0);
        let folder = Path::new(&root).join(folder);
        for entry in std::fs::read_dir(&folder).unwrap() {
            let path = entry.unwrap().path();
            let name = path.file_name().unwrap().to_string_lossy().into_owned();
            let bytes = std::fs::read(&path).unwrap();
            if !name.ends_with(".packet") {
                continue;
            }
            seen += 1;
            let outcome = come_back(*version, &bytes);
            same += usize::from(outcome.is_ok());
            match OTHERWISE.iter().find(|(known, _)| *known == name) {
                Some((_, reason)) if outcome.is_ok() => {
                    wrong.push(format!(
                        "{name}: is the same, so strike it from the list ({reason})"
                    ));
                }
                Some(_) => {}
                None => wrong.extend(outcome.err().map(|what| format!("{name}: {what}"))),
            }
        }
        let mut stderr = std::io::stderr();
        let _ = writeln!(
            stderr,
            "OpenFlow {version}: {same} of {seen} come out the same"
        );
        assert!(seen > 50, "only {seen} vectors in {}", folder.display());
    }
    assert!(wrong.is_empty(), "{}:\n{}", wrong.len(), wrong.join("\n"));
}

fn come_back(version: Version, bytes: &[u8]) -> Result<(), String> {
    let message =
        wire::decode(version, bytes).map_err(|error| format!("{error}\n {}", hex(bytes)))?;
    let xid = wire::Header::read(bytes).unwrap().xid;
    let mut again = Vec::new();
    wire::encode(version, xid, &message, &mut again).map_err(|error| error.to_string())?;
    if again == bytes {
        Ok(())
    } else {
        Err(format!("\n {}\n {}", hex(bytes), hex(&again)))
    }
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}
