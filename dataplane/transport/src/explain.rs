//! What went wrong with a connection, in the operator's words.

use std::io;

use rustls::{AlertDescription, CertificateError, Error};

use crate::tls::old_version;

/// One line on why a read, a write or a handshake failed; TLS's reasons with what to do.
pub fn explain(error: &io::Error) -> String {
    let tls = error
        .get_ref()
        .and_then(|inner| inner.downcast_ref::<Error>());
    match tls {
        Some(tls) => explain_tls(tls),
        None => error.to_string(),
    }
}

fn explain_tls(error: &Error) -> String {
    match error {
        Error::InvalidCertificate(why) => invalid_certificate(why),
        Error::NoCertificatesPresented => {
            "the peer shows no certificate; start it with --private-key, --certificate and --ca-cert"
                .into()
        }
        Error::AlertReceived(alert) => alerted(*alert),
        Error::InvalidMessage(_) => {
            "the peer does not speak TLS; is it tcp: there, and not ssl:?".into()
        }
        other => format!("TLS: {other}"),
    }
}

fn invalid_certificate(why: &CertificateError) -> String {
    use CertificateError as C;
    match why {
        C::UnknownIssuer => "the peer's certificate is not signed by our CA; give it one that is, \
                             or name its CA with --ca-cert"
            .into(),
        C::Expired | C::ExpiredContext { .. } => {
            "the peer's certificate has expired; renew it there".into()
        }
        C::NotValidYet | C::NotValidYetContext { .. } => {
            "the peer's certificate is not valid yet; compare the clocks".into()
        }
        old if old_version(old) => {
            "the peer's certificate is of X.509 version 1; give it one of version 3".into()
        }
        other => format!("the peer's certificate is not accepted: {other}"),
    }
}

fn alerted(alert: AlertDescription) -> String {
    use AlertDescription as A;
    match alert {
        A::UnknownCA | A::BadCertificate | A::CertificateUnknown | A::DecryptError => {
            "the peer does not accept our certificate; have it signed by the CA that is named \
             there"
                .into()
        }
        A::CertificateExpired => "our certificate has expired; renew it".into(),
        A::CertificateRequired | A::HandshakeFailure => {
            "the peer wants a certificate of us, or shares no cipher; see its log".into()
        }
        other => format!("the peer ended TLS: {other:?}"),
    }
}
