//! `/metrics` over HTTP.

use std::convert::Infallible;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use agent::Switch;
use anyhow::{Context, Result};
use http_body_util::Full;
use hyper::body::{Bytes, Incoming};
use hyper::header::CONTENT_TYPE;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper::{Method, Request, Response, StatusCode};
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Semaphore;

/// Time for a request's header.
const HEADER_TIME: Duration = Duration::from_secs(5);
/// Most connections at a time.
const MOST: usize = 32;
/// Prometheus' text format.
const TEXT: &str = "text/plain; version=0.0.4; charset=utf-8";

/// Serves metrics until the runtime ends. Needs a `LocalSet`.
pub async fn serve(switch: &Rc<Switch>, address: &str) -> Result<()> {
    let listener = TcpListener::bind(address).await.with_context(|| {
        format!("cannot serve metrics on {address}; choose another with --metrics, or none")
    })?;
    let switch = switch.clone();
    let room = Arc::new(Semaphore::new(MOST));
    tokio::task::spawn_local(async move {
        loop {
            // Closed never, so there is always a place some time.
            let place = room.clone().acquire_owned().await;
            match listener.accept().await {
                Ok((stream, _)) => {
                    let switch = switch.clone();
                    tokio::task::spawn_local(async move {
                        converse(switch, stream).await;
                        drop(place);
                    });
                }
                Err(error) => {
                    tracing::warn!("metrics: cannot accept a connection: {error}");
                    tokio::time::sleep(Duration::from_millis(200)).await;
                }
            }
        }
    });
    Ok(())
}

async fn converse(switch: Rc<Switch>, stream: TcpStream) {
    let service = service_fn(move |request: Request<Incoming>| {
        let switch = switch.clone();
        async move { Ok::<_, Infallible>(answer(&switch, &request).await) }
    });
    let served = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(HEADER_TIME)
        .serve_connection(TokioIo::new(stream), service)
        .await;
    if let Err(error) = served {
        tracing::debug!("metrics: {error}");
    }
}

async fn answer(switch: &Switch, request: &Request<Incoming>) -> Response<Full<Bytes>> {
    let plain = |status: StatusCode, text: String| {
        let mut response = Response::new(Full::new(Bytes::from(text)));
        *response.status_mut() = status;
        let kind = hyper::header::HeaderValue::from_static(TEXT);
        response.headers_mut().insert(CONTENT_TYPE, kind);
        response
    };
    match (request.method(), request.uri().path()) {
        (&Method::GET, "/metrics") => {
            // Exact counters, not those of the last time somebody asked.
            switch.settle().await;
            match switch.metrics() {
                Ok(page) => plain(StatusCode::OK, page),
                Err(error) => plain(StatusCode::INTERNAL_SERVER_ERROR, format!("{error}\n")),
            }
        }
        (&Method::GET, _) => plain(StatusCode::NOT_FOUND, "see /metrics\n".into()),
        _ => plain(StatusCode::METHOD_NOT_ALLOWED, "GET only\n".into()),
    }
}
