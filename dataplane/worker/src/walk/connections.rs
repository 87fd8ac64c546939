//! The connection tracker's actions (ovs-actions(7), `ct`).
//!
//! Unlike everything else in a walk, tracking changes something: connections are looked up,
//! followed and created here and now, because the tables go on with what the tracker says. It is
//! done at most once more for the same packet, which makes no difference. When the program is run
//! for later packets, its checks do the following.

mod fragments;
mod rewrite;
mod wishes;

use conntrack::{Commit, CtError, Direction, Tracked, Tuple};
use net::key::ct_state;
use net::tcp::TcpInfo;
use openflow::action::{Ct, CtZone};

use super::Walk;
use crate::DropReason;
use crate::connections::Found;
pub(super) use fragments::Part;
use fragments::Subject;
use rewrite::set_original;
use wishes::Wishes;

/// The last tracking of the packet.
#[derive(Clone, Copy)]
pub(super) struct Before {
    zone: u16,
    /// As it was then, before translation.
    tuple: Tuple,
    /// What was translated: bits of `ct_state`.
    translated: u32,
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
            walk.finish_copy();
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

    /// Sends the packet through the tracker. None if it was dropped or waits there.
    fn track(&mut self, ct: &Ct, zone: u16) -> Option<Seen> {
        self.want_tuple();
        let wishes = self.wishes(&ct.actions);
        let Subject { tuple, tcp } = self.subject(zone)?;
        if let Some(inner) = self.now.inner {
            return Some(self.track_error(zone, &inner, wishes.nat));
        }
        // Once tracked in a zone a packet stays with its connection there, however it looks by
        // now, and is translated once.
        let before = self.tracked.filter(|before| before.zone == zone);
        let Some(tuple) = before.map(|b| b.tuple).or(tuple) else {
            return Some(Seen::invalid());
        };
        let mut already = before.map_or(0, |before| before.translated);
        self.tracked = Some(Before {
            zone,
            tuple,
            translated: already,
        });
        let conns = self.world.conns;
        let mut tracked = conns.track(zone, &tuple, tcp.as_ref(), self.world.now);
        if ct.force && ct.commit && self.replaces(&tuple, &tracked, &wishes) {
            tracked = Tracked {
                state: ct_state::TRK | ct_state::NEW,
                conn: None,
                mark: 0,
                label: 0,
                revision: 0,
            };
            already = 0;
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

    /// Does a forced commit begin another connection in the place of this one? (1) The packet is of
    /// the reply direction (ovs-actions(7)). (2) It is of the original one, and is to be translated
    /// to another destination than the connection has: then the connection ends here, and the
    /// packet has its own destination again. Open vSwitch leaves such a connection as it is.
    fn replaces(&mut self, tuple: &Tuple, tracked: &Tracked, wishes: &Wishes) -> bool {
        let Some((conn, direction)) = tracked.conn else {
            return false;
        };
        if tracked.state & ct_state::INV != 0 {
            return false;
        }
        if direction == Direction::Reply {
            return true;
        }
        let Some(translated) = self.world.conns.translated_tuple(conn, direction) else {
            return false; // it ended this moment
        };
        let elsewhere = wishes.leads_elsewhere(&translated);
        if elsewhere {
            self.world.conns.remove(conn);
            if let Some(before) = &mut self.tracked
                && before.translated != 0
            {
                before.translated = 0;
                self.apply(&translated, tuple);
            }
        }
        elsewhere
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
                    CtError::ZoneLimit => DropReason::ConntrackZoneLimit,
                    CtError::SourceShare => DropReason::ConntrackSourceShare,
                    CtError::HalfOpen => DropReason::ConntrackHalfOpen,
                    CtError::Full | CtError::Invalid => DropReason::ConntrackFull,
                });
                return None;
            }
        };
        let direction = tracked.conn.map_or(Direction::Original, |(_, d)| d);
        // An earlier lookup of this walk found nothing to translate by; that of the next packet will.
        let translates = conns.translated_tuple(conn, direction) != Some(*tuple);
        if translates && tracked.conn.is_none() && self.was_unknown(zone, tuple) {
            self.cacheable = false;
        }
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

    /// What becomes of the packet depends on its tuple from now on.
    pub(super) fn want_tuple(&mut self) {
        let wanted = &mut self.wanted;
        (wanted.nw_src, wanted.nw_dst) = (u32::MAX.into(), u32::MAX.into());
        (wanted.ipv6_src, wanted.ipv6_dst) = ([0xff; 16], [0xff; 16]);
        (wanted.tp_src, wanted.tp_dst) = (u16::MAX.into(), u16::MAX.into());
        wanted.nw_proto = 0xff;
    }

    /// The packet's tuple, as far as it can be tracked.
    fn tuple(&self) -> Option<Tuple> {
        let layout = self.frame().layout;
        if layout.malformed.is_some() || layout.fragment.is_some_and(|f| f.offset != 0) {
            return None;
        }
        let icmp_id = self.now.icmp_id.unwrap_or(layout.icmp_id);
        Tuple::of_key(&self.now.key, layout.network, icmp_id)
    }

    /// True if this walk has looked for the connection before, and there was none.
    fn was_unknown(&self, zone: u16, tuple: &Tuple) -> bool {
        self.checks.iter().any(|check| {
            matches!(check, Found::Unknown { zone: z, tuple: t, .. } if *z == zone && t == tuple)
        })
    }

    /// Remembers what later packets must find too.
    fn note(&mut self, zone: u16, tuple: &Tuple, tracked: &Tracked) {
        let check = match tracked.conn {
            Some((conn, direction)) => Found::Known {
                conn,
                direction,
                state: tracked.state,
                revision: Some(tracked.revision),
            },
            None => Found::Unknown {
                zone,
                tuple: *tuple,
                state: tracked.state,
            },
        };
        let same = |old: &Found| match (old, &check) {
            (
                Found::Unknown {
                    zone: z, tuple: t, ..
                },
                _,
            ) => *z == zone && t == tuple,
            (
                Found::Known {
                    conn: a,
                    direction: b,
                    ..
                },
                Found::Known {
                    conn, direction, ..
                },
            ) => a == conn && b == direction,
            (Found::Known { .. }, Found::Unknown { .. }) => false,
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
