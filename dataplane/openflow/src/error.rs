//! Errors of the protocol: type and code as the specification names them (OpenFlow 1.3.5, A.4.4;
//! 1.5.1, 7.5.4), with a sentence for people.

use std::fmt;

use crate::Version;
use crate::msg::{NICIRA, ONF};

/// A protocol error: what goes into OFPT_ERROR.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct OfError {
    /// OFPET_*; [`OfError::EXPERIMENTER_KIND`] for an experimenter's.
    pub kind: u16,
    /// Code within the type; the experimenter's own type for an experimenter's.
    pub code: u16,
    /// The experimenter; 0 for the specification's own errors.
    pub experimenter: u32,
}

impl OfError {
    /// OFPET_EXPERIMENTER.
    pub const EXPERIMENTER_KIND: u16 = 0xffff;

    /// One of the specification's errors.
    pub const fn new(kind: u16, code: u16) -> Self {
        OfError {
            kind,
            code,
            experimenter: 0,
        }
    }

    /// An experimenter's error.
    pub const fn of_experimenter(experimenter: u32, exp_type: u16) -> Self {
        OfError {
            kind: Self::EXPERIMENTER_KIND,
            code: exp_type,
            experimenter,
        }
    }

    /// The error on the wire of a version: many have a number of their own there since a later
    /// version only, and before are an extension's.
    pub fn for_version(self, version: Version) -> Self {
        let renumbered = RENUMBERED
            .iter()
            .find(|r| version < r.since && r.holds(self));
        if let Some(r) = renumbered {
            return r.before(self);
        }
        match self {
            // Before 1.4 there is nothing more exact.
            OFPMOFC_BAD_TABLE_ID if version < Version::V1_4 => OFPBRC_BAD_TABLE_ID,
            OFPMOFC_BAD_OUT if version < Version::V1_4 => OFPBRC_BAD_PORT,
            // 1.4 has these among the errors of all properties.
            OFPTFFC_BAD_TYPE if version >= Version::V1_4 => OFPBPC_BAD_TYPE,
            OFPTFFC_BAD_LEN if version >= Version::V1_4 => OFPBPC_BAD_LEN,
            OFPTFFC_BAD_ARGUMENT if version >= Version::V1_4 => OFPBPC_BAD_VALUE,
            other => other,
        }
    }

    /// The inverse of [`OfError::for_version`]. A number that the version does not have is taken
    /// for what it is in the others.
    pub fn from_version(self, version: Version) -> Self {
        let wire = self.for_version(version);
        let renumbered = RENUMBERED.iter().find_map(|r| {
            let old = version < r.since && wire.experimenter != 0;
            old.then(|| r.after(wire)).flatten()
        });
        renumbered.unwrap_or(wire)
    }

    /// Name of the code, such as `OFPBMC_BAD_FIELD`.
    pub fn name(self) -> Option<&'static str> {
        self.entry().map(|(_, name, _)| *name)
    }

    /// Name of the type, such as `OFPET_BAD_MATCH`.
    pub fn kind_name(self) -> Option<&'static str> {
        let kind = KINDS.iter().find(|(kind, _)| *kind == self.kind);
        kind.map(|(_, name)| *name)
    }

    /// What it means.
    pub fn text(self) -> Option<&'static str> {
        self.entry().map(|(_, _, text)| *text)
    }

    fn entry(self) -> Option<&'static (OfError, &'static str, &'static str)> {
        let mut known = ALL.iter().chain(NICIRA_ALL);
        known.find(|(error, _, _)| *error == self)
    }
}

impl fmt::Display for OfError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.entry() {
            Some((_, name, text)) => write!(f, "{name}: {text}"),
            None if self.kind == Self::EXPERIMENTER_KIND => write!(
                f,
                "error {} of experimenter {:#010x}",
                self.code, self.experimenter
            ),
            None => write!(f, "error type {} code {}", self.kind, self.code),
        }
    }
}

impl fmt::Debug for OfError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.name() {
            Some(name) => f.write_str(name),
            None => write!(
                f,
                "({}, {}, {:#x})",
                self.kind, self.code, self.experimenter
            ),
        }
    }
}

impl std::error::Error for OfError {}

/// Errors in a row that had other numbers before a version.
struct Renumbered {
    /// The first of them.
    first: OfError,
    /// How many.
    count: u16,
    /// The version that has them.
    since: Version,
    /// The first one's number before.
    old: OfError,
}

impl Renumbered {
    fn holds(&self, error: OfError) -> bool {
        let OfError { kind, code, .. } = self.first;
        let row = code..code + self.count;
        error.experimenter == 0 && error.kind == kind && row.contains(&error.code)
    }

    fn before(&self, error: OfError) -> OfError {
        OfError {
            code: self.old.code + (error.code - self.first.code),
            ..self.old
        }
    }

    fn after(&self, error: OfError) -> Option<OfError> {
        let same = error.kind == self.old.kind && error.experimenter == self.old.experimenter;
        let offset = error.code.checked_sub(self.old.code)?;
        (same && offset < self.count).then(|| OfError {
            code: self.first.code + offset,
            ..self.first
        })
    }
}

const fn renumbered(first: OfError, count: u16, since: Version, old: OfError) -> Renumbered {
    Renumbered {
        first,
        count,
        since,
        old,
    }
}

const fn onf(exp_type: u16) -> OfError {
    OfError::of_experimenter(ONF, exp_type)
}

/// ONF extensions 187 (monitors), 230 (bundles), 264, 410 and so on, as Open vSwitch numbers them.
const RENUMBERED: &[Renumbered] = &[
    renumbered(
        OFPBRC_MULTIPART_REQUEST_TIMEOUT,
        2,
        Version::V1_4,
        onf(2640),
    ),
    renumbered(OFPBAC_BAD_SET_MASK, 1, Version::V1_5, onf(4250)),
    renumbered(OFPBIC_DUP_INST, 1, Version::V1_4, onf(2600)),
    renumbered(OFPFMFC_BAD_PRIORITY, 1, Version::V1_4, onf(2360)),
    renumbered(OFPBPC_BAD_TYPE, 3, Version::V1_4, OFPTFFC_BAD_TYPE),
    renumbered(OFPBPC_TOO_MANY, 6, Version::V1_4, onf(4443)),
    renumbered(OFPACFC_INVALID, 3, Version::V1_4, onf(2370)),
    renumbered(
        OFPMOFC_MONITOR_EXISTS,
        1,
        Version::V1_4,
        OfError::of_experimenter(NICIRA, 6),
    ),
    renumbered(
        OFPMOFC_BAD_FLAGS,
        1,
        Version::V1_4,
        OfError::of_experimenter(NICIRA, 7),
    ),
    renumbered(
        OFPMOFC_UNKNOWN_MONITOR,
        1,
        Version::V1_4,
        OfError::of_experimenter(NICIRA, 8),
    ),
    renumbered(OFPBFC_UNKNOWN, 16, Version::V1_4, onf(2300)),
];

macro_rules! errors {
    ($($name:ident ($kind:literal, $code:literal) $text:literal;)*) => {
        $(
            #[doc = $text]
            pub const $name: OfError = OfError::new($kind, $code);
        )*

        /// Every error of the specification with its name and meaning.
        pub const ALL: &[(OfError, &str, &str)] = &[$(($name, stringify!($name), $text)),*];
    };
}

macro_rules! nicira_errors {
    ($($name:ident $exp_type:literal $text:literal;)*) => {
        $(
            #[doc = $text]
            pub const $name: OfError = OfError::of_experimenter(crate::msg::NICIRA, $exp_type);
        )*

        /// Open vSwitch's own errors that we send (nicira-ext.h), likewise.
        pub const NICIRA_ALL: &[(OfError, &str, &str)] =
            &[$(($name, stringify!($name), $text)),*];
    };
}

nicira_errors! {
    NXBRC_NXM_INVALID 2 "invalid match";
    NXBRC_MUST_BE_ZERO 4 "a field that must be zero is not";
    NXBRC_FM_BAD_EVENT 9 "unknown event of a flow monitor";
    NXBAC_MUST_BE_ZERO 11 "a field of an action that must be zero is not";
    NXBAC_BAD_CONJUNCTION 15 "conjunction stands with other actions, or its clauses are not 2 to 64";
    NXTTMFC_BAD_COMMAND 16 "unknown command for the table of tunnel options";
    NXTTMFC_BAD_OPT_LEN 17 "length of a tunnel option that is no multiple of 4, or above 124";
    NXTTMFC_BAD_FIELD_IDX 18 "no such tun_metadata field";
    NXTTMFC_TABLE_FULL 19 "tunnel options longer than the switch has room for";
    NXTTMFC_ALREADY_MAPPED 20 "the tun_metadata field is another option already";
    NXTTMFC_DUP_ENTRY 21 "the tunnel option is another field already";
    NXR_NOT_SUPPORTED 34 "packets cannot be resumed";
    NXR_STALE 35 "the continuation is not one that this switch made";
    NXST_NOT_CONFIGURED 36 "that protocol is not configured";
    NXFMFC_INVALID_TLV_FIELD 37 "no tunnel option is said to be that tun_metadata field";
    NXTTMFC_INVALID_TLV_DEL 38 "flows use the tun_metadata field";
    NXBAC_BAD_HEADER_TYPE 39 "unsupported packet type in encap or decap";
    NXBAC_UNKNOWN_ED_PROP 40 "unknown property of encap or decap";
    NXBAC_BAD_ED_PROP 41 "bad property of encap or decap";
    NXTFFC_DUP_TABLE 44 "table given twice";
}

/// Names of the types.
const KINDS: &[(u16, &str)] = &[
    (0, "OFPET_HELLO_FAILED"),
    (1, "OFPET_BAD_REQUEST"),
    (2, "OFPET_BAD_ACTION"),
    (3, "OFPET_BAD_INSTRUCTION"),
    (4, "OFPET_BAD_MATCH"),
    (5, "OFPET_FLOW_MOD_FAILED"),
    (6, "OFPET_GROUP_MOD_FAILED"),
    (7, "OFPET_PORT_MOD_FAILED"),
    (8, "OFPET_TABLE_MOD_FAILED"),
    (9, "OFPET_QUEUE_OP_FAILED"),
    (10, "OFPET_SWITCH_CONFIG_FAILED"),
    (11, "OFPET_ROLE_REQUEST_FAILED"),
    (12, "OFPET_METER_MOD_FAILED"),
    (13, "OFPET_TABLE_FEATURES_FAILED"),
    (14, "OFPET_BAD_PROPERTY"),
    (15, "OFPET_ASYNC_CONFIG_FAILED"),
    (16, "OFPET_FLOW_MONITOR_FAILED"),
    (17, "OFPET_BUNDLE_FAILED"),
    (0xffff, "OFPET_EXPERIMENTER"),
];

errors! {
    // OFPET_HELLO_FAILED
    OFPHFC_INCOMPATIBLE (0, 0) "no compatible version";
    OFPHFC_EPERM (0, 1) "permissions error";
    // OFPET_BAD_REQUEST
    OFPBRC_BAD_VERSION (1, 0) "the header's version is not the one agreed";
    OFPBRC_BAD_TYPE (1, 1) "unknown message type";
    OFPBRC_BAD_MULTIPART (1, 2) "unknown multipart type";
    OFPBRC_BAD_EXPERIMENTER (1, 3) "unknown experimenter";
    OFPBRC_BAD_EXP_TYPE (1, 4) "unknown type of that experimenter";
    OFPBRC_EPERM (1, 5) "permissions error";
    OFPBRC_BAD_LEN (1, 6) "wrong length for the type";
    OFPBRC_BUFFER_EMPTY (1, 7) "that buffer was used already";
    OFPBRC_BUFFER_UNKNOWN (1, 8) "no such buffer";
    OFPBRC_BAD_TABLE_ID (1, 9) "no such table";
    OFPBRC_IS_SLAVE (1, 10) "refused because the controller is slave";
    OFPBRC_BAD_PORT (1, 11) "no such port, or not usable there";
    OFPBRC_BAD_PACKET (1, 12) "invalid packet in a packet-out";
    OFPBRC_MULTIPART_BUFFER_OVERFLOW (1, 13) "the multipart request is too long";
    OFPBRC_MULTIPART_REQUEST_TIMEOUT (1, 14) "the multipart request was not finished in time";
    OFPBRC_MULTIPART_REPLY_TIMEOUT (1, 15) "the multipart reply was not finished in time";
    OFPBRC_MULTIPART_BAD_SCHED (1, 16) "unsupported schedule in a multipart request";
    OFPBRC_PIPELINE_FIELDS_ONLY (1, 17) "only pipeline fields may be matched there";
    OFPBRC_UNKNOWN (1, 18) "unspecified error";
    // OFPET_BAD_ACTION
    OFPBAC_BAD_TYPE (2, 0) "unknown or unsupported action type";
    OFPBAC_BAD_LEN (2, 1) "wrong length of an action";
    OFPBAC_BAD_EXPERIMENTER (2, 2) "unknown experimenter";
    OFPBAC_BAD_EXP_TYPE (2, 3) "unknown action of that experimenter";
    OFPBAC_BAD_OUT_PORT (2, 4) "no such port, or not usable for output";
    OFPBAC_BAD_ARGUMENT (2, 5) "bad argument of an action";
    OFPBAC_EPERM (2, 6) "permissions error";
    OFPBAC_TOO_MANY (2, 7) "too many actions";
    OFPBAC_BAD_QUEUE (2, 8) "no such queue";
    OFPBAC_BAD_OUT_GROUP (2, 9) "no such group";
    OFPBAC_MATCH_INCONSISTENT (2, 10) "the action cannot apply to what the flow matches";
    OFPBAC_UNSUPPORTED_ORDER (2, 11) "actions in an order that is not supported";
    OFPBAC_BAD_TAG (2, 12) "unsupported tag or encapsulation";
    OFPBAC_BAD_SET_TYPE (2, 13) "set_field of a field that cannot be set";
    OFPBAC_BAD_SET_LEN (2, 14) "wrong length in set_field";
    OFPBAC_BAD_SET_ARGUMENT (2, 15) "bad value in set_field";
    OFPBAC_BAD_SET_MASK (2, 16) "bad mask in set_field";
    OFPBAC_BAD_METER (2, 17) "no such meter";
    // OFPET_BAD_INSTRUCTION
    OFPBIC_UNKNOWN_INST (3, 0) "unknown instruction";
    OFPBIC_UNSUP_INST (3, 1) "the table does not support the instruction";
    OFPBIC_BAD_TABLE_ID (3, 2) "no such table to go to";
    OFPBIC_UNSUP_METADATA (3, 3) "unsupported metadata value";
    OFPBIC_UNSUP_METADATA_MASK (3, 4) "unsupported metadata mask";
    OFPBIC_BAD_EXPERIMENTER (3, 5) "unknown experimenter";
    OFPBIC_BAD_EXP_TYPE (3, 6) "unknown instruction of that experimenter";
    OFPBIC_BAD_LEN (3, 7) "wrong length of an instruction";
    OFPBIC_EPERM (3, 8) "permissions error";
    OFPBIC_DUP_INST (3, 9) "instruction given twice";
    // OFPET_BAD_MATCH
    OFPBMC_BAD_TYPE (4, 0) "unsupported type of match";
    OFPBMC_BAD_LEN (4, 1) "wrong length of a match";
    OFPBMC_BAD_TAG (4, 2) "unsupported tag or encapsulation";
    OFPBMC_BAD_DL_ADDR_MASK (4, 3) "unsupported mask of a hardware address";
    OFPBMC_BAD_NW_ADDR_MASK (4, 4) "unsupported mask of a network address";
    OFPBMC_BAD_WILDCARDS (4, 5) "unsupported combination of fields";
    OFPBMC_BAD_FIELD (4, 6) "unsupported field";
    OFPBMC_BAD_VALUE (4, 7) "unsupported value of a field";
    OFPBMC_BAD_MASK (4, 8) "unsupported mask of a field";
    OFPBMC_BAD_PREREQ (4, 9) "a prerequisite of a field is missing";
    OFPBMC_DUP_FIELD (4, 10) "field given twice";
    OFPBMC_EPERM (4, 11) "permissions error";
    // OFPET_FLOW_MOD_FAILED
    OFPFMFC_UNKNOWN (5, 0) "unspecified error";
    OFPFMFC_TABLE_FULL (5, 1) "the table is full";
    OFPFMFC_BAD_TABLE_ID (5, 2) "no such table";
    OFPFMFC_OVERLAP (5, 3) "overlaps a flow of the same priority";
    OFPFMFC_EPERM (5, 4) "permissions error";
    OFPFMFC_BAD_TIMEOUT (5, 5) "unsupported timeout";
    OFPFMFC_BAD_COMMAND (5, 6) "unknown command";
    OFPFMFC_BAD_FLAGS (5, 7) "unsupported flags";
    OFPFMFC_CANT_SYNC (5, 8) "the tables cannot be synchronised";
    OFPFMFC_BAD_PRIORITY (5, 9) "unsupported priority";
    OFPFMFC_IS_SYNC (5, 10) "a synchronised flow is read only";
    // OFPET_GROUP_MOD_FAILED
    OFPGMFC_GROUP_EXISTS (6, 0) "the group exists already";
    OFPGMFC_INVALID_GROUP (6, 1) "invalid group";
    OFPGMFC_WEIGHT_UNSUPPORTED (6, 2) "unequal weights are not supported";
    OFPGMFC_OUT_OF_GROUPS (6, 3) "the group table is full";
    OFPGMFC_OUT_OF_BUCKETS (6, 4) "too many buckets";
    OFPGMFC_CHAINING_UNSUPPORTED (6, 5) "groups of groups are not supported";
    OFPGMFC_WATCH_UNSUPPORTED (6, 6) "that port or group cannot be watched";
    OFPGMFC_LOOP (6, 7) "the groups would form a loop";
    OFPGMFC_UNKNOWN_GROUP (6, 8) "no such group";
    OFPGMFC_CHAINED_GROUP (6, 9) "another group uses this one";
    OFPGMFC_BAD_TYPE (6, 10) "unsupported type of group";
    OFPGMFC_BAD_COMMAND (6, 11) "unknown command";
    OFPGMFC_BAD_BUCKET (6, 12) "bad bucket";
    OFPGMFC_BAD_WATCH (6, 13) "bad port or group to watch";
    OFPGMFC_EPERM (6, 14) "permissions error";
    OFPGMFC_UNKNOWN_BUCKET (6, 15) "no such bucket";
    OFPGMFC_BUCKET_EXISTS (6, 16) "the bucket exists already";
    // OFPET_PORT_MOD_FAILED
    OFPPMFC_BAD_PORT (7, 0) "no such port";
    OFPPMFC_BAD_HW_ADDR (7, 1) "the hardware address is not the port's";
    OFPPMFC_BAD_CONFIG (7, 2) "unsupported configuration";
    OFPPMFC_BAD_ADVERTISE (7, 3) "unsupported features to advertise";
    OFPPMFC_EPERM (7, 4) "permissions error";
    // OFPET_TABLE_MOD_FAILED
    OFPTMFC_BAD_TABLE (8, 0) "no such table";
    OFPTMFC_BAD_CONFIG (8, 1) "unsupported configuration";
    OFPTMFC_EPERM (8, 2) "permissions error";
    // OFPET_QUEUE_OP_FAILED
    OFPQOFC_BAD_PORT (9, 0) "no such port";
    OFPQOFC_BAD_QUEUE (9, 1) "no such queue";
    OFPQOFC_EPERM (9, 2) "permissions error";
    // OFPET_SWITCH_CONFIG_FAILED
    OFPSCFC_BAD_FLAGS (10, 0) "unsupported flags";
    OFPSCFC_BAD_LEN (10, 1) "unsupported length";
    OFPSCFC_EPERM (10, 2) "permissions error";
    // OFPET_ROLE_REQUEST_FAILED
    OFPRRFC_STALE (11, 0) "the generation is older than the last one";
    OFPRRFC_UNSUP (11, 1) "roles cannot be changed";
    OFPRRFC_BAD_ROLE (11, 2) "unknown role";
    OFPRRFC_ID_UNSUP (11, 3) "the identifier cannot be changed";
    OFPRRFC_ID_IN_USE (11, 4) "the identifier is in use";
    // OFPET_METER_MOD_FAILED
    OFPMMFC_UNKNOWN (12, 0) "unspecified error";
    OFPMMFC_METER_EXISTS (12, 1) "the meter exists already";
    OFPMMFC_INVALID_METER (12, 2) "invalid meter";
    OFPMMFC_UNKNOWN_METER (12, 3) "no such meter";
    OFPMMFC_BAD_COMMAND (12, 4) "unknown command";
    OFPMMFC_BAD_FLAGS (12, 5) "unsupported flags";
    OFPMMFC_BAD_RATE (12, 6) "unsupported rate";
    OFPMMFC_BAD_BURST (12, 7) "unsupported burst";
    OFPMMFC_BAD_BAND (12, 8) "unsupported band";
    OFPMMFC_BAD_BAND_VALUE (12, 9) "unsupported value in a band";
    OFPMMFC_OUT_OF_METERS (12, 10) "the meter table is full";
    OFPMMFC_OUT_OF_BANDS (12, 11) "too many bands";
    // OFPET_TABLE_FEATURES_FAILED
    OFPTFFC_BAD_TABLE (13, 0) "no such table";
    OFPTFFC_BAD_METADATA (13, 1) "bad metadata mask";
    OFPTFFC_BAD_TYPE (13, 2) "unknown property";
    OFPTFFC_BAD_LEN (13, 3) "wrong length of a property";
    OFPTFFC_BAD_ARGUMENT (13, 4) "unsupported value in a property";
    OFPTFFC_EPERM (13, 5) "permissions error";
    OFPTFFC_BAD_CAPA (13, 6) "unsupported capability";
    OFPTFFC_BAD_MAX_ENT (13, 7) "unsupported number of entries";
    OFPTFFC_BAD_FEATURES (13, 8) "unsupported features";
    OFPTFFC_BAD_COMMAND (13, 9) "unknown command";
    OFPTFFC_TOO_MANY (13, 10) "too many tables";
    // OFPET_BAD_PROPERTY
    OFPBPC_BAD_TYPE (14, 0) "unknown property";
    OFPBPC_BAD_LEN (14, 1) "wrong length of a property";
    OFPBPC_BAD_VALUE (14, 2) "unsupported value in a property";
    OFPBPC_TOO_MANY (14, 3) "too many properties";
    OFPBPC_DUP_TYPE (14, 4) "property given twice";
    OFPBPC_BAD_EXPERIMENTER (14, 5) "unknown experimenter";
    OFPBPC_BAD_EXP_TYPE (14, 6) "unknown property of that experimenter";
    OFPBPC_BAD_EXP_VALUE (14, 7) "unknown value in an experimenter's property";
    OFPBPC_EPERM (14, 8) "permissions error";
    // OFPET_ASYNC_CONFIG_FAILED
    OFPACFC_INVALID (15, 0) "one of the masks is invalid";
    OFPACFC_UNSUPPORTED (15, 1) "unsupported configuration";
    OFPACFC_EPERM (15, 2) "permissions error";
    // OFPET_FLOW_MONITOR_FAILED
    OFPMOFC_UNKNOWN (16, 0) "unspecified error";
    OFPMOFC_MONITOR_EXISTS (16, 1) "the monitor exists already";
    OFPMOFC_INVALID_MONITOR (16, 2) "invalid monitor";
    OFPMOFC_UNKNOWN_MONITOR (16, 3) "no such monitor";
    OFPMOFC_BAD_COMMAND (16, 4) "unknown command";
    OFPMOFC_BAD_FLAGS (16, 5) "unsupported flags";
    OFPMOFC_BAD_TABLE_ID (16, 6) "no such table";
    OFPMOFC_BAD_OUT (16, 7) "bad output filter";
    // OFPET_BUNDLE_FAILED
    OFPBFC_UNKNOWN (17, 0) "unspecified error";
    OFPBFC_EPERM (17, 1) "permissions error";
    OFPBFC_BAD_ID (17, 2) "no such bundle";
    OFPBFC_BUNDLE_EXIST (17, 3) "the bundle exists already";
    OFPBFC_BUNDLE_CLOSED (17, 4) "the bundle is closed";
    OFPBFC_OUT_OF_BUNDLES (17, 5) "too many bundles";
    OFPBFC_BAD_TYPE (17, 6) "unknown control message";
    OFPBFC_BAD_FLAGS (17, 7) "unsupported or different flags";
    OFPBFC_MSG_BAD_LEN (17, 8) "wrong length of the inner message";
    OFPBFC_MSG_BAD_XID (17, 9) "transaction numbers differ";
    OFPBFC_MSG_UNSUP (17, 10) "such a message cannot be in a bundle";
    OFPBFC_MSG_CONFLICT (17, 11) "conflicts with another message of the bundle";
    OFPBFC_MSG_TOO_MANY (17, 12) "too many messages";
    OFPBFC_MSG_FAILED (17, 13) "one of the messages failed";
    OFPBFC_TIMEOUT (17, 14) "the bundle took too long";
    OFPBFC_BUNDLE_IN_PROGRESS (17, 15) "another bundle holds the resource";
    OFPBFC_SCHED_NOT_SUPPORTED (17, 16) "bundles cannot be scheduled";
    OFPBFC_SCHED_FUTURE (17, 17) "scheduled too far ahead";
    OFPBFC_SCHED_PAST (17, 18) "scheduled too far in the past";
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_error_has_its_own_number_and_a_name() {
        let mut seen = std::collections::BTreeSet::new();
        for (error, name, _) in ALL.iter().chain(NICIRA_ALL) {
            assert!(seen.insert(*error), "{name} twice");
            assert!(error.kind_name().is_some(), "{name}");
        }
        assert_eq!(
            OFPBMC_BAD_PREREQ.to_string(),
            "OFPBMC_BAD_PREREQ: a prerequisite of a field is missing"
        );
    }

    #[test]
    fn errors_have_the_numbers_of_their_version() {
        let number = |e: OfError| (e.experimenter, e.kind, e.code);
        let in_1_3 = |e: OfError| number(e.for_version(Version::V1_3));
        assert_eq!(in_1_3(OFPBFC_MSG_UNSUP), (ONF, 0xffff, 2310));
        assert_eq!(in_1_3(OFPBPC_BAD_LEN), (0, 13, 3));
        assert_eq!(in_1_3(OFPBPC_BAD_EXPERIMENTER), (ONF, 0xffff, 4445));
        assert_eq!(in_1_3(OFPMOFC_UNKNOWN_MONITOR), (NICIRA, 0xffff, 8));
        assert_eq!(in_1_3(OFPBIC_DUP_INST), (ONF, 0xffff, 2600));
        assert_eq!(in_1_3(OFPBMC_BAD_PREREQ), (0, 4, 9));
        let mask = OFPBAC_BAD_SET_MASK.for_version(Version::V1_4);
        assert_eq!(number(mask), (ONF, 0xffff, 4250));
        let argument = OFPTFFC_BAD_ARGUMENT.for_version(Version::V1_5);
        assert_eq!(number(argument), (0, 14, 2));
        // Not in 1.4 any more, and not yet in 1.3.
        let gone = OFPTFFC_BAD_LEN.from_version(Version::V1_4);
        assert_eq!(gone, OFPBPC_BAD_LEN);
        let early = OFPBPC_BAD_LEN.from_version(Version::V1_3);
        assert_eq!(early, OFPTFFC_BAD_LEN);
        for version in Version::ALL {
            for (error, name, _) in ALL.iter().chain(NICIRA_ALL) {
                let back = error.for_version(*version).from_version(*version);
                let merged = error.for_version(*version).experimenter == 0;
                assert!(back == *error || merged, "{name} in {version}");
            }
        }
    }
}
