//! Certificates of both sides: who is let in, who is not, and what is said about it.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, DnType, IsCa, KeyPair};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use transport::{ListenError, Listener, Stream, Target, Tls, TlsFiles, connect, explain};

const LIMIT: Duration = Duration::from_secs(20);

type Ca = CertifiedIssuer<'static, KeyPair>;

fn params(name: &str) -> CertificateParams {
    let mut params = CertificateParams::new(Vec::new()).unwrap();
    params.distinguished_name.push(DnType::CommonName, name);
    params
}

fn ca(name: &str) -> Ca {
    let mut params = params(name);
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    CertifiedIssuer::self_signed(params, KeyPair::generate().unwrap()).unwrap()
}

/// Writes a side's files: signed by one CA, trusting another.
fn files(folder: &Path, name: &str, signed_by: &Ca, trusts: &Ca) -> TlsFiles {
    let key = KeyPair::generate().unwrap();
    let certificate = params(name).signed_by(&key, signed_by).unwrap();
    let write = |kind: &str, text: String| {
        let path = folder.join(format!("{name}-{kind}.pem"));
        std::fs::write(&path, text).unwrap();
        path
    };
    TlsFiles {
        private_key: write("key", key.serialize_pem()),
        certificate: write("cert", certificate.pem()),
        ca_cert: write("ca", trusts.pem()),
    }
}

async fn listen(files: TlsFiles) -> (Listener, Target) {
    let tls = Tls::load(files).unwrap();
    let any = "pssl:0:127.0.0.1".parse().unwrap();
    let listener = Listener::bind(&any, Some(&tls)).await.unwrap();
    let port = listener.local().unwrap().local_address().unwrap().port();
    (listener, format!("ssl:127.0.0.1:{port}").parse().unwrap())
}

/// What each side sees of one connection: a byte both ways, or why not.
async fn meet(
    listener: &Listener,
    target: &Target,
    tls: &Arc<Tls>,
) -> (Result<(), String>, Result<(), String>) {
    async fn exchange(mut stream: Stream) -> Result<(), String> {
        let mut got = [0];
        stream.write_all(b"x").await.map_err(|e| explain(&e))?;
        stream.flush().await.map_err(|e| explain(&e))?;
        stream.read_exact(&mut got).await.map_err(|e| explain(&e))?;
        assert_eq!(&got, b"x");
        Ok(())
    }
    let server = async {
        let incoming = listener.accept().await.unwrap();
        exchange(incoming.open().await?).await
    };
    let client = async {
        let stream = connect(target, Some(tls), LIMIT).await;
        exchange(stream.map_err(|e| e.to_string())?).await
    };
    tokio::time::timeout(LIMIT, async { tokio::join!(server, client) })
        .await
        .unwrap()
}

#[tokio::test]
async fn sides_signed_by_each_others_ca_talk() {
    let folder = tempfile::tempdir().unwrap();
    let (switches, controllers) = (ca("switches"), ca("controllers"));
    let switch = files(folder.path(), "switch", &switches, &controllers);
    let controller = files(folder.path(), "controller", &controllers, &switches);
    let (listener, target) = listen(controller).await;
    let tls = Tls::load(switch).unwrap();
    assert_eq!(meet(&listener, &target, &tls).await, (Ok(()), Ok(())));
}

#[tokio::test]
async fn a_stranger_is_refused_on_either_side_and_told_why() {
    let folder = tempfile::tempdir().unwrap();
    let (ours, theirs) = (ca("ours"), ca("theirs"));
    let good = files(folder.path(), "good", &ours, &ours);
    let (listener, target) = listen(good).await;

    let stranger = Tls::load(files(folder.path(), "stranger", &theirs, &ours)).unwrap();
    let (server, client) = meet(&listener, &target, &stranger).await;
    let server = server.unwrap_err();
    assert!(server.contains("is not signed by our CA"), "{server}");
    let client = client.unwrap_err();
    assert!(
        client.contains("does not accept our certificate"),
        "{client}"
    );

    let careful = Tls::load(files(folder.path(), "careful", &ours, &theirs)).unwrap();
    let (server, client) = meet(&listener, &target, &careful).await;
    let client = client.unwrap_err();
    assert!(client.contains("is not signed by our CA"), "{client}");
    assert!(server.is_err());
}

#[tokio::test]
async fn one_who_speaks_in_clear_is_told_apart() {
    let folder = tempfile::tempdir().unwrap();
    let ca = ca("ours");
    let (listener, target) = listen(files(folder.path(), "a", &ca, &ca)).await;
    let clear: Target = target.to_string().replace("ssl", "tcp").parse().unwrap();
    let mut stream = connect(&clear, None, LIMIT).await.unwrap();
    stream.write_all(&[4, 0, 0, 8, 0, 0, 0, 1]).await.unwrap();
    let why = listener.accept().await.unwrap().open().await.err().unwrap();
    assert!(why.contains("does not speak TLS"), "{why}");
}

#[tokio::test]
async fn renewed_certificates_are_used_at_the_next_handshake_and_bad_ones_are_not() {
    let folder = tempfile::tempdir().unwrap();
    let (old, new) = (ca("old"), ca("new"));
    let server = files(folder.path(), "server", &old, &old);
    let client = Tls::load(files(folder.path(), "client", &old, &old)).unwrap();
    let (listener, target) = listen(server.clone()).await;
    assert_eq!(meet(&listener, &target, &client).await, (Ok(()), Ok(())));

    // Half written: the former ones go on.
    std::fs::write(&server.certificate, "-----BEGIN CERTIFICATE-----\nMII").unwrap();
    assert_eq!(meet(&listener, &target, &client).await, (Ok(()), Ok(())));

    // A new CA on the server's side: the old client is a stranger now.
    files(folder.path(), "server", &new, &new);
    let (server_side, _) = meet(&listener, &target, &client).await;
    assert!(server_side.is_err());
    files(folder.path(), "client", &new, &new);
    assert_eq!(meet(&listener, &target, &client).await, (Ok(()), Ok(())));
}

/// Of X.509 version 1, as `openssl x509 -req` makes it without extensions.
const VERSION_1: &str = "\
-----BEGIN CERTIFICATE-----
MIIBFjCBvQIULjJkvMEJR8BUZ0Ppmzom9rhM8xIwCgYIKoZIzj0EAwIwDTELMAkG
A1UEAwwCdjEwIBcNMjYxMTIwMTQ0OTA4WhgPMjEyNjEwMjcxNDQ5MDhaMA0xCzAJ
BgNVBAMMAnYxMFkwEwYHKoZIzj0CAQYIKoZIzj0DAQcDQgAEzzRTg2lwdSQDmDGZ
G3rdF/ao4rqmril9VjGR5T2FYfzn2zkuTD2Oa4r/ENMF+TqudInmMrC9eh2A9c/7
fb14iTAKBggqhkjOPQQDAgNIADBFAiBuPxQJgShe7TNt0C5yg/ux0Cv154CPkGPu
+TvRylr+RwIhALcZR2+bVVmzTTZMqDswc5PaqxYL2FGu3d3PsxK5ScKz
-----END CERTIFICATE-----
";

#[test]
fn files_that_cannot_be_used_are_named_with_a_remedy() {
    let folder = tempfile::tempdir().unwrap();
    let ca = ca("ours");
    let good = files(folder.path(), "good", &ca, &ca);
    let other = files(folder.path(), "other", &ca, &ca);
    let missing = folder.path().join("missing.pem");
    let old = folder.path().join("old.pem");
    std::fs::write(&old, VERSION_1).unwrap();
    let says = |files: TlsFiles| Tls::load(files).unwrap_err().to_string();
    for (files, option, hint) in [
        (
            TlsFiles {
                private_key: missing.clone(),
                ..good.clone()
            },
            "--private-key",
            "give a file that this process may read",
        ),
        (
            TlsFiles {
                private_key: good.certificate.clone(),
                ..good.clone()
            },
            "--private-key",
            "no PEM section BEGIN PRIVATE KEY",
        ),
        (
            TlsFiles {
                private_key: other.private_key,
                ..good.clone()
            },
            "--private-key",
            "does not belong to the certificate",
        ),
        (
            TlsFiles {
                certificate: good.private_key.clone(),
                ..good.clone()
            },
            "--certificate",
            "no PEM section BEGIN CERTIFICATE",
        ),
        (
            TlsFiles {
                certificate: old,
                ..good.clone()
            },
            "--certificate",
            "make it of version 3",
        ),
        (
            TlsFiles {
                ca_cert: missing,
                ..good
            },
            "--ca-cert",
            "missing.pem",
        ),
    ] {
        let said = says(files);
        assert!(said.starts_with(option) && said.contains(hint), "{said}");
        assert!(!said.contains('\n'), "{said}");
    }
}

#[tokio::test]
async fn a_program_without_a_runtime_connects_too() {
    use std::io::{Read, Write};
    let folder = tempfile::tempdir().unwrap();
    let ca = ca("ours");
    let (listener, target) = listen(files(folder.path(), "server", &ca, &ca)).await;
    let tls = Tls::load(files(folder.path(), "client", &ca, &ca)).unwrap();
    let client = std::thread::spawn(move || {
        let mut stream = transport::blocking::connect(&target, Some(&tls), LIMIT).unwrap();
        stream.write_all(b"question").unwrap();
        let mut answer = [0; 6];
        stream.read_exact(&mut answer).unwrap();
        answer
    });
    let mut stream = listener.accept().await.unwrap().open().await.unwrap();
    let mut question = [0; 8];
    stream.read_exact(&mut question).await.unwrap();
    stream.write_all(b"answer").await.unwrap();
    stream.flush().await.unwrap();
    assert_eq!(
        (&question, &client.join().unwrap()),
        (b"question", b"answer")
    );
}

#[tokio::test]
async fn tls_without_certificates_says_which_options_to_give() {
    let listen = Listener::bind(&"pssl:0".parse().unwrap(), None).await;
    let said = listen.unwrap_err().to_string();
    assert!(
        said.contains("--private-key, --certificate and --ca-cert"),
        "{said}"
    );
    let target = "ssl:127.0.0.1:1".parse().unwrap();
    let said = ListenError::no_certificates(&target).to_string();
    assert!(
        said.starts_with("cannot connect to ssl:127.0.0.1:1: "),
        "{said}"
    );
    let connected = connect(&target, None, LIMIT).await;
    let said = connected.err().unwrap().to_string();
    assert!(
        said.contains("--private-key, --certificate and --ca-cert"),
        "{said}"
    );
    let some = TlsFiles::from_options(None, Some("c".into()), None).unwrap_err();
    assert!(
        some.ends_with("give --private-key and --ca-cert too"),
        "{some}"
    );
    assert_eq!(TlsFiles::from_options(None, None, None), Ok(None));
}
