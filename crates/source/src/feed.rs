//! Reading that blocks, on a thread of its own, for a source that must not.

use std::{collections::VecDeque, io, thread};

use tokio::sync::mpsc;

use crate::{Item, Pace, SourceError};

/// The most items that the thread collects before it hands them over.
const BATCH_ITEMS: usize = 1000;

/// The most bytes that it collects, roughly: so that long items don't pile up.
const BATCH_BYTES: usize = 256 * 1024;

/// How many batches may wait to be taken. With the one that is being collected and the one that
/// is being taken, this bounds what a source holds: about four times [`BATCH_BYTES`] and four of
/// the longest items.
const BATCHES_WAITING: usize = 2;

/// Reads items one by one, and blocks while it waits for them.
pub(crate) trait ItemReader: Send + 'static {
    /// The next item, or `None` at the end. It is not called again after the end or an error.
    fn read(&mut self) -> Result<Option<Item>, SourceError>;

    /// Whether the next item is there already, so that reading it does not wait.
    fn is_ready(&self) -> bool;
}

/// What the thread hands over: items, `None` at the end, or why it can't go on.
type Handover = Result<Option<Vec<Item>>, SourceError>;

/// The items that a thread reads.
pub(crate) struct Feed {
    handovers: mpsc::Receiver<Handover>,
    waiting: VecDeque<Item>,
    is_over: bool,
    pace: Option<Pace>,
}

impl Feed {
    /// Starts a thread that reads. It ends when the input ends, or when the feed is dropped and
    /// its next item is read: a read that waits for ever (of a terminal) is left behind.
    pub(crate) fn start(
        name: &str,
        reader: impl ItemReader,
        pace: Option<Pace>,
    ) -> Result<Self, SourceError> {
        let (sender, handovers) = mpsc::channel(BATCHES_WAITING);
        let thread = thread::Builder::new().name(format!("read {name}"));
        if let Err(error) = thread.spawn(move || read_all(reader, &sender)) {
            return Err(SourceError::Io { what: format!("{name} on a thread of its own"), error });
        }
        Ok(Self { handovers, waiting: VecDeque::new(), is_over: false, pace })
    }

    /// As [`crate::Source::next`].
    pub(crate) async fn next(&mut self, max: usize) -> Handover {
        if self.waiting.is_empty() {
            if self.is_over {
                return Ok(None);
            }
            match self.handovers.recv().await {
                Some(Ok(Some(batch))) => self.waiting.extend(batch),
                Some(last) => {
                    self.is_over = true;
                    return last;
                }
                None => {
                    self.is_over = true;
                    return Err(SourceError::Io {
                        what: "the input".to_owned(),
                        error: io::Error::other("the thread that reads it is gone"),
                    });
                }
            }
        }
        let available = self.waiting.len().min(max.max(1));
        let count = match &mut self.pace {
            Some(pace) => pace.take(available).await,
            None => available,
        };
        Ok(Some(self.waiting.drain(..count).collect()))
    }
}

/// Reads to the end, to an error, or until nobody listens any more.
fn read_all(mut reader: impl ItemReader, sender: &mpsc::Sender<Handover>) {
    loop {
        let mut batch = Vec::new();
        let outcome = collect(&mut reader, &mut batch);
        if !batch.is_empty() && sender.blocking_send(Ok(Some(batch))).is_err() {
            return;
        }
        match outcome {
            Ok(true) => {}
            // Whether somebody still listens makes no difference any more.
            Ok(false) => return drop(sender.blocking_send(Ok(None))),
            Err(error) => return drop(sender.blocking_send(Err(error))),
        }
    }
}

/// Reads until the batch is full, or the next item would have to be waited for. Says whether there
/// may be more.
fn collect(reader: &mut impl ItemReader, batch: &mut Vec<Item>) -> Result<bool, SourceError> {
    let mut bytes = 0;
    while let Some(item) = reader.read()? {
        bytes += item.content.bytes();
        batch.push(item);
        if batch.len() >= BATCH_ITEMS || bytes >= BATCH_BYTES || !reader.is_ready() {
            return Ok(true);
        }
    }
    Ok(false)
}
