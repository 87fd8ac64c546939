//! The connection tracker's actions (ovs-actions(7), `ct`).
//!
//! Unlike everything else in a walk, tracking changes something: connections are looked up,
//! followed and created here and now, because the tables go on with what the tracker says. It is
//! done at most once more for the same packet, which makes no difference. When the program is run
//! for later packets, its checks do the following.

use std::net::IpAddr;

use conntrack::{Choice, Commit, CtError, Direction, NatRange, NatRequest, Tracked, Tuple};
use net::key::ct_state;
use net::tcp::TcpInfo;
use openflow::action::{Ct, CtZone, Nat, NatKind};
use openflow::{Action, Field, SubField};

use super::Walk;
use crate::DropReason;
use crate::connections::Check;

/// The last tracking of the packet.
#[derive(Clone, Copy)]
pub(super) struct Before {
    zone: u16,
    /// As it was then, before translation.
    tuple: Tuple,
    /// What was translated: bits of `ct_state`.
    translated: u32,
}

/// What a `ct` action asks for besides tracking.
#[derive(Default)]
struct Wishes {
    /// Translate.
    nat: bool,
    request: NatRequest,
    /// Values, and ones where they are written.
    mark: (u32, u32),
    label: (u128, u128),
}

impl<'a> Walk<'a> {
    pub(super) fn ct(&mut self, ct: &'a Ct) {
        let zone = match ct.zone {
            CtZone::Number(zone) => zone,
            CtZone::Field(field) => self.read(field) as u16,
        };
        let Some(table) = ct.table else {
            self.track(ct, zone);
            return;
        };
        // The tables behind see a copy with the connection's fields; what follows the action
        // sees the packet as it was.
        let set = self.set.clone();
        self.on_copy(|walk| {
            let Some(tracked) = walk.track(ct, zone) else {
                return;
            };
            walk.show(zone, &tracked);
            walk.table(table);
            if !walk.dead {
                walk.stop = false;
                let set = std::mem::take(&mut walk.set);
                walk.action_set(&set);
            }
        });
        self.set = set;
    }

    pub(super) fn ct_clear(&mut self) {
        let clear = net::FlowKey::default();
        let key = &mut self.now.key;
        key.ct_state = clear.ct_state;
        key.ct_zone = clear.ct_zone;
        key.ct_mark = clear.ct_mark;
        key.ct_label = clear.ct_label;
        set_original(key, None);
        self.tracked = None;
    }

    /// Sends the packet through the tracker. None if it was dropped there.
    fn track(&mut self, ct: &Ct, zone: u16) -> Option<Seen> {
        let wishes = self.wishes(&ct.actions);
        let tcp = TcpInfo::read(self.frame.head, self.frame.layout);
        if let Some(inner) = self.now.inner {
            return Some(self.track_error(zone, &inner, wishes.nat));
        }
        // Once tracked in a zone a packet stays with its connection there, however it looks by
        // now, and is translated once.
        let before = self.tracked.filter(|before| before.zone == zone);
        let Some(tuple) = before.map(|b| b.tuple).or_else(|| self.tuple()) else {
            return Some(Seen::invalid());
        };
        let already = before.map_or(0, |before| before.translated);
        self.tracked = Some(Before {
            zone,
            tuple,
            translated: already,
        });
        let conns = self.world.conns;
        let mut tracked = conns.track(zone, &tuple, tcp.as_ref(), self.world.now);
        let replaces = ct.force
            && ct.commit
            && matches!(tracked.conn, Some((_, Direction::Reply)))
            && tracked.state & ct_state::INV == 0;
        if replaces {
            tracked.state = ct_state::TRK | ct_state::NEW;
            tracked.conn = None;
            self.cacheable = false;
        }
        if ct.commit && tracked.state & ct_state::INV == 0 {
            self.commit_connection(ct, zone, &tuple, tcp.as_ref(), &wishes, &mut tracked)?;
        } else {
            self.note(zone, &tuple, &tracked);
        }
        let mut seen = Seen {
            original: Some(tuple),
            tracked,
        };
        seen.tracked.state |= already;
        if let Some((conn, direction)) = tracked.conn {
            seen.original = match direction {
                Direction::Original => Some(tuple),
                Direction::Reply => conns
                    .translated_tuple(conn, Direction::Reply)
                    .map(|answer| answer.reverse()),
            };
            if wishes.nat
                && already == 0
                && let Some(translated) = conns.translated_tuple(conn, direction)
                && translated != tuple
            {
                let translation = conns.nat_state(conn, direction);
                seen.tracked.state |= translation;
                self.apply(&tuple, &translated);
                if let Some(before) = &mut self.tracked {
                    before.translated = translation;
                }
            }
        }
        Some(seen)
    }

    fn commit_connection(
        &mut self,
        ct: &Ct,
        zone: u16,
        tuple: &Tuple,
        tcp: Option<&TcpInfo>,
        wishes: &Wishes,
        tracked: &mut Tracked,
    ) -> Option<()> {
        let (conns, now) = (self.world.conns, self.world.now);
        let commit = Commit {
            zone,
            tuple: *tuple,
            tcp,
            nat: wishes.request,
            mark: wishes.mark,
            label: wishes.label,
            force: ct.force,
        };
        let conn = match conns.commit(&commit, now) {
            Ok(conn) => conn,
            Err(CtError::Invalid) => {
                self.note(zone, tuple, tracked);
                return Some(());
            }
            Err(error) => {
                self.cacheable = false;
                self.fail(match error {
                    CtError::NatExhausted => DropReason::NatExhausted,
                    _ => DropReason::ConntrackFull,
                });
                return None;
            }
        };
        let direction = tracked.conn.map_or(Direction::Original, |(_, d)| d);
        let before = (tracked.mark, tracked.label);
        tracked.conn = Some((conn, direction));
        let (mark, label) = (wishes.mark, wishes.label);
        tracked.mark = (before.0 & !mark.1) | (mark.0 & mark.1);
        tracked.label = (before.1 & !label.1) | (label.0 & label.1);
        self.marks_changed |= before != (tracked.mark, tracked.label);
        self.marks_matter |= mark.1 != 0 || label.1 != 0;
        // The next packet of this kind will find the connection where this one found none.
        match conns.update(conn, direction, tcp, now) {
            Some((state, revision)) if state == tracked.state => {
                tracked.revision = revision;
                self.note(zone, tuple, tracked);
            }
            _ => self.cacheable = false,
        }
        Some(())
    }

    /// An ICMP error belongs to the connection of the packet that it carries.
    fn track_error(&mut self, zone: u16, inner: &net::icmp::Embedded, nat: bool) -> Seen {
        self.cacheable = false;
        let conns = self.world.conns;
        let Some(tuple) = Tuple::of_embedded(inner) else {
            return Seen::invalid();
        };
        let mut tracked = conns.track_related(zone, &tuple, self.world.now);
        let Some((conn, direction)) = tracked.conn else {
            return Seen {
                original: None,
                tracked,
            };
        };
        let seen_as = tuple.reverse();
        if nat
            && let Some(translated) = conns.translated_tuple(conn, direction)
            && translated != seen_as
        {
            tracked.state |= conns.nat_state(conn, direction);
            self.apply_to_error(&seen_as, &translated);
            self.now.inner = Some(translated.reverse().to_embedded(inner));
        }
        let answer = conns.translated_tuple(conn, Direction::Reply);
        Seen {
            original: answer.map(|answer| answer.reverse()),
            tracked,
        }
    }

    /// The packet's tuple, as far as it can be tracked.
    fn tuple(&self) -> Option<Tuple> {
        let layout = self.frame.layout;
        if layout.malformed.is_some() || layout.fragment.is_some_and(|f| f.offset != 0) {
            return None;
        }
        let icmp_id = self.now.icmp_id.unwrap_or(layout.icmp_id);
        Tuple::of_key(&self.now.key, layout.network, icmp_id)
    }

    /// Remembers what later packets must find too.
    fn note(&mut self, zone: u16, tuple: &Tuple, tracked: &Tracked) {
        let check = match tracked.conn {
            Some((conn, direction)) => Check::Known {
                conn,
                direction,
                state: tracked.state,
                revision: Some(tracked.revision),
            },
            None => Check::Unknown {
                zone,
                tuple: Box::new(*tuple),
                state: tracked.state,
            },
        };
        let same = |old: &Check| match (old, &check) {
            (
                Check::Unknown {
                    zone: z, tuple: t, ..
                },
                _,
            ) => *z == zone && **t == *tuple,
            (
                Check::Known {
                    conn: a,
                    direction: b,
                    ..
                },
                Check::Known {
                    conn, direction, ..
                },
            ) => a == conn && b == direction,
            (Check::Known { .. }, Check::Unknown { .. }) => false,
        };
        match self.checks.iter_mut().find(|old| same(old)) {
            Some(old) => *old = check,
            None => self.checks.push(check),
        }
    }

    /// Shows the connection's fields to the tables.
    fn show(&mut self, zone: u16, seen: &Seen) {
        let key = &mut self.now.key;
        key.ct_state = seen.tracked.state.into();
        key.ct_zone = zone.into();
        key.ct_mark = seen.tracked.mark.into();
        key.ct_label = seen.tracked.label.into();
        set_original(key, seen.original.as_ref());
    }

    /// Rewrites addresses and ports.
    fn apply(&mut self, from: &Tuple, to: &Tuple) {
        let key = &mut self.now.key;
        match (to.src, to.dst) {
            (IpAddr::V4(src), IpAddr::V4(dst)) => {
                key.nw_src = src.to_bits().into();
                key.nw_dst = dst.to_bits().into();
            }
            (IpAddr::V6(src), IpAddr::V6(dst)) => {
                key.ipv6_src = src.octets();
                key.ipv6_dst = dst.octets();
            }
            _ => {}
        }
        if to.is_icmp() {
            if from.src_port != to.src_port {
                self.now.icmp_id = Some(to.src_port);
            }
        } else if (from.src_port, from.dst_port) != (to.src_port, to.dst_port) {
            key.tp_src = to.src_port.into();
            key.tp_dst = to.dst_port.into();
        }
    }

    /// Rewrites the addresses of an ICMP error: its receiver always; its sender only if that is an
    /// end of the connection, not a router between (RFC 5508 4.2).
    fn apply_to_error(&mut self, from: &Tuple, to: &Tuple) {
        let key = &mut self.now.key;
        match (from.src, from.dst, to.src, to.dst) {
            (IpAddr::V4(a), IpAddr::V4(b), IpAddr::V4(src), IpAddr::V4(dst)) => {
                if key.nw_src.get() == a.to_bits() {
                    key.nw_src = src.to_bits().into();
                }
                if key.nw_dst.get() == b.to_bits() {
                    key.nw_dst = dst.to_bits().into();
                }
            }
            (IpAddr::V6(a), IpAddr::V6(b), IpAddr::V6(src), IpAddr::V6(dst)) => {
                if key.ipv6_src == a.octets() {
                    key.ipv6_src = src.octets();
                }
                if key.ipv6_dst == b.octets() {
                    key.ipv6_dst = dst.octets();
                }
            }
            _ => {}
        }
    }

    fn wishes(&mut self, actions: &[Action]) -> Wishes {
        let mut wishes = Wishes::default();
        for action in actions {
            match action {
                Action::Nat(nat) => {
                    wishes.nat = true;
                    match nat.kind {
                        NatKind::Existing => {}
                        NatKind::Src => wishes.request.src = Some(range(nat)),
                        NatKind::Dst => wishes.request.dst = Some(range(nat)),
                    }
                }
                Action::SetField { field, value, mask } => wishes.write(*field, *value, *mask),
                Action::Load { dst, value } => wishes.write_range(*dst, (*value).into()),
                Action::Move { src, dst } => {
                    let value = self.read(*src);
                    wishes.write_range(*dst, value);
                }
                _ => {}
            }
        }
        wishes
    }
}

impl Wishes {
    fn write_range(&mut self, dst: SubField, value: u128) {
        let ones = dst.ones();
        self.write(dst.field, (value & ones) << dst.shift, ones << dst.shift);
    }

    fn write(&mut self, field: Field, value: u128, mask: u128) {
        match field {
            Field::CtMark => {
                let (value, mask) = (value as u32, mask as u32);
                self.mark.0 = (self.mark.0 & !mask) | (value & mask);
                self.mark.1 |= mask;
            }
            Field::CtLabel => {
                self.label.0 = (self.label.0 & !mask) | (value & mask);
                self.label.1 |= mask;
            }
            _ => {}
        }
    }
}

/// What the tracker says, with the tuple of the connection's original direction.
struct Seen {
    original: Option<Tuple>,
    tracked: Tracked,
}

impl Seen {
    fn invalid() -> Self {
        Seen {
            original: None,
            tracked: Tracked {
                state: ct_state::TRK | ct_state::INV,
                conn: None,
                mark: 0,
                label: 0,
                revision: 0,
            },
        }
    }
}

fn range(nat: &Nat) -> NatRange {
    NatRange {
        addresses: nat.addresses,
        ports: nat.ports,
        choice: match (nat.persistent, nat.random) {
            (true, _) => Choice::Persistent,
            (false, true) => Choice::Random,
            (false, false) => Choice::Hash,
        },
    }
}

/// Writes the fields of the original direction.
fn set_original(key: &mut net::FlowKey, tuple: Option<&Tuple>) {
    let clear = net::FlowKey::default();
    key.ct_nw_src = clear.ct_nw_src;
    key.ct_nw_dst = clear.ct_nw_dst;
    key.ct_ipv6_src = clear.ct_ipv6_src;
    key.ct_ipv6_dst = clear.ct_ipv6_dst;
    key.ct_tp_src = clear.ct_tp_src;
    key.ct_tp_dst = clear.ct_tp_dst;
    key.ct_nw_proto = 0;
    let Some(tuple) = tuple else { return };
    match (tuple.src, tuple.dst) {
        (IpAddr::V4(src), IpAddr::V4(dst)) => {
            key.ct_nw_src = src.to_bits().into();
            key.ct_nw_dst = dst.to_bits().into();
        }
        (IpAddr::V6(src), IpAddr::V6(dst)) => {
            key.ct_ipv6_src = src.octets();
            key.ct_ipv6_dst = dst.octets();
        }
        _ => {}
    }
    key.ct_nw_proto = tuple.proto;
    if tuple.is_icmp() {
        // Type and code, as the packet's own fields have them.
        let [kind, code] = tuple.dst_port.to_be_bytes();
        key.ct_tp_src = u16::from(kind).into();
        key.ct_tp_dst = u16::from(code).into();
    } else {
        key.ct_tp_src = tuple.src_port.into();
        key.ct_tp_dst = tuple.dst_port.into();
    }
}
