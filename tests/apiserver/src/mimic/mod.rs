//! Stand-ins for what is not the API server's own work, for tests that need it done.

mod endpoints;
mod kubelet;
mod slices;

use std::sync::{Arc, Mutex, PoisonError, Weak};
use std::time::Duration;

use crate::store::Store;

/// Keeps EndpointSlices as kube-controller-manager does, until the store is gone.
pub(crate) async fn endpoints(store: Weak<Mutex<Store>>) {
    follow(store, endpoints::reconcile).await;
}

/// Reports Pods as kubelets do, until the store is gone.
pub(crate) async fn kubelet(store: Weak<Mutex<Store>>) {
    follow(store, kubelet::reconcile).await;
}

/// Calls `act` after every change; it gets the revision that it has seen, and returns when it wants
/// to be called again though nothing changed.
async fn follow(store: Weak<Mutex<Store>>, act: fn(&mut Store, u64) -> Option<Duration>) {
    let Some(mut changed) = upgrade(&store).map(|store| lock(&store).subscribe()) else {
        return;
    };
    let mut seen = 0;
    loop {
        changed.borrow_and_update();
        let Some(store) = upgrade(&store) else {
            return;
        };
        let again = {
            let mut store = lock(&store);
            let before = store.revision();
            let again = act(&mut store, seen);
            seen = before;
            again
        };
        drop(store);
        let quiet = again.unwrap_or(Duration::from_secs(3600));
        if let Ok(Err(_)) = tokio::time::timeout(quiet, changed.changed()).await {
            return;
        }
    }
}

fn upgrade(store: &Weak<Mutex<Store>>) -> Option<Arc<Mutex<Store>>> {
    store.upgrade()
}

fn lock(store: &Mutex<Store>) -> std::sync::MutexGuard<'_, Store> {
    store.lock().unwrap_or_else(PoisonError::into_inner)
}
