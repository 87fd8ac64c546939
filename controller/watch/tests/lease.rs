//! Leader election against an API server that has its troubles.

use std::time::Duration;

use ::watch::{Connection, Elected, Elector, LeaseName, Standing, Terms};
use apiserver::{ApiServer, Fault, On, Options};
use tokio::sync::{oneshot, watch as channel};
use tokio::task::JoinHandle;

const QUICK: Terms = Terms {
    duration: Duration::from_secs(2),
    renew_within: Duration::from_millis(1200),
    retry: Duration::from_millis(100),
};

struct Replica {
    elected: Elected,
    stop: Option<oneshot::Sender<()>>,
    task: JoinHandle<()>,
}

impl Replica {
    async fn start(server: &ApiServer, name: &str) -> Replica {
        let connection = Connection::open(Some(server.kubeconfig())).await.unwrap();
        let lease = LeaseName {
            namespace: "kube-system".into(),
            name: "sluice-controller".into(),
        };
        let (elector, elected) = Elector::new(&connection, lease, name.into(), QUICK);
        let (stop, stopped) = oneshot::channel::<()>();
        let task = tokio::spawn(elector.run(async move {
            let _ = stopped.await;
        }));
        Replica {
            elected,
            stop: Some(stop),
            task,
        }
    }

    async fn until(&self, wanted: impl Fn(&Standing) -> bool) -> Standing {
        let mut standing: channel::Receiver<Standing> = self.elected.standing.clone();
        let found = tokio::time::timeout(Duration::from_secs(20), standing.wait_for(|s| wanted(s)));
        found.await.expect("it never came to that").unwrap().clone()
    }

    async fn leads(&self) -> u64 {
        match self.until(|s| matches!(s, Standing::Leader(_))).await {
            Standing::Leader(election) => election,
            other => panic!("{other:?}"),
        }
    }

    fn leads_now(&self) -> bool {
        matches!(*self.elected.standing.borrow(), Standing::Leader(_))
    }
}

fn holder(server: &ApiServer) -> String {
    let lease = server
        .get("Lease", "kube-system", "sluice-controller")
        .unwrap();
    lease["spec"]["holderIdentity"].as_str().unwrap().to_owned()
}

#[tokio::test]
async fn one_leads_at_a_time_and_the_next_one_comes_when_it_goes_or_dies() {
    let server = ApiServer::start(Options::default()).await.unwrap();
    let mut a = Replica::start(&server, "a").await;
    assert_eq!(a.leads().await, 0);
    let b = Replica::start(&server, "b").await;
    b.until(|s| matches!(s, Standing::Standby { leader, .. } if leader == "a"))
        .await;
    // Some renewals later it is the same one.
    server
        .eventually(5, |s| s.faults().count("update", "leases") > 5)
        .await;
    assert!(a.leads_now() && !b.leads_now());
    // It goes and says so.
    a.stop.take().unwrap().send(()).unwrap();
    a.task.await.unwrap();
    assert_eq!(b.leads().await, 1);
    assert_eq!(holder(&server), "b");
    // It dies.
    let c = Replica::start(&server, "c").await;
    c.until(|s| matches!(s, Standing::Standby { leader, .. } if leader == "b"))
        .await;
    b.task.abort();
    assert_eq!(c.leads().await, 2);
}

#[tokio::test]
async fn a_leader_without_a_server_is_unsure_and_leads_on_when_the_server_is_back() {
    let server = ApiServer::start(Options::default()).await.unwrap();
    let a = Replica::start(&server, "a").await;
    a.leads().await;
    server.faults().down();
    assert_eq!(
        a.until(|s| matches!(s, Standing::Unsure(_))).await,
        Standing::Unsure(0)
    );
    server.faults().up();
    assert_eq!(a.leads().await, 0);
    // Refusals and lost answers for a while change nothing.
    server
        .faults()
        .next(3, On::verb("update", "leases"), Fault::Status(500));
    server
        .faults()
        .next(3, On::verb("update", "leases"), Fault::DropAfter);
    server
        .faults()
        .next(3, On::verb("get", "leases"), Fault::Drop);
    let before = server.faults().count("update", "leases");
    server
        .eventually(5, |s| s.faults().count("update", "leases") > before + 8)
        .await;
    assert_eq!(a.leads().await, 0);
}

#[tokio::test]
async fn a_leader_whose_lease_was_deleted_goes_past_every_election_that_switches_have_seen() {
    let server = ApiServer::start(Options::default()).await.unwrap();
    let a = Replica::start(&server, "a").await;
    a.leads().await;
    server
        .delete("Lease", "kube-system", "sluice-controller")
        .unwrap();
    a.elected.outranked(41);
    let later = a
        .until(|s| matches!(s, Standing::Leader(n) if *n > 0))
        .await;
    assert_eq!(later, Standing::Leader(42));
}
