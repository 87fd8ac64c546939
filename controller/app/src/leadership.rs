//! One of several replicas leads: it reads the cluster, writes to it and is the master of switches.
//! The others are connected to the switches and wait.

use std::hash::{BuildHasher as _, DefaultHasher, Hash as _, Hasher as _};
use std::os::linux::net::SocketAddrExt as _;
use std::os::unix::net::{SocketAddr, UnixListener};

use ::watch::{Connection, Elected, Elector, LeaseName, Standing, Terms, Writer};
use session::Role;
use tokio::sync::watch;
use tokio::task::JoinHandle;

/// Our part in an election.
#[derive(Debug)]
pub struct Leadership {
    elected: Elected,
    stop: watch::Sender<bool>,
    elector: JoinHandle<()>,
    /// Ours as long as we live.
    _name: Option<UnixListener>,
}

impl Leadership {
    /// Begins to take part; what we are to switches goes to `roles`.
    pub fn seek(connection: &Connection, lease: LeaseName, roles: watch::Sender<Role>) -> Self {
        let (identity, name) = identity(&lease);
        tracing::info!(
            "Lease {}/{} decides who leads; we are {identity}",
            lease.namespace,
            lease.name
        );
        let (elector, elected) = Elector::new(connection, lease, identity, Terms::default());
        let (stop, mut stopped) = watch::channel(false);
        let elector = tokio::spawn(elector.run(async move {
            // Whoever held the other end has gone, which is a stop too.
            let _ = stopped.wait_for(|stop| *stop).await;
        }));
        tokio::spawn(follow(elected.standing.clone(), roles));
        Leadership {
            elected,
            stop,
            elector,
            _name: name,
        }
    }

    /// Comes back when we lead, with the number of the election.
    pub async fn won(&self) -> u64 {
        let mut standing = self.elected.standing.clone();
        loop {
            match &*standing.borrow_and_update() {
                Standing::Leader(election) => return *election,
                Standing::Unsure(_) | Standing::Standby { .. } => {}
            }
            if standing.changed().await.is_err() {
                std::future::pending().await
            }
        }
    }

    /// Comes back when somebody else has led since the election, or leads.
    pub async fn lost(&self, election: u64) {
        let mut standing = self.elected.standing.clone();
        loop {
            match &*standing.borrow_and_update() {
                Standing::Leader(now) | Standing::Unsure(now) if *now == election => {}
                _ => return,
            }
            if standing.changed().await.is_err() {
                return;
            }
        }
    }

    /// A switch has had a master of this election.
    pub fn outranked(&self, election: u64) {
        self.elected.outranked(election);
    }

    /// Writes while we lead and are sure of it.
    pub async fn write(standing: watch::Receiver<Standing>, writer: Writer) {
        let mut standing = standing;
        loop {
            let leads = |standing: &Standing| matches!(standing, Standing::Leader(_));
            if standing.wait_for(leads).await.is_err() {
                return;
            }
            tokio::select! {
                () = writer.run() => {}
                _ = standing.wait_for(|standing| !leads(standing)) => {}
            }
        }
    }

    /// What we are; it changes.
    pub fn standing(&self) -> watch::Receiver<Standing> {
        self.elected.standing.clone()
    }

    /// Leaves the Lease to others; for when nothing of ours writes any more.
    pub async fn resign(self) {
        self.stop.send_replace(true);
        if self.elector.await.is_err() {
            tracing::debug!("the election ended before it was left");
        }
    }
}

/// Tells switches what we are. One who is unsure serves them on: a later master outranks it there.
async fn follow(mut standing: watch::Receiver<Standing>, roles: watch::Sender<Role>) {
    loop {
        let role = match &*standing.borrow_and_update() {
            Standing::Leader(election) | Standing::Unsure(election) => Role::Master(*election),
            Standing::Standby { elections, .. } => Role::Slave(*elections),
        };
        roles.send_if_modified(|before| std::mem::replace(before, role) != role);
        if standing.changed().await.is_err() {
            // The election is over, not what we are: whoever comes next outranks us.
            std::future::pending::<()>().await;
        }
    }
}

/// A name that no other process has: the host's, and a part that says more.
///
/// Where it can be had, that is the network namespace of this boot of the host, so that a process
/// that starts anew in the place of one that was killed is known by its name and need not wait for
/// its Lease to run out. A socket in that namespace, which the kernel takes back from whoever dies,
/// sees to it that only one process has the name; another on the same host has a random one.
fn identity(lease: &LeaseName) -> (String, Option<UnixListener>) {
    let read = |path: &str| std::fs::read_to_string(path).unwrap_or_default();
    let host = read("/proc/sys/kernel/hostname");
    let place = std::fs::read_link("/proc/self/ns/net").ok();
    let boot = read("/proc/sys/kernel/random/boot_id");
    let socket = format!("sluice-controller {}/{}", lease.namespace, lease.name);
    let name = SocketAddr::from_abstract_name(socket);
    let name = name.and_then(|name| UnixListener::bind_addr(&name)).ok();
    let number = match (&name, place) {
        (Some(_), Some(place)) if !boot.is_empty() => {
            let mut hasher = DefaultHasher::new();
            (boot, place).hash(&mut hasher);
            hasher.finish()
        }
        _ => std::collections::hash_map::RandomState::new().hash_one(std::process::id()),
    };
    (format!("{}_{number:016x}", host.trim()), name)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_is_one_process_s_alone_and_comes_back_when_that_is_gone() {
        let lease = LeaseName {
            namespace: "tests".into(),
            name: format!("names-{}", std::process::id()),
        };
        let (first, socket) = identity(&lease);
        assert!(socket.is_some());
        let (second, none) = identity(&lease);
        assert!(none.is_none());
        assert_ne!(first, second, "two on one host");
        drop(socket);
        let (third, _socket) = identity(&lease);
        assert_eq!(first, third);
    }
}
