use serde_json::{Value, json};
use wingbeat_network::{Fault, Network, Options, StartError};

use super::{Client, RELAY, V1, V2, first, get, lines, post, prepared};

#[tokio::test]
async fn handles_lead_to_documents_and_back() {
    let network = Network::start(prepared(10)).await.unwrap();
    let resolve = "/xrpc/com.atproto.identity.resolveHandle?handle=";
    let (status, body) = get(&network, &format!("{resolve}account-3.simulated.test")).await;
    assert_eq!(status, 200);
    let body: Value = serde_json::from_slice(&body).unwrap();
    let did = body["did"].as_str().unwrap();
    let (status, document) = get(&network, &format!("/{did}")).await;
    assert_eq!(status, 200);
    let document: Value = serde_json::from_slice(&document).unwrap();
    assert_eq!(document["alsoKnownAs"], json!(["at://account-3.simulated.test"]));
    assert_eq!(document["service"][0]["serviceEndpoint"], network.http_url(0).unwrap());

    assert_eq!(get(&network, &format!("{resolve}nobody.test")).await.0, 400);
    assert_eq!(get(&network, "/did:plc:aaaaaaaaaaaaaaaaaaaaaaaa").await.0, 404);
    let (status, body) = get(&network, "/xrpc/com.atproto.sync.getRepo?did=did:plc:a").await;
    let body: Value = serde_json::from_slice(&body).unwrap();
    assert_eq!((status, &body["error"]), (400, &json!("RepoNotFound")));
    network.stop().await;
}

#[tokio::test]
async fn an_account_that_is_gone_has_neither_document_nor_repository() {
    let mut options = prepared(600);
    options.mix.accounts = 0.1;
    options.mix.identities = 0.1;
    let network = Network::start(options).await.unwrap();
    first(&network, RELAY, 600).await;
    let events = lines(&network, "/simulate/events").await;
    let mut last = std::collections::HashMap::new();
    for event in events.iter().filter(|event| event["kind"] == "account") {
        last.insert(event["did"].as_str().unwrap(), event["detail"].as_str().unwrap());
    }
    let mut seen = std::collections::BTreeSet::new();
    for (did, status) in last {
        let document = get(&network, &format!("/{did}")).await.0;
        let repo = get(&network, &format!("/xrpc/com.atproto.sync.getRepo?did={did}")).await.0;
        let expected = match status {
            "active" => (200, 200),
            "deactivated" => (200, 400),
            "deleted" => (410, 400),
            other => panic!("{other}"),
        };
        assert_eq!((document, repo), expected, "{status}");
        seen.insert(status);
    }
    assert!(seen.contains("deleted"), "{seen:?}");
    network.stop().await;
}

#[tokio::test]
async fn bad_requests_say_what_is_wrong() {
    let network = Network::start(prepared(10)).await.unwrap();
    for (path, message) in [
        (format!("{RELAY}?cursor=x"), "no whole number"),
        (format!("{V1}?compress=true"), "no dictionary for v1"),
        (format!("{V2}?wantedDids=did:plc:a"), "a parameter of v1"),
        (format!("{V2}?kinds=post"), "is no kind"),
        (format!("{V2}?kinds=account&collections=a.b.c"), "leaves no commits"),
        (format!("{V2}?zstdDictionary=5"), "the current dictionary is"),
    ] {
        let (status, body) = Client::refused(&network, &path).await;
        assert_eq!(status, 400, "{path}");
        assert!(body["message"].as_str().unwrap().contains(message), "{path}: {body}");
    }
    assert_eq!(post(&network, "/simulate/earthquake").await, 400);
    assert_eq!(post(&network, "/simulate/fork").await, 409);
    assert!(!network.inject(0, Fault::Fork));
    network.stop().await;
}

#[tokio::test]
async fn settings_that_can_not_be_are_refused_by_name() {
    let refused = [
        (Options { ports: Vec::new(), ..Options::default() }, "ports"),
        (Options { rate: -1.0, ..Options::default() }, "rate"),
        (Options { accounts: 0, ..Options::default() }, "accounts"),
        (Options { window: 0, ..Options::default() }, "window"),
        (prepared(0), "prepared"),
        (
            Options { collections: vec![("no nsid".into(), 1.0)], ..Options::default() },
            "collections",
        ),
    ];
    for (options, name) in refused {
        match Network::start(options).await {
            Err(StartError::Setting { setting, .. }) => assert_eq!(setting, name),
            other => panic!("{name}: {other:?}"),
        }
    }
}
