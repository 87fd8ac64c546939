//! Flow monitors: controllers that follow what happens to flows (OpenFlow 1.4.1, 7.3.5.17; on 1.3
//! ONF extension 187).
//!
//! A controller that reads too slowly is told that it will hear no more for a while. The flows that
//! it knows then are kept as an earlier version of the tables, which shares what did not change
//! since; once it has read what waits, it is told the difference.

use std::cell::{Cell, RefCell};
use std::collections::{BTreeMap, HashSet};
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use net::TableId;
use openflow::error::*;
use openflow::msg::{
    FlowEvent, FlowMonitorRequest, FlowUpdate, FlowUpdateFull, MONITOR_ADD, MONITOR_INITIAL,
    MONITOR_INSTRUCTIONS, MONITOR_MODIFY, MONITOR_NO_ABBREV, MONITOR_ONLY_OWN, MONITOR_REMOVED,
    MonitorCommand, MultipartReply, ReplyBody,
};
use openflow::{Instructions, Message, Version};
use tables::{Change, FlowFilter, Pipeline, Rule, Selector, TABLES};
use tokio::time::sleep;

use crate::Switch;
use crate::events::removed_reason;
use crate::session::Session;

/// Flags of 1.3 and of 1.4 on.
const FLAGS_1_3: u16 = 0b11_1111;
const FLAGS_1_4: u16 = 0b111_1111;
/// Most monitors of a connection.
const MOST: usize = 256;
/// Updates in one message.
const PART: usize = 128;
/// Bytes that wait to be read above which a controller is told no more.
const PAUSE_AT: usize = 512 << 10;
/// Bytes below which it is told again.
const RESUME_AT: usize = 64 << 10;
/// How often that is looked at.
const LOOK: Duration = Duration::from_millis(20);

/// Whose request a change was.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Origin {
    /// Connection.
    pub session: u64,
    /// Transaction number.
    pub xid: u32,
}

impl Origin {
    /// A connection's request.
    pub fn new(session: &Session, xid: u32) -> Self {
        Origin {
            session: session.id,
            xid,
        }
    }
}

/// A connection's monitors.
#[derive(Default)]
pub(crate) struct Monitors {
    list: RefCell<BTreeMap<u32, Monitor>>,
    /// The tables as the controller knows them, while it is not told of changes at once.
    known: RefCell<Option<Pipeline>>,
    /// It was told that it is told no more.
    paused: Cell<bool>,
}

struct Monitor {
    flags: u16,
    selector: Selector,
}

impl Monitors {
    /// Ends a monitor (ONF 1870's cancel).
    pub fn cancel(&self, id: u32) -> Result<(), OfError> {
        let ended = self.list.borrow_mut().remove(&id);
        ended.map(|_| ()).ok_or(OFPMOFC_UNKNOWN_MONITOR)
    }

    /// Flags of the monitors that are about a flow, together.
    fn flags(&self, rule: &Rule, own: bool) -> u16 {
        let list = self.list.borrow();
        list.values()
            .filter(|m| (own || m.flags & MONITOR_ONLY_OWN == 0) && m.selector.selects(rule))
            .fold(0, |flags, m| flags | m.flags)
    }
}

/// Begins, changes and ends monitors, all or none, and tells the flows there are.
pub(crate) async fn request(
    switch: &Rc<Switch>,
    session: &Rc<Session>,
    xid: u32,
    requests: Vec<FlowMonitorRequest>,
) -> Result<(), OfError> {
    let version = session.version.get().unwrap_or(Version::V1_3);
    let initial = begin(switch, session, version, &requests);
    review(switch);
    let initial = initial?;
    let monitors = &session.monitors;
    if initial.is_empty() {
        session.reply(xid, &reply(false, Vec::new()));
        return Ok(());
    }
    // What changes while these are sent is told afterwards.
    let first = monitors.known.borrow().is_none();
    if first {
        let now = switch.tables.borrow().pipeline().clone();
        monitors.known.replace(Some(now));
    }
    let mut parts = initial.chunks(PART).peekable();
    while let Some(part) = parts.next() {
        let updates = part.iter().map(|(rule, flags)| {
            let instructions = flags & MONITOR_INSTRUCTIONS != 0;
            FlowUpdate::Full(full(rule, FlowEvent::Initial, instructions))
        });
        session.reply(xid, &reply(parts.peek().is_some(), updates.collect()));
        session.out.room().await;
    }
    if first {
        catch_up(switch, session).await;
    }
    Ok(())
}

/// Applies requests; gives the flows to begin with, and the flags under which each is told.
fn begin(
    switch: &Switch,
    session: &Session,
    version: Version,
    requests: &[FlowMonitorRequest],
) -> Result<Vec<(Arc<Rule>, u16)>, OfError> {
    let tables = switch.tables.borrow();
    let mut list = session.monitors.list.borrow_mut();
    let mut ids: HashSet<u32> = list.keys().copied().collect();
    for request in requests {
        check(version, request, &mut ids)?;
    }
    if ids.len() > MOST {
        return Err(OFPMOFC_UNKNOWN);
    }
    let mut initial: Vec<(Arc<Rule>, u16)> = Vec::new();
    for request in requests {
        if request.command == MonitorCommand::Delete {
            list.remove(&request.id);
            continue;
        }
        let filter = FlowFilter {
            table: request.table,
            matching: request.matching.clone(),
            out_port: request.out_port,
            out_group: request.out_group,
            ..FlowFilter::default()
        };
        let flags = meant(request.flags);
        if flags & MONITOR_INITIAL != 0 {
            let flows = tables.flows(&filter);
            initial.extend(flows.into_iter().map(|rule| (rule, flags)));
        }
        let monitor = Monitor {
            flags,
            selector: tables.selector(&filter),
        };
        list.insert(request.id, monitor);
    }
    if requests.len() > 1 {
        // A flow that several of them are about is told once.
        let address = |rule: &Arc<Rule>| Arc::as_ptr(rule) as usize;
        initial.sort_by_key(|(rule, _)| address(rule));
        initial.dedup_by(|(b, more), (a, flags)| {
            let same = Arc::ptr_eq(a, b);
            *flags |= if same { *more } else { 0 };
            same
        });
    }
    Ok(initial)
}

/// What flags mean. Open vSwitch's `own` (own changes in full, and everybody else's) goes out as
/// "only own" from 1.4 on, in its clients and for its switch; to ask for instructions and at the
/// same time for nothing but abbreviations would make no sense.
const fn meant(flags: u16) -> u16 {
    let odd = MONITOR_ONLY_OWN | MONITOR_INSTRUCTIONS;
    match flags & (odd | MONITOR_NO_ABBREV) == odd {
        true => (flags & !MONITOR_ONLY_OWN) | MONITOR_NO_ABBREV,
        false => flags,
    }
}

fn check(
    version: Version,
    request: &FlowMonitorRequest,
    ids: &mut HashSet<u32>,
) -> Result<(), OfError> {
    let known = ids.contains(&request.id);
    match request.command {
        MonitorCommand::Add if known => return Err(OFPMOFC_MONITOR_EXISTS),
        MonitorCommand::Modify | MonitorCommand::Delete if !known => {
            return Err(OFPMOFC_UNKNOWN_MONITOR);
        }
        MonitorCommand::Delete => {
            ids.remove(&request.id);
            return Ok(());
        }
        MonitorCommand::Add | MonitorCommand::Modify => {}
    }
    let flags = match version {
        Version::V1_3 => FLAGS_1_3,
        _ => FLAGS_1_4,
    };
    let whats = MONITOR_INITIAL | MONITOR_ADD | MONITOR_REMOVED | MONITOR_MODIFY;
    if request.flags & !flags != 0 || request.flags & whats == 0 {
        return Err(OFPMOFC_BAD_FLAGS);
    }
    if request.table != TableId::ALL && request.table.0 >= TABLES {
        return Err(OFPMOFC_BAD_TABLE_ID);
    }
    ids.insert(request.id);
    Ok(())
}

/// Looks whether anybody follows flows; to be called when that may have changed.
pub(crate) fn review(switch: &Switch) {
    let sessions = switch.sessions.borrow();
    let follows = |session: &Rc<Session>| !session.monitors.list.borrow().is_empty();
    switch.followed.set(sessions.values().any(follows));
}

/// Tells every controller that follows them what happened to flows, by the request it came from.
pub(crate) fn tell(switch: &Switch, origin: Option<Origin>, changes: &[Change]) {
    if !switch.followed.get() {
        return;
    }
    for session in switch.sessions.borrow().values() {
        let monitors = &session.monitors;
        if monitors.list.borrow().is_empty() || monitors.known.borrow().is_some() {
            continue;
        }
        let own = origin.filter(|origin| origin.session == session.id);
        let updates = updates(monitors, own.map(|own| own.xid), changes);
        for part in updates.chunks(PART) {
            session.reply(0, &reply(false, part.to_vec()));
        }
    }
}

/// Tells controllers that read too slowly that they are told no more. Nothing must be left untold.
pub(crate) fn hold_back(switch: &Rc<Switch>) {
    if !switch.followed.get() {
        return;
    }
    for session in switch.sessions.borrow().values() {
        let monitors = &session.monitors;
        if monitors.list.borrow().is_empty()
            || monitors.known.borrow().is_some()
            || session.out.waiting() <= PAUSE_AT
        {
            continue;
        }
        session.reply(0, &Message::FlowMonitorPaused);
        monitors.paused.set(true);
        let now = switch.tables.borrow().pipeline().clone();
        monitors.known.replace(Some(now));
        tokio::task::spawn_local(resume(switch.clone(), session.clone()));
    }
}

/// What one controller is told; its own request under `own`.
fn updates(monitors: &Monitors, own: Option<u32>, changes: &[Change]) -> Vec<FlowUpdate> {
    let mut updates = Vec::new();
    let mut abbreviated = false;
    for change in changes {
        let (rule, event, wanted) = match change {
            Change::Added(rule) => (rule, FlowEvent::Added, MONITOR_ADD),
            Change::Modified(rule) => (rule, FlowEvent::Modified, MONITOR_MODIFY),
            Change::Removed(rule, _) => (rule, FlowEvent::Removed, MONITOR_REMOVED),
        };
        let flags = monitors.flags(rule, own.is_some());
        if flags & wanted == 0 {
            continue;
        }
        match own.filter(|_| flags & MONITOR_NO_ABBREV == 0) {
            Some(_) if abbreviated => {}
            Some(xid) => {
                abbreviated = true;
                updates.push(FlowUpdate::Abbrev(xid));
            }
            None => {
                let mut update = full(rule, event, flags & MONITOR_INSTRUCTIONS != 0);
                if let Change::Removed(_, reason) = change {
                    update.reason = Some(removed_reason(*reason));
                }
                updates.push(FlowUpdate::Full(update));
            }
        }
    }
    updates
}

fn full(rule: &Rule, event: FlowEvent, instructions: bool) -> FlowUpdateFull {
    FlowUpdateFull {
        event,
        reason: None,
        table: rule.table,
        idle_timeout: rule.timeouts().0,
        hard_timeout: rule.timeouts().1,
        priority: rule.priority,
        cookie: rule.cookie,
        matching: rule.matching(),
        instructions: match instructions {
            true => (*rule.instructions).clone(),
            false => Instructions::default(),
        },
    }
}

fn reply(more: bool, updates: Vec<FlowUpdate>) -> Message {
    let body = ReplyBody::FlowMonitor(updates);
    Message::MultipartReply(MultipartReply { more, body })
}

/// Goes on once the controller has read what waited for it.
async fn resume(switch: Rc<Switch>, session: Rc<Session>) {
    while session.out.waiting() > RESUME_AT {
        sleep(LOOK).await;
        if !switch.sessions.borrow().contains_key(&session.id) {
            return;
        }
    }
    catch_up(&switch, &session).await;
}

/// Tells what happened since the tables that the controller knows, until it knows everything.
async fn catch_up(switch: &Switch, session: &Session) {
    let monitors = &session.monitors;
    loop {
        let Some(known) = monitors.known.borrow().clone() else {
            return;
        };
        let (changes, now) = {
            let tables = switch.tables.borrow();
            (tables.changes_since(&known), tables.pipeline().clone())
        };
        let updates = updates(monitors, None, &changes);
        if updates.is_empty() {
            monitors.known.replace(None);
            if monitors.paused.take() {
                session.reply(0, &Message::FlowMonitorResumed);
            }
            return;
        }
        monitors.known.replace(Some(now));
        for part in updates.chunks(PART) {
            session.reply(0, &reply(false, part.to_vec()));
            session.out.room().await;
        }
    }
}
