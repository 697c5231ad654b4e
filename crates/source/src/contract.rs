//! What every source is.

use async_trait::async_trait;
use bytes::Bytes;
use serde::{Deserialize, Serialize};
use tokio::sync::watch;
use wingbeat_record::{DeadCause, Document, MessageId, Reason};

/// One thing that a source has read. Every item ends in the books as emitted, filtered or dead.
#[derive(Debug, Clone)]
pub struct Item {
    /// The resume point behind this item: a source that is opened at this position yields the
    /// items after it, and not this one again. It grows from item to item and means the same
    /// after a restart.
    pub position: u64,
    /// What was read.
    pub content: Content,
}

/// What was read.
#[derive(Debug, Clone)]
pub enum Content {
    /// A new post, or bytes that claim to be one: whether they are is for a flow to find out.
    Post(Post),
    /// Something else that happened upstream and matters, such as a deletion.
    Event(Event),
    /// Read, understood, and left out on purpose.
    Filtered(Reason),
    /// Read, but not understood by the source itself. It becomes a dead letter.
    Dead {
        /// The original bytes, or their beginning where they are longer than a record may be.
        original: Bytes,
        /// The whole original's length in bytes and its SHA-256 in hexadecimal, where `original`
        /// is only its beginning.
        cut_from: Option<(u64, String)>,
        /// What is wrong.
        cause: DeadCause,
        /// Its identity, where it has another position when it is read again.
        id: Option<MessageId>,
    },
}

impl Content {
    /// How many bytes it carries.
    pub(crate) fn bytes(&self) -> usize {
        match self {
            Self::Post(post) => post.payload.len(),
            Self::Event(event) => event.payload.len(),
            Self::Filtered(_) => 0,
            Self::Dead { original, .. } => original.len(),
        }
    }
}

/// A post on its way in.
#[derive(Debug, Clone)]
pub struct Post {
    /// One JSON object; keys in the order `uri, cid, author, text, created_at`, then the rest.
    pub payload: Bytes,
    /// The payload as an object, where the source has written or read it as one: so that stages
    /// need not scan it.
    pub document: Option<Document>,
    /// Its identity: of uri and cid, or of the content, or of the position.
    pub id: MessageId,
}

impl Post {
    /// A post that the source knows to be an object.
    pub fn of_document(document: Document, id: MessageId) -> Self {
        Self { payload: document.payload().clone(), document: Some(document), id }
    }

    /// Bytes that claim to be a post.
    pub fn of_bytes(payload: impl Into<Bytes>, id: MessageId) -> Self {
        Self { payload: payload.into(), document: None, id }
    }
}

/// Something that happened upstream and is no new post.
#[derive(Debug, Clone)]
pub struct Event {
    /// Its kind, a subject token: `delete`, `update`, `identity`, `account`, `sync`; `gap`, an
    /// interval of which the source can't prove that it saw everything; or, where commits are
    /// verified in full, `desync`, the same of one account, and `resync`, what was found of it.
    pub kind: &'static str,
    /// One JSON object.
    pub payload: Bytes,
    /// Its identity.
    pub id: MessageId,
}

/// How far a host's stream has been read.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Place {
    /// Host and endpoint. A cursor means something there only.
    pub host: String,
    /// The cursor of the last event there: a sequence number, or microseconds since 1970.
    pub cursor: u64,
    /// When that event happened, by the host's clock, in microseconds since 1970.
    pub time_us: u64,
}

/// Where an earlier run of a source has ended.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Resume {
    /// The position of the last item. New items get greater ones.
    pub position: u64,
    /// The places by host, where the source has hosts.
    pub places: Vec<Place>,
}

impl From<u64> for Resume {
    fn from(position: u64) -> Self {
        Self { position, places: Vec::new() }
    }
}

/// How a source's connection is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Connection {
    /// A host is being tried.
    Connecting {
        /// The host.
        host: String,
    },
    /// Events come in.
    Live {
        /// The host.
        host: String,
    },
    /// Events come in, but have to wait for something else.
    Waiting {
        /// The host that they come from.
        host: String,
        /// What they wait for, and why.
        problem: String,
    },
    /// A host could not be reached, or was given up; the next try comes.
    Broken {
        /// The host.
        host: String,
        /// Why.
        problem: String,
    },
}

/// What a source says about itself, for people.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Description {
    /// `file`, `frames`, `simulator`.
    pub kind: &'static str,
    /// The source as it was asked for, such as `file:posts.jsonl.gz`.
    pub spec: String,
    /// Whether its posts are made up.
    pub is_simulated: bool,
    /// Identifies the content that positions refer to. A saved position is used only where this
    /// is still the same; otherwise the source starts over, and says so. `None`: positions mean
    /// nothing after a restart (standard input).
    pub fingerprint: Option<String>,
}

/// Why a source can't go on. One bad item is no error of the source: it is [`Content::Dead`].
#[derive(Debug, thiserror::Error)]
pub enum SourceError {
    /// The source was named or set wrongly. The message says how to write it.
    #[error("{0}")]
    Spec(String),
    /// It can't be read.
    #[error("can't read {what}: {error}")]
    Io {
        /// What was being read.
        what: String,
        /// The system's answer.
        error: std::io::Error,
    },
    /// It was read, but it is broken in a way that leaves no place to go on from.
    #[error("{what} is damaged: {problem}")]
    Damaged {
        /// What was being read.
        what: String,
        /// What is wrong, and where.
        problem: String,
    },
}

/// A source of items.
#[async_trait]
pub trait Source: Send {
    /// What this source is.
    fn description(&self) -> &Description;

    /// What it has counted since it was opened, beside its items: names in the way of metrics,
    /// such as `ops_skipped`, with what they have come to.
    fn counters(&self) -> Vec<(&'static str, u64)> {
        Vec::new()
    }

    /// Where the items that were returned so far end, for each host that they came from. Empty
    /// where the position alone says it.
    fn places(&self) -> Vec<Place> {
        Vec::new()
    }

    /// How the connection is, for sources that have one.
    fn connection(&self) -> Option<watch::Receiver<Connection>> {
        None
    }

    /// The next items, at most `max`, in order; waits for them. `None` at the end. None at all
    /// come only from a source with places: once when it begins anew, whose places then say where
    /// it begins, for whoever keeps them before anything else; and where the places go on while
    /// nothing happens that is wanted. Dropping the future loses nothing: what was not returned
    /// comes with the next call.
    async fn next(&mut self, max: usize) -> Result<Option<Vec<Item>>, SourceError>;
}
