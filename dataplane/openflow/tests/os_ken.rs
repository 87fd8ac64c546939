//! The wire vectors of os-ken 3.1.0 (Apache-2.0; not in this repository): each 1.3 message decodes
//! and is written again as the same bytes, or stands in the list of those that are not, with the
//! reason.
//!
//! Run with OS_KEN_PACKET_DATA set to `os_ken/tests/packet_data/of13` of its source package
//! (`pip download --no-deps --no-binary :all: os-ken==3.1.0`); skipped without.

use std::io::Write;
use std::path::Path;

use openflow::{Version, wire};

/// Messages that come out otherwise than they went in, and why.
const OTHERWISE: &[(&str, &str)] = &[
    (
        "ovs-ofctl-of13-action_sample.packet",
        "action not modelled yet",
    ),
    (
        "ovs-ofctl-of13-action_sample2.packet",
        "action not modelled yet",
    ),
    (
        "ovs-ofctl-of13-action_output_trunc.packet",
        "action not modelled yet",
    ),
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
    (
        "4-59-ofp_packet_in.packet",
        "order of the match fields; pbb_uca in the form of the extension",
    ),
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
        "4-36-ofp_queue_get_config_reply.packet",
        "experimenter's queue properties are left out",
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
];

#[test]
fn vectors_decode_and_come_out_the_same() {
    let Ok(folder) = std::env::var("OS_KEN_PACKET_DATA") else {
        let _ = writeln!(std::io::stderr(), "skipped: OS_KEN_PACKET_DATA is not set");
        return;
    };
    let mut wrong = Vec::new();
    let mut seen = 0;
    for entry in std::fs::read_dir(Path::new(&folder)).unwrap() {
        let path = entry.unwrap().path();
        let name = path.file_name().unwrap().to_string_lossy().into_owned();
        let bytes = std::fs::read(&path).unwrap();
        if !name.ends_with(".packet") {
            continue;
        }
        seen += 1;
        let outcome = come_back(&bytes);
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
    assert!(
        wrong.is_empty(),
        "{} of {seen}:\n{}",
        wrong.len(),
        wrong.join("\n")
    );
    assert!(seen > 50, "only {seen} vectors in {folder}");
}

fn come_back(bytes: &[u8]) -> Result<(), String> {
    let message =
        wire::decode(Version::V1_3, bytes).map_err(|error| format!("{error}\n {}", hex(bytes)))?;
    let xid = wire::Header::read(bytes).unwrap().xid;
    let mut again = Vec::new();
    wire::encode(Version::V1_3, xid, &message, &mut again).map_err(|error| error.to_string())?;
    if again == bytes {
        Ok(())
    } else {
        Err(format!("\n {}\n {}", hex(bytes), hex(&again)))
    }
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}
