//! `wingbeat ingest` from a real PDS: what people do there is in the streams, once, whatever is
//! stopped meanwhile. Needs `make test-pds`, which installs the PDS; otherwise it is skipped.

#![expect(clippy::unwrap_used, reason = "tests")]

mod support;

use std::{
    io::{BufRead as _, BufReader, Read as _, Write as _},
    net::{TcpListener, TcpStream},
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    time::{Duration, Instant},
};

use serde_json::{Value, json};
use support::{Home, Running};

/// How long a test waits for what must happen. Only one that fails takes that long.
const PATIENCE: Duration = Duration::from_secs(60);

/// A PDS and its directory of DIDs, in one process.
struct Pds {
    child: Child,
    address: String,
    admin: String,
}

/// Somebody with an account.
struct Person {
    did: String,
    token: String,
}

impl Pds {
    /// The same data and ports lead to the same PDS.
    fn start(data: &Path, ports: [u16; 2]) -> Option<Self> {
        let script = support::shared()?.join("servers/pds.mjs").canonicalize().ok()?;
        let modules = std::env::var_os("WINGBEAT_PDS").map(PathBuf::from)?;
        let [pds, directory] = ports.map(|port| port.to_string());
        let mut child = Command::new("node")
            .arg(script)
            .args([&pds, &directory])
            .current_dir(modules)
            .envs([("LOG_ENABLED", "false")])
            .env("DATA_DIR", data)
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let mut line = String::new();
        BufReader::new(child.stdout.take().unwrap()).read_line(&mut line).unwrap();
        let ready: Value = serde_json::from_str(&line).unwrap();
        let admin = ready["adminAuth"].as_str().unwrap().to_owned();
        Some(Self { child, address: format!("127.0.0.1:{pds}"), admin })
    }

    fn stop(mut self) {
        let id = self.child.id().to_string();
        assert!(Command::new("kill").arg(id).status().unwrap().success());
        self.child.wait().unwrap();
    }

    /// Calls a method. HTTP/1.0 answers come in one piece.
    fn call(&self, method: &str, authorization: &str, input: &Value) -> Value {
        let body = if input.is_null() { String::new() } else { input.to_string() };
        let mut stream = TcpStream::connect(&self.address).unwrap();
        let authorization = match authorization {
            "" => String::new(),
            given => format!("Authorization: {given}\r\n"),
        };
        write!(
            stream,
            "POST /xrpc/{method} HTTP/1.0\r\nHost: {}\r\nContent-Type: application/json\r\n\
             {authorization}Content-Length: {}\r\n\r\n{body}",
            self.address,
            body.len(),
        )
        .unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).unwrap();
        let (head, body) = answer.split_once("\r\n\r\n").unwrap_or_default();
        assert!(head.contains(" 200 "), "{method}: {answer}");
        serde_json::from_str(body).unwrap_or_default()
    }

    fn account(&self, name: &str) -> Person {
        let made = self.call(
            "com.atproto.server.createAccount",
            "",
            &json!({
                "handle": format!("{name}.test"), "email": format!("{name}@example.com"),
                "password": "a long enough password",
            }),
        );
        let text = |field: &str| made[field].as_str().unwrap().to_owned();
        Person { did: text("did"), token: format!("Bearer {}", text("accessJwt")) }
    }

    /// Writes a post and returns its key.
    fn post(&self, person: &Person, text: &str) -> String {
        let made = self.call(
            "com.atproto.repo.createRecord",
            &person.token,
            &json!({
                "repo": person.did, "collection": "app.bsky.feed.post", "record": record(text),
            }),
        );
        made["uri"].as_str().unwrap().rsplit('/').next().unwrap().to_owned()
    }

    fn edit(&self, person: &Person, key: &str, text: &str) {
        self.call(
            "com.atproto.repo.putRecord",
            &person.token,
            &json!({
                "repo": person.did, "collection": "app.bsky.feed.post", "rkey": key,
                "record": record(text),
            }),
        );
    }

    fn delete(&self, person: &Person, key: &str) {
        self.call(
            "com.atproto.repo.deleteRecord",
            &person.token,
            &json!({
                "repo": person.did, "collection": "app.bsky.feed.post", "rkey": key,
            }),
        );
    }
}

impl Drop for Pds {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn record(text: &str) -> Value {
    json!({
        "$type": "app.bsky.feed.post", "text": text, "createdAt": "2026-01-02T03:04:05.678Z",
        "langs": ["en"],
    })
}

fn free_ports() -> [u16; 2] {
    let listeners = [(); 2].map(|()| TcpListener::bind("127.0.0.1:0").unwrap());
    listeners.map(|listener| listener.local_addr().unwrap().port())
}

fn ingest(home: &Home, pds: &Pds, more: &[&str]) -> Running {
    let source = format!("relay:ws://{}", pds.address);
    let mut arguments = vec!["--source", &source, "--set", "source.network.retry_max=200ms"];
    arguments.extend(more);
    home.ingest(&arguments, &[])
}

/// The texts of the posts and what the events say, each in order.
fn streams(home: &Home) -> (Vec<String>, Vec<String>) {
    let text = |value: &Value, name: &str| value[name].as_str().unwrap_or("-").to_owned();
    let posts = home.run(&["streams", "tail", "bluesky-posts"]).ok().json_lines();
    let posts = posts.iter().map(|post| text(&post["payload"], "text")).collect();
    let events = home.run(&["streams", "tail", "bluesky-events"]).ok().json_lines();
    let events = events.iter().map(|stored| {
        let event = &stored["payload"];
        let what = match event["kind"].as_str().unwrap() {
            "update" | "delete" => text(event, "rkey"),
            "identity" => text(event, "handle"),
            "account" => format!("{} {}", event["active"], text(event, "status")),
            _ => text(event, "did"),
        };
        format!("{} {what}", text(event, "kind"))
    });
    (posts, events.collect())
}

fn wait_for_post(home: &Home, last: &str) {
    let start = Instant::now();
    while streams(home).0.last().is_none_or(|text| text != last) {
        assert!(start.elapsed() < PATIENCE, "{:?}", streams(home));
    }
}

/// Whoever has no cursor begins with what happens next: somebody goes on until it is seen.
fn begin(home: &Home, pds: &Pds) {
    let pilot = pds.account("pilot");
    let start = Instant::now();
    let mut pilots = 0;
    while streams(home).0.is_empty() {
        assert!(start.elapsed() < PATIENCE);
        pilots += 1;
        pds.post(&pilot, &format!("is anybody listening? {pilots}"));
    }
    pds.post(&pilot, "then we begin");
    wait_for_post(home, "then we begin");
}

#[test]
fn what_people_do_on_a_real_pds_is_in_the_streams_once() {
    let (home, data, ports) = (Home::new(), Home::new(), free_ports());
    let Some(pds) = Pds::start(data.path(), ports) else { return };
    let mut service = ingest(&home, &pds, &[]);

    begin(&home, &pds);
    let (posts_before, events_before) = streams(&home);

    let alice = pds.account("alice");
    let key = pds.post(&alice, "the first one from here");
    let other = pds.post(&alice, "one that does not stay");
    pds.edit(&alice, &key, "the first one from here, mended");
    pds.delete(&alice, &other);
    pds.call("com.atproto.identity.updateHandle", &alice.token, &json!({"handle": "alicia.test"}));
    let bob = pds.account("bob");
    pds.post(&bob, "soon nobody will know me");
    pds.call("com.atproto.server.deactivateAccount", &bob.token, &json!({}));
    pds.call("com.atproto.server.activateAccount", &bob.token, &Value::Null);
    // A PDS no longer sends what a deleted account did before, so it must be here by then.
    pds.post(&alice, "somebody is back");
    wait_for_post(&home, "somebody is back");
    pds.call("com.atproto.admin.deleteAccount", &pds.admin, &json!({"did": bob.did}));
    pds.post(&alice, "nobody is missed");
    wait_for_post(&home, "nobody is missed");

    service.child.kill().unwrap();
    service.child.wait().unwrap();
    pds.post(&alice, "written while nobody listened");
    pds.stop();
    let pds = Pds::start(data.path(), ports).unwrap();
    let service = ingest(&home, &pds, &[]);
    let last = pds.post(&alice, "written after the restart");
    pds.delete(&alice, &last);
    pds.post(&alice, "and this is the end");
    wait_for_post(&home, "and this is the end");

    service.signal("TERM");
    assert_eq!(service.wait().code, Some(0));
    home.run(&["audit"]).ok();
    let (posts, events) = streams(&home);
    assert_eq!(
        posts[posts_before.len()..],
        [
            "the first one from here",
            "one that does not stay",
            "soon nobody will know me",
            "somebody is back",
            "nobody is missed",
            "written while nobody listened",
            "written after the restart",
            "and this is the end",
        ]
    );
    let expected = [
        "identity alice.test".to_owned(),
        "account true -".to_owned(),
        "sync".to_owned(),
        format!("update {key}"),
        format!("delete {other}"),
        "identity alicia.test".to_owned(),
        "identity bob.test".to_owned(),
        "account true -".to_owned(),
        "sync".to_owned(),
        "account false deactivated".to_owned(),
        // Who comes back is announced like somebody new.
        "account true -".to_owned(),
        "identity bob.test".to_owned(),
        "sync".to_owned(),
        "account false deleted".to_owned(),
        format!("delete {last}"),
    ];
    // What a `#sync` is about needs no more than that it came.
    let events = events[events_before.len()..].iter().map(|event| match event {
        sync if sync.starts_with("sync") => "sync".to_owned(),
        other => other.clone(),
    });
    assert_eq!(events.collect::<Vec<_>>(), expected);
    assert!(home.run(&["streams", "gaps"]).ok().stdout.starts_with("No gaps"));
}

#[test]
fn what_a_real_pds_has_signed_is_verified() {
    let (home, data, ports) = (Home::new(), Home::new(), free_ports());
    let Some(pds) = Pds::start(data.path(), ports) else { return };
    let directory = format!("source.network.plc_directory=http://127.0.0.1:{}", ports[1]);
    let service = ingest(&home, &pds, &["--verify", "full", "--set", &directory]);
    begin(&home, &pds);
    let before = streams(&home).0.len();
    let alice = pds.account("alice");
    let keys: Vec<String> =
        (0..20).map(|number| pds.post(&alice, &format!("post number {number}"))).collect();
    pds.edit(&alice, &keys[3], "post number 3, mended");
    pds.delete(&alice, &keys[4]);
    pds.call("com.atproto.identity.updateHandle", &alice.token, &json!({"handle": "alicia.test"}));
    pds.post(&alice, "and this is the end");
    wait_for_post(&home, "and this is the end");
    let counters = service.get("/health/detailed")["counters"].clone();
    service.signal("TERM");
    assert_eq!(service.wait().code, Some(0));
    assert_eq!(streams(&home).0.len(), before + 21);
    assert!(counters["verified"].as_u64() >= Some(23), "{counters}");
    assert_eq!((&counters["refused"], &counters["desyncs"]), (&json!(0), &json!(0)));
    home.run(&["audit"]).ok();
}
