//! Answers to operators (`cluster::query`): what the controller knows is taken as one picture, and
//! worked on beside its loop, so that a long answer holds nobody up.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use ::watch::Standing;
use cluster::query::{Answer, Counted, Difference, How, NodeDiff, NodeStatus, Question, Report};
use cluster::writes::Reach;
use cluster::{ClusterView, DesiredState};
use flows::trace::{Ask, Tracer};
use flows::{FlowSet, Network, Ports, shared};
use openflow::msg::FlowStatsRequest;
use session::{Applied, Differs, Registry, Wish};
use tokio::sync::{mpsc, oneshot, watch};
use tokio::time::{Instant, sleep, timeout};

/// How long the controller's own work may keep an answer waiting.
const BUSY: Duration = Duration::from_secs(5);
/// How long one switch may take to tell all that it holds.
const READING: Duration = Duration::from_secs(60);
/// How often a switch is read that is changed while it is read.
const ATTEMPTS: usize = 3;

/// One picture of all that answers are made of.
#[derive(Debug)]
pub struct Now {
    /// What the objects say; none while a newer view is being made.
    pub view: Option<Arc<ClusterView>>,
    /// What the network shall be.
    pub desired: Arc<DesiredState>,
    /// The number of the picture that switches were told of it.
    pub picture: u64,
    /// How far it has come.
    pub reach: Reach,
    /// What happened to switches.
    pub switches: BTreeMap<String, Switch>,
}

/// What happened last to the switch of a node.
#[derive(Clone, Debug, Default)]
pub struct Switch {
    /// What it was told last.
    pub applied: Applied,
    /// Why it has gone.
    pub gone: String,
}

/// Somebody who waits for a picture; none: there is none yet.
pub type Asker = oneshot::Sender<Option<Now>>;

/// Where questions are answered.
#[derive(Clone, Debug)]
pub struct Desk {
    askers: mpsc::Sender<Asker>,
    registry: Registry,
    standing: Option<watch::Receiver<Standing>>,
}

impl Desk {
    /// Asks whoever reads the other end for pictures.
    pub fn new(
        askers: mpsc::Sender<Asker>,
        registry: Registry,
        standing: Option<watch::Receiver<Standing>>,
    ) -> Self {
        Desk {
            askers,
            registry,
            standing,
        }
    }

    /// Answers a line.
    pub async fn answer(&self, line: &[u8]) -> Answer {
        let question = match serde_json::from_slice(line) {
            Ok(question) => question,
            Err(error) => {
                return Answer::Error(format!("not a question this version knows: {error}"));
            }
        };
        match self.answer_to(question).await {
            Ok(answer) => answer,
            Err(error) => Answer::Error(error),
        }
    }

    async fn answer_to(&self, question: Question) -> Result<Answer, String> {
        let now = self.now().await?;
        match question {
            Question::Diff { node } => self.diff(now, node).await.map(Answer::Diff),
            Question::Policies { which, hits } => {
                let hits = match hits {
                    true => Some(self.hits(which.node.as_deref()).await?),
                    false => None,
                };
                self.report(now, hits, move |report| {
                    report.policies(&which).map(Answer::Policies)
                })
                .await
            }
            Question::Trace {
                from,
                to,
                source_port,
                family,
            } => {
                let ask = Ask {
                    from,
                    to,
                    source_port,
                    family,
                };
                self.trace(now, ask).await
            }
            Question::Pods(which) => {
                self.report(now, None, move |report| {
                    report.pods(&which).map(Answer::Pods)
                })
                .await
            }
            Question::Services(which) => {
                self.report(now, None, move |report| {
                    report.services(&which).map(Answer::Services)
                })
                .await
            }
            Question::Subnets(which) => {
                self.report(now, None, move |report| {
                    report.subnets(&which).map(Answer::Subnets)
                })
                .await
            }
            Question::Nodes(which) => {
                self.report(now, None, move |report| {
                    report.nodes(&which).map(Answer::Nodes)
                })
                .await
            }
        }
    }

    /// The picture in force.
    async fn now(&self) -> Result<Now, String> {
        let until = Instant::now() + BUSY;
        loop {
            if let Some(standing) = &self.standing {
                match &*standing.borrow() {
                    Standing::Standby { leader, .. } if leader.is_empty() => {
                        return Err(
                            "this controller stands by, and nobody leads yet; ask again".into()
                        );
                    }
                    Standing::Standby { leader, .. } => {
                        // Its name is its host's, and a random part.
                        let host = leader
                            .rsplit_once('_')
                            .map_or(leader.as_str(), |(host, _)| host);
                        return Err(format!(
                            "this controller stands by; {host} leads: ask there"
                        ));
                    }
                    Standing::Leader(_) | Standing::Unsure(_) => {}
                }
            }
            let (asker, asked) = oneshot::channel();
            let picture = async {
                self.askers.send(asker).await.ok()?;
                asked.await.ok()
            };
            match timeout(BUSY, picture).await {
                Ok(Some(Some(now))) if now.view.is_some() => return Ok(now),
                // Its source has only just begun, or a newer view is being made.
                Ok(Some(_)) if Instant::now() < until => sleep(Duration::from_millis(20)).await,
                Ok(Some(_)) => return Err("the controller is reading its source; ask again".into()),
                Ok(None) => return Err("the controller stops".into()),
                Err(_) => return Err("the controller is busy; ask again".into()),
            }
        }
    }

    async fn report(
        &self,
        now: Now,
        hits: Option<BTreeMap<String, Counted>>,
        make: impl FnOnce(&Report<'_>) -> Result<Answer, String> + Send + 'static,
    ) -> Result<Answer, String> {
        let nodes = self.nodes(&now);
        beside(move || {
            let Some(view) = &now.view else {
                return Err("the controller is reading its source; ask again".into());
            };
            make(&Report {
                view,
                desired: &now.desired,
                reach: &now.reach,
                nodes: &nodes,
                hits: hits.as_ref(),
            })
        })
        .await
    }

    fn nodes(&self, now: &Now) -> BTreeMap<String, NodeStatus> {
        let mut names: BTreeSet<String> = now.desired.nodes.keys().cloned().collect();
        names.extend(self.registry.nodes());
        let status = |name: String| {
            let connected = self.registry.connected(&name);
            let switch = now.switches.get(&name).cloned().unwrap_or_default();
            let rejected = switch.applied.rejected.iter().map(ToString::to_string);
            let problems = switch.applied.problems.iter().map(ToString::to_string);
            let status = NodeStatus {
                connected: connected.is_some(),
                session: connected.as_ref().map_or(switch.gone, |c| c.peer.clone()),
                desired: switch.applied.desired,
                installed: switch.applied.installed,
                problems: rejected.chain(problems).collect(),
                ports: connected.map(|c| Ports::clone(&c.ports)),
            };
            (name, status)
        };
        names.into_iter().map(status).collect()
    }

    async fn trace(&self, now: Now, ask: Ask) -> Result<Answer, String> {
        let registry = self.registry.clone();
        beside(move || {
            let ports = |node: &str| registry.connected(node).map(|c| Ports::clone(&c.ports));
            let tracer = Tracer::new(&now.desired, &ports);
            tracer
                .trace(&ask)
                .map(|trace| Answer::Trace(Box::new(trace)))
        })
        .await
    }

    /// What policies' flows have counted on all nodes, or on one, by their label.
    async fn hits(&self, node: Option<&str>) -> Result<BTreeMap<String, Counted>, String> {
        let wish = Wish {
            flows: FlowStatsRequest {
                cookie: flows::origin::cookies_of(flows::Feature::Policy),
                cookie_mask: flows::origin::FEATURE_MASK,
                ..FlowStatsRequest::default()
            },
            rest: false,
        };
        let mut nodes = self.registry.nodes();
        nodes.retain(|name| node.is_none_or(|node| node == name));
        let mut readings = tokio::task::JoinSet::new();
        for node in nodes {
            let (registry, wish) = (self.registry.clone(), wish.clone());
            readings.spawn(async move { timeout(READING, registry.read(&node, wish)).await });
        }
        let mut hits: BTreeMap<String, Counted> = BTreeMap::new();
        while let Some(reading) = readings.join_next().await {
            // A switch that has gone meanwhile counts nothing.
            let Ok(Ok(Ok(reading))) = reading else {
                continue;
            };
            for flow in &reading.flows {
                let Some(label) = reading.labels.get(&flow.cookie) else {
                    continue;
                };
                let counted = hits.entry(label.clone()).or_default();
                counted.packets += flow.packet_count;
                counted.bytes += flow.byte_count;
                counted.flows += 1;
            }
        }
        Ok(hits)
    }

    async fn diff(&self, now: Now, node: Option<String>) -> Result<Vec<NodeDiff>, String> {
        let names: Vec<String> = match node {
            Some(node) if now.desired.nodes.contains_key(&node) => vec![node],
            Some(node) => {
                let known = now.desired.nodes.keys().map(String::as_str);
                let near = cluster::query::near(&node, known).join(", ");
                let near = if near.is_empty() {
                    near
                } else {
                    format!("; near is {near}")
                };
                return Err(format!("no node {node}{near}"));
            }
            None => now.desired.nodes.keys().cloned().collect(),
        };
        let mut basis = Arc::new(Basis::of(now).await?);
        let mut diffs = Vec::new();
        for node in names {
            diffs.push(self.diff_of(node, &mut basis).await?);
        }
        Ok(diffs)
    }

    async fn diff_of(&self, node: String, basis: &mut Arc<Basis>) -> Result<NodeDiff, String> {
        let unknown = |why: String| NodeDiff {
            node: node.clone(),
            unknown: Some(why),
            same: 0,
            differences: Vec::new(),
        };
        for _ in 0..ATTEMPTS {
            let wish = Wish {
                flows: FlowStatsRequest::default(),
                rest: true,
            };
            let reading = match timeout(READING, self.registry.read(&node, wish)).await {
                Ok(Ok(reading)) => reading,
                Ok(Err(why)) => return Ok(unknown(why)),
                Err(_) => return Ok(unknown("its switch does not answer".into())),
            };
            if reading.picture != basis.picture {
                // It was told of something newer, or is about to be.
                sleep(Duration::from_millis(100)).await;
                *basis = Arc::new(Basis::of(self.now().await?).await?);
                continue;
            }
            let (basis, name) = (basis.clone(), node.clone());
            return beside(move || {
                let mut set = basis.shared.clone();
                flows::own(
                    &basis.state,
                    &basis.network,
                    &name,
                    &reading.ports,
                    &mut set,
                );
                let (same, found) = session::diff(&reading, &set);
                Ok(NodeDiff {
                    node: name,
                    unknown: None,
                    same,
                    differences: found.into_iter().map(told).collect(),
                })
            })
            .await;
        }
        Ok(unknown("its switch is being changed; ask again".into()))
    }
}

/// What all nodes have alike, compiled once for many of them.
struct Basis {
    state: Arc<DesiredState>,
    picture: u64,
    network: Network,
    shared: FlowSet,
}

impl Basis {
    async fn of(now: Now) -> Result<Self, String> {
        beside(move || {
            let network = Network::new(&now.desired);
            let mut set = FlowSet::default();
            for piece in shared::pieces(&now.desired, &network) {
                shared::compile(&now.desired, &network, &piece, &mut set);
            }
            Ok(Basis {
                state: now.desired,
                picture: now.picture,
                network,
                shared: set,
            })
        })
        .await
    }
}

fn told(found: session::Difference) -> Difference {
    Difference {
        how: match found.how {
            Differs::Missing => How::Missing,
            Differs::Different => How::Different,
            Differs::Extra => How::Extra,
        },
        what: found.what.into(),
        object: found.object,
        intent: found.intent,
        desired: found.desired,
        held: found.held,
    }
}

/// Work that would hold up whoever shares our thread.
async fn beside<T: Send + 'static>(
    work: impl FnOnce() -> Result<T, String> + Send + 'static,
) -> Result<T, String> {
    let done = tokio::task::spawn_blocking(work).await;
    done.unwrap_or_else(|error| Err(format!("the answer could not be made: {error}")))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn who_stands_by_says_who_leads_and_a_slip_is_told_with_what_there_is() {
        let (askers, _seen) = mpsc::channel(1);
        let leader = "sluice-controller-7_00ff".to_string();
        let elections = 3;
        let (_sender, standing) = watch::channel(Standing::Standby { leader, elections });
        let desk = Desk::new(askers, Registry::default(), Some(standing));
        let Answer::Error(error) = desk.answer(br#"{"request":"nodes"}"#).await else {
            panic!();
        };
        let said = "this controller stands by; sluice-controller-7 leads: ask there";
        assert_eq!(error, said);
        let Answer::Error(error) = desk.answer(br#"{"request":"dance"}"#).await else {
            panic!();
        };
        assert!(error.contains("`dance`, expected one of `pods`"), "{error}");
    }
}
