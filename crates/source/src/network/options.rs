//! What may be asked of the sources that read from the network.

use std::{path::PathBuf, time::Duration};

use tokio_tungstenite::tungstenite::http::Uri;
use wingbeat_atproto::{Did, Nsid, POST_COLLECTION};

use super::{
    endpoint::{Endpoint, Protocol},
    resolve::PLC_DIRECTORY,
};
use crate::SourceError;

/// The most collections that Jetstream takes.
const COLLECTIONS_MAX: usize = 100;

/// The most accounts. Jetstream takes 10,000, but they travel in the address, of which many
/// servers take 8 KiB and no more.
const DIDS_MAX: usize = 100;

/// What may be asked of the sources that read from the network.
#[derive(Debug, Clone, PartialEq)]
pub struct NetworkOptions {
    /// The collections that Jetstream is asked for: NSIDs, or `PREFIX.*`. Posts become items,
    /// what else comes is counted. The relay always sends everything.
    pub collections: Vec<String>,
    /// The accounts whose events are wanted; all accounts where it is empty.
    pub dids: Vec<String>,
    /// How far a relay's commits are checked.
    pub verify: Verify,
    /// The directory of `did:plc` that keys are asked of, such as
    /// [`PLC_DIRECTORY`](super::resolve::PLC_DIRECTORY).
    pub plc_directory: String,
    /// Whether posts get their authors' handles, as far as they are known.
    pub handles: bool,
    /// The server that is asked whose a handle is, such as `https://HOST`. None: the domain that
    /// the handle is.
    pub handle_resolver: Option<String>,
    /// The file of the dictionary that Jetstream v1 compresses with. Without it, events of v1
    /// come as plain JSON. Jetstream v2 hands out its dictionary itself.
    pub jetstream_v1_dictionary: Option<PathBuf>,
    /// When to give up, to retry, to go back.
    pub timings: Timings,
}

impl Default for NetworkOptions {
    fn default() -> Self {
        Self {
            collections: vec![POST_COLLECTION.to_owned()],
            dids: Vec::new(),
            verify: Verify::None,
            plc_directory: PLC_DIRECTORY.to_owned(),
            handles: false,
            handle_resolver: None,
            jetstream_v1_dictionary: None,
            timings: Timings::default(),
        }
    }
}

/// How far a relay's commits are checked. The hash of a post's own block is always checked.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Verify {
    /// Not beyond that.
    None,
    /// Every record that a commit names is there, and has the hash that it is named by.
    Hashes,
    /// Signatures and trees too, and that every commit follows the one before it.
    Full,
}

/// When to give up, to retry, to go back. The defaults suit the public network.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Timings {
    /// How long a connection may take to be made, TLS and websocket included.
    pub connect_max: Duration,
    /// The wait before the first retry. It doubles up to `retry_max`, and varies by a quarter.
    pub retry_min: Duration,
    /// The longest wait before a retry.
    pub retry_max: Duration,
    /// How long a connection must have been good for the waits to begin anew.
    pub settled_after: Duration,
    /// How long a host that `auto` tries may take to send its first event.
    pub first_event_max: Duration,
    /// The shortest silence that a host is given up for.
    pub silence_min: Duration,
    /// The silence after which a host is asked whether it is still there.
    pub ping_after: Duration,
    /// How long its answer may take.
    pub pong_max: Duration,
    /// How far before the last event `auto` begins on another host.
    pub rewind: Duration,
    /// How far before the last event a connection to the same host begins where its cursor is a
    /// time: events don't come strictly in the order of their times.
    pub time_cursor_rewind: Duration,
    /// How much time may lie between the last event and the first one after a reconnect, on hosts
    /// that don't say when a cursor is too old for them. More is a gap.
    pub jump_max: Duration,
    /// How long `auto` stays with a host before it tries the better ones again.
    pub return_after: Duration,
}

impl Default for Timings {
    fn default() -> Self {
        Self {
            connect_max: Duration::from_secs(10),
            retry_min: Duration::from_millis(500),
            retry_max: Duration::from_secs(30),
            settled_after: Duration::from_secs(10),
            first_event_max: Duration::from_secs(15),
            silence_min: Duration::from_secs(5),
            ping_after: Duration::from_secs(20),
            pong_max: Duration::from_secs(10),
            rewind: Duration::from_secs(30),
            time_cursor_rewind: Duration::from_secs(5),
            jump_max: Duration::from_secs(60),
            return_after: Duration::from_secs(600),
        }
    }
}

impl NetworkOptions {
    /// Whether the events of this account are asked for.
    pub(crate) fn wants(&self, did: &str) -> bool {
        self.dids.is_empty() || self.dids.iter().any(|wanted| wanted == did)
    }

    /// Refuses what can't be, or not with these hosts.
    pub(crate) fn check(&self, endpoints: &[Endpoint]) -> Result<(), SourceError> {
        let refuse = |problem: String| Err(SourceError::Spec(problem));
        for (what, count, max) in [
            ("collections", self.collections.len(), COLLECTIONS_MAX),
            ("accounts", self.dids.len(), DIDS_MAX),
        ] {
            if count > max {
                return refuse(format!("at most {max} {what} can be asked for, not {count}"));
            }
        }
        for collection in &self.collections {
            let (prefix, is_prefix) = match collection.strip_suffix(".*") {
                Some(prefix) => (format!("{prefix}.any"), true),
                None => (collection.clone(), false),
            };
            if let Err(error) = Nsid::parse(&prefix) {
                let what = if is_prefix { "prefix" } else { "collection" };
                return refuse(format!("the {what} `{collection}`: {error}"));
            }
        }
        for did in &self.dids {
            if let Err(error) = Did::parse(did) {
                return refuse(format!("the account `{did}`: {error}"));
            }
        }
        for address in std::iter::once(&self.plc_directory).chain(&self.handle_resolver) {
            let uri: Result<Uri, _> = address.parse();
            if !uri.is_ok_and(|uri| matches!(uri.scheme_str(), Some("http" | "https"))) {
                return refuse(format!("`{address}` is no address: write https://HOST"));
            }
        }
        match self.verify {
            Verify::None => Ok(()),
            Verify::Hashes | Verify::Full => {
                match endpoints.iter().find(|e| e.protocol != Protocol::Relay) {
                    Some(endpoint) => refuse(format!(
                        "Jetstream sends no proofs, so {endpoint} can't be verified: take a relay, or \
                     verify=none"
                    )),
                    None => Ok(()),
                }
            }
        }
    }
}
