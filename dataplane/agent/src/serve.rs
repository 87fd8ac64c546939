//! Targets: listening, and connecting again and again.

use std::cell::RefCell;
use std::rc::Rc;
use std::time::Duration;

use tokio::time::{Instant, sleep, timeout_at};
use transport::{Backoff, CONNECT_TIME, Incoming, ListenError, Listener, Origin, Target, connect};

use crate::admission::{Admission, Place, Refusal};
use crate::converse::converse;
use crate::links::Primary;
use crate::{Switch, standalone};

/// Least silence after which somebody on a Unix socket is asked for a sign of life: only to find
/// those that hang, since the system tells of those that end.
const LOCAL_PROBE: Duration = Duration::from_secs(60);

/// Listens on a target, or connects to it, again and again; until the runtime ends. Needs a
/// `LocalSet`.
///
/// # Errors
/// When a passive target cannot be listened on, or certificates are needed and not given.
pub async fn serve(switch: &Rc<Switch>, target: &Target) -> Result<(), ListenError> {
    let options = switch.options();
    let switch = switch.clone();
    if target.is_passive() {
        let listener = Listener::bind(target, options.tls.as_ref()).await?;
        // With the real port, where any was asked for.
        let target = listener.local().unwrap_or_else(|_| target.clone());
        let admission = switch.links.listen(&target);
        tokio::task::spawn_local(accept(switch, target, listener, admission));
    } else {
        if target.is_tls() && options.tls.is_none() {
            return Err(ListenError::no_certificates(target));
        }
        let primary = switch.links.primary(target);
        tokio::task::spawn_local(keep_connected(switch, target.clone(), primary));
    }
    Ok(())
}

async fn accept(
    switch: Rc<Switch>,
    target: Target,
    listener: Listener,
    admission: Rc<RefCell<Admission>>,
) {
    loop {
        match listener.accept().await {
            Ok(incoming) => admit(&switch, &target, &admission, incoming),
            Err(error) => {
                // Out of file descriptors, mostly: waits for better times.
                tracing::warn!("{target}: cannot accept a connection: {error}");
                sleep(Duration::from_millis(200)).await;
            }
        }
        // A flood of connections must not keep those that are there waiting.
        tokio::task::consume_budget().await;
    }
}

fn admit(
    switch: &Rc<Switch>,
    target: &Target,
    admission: &Rc<RefCell<Admission>>,
    incoming: Incoming,
) {
    let options = switch.options();
    let place = Admission::enter(
        admission,
        incoming.origin(),
        options.per_listener,
        options.per_peer,
    );
    match place {
        Ok(place) => {
            let task = welcome(switch.clone(), target.clone(), incoming, place);
            tokio::task::spawn_local(task);
        }
        Err(why) => {
            let limit = match why {
                Refusal::Peer => format!("{} connections from there", options.per_peer),
                _ => format!("{} connections", options.per_listener),
            };
            refuse(
                switch,
                target,
                why,
                &format!("{}: refused, there are {limit} already", incoming.peer()),
            );
        }
    }
}

/// Counts; says so for the 1st, 2nd, 4th, 8th ... time, so that a flood does not fill the log.
fn refuse(switch: &Switch, target: &Target, why: Refusal, text: &str) {
    let count = switch.links.refuse(target, why);
    if count.is_power_of_two() {
        tracing::warn!("{target}: {text} ({count} so far)");
    }
}

async fn welcome(switch: Rc<Switch>, target: Target, incoming: Incoming, _place: Place) {
    let options = switch.options();
    let peer = incoming.peer().to_owned();
    let hello_by = Instant::now() + options.handshake;
    let probe = match incoming.origin() {
        Origin::User(_) if !options.inactivity_probe.is_zero() => {
            options.inactivity_probe.max(LOCAL_PROBE)
        }
        _ => options.inactivity_probe,
    };
    let stream = match timeout_at(hello_by, incoming.open()).await {
        Ok(Ok(stream)) => stream,
        Ok(Err(why)) => {
            return refuse(
                &switch,
                &target,
                Refusal::Handshake,
                &format!("{peer}: {why}"),
            );
        }
        Err(_) => {
            let why = format!("{peer}: TLS was not agreed on in time");
            return refuse(&switch, &target, Refusal::Handshake, &why);
        }
    };
    let session = switch.open_session(peer, None);
    let why = converse(&switch, &session, stream, probe, hello_by).await;
    switch.close_session(&session);
    if session.version.get().is_none() {
        refuse(
            &switch,
            &target,
            Refusal::Handshake,
            &format!("{}: {why}", session.peer),
        );
    }
    tracing::debug!("{}: ended: {why}", session.peer);
}

async fn keep_connected(switch: Rc<Switch>, target: Target, primary: Rc<Primary>) {
    let options = switch.options();
    let mut backoff = Backoff::new(options.max_backoff);
    let mut said = String::new();
    loop {
        primary.attempts.set(primary.attempts.get() + 1);
        let limit = options.max_backoff.max(CONNECT_TIME);
        let (why, held) = match connect(&target, options.tls.as_ref(), limit).await {
            Ok(stream) => {
                tracing::info!("{target}: connected");
                said.clear();
                let began = Instant::now();
                let session = switch.open_session(target.to_string(), Some(primary.clone()));
                let hello_by = began + options.handshake;
                let probe = options.inactivity_probe;
                let why = converse(&switch, &session, stream, probe, hello_by).await;
                switch.close_session(&session);
                primary.connected.set(false);
                // From here on the time without a controller counts.
                standalone::review(&switch);
                // A controller that spoke OpenFlow is there: it may only be restarting.
                (why, session.version.get().is_some())
            }
            Err(error) => (error.to_string(), false),
        };
        // The same reason is told once, not every few seconds.
        if why != said {
            tracing::warn!("{target}: {why}; trying again");
            said.clone_from(&why);
        }
        *primary.why.borrow_mut() = why;
        if held {
            backoff.reset();
        }
        sleep(backoff.pause()).await;
    }
}
