//! The walk: a packet's key goes through the OpenFlow tables, and out comes the program for all
//! packets that are alike.
//!
//! Nothing here touches a packet. The walk keeps two views of the headers: what the actions so far
//! made of them, and what the frame will look like when the program has got here; [`headers`]
//! turns the difference into steps as soon as something looks at the frame.

mod actions;
mod connections;
mod dynamic;
mod encap;
mod groups;
mod headers;
mod links;
mod normal;
mod output;
mod pause;
mod reshape;
mod select;

use std::sync::{Arc, LazyLock};

use conntrack::ConnTable;
use net::exact::KeyMask;
use net::parse::Layout;
use net::{FlowKey, PortNo, TableId};
use openflow::Action;
use openflow::msg::Continuation;
use smallvec::SmallVec;
use tables::{Pipeline, Rule};

use crate::connections::{self as tracked, Found};
use crate::effects::Effect;
use crate::fdb::Seen;
use crate::fragments::{Fragments, Next};
use crate::program::{
    ANY_LENGTH, Binding, ByAddress, CONNS, Code, Deps, Hits, Op, Program, Reach, bind, fuse,
};
use crate::tunnel::neighbors::Neighbors;
use crate::{Counters, DropReason, Fdb, PortMap};
use headers::{Headers, Inexact};

/// Nested resubmits, groups, clones and connection tracker passes. As in Open vSwitch, a resubmit to
/// a later table does not count.
const MAX_DEPTH: u32 = 64;
/// All of these, for the sake of the thread's stack.
const MAX_NESTING: u32 = 512;
/// Lookups for one packet.
const MAX_LOOKUPS: u32 = 4096;

/// What a walk reads beside the packet.
#[derive(Clone, Copy)]
pub(crate) struct World<'a> {
    pub pipeline: &'a Pipeline,
    pub conns: &'a ConnTable,
    pub ports: &'a PortMap,
    pub neighbors: &'a Neighbors,
    pub fdb: &'a Fdb,
    pub fragments: &'a Fragments,
    /// Those of the worker.
    pub counters: &'a Counters,
    /// Seed of select groups.
    pub select_seed: u64,
    /// Send packets whose time to live runs out to the controller.
    pub invalid_ttl_to_controller: bool,
    /// Nanoseconds of the worker's clock.
    pub now: u64,
}

/// The packet itself, for what is not in the key (sequence numbers, embedded headers).
#[derive(Clone, Copy)]
pub(crate) struct Frame<'a> {
    pub head: &'a [u8],
    pub layout: &'a Layout,
    /// Bytes of all of it.
    pub len: usize,
    /// Bytes of the longest frame that goes onto a wire for it.
    pub wire_len: usize,
}

/// Runs a packet through the tables from table 0 on.
pub(crate) fn walk(world: World<'_>, frame: Frame<'_>, key: &FlowKey) -> (Program, Binding) {
    let mut walk = Walk::new(world, frame, key);
    if world.ports.drops_fragments() {
        walk.wanted.nw_frag = u8::MAX;
        walk.deps.drops_fragments = true;
    }
    match walk.deps.drops_fragments && key.nw_frag != 0 {
        true => walk.fail(DropReason::Fragment),
        false => walk.table(TableId(0)),
    }
    walk.finish()
}

/// Runs the actions of a packet-out.
pub(crate) fn packet_out(
    world: World<'_>,
    frame: Frame<'_>,
    key: &FlowKey,
    actions: &[Action],
) -> (Program, Binding) {
    let mut walk = Walk::new(world, frame, key);
    walk.packet_out = true;
    walk.actions(actions);
    walk.cacheable = false;
    walk.finish()
}

/// Goes on with a packet that waited for a controller.
pub(crate) fn resume(
    world: World<'_>,
    frame: Frame<'_>,
    key: &FlowKey,
    rest: &Continuation,
) -> (Program, Binding) {
    let mut walk = Walk::new(world, frame, key);
    walk.go_on(rest);
    walk.cacheable = false;
    walk.finish()
}

struct Walk<'a> {
    world: World<'a>,
    /// The packet as it came, and its fields.
    arrived: Frame<'a>,
    arrived_key: &'a FlowKey,
    /// What it has been made into since.
    shapes: Vec<reshape::Shape>,
    /// Headers as the actions so far made them.
    now: Headers,
    /// Headers of the frame after the steps so far.
    sent: Headers,
    /// Bits of the key that something looked at.
    wanted: FlowKey,
    ops: Vec<Op>,
    checks: Vec<Found>,
    /// Buckets of the forwarding database that decided.
    macs: Vec<Seen>,
    /// Largest inner packet of the tunnels so far.
    inner_mtu: Option<u32>,
    /// The packet was cut for the output that is being made.
    cut: bool,
    deps: Deps,
    hits: Hits,
    effects: Vec<Effect>,
    /// Lengths of the frames for which this holds.
    lengths: (u32, u32),
    /// Actions of the action set.
    set: SmallVec<[&'a Action; 8]>,
    /// The rule whose actions are being run.
    rule: Option<&'a Arc<Rule>>,
    /// Table and cookie of the flow that a resumed packet goes on with.
    resumed: Option<(TableId, u64)>,
    pausing: Option<pause::Pausing>,
    depth: u32,
    nesting: u32,
    lookups: u32,
    /// Steps down in time to live, at most.
    ttl_down: u8,
    /// No more actions, because of an exit action or of `dead`.
    stop: bool,
    /// The packet was dropped: its action set is not run either.
    dead: bool,
    /// Some limit was exceeded, or the packet is to wait: nothing is run any more, on no copy.
    too_deep: bool,
    /// The last table looked up had no rule for the packet.
    missed: bool,
    /// The last tracking.
    tracked: Option<connections::Before>,
    /// What the tracker knows of the packet, if that is a fragment.
    fragment: Option<connections::Part>,
    /// What follows from that for others.
    next: Option<Next>,
    /// The packet found its connection's mark and label otherwise than it left them.
    marks_changed: bool,
    /// The packet wrote its connection's mark or label.
    marks_matter: bool,
    /// Values that push and pop actions exchange.
    stack: Vec<u128>,
    packet_out: bool,
    cacheable: bool,
    /// For which packets of the port this holds, as far as actions go.
    reach: Reach,
}

impl<'a> Walk<'a> {
    fn new(world: World<'a>, frame: Frame<'a>, key: &'a FlowKey) -> Self {
        let mut headers = Headers::of(key);
        headers.key.actset_output = PortNo::UNSET.0.into();
        headers.inner = net::icmp::embedded(frame.head, frame.layout);
        Walk {
            world,
            arrived: frame,
            arrived_key: key,
            shapes: Vec::new(),
            sent: headers.clone(),
            now: headers,
            wanted: FlowKey::default(),
            ops: Vec::with_capacity(8),
            checks: Vec::new(),
            macs: Vec::new(),
            inner_mtu: None,
            cut: false,
            deps: Deps::default(),
            hits: Hits::default(),
            effects: Vec::new(),
            lengths: ANY_LENGTH,
            set: SmallVec::new(),
            rule: None,
            resumed: None,
            pausing: None,
            depth: 0,
            nesting: 0,
            lookups: 0,
            ttl_down: 0,
            stop: false,
            dead: false,
            too_deep: false,
            missed: false,
            tracked: None,
            fragment: None,
            next: None,
            marks_changed: false,
            marks_matter: false,
            stack: Vec::new(),
            packet_out: false,
            cacheable: true,
            reach: Reach::Port,
        }
    }

    /// Looks up tables from this one on, following goto_table.
    fn table(&mut self, first: TableId) {
        let key = self.now.key;
        self.table_seen_as(first, &key);
    }

    /// As [`Walk::table`]; the first lookup is with another key.
    fn table_seen_as(&mut self, first: TableId, key: &FlowKey) {
        let outer_rule = self.rule;
        let mut next = Some(first);
        let mut key = *key;
        while let Some(table) = next.take() {
            self.lookups += 1;
            if self.lookups > MAX_LOOKUPS {
                self.give_up();
                break;
            }
            let pipeline = self.world.pipeline;
            self.deps.tables.add(pipeline, table, &key, known());
            let rule = pipeline.lookup(table, &key, &mut self.wanted);
            self.hits.tables.push((table, rule.is_some()));
            self.missed = rule.is_none();
            let Some(rule) = rule else { break };
            self.hits.rules.push(ByAddress(rule.clone()));
            self.rule = Some(rule);
            next = self.instructions(rule);
            key = self.now.key;
        }
        self.rule = outer_rule;
    }

    /// Runs a rule's instructions (OpenFlow 1.3.5, 5.9) and says which table is next.
    fn instructions(&mut self, rule: &'a Arc<Rule>) -> Option<TableId> {
        let instructions = &rule.instructions;
        if let Some(meter) = instructions.meter {
            self.meter(meter);
        }
        self.actions(&instructions.apply);
        if self.pausing.is_some() {
            self.put_off_instructions(rule);
        }
        if self.stop {
            return None;
        }
        if instructions.clear {
            self.set.clear();
        }
        for action in instructions.write.iter().flatten() {
            groups::write_action(&mut self.set, action);
        }
        if instructions.clear || instructions.write.is_some() {
            self.now.key.actset_output = groups::output_of(&self.set).0.into();
        }
        if let Some((value, mask)) = instructions.metadata {
            let metadata = &mut self.now.key.metadata;
            *metadata = ((metadata.get() & !mask) | (value & mask)).into();
        }
        instructions.goto_table
    }

    /// Runs something on a copy of all fields; afterwards they are as before.
    fn on_copy(&mut self, run: impl FnOnce(&mut Self)) {
        self.nested(|walk| walk.aside(run));
    }

    fn aside(&mut self, run: impl FnOnce(&mut Self)) {
        let start = self.ops.len();
        let (tracked, stack) = (self.tracked, self.stack.clone());
        let (now, sent) = (self.now.clone(), self.sent.clone());
        run(self);
        self.end_pause();
        (self.stop, self.dead) = (self.too_deep, self.too_deep);
        let apart = |op: &Op| matches!(op, Op::Meter(_) | Op::Cut(_));
        let may_end = self.ops.iter().skip(start).any(apart);
        let reshaped = self.sent.shape != sent.shape;
        if may_end || reshaped {
            // A meter may end these steps early, and what was taken off does not come back: what
            // follows must not build on them.
            let steps = (self.ops.len() - start) as u16;
            self.ops.insert(start, Op::Scope(steps));
            self.sent = sent;
        }
        self.now = now;
        self.tracked = tracked;
        self.stack = stack;
    }

    /// Goes into something that may go deeper.
    fn nested(&mut self, run: impl FnOnce(&mut Self)) {
        self.deeper(1, run);
    }

    /// Likewise, with so much to be counted.
    fn deeper(&mut self, depth: u32, run: impl FnOnce(&mut Self)) {
        if self.depth + depth > MAX_DEPTH || self.nesting >= MAX_NESTING {
            return self.give_up();
        }
        self.depth += depth;
        self.nesting += 1;
        run(self);
        self.nesting -= 1;
        self.depth -= depth;
    }

    /// Brings the frame up to date.
    fn commit(&mut self) {
        if headers::commit(&mut self.sent, &self.now, &mut self.ops) == Inexact::ThisPacketOnly {
            self.cacheable = false;
        }
    }

    /// A copy of the packet goes nowhere.
    fn lose(&mut self, reason: DropReason) {
        self.ops.push(Op::Drop(reason));
    }

    /// The packet (in a clone or bucket: that copy) goes nowhere, and nothing more happens to it.
    fn fail(&mut self, reason: DropReason) {
        self.lose(reason);
        self.stop = true;
        self.dead = true;
    }

    /// The walk has become too long.
    fn give_up(&mut self) {
        if !self.too_deep {
            self.too_deep = true;
            self.fail(DropReason::TooDeep);
        }
    }

    fn finish(mut self) -> (Program, Binding) {
        self.finish_copy();
        self.end_pause();
        let accounted = |op: &Op| {
            matches!(
                op,
                Op::Output(_) | Op::Tunnel(_) | Op::Controller(_) | Op::Drop(_)
            )
        };
        if !self.ops.iter().any(accounted) {
            self.lose(match self.missed {
                true => DropReason::TableMiss,
                false => DropReason::Rule,
            });
        }
        self.drop_last_scopes();
        let wants_marks = self.wanted.ct_mark.get() != 0 || self.wanted.ct_label.get() != 0;
        if wants_marks && self.marks_changed {
            self.cacheable = false;
        }
        if !wants_marks && !self.marks_matter {
            for check in &mut self.checks {
                if let Found::Known { revision, .. } = check {
                    *revision = None;
                }
            }
        }
        let inner_mtu = self.inner_mtu.unwrap_or(0);
        let wants = |fields: &FlowKey| {
            let mut words = self.wanted.words().iter().zip(fields.words());
            words.any(|(wanted, fields)| wanted & fields != 0)
        };
        let outside_key = wants(&uncovered());
        let wants_more = wants(&all_but_port());
        let packet = tracked::tuple(self.arrived.head, self.arrived.layout);
        let (checks, binding) = bind(&self.checks, packet.as_ref(), &mut self.ops);
        let fits = binding.conns.len() <= CONNS;
        let cacheable = self.cacheable && !outside_key && fits;
        debug_assert!(
            !cacheable || self.looked_where_expected(),
            "{:?} is outside {:?}",
            self.wanted,
            self.world.pipeline.looks_at()
        );
        let translates = self.ops.iter().any(|op| matches!(op, Op::Translate(_)));
        let ops = fuse(self.ops);
        let encapsulates = ops.iter().any(|op| matches!(op, Op::Tunnel(_)));
        let in_step = Code::in_step(&ops);
        let only_sends = |op: &Op| matches!(op, Op::Output(_) | Op::Drop(_));
        let metered = ops.iter().any(|op| matches!(op, Op::Meter(_)));
        let for_port = (in_step && !metered) || ops.iter().all(only_sends);
        let reach = match cacheable && for_port && !wants_more {
            true => self.reach,
            false => Reach::Alike,
        };
        let code = Code {
            encapsulates,
            translates,
            takes: Code::last_sender(&ops),
            in_step,
            ops: ops.into_boxed_slice(),
            checks,
            macs: self.macs.into_boxed_slice(),
            effects: self.effects.into_boxed_slice(),
            lengths: self.lengths,
            min_ttl: if self.ttl_down == 0 {
                0
            } else {
                self.ttl_down + 1
            },
            inner_mtu,
        };
        let program = Program {
            code,
            deps: Box::new(self.deps),
            hits: Box::new(self.hits),
            reach,
            fragment: self.next.map(Box::new),
            cacheable,
        };
        (program, binding)
    }
}

impl Walk<'_> {
    /// True if nothing was looked at that workers leave out of their keys.
    fn looked_where_expected(&self) -> bool {
        let expected = self.world.pipeline.looks_at();
        let mut both = self.wanted;
        for (word, expected) in both.words_mut().iter_mut().zip(expected.words()) {
            *word |= expected;
        }
        KeyMask::new(&both) == KeyMask::new(expected)
    }

    /// Scopes that end with the program need no copy: nothing comes after them.
    fn drop_last_scopes(&mut self) {
        let len = self.ops.len();
        let mut at = 0;
        self.ops.retain(|op| {
            at += 1;
            !matches!(op, Op::Scope(steps) if at + usize::from(*steps) == len)
        });
    }
}

/// Ones everywhere but in the port.
fn all_but_port() -> FlowKey {
    let mut all = FlowKey::default();
    all.words_mut().fill(u64::MAX);
    all.in_port = 0.into();
    all
}

/// Ones in the fields that are the same in every lookup of the same table for packets of one exact
/// key, as long as the program's checks hold. Connection fields may change under it where nothing
/// looked at them, and lookups fill in some for themselves.
fn known() -> &'static FlowKey {
    static KNOWN: LazyLock<FlowKey> = LazyLock::new(|| {
        let unknown = FlowKey {
            ct_state: u32::MAX.into(),
            ct_mark: u32::MAX.into(),
            ct_label: u128::MAX.into(),
            ct_zone: u16::MAX.into(),
            ct_nw_src: u32::MAX.into(),
            ct_nw_dst: u32::MAX.into(),
            ct_ipv6_src: [0xff; 16],
            ct_ipv6_dst: [0xff; 16],
            ct_nw_proto: 0xff,
            ct_tp_src: u16::MAX.into(),
            ct_tp_dst: u16::MAX.into(),
            conj_id: u32::MAX.into(),
            dp_hash: u32::MAX.into(),
            ..uncovered()
        };
        let mut known = FlowKey::default();
        for (known, unknown) in known.words_mut().iter_mut().zip(unknown.words()) {
            *known = !unknown;
        }
        known
    });
    &KNOWN
}

/// Ones in the fields that come from the packet but are not in the exact key. All others are either
/// covered by it or start as zero in every walk.
fn uncovered() -> FlowKey {
    FlowKey {
        ipv6_label: u32::MAX.into(),
        tcp_flags: u16::MAX.into(),
        tun_flags: u16::MAX.into(),
        tun_gbp_id: u16::MAX.into(),
        tun_gbp_flags: 0xff,
        tun_tos: 0xff,
        tun_ttl: 0xff,
        nw_ttl: 0xff,
        in_phy_port: u32::MAX.into(),
        // A pushed label's time to live is that of the packet.
        mpls: [0xff.into(), 0.into(), 0.into()],
        ..FlowKey::default()
    }
}
