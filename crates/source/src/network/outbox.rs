//! Items on their way to whoever asks for them, each with a position, and the places between them.

use tokio::sync::mpsc;
use wingbeat_record::Time;

use crate::{Content, Item};

/// The most items and places that are sent in one go.
const BATCH_ENTRIES: usize = 256;

/// The most bytes that are sent in one go, roughly.
const BATCH_BYTES: usize = 256 * 1024;

/// How many batches may wait to be taken. When they do, nothing more is read from the network.
const BATCHES_WAITING: usize = 2;

/// An item, or how far a host's stream has been read behind it.
#[derive(Debug)]
pub(crate) enum Entry {
    /// An item.
    Item(Item),
    /// What came before is all that there was up to here.
    Place {
        /// The index of the host.
        host: usize,
        /// As in [`crate::Place`].
        cursor: u64,
        /// As in [`crate::Place`].
        time_us: u64,
    },
}

/// Nobody asks for items any more.
#[derive(Debug)]
pub(crate) struct Stopped;

/// Collects entries, and sends them batch by batch.
pub(crate) struct Outbox {
    entries: Vec<Entry>,
    bytes: usize,
    position: u64,
    sender: mpsc::Sender<Vec<Entry>>,
}

impl Outbox {
    /// An outbox for items behind a position, and what comes out of it.
    pub(crate) fn new(position: u64) -> (Self, mpsc::Receiver<Vec<Entry>>) {
        let (sender, receiver) = mpsc::channel(BATCHES_WAITING);
        (Self { entries: Vec::new(), bytes: 0, position, sender }, receiver)
    }

    /// Adds an item. Its position is the time, and greater than that of the one before.
    pub(crate) fn item(&mut self, content: Content) {
        self.position = now_us().max(self.position + 1);
        self.bytes += content.bytes();
        self.entries.push(Entry::Item(Item { position: self.position, content }));
    }

    /// Adds how far a host's stream has been read.
    pub(crate) fn place(&mut self, host: usize, cursor: u64, time_us: u64) {
        // Most events of a relay are no items, so most places follow one another.
        if let Some(Entry::Place { host: of, .. }) = self.entries.last()
            && *of == host
        {
            self.entries.pop();
        }
        self.entries.push(Entry::Place { host, cursor, time_us });
    }

    /// Whether it is time to send.
    pub(crate) fn is_full(&self) -> bool {
        self.entries.len() >= BATCH_ENTRIES || self.bytes >= BATCH_BYTES
    }

    /// Sends what there is. Waits until there is room for it.
    pub(crate) async fn send(&mut self) -> Result<(), Stopped> {
        if self.entries.is_empty() {
            return Ok(());
        }
        self.bytes = 0;
        self.sender.send(std::mem::take(&mut self.entries)).await.map_err(|_| Stopped)
    }

    /// Waits until nobody asks for items any more.
    pub(crate) async fn stopped(&self) {
        self.sender.closed().await;
    }
}

/// The time in microseconds since 1970.
pub(crate) fn now_us() -> u64 {
    u64::try_from(Time::now().as_micros()).unwrap_or(0)
}
