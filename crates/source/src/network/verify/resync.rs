//! What an account has written that no commit has told of, looked up in its repository.
//!
//! A commit that does not start from the last known state is sound by itself, so the account goes
//! on from it. What lies between the two states is another matter: an event of the kind `desync`
//! says so at once, and then the repository is fetched. The posts in it whose keys are times
//! between the two revisions are the ones that were missed; an event of the kind `resync` ends
//! them. What was deleted or changed in between can't be told from a repository.

use std::{
    collections::{HashSet, VecDeque},
    ops::ControlFlow,
    sync::Arc,
    time::Duration,
};

use bytes::Bytes;
use serde::Serialize;
use tokio::{task::JoinSet, time::Instant};
use wingbeat_atproto::{
    Did, DidDocument, POST_COLLECTION, Post as PostRecord, RecordPath, RecordUri, Tid, TidError,
    repository::Repository,
};
use wingbeat_record::{MessageId, Time};

use super::super::{http::HttpClient, resolve::is_domain};
use crate::{Content, Event, contents::post_content, payload::to_bytes};

/// The largest repository that is read, in bytes, and how many are read at the same time: so much
/// memory may go into it, three times over while a repository is taken apart.
const REPOSITORY_BYTES_MAX: usize = 32 * 1024 * 1024;
const REPOSITORIES_MAX: usize = 2;

/// How many accounts may wait for it.
const WAITING_MAX: usize = 1_000;

/// How long the repository of an account is not fetched again. Whoever wants to keep us busy has
/// to have many accounts.
const PAUSE: Duration = Duration::from_secs(60);

/// The most posts that are brought of one repository.
const POSTS_MAX: usize = 1_000;

/// What an account has done that was not told.
#[derive(Debug, Clone)]
pub(super) struct Missed {
    pub(super) did: Arc<str>,
    pub(super) document: Arc<DidDocument>,
    /// Where the host serves repositories: `https://HOST`.
    pub(super) host: String,
    /// The revisions between which it was.
    pub(super) from: Tid,
    pub(super) to: Tid,
    /// The posts that are told of nevertheless, by the event that it was noticed by.
    pub(super) told: HashSet<MessageId>,
}

/// Something may have been missed.
#[derive(Serialize)]
struct Desync<'a> {
    kind: &'static str,
    did: &'a str,
    /// `since`, `prevData`: a commit says that something else was before it. `sync`: a `#sync`.
    reason: &'static str,
    from_rev: String,
    to_rev: String,
    host: &'a str,
    seq: u64,
    time: String,
}

/// What was found of it.
#[derive(Serialize)]
struct Resynced<'a> {
    kind: &'static str,
    did: &'a str,
    from_rev: String,
    to_rev: String,
    /// How many posts were found.
    posts: usize,
    /// Why it was not looked for, or not everything was found.
    #[serde(skip_serializing_if = "Option::is_none")]
    problem: Option<&'a str>,
    time: String,
}

/// Says that something may have been missed before an event of a host.
pub(super) fn desync_event(missed: &Missed, reason: &'static str, host: &str, seq: u64) -> Content {
    let Missed { did, from, to, .. } = missed;
    let kind = "desync";
    let (from_rev, to_rev) = (from.to_string(), to.to_string());
    let id = MessageId::new(format!("{did}:{from_rev}:{to_rev}:{kind}"));
    let time = Time::now().to_string();
    let payload = Desync { kind, did, reason, from_rev, to_rev, host, seq, time };
    Content::Event(Event { kind, payload: to_bytes(&payload), id })
}

fn resync_event(missed: &Missed, posts: usize, problem: Option<&str>) -> Content {
    let Missed { did, from, to, .. } = missed;
    let kind = "resync";
    let (from_rev, to_rev) = (from.to_string(), to.to_string());
    let id = MessageId::new(format!("{did}:{from_rev}:{to_rev}:{kind}"));
    let time = Time::now().to_string();
    let payload = Resynced { kind, did, from_rev, to_rev, posts, problem, time };
    Content::Event(Event { kind, payload: to_bytes(&payload), id })
}

/// What came out of looking for what was missed.
pub(super) struct Found {
    /// Posts in the order of their keys, and what is to be said.
    pub(super) contents: Vec<Content>,
    /// Whether all was found that can be.
    pub(super) is_whole: bool,
}

impl Found {
    fn of(missed: &Missed, posts: Vec<Content>, problem: Option<&str>) -> Self {
        let count = posts.len();
        let mut contents = posts;
        contents.push(resync_event(missed, count, problem));
        Self { contents, is_whole: problem.is_none() }
    }
}

/// Looks for what was missed, in the background.
pub(super) struct Resyncs {
    client: HttpClient,
    waiting: VecDeque<Missed>,
    running: JoinSet<Found>,
    /// The accounts that were looked at last, and when.
    last: VecDeque<(Instant, Arc<str>)>,
}

impl Resyncs {
    pub(super) fn new(client: HttpClient) -> Self {
        Self { client, waiting: VecDeque::new(), running: JoinSet::new(), last: VecDeque::new() }
    }

    /// Looks for what was missed, or says why not.
    pub(super) fn begin(&mut self, missed: Missed) -> Option<Found> {
        while self.last.front().is_some_and(|(at, _)| at.elapsed() >= PAUSE) {
            self.last.pop_front();
        }
        let is_known = self.last.iter().any(|(_, did)| *did == missed.did);
        let is_full = self.waiting.len() >= WAITING_MAX || self.last.len() >= WAITING_MAX;
        if is_known || is_full {
            let problem = if is_known {
                "the repository was fetched within the last minute"
            } else {
                "too many repositories are to be fetched"
            };
            return Some(Found::of(&missed, Vec::new(), Some(problem)));
        }
        self.last.push_back((Instant::now(), Arc::clone(&missed.did)));
        self.waiting.push_back(missed);
        self.start();
        None
    }

    /// The next that came out. `None` while nothing is looked for.
    pub(super) async fn next(&mut self) -> Option<Found> {
        let found = self.running.join_next().await?;
        self.start();
        match found {
            Ok(found) => Some(found),
            Err(error) => std::panic::resume_unwind(error.into_panic()),
        }
    }

    fn start(&mut self) {
        while self.running.len() < REPOSITORIES_MAX
            && let Some(missed) = self.waiting.pop_front()
        {
            self.running.spawn(look_for(missed, self.client.clone()));
        }
    }
}

/// Fetches the repository from the host, or else from the account's own server.
async fn look_for(missed: Missed, client: HttpClient) -> Found {
    let mut problems = Vec::new();
    let own = missed.document.pds.clone().filter(|pds| is_public(pds));
    for server in std::iter::once(missed.host.clone()).chain(own) {
        let did = missed.did.replace('%', "%25");
        let url = format!("{server}/xrpc/com.atproto.sync.getRepo?did={did}");
        let car = match client.get(&url, REPOSITORY_BYTES_MAX).await {
            Ok(car) => car,
            Err(error) => {
                problems.push(error.to_string());
                continue;
            }
        };
        let asked = missed.clone();
        let read = tokio::task::spawn_blocking(move || posts_between(&asked, &car)).await;
        match read {
            Ok(Ok(posts)) if posts.len() < POSTS_MAX => return Found::of(&missed, posts, None),
            Ok(Ok(posts)) => {
                let problem = format!("only the first {POSTS_MAX} posts were taken");
                return Found::of(&missed, posts, Some(&problem));
            }
            Ok(Err(problem)) => problems.push(format!("{server}: {problem}")),
            Err(error) => problems.push(format!("{server}: {error}")),
        }
    }
    Found::of(&missed, Vec::new(), Some(&problems.join("; ")))
}

/// Anybody can write an address into a DID document. It must not lead to a port or a machine
/// inside of the network that this runs in: domains only, and TLS makes sure that the answer is
/// theirs.
fn is_public(server: &str) -> bool {
    server.strip_prefix("https://").is_some_and(is_domain)
}

/// The posts of a repository that were made between the two revisions.
fn posts_between(missed: &Missed, car: &Bytes) -> Result<Vec<Content>, String> {
    let words = |error: &dyn std::fmt::Display| error.to_string();
    let did = Did::parse(&missed.did).map_err(|error| words(&error))?;
    let repository = Repository::parse(car).map_err(|error| words(&error))?;
    let state =
        repository.verify(&did, &missed.document.signing_key).map_err(|error| words(&error))?;
    if state.rev < missed.to {
        return Err(format!("it is still at the revision {}", state.rev));
    }
    let mut posts = Vec::new();
    let visit = |entry: wingbeat_atproto::repository::Entry<'_, '_>| {
        let Ok(path) = RecordPath::parse(entry.path) else { return ControlFlow::Continue(()) };
        if path.collection.as_str() != POST_COLLECTION {
            return ControlFlow::Continue(());
        }
        let made: Result<Tid, TidError> = Tid::from_text(path.rkey.as_str().as_bytes());
        if made.is_ok_and(|made| missed.from < made && made <= missed.to)
            && let Ok(post) = PostRecord::decode(entry.record)
            && let Ok(content) =
                post_content(&RecordUri { did, path }, &entry.cid.to_string(), &post)
            && !matches!(&content, Content::Post(post) if missed.told.contains(&post.id))
        {
            posts.push(content);
        }
        if posts.len() < POSTS_MAX { ControlFlow::Continue(()) } else { ControlFlow::Break(()) }
    };
    repository.walk(visit).map_err(|error| words(&error))?;
    Ok(posts)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_servers_on_the_public_network_are_asked() {
        assert!(is_public("https://pds.example.com"));
        for address in [
            "http://pds.example.com",
            "https://localhost",
            "https://127.0.0.1",
            "https://[::1]",
            "https://pds.example.com:8443",
            "https://metadata.internal",
        ] {
            assert!(!is_public(address), "{address}");
        }
    }
}
