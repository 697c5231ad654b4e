//! The simulated network, and how the log is compared with what it has made.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::Value;

use super::{Home, Running};

const POSTS: &str = "app.bsky.feed.post/";

/// What an event is, whatever host it came from.
fn identity(event: &Value) -> String {
    let text = |name: &str| event[name].as_str().unwrap_or_default().to_owned();
    match event["kind"].as_str().unwrap() {
        "commit" => format!("{} at://{}/{}", text("action"), text("did"), text("path")),
        kind => format!("{kind} {}", text("did")),
    }
}

/// What the network says that it has sent.
pub struct Sent {
    /// The relay's number.
    pub seq: u64,
    pub identity: String,
}

/// What is in the log, in order, by stream and author. Gaps are left out.
#[derive(Default)]
pub struct Brought {
    /// The post that came first.
    first: Option<String>,
    posts: BTreeMap<String, Vec<String>>,
    events: BTreeMap<String, Vec<String>>,
}

impl Brought {
    /// Reads it from a log; `log` are the flags that name it.
    pub fn read(home: &Home, log: &[&str]) -> Self {
        let mut brought = Self::default();
        let of = |value: &Value, name: &str| value[name].as_str().unwrap_or_default().to_owned();
        let tail =
            |stream| home.run(&[&["streams", "tail", stream], log].concat()).ok().json_lines();
        for stored in tail("bluesky-posts") {
            let post = &stored["payload"];
            let identity = format!("create {}", of(post, "uri"));
            brought.first.get_or_insert_with(|| identity.clone());
            brought.posts.entry(of(post, "author")).or_default().push(identity);
        }
        for stored in tail("bluesky-events") {
            let event = &stored["payload"];
            let identity = match event["kind"].as_str().unwrap() {
                "gap" => continue,
                kind @ ("update" | "delete") => format!("{kind} {}", of(event, "uri")),
                kind => format!("{kind} {}", of(event, "did")),
            };
            let uri = of(event, "uri");
            let author = uri.strip_prefix("at://").and_then(|rest| rest.split('/').next());
            let author = author.map_or_else(|| of(event, "did"), str::to_owned);
            brought.events.entry(author).or_default().push(identity);
        }
        brought
    }

    /// Where in the truth the log begins: a consumer without a cursor begins with what happens
    /// next.
    pub fn beginning<'a>(&self, mut truth: impl Iterator<Item = &'a Sent>) -> usize {
        truth.position(|sent| self.first.as_ref() == Some(&sent.identity)).unwrap_or(0)
    }

    pub fn forget(&mut self, forgotten: &BTreeSet<&String>) {
        for brought in self.posts.values_mut().chain(self.events.values_mut()) {
            brought.retain(|identity| !forgotten.contains(identity));
        }
    }

    fn counts(&self) -> BTreeMap<&String, usize> {
        let mut counts = BTreeMap::new();
        for identity in self.posts.values().chain(self.events.values()).flatten() {
            *counts.entry(identity).or_default() += 1;
        }
        counts
    }

    /// The authors whose events stand in another order than they were sent in. What was sent
    /// before the first post that was brought may come late, when a host is asked by time.
    pub fn out_of_order(&self, truth: &[Sent]) -> Vec<&String> {
        let begin = self.beginning(truth.iter());
        let mut order: BTreeMap<&String, Vec<usize>> = BTreeMap::new();
        for (at, sent) in truth.iter().enumerate() {
            order.entry(&sent.identity).or_default().push(at);
        }
        let is_ordered = |brought: &[String]| {
            // Where the same happened twice, it is not known which of the two it is.
            let places = brought.iter().filter_map(|identity| match order[identity][..] {
                [at] if at >= begin => Some(at),
                _ => None,
            });
            places.is_sorted()
        };
        let all = self.posts.iter().chain(&self.events);
        all.filter(|(_, brought)| !is_ordered(brought)).map(|(author, _)| author).collect()
    }
}

/// Everything that a network of `count` events has made and that concerns posts, in order; `None`
/// where it is still making events.
pub fn truth(network: &Running, protocol: &str, count: u64) -> Option<Vec<Sent>> {
    let (mut events, mut next) = (Vec::new(), 0);
    while next < count {
        let (_, lines) = network.get_text(&format!("/simulate/events?from={next}"));
        let last: Value = serde_json::from_str(lines.lines().last()?).unwrap();
        next = last["n"].as_u64().unwrap() + 1;
        for line in lines.lines().filter(|line| line.starts_with('{')) {
            let event: Value = serde_json::from_str(line).unwrap();
            let path = event["path"].as_str();
            // The old Jetstream knows no `#sync`.
            let is_told = protocol != "jetstream1" || event["kind"] != "sync";
            // One post of a commit can't be read; its siblings can.
            let is_broken = event["fault"].is_string() && event["text"].is_null();
            if is_told && !is_broken && path.is_none_or(|path| path.starts_with(POSTS)) {
                let number = |name: &str| event[name].as_u64().unwrap();
                events.push(Sent { seq: number("seq"), identity: identity(&event) });
            }
        }
    }
    Some(events)
}

/// Where the log differs from what the network has made since the first post in the log.
pub fn difference<'a>(truth: impl IntoIterator<Item = &'a Sent>, brought: &Brought) -> Vec<String> {
    let truth: Vec<&Sent> = truth.into_iter().collect();
    let begin = brought.beginning(truth.iter().copied());
    let brought = brought.counts();
    let mut sent: BTreeMap<&String, usize> = BTreeMap::new();
    for event in &truth[begin..] {
        *sent.entry(&event.identity).or_default() += 1;
    }
    // Other kinds of events may have come before the first post.
    let early: BTreeSet<&String> = truth[..begin].iter().map(|event| &event.identity).collect();
    let names: BTreeSet<&String> = sent.keys().chain(brought.keys()).copied().collect();
    let of = |name: &String| {
        (sent.get(name).copied().unwrap_or(0), brought.get(name).copied().unwrap_or(0))
    };
    names
        .into_iter()
        .filter(|name| of(name).0 != of(name).1 && !early.contains(name))
        .map(|name| format!("{name}: {} sent, {} in the log", of(name).0, of(name).1))
        .collect()
}
