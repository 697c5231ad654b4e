//! Logging in with a file of credentials: a server that trusts an operator, who trusts an account,
//! which trusts a user.

use std::path::PathBuf;

use base64::prelude::{BASE64_URL_SAFE_NO_PAD as BASE64, Engine as _};
use nkeys::KeyPair;
use serde_json::{Value, json};
use wingbeat_log::{Access, LogError};

use super::{
    faults::{open, publish_all, record, stream},
    server::{Server, Version},
};

/// The trust that a server is given.
struct Trust {
    operator: KeyPair,
    system: KeyPair,
    account: KeyPair,
}

/// What `issuer` says about `subject`, as a JWT of version 2
/// (<https://docs.nats.io/running-a-nats-service/configuration/securing_nats/auth_intro/jwt>).
fn jwt(issuer: &KeyPair, subject: &KeyPair, claims: &Value) -> String {
    let header = json!({ "typ": "JWT", "alg": "ed25519-nkey" });
    let body = json!({
        "jti": "a-test", "iat": 1_700_000_000, "name": "test",
        "iss": issuer.public_key(), "sub": subject.public_key(), "nats": claims,
    });
    let encode = |value: &Value| BASE64.encode(value.to_string());
    let signed = format!("{}.{}", encode(&header), encode(&body));
    let signature = issuer.sign(signed.as_bytes()).unwrap();
    format!("{signed}.{}", BASE64.encode(signature))
}

fn account_claims() -> Value {
    json!({ "type": "account", "version": 2, "limits": {
        "subs": -1, "data": -1, "payload": -1, "imports": -1, "exports": -1, "wildcards": true,
        "conn": -1, "leaf": -1, "mem_storage": -1, "disk_storage": -1, "streams": -1,
        "consumer": -1,
    }})
}

impl Trust {
    fn new() -> Self {
        Self {
            operator: KeyPair::new_operator(),
            system: KeyPair::new_account(),
            account: KeyPair::new_account(),
        }
    }

    fn config(&self) -> String {
        let claims = json!({ "type": "operator", "version": 2 });
        let operator = jwt(&self.operator, &self.operator, &claims);
        // The system's account has no storage: JetStream refuses it there.
        let system = json!({ "type": "account", "version": 2, "limits": {
            "subs": -1, "data": -1, "payload": -1, "imports": -1, "exports": -1, "wildcards": true,
            "conn": -1, "leaf": -1,
        }});
        let accounts = [
            (&self.system, jwt(&self.operator, &self.system, &system)),
            (&self.account, jwt(&self.operator, &self.account, &account_claims())),
        ];
        let [system, account] = accounts.map(|(key, jwt)| format!("{}: {jwt}", key.public_key()));
        format!(
            "operator: {operator}\nsystem_account: {}\nresolver: MEMORY\nresolver_preload: {{\n{system}\n{account}\n}}",
            self.system.public_key()
        )
    }
}

/// A file of credentials for a new user, who may do everything but what `denied` says.
fn credentials(server: &Server, account: &KeyPair, denied: &[&str], seed: &KeyPair) -> PathBuf {
    let claims = json!({ "type": "user", "version": 2, "subs": -1, "data": -1, "payload": -1,
        "pub": { "deny": denied }, "sub": {} });
    let text = format!(
        "-----BEGIN NATS USER JWT-----\n{}\n------END NATS USER JWT------\n\n\
         -----BEGIN USER NKEY SEED-----\n{}\n------END USER NKEY SEED------\n",
        jwt(account, seed, &claims),
        seed.seed().unwrap()
    );
    let path = server.path().join("user.creds");
    std::fs::write(&path, text).unwrap();
    path
}

async fn a_file_of_credentials_opens_the_log(version: Version) {
    let trust = Trust::new();
    let Some(server) = Server::start(version, &trust.config()).await else { return };
    let user = KeyPair::new_user();
    let url = |path: &PathBuf| server.url(&format!("creds={}", path.display()));

    let path = credentials(&server, &trust.account, &["s.secret"], &user);
    let log = open(&url(&path)).await;
    log.ensure_stream(&stream("s", "s.>")).await.unwrap();
    publish_all(&*log, 10, 10).await;
    let denied = log.publish(vec![record("s.secret", 11)]).await.pop().unwrap().unwrap_err();
    assert!(matches!(denied, LogError::Denied { .. }), "{denied}");
    log.close().await.unwrap();

    // An account that the operator does not know, and nobody at all.
    let path = credentials(&server, &KeyPair::new_account(), &[], &user);
    for refused in [url(&path), server.url("")] {
        let error = refused.open(Access::Write).await.err().unwrap();
        assert!(matches!(error, LogError::Denied { .. }), "{error}");
        assert!(!error.to_string().contains(&user.seed().unwrap()), "{error}");
    }
}

#[tokio::test]
async fn i7_a_file_of_credentials_opens_the_log_and_is_never_told() {
    a_file_of_credentials_opens_the_log(Version::Current).await;
    a_file_of_credentials_opens_the_log(Version::V2_9).await;
}

#[tokio::test]
async fn i7_a_file_that_holds_no_credentials_is_named_and_not_repeated() {
    let trust = Trust::new();
    let Some(server) = Server::start(Version::Current, &trust.config()).await else { return };
    let path = server.path().join("user.creds");
    for content in [None, Some("s3cr3t"), Some("-----BEGIN NATS USER JWT-----\ns3cr3t\n")] {
        if let Some(content) = content {
            std::fs::write(&path, content).unwrap();
        }
        let url = server.url(&format!("creds={}", path.display()));
        let error = url.open(Access::Read).await.err().unwrap().to_string();
        assert!(error.contains("user.creds") && !error.contains("s3cr3t"), "{error}");
    }
}
