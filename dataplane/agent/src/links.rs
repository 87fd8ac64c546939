//! The configured targets as they are: for people, and for the fail mode.

use std::cell::{Cell, RefCell};
use std::collections::BTreeMap;
use std::rc::Rc;

use transport::Target;

use crate::admission::{Admission, Refusal};

/// A target that is listened on, or connected to.
#[derive(Clone, Debug)]
pub(crate) enum Link {
    /// Listened on, with its connections.
    Listening(Rc<RefCell<Admission>>),
    /// A controller.
    Primary(Rc<Primary>),
}

/// A controller that we connect to.
#[derive(Debug, Default)]
pub(crate) struct Primary {
    /// Through hello.
    pub connected: Cell<bool>,
    /// Attempts so far.
    pub attempts: Cell<u64>,
    /// Why the last connection or attempt ended; empty: none has.
    pub why: RefCell<String>,
}

/// All targets, and what was refused on them.
#[derive(Debug, Default)]
pub(crate) struct Links {
    links: RefCell<BTreeMap<String, Link>>,
    refused: RefCell<BTreeMap<(String, Refusal), u64>>,
    /// When a controller was there last, on the workers' clock; nanoseconds.
    seen: Cell<Option<u64>>,
}

impl Links {
    /// A target that is listened on from now on.
    pub fn listen(&self, target: &Target) -> Rc<RefCell<Admission>> {
        let admission = Rc::new(RefCell::new(Admission::default()));
        let link = Link::Listening(admission.clone());
        self.links.borrow_mut().insert(target.to_string(), link);
        admission
    }

    /// A target that is connected to from now on.
    pub fn primary(&self, target: &Target) -> Rc<Primary> {
        let primary = Rc::new(Primary::default());
        let link = Link::Primary(primary.clone());
        self.links.borrow_mut().insert(target.to_string(), link);
        primary
    }

    /// Counts a connection that was refused; gives how many there were of its kind.
    pub fn refuse(&self, target: &Target, why: Refusal) -> u64 {
        let mut refused = self.refused.borrow_mut();
        let count = refused.entry((target.to_string(), why)).or_default();
        *count += 1;
        *count
    }

    /// Connections refused so far, by target and reason.
    pub fn refused(&self) -> Vec<(String, Refusal, u64)> {
        let refused = self.refused.borrow();
        let each = refused.iter();
        each.map(|((target, why), count)| (target.clone(), *why, *count))
            .collect()
    }

    /// Every target.
    pub fn each(&self) -> Vec<(String, Link)> {
        let links = self.links.borrow();
        links
            .iter()
            .map(|(t, link)| (t.clone(), link.clone()))
            .collect()
    }

    /// How long no controller has been there, nanoseconds at `now`; none while one is.
    pub fn without_primary(&self, now: u64) -> Option<u64> {
        let connected = |link: &Link| matches!(link, Link::Primary(p) if p.connected.get());
        if self.links.borrow().values().any(connected) {
            self.seen.set(Some(now));
            return None;
        }
        let since = self.seen.get().unwrap_or_else(|| {
            self.seen.set(Some(now));
            now
        });
        Some(now.saturating_sub(since))
    }

    /// True if there are controllers to connect to.
    pub fn has_primaries(&self) -> bool {
        let links = self.links.borrow();
        links.values().any(|link| matches!(link, Link::Primary(_)))
    }
}

impl Link {
    /// State in words.
    pub fn state(&self) -> String {
        match self {
            Link::Listening(admission) => match admission.borrow().total() {
                0 => "listening".into(),
                1 => "listening, 1 connection".into(),
                n => format!("listening, {n} connections"),
            },
            Link::Primary(primary) if primary.connected.get() => "connected".into(),
            Link::Primary(primary) => match &**primary.why.borrow() {
                "" => "connecting".into(),
                why => format!("trying: {why}"),
            },
        }
    }
}
