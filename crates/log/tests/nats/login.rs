//! Who may do what, and how the connection is kept private.

use wingbeat_log::{Access, LogError, LogUrl};

use super::{
    faults::{open, publish_all, record, stream},
    server::{Server, Version},
};

async fn expect_denied(url: &LogUrl) {
    let refused = url.open(Access::Write).await.err().unwrap();
    assert!(matches!(refused, LogError::Denied { .. }), "{refused}");
    assert!(!refused.to_string().contains("s3cr3t"), "{refused}");
}

async fn expect_works(url: &LogUrl) {
    let log = open(url).await;
    log.ensure_stream(&stream("s", "s.>")).await.unwrap();
    publish_all(&*log, 10, 10).await;
    log.close().await.unwrap();
}

#[tokio::test]
async fn i7_a_password_and_a_token_open_the_log_and_are_never_told() {
    for (config, right, wrong) in [
        (
            r#"authorization { user: "a@b", password: "p/s3cr3t:%" }"#,
            "a%40b:p%2Fs3cr3t:%25@",
            "a%40b:s3cr3t@",
        ),
        (r#"authorization { token: "s3cr3t" }"#, "s3cr3t@", "s3cr3t2@"),
    ] {
        let Some(mut server) = Server::start(Version::Current, config).await else { return };
        expect_denied(&server.url("")).await;
        server.login = wrong.to_owned();
        expect_denied(&server.url("")).await;
        server.login = right.to_owned();
        expect_works(&server.url("")).await;
    }
}

#[tokio::test]
async fn an_nkey_opens_the_log() {
    let (user, stranger) = (nkeys::KeyPair::new_user(), nkeys::KeyPair::new_user());
    let config = format!("authorization {{ users: [ {{ nkey: {} }} ] }}", user.public_key());
    let Some(server) = Server::start(Version::Current, &config).await else { return };
    for (keys, is_right) in [(stranger, false), (user, true)] {
        let path = server.path().join("seed");
        std::fs::write(&path, keys.seed().unwrap()).unwrap();
        let url = server.url(&format!("nkey={}", path.display()));
        if is_right { expect_works(&url).await } else { expect_denied(&url).await }
    }
}

#[tokio::test]
async fn what_is_not_permitted_is_said_and_the_rest_goes_on() {
    let config = r#"authorization { users: [
        { user: u, password: p, permissions: { publish: { deny: ["s.secret", "$JS.API.STREAM.LIST"] } } }
    ] }"#;
    let Some(mut server) = Server::start(Version::Current, config).await else { return };
    server.login = "u:p@".to_owned();
    let log = open(&server.url("")).await;
    log.ensure_stream(&stream("s", "s.>")).await.unwrap();
    let records = vec![record("s.open", 1), record("s.secret", 2), record("s.open", 3)];
    let answers = log.publish(records).await;
    assert!(answers[0].is_ok() && answers[2].is_ok(), "{answers:?}");
    let refused = answers[1].as_ref().unwrap_err();
    assert!(matches!(refused, LogError::Denied { .. }), "{refused}");
    assert!(refused.to_string().contains("s.secret"), "{refused}");
    let listed = log.streams().await.unwrap_err();
    assert!(matches!(listed, LogError::Denied { .. }), "{listed}");
}

#[tokio::test]
async fn tls_is_checked_against_the_named_authority() {
    let authority = rcgen::CertifiedIssuer::self_signed(
        {
            let mut parameters = rcgen::CertificateParams::new(vec![]).unwrap();
            parameters.is_ca = rcgen::IsCa::Ca(rcgen::BasicConstraints::Unconstrained);
            parameters
        },
        rcgen::KeyPair::generate().unwrap(),
    )
    .unwrap();
    let key = rcgen::KeyPair::generate().unwrap();
    let certificate = rcgen::CertificateParams::new(vec!["127.0.0.1".to_owned()])
        .unwrap()
        .signed_by(&key, &authority)
        .unwrap();
    let files = tempfile::tempdir().unwrap();
    let write = |name: &str, pem: String| {
        let path = files.path().join(name);
        std::fs::write(&path, pem).unwrap();
        path.display().to_string()
    };
    let (ca, cert) = (write("ca.pem", authority.pem()), write("cert.pem", certificate.pem()));
    let key = write("key.pem", key.serialize_pem());
    // The client has to show a certificate too.
    let config =
        format!("tls {{ cert_file: {cert:?}, key_file: {key:?}, ca_file: {ca:?}, verify: true }}");
    let Some(server) = Server::start(Version::Current, &config).await else { return };
    let url = |parameters: String| -> LogUrl {
        format!("tls://127.0.0.1:{}?{parameters}", server.port).parse().unwrap()
    };
    expect_works(&url(format!("ca={ca}&cert={cert}&key={key}"))).await;
    let other = rcgen::generate_simple_self_signed(vec!["other".to_owned()]).unwrap();
    let stranger = write("other.pem", other.cert.pem());
    let refused = url(format!("ca={stranger}&cert={cert}&key={key}")).open(Access::Read).await;
    let refused = refused.err().unwrap().to_string();
    assert!(refused.contains("certificate"), "{refused}");
    let missing = url("ca=missing.pem".to_owned()).open(Access::Read).await.err().unwrap();
    assert!(missing.to_string().contains("missing.pem"), "{missing}");
}
