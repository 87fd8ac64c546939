//! `sluice-apiserver`: the API server of the tests, to be used by hand.

use std::path::PathBuf;

use anyhow::Context as _;
use apiserver::{ApiServer, Options};
use clap::Parser;

/// A Kubernetes API server for tests. It keeps everything in memory.
#[derive(Debug, Parser)]
#[command(version)]
struct Arguments {
    /// Where to listen
    #[arg(long, default_value = "127.0.0.1:0")]
    listen: String,
    /// Folder of manifests to begin with, applied in the order of their names
    #[arg(long)]
    manifests: Option<PathBuf>,
    /// Where to write the administrator's kubeconfig
    #[arg(long)]
    kubeconfig: Option<PathBuf>,
    /// Plain HTTP
    #[arg(long)]
    insecure: bool,
    /// Check requests against Roles and their bindings
    #[arg(long)]
    rbac: bool,
    /// Also stand in for the controllers of EndpointSlices and garbage, and for kubelets
    #[arg(long)]
    controllers: bool,
}

#[tokio::main]
async fn main() -> anyhow::Result<()> {
    let arguments = Arguments::parse();
    let server = ApiServer::start(Options {
        listen: arguments.listen,
        tls: !arguments.insecure,
        rbac: arguments.rbac,
        endpoints: arguments.controllers,
        garbage: arguments.controllers,
        kubelet: arguments.controllers,
        ..Options::default()
    })
    .await?;
    if let Some(folder) = &arguments.manifests {
        load(&server, folder)?;
    }
    if let Some(path) = &arguments.kubeconfig {
        std::fs::copy(server.kubeconfig(), path)
            .with_context(|| format!("writing {}", path.display()))?;
    }
    announce(&server);
    tokio::signal::ctrl_c().await?;
    Ok(())
}

fn load(server: &ApiServer, folder: &std::path::Path) -> anyhow::Result<()> {
    let entries =
        std::fs::read_dir(folder).with_context(|| format!("reading {}", folder.display()))?;
    let mut files: Vec<PathBuf> = entries
        .map(|entry| entry.map(|e| e.path()))
        .collect::<Result<_, _>>()?;
    files.retain(|path| {
        let extension = path.extension().and_then(|e| e.to_str());
        matches!(extension, Some("yaml" | "yml" | "json"))
    });
    files.sort();
    for file in files {
        let text = std::fs::read_to_string(&file)?;
        server
            .apply(&text)
            .with_context(|| format!("applying {}", file.display()))?;
    }
    Ok(())
}

#[expect(clippy::print_stdout, reason = "the person who started it reads this")]
fn announce(server: &ApiServer) {
    println!("{} {}", server.url(), server.kubeconfig().display());
}
