//! Certificates: read from files, checked, and read again when the files change.

use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};

use rustls::client::Resumption;
use rustls::crypto::{CryptoProvider, ring};
use rustls::server::{NoServerSessionStorage, WebPkiClientVerifier};
use rustls::{ClientConfig, RootCertStore, ServerConfig};
use rustls_pki_types::pem::{Error as PemError, PemObject};
use rustls_pki_types::{CertificateDer, PrivateKeyDer};

use crate::stamp::Stamp;
use crate::verify::SignedByCa;

/// The three files of a side, named as Open vSwitch names its options.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TlsFiles {
    /// `--private-key`: PEM.
    pub private_key: PathBuf,
    /// `--certificate`: PEM, ours first, then those between it and the CA's.
    pub certificate: PathBuf,
    /// `--ca-cert`: PEM, of whoever must have signed the peer's certificate.
    pub ca_cert: PathBuf,
}

impl TlsFiles {
    /// From the three options: all of them, or none.
    ///
    /// # Errors
    /// Names the options that are missing.
    pub fn from_options(
        private_key: Option<PathBuf>,
        certificate: Option<PathBuf>,
        ca_cert: Option<PathBuf>,
    ) -> Result<Option<TlsFiles>, String> {
        match (private_key, certificate, ca_cert) {
            (None, None, None) => Ok(None),
            (Some(private_key), Some(certificate), Some(ca_cert)) => Ok(Some(TlsFiles {
                private_key,
                certificate,
                ca_cert,
            })),
            (private_key, certificate, ca_cert) => {
                let lacks = [
                    ("--private-key", private_key.is_none()),
                    ("--certificate", certificate.is_none()),
                    ("--ca-cert", ca_cert.is_none()),
                ];
                let lacks = lacks
                    .iter()
                    .filter(|(_, lacks)| *lacks)
                    .map(|(name, _)| *name);
                let lacks: Vec<&str> = lacks.collect();
                Err(format!(
                    "TLS needs a private key, a certificate and the CA's certificate: give {} too",
                    lacks.join(" and ")
                ))
            }
        }
    }
}

/// Files that cannot be used; one line.
#[derive(Debug, thiserror::Error)]
#[error("{option} {file}: {why}")]
pub struct TlsError {
    option: &'static str,
    file: String,
    why: String,
}

impl TlsError {
    fn new(option: &'static str, file: &Path, why: impl Into<String>) -> Self {
        TlsError {
            option,
            file: file.display().to_string(),
            why: why.into(),
        }
    }
}

/// Our certificate and whom we trust, for both directions.
///
/// The files are looked at before each handshake and read again when one of them has changed, so
/// that certificates are renewed without a restart. While what is there cannot be used (half
/// written, or a key that does not belong to the certificate), the last good ones stay in use.
#[derive(Debug)]
pub struct Tls {
    files: TlsFiles,
    state: Mutex<State>,
}

#[derive(Debug)]
struct State {
    seen: Option<[Stamp; 3]>,
    configs: Configs,
}

#[derive(Clone, Debug)]
struct Configs {
    client: Arc<ClientConfig>,
    server: Arc<ServerConfig>,
}

impl Tls {
    /// Reads and checks the files.
    ///
    /// # Errors
    /// The first file that cannot be used, why, and what to do.
    pub fn load(files: TlsFiles) -> Result<Arc<Tls>, TlsError> {
        let seen = stamps(&files);
        let configs = read(&files)?;
        let state = Mutex::new(State { seen, configs });
        Ok(Arc::new(Tls { files, state }))
    }

    /// For connecting.
    pub(crate) fn client(&self) -> Arc<ClientConfig> {
        self.current().client
    }

    /// For those who connect.
    pub(crate) fn server(&self) -> Arc<ServerConfig> {
        self.current().server
    }

    fn current(&self) -> Configs {
        // Nothing in here panics while it holds the lock.
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        let now = stamps(&self.files);
        if now != state.seen {
            // Before reading: a change while we read is seen the next time.
            state.seen = now;
            match read(&self.files) {
                Ok(configs) => {
                    let certificate = self.files.certificate.display();
                    tracing::info!("certificates have changed, {certificate} is in use now");
                    state.configs = configs;
                }
                Err(error) => tracing::warn!("{error}; the former certificates stay in use"),
            }
        }
        state.configs.clone()
    }
}

/// None while one of the files is missing, as it may be for a moment when it is replaced.
fn stamps(files: &TlsFiles) -> Option<[Stamp; 3]> {
    let [key, certificate, ca] =
        [&files.private_key, &files.certificate, &files.ca_cert].map(|file| Stamp::of(file).ok());
    Some([key?, certificate?, ca?])
}

fn read(files: &TlsFiles) -> Result<Configs, TlsError> {
    let provider = Arc::new(ring::default_provider());
    let roots = Arc::new(read_ca(&files.ca_cert)?);
    let chain = read_certificates("--certificate", &files.certificate)?;
    let key = read_key(&files.private_key)?;
    let client = client_config(&provider, roots.clone(), chain.clone(), key.clone_key());
    let server = server_config(&provider, roots, chain, key);
    match (client, server) {
        (Ok(client), Ok(server)) => Ok(Configs {
            client: Arc::new(client),
            server: Arc::new(server),
        }),
        (Err(error), _) | (_, Err(error)) => Err(refused(files, error)),
    }
}

fn client_config(
    provider: &Arc<CryptoProvider>,
    roots: Arc<RootCertStore>,
    chain: Vec<CertificateDer<'static>>,
    key: PrivateKeyDer<'static>,
) -> Result<ClientConfig, rustls::Error> {
    let mut config = ClientConfig::builder_with_provider(provider.clone())
        .with_safe_default_protocol_versions()?
        .dangerous()
        .with_custom_certificate_verifier(Arc::new(SignedByCa::new(roots, provider)))
        .with_client_auth_cert(chain, key)?;
    // Every connection shows its certificates: a resumed one would not.
    config.resumption = Resumption::disabled();
    Ok(config)
}

fn server_config(
    provider: &Arc<CryptoProvider>,
    roots: Arc<RootCertStore>,
    chain: Vec<CertificateDer<'static>>,
    key: PrivateKeyDer<'static>,
) -> Result<ServerConfig, rustls::Error> {
    let verifier = WebPkiClientVerifier::builder_with_provider(roots, provider.clone())
        .build()
        .map_err(|error| rustls::Error::General(error.to_string()))?;
    let mut config = ServerConfig::builder_with_provider(provider.clone())
        .with_safe_default_protocol_versions()?
        .with_client_cert_verifier(verifier)
        .with_single_cert(chain, key)?;
    config.session_storage = Arc::new(NoServerSessionStorage {});
    config.send_tls13_tickets = 0;
    Ok(config)
}

fn read_ca(file: &Path) -> Result<RootCertStore, TlsError> {
    let mut roots = RootCertStore::empty();
    for certificate in read_certificates("--ca-cert", file)? {
        roots
            .add(certificate)
            .map_err(|error| TlsError::new("--ca-cert", file, format!("{error}")))?;
    }
    Ok(roots)
}

fn read_certificates(
    option: &'static str,
    file: &Path,
) -> Result<Vec<CertificateDer<'static>>, TlsError> {
    let wrong = |error| TlsError::new(option, file, pem_error(error, "CERTIFICATE"));
    let found = CertificateDer::pem_file_iter(file).map_err(wrong)?;
    let certificates: Vec<_> = found.collect::<Result<_, _>>().map_err(wrong)?;
    match certificates.is_empty() {
        true => Err(wrong(PemError::NoItemsFound)),
        false => Ok(certificates),
    }
}

fn read_key(file: &Path) -> Result<PrivateKeyDer<'static>, TlsError> {
    PrivateKeyDer::from_pem_file(file)
        .map_err(|error| TlsError::new("--private-key", file, pem_error(error, "PRIVATE KEY")))
}

fn pem_error(error: PemError, section: &str) -> String {
    match error {
        PemError::Io(error) => format!("{error}; give a file that this process may read"),
        PemError::NoItemsFound => {
            format!("has no PEM section BEGIN {section}; an encrypted key is to be decrypted first")
        }
        other => format!("is damaged ({other}); write it anew, in PEM"),
    }
}

fn refused(files: &TlsFiles, error: rustls::Error) -> TlsError {
    match error {
        rustls::Error::InconsistentKeys(_) => TlsError::new(
            "--private-key",
            &files.private_key,
            format!(
                "does not belong to the certificate in {}; give the key that it was made with",
                files.certificate.display()
            ),
        ),
        rustls::Error::General(why) => TlsError::new(
            "--private-key",
            &files.private_key,
            format!("{why}; give an RSA, ECDSA or Ed25519 key"),
        ),
        rustls::Error::InvalidCertificate(why) => TlsError::new(
            "--certificate",
            &files.certificate,
            match old_version(&why) {
                true => "is of X.509 version 1; make it of version 3, as ovs-pki does".into(),
                false => format!("{why}"),
            },
        ),
        other => TlsError::new("--certificate", &files.certificate, format!("{other}")),
    }
}

/// `openssl x509 -req` makes certificates of version 1 when it is given no extensions.
pub(crate) fn old_version(why: &rustls::CertificateError) -> bool {
    // The library has no variant of its own for it.
    format!("{why:?}").contains("UnsupportedCertVersion")
}
