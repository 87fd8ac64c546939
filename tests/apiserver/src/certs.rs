//! A certificate authority for one server.

use anyhow::Context as _;
use rcgen::{
    BasicConstraints, CertificateParams, CertifiedIssuer, DnType, ExtendedKeyUsagePurpose, IsCa,
    KeyPair, KeyUsagePurpose,
};
use rustls_pki_types::{CertificateDer, PrivateKeyDer};

/// A certificate with its key, in both forms.
pub(crate) struct Identity {
    pub(crate) certificate: CertificateDer<'static>,
    pub(crate) key: PrivateKeyDer<'static>,
    pub(crate) certificate_pem: String,
    pub(crate) key_pem: String,
}

/// What a server needs for TLS.
pub(crate) struct Certificates {
    pub(crate) authority: CertificateDer<'static>,
    pub(crate) authority_pem: String,
    pub(crate) server: Identity,
    /// The administrator's.
    pub(crate) client: Identity,
}

impl Certificates {
    /// Makes them all, for a server at this address.
    pub(crate) fn generate(address: &str) -> anyhow::Result<Self> {
        let mut params = CertificateParams::new(Vec::new())?;
        params
            .distinguished_name
            .push(DnType::CommonName, "kubernetes-ca");
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
        let authority = CertifiedIssuer::self_signed(params, KeyPair::generate()?)?;
        let issue = |names: Vec<String>, common: &str, organisation: &str, purpose| {
            let mut params = CertificateParams::new(names)?;
            params.distinguished_name.push(DnType::CommonName, common);
            params
                .distinguished_name
                .push(DnType::OrganizationName, organisation);
            params.extended_key_usages = vec![purpose];
            let key = KeyPair::generate()?;
            let certificate = params.signed_by(&key, &authority)?;
            anyhow::Ok(Identity {
                certificate: certificate.der().clone(),
                certificate_pem: certificate.pem(),
                key_pem: key.serialize_pem(),
                key: PrivateKeyDer::try_from(key.serialize_der())
                    .map_err(|error| anyhow::anyhow!("{error}"))?,
            })
        };
        let names = vec![
            address.to_owned(),
            "localhost".into(),
            "kubernetes.default.svc".into(),
        ];
        let server = issue(
            names,
            "kube-apiserver",
            "",
            ExtendedKeyUsagePurpose::ServerAuth,
        )
        .context("the server's certificate")?;
        let client = issue(
            Vec::new(),
            "kubernetes-admin",
            "system:masters",
            ExtendedKeyUsagePurpose::ClientAuth,
        )
        .context("the administrator's certificate")?;
        Ok(Certificates {
            authority: authority.der().clone(),
            authority_pem: authority.pem(),
            server,
            client,
        })
    }
}
