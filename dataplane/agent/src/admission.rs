//! How many connections there may be, on each listener and from each peer.

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::rc::Rc;

use transport::Origin;

/// Why a connection was refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Refusal {
    /// The listener has as many as it may.
    Listener,
    /// The peer has as many as it may.
    Peer,
    /// It did not get through TLS or hello in time.
    Handshake,
}

impl Refusal {
    /// As metrics label it.
    pub fn name(self) -> &'static str {
        match self {
            Refusal::Listener => "listener_full",
            Refusal::Peer => "peer_full",
            Refusal::Handshake => "handshake",
        }
    }
}

/// Connections of a listener.
#[derive(Debug, Default)]
pub(crate) struct Admission {
    total: usize,
    peers: BTreeMap<Origin, usize>,
}

/// A place among a listener's connections; given back when dropped.
#[derive(Debug)]
pub(crate) struct Place {
    of: Rc<RefCell<Admission>>,
    origin: Origin,
}

impl Admission {
    /// A place, if there is one.
    pub fn enter(
        this: &Rc<RefCell<Admission>>,
        origin: Origin,
        per_listener: usize,
        per_peer: usize,
    ) -> Result<Place, Refusal> {
        let mut admission = this.borrow_mut();
        if admission.peers.get(&origin).copied().unwrap_or(0) >= per_peer {
            return Err(Refusal::Peer);
        }
        if admission.total >= per_listener {
            return Err(Refusal::Listener);
        }
        admission.total += 1;
        *admission.peers.entry(origin).or_default() += 1;
        let of = this.clone();
        Ok(Place { of, origin })
    }

    /// Connections now.
    pub fn total(&self) -> usize {
        self.total
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let mut admission = self.of.borrow_mut();
        admission.total -= 1;
        if let Some(count) = admission.peers.get_mut(&self.origin) {
            *count -= 1;
            if *count == 0 {
                admission.peers.remove(&self.origin);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_peer_cannot_take_all_places_and_places_come_back() {
        let admission = Rc::new(RefCell::new(Admission::default()));
        let enter = |user| Admission::enter(&admission, Origin::User(user), 3, 2);
        let (a, _b) = (enter(1).unwrap(), enter(1).unwrap());
        assert_eq!(enter(1).unwrap_err(), Refusal::Peer);
        let _c = enter(2).unwrap();
        assert_eq!(enter(3).unwrap_err(), Refusal::Listener);
        drop(a);
        assert_eq!(admission.borrow().total(), 2);
        assert!(enter(3).is_ok());
        assert_eq!(
            admission.borrow().peers.len(),
            2,
            "nothing is kept of who has left"
        );
    }
}
