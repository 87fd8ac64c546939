//! Malformed messages, one for each error that decoding can give, with the specification's clause
//! where it is one.

use openflow::error::*;
use openflow::{Message, OfError, Version, wire};

fn hex(text: &str) -> Vec<u8> {
    let digits: Vec<u8> = text.bytes().filter(u8::is_ascii_hexdigit).collect();
    let pairs = digits.chunks(2);
    pairs
        .map(|pair| u8::from_str_radix(std::str::from_utf8(pair).unwrap(), 16).unwrap())
        .collect()
}

/// A message of a type with a body, its length filled in.
fn message(kind: u8, body: &[u8]) -> Vec<u8> {
    let mut frame = vec![4, kind, 0, 0, 0, 0, 0, 7];
    frame.extend_from_slice(body);
    let length = u16::try_from(frame.len()).unwrap();
    frame[2..4].copy_from_slice(&length.to_be_bytes());
    frame
}

fn decode(kind: u8, body: &str) -> Result<Message, OfError> {
    wire::decode(Version::V1_3, &message(kind, &hex(body)))
}

/// The fixed part of a flow mod for table 3.
fn flow_head(command: u8, flags: u16) -> Vec<u8> {
    let mut head = vec![0; 16];
    head.extend([3, command]);
    head.extend([0, 0, 0, 0, 0x80, 0]);
    head.extend([0xff; 12]);
    head.extend(flags.to_be_bytes());
    head.extend([0, 0]);
    head
}

/// A match of some fields, padded.
fn matching(fields: &str) -> Vec<u8> {
    let fields = hex(fields);
    let length = 4 + fields.len();
    let mut bytes = vec![0, 1];
    bytes.extend((length as u16).to_be_bytes());
    bytes.extend(fields);
    bytes.resize(length.next_multiple_of(8), 0);
    bytes
}

fn flow(fields: &str, instructions: &str) -> Result<Message, OfError> {
    let mut body = flow_head(0, 0);
    body.extend(matching(fields));
    body.extend(hex(instructions));
    wire::decode(Version::V1_3, &message(14, &body))
}

/// A flow whose actions are these.
fn acts(fields: &str, actions: &str) -> Result<Message, OfError> {
    let actions = hex(actions);
    let length = 8 + actions.len();
    let head = format!("0004{length:04x}00000000");
    let tail: String = actions.iter().map(|byte| format!("{byte:02x}")).collect();
    flow(fields, &format!("{head}{tail}"))
}

fn code(result: Result<Message, OfError>) -> OfError {
    match result {
        Err(error) => error,
        Ok(message) => panic!("accepted: {message:?}"),
    }
}

const IP: &str = "80000a020800";

#[test]
fn headers() {
    assert_eq!(code(decode(99, "")), OFPBRC_BAD_TYPE);
    let other_version = [6, 5, 0, 8, 0, 0, 0, 1];
    assert_eq!(
        wire::decode(Version::V1_3, &other_version),
        Err(OFPBRC_BAD_VERSION)
    );
    let short = [4, 5, 0, 12, 0, 0, 0, 1];
    assert_eq!(wire::decode(Version::V1_3, &short), Err(OFPBRC_BAD_LEN));
    assert_eq!(
        code(decode(5, "00")),
        OFPBRC_BAD_LEN,
        "features request with a body"
    );
    assert_eq!(
        code(decode(9, "0000ff")),
        OFPBRC_BAD_LEN,
        "set config one byte short"
    );
    assert_eq!(
        code(decode(24, "00000009 00000000 0000000000000000")),
        OFPRRFC_BAD_ROLE
    );
    assert_eq!(code(decode(18, "00990000 00000000")), OFPBRC_BAD_MULTIPART);
    assert_eq!(
        code(decode(18, "00040000 00000000 00000001")),
        OFPBRC_BAD_LEN
    );
}

#[test]
fn matches() {
    let bad = |fields: &str| code(flow(fields, ""));
    assert!(flow(IP, "").is_ok());
    assert_eq!(bad("7000000400000001"), OFPBMC_BAD_FIELD, "unknown class");
    assert_eq!(bad("8000fe0400000001"), OFPBMC_BAD_FIELD, "unknown field");
    assert_eq!(
        bad("80000a030800ff"),
        OFPBMC_BAD_LEN,
        "value and mask in three bytes"
    );
    assert_eq!(bad("80000a0208"), OFPBMC_BAD_LEN, "cut off");
    assert_eq!(
        bad("80000b040800ff00"),
        OFPBMC_BAD_MASK,
        "eth_type cannot be masked"
    );
    assert_eq!(
        bad("80000708 00000001 ffff0000"),
        OFPBMC_BAD_LEN,
        "eth_dst of four bytes"
    );
    assert_eq!(bad("80000a020800 80000a0286dd"), OFPBMC_DUP_FIELD);
    assert_eq!(
        bad("0001000400000001 8001000800000001 00000002"),
        OFPBMC_DUP_FIELD,
        "reg0, xreg0"
    );
    assert_eq!(
        bad("80001804 0a000001"),
        OFPBMC_BAD_PREREQ,
        "ipv4_dst without eth_type"
    );
    assert_eq!(
        bad("80001804 0a000001 80000a020800"),
        OFPBMC_BAD_PREREQ,
        "before eth_type"
    );
    assert_eq!(
        bad(&format!("{IP} 80001c020050")),
        OFPBMC_BAD_PREREQ,
        "tcp_dst without ip_proto"
    );
    assert_eq!(
        bad(&format!("{IP} 0001f004 0a000001")),
        OFPBMC_BAD_PREREQ,
        "ct_nw_src without ct_state"
    );
    assert_eq!(
        bad(&format!(
            "{IP} 0001d308 00000020 00000020 0001f004 0a000001"
        )),
        OFPBMC_BAD_PREREQ,
        "ct_nw_src of packets that may be invalid"
    );
    assert_eq!(
        bad("80000e0103"),
        OFPBMC_BAD_PREREQ,
        "vlan_pcp without vlan_vid"
    );
    assert_eq!(
        bad("80000c020000 80000e0103"),
        OFPBMC_BAD_PREREQ,
        "vlan_pcp without a tag"
    );
    assert_eq!(
        bad(&format!("{IP} 8000100140")),
        OFPBMC_BAD_VALUE,
        "DSCP has six bits"
    );
    assert_eq!(
        bad("80000c022001"),
        OFPBMC_BAD_VALUE,
        "vlan_vid has 13 bits"
    );
    assert_eq!(
        bad(&format!("{IP} 80001908 0a000001 ff000000")),
        OFPBMC_BAD_WILDCARDS
    );
    let mut other_type = flow_head(0, 0);
    other_type.extend(hex("0000000400000000"));
    let frame = message(14, &other_type);
    assert_eq!(wire::decode(Version::V1_3, &frame), Err(OFPBMC_BAD_TYPE));
}

#[test]
fn vlan_matches_of_the_specification_are_taken() {
    // OpenFlow 1.3.5, table 13: none, any tag, one tag, tags under a mask.
    for fields in [
        "80000c020000",
        "80000d0410001000",
        "80000c021005",
        "80000d0410051005",
    ] {
        assert!(flow(fields, "").is_ok(), "{fields}");
    }
}

#[test]
fn flow_mods() {
    let mut unknown = flow_head(9, 0);
    unknown.extend(matching(""));
    assert_eq!(
        code(wire::decode(Version::V1_3, &message(14, &unknown))),
        OFPFMFC_BAD_COMMAND
    );
    let mut flags = flow_head(0, 0x8000);
    flags.extend(matching(""));
    assert_eq!(
        code(wire::decode(Version::V1_3, &message(14, &flags))),
        OFPFMFC_BAD_FLAGS
    );
}

#[test]
fn instructions() {
    let bad = |instructions: &str| code(flow("", instructions));
    assert_eq!(bad("0009000800000000"), OFPBIC_UNKNOWN_INST);
    assert_eq!(bad("ffff000800002320"), OFPBIC_BAD_EXPERIMENTER);
    assert_eq!(
        bad("000100100500000000000000 00000000"),
        OFPBIC_BAD_LEN,
        "goto of 16 bytes"
    );
    assert_eq!(
        bad("0001000605000000"),
        OFPBIC_BAD_LEN,
        "not a multiple of eight"
    );
    assert_eq!(
        bad("0001001005000000"),
        OFPBIC_BAD_LEN,
        "beyond the message"
    );
    assert_eq!(bad("0001000805000000 0001000806000000"), OFPBIC_DUP_INST);
    assert_eq!(
        bad("0001000803000000"),
        OFPBIC_BAD_TABLE_ID,
        "to its own table"
    );
    assert_eq!(bad("0001000802000000"), OFPBIC_BAD_TABLE_ID, "back");
    assert_eq!(bad("00010008ff000000"), OFPBIC_BAD_TABLE_ID, "to OFPTT_ALL");
    assert_eq!(bad("0006000800000000"), OFPMMFC_INVALID_METER, "meter 0");
    assert!(flow("", "0001000804000000").is_ok());
}

#[test]
fn actions() {
    let bad = |actions: &str| code(acts("", actions));
    assert_eq!(bad("0063000800000000"), OFPBAC_BAD_TYPE);
    assert_eq!(
        bad("0000000800000001"),
        OFPBAC_BAD_LEN,
        "output of eight bytes"
    );
    assert_eq!(bad("0000001000000001"), OFPBAC_BAD_LEN, "cut off");
    assert_eq!(bad("0012000400000000"), OFPBAC_BAD_LEN, "below eight");
    assert_eq!(
        bad("00120010 00000000 0000000000000000"),
        OFPBAC_BAD_LEN,
        "pop_vlan of 16 bytes"
    );
    assert_eq!(
        bad("ffff0010 00001234 0000000000000000"),
        OFPBAC_BAD_EXPERIMENTER
    );
    assert_eq!(
        bad("ffff0010 00002320 fff0000000000000"),
        OFPBAC_BAD_EXP_TYPE
    );
    assert_eq!(
        bad("00000010 ffffffff ffff000000000000"),
        OFPBAC_BAD_OUT_PORT,
        "OFPP_ANY"
    );
    assert_eq!(
        bad("00000010 fffffff9 ffff000000000000"),
        OFPBAC_BAD_OUT_PORT,
        "OFPP_TABLE"
    );
    assert_eq!(
        bad("00000010 00000000 ffff000000000000"),
        OFPBAC_BAD_OUT_PORT,
        "port 0"
    );
    assert_eq!(
        bad("00000010 ffffff10 ffff000000000000"),
        OFPBAC_BAD_OUT_PORT,
        "reserved"
    );
    assert_eq!(bad("00160008 ffffffff"), OFPBAC_BAD_OUT_GROUP);
    assert_eq!(
        bad("00110008 08000000"),
        OFPBAC_BAD_ARGUMENT,
        "push_vlan of another ethertype"
    );
    assert_eq!(
        bad("00130008 08000000"),
        OFPBAC_BAD_ARGUMENT,
        "push_mpls of another ethertype"
    );
    assert_eq!(
        bad("00120008 00000000"),
        OFPBAC_MATCH_INCONSISTENT,
        "pop_vlan without a tag"
    );
    assert_eq!(
        bad("00180008 00000000"),
        OFPBAC_MATCH_INCONSISTENT,
        "dec_nw_ttl without IP"
    );
    assert_eq!(
        bad("00190010 80001804 0a000001 00000000"),
        OFPBAC_MATCH_INCONSISTENT,
        "set_field ipv4_dst without IP"
    );
    assert_eq!(
        bad("00190010 8000fe04 0a000001 00000000"),
        OFPBAC_BAD_SET_TYPE
    );
    assert_eq!(
        bad("00190010 80000006 0a000001 00010000"),
        OFPBAC_BAD_SET_LEN
    );
    assert_eq!(
        bad("00190018 80000404 0000000000000000 0000000000000000"),
        OFPBAC_BAD_SET_LEN
    );
    assert_eq!(
        code(acts("80000c021005", "00190010 80000c02 0005 000000000000")),
        OFPBAC_BAD_SET_ARGUMENT,
        "vlan_vid without OFPVID_PRESENT"
    );
    assert_eq!(
        code(acts(IP, "00190010 80001001 40 00000000000000")),
        OFPBAC_BAD_SET_ARGUMENT,
        "DSCP has six bits"
    );
    assert_eq!(
        code(acts(IP, "00190010 80004e02 0001 000000000000")),
        OFPBAC_BAD_SET_TYPE,
        "ipv6_exthdr cannot be written"
    );
    assert!(acts(IP, "00190010 80001804 0a000001 00000000").is_ok());
}

#[test]
fn nicira_actions() {
    let bad = |actions: &str| code(acts(IP, actions));
    let nx = |subtype: &str, rest: &str| {
        let length = 10 + hex(rest).len();
        format!("ffff{length:04x}00002320{subtype}{rest}")
    };
    // reg_load of more bits than the field has, and of a value that does not fit.
    let load = |packed: &str, value: &str| nx("0007", &format!("{packed}00010004{value}"));
    assert_eq!(bad(&load("0060", "0000000000000000")), OFPBAC_BAD_ARGUMENT);
    assert_eq!(bad(&load("0003", "0000000000000010")), OFPBAC_BAD_ARGUMENT);
    assert!(acts(IP, &load("0003", "000000000000000f")).is_ok());
    // output(port=,max_len=) of less than an Ethernet header, or to the controller.
    let cut = |rest: &str| nx("0027", rest);
    assert!(acts(IP, &cut("0001 0000000e")).is_ok());
    assert_eq!(bad(&cut("0001 0000000d")), OFPBAC_BAD_ARGUMENT);
    assert_eq!(bad(&cut("fffd 00000100")), OFPBAC_BAD_OUT_PORT);
    // multipath: fields and algorithms that do not exist, and a destination that is too small.
    let multipath = |start: &str, links: &str, packed: &str| {
        nx(
            "000a",
            &format!("{start}{links} 00000000 0000 {packed} 00010004"),
        )
    };
    assert!(acts(IP, &multipath("0000 0032 0000 0000", "000f", "0003")).is_ok());
    for (start, links) in [
        ("0007 0032 0000 0000", "000f"),
        ("0000 0032 0000 0004", "000f"),
        ("0000 0032 0000 0000", "0010"),
    ] {
        let wrong = multipath(start, links, "0003");
        assert_eq!(bad(&wrong), OFPBAC_BAD_ARGUMENT, "{start} {links}");
    }
    // bundle: its members' type, bits that must be zero, a load into less than 16 bits, and more
    // members than there are bytes for.
    let bundle = |subtype: &str, kind: &str, n: &str, dst: &str, rest: &str| {
        nx(
            subtype,
            &format!("0001 0000 0032 {kind} {n} {dst} 00000000 {rest}"),
        )
    };
    let none = "0000 00000000";
    let members = "0001 0002 0000 0000";
    assert!(acts(IP, &bundle("000c", "00000002", "0002", none, members)).is_ok());
    for (subtype, kind, dst) in [
        ("000c", "00000004", none),
        ("000c", "00000002", "000f 00010004"),
        ("000d", "00000002", "000e 00010004"),
    ] {
        let wrong = bundle(subtype, kind, "0002", dst, members);
        assert_eq!(bad(&wrong), OFPBAC_BAD_ARGUMENT, "{subtype} {kind} {dst}");
    }
    let short = bundle("000c", "00000002", "0009", none, members);
    assert_eq!(bad(&short), OFPBAC_BAD_LEN);
    let to_controller = bundle("000c", "00000002", "0001", none, "fffd 0000 0000 0000");
    assert_eq!(bad(&to_controller), OFPBAC_BAD_OUT_PORT);
    // ct: unknown flag, force alone, a zone that is not 16 bits, exec of something else.
    let ct = |flags: &str, zone: &str, inner: &str| {
        nx("0023", &format!("{flags}{zone}ff0000000000{inner}"))
    };
    assert!(acts(IP, &ct("0001", "000000000005", "")).is_ok());
    assert_eq!(bad(&ct("0004", "000000000005", "")), OFPBAC_BAD_ARGUMENT);
    assert_eq!(bad(&ct("0002", "000000000005", "")), OFPBAC_BAD_ARGUMENT);
    assert_eq!(bad(&ct("0001", "00010004011b", "")), OFPBAC_BAD_SET_LEN);
    assert_eq!(
        bad(&ct("0001", "000000000005", "0018000800000000")),
        OFPBAC_BAD_ARGUMENT
    );
    assert_eq!(
        code(acts("", &ct("0001", "000000000005", ""))),
        OFPBAC_MATCH_INCONSISTENT
    );
    // nat outside of ct, and both ways at once.
    assert_eq!(bad(&nx("0024", "0000 0000 0000")), OFPBAC_BAD_ARGUMENT);
    let both = ct("0001", "000000000005", &nx("0024", "0000 0003 0000"));
    assert_eq!(bad(&both), OFPBAC_BAD_ARGUMENT);
    // resubmit(,table,ct): the original direction of packets that may have none.
    let resubmit = nx("002c", "fff8 01 000000");
    assert_eq!(bad(&resubmit), OFPBAC_MATCH_INCONSISTENT);
    let state = |bits: &str| format!("{IP} 0001d308 {bits}");
    let tracked = state("00000020 00000020");
    assert_eq!(code(acts(&tracked, &resubmit)), OFPBAC_MATCH_INCONSISTENT);
    for right in [
        "00000020 00000030",
        "00000002 00000002",
        "00000008 00000008",
        "00000080 00000080",
    ] {
        assert!(acts(&state(right), &resubmit).is_ok(), "ct_state {right}");
    }
    // conjunction: one clause of one.
    let one_of_one = nx("0022", "00 01 00000001");
    assert_eq!(bad(&one_of_one), NXBAC_BAD_CONJUNCTION);
    // clone in clone in clone ...
    let mut deep = nx("0011", "000000000000");
    for _ in 0..40 {
        deep = nx("002a", &format!("000000000000{deep}"));
    }
    assert_eq!(bad(&deep), OFPBAC_TOO_MANY);
}

#[test]
fn groups_and_meters() {
    assert_eq!(code(decode(15, "0009 00 00 00000001")), OFPGMFC_BAD_COMMAND);
    assert_eq!(code(decode(15, "0000 09 00 00000001")), OFPGMFC_BAD_TYPE);
    assert_eq!(
        code(decode(15, "0000 00 00 fffffffc")),
        OFPGMFC_INVALID_GROUP
    );
    assert_eq!(
        code(decode(15, "0000 02 00 00000001")),
        OFPGMFC_INVALID_GROUP,
        "no bucket"
    );
    let bucket =
        |length: &str| format!("0000 00 00 00000001 {length} 0000 ffffffff ffffffff 00000000");
    assert!(decode(15, &bucket("0010")).is_ok());
    assert_eq!(code(decode(15, &bucket("0008"))), OFPGMFC_BAD_BUCKET);
    assert_eq!(code(decode(15, &bucket("0020"))), OFPGMFC_BAD_BUCKET);
    let unwatched = "0000 03 00 00000001 0010 0000 ffffffff ffffffff 00000000";
    assert_eq!(code(decode(15, unwatched)), OFPGMFC_BAD_WATCH);

    let band = "0001 0010 00000064 00000000 00000000";
    assert!(decode(29, &format!("0000 0001 00000001 {band}")).is_ok());
    assert_eq!(
        code(decode(29, &format!("0009 0001 00000001 {band}"))),
        OFPMMFC_BAD_COMMAND
    );
    assert_eq!(
        code(decode(29, &format!("0000 0001 00000000 {band}"))),
        OFPMMFC_INVALID_METER
    );
    assert_eq!(
        code(decode(29, &format!("0000 0003 00000001 {band}"))),
        OFPMMFC_BAD_FLAGS
    );
    assert_eq!(
        code(decode(29, &format!("0000 0101 00000001 {band}"))),
        OFPMMFC_BAD_FLAGS
    );
    let other = "0009 0010 00000064 00000000 00000000";
    assert_eq!(
        code(decode(29, &format!("0000 0001 00000001 {other}"))),
        OFPMMFC_BAD_BAND
    );
}

#[test]
fn packets_out() {
    let out = |in_port: &str| format!("ffffffff {in_port} 0000 000000000000");
    assert!(decode(13, &out("fffffffd")).is_ok());
    assert_eq!(code(decode(13, &out("ffffff01"))), OFPBRC_BAD_PORT);
    assert_eq!(
        code(decode(13, "ffffffff fffffffd 0010 000000000000")),
        OFPBAC_BAD_LEN
    );
    let table = "ffffffff fffffffd 0010 000000000000 00000010 fffffff9 0000000000000000";
    assert!(decode(13, table).is_ok(), "OFPP_TABLE in a packet-out");
}

#[test]
fn bundles() {
    let onf = |kind: u32, rest: &str| decode(4, &format!("4f4e4600 {kind:08x} {rest}"));
    assert!(onf(2300, "00000001 0000 0003").is_ok());
    assert_eq!(code(onf(2300, "00000001 0009 0003")), OFPBFC_BAD_TYPE);
    let inner = |message: &str| format!("00000001 0000 0003 {message}");
    assert_eq!(
        code(onf(2301, &inner("0402 0008 00000007"))),
        OFPBFC_MSG_UNSUP,
        "echo"
    );
    assert_eq!(
        code(onf(2301, &inner("060e 0008 00000007"))),
        OFPBFC_MSG_UNSUP,
        "version"
    );
    assert_eq!(
        code(onf(2301, &inner("0410 0028 00000007"))),
        OFPBFC_MSG_BAD_LEN
    );
    let port_mod = |xid: &str| inner(&format!("0411 0010 {xid} 05000000 00000003"));
    assert!(onf(2301, &port_mod("00000007")).is_ok());
    assert_eq!(code(onf(2301, &port_mod("00000008"))), OFPBFC_MSG_BAD_XID);
}
