//! Who trusts whom: certificates, pins, mutual TLS, old versions, and the wrong scheme.

mod master;

use std::fs;
use std::path::Path;
use std::process::Command;

use ffrtmp_core::{Code, Error};
use ffrtmp_transport::http::server::{self, ServerConfig, TlsConfig};
use ffrtmp_transport::http::{ClientConfig, MasterClient};
use master::raw::exchange;
use master::{Master, config, tls};
use rcgen::{BasicConstraints, CertificateParams, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair};

async fn start(tls: TlsConfig) -> Master {
    Master::start(ServerConfig { tls: Some(tls), ..config() }).await
}

async fn health(config: &ClientConfig) -> Result<(), Error> {
    MasterClient::new(config)?.health().await.map(|_| ())
}

#[tokio::test]
async fn a_self_signed_loopback_master_is_pinned_at_first_sight() {
    let directory = tempfile::tempdir().unwrap();
    let master = start(tls(directory.path(), "first")).await;
    let config = master.client_config(directory.path());
    health(&config).await.unwrap();
    health(&config).await.unwrap();
    let pins = config.pins.clone().unwrap();
    let text = fs::read_to_string(&pins).unwrap();
    let authority = format!("127.0.0.1:{}", master.address.port());
    assert_eq!(text.lines().count(), 1, "{text}");
    assert!(text.starts_with(&format!("{authority} sha256:")), "{text}");

    // Another certificate at the same place, as the pins of a master that was replaced would have it.
    fs::write(&pins, format!("{authority} sha256:{}\n", "0".repeat(64))).unwrap();
    let error = health(&config).await.unwrap_err();
    assert_eq!(error.code(), Code::Tls);
    let told = format!("{error} {}", error.hint_text());
    assert!(told.contains("known_masters") && told.contains(&authority), "{told}");
}

#[tokio::test]
async fn authorities_decide_where_they_are_given() {
    let directory = tempfile::tempdir().unwrap();
    let path = |name: &str| directory.path().join(name);
    let own = tls(directory.path(), "own");
    let other = tls(directory.path(), "other");
    let authority = Authority::new(directory.path(), "ca");
    authority.sign(directory.path(), "signed", &["localhost", "127.0.0.1"], ExtendedKeyUsagePurpose::ServerAuth);
    authority.sign(directory.path(), "misnamed", &["media.example"], ExtendedKeyUsagePurpose::ServerAuth);
    let pair = |name: &str| TlsConfig {
        cert: path(&format!("{name}.crt")),
        key: path(&format!("{name}.key")),
        client_ca: None,
    };

    for (served, ca, expected) in [
        (own.clone(), Some(own.cert.clone()), None),
        (own.clone(), Some(other.cert.clone()), Some("vouches")),
        (pair("signed"), Some(path("ca.crt")), None),
        (pair("misnamed"), Some(path("ca.crt")), Some("refused")),
        (pair("misnamed"), Some(path("misnamed.crt")), Some("other names")),
    ] {
        let what = format!("{} with {ca:?}", served.cert.display());
        let master = start(served).await;
        let config = ClientConfig { ca, ..master.client_config(directory.path()) };
        match (health(&config).await, expected) {
            (Ok(()), None) => {}
            (Err(error), Some(word)) => {
                assert_eq!(error.code(), Code::Tls, "{what}: {error}");
                assert!(error.to_string().contains(word), "{what}: {error}");
            }
            (outcome, _) => panic!("{what}: {outcome:?}"),
        }
        let lab = ClientConfig { insecure_skip_verify: true, ..master.client_config(directory.path()) };
        health(&lab).await.unwrap();
    }
    assert!(!path("known_masters").exists(), "nothing is pinned where an authority decides");
    let missing = ClientConfig { ca: Some(path("none.crt")), ..ClientConfig::default() };
    let error = MasterClient::new(&missing).unwrap_err();
    assert_eq!((error.code(), error.field_name()), (Code::Tls, Some("--ca")));
}

#[tokio::test]
async fn mutual_tls_lets_only_known_clients_in() {
    let directory = tempfile::tempdir().unwrap();
    let path = |name: &str| directory.path().join(name);
    let (ours, theirs) = (Authority::new(directory.path(), "ca"), Authority::new(directory.path(), "foreign"));
    ours.sign(directory.path(), "agent", &["agent"], ExtendedKeyUsagePurpose::ClientAuth);
    theirs.sign(directory.path(), "stranger", &["agent"], ExtendedKeyUsagePurpose::ClientAuth);
    let served = tls(directory.path(), "master");
    let master = start(TlsConfig { client_ca: Some(path("ca.crt")), ..served.clone() }).await;
    let with = |name: Option<&str>| ClientConfig {
        ca: Some(served.cert.clone()),
        identity: name.map(|name| (path(&format!("{name}.crt")), path(&format!("{name}.key")))),
        ..master.client_config(directory.path())
    };
    health(&with(Some("agent"))).await.unwrap();
    for refused in [None, Some("stranger")] {
        let error = health(&with(refused)).await.unwrap_err();
        assert_eq!(error.code(), Code::Tls, "{refused:?}: {error}");
        assert!(error.hint_text().contains("--cert"), "{refused:?}: {}", error.hint_text());
    }
}

#[tokio::test]
async fn the_wrong_scheme_is_recognised_from_both_sides() {
    let directory = tempfile::tempdir().unwrap();
    let encrypted = start(tls(directory.path(), "master")).await;
    let plain = Master::start(config()).await;

    let answer = exchange(encrypted.address, b"GET /health HTTP/1.1\r\nHost: master\r\n\r\n").await;
    assert_eq!(answer.status, 400);
    assert!(answer.json()["hint"].as_str().unwrap().contains("https://"), "{answer}");

    for (url, cure) in
        [(encrypted.url().replace("https", "http"), "https://"), (plain.url().replace("http", "https"), "http://")]
    {
        let config = ClientConfig { master: url.clone(), ..encrypted.client_config(directory.path()) };
        let error = health(&config).await.unwrap_err();
        assert!(error.hint_text().contains(cure), "{url}: {error}, {}", error.hint_text());
    }
    let free = plain.address.port();
    plain.end().await;
    let config = ClientConfig { master: format!("http://127.0.0.1:{free}"), ..ClientConfig::default() };
    let error = health(&config).await.unwrap_err();
    assert_eq!(error.code(), Code::Network);
    assert!(error.to_string().contains(&free.to_string()) && error.hint_text().contains("running"), "{error}");
}

#[test]
fn a_certificate_that_cannot_be_used_is_found_before_listening() {
    let directory = tempfile::tempdir().unwrap();
    let usable = tls(directory.path(), "master");
    server::check_tls(&usable).unwrap();
    let authorities = TlsConfig { client_ca: Some(directory.path().join("absent.crt")), ..usable.clone() };
    let error = server::check_tls(&authorities).unwrap_err();
    assert_eq!((error.code(), error.field_name()), (Code::Tls, Some("--ca")), "{error}");
    tls(directory.path(), "other");
    let foreign = TlsConfig { key: directory.path().join("other.key"), ..usable };
    assert_eq!(server::check_tls(&foreign).unwrap_err().code(), Code::Tls);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn versions_before_1_2_are_refused() {
    let directory = tempfile::tempdir().unwrap();
    let master = start(tls(directory.path(), "master")).await;
    let connects = |version: &str| {
        let output = Command::new("openssl")
            .args(["s_client", version, "-cipher", "ALL:@SECLEVEL=0", "-connect", &master.address.to_string()])
            .stdin(std::process::Stdio::null())
            .output()?;
        let said = String::from_utf8_lossy(&output.stdout).into_owned();
        Ok::<bool, std::io::Error>(said.contains("Master-Key: ") && !said.contains("Cipher is (NONE)"))
    };
    match (connects("-tls1_2"), connects("-tls1_1")) {
        (Ok(new), Ok(old)) => assert!(new && !old, "TLS 1.2: {new}, TLS 1.1: {old}"),
        (Err(error), _) | (_, Err(error)) => eprintln!("skipped: no openssl program here ({error})"),
    }
}

/// An authority of the tests.
struct Authority {
    key: KeyPair,
    parameters: CertificateParams,
}

impl Authority {
    fn new(directory: &Path, name: &str) -> Self {
        let key = KeyPair::generate().unwrap();
        let mut parameters = CertificateParams::new(Vec::new()).unwrap();
        parameters.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        parameters.distinguished_name.push(rcgen::DnType::CommonName, name);
        fs::write(directory.join(format!("{name}.crt")), parameters.self_signed(&key).unwrap().pem()).unwrap();
        Self { key, parameters }
    }

    fn sign(&self, directory: &Path, name: &str, hosts: &[&str], usage: ExtendedKeyUsagePurpose) {
        let key = KeyPair::generate().unwrap();
        let mut parameters = CertificateParams::new(hosts.iter().map(ToString::to_string).collect::<Vec<_>>()).unwrap();
        parameters.extended_key_usages = vec![usage];
        let issuer = Issuer::from_params(&self.parameters, &self.key);
        fs::write(directory.join(format!("{name}.crt")), parameters.signed_by(&key, &issuer).unwrap().pem()).unwrap();
        fs::write(directory.join(format!("{name}.key")), key.serialize_pem()).unwrap();
    }
}
