//! Actions and instructions, independent of version and wire form.

use std::net::IpAddr;

use net::{GroupId, MeterId, PortNo, TableId};

use crate::encap::Encap;
use crate::links::{Bundle, Multipath};
use crate::{Field, SubField};

/// One action. Lists are run in order (apply_actions); see [`Instructions`] for the rest.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Action {
    /// Send to a port; `max_len` bytes if it is the controller (0xffff: all of it).
    Output {
        /// The port, reserved ones included.
        port: PortNo,
        /// Bytes to the controller.
        max_len: u16,
    },
    /// Send to the port whose number a field holds (NXAST_OUTPUT_REG).
    OutputReg {
        /// Where the number is.
        src: SubField,
        /// Bytes to the controller.
        max_len: u16,
    },
    /// Send what stands before that byte to a port (NXAST_OUTPUT_TRUNC).
    OutputTrunc {
        /// The port; IN_PORT and LOCAL of the reserved ones.
        port: PortNo,
        /// Bytes, at least 14.
        max_len: u32,
    },
    /// Write the number of a link, chosen by a hash, to a field (NXAST_MULTIPATH).
    Multipath(Multipath),
    /// Send to one of several ports, or write its number to a field (NXAST_BUNDLE,
    /// NXAST_BUNDLE_LOAD).
    Bundle(Box<Bundle>),
    /// Send to the controller with a reason and data of its own (NXAST_CONTROLLER, NXAST_CONTROLLER2).
    Controller(Controller),
    /// Run a group.
    Group(GroupId),
    /// Choose the queue of the output port.
    SetQueue(u32),
    /// Back to the port's default queue (NXAST_POP_QUEUE).
    PopQueue,
    /// Push an 802.1Q (0x8100) or 802.1ad (0x88a8) tag; identifier and priority are copied from the outermost tag, 0 without one.
    PushVlan {
        /// Ethertype of the tag.
        tpid: u16,
    },
    /// Remove the outermost tag.
    PopVlan,
    /// Push an MPLS label stack entry.
    PushMpls {
        /// 0x8847 or 0x8848.
        ethertype: u16,
    },
    /// Remove the outermost MPLS entry.
    PopMpls {
        /// Ethertype of what is below.
        ethertype: u16,
    },
    /// Push a PBB I-TAG (0x88e7).
    PushPbb {
        /// 0x88e7.
        ethertype: u16,
    },
    /// Remove the I-TAG.
    PopPbb,
    /// Put a header of any kind in front (NXAST_ENCAP).
    Encap(Box<Encap>),
    /// Remove the outermost header, of whatever kind (NXAST_DECAP).
    Decap {
        /// What kind of packet that leaves; none: what the header says.
        packet_type: Option<u32>,
    },
    /// Decrement the time to live of a network service header (NXAST_DEC_NSH_TTL).
    DecNshTtl,
    /// Write bits of a field; on the wire set_field (masked from 1.5 on) or NXAST_REG_LOAD.
    SetField {
        /// The field.
        field: Field,
        /// Value, at bit 0 of the field.
        value: u128,
        /// Ones where the field is written.
        mask: u128,
    },
    /// Copy bits between fields (NXAST_REG_MOVE, copy_field in 1.5).
    Move {
        /// From.
        src: SubField,
        /// To; as many bits.
        dst: SubField,
    },
    /// Write a range of a field's bits (NXAST_REG_LOAD); prints as `load:`.
    Load {
        /// To.
        dst: SubField,
        /// Value, at bit 0 of the range.
        value: u64,
    },
    /// Push bits of a field on the packet's stack (NXAST_STACK_PUSH).
    StackPush(SubField),
    /// Pop them from it; an empty stack gives zeros (NXAST_STACK_POP).
    StackPop(SubField),
    /// Decrement the time to live or hop limit; drop, or send to the controller, when it runs out.
    DecNwTtl,
    /// Likewise, and it goes to these controllers (NXAST_DEC_TTL_CNT_IDS).
    DecNwTtlIds(Vec<u16>),
    /// Set it.
    SetNwTtl(u8),
    /// Decrement the MPLS time to live.
    DecMplsTtl,
    /// Set it.
    SetMplsTtl(u8),
    /// Copy the time to live outwards.
    CopyTtlOut,
    /// Copy the time to live inwards.
    CopyTtlIn,
    /// Meter (an action from 1.5 on, an instruction before).
    Meter(MeterId),
    /// Look up another table, or this one with another in_port, then go on (NXAST_RESUBMIT_TABLE).
    Resubmit {
        /// Port to look up with; none: the packet's own.
        port: Option<PortNo>,
        /// Table; none: this one.
        table: Option<TableId>,
        /// Look up with source and destination of the connection's original direction swapped in.
        ct: bool,
    },
    /// Send through the connection tracker (NXAST_CT).
    Ct(Ct),
    /// Address and port translation; only inside [`Action::Ct`].
    Nat(Nat),
    /// Forget what the tracker said (NXAST_CT_CLEAR).
    CtClear,
    /// Run actions on a copy, whose changes are undone afterwards (NXAST_CLONE).
    Clone(Vec<Action>),
    /// Remember a note; does nothing (NXAST_NOTE).
    Note(Vec<u8>),
    /// One clause of a conjunctive match (NXAST_CONJUNCTION).
    Conjunction(Conjunction),
    /// Add or change a flow made from the packet (NXAST_LEARN, NXAST_LEARN2).
    Learn(Box<Learn>),
    /// Shorten the flow's timeouts when it sees FIN or RST (NXAST_FIN_TIMEOUT).
    FinTimeout {
        /// Seconds; 0: leave alone.
        idle: u16,
        /// Seconds; 0: leave alone.
        hard: u16,
    },
    /// Write one bit: is the packet longer (NXAST_CHECK_PKT_LARGER)?
    CheckPktLarger {
        /// Bytes.
        len: u16,
        /// One bit.
        dst: SubField,
    },
    /// Sample packets for a collector (NXAST_SAMPLE and its later forms).
    Sample(Sample),
    /// Take a tunnel option away (NXAST_DELETE_FIELD).
    DeleteField(Field),
    /// Tell the sender that the packet is refused (ours): TCP gets a reset (RFC 9293 3.10.7.1), anything
    /// else port unreachable (RFC 792, RFC 4443 3.1), out of the port it came in by.
    ///
    /// The answer is about the packet as it came in, whatever was written to its fields; it is not
    /// looked up in tables. Nothing else happens to the packet by this. On the wire it is the note
    /// [`REJECT_NOTE`].
    Reject,
    /// Stop (NXAST_EXIT).
    Exit,
}

/// The note that means [`Action::Reject`]: our number as an experimenter, and 1. Who does not know it
/// reads a note, which does nothing ([ADR 38](../../../docs/adr/0038-a-note-that-refuses.md)).
pub const REJECT_NOTE: [u8; 6] = [0x00, 0x53, 0x4c, 0x43, 0x00, 0x01];

/// The `sample` action (ovs-actions(7)).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Sample {
    /// Packets out of 65,535 that are sampled; at least 1.
    pub probability: u16,
    /// Who collects them.
    pub collector_set: u32,
    /// Observation domain.
    pub obs_domain: SampleId,
    /// Observation point.
    pub obs_point: SampleId,
    /// Port the packet came in by or leaves by.
    pub port: Option<PortNo>,
    /// Which of the two.
    pub direction: Option<SampleDirection>,
}

/// Number of an observation domain or point.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum SampleId {
    /// This.
    Number(u32),
    /// What a field holds, at most 32 bits (NXAST_SAMPLE4).
    Field(SubField),
}

/// Where a packet is sampled (NX_ACTION_SAMPLE_*).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum SampleDirection {
    /// As it comes in.
    Ingress,
    /// As it leaves.
    Egress,
}

/// One clause of a conjunctive match (ovs-fields(7), "Conjunctive Match Fields").
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Conjunction {
    /// Number of the conjunction.
    pub id: u32,
    /// Which clause this flow belongs to, from 0.
    pub clause: u8,
    /// Clauses in all, 2..=64.
    pub n_clauses: u8,
}

/// Ask for a flow-removed message (NX_LEARN_F_SEND_FLOW_REM).
pub const LEARN_SEND_REMOVED: u16 = 1;
/// Remove the learned flows with this one (NX_LEARN_F_DELETE_LEARNED).
pub const LEARN_DELETE_LEARNED: u16 = 2;
/// Write to a bit whether it succeeded (NX_LEARN_F_WRITE_RESULT): on the wire only, see
/// [`Learn::result`].
pub(crate) const LEARN_WRITE_RESULT: u16 = 4;

/// The `learn` action: a template for a flow (ovs-actions(7)).
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Learn {
    /// Seconds; 0: never.
    pub idle_timeout: u16,
    /// Seconds; 0: never.
    pub hard_timeout: u16,
    /// Seconds, after FIN or RST.
    pub fin_idle_timeout: u16,
    /// Seconds, after FIN or RST.
    pub fin_hard_timeout: u16,
    /// Higher wins.
    pub priority: u16,
    /// Name of the learned flow.
    pub cookie: u64,
    /// LEARN_*.
    pub flags: u16,
    /// Table it goes to.
    pub table: TableId,
    /// How many flows with the cookie the table may hold; 0: any number (NXAST_LEARN2).
    pub limit: u32,
    /// A bit that says whether the flow was added (NXAST_LEARN2).
    pub result: Option<SubField>,
    /// What the flow matches and does.
    pub specs: Vec<LearnSpec>,
}

/// One line of the template.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct LearnSpec {
    /// Where the bits come from.
    pub src: LearnSource,
    /// What becomes of them.
    pub dst: LearnTarget,
}

/// Where a learned flow's bits come from.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum LearnSource {
    /// The packet.
    Field(SubField),
    /// A constant of so many bits.
    Value {
        /// The constant.
        value: u128,
        /// Its bits.
        bits: u16,
    },
}

/// What becomes of them in the learned flow.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum LearnTarget {
    /// Matched.
    Match(SubField),
    /// Loaded.
    Load(SubField),
    /// Output to the port.
    Output,
}

/// To the controller, with a reason and data of its own.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Controller {
    /// Bytes of the packet; 0xffff: all.
    pub max_len: u16,
    /// Reason in the packet-in (OFPR_*).
    pub reason: u8,
    /// Controller connection; 0: every one.
    pub controller_id: u16,
    /// Handed back in the packet-in.
    pub userdata: Vec<u8>,
    /// Stop here; NXT_RESUME goes on.
    pub pause: bool,
    /// Meter that limits it.
    pub meter_id: Option<MeterId>,
}

/// The `ct` action (ovs-actions(7)).
#[derive(Clone, Debug, PartialEq, Eq, Hash, Default)]
pub struct Ct {
    /// Commit the connection.
    pub commit: bool,
    /// Commit even if that direction was seen the other way round before.
    pub force: bool,
    /// Zone.
    pub zone: CtZone,
    /// Table to go on with; none: nothing more than the tracking happens.
    pub table: Option<TableId>,
    /// Algorithm helper's port (21: FTP); 0: none.
    pub alg: u16,
    /// Translation, and writes to the connection's mark and label (`exec`).
    pub actions: Vec<Action>,
}

/// Zone of a `ct` action.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum CtZone {
    /// A number.
    Number(u16),
    /// From 16 bits of a field.
    Field(SubField),
}

impl Default for CtZone {
    fn default() -> Self {
        CtZone::Number(0)
    }
}

/// What `nat` does.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum NatKind {
    /// Apply the translation that the connection already has.
    Existing,
    /// Choose a new source.
    Src,
    /// Choose a new destination.
    Dst,
}

/// The `nat` argument of `ct`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Nat {
    /// Which side.
    pub kind: NatKind,
    /// First and last address; none: keep it.
    pub addresses: Option<(IpAddr, IpAddr)>,
    /// First and last port; none: any.
    pub ports: Option<(u16, u16)>,
    /// Keep the choice over restarts.
    pub persistent: bool,
    /// Choose by hash.
    pub hash: bool,
    /// Choose at random.
    pub random: bool,
}

/// The instructions of a flow, in the order in which they are run (OpenFlow 1.3.5, 5.9).
#[derive(Clone, Debug, PartialEq, Eq, Hash, Default)]
pub struct Instructions {
    /// Meter first.
    pub meter: Option<MeterId>,
    /// Actions to run now.
    pub apply: Vec<Action>,
    /// apply_actions was there, even if its list is empty.
    pub has_apply: bool,
    /// Empty the action set.
    pub clear: bool,
    /// Actions for the action set.
    pub write: Option<Vec<Action>>,
    /// Metadata value and mask.
    pub metadata: Option<(u64, u64)>,
    /// Table to go on with.
    pub goto_table: Option<TableId>,
}

impl Instructions {
    /// Run these actions now, nothing else.
    pub fn apply(actions: Vec<Action>) -> Self {
        Instructions {
            has_apply: !actions.is_empty(),
            apply: actions,
            ..Instructions::default()
        }
    }

    /// Drop: no instruction at all.
    pub fn drop() -> Self {
        Instructions::default()
    }

    /// And go on with a table.
    pub fn goto(mut self, table: TableId) -> Self {
        self.goto_table = Some(table);
        self
    }
}
