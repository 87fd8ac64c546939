//! A Kubernetes API server for tests: one process, no etcd, faults on demand.
//!
//! It speaks the protocol as the real kube-apiserver does where a client can see it: lists in
//! pages, watches with bookmarks and 410, conflicts, server-side apply with managed fields,
//! subresources, finalizers, CustomResourceDefinitions with structural schemas, discovery, RBAC.
//! What the real one leaves to controllers is not there, unless [`Options`] asks for a stand-in.
//!
//! ```no_run
//! # async fn example() -> anyhow::Result<()> {
//! let server = apiserver::ApiServer::start(apiserver::Options::default()).await?;
//! server.apply("{apiVersion: v1, kind: Namespace, metadata: {name: bank}}")?;
//! server.faults().cut_watches();
//! # Ok(())
//! # }
//! ```

mod auth;
mod certs;
mod crd;
mod faults;
mod fields;
mod http;
mod inside;
mod kinds;
mod mimic;
mod options;
mod patch;
mod resource;
mod schema;
mod selector;
mod server;
mod status;
mod store;
mod typed;

use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};

use anyhow::Context as _;
use serde_json::json;
use tokio::net::TcpListener;
use tokio::task::JoinHandle;

pub use auth::User;
pub use faults::{Asked, Fault, Faults, On};
pub use options::Options;
pub use status::Refusal;

use crate::auth::Credentials;
use crate::certs::Certificates;
use crate::http::Caller;
use crate::store::Store;

/// A running server; it ends when this is dropped.
#[derive(Debug)]
pub struct ApiServer {
    caller: Caller,
    url: String,
    authority_pem: Option<String>,
    kubeconfig: PathBuf,
    directory: Directory,
    tasks: Vec<JoinHandle<()>>,
}

#[derive(Debug)]
struct Directory {
    path: PathBuf,
    temporary: bool,
}

impl ApiServer {
    /// Starts a server on the current tokio runtime.
    ///
    /// # Errors
    ///
    /// The address cannot be listened at, or the folder not written.
    pub async fn start(options: Options) -> anyhow::Result<ApiServer> {
        let listener = TcpListener::bind(&options.listen)
            .await
            .with_context(|| format!("listening at {}", options.listen))?;
        let address = listener.local_addr()?;
        let certificates = options
            .tls
            .then(|| Certificates::generate(&address.ip().to_string()))
            .transpose()?;
        let directory = directory(&options, address.port())?;
        let (endpoints, kubelet) = (options.endpoints, options.kubelet);
        let mut credentials = Credentials::default();
        let scheme = if options.tls { "https" } else { "http" };
        let url = format!("{scheme}://{address}");
        if let Some(certificates) = &certificates {
            credentials.certificates.insert(
                certificates.client.certificate.to_vec(),
                User::administrator(),
            );
        }
        let caller = Caller {
            store: Arc::new(Mutex::new(Store::new(options))),
            credentials: Arc::new(Mutex::new(credentials)),
            faults: Faults::new(),
            address: address.to_string(),
            certified: None,
        };
        let tls = certificates.as_ref().map(server::acceptor).transpose()?;
        let serving = server::serve(listener, tls, caller.clone());
        let mut tasks = vec![tokio::spawn(async move {
            if let Err(error) = serving.await {
                tracing::debug!("the API server ends: {error:#}");
            }
        })];
        let weak = Arc::downgrade(&caller.store);
        if endpoints {
            tasks.push(tokio::spawn(mimic::endpoints(weak.clone())));
        }
        if kubelet {
            tasks.push(tokio::spawn(mimic::kubelet(weak)));
        }
        let mut server = ApiServer {
            caller,
            url,
            authority_pem: certificates.as_ref().map(|c| c.authority_pem.clone()),
            kubeconfig: PathBuf::new(),
            directory,
            tasks,
        };
        server.kubeconfig = server.kubeconfig_of("admin", User::administrator())?;
        if let Some(certificates) = &certificates {
            let admin = json!({
                "client-certificate-data": base64(&certificates.client.certificate_pem),
                "client-key-data": base64(&certificates.client.key_pem),
            });
            server.write_kubeconfig("admin-certificate", &admin)?;
        }
        Ok(server)
    }

    /// Where it listens: `https://127.0.0.1:34567`.
    pub fn url(&self) -> &str {
        &self.url
    }

    /// The administrator's kubeconfig, with a bearer token. Next to it, `admin-certificate.kubeconfig` has a
    /// client certificate instead.
    pub fn kubeconfig(&self) -> &Path {
        &self.kubeconfig
    }

    /// Writes a kubeconfig for another user, with a token of its own.
    ///
    /// # Errors
    ///
    /// The file cannot be written.
    pub fn kubeconfig_of(&self, file: &str, user: User) -> anyhow::Result<PathBuf> {
        let token = http::token_for(&self.caller, user);
        self.write_kubeconfig(file, &json!({"token": token}))
    }

    fn write_kubeconfig(&self, file: &str, user: &serde_json::Value) -> anyhow::Result<PathBuf> {
        let mut cluster = json!({"server": self.url});
        if let Some(pem) = &self.authority_pem {
            cluster["certificate-authority-data"] = json!(base64(pem));
        }
        let config = json!({
            "apiVersion": "v1", "kind": "Config", "current-context": "test",
            "clusters": [{"name": "test", "cluster": cluster}],
            "users": [{"name": "test", "user": user}],
            "contexts": [{"name": "test", "context": {"cluster": "test", "user": "test"}}],
        });
        let path = self.directory.path.join(format!("{file}.kubeconfig"));
        // JSON is YAML.
        std::fs::write(&path, serde_json::to_vec_pretty(&config)?)
            .with_context(|| format!("writing {}", path.display()))?;
        Ok(path)
    }

    /// What goes wrong on purpose, and the log of requests.
    pub fn faults(&self) -> &Faults {
        &self.caller.faults
    }

    /// Forgets every change so far: watches that begin at an older version get 410.
    pub fn compact(&self) {
        self.caller.store().compact();
    }
}

impl Drop for ApiServer {
    fn drop(&mut self) {
        self.caller.faults.up.send_replace(false);
        for task in &self.tasks {
            task.abort();
        }
        if self.directory.temporary {
            let _best_effort = std::fs::remove_dir_all(&self.directory.path);
        }
    }
}

fn directory(options: &Options, port: u16) -> anyhow::Result<Directory> {
    let (path, temporary) = match &options.directory {
        Some(path) => (path.clone(), false),
        None => {
            let name = format!("sluice-apiserver-{}-{port}", std::process::id());
            (std::env::temp_dir().join(name), true)
        }
    };
    std::fs::create_dir_all(&path).with_context(|| format!("making {}", path.display()))?;
    Ok(Directory { path, temporary })
}

fn base64(text: &str) -> String {
    use base64::Engine as _;
    base64::engine::general_purpose::STANDARD.encode(text)
}
