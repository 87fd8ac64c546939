//! Listening, TLS, connections.

use std::sync::Arc;

use anyhow::Context as _;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use rustls::server::WebPkiClientVerifier;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio_rustls::TlsAcceptor;

use crate::auth::User;
use crate::certs::Certificates;
use crate::http::{Caller, handle};

/// TLS as the real server does it: certificates of clients are taken, not asked for.
pub(crate) fn acceptor(certificates: &Certificates) -> anyhow::Result<TlsAcceptor> {
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let mut roots = rustls::RootCertStore::empty();
    roots.add(certificates.authority.clone())?;
    let verifier = WebPkiClientVerifier::builder_with_provider(Arc::new(roots), provider.clone())
        .allow_unauthenticated()
        .build()?;
    let server = &certificates.server;
    let mut config = rustls::ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()?
        .with_client_cert_verifier(verifier)
        .with_single_cert(vec![server.certificate.clone()], server.key.clone_key())?;
    config.alpn_protocols = vec![b"http/1.1".to_vec()];
    Ok(TlsAcceptor::from(Arc::new(config)))
}

/// Accepts connections for as long as the server is there, except while it is down.
pub(crate) async fn serve(
    mut listener: TcpListener,
    tls: Option<TlsAcceptor>,
    caller: Caller,
) -> anyhow::Result<()> {
    let address = listener.local_addr()?;
    let mut up = caller.faults.up.subscribe();
    loop {
        tokio::select! {
            accepted = listener.accept() => {
                // One that is gone before it is accepted is nobody's trouble.
                if let Ok((stream, _)) = accepted {
                    tokio::spawn(connection(stream, tls.clone(), caller.clone()));
                }
            }
            went = goes_down(&mut up) => {
                went?;
                drop(listener);
                up.wait_for(|up| *up).await?;
                listener = TcpListener::bind(address).await?;
            }
        }
    }
}

async fn goes_down(up: &mut watch::Receiver<bool>) -> anyhow::Result<()> {
    up.wait_for(|up| !up)
        .await
        .context("the server is dropped")?;
    Ok(())
}

async fn connection(stream: TcpStream, tls: Option<TlsAcceptor>, mut caller: Caller) {
    let up = caller.faults.up.subscribe();
    let _best_effort = stream.set_nodelay(true);
    match tls {
        None => {
            caller.certified = Some(User::administrator());
            speak(stream, caller, up).await;
        }
        Some(acceptor) => {
            let Ok(stream) = acceptor.accept(stream).await else {
                return;
            };
            let presented = stream
                .get_ref()
                .1
                .peer_certificates()
                .and_then(|c| c.first());
            caller.certified = presented.and_then(|certificate| {
                let credentials = caller.credentials.lock().ok()?;
                credentials.certificates.get(certificate.as_ref()).cloned()
            });
            speak(stream, caller, up).await;
        }
    }
}

async fn speak<S>(stream: S, caller: Caller, mut up: watch::Receiver<bool>)
where
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    let service = service_fn(move |request| handle(caller.clone(), request));
    let connection = hyper::server::conn::http1::Builder::new()
        .timer(TokioTimer::new())
        .serve_connection(TokioIo::new(stream), service);
    // Clients see what went wrong; there is nobody here to tell.
    tokio::select! {
        _ = connection => {}
        _ = up.wait_for(|up| !up) => {}
    }
}
