//! The way to an API server: where it is, who we are, and one request at a time with an end to
//! waiting.

use std::path::Path;
use std::time::Duration;

use kube::Client;
use kube::config::{KubeConfigOptions, Kubeconfig};
use serde_json::Value;
use tokio::time::timeout;

/// A request that is not answered is given up after this long.
const PATIENCE: Duration = Duration::from_secs(30);

/// For the handshake with the server.
const CONNECT: Duration = Duration::from_secs(10);

/// An API server, and who we are to it. Nothing is sent before the first request.
#[derive(Clone)]
pub struct Connection {
    client: Client,
    url: String,
}

/// There is no way to an API server.
#[derive(Debug, thiserror::Error)]
pub enum ConnectError {
    /// The kubeconfig cannot be used.
    #[error("--kubeconfig {path}: {why}")]
    Kubeconfig {
        /// The file.
        path: String,
        /// What is wrong with it.
        why: String,
    },
    /// There is no kubeconfig, and this is no pod with a service account.
    #[error("--source kube: {0}; run as a pod with a service account, or name a --kubeconfig")]
    NotInCluster(String),
    /// Keys or certificates do not fit.
    #[error("--source kube: {0}")]
    Client(String),
}

/// A request that failed.
#[derive(Debug, thiserror::Error)]
pub(crate) enum RequestError {
    /// The server refused.
    #[error("{message} ({code})")]
    Refused { code: u16, message: String },
    /// There was no answer in time.
    #[error("no answer within {} s", .0.as_secs())]
    Silent(Duration),
    /// The connection failed.
    #[error("{0}")]
    Broken(String),
}

impl RequestError {
    /// The HTTP status, if the server gave one.
    pub(crate) fn code(&self) -> Option<u16> {
        match self {
            RequestError::Refused { code, .. } => Some(*code),
            _ => None,
        }
    }
}

impl From<kube::Error> for RequestError {
    fn from(error: kube::Error) -> Self {
        match error {
            kube::Error::Api(status) => RequestError::Refused {
                code: status.code,
                message: match status.message.trim() {
                    "" => status.reason.clone(),
                    message => message.to_string(),
                },
            },
            other => RequestError::Broken(with_causes(&other)),
        }
    }
}

/// The error with what caused it, which is where the reason is.
fn with_causes(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(next) = cause {
        let next_text = next.to_string();
        if !text.contains(&next_text) {
            text += &format!(": {next_text}");
        }
        cause = next.source();
    }
    text.replace('\n', " ")
}

impl Connection {
    /// By a kubeconfig, or, if none is named, by the service account of the pod we are in.
    ///
    /// # Errors
    /// Names the file, or what is missing.
    pub async fn open(kubeconfig: Option<&Path>) -> Result<Self, ConnectError> {
        let mut config = match kubeconfig {
            Some(path) => {
                let wrong = |why: &dyn std::error::Error| ConnectError::Kubeconfig {
                    path: path.display().to_string(),
                    why: with_causes(why),
                };
                let kubeconfig = Kubeconfig::read_from(path).map_err(|e| wrong(&e))?;
                kube::Config::from_custom_kubeconfig(kubeconfig, &KubeConfigOptions::default())
                    .await
                    .map_err(|e| wrong(&e))?
            }
            None => kube::Config::incluster()
                .map_err(|e| ConnectError::NotInCluster(with_causes(&e)))?,
        };
        config.connect_timeout = Some(CONNECT);
        // Who asks decides what to do about a refusal.
        config.default_retry = false;
        let url = config.cluster_url.to_string();
        let client = Client::try_from(config).map_err(|e| ConnectError::Client(with_causes(&e)))?;
        Ok(Connection {
            client,
            url: url.trim_end_matches('/').to_string(),
        })
    }

    /// The client, for what needs more than this.
    pub fn client(&self) -> &Client {
        &self.client
    }

    /// Where the server is.
    pub fn url(&self) -> &str {
        &self.url
    }

    /// Sends a request and reads the whole answer.
    pub(crate) async fn ask(&self, request: http::Request<Vec<u8>>) -> Result<Value, RequestError> {
        match timeout(PATIENCE, self.client.request::<Value>(request)).await {
            Ok(answer) => Ok(answer?),
            Err(_) => Err(RequestError::Silent(PATIENCE)),
        }
    }
}

impl std::fmt::Debug for Connection {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Connection to {}", self.url)
    }
}
