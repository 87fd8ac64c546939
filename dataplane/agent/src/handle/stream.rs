//! Long answers: made part by part, as fast as the peer reads them, while others get their turn.

use std::sync::Arc;

use openflow::msg::ReplyBody;
use tables::{Rule, Scan};
use tokio::task::yield_now;

use super::multipart::reply;
use crate::session::Session;

/// Flows looked at, and things encoded, at once: well below a millisecond, and about as much as a
/// message holds.
pub(crate) const PART: usize = 256;

/// Sends the flows of a scan; `body` makes a reply of some of them.
pub(super) async fn flows(
    session: &Session,
    xid: u32,
    mut scan: Scan,
    body: impl Fn(&[Arc<Rule>]) -> ReplyBody,
) {
    let (mut part, mut next) = (Vec::new(), Vec::new());
    let mut more = true;
    while more {
        // One part ahead, to know which is the last.
        more = scan.step(PART, &mut next);
        if next.is_empty() && more {
            yield_now().await;
            continue;
        }
        if !part.is_empty() && !next.is_empty() {
            send(session, xid, true, &part, &body).await;
        }
        if !next.is_empty() {
            part = std::mem::take(&mut next);
        }
    }
    // A small table comes at once, and may be more than a part.
    list(session, xid, &part, body).await;
}

/// Sends a list that is there as a whole.
pub(super) async fn list<T>(
    session: &Session,
    xid: u32,
    all: &[T],
    body: impl Fn(&[T]) -> ReplyBody,
) {
    if all.is_empty() {
        return reply(session, xid, false, body(&[]));
    }
    let last = all.len().div_ceil(PART) - 1;
    for (at, part) in all.chunks(PART).enumerate() {
        one(session, xid, at != last, body(part)).await;
    }
}

async fn send<T>(
    session: &Session,
    xid: u32,
    more: bool,
    all: &[T],
    body: &impl Fn(&[T]) -> ReplyBody,
) {
    for part in all.chunks(PART) {
        one(session, xid, more, body(part)).await;
    }
}

async fn one(session: &Session, xid: u32, more: bool, body: ReplyBody) {
    reply(session, xid, more, body);
    session.out.room().await;
    yield_now().await;
}

/// Calls `visit` with every flow of a scan.
pub(crate) async fn each_flow(mut scan: Scan, mut visit: impl FnMut(&Rule)) {
    let (mut part, mut more) = (Vec::new(), true);
    while more {
        more = scan.step(PART, &mut part);
        part.drain(..).for_each(|rule| visit(&rule));
        yield_now().await;
    }
}
