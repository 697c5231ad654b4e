//! Posts with the handles of their authors.

use serde_json::json;
use wingbeat_source::{Content, OpenOptions};

use crate::{
    common::json,
    directory::Directory,
    frames::DID,
    network_host::{Host, Reading, Wire, frame, options, text, v1},
};

fn with_handles(directory: &Directory) -> OpenOptions {
    let mut options = options();
    options.network.handles = true;
    options.network.plc_directory.clone_from(&directory.address);
    options.network.handle_resolver = Some(directory.address.clone());
    options
}

fn claim(directory: &Directory, handle: &str) {
    let document = json!({
        "alsoKnownAs": [format!("at://{handle}")],
        "verificationMethod": [{
            "id": "#atproto",
            "type": "Multikey",
            "publicKeyMultibase": "zQ3shqwJEJyMBsBXCWyCBpUBMqxcon9oHB7mCvx4sSpMdLJwc",
        }],
    });
    directory.register(DID, &document);
}

/// Someone who reads posts, one after the other.
struct Posts {
    wire: Wire,
    reading: Reading,
    number: u64,
}

impl Posts {
    /// The next post.
    async fn next(&mut self) -> serde_json::Value {
        self.number += 1;
        self.wire.send(frame(self.number)).await;
        let item = self.reading.item().await;
        let Content::Post(post) = &item.content else { panic!("{item:?}") };
        let payload = json(&post.payload);
        assert_eq!(payload["text"], format!("post {}", self.number));
        payload
    }

    /// The handle of one of the next posts: the first ones come while it is asked for.
    async fn handle(&mut self) -> String {
        loop {
            if let Some(handle) = self.next().await.get("handle") {
                return handle.as_str().unwrap().to_owned();
            }
        }
    }
}

#[tokio::test]
async fn a_post_has_its_authors_handle_when_it_is_known() {
    let (host, directory) = (Host::start().await, Directory::start().await);
    claim(&directory, "ada.example.com");
    directory.register_handle("ada.example.com", DID);
    let reading = Reading::start(&format!("relay:{}", host.address()), &with_handles(&directory));
    let mut posts = Posts { wire: host.accept().await, reading, number: 0 };
    assert_eq!(posts.next().await.get("handle"), None, "nothing waits for it");
    assert_eq!(posts.handle().await, "ada.example.com");
    let asked = directory.asked();
    assert_eq!(posts.handle().await, "ada.example.com");
    assert_eq!(directory.asked(), asked, "it is known");
}

/// Whoever claims what is another's is shown without it.
#[tokio::test]
async fn a_handle_must_say_the_same() {
    let (host, directory) = (Host::start().await, Directory::start().await);
    claim(&directory, "bob.example.com");
    directory.register_handle("bob.example.com", "did:plc:bbbbbbbbbbbbbbbbbbbbbbbb");
    let reading = Reading::start(&format!("relay:{}", host.address()), &with_handles(&directory));
    let mut posts = Posts { wire: host.accept().await, reading, number: 0 };
    while directory.asked() < 2 {
        assert_eq!(posts.next().await.get("handle"), None);
    }
    for _ in 0..20 {
        assert_eq!(posts.next().await.get("handle"), None);
    }
    assert_eq!(directory.asked(), 2);
}

/// Jetstream's posts get them too, and a change is heard of.
#[tokio::test]
async fn a_handle_may_change() {
    let (host, directory) = (Host::start().await, Directory::start().await);
    claim(&directory, "ada.example.com");
    directory.register_handle("ada.example.com", DID);
    let spec = format!("jetstream1:{}", host.address());
    let mut reading = Reading::start(&spec, &with_handles(&directory));
    let mut wire = host.accept().await;
    let mut number = 0;
    let mut is_changed = false;
    loop {
        number += 1;
        wire.send(text(&v1(number))).await;
        let item = reading.item().await;
        let Content::Post(post) = &item.content else { panic!("{item:?}") };
        match json(&post.payload).get("handle").and_then(|handle| handle.as_str()) {
            Some("ada.example.com") if !is_changed => {
                is_changed = true;
                claim(&directory, "countess.example.com");
                directory.register_handle("countess.example.com", DID);
                let mut identity = v1(number);
                let account = json!({"did": DID, "seq": 1, "time": "2026-07-04T14:38:09Z"});
                identity["commit"] = serde_json::Value::Null;
                identity["kind"] = "identity".into();
                identity["identity"] = account;
                wire.send(text(&identity)).await;
                let item = reading.item().await;
                assert!(matches!(&item.content, Content::Event(event) if event.kind == "identity"));
            }
            Some("countess.example.com") => return assert!(is_changed),
            Some(handle) => panic!("{handle}"),
            None => {}
        }
    }
}
