//! Items on their way to whoever asks for them, and the places between them.

use tokio::sync::mpsc;
use wingbeat_record::Time;

use super::verify::Unproven;
use crate::Content;

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
    Item(Content),
    /// An event that becomes items when it is verified.
    Unproven(Box<Unproven>),
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
    sender: mpsc::Sender<Vec<Entry>>,
}

impl Outbox {
    /// An outbox, and what comes out of it.
    pub(crate) fn new() -> (Self, mpsc::Receiver<Vec<Entry>>) {
        let (sender, receiver) = mpsc::channel(BATCHES_WAITING);
        (Self { entries: Vec::new(), bytes: 0, sender }, receiver)
    }

    /// Adds an item.
    pub(crate) fn item(&mut self, content: Content) {
        self.bytes += content.bytes();
        self.entries.push(Entry::Item(content));
    }

    /// Adds an event that has to be verified.
    pub(crate) fn unproven(&mut self, event: Unproven) {
        self.bytes += event.proof.frame.len();
        self.entries.push(Entry::Unproven(Box::new(event)));
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

    /// Whether there is nothing to be sent.
    pub(crate) fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }

    /// Sends what there is. Waits until there is room for it; dropping the future loses nothing.
    pub(crate) async fn send(&mut self) -> Result<(), Stopped> {
        if self.entries.is_empty() {
            return Ok(());
        }
        let room = self.sender.reserve().await.map_err(|_| Stopped)?;
        self.bytes = 0;
        room.send(std::mem::take(&mut self.entries));
        Ok(())
    }

    /// Waits until nobody asks for items any more.
    pub(crate) fn stopped(&self) -> impl Future<Output = ()> + use<> {
        let sender = self.sender.clone();
        async move { sender.closed().await }
    }
}

/// The time in microseconds since 1970.
pub(crate) fn now_us() -> u64 {
    u64::try_from(Time::now().as_micros()).unwrap_or(0)
}
