//! Who leads, as a Lease has it: what to do next, as a function of the Lease and the time.
//!
//! The algorithm is the one that every controller of Kubernetes follows (client-go,
//! `leaderelection`): clocks of different hosts are never compared; a Lease is over when it has not
//! been *seen to change* for as long as it says it holds.

use std::time::Duration;

use serde_json::{Value, json};
use tokio::time::Instant;

/// What a candidate goes by.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Terms {
    /// How long a Lease holds that is not renewed. Whole seconds, at least one.
    pub duration: Duration,
    /// Who could not renew for this long does not write to the API server any more; less than
    /// `duration`.
    pub renew_within: Duration,
    /// How often it is renewed, or looked at.
    pub retry: Duration,
}

impl Default for Terms {
    /// As kube-controller-manager has them.
    fn default() -> Self {
        Terms {
            duration: Duration::from_secs(15),
            renew_within: Duration::from_secs(10),
            retry: Duration::from_secs(2),
        }
    }
}

/// What we are.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Standing {
    /// We lead; elections so far.
    Leader(u64),
    /// We led, nobody else is known to, and the Lease could not be renewed in time: switches are
    /// served on, since they refuse who is outranked; nothing is written to the API server.
    Unsure(u64),
    /// Another leads, or nobody yet.
    Standby {
        /// Who leads; empty while nobody does.
        leader: String,
        /// Elections so far.
        elections: u64,
    },
}

/// What is to be done.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Act {
    /// There is no Lease: make this one.
    Create(Value),
    /// Put this in its place; its version says of what.
    Replace(Value),
    /// Look again later.
    Wait,
}

/// A candidate.
#[derive(Debug)]
pub(super) struct Election {
    identity: String,
    terms: Terms,
    /// The Lease's spec as it was seen last, and since when it has been like that.
    seen: Option<(Value, Instant)>,
    /// When the last request was sent that made or kept us leader.
    renewed: Option<Instant>,
    /// We have asked to lead: a Lease with our name is of this process, and not of the one before
    /// us that had the same name.
    asked: bool,
}

impl Election {
    pub(super) fn new(identity: String, terms: Terms) -> Self {
        Election {
            identity,
            terms,
            seen: None,
            renewed: None,
            asked: false,
        }
    }

    /// Decides by the Lease that is there. `wall` is the time as objects have it; `least`: elections
    /// that somebody has seen, of which ours has to be a later one.
    pub(super) fn decide(
        &mut self,
        lease: Option<&Value>,
        now: Instant,
        wall: &str,
        least: u64,
    ) -> Act {
        let Some(lease) = lease else {
            self.asked = true;
            return Act::Create(self.spec(wall, wall, least));
        };
        let spec = &lease["spec"];
        self.see(spec, now);
        let holder = spec["holderIdentity"].as_str().unwrap_or_default();
        // Nobody else has our name, so the process that had it is gone: its Lease is free, and what
        // it has sent to switches is of an earlier election.
        let ours = holder == self.identity && self.asked;
        if holder == self.identity && !ours {
            tracing::info!("the Lease is of the process before this one, which is gone");
        } else if !ours && !holder.is_empty() && !self.is_over(now) {
            return Act::Wait;
        }
        self.asked = true;
        let before = elections(spec);
        let mut new = lease.clone();
        new["spec"] = if ours {
            let since = spec["acquireTime"].as_str().unwrap_or(wall);
            self.spec(since, wall, before.max(least))
        } else {
            self.spec(wall, wall, (before + 1).max(least))
        };
        Act::Replace(new)
    }

    fn spec(&self, acquired: &str, renewed: &str, elections: u64) -> Value {
        json!({
            "holderIdentity": self.identity,
            "leaseDurationSeconds": self.terms.duration.as_secs().max(1),
            "acquireTime": acquired, "renewTime": renewed, "leaseTransitions": elections,
        })
    }

    fn see(&mut self, spec: &Value, now: Instant) {
        if self.seen.as_ref().is_none_or(|(before, _)| before != spec) {
            self.seen = Some((spec.clone(), now));
        }
    }

    /// Nobody has renewed what we saw for as long as it holds.
    fn is_over(&self, now: Instant) -> bool {
        let Some((spec, since)) = &self.seen else {
            return false;
        };
        let seconds = spec["leaseDurationSeconds"].as_u64();
        let holds = seconds.map_or(self.terms.duration, Duration::from_secs);
        now.saturating_duration_since(*since) >= holds
    }

    /// The server has taken what we asked at `asked`; this is the Lease now.
    pub(super) fn taken(&mut self, lease: &Value, asked: Instant) {
        self.see(&lease["spec"], asked);
        self.renewed = Some(asked);
    }

    /// What we are.
    pub(super) fn standing(&self, now: Instant) -> Standing {
        let spec = self.seen.as_ref().map(|(spec, _)| spec);
        let elections = spec.map_or(0, elections);
        let leader = spec
            .and_then(|s| s["holderIdentity"].as_str())
            .unwrap_or_default();
        match self.renewed {
            Some(renewed) if leader == self.identity => {
                match now.saturating_duration_since(renewed) < self.terms.renew_within {
                    true => Standing::Leader(elections),
                    false => Standing::Unsure(elections),
                }
            }
            _ => Standing::Standby {
                leader: leader.to_owned(),
                elections,
            },
        }
    }

    /// The Lease as a leader leaves it that goes: free at once.
    pub(super) fn released(&self, lease: &Value, wall: &str) -> Option<Value> {
        if lease["spec"]["holderIdentity"] != self.identity.as_str() {
            return None;
        }
        let mut new = lease.clone();
        new["spec"] = self.spec(wall, wall, elections(&lease["spec"]));
        new["spec"]["holderIdentity"] = json!("");
        new["spec"]["leaseDurationSeconds"] = json!(1);
        Some(new)
    }

    /// How long to wait before acting again, and for an answer: two may fail to come before a leader
    /// is unsure.
    pub(super) fn pace(&self) -> (Duration, Duration) {
        (self.terms.retry, self.terms.renew_within / 3)
    }
}

fn elections(spec: &Value) -> u64 {
    spec["leaseTransitions"].as_u64().unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;

    const WALL: &str = "2026-11-20T12:00:00.000000Z";

    fn candidate(name: &str) -> Election {
        Election::new(name.into(), Terms::default())
    }

    fn replaced(act: Act) -> Value {
        match act {
            Act::Replace(lease) => lease,
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn who_comes_first_leads_and_another_only_when_the_lease_has_stood_still_for_its_duration() {
        let start = Instant::now();
        let at = |seconds| start + Duration::from_secs(seconds);
        let (mut a, mut b) = (candidate("a"), candidate("b"));
        let Act::Create(spec) = a.decide(None, start, WALL, 0) else {
            panic!("no lease is made");
        };
        let mut lease = json!({"metadata": {"resourceVersion": "7"}, "spec": spec});
        a.taken(&lease, start);
        assert_eq!(a.standing(at(9)), Standing::Leader(0));
        assert_eq!(a.standing(at(10)), Standing::Unsure(0));
        // B's clock begins when it first sees the lease, whatever times stand in it.
        assert_eq!(b.decide(Some(&lease), at(100), WALL, 0), Act::Wait);
        assert_eq!(b.decide(Some(&lease), at(114), WALL, 0), Act::Wait);
        lease = replaced(a.decide(Some(&lease), at(114), "2026-11-20T12:00:02.000000Z", 0));
        assert_eq!(lease["metadata"]["resourceVersion"], "7");
        assert_eq!(b.decide(Some(&lease), at(115), WALL, 0), Act::Wait);
        assert_eq!(b.decide(Some(&lease), at(129), WALL, 0), Act::Wait);
        let standing = Standing::Standby {
            leader: "a".into(),
            elections: 0,
        };
        assert_eq!(b.standing(at(129)), standing);
        lease = replaced(b.decide(Some(&lease), at(130), WALL, 0));
        assert_eq!(lease["spec"]["holderIdentity"], "b");
        assert_eq!(lease["spec"]["leaseTransitions"], 1);
        b.taken(&lease, at(130));
        assert_eq!(b.standing(at(131)), Standing::Leader(1));
        // A sees that it was replaced.
        assert_eq!(a.decide(Some(&lease), at(131), WALL, 0), Act::Wait);
        let standing = Standing::Standby {
            leader: "b".into(),
            elections: 1,
        };
        assert_eq!(a.standing(at(131)), standing);
    }

    #[test]
    fn a_leader_that_goes_leaves_the_lease_free_and_a_lost_answer_costs_nothing() {
        let now = Instant::now();
        let (mut a, mut b) = (candidate("a"), candidate("b"));
        let Act::Create(spec) = a.decide(None, now, WALL, 0) else {
            panic!("no lease is made");
        };
        let lease = json!({"spec": spec});
        // The answer was lost: the lease is ours, and is found so.
        let lease = replaced(a.decide(Some(&lease), now, WALL, 0));
        assert_eq!(lease["spec"]["leaseTransitions"], 0);
        a.taken(&lease, now);
        assert_eq!(b.released(&lease, WALL), None);
        let free = a.released(&lease, WALL).unwrap();
        let lease = replaced(b.decide(Some(&free), now, WALL, 0));
        assert_eq!(lease["spec"]["holderIdentity"], "b");
        assert_eq!(lease["spec"]["leaseTransitions"], 1);
    }

    #[test]
    fn who_comes_back_under_its_name_leads_at_once_by_a_later_election() {
        let now = Instant::now();
        let mut before = candidate("host_1");
        let Act::Create(spec) = before.decide(None, now, WALL, 0) else {
            panic!("no lease is made");
        };
        let lease = json!({"spec": spec});
        before.taken(&lease, now);
        let (mut again, mut other) = (candidate("host_1"), candidate("host_2"));
        assert_eq!(other.decide(Some(&lease), now, WALL, 0), Act::Wait);
        let lease = replaced(again.decide(Some(&lease), now, WALL, 0));
        assert_eq!(lease["spec"]["leaseTransitions"], 1);
        assert!(!matches!(again.standing(now), Standing::Leader(_)));
        again.taken(&lease, now);
        assert_eq!(again.standing(now), Standing::Leader(1));
        let lease = replaced(again.decide(Some(&lease), now, WALL, 0));
        assert_eq!(lease["spec"]["leaseTransitions"], 1, "renewed");
    }

    #[test]
    fn elections_that_switches_have_seen_are_not_held_again() {
        // Somebody deleted the Lease, so counting would begin anew.
        let now = Instant::now();
        let mut a = candidate("a");
        let Act::Create(spec) = a.decide(None, now, WALL, 0) else {
            panic!("no lease is made");
        };
        let lease = json!({"spec": spec});
        a.taken(&lease, now);
        let lease = replaced(a.decide(Some(&lease), now, WALL, 8));
        assert_eq!(lease["spec"]["leaseTransitions"], 8);
        a.taken(&lease, now);
        assert_eq!(a.standing(now), Standing::Leader(8));
    }
}
