//! One call of the plugin: `CNI_*` variables and the network configuration on standard input.

use std::path::PathBuf;
use std::time::Duration;

use serde_json::{Map, Value};

use crate::failure::{Failure, code};

/// Versions of the specification whose configuration and results we speak.
pub const VERSIONS: [&str; 2] = ["1.0.0", "1.1.0"];

/// Keys that the specification or the runtime puts into a configuration.
const COMMON_KEYS: [&str; 10] = [
    "cniVersion",
    "name",
    "type",
    "args",
    "capabilities",
    "disableCheck",
    "dns",
    "ipMasq",
    "prevResult",
    "runtimeConfig",
];

/// Reads an environment variable; empty counts as missing.
pub type Variables<'a> = &'a dyn Fn(&str) -> Option<String>;

/// The network configuration, our keys with their defaults.
#[derive(Clone, Debug, PartialEq)]
pub struct Config {
    /// `cniVersion`.
    pub version: String,
    /// The network's name.
    pub name: String,
    /// `adminSocket`: the dataplane.
    pub admin_socket: PathBuf,
    /// `controllerSocket`: the controller, where there is no kubeconfig.
    pub controller_socket: PathBuf,
    /// `kubeconfig`: the API server, on whose Pods the addresses stand.
    pub kubeconfig: Option<PathBuf>,
    /// `mode`.
    pub mode: Mode,
    /// `mtu`: overrides what the controller says, bytes.
    pub mtu: Option<u32>,
    /// `timeout`: for a whole ADD, seconds in the file.
    pub timeout: Duration,
    /// `stateDir`: which container owns which port.
    pub state_dir: PathBuf,
    /// `prevResult`, as CHECK and DEL get it.
    pub previous: Option<Value>,
    /// GC: (container, interface) of every attachment that is still wanted.
    pub valid_attachments: Option<Vec<(String, String)>>,
}

/// What a pod's port is made of.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mode {
    /// A tap with offload header.
    Tap,
    /// A veth pair, its host end read by AF_PACKET.
    Veth,
}

impl Config {
    /// Reads it.
    ///
    /// # Errors
    /// Names the key that is missing, unknown or wrong.
    pub fn read(stdin: &[u8]) -> Result<Self, Failure> {
        let invalid = |msg: String| Failure::new(code::INVALID_CONFIG, msg);
        let keys: Map<String, Value> = serde_json::from_slice(stdin).map_err(|e| {
            Failure::new(code::DECODE, "network configuration is not a JSON object").with(e)
        })?;
        let ours = [
            "adminSocket",
            "controllerSocket",
            "kubeconfig",
            "mode",
            "mtu",
            "timeout",
            "stateDir",
        ];
        if keys.contains_key("ipam") {
            let msg = "ipam: Sluice gives pods their addresses itself; remove this key";
            return Err(Failure::new(code::UNSUPPORTED_FIELD, msg));
        }
        for key in keys.keys() {
            let known = COMMON_KEYS.contains(&key.as_str()) || key.starts_with("cni.dev/");
            if !known && !ours.contains(&key.as_str()) {
                let ours = ours.join(", ");
                return Err(invalid(format!("{key}: unknown key; ours are {ours}")));
            }
        }
        let text = |key: &str| match keys.get(key) {
            None | Some(Value::Null) => Ok(None),
            Some(Value::String(text)) => Ok(Some(text.clone())),
            Some(other) => Err(invalid(format!("{key}: {other} is not a string"))),
        };
        let number = |key: &str, min: u64, max: u64| match keys.get(key) {
            None | Some(Value::Null) => Ok(None),
            Some(value) => match value.as_u64() {
                Some(number) if (min..=max).contains(&number) => Ok(Some(number)),
                _ => Err(invalid(format!(
                    "{key}: {value} is not a number {min}..={max}"
                ))),
            },
        };
        let version = text("cniVersion")?.unwrap_or_default();
        if !VERSIONS.contains(&version.as_str()) {
            let known = VERSIONS.join(", ");
            return Err(Failure::new(
                code::INCOMPATIBLE_VERSION,
                format!("cniVersion: {version:?} is not supported; use one of {known}"),
            ));
        }
        let path = |key: &str, default: &str| {
            Ok::<_, Failure>(PathBuf::from(text(key)?.unwrap_or_else(|| default.into())))
        };
        Ok(Config {
            version,
            name: text("name")?.ok_or_else(|| invalid("name: missing".into()))?,
            admin_socket: path("adminSocket", admin::DEFAULT_PATH)?,
            controller_socket: path("controllerSocket", cluster::podapi::DEFAULT_SOCKET)?,
            kubeconfig: text("kubeconfig")?.map(PathBuf::from),
            mode: match text("mode")?.as_deref() {
                None | Some("tap") => Mode::Tap,
                Some("veth") => Mode::Veth,
                Some(other) => {
                    return Err(invalid(format!("mode: {other:?} is neither tap nor veth")));
                }
            },
            // 1280 is the least IPv6 allows (RFC 8200, 5).
            mtu: number("mtu", 1280, 65535)?.map(|n| u32::try_from(n).unwrap_or(u32::MAX)),
            timeout: Duration::from_secs(number("timeout", 1, 600)?.unwrap_or(30)),
            state_dir: path("stateDir", "/run/sluice/cni")?,
            previous: keys.get("prevResult").filter(|v| !v.is_null()).cloned(),
            valid_attachments: keys
                .get("cni.dev/valid-attachments")
                .map(attachments)
                .transpose()?,
        })
    }
}

fn attachments(value: &Value) -> Result<Vec<(String, String)>, Failure> {
    let wrong = || {
        let msg = "cni.dev/valid-attachments: not a list of {containerID, ifname}";
        Failure::new(code::INVALID_CONFIG, msg)
    };
    let one = |entry: &Value| {
        let field = |name| entry.get(name).and_then(Value::as_str).map(str::to_owned);
        Some((field("containerID")?, field("ifname")?))
    };
    let list = value.as_array().ok_or_else(wrong)?;
    list.iter().map(|e| one(e).ok_or_else(wrong)).collect()
}

/// Which interface of which pod the call is about.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Target {
    /// `CNI_CONTAINERID`.
    pub container: String,
    /// `CNI_IFNAME`.
    pub interface: String,
    /// `CNI_NETNS`; DEL may come without.
    pub netns: Option<PathBuf>,
    /// `K8S_POD_NAMESPACE` of `CNI_ARGS`.
    pub namespace: String,
    /// `K8S_POD_NAME` of `CNI_ARGS`.
    pub pod: String,
}

impl Target {
    /// Reads the variables.
    ///
    /// # Errors
    /// Names the variable that is missing or wrong.
    pub fn read(variables: Variables, needs_netns: bool) -> Result<Self, Failure> {
        let missing = |name: &str| {
            let msg = format!("{name} is not set; sluice-cni is called by a container runtime");
            Failure::new(code::INVALID_ENVIRONMENT, msg)
        };
        let required = |name: &str| variables(name).ok_or_else(|| missing(name));
        let interface = required("CNI_IFNAME")?;
        // IFNAMSIZ is 16 with the closing zero; the kernel refuses these characters.
        let odd = |c: char| c == '/' || c == ':' || c.is_whitespace();
        if interface.len() > 15 || interface == "." || interface == ".." || interface.contains(odd)
        {
            let msg = format!("CNI_IFNAME: {interface:?} cannot be the name of an interface");
            return Err(Failure::new(code::INVALID_ENVIRONMENT, msg));
        }
        let netns = variables("CNI_NETNS").map(PathBuf::from);
        if needs_netns && netns.is_none() {
            return Err(missing("CNI_NETNS"));
        }
        let args = variables("CNI_ARGS").unwrap_or_default();
        let arg = |wanted: &str| {
            let mut pairs = args.split(';').filter_map(|pair| pair.split_once('='));
            let value = pairs
                .find(|(key, _)| *key == wanted)
                .map(|(_, value)| value.to_owned());
            value.filter(|v| !v.is_empty()).ok_or_else(|| {
                let msg = format!("CNI_ARGS: no {wanted}; Sluice attaches Kubernetes pods only");
                Failure::new(code::INVALID_ENVIRONMENT, msg)
            })
        };
        Ok(Target {
            container: required("CNI_CONTAINERID")?,
            interface,
            netns,
            namespace: arg("K8S_POD_NAMESPACE")?,
            pod: arg("K8S_POD_NAME")?,
        })
    }

    /// The port both this plugin and the controller compute.
    pub fn port(&self) -> String {
        cluster::port_name(&self.namespace, &self.pod, &self.interface)
    }

    /// How messages call it.
    pub fn who(&self) -> String {
        format!("Pod {}/{}", self.namespace, self.pod)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(json: &str) -> Result<Config, Failure> {
        Config::read(json.as_bytes())
    }

    #[test]
    fn a_minimal_configuration_gets_the_defaults() {
        let config = read(r#"{"cniVersion":"1.0.0","name":"sluice","type":"sluice-cni"}"#).unwrap();
        assert_eq!(config.mode, Mode::Tap);
        assert_eq!(config.admin_socket, PathBuf::from("/run/sluice/admin.sock"));
        assert_eq!(config.timeout, Duration::from_secs(30));
        assert_eq!((config.mtu, config.previous), (None, None));
    }

    #[test]
    fn what_is_wrong_is_named_with_the_code_of_the_specification() {
        let base = r#""cniVersion":"1.1.0","name":"n","type":"sluice-cni""#;
        for (json, code, word) in [
            ("[".into(), code::DECODE, "JSON"),
            (
                r#"{"name":"n"}"#.into(),
                code::INCOMPATIBLE_VERSION,
                "cniVersion",
            ),
            (
                r#"{"cniVersion":"0.4.0"}"#.into(),
                code::INCOMPATIBLE_VERSION,
                "0.4.0",
            ),
            (
                r#"{"cniVersion":"1.0.0"}"#.into(),
                code::INVALID_CONFIG,
                "name",
            ),
            (
                format!(r#"{{{base},"mdoe":"veth"}}"#),
                code::INVALID_CONFIG,
                "mdoe",
            ),
            (
                format!(r#"{{{base},"mode":"ipvlan"}}"#),
                code::INVALID_CONFIG,
                "ipvlan",
            ),
            (
                format!(r#"{{{base},"mtu":100}}"#),
                code::INVALID_CONFIG,
                "1280",
            ),
            (
                format!(r#"{{{base},"timeout":"5"}}"#),
                code::INVALID_CONFIG,
                "timeout",
            ),
            (
                format!(r#"{{{base},"ipam":{{}}}}"#),
                code::UNSUPPORTED_FIELD,
                "ipam",
            ),
        ] {
            let failure = read(&json).unwrap_err();
            assert_eq!(failure.code, code, "{json}");
            assert!(failure.msg.contains(word), "{failure}");
        }
    }

    #[test]
    fn gc_reads_the_attachments_that_stay() {
        let config = read(
            r#"{"cniVersion":"1.1.0","name":"n","type":"sluice-cni",
                "cni.dev/valid-attachments":[{"containerID":"c1","ifname":"eth0"}]}"#,
        );
        let valid = config.unwrap().valid_attachments.unwrap();
        assert_eq!(valid, [("c1".into(), "eth0".into())]);
    }

    #[test]
    fn the_pod_comes_from_the_arguments_of_the_runtime() {
        let full = |name: &str| match name {
            "CNI_CONTAINERID" => Some("c1".into()),
            "CNI_IFNAME" => Some("eth0".into()),
            "CNI_ARGS" => Some("IgnoreUnknown=1;K8S_POD_NAMESPACE=bank;K8S_POD_NAME=web-1".into()),
            _ => None::<String>,
        };
        let target = Target::read(&full, false).unwrap();
        assert_eq!(target.who(), "Pod bank/web-1");
        assert_eq!(target.port(), cluster::port_name("bank", "web-1", "eth0"));
        let failure = Target::read(&full, true).unwrap_err();
        assert_eq!(failure.code, code::INVALID_ENVIRONMENT);
        assert!(failure.msg.starts_with("CNI_NETNS"), "{failure}");
        let bad = |name: &str| (name == "CNI_IFNAME").then(|| "a/b".to_owned());
        assert!(Target::read(&bad, false).unwrap_err().msg.contains("a/b"));
    }
}
