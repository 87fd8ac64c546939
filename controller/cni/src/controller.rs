//! Asks what a pod's interface shall be: the API server, where a kubeconfig is named, since it
//! stands on the Pod; or else the controller's local socket.

use std::io::{self, BufRead, BufReader, Read, Write};
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::time::{Duration, Instant};

use cluster::podapi::{Interface, Reply, Request};
use cluster::{DEFAULT_INTERFACE, NamespacedName};

use crate::call::{Config, Target};
use crate::failure::{Failure, code};

const PAUSE: Duration = Duration::from_millis(100);
const MAX_REPLY: u64 = 1 << 20;

/// Asks until the controller knows the pod, or until `deadline`.
///
/// # Errors
/// What the controller refused, or what it was still waiting for.
pub fn interface_of(
    config: &Config,
    target: &Target,
    deadline: Instant,
) -> Result<Interface, Failure> {
    let path = &config.controller_socket;
    let server = config.kubeconfig.as_deref().map(ApiServer::open);
    let server = server.transpose()?;
    let request = Request {
        namespace: target.namespace.clone(),
        pod: target.pod.clone(),
        interface: target.interface.clone(),
    };
    loop {
        let left = deadline.saturating_duration_since(Instant::now());
        // At least one try with some time, so that the last word is the controller's own.
        let answer = match &server {
            Some(server) => server.ask(target, left.max(PAUSE)),
            None => ask(path, &request, left.max(PAUSE)).map_err(|error| {
                format!(
                    "no answer from the controller at {} ({error}); is sluice-controller running?",
                    path.display()
                )
            }),
        };
        let reason = match answer {
            Ok(Reply::Ready(interface)) => return Ok(interface),
            Ok(Reply::Refused(why)) => {
                let msg = format!("{}: the controller refuses", target.who());
                return Err(Failure::new(code::CONTROLLER, msg).with(why));
            }
            Ok(Reply::Waiting(what)) if server.is_some() => format!("still waiting for {what}"),
            Ok(Reply::Waiting(what)) => format!("the controller waits for {what}"),
            Err(reason) => reason,
        };
        if left <= PAUSE {
            let msg = format!(
                "{}: no address within {} s",
                target.who(),
                config.timeout.as_secs()
            );
            return Err(Failure::new(code::TRY_AGAIN_LATER, msg).with(reason));
        }
        std::thread::sleep(PAUSE);
    }
}

/// True if there is somebody to ask.
///
/// # Errors
/// Who does not answer.
pub fn reachable(config: &Config) -> Result<(), Failure> {
    if let Some(kubeconfig) = &config.kubeconfig {
        return ApiServer::open(kubeconfig).map(drop);
    }
    let path = &config.controller_socket;
    UnixStream::connect(path).map(drop).map_err(|error| {
        let msg = format!(
            "cannot reach the controller at {}: {error}; is sluice-controller running?",
            path.display()
        );
        Failure::new(code::NOT_AVAILABLE, msg)
    })
}

/// The API server.
struct ApiServer {
    runtime: tokio::runtime::Runtime,
    connection: watch::Connection,
}

impl ApiServer {
    fn open(kubeconfig: &Path) -> Result<Self, Failure> {
        let mut builder = tokio::runtime::Builder::new_current_thread();
        let runtime = builder.enable_all().build();
        let runtime = runtime.map_err(|e| Failure::new(code::IO, "cannot start").with(e))?;
        let connection = runtime.block_on(watch::Connection::open(Some(kubeconfig)));
        let connection =
            connection.map_err(|e| Failure::new(code::NOT_AVAILABLE, e.to_string()))?;
        Ok(ApiServer {
            runtime,
            connection,
        })
    }

    fn ask(&self, target: &Target, patience: Duration) -> Result<Reply, String> {
        if target.interface != DEFAULT_INTERFACE {
            return Ok(Reply::Refused(format!(
                "interface {}: only {DEFAULT_INTERFACE} is served so far; attach this network \
                 with another plugin",
                target.interface
            )));
        }
        let name = NamespacedName::new(&target.namespace, &target.pod);
        let answer = watch::interface_of(&self.connection, &name);
        let answer = self
            .runtime
            .block_on(async { tokio::time::timeout(patience, answer).await });
        let url = self.connection.url();
        match answer {
            Ok(Ok(reply)) => Ok(reply),
            Ok(Err(error)) => Err(format!("{url}: {error}")),
            Err(_) => Err(format!("{url}: no answer")),
        }
    }
}

fn ask(path: &Path, request: &Request, timeout: Duration) -> io::Result<Reply> {
    let mut stream = UnixStream::connect(path)?;
    stream.set_read_timeout(Some(timeout))?;
    stream.set_write_timeout(Some(timeout))?;
    let mut line = serde_json::to_vec(request)?;
    line.push(b'\n');
    stream.write_all(&line)?;
    let mut answer = String::new();
    BufReader::new(stream.take(MAX_REPLY)).read_line(&mut answer)?;
    Ok(serde_json::from_str(&answer)?)
}

#[cfg(test)]
mod tests {
    use super::*;
    use apiserver::{ApiServer as TestServer, Options};

    #[test]
    fn with_a_kubeconfig_the_addresses_are_those_that_stand_on_the_pod() {
        let mut builder = tokio::runtime::Builder::new_multi_thread();
        let runtime = builder.worker_threads(1).enable_all().build().unwrap();
        let server = runtime
            .block_on(TestServer::start(Options::default()))
            .unwrap();
        server
            .apply(
                "apiVersion: v1\nkind: Pod\nmetadata: {name: web-1, namespace: default}\n\
                 spec: {nodeName: n1, containers: [{name: c, image: i}]}",
            )
            .unwrap();
        let config = |timeout: u32| {
            let text = serde_json::json!({
                "cniVersion": "1.0.0", "name": "n", "type": "sluice-cni",
                "kubeconfig": server.kubeconfig(), "timeout": timeout,
            });
            Config::read(text.to_string().as_bytes()).unwrap()
        };
        let variables = |name: &str| match name {
            "CNI_CONTAINERID" => Some("c1".into()),
            "CNI_IFNAME" => Some("eth0".into()),
            "CNI_ARGS" => Some("K8S_POD_NAMESPACE=default;K8S_POD_NAME=web-1".into()),
            _ => None::<String>,
        };
        let target = Target::read(&variables, false).unwrap();
        let ask = |config: &Config| interface_of(config, &target, Instant::now() + config.timeout);
        let late = ask(&config(1)).unwrap_err();
        assert_eq!(late.code, code::TRY_AGAIN_LATER);
        assert!(late.details.contains("to write the addresses"), "{late}");
        let ovn = |name: &str| format!("ovn.kubernetes.io/{name}");
        let annotations = serde_json::json!({
            ovn("allocated"): "true", ovn("routed"): "true", ovn("logical_switch"): "apps",
            ovn("ip_address"): "10.16.0.2", ovn("cidr"): "10.16.0.0/16",
            ovn("gateway"): "10.16.0.1", ovn("mac_address"): "02:5c:0a:10:00:02",
            "sluice.io/mtu": "1400",
        });
        let patch = serde_json::json!({"metadata": {"annotations": annotations}});
        server.patch("pods", "default", "web-1", patch).unwrap();
        let interface = ask(&config(10)).unwrap();
        assert_eq!(interface.addresses, ["10.16.0.2/16".parse().unwrap()]);
        assert_eq!(interface.port, target.port());
        assert!(reachable(&config(1)).is_ok());
    }
}
