//! Targets: listening, connecting, trying again; and what happens by the clock.

use std::io;
use std::net::{IpAddr, Ipv6Addr, SocketAddr};
use std::rc::Rc;
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpListener, TcpStream, UnixListener, UnixStream};
use tokio::time::{Instant, sleep, timeout};

use crate::session::{self, Patience};
use crate::{Switch, Target, events, handle, socket};

/// First and longest pause between attempts to connect.
const BACKOFF: (Duration, Duration) = (Duration::from_secs(1), Duration::from_secs(8));
/// Time for a connection to be made.
const CONNECT_TIME: Duration = Duration::from_secs(5);
/// Most connections at a time.
const MOST_SESSIONS: usize = 512;
/// How often flows' timeouts are looked at.
const EXPIRY_TICK: Duration = Duration::from_millis(100);
/// How often it is looked whether ports have changed.
const PORT_TICK: Duration = Duration::from_millis(250);

/// How often it is read how busy workers are.
const BUSY_TICK: Duration = Duration::from_secs(1);

/// A target that cannot be listened on.
#[derive(Debug, thiserror::Error)]
#[error("cannot listen on {target}: {cause}{hint}")]
pub struct ListenError {
    target: Target,
    cause: io::Error,
    hint: &'static str,
}

impl ListenError {
    pub(crate) fn new(target: &Target, source: io::Error) -> Self {
        ListenError {
            target: target.clone(),
            hint: match source.kind() {
                io::ErrorKind::AddrInUse => "; choose another port or path, or stop who has it",
                io::ErrorKind::PermissionDenied => "; run as root or choose another port or path",
                _ => "",
            },
            cause: source,
        }
    }
}

/// Listens on a target, or connects to it, again and again; until the runtime ends. Needs a
/// `LocalSet`.
///
/// # Errors
/// When a passive target cannot be listened on.
pub async fn serve(switch: &Rc<Switch>, target: &Target) -> Result<(), ListenError> {
    let failed = |source| ListenError::new(target, source);
    let switch = switch.clone();
    match target {
        Target::PassiveTcp { host, port } => {
            let listener = listen_tcp(*host, *port).await.map_err(failed)?;
            state(&switch, target, "listening");
            tokio::task::spawn_local(accept_tcp(switch, target.clone(), listener));
        }
        Target::PassiveUnix(path) => {
            let listener = socket::listen(path).map_err(failed)?;
            state(&switch, target, "listening");
            tokio::task::spawn_local(accept_unix(switch, target.clone(), listener));
        }
        Target::Tcp { .. } | Target::Unix(_) => {
            tokio::task::spawn_local(keep_connected(switch, target.clone()));
        }
    }
    Ok(())
}

fn state(switch: &Switch, target: &Target, state: &str) {
    switch
        .targets
        .borrow_mut()
        .insert(target.to_string(), state.to_owned());
}

async fn listen_tcp(host: Option<IpAddr>, port: u16) -> io::Result<TcpListener> {
    // The unspecified IPv6 address takes IPv4 connections too, where the system has IPv6.
    let any = SocketAddr::from((Ipv6Addr::UNSPECIFIED, port));
    let listener = match host {
        Some(host) => TcpListener::bind((host, port)).await?,
        None => match TcpListener::bind(any).await {
            Ok(listener) => listener,
            Err(error) if error.kind() == io::ErrorKind::AddrInUse => return Err(error),
            Err(_) => TcpListener::bind(("0.0.0.0", port)).await?,
        },
    };
    if !host.is_some_and(|host| host.is_loopback()) {
        tracing::warn!("ptcp:{port}: reachable from other machines, and not encrypted");
    }
    Ok(listener)
}

async fn accept_tcp(switch: Rc<Switch>, target: Target, listener: TcpListener) {
    loop {
        match listener.accept().await {
            Ok((stream, peer)) => {
                // Replies are small and waited for.
                drop(stream.set_nodelay(true));
                accepted(&switch, format!("tcp:{peer}"), stream);
            }
            Err(error) => cannot_accept(&target, &error).await,
        }
    }
}

async fn accept_unix(switch: Rc<Switch>, target: Target, listener: UnixListener) {
    loop {
        match listener.accept().await {
            Ok((stream, _)) => accepted(&switch, target.to_string(), stream),
            Err(error) => cannot_accept(&target, &error).await,
        }
    }
}

/// Out of file descriptors, mostly: waits for better times.
async fn cannot_accept(target: &Target, error: &io::Error) {
    tracing::warn!("{target}: cannot accept a connection: {error}");
    sleep(Duration::from_millis(200)).await;
}

fn accepted(
    switch: &Rc<Switch>,
    peer: String,
    stream: impl AsyncRead + AsyncWrite + Unpin + 'static,
) {
    if switch.sessions.borrow().len() >= MOST_SESSIONS {
        tracing::warn!("{peer}: refused, there are {MOST_SESSIONS} connections already");
        return;
    }
    let switch = switch.clone();
    tokio::task::spawn_local(async move {
        run(&switch, peer, stream, Patience::PASSIVE).await;
    });
}

async fn run(
    switch: &Rc<Switch>,
    peer: String,
    stream: impl AsyncRead + AsyncWrite + Unpin,
    patience: Patience,
) -> String {
    let session = switch.open_session(peer);
    let why = session::serve(switch, &session, stream, patience).await;
    switch.close_session(&session);
    tracing::debug!("{}: ended: {why}", session.peer);
    why
}

async fn keep_connected(switch: Rc<Switch>, target: Target) {
    let (first, longest) = BACKOFF;
    let mut pause = first;
    let mut said = String::new();
    loop {
        let began = Instant::now();
        let why = match connect(&target).await {
            Ok(stream) => {
                tracing::info!("{target}: connected");
                said.clear();
                state(&switch, &target, "connected");
                let why = run_any(&switch, &target, stream).await;
                tracing::warn!("{target}: connection ended: {why}");
                why
            }
            Err(error) => error.to_string(),
        };
        state(&switch, &target, &format!("trying: {why}"));
        // The same reason is told once, not every few seconds.
        if why != said {
            tracing::warn!("{target}: {why}; trying again");
            said = why;
        }
        pause = match began.elapsed() > longest {
            true => first,
            false => (pause * 2).min(longest),
        };
        sleep(pause).await;
    }
}

enum Stream {
    Tcp(TcpStream),
    Unix(UnixStream),
}

async fn connect(target: &Target) -> io::Result<Stream> {
    let connecting = async {
        match target {
            Target::Tcp { host, port } => {
                let stream = TcpStream::connect((host.as_str(), *port)).await?;
                drop(stream.set_nodelay(true));
                Ok(Stream::Tcp(stream))
            }
            Target::Unix(path) | Target::PassiveUnix(path) => {
                Ok(Stream::Unix(UnixStream::connect(path).await?))
            }
            Target::PassiveTcp { .. } => Err(io::Error::other("is listened on")),
        }
    };
    let late = || io::Error::new(io::ErrorKind::TimedOut, "no connection within 5 s");
    timeout(CONNECT_TIME, connecting)
        .await
        .unwrap_or_else(|_| Err(late()))
}

async fn run_any(switch: &Rc<Switch>, target: &Target, stream: Stream) -> String {
    let peer = target.to_string();
    match stream {
        Stream::Tcp(stream) => run(switch, peer, stream, Patience::ACTIVE).await,
        Stream::Unix(stream) => run(switch, peer, stream, Patience::ACTIVE).await,
    }
}

/// What happens by the clock: timeouts of flows, changes of ports, packets for controllers,
/// modifications that nobody published. Does not return.
pub async fn run_timers(switch: Rc<Switch>) {
    let flows = async {
        loop {
            sleep(EXPIRY_TICK).await;
            expire_flows(&switch).await;
        }
    };
    let ports = async {
        loop {
            sleep(PORT_TICK).await;
            switch.check_ports();
        }
    };
    let load = async {
        loop {
            sleep(BUSY_TICK).await;
            switch.read_busy();
            handle::bundle::expire(&switch);
            // Finds a worker that has ended, see `Switch::worker_ended`.
            switch.barrier().await;
        }
    };
    tokio::join!(flows, ports, load, forward_packets(&switch));
}

async fn expire_flows(switch: &Rc<Switch>) {
    switch.publish_if_overdue();
    let now = switch.engine.now();
    let next = switch.tables.borrow().next_expiry();
    let due = next.is_some_and(|at| at <= now);
    if !due && !switch.has_removed() {
        return;
    }
    // With the workers' counts in, idle flows can be told from busy ones.
    switch.settle().await;
    if due {
        let mut gone = switch.tables.borrow_mut().expire(switch.engine.now());
        if !gone.is_empty() {
            switch.note(None, &mut gone);
            switch.settle().await;
        }
    }
}

async fn forward_packets(switch: &Switch) {
    let queue = switch.engine.packet_ins();
    let ready = std::sync::Arc::new(tokio::sync::Notify::new());
    let wake = ready.clone();
    queue.on_push(move || wake.notify_one());
    loop {
        while let Some(packet) = queue.pop() {
            events::packet_in(switch, &packet);
            // A flood of packets must not keep requests waiting.
            tokio::task::consume_budget().await;
        }
        ready.notified().await;
    }
}
