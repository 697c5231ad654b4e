//! One consumer's connection: replay, then live, with the faults that are to be done on it.

use std::{sync::Arc, time::Duration};

use axum::extract::ws::{Message, WebSocket};
use bytes::Bytes;
use futures_util::{FutureExt as _, SinkExt as _};
use serde::Deserialize;
use tokio::{sync::watch, time::timeout};

use crate::{
    chance::Chance,
    dictionary::Packer,
    fault::{DoneFault, Fault, Level},
    filter::Filter,
    history::{Entry, Read},
    network::Shared,
    subscription::{Protocol, Subscription},
};

/// How many events are sent between two looks at what the consumer says.
const BATCH: usize = 256;

/// How long a consumer that is too slow has to take the message that says so: the relay's time.
const LAST_WORD_MAX: Duration = Duration::from_secs(5);

/// A connection.
pub(crate) struct Connection {
    shared: Arc<Shared>,
    socket: WebSocket,
    subscription: Subscription,
    /// v1: nothing is sent before the consumer has said what it wants.
    needs_hello: bool,
    /// The next event.
    next: u64,
    /// The first event that is live, not replayed.
    cutover: u64,
    /// What comes behind the next event of another account: messages, and the account they are of.
    held: Option<(Arc<str>, Vec<Message>)>,
}

/// Where so many messages are held back, no other account has anything to say, and they are sent.
const HELD_MAX: usize = 64;

/// Why a connection ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum End {
    /// The consumer left, or broke the protocol, or the network stops.
    Left,
    /// The connection is cut, without a word.
    Cut,
    /// Nothing more is sent.
    Silent,
    /// The consumer does not read.
    TooSlow,
    /// With an error of this name.
    Error(&'static str),
}

/// What a consumer of Jetstream v1 may say.
#[derive(Debug, Deserialize)]
struct ClientMessage {
    r#type: String,
    payload: OptionsUpdate,
}

#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct OptionsUpdate {
    wanted_collections: Vec<String>,
    wanted_dids: Vec<String>,
    max_message_size_bytes: usize,
}

impl Connection {
    pub(crate) fn new(
        shared: Arc<Shared>,
        socket: WebSocket,
        subscription: Subscription,
        needs_hello: bool,
    ) -> Self {
        let next = subscription.start.event;
        let cutover = shared.history.bounds().end;
        Self { shared, socket, subscription, needs_hello, next, cutover, held: None }
    }

    /// Sends until one of the two sides ends it.
    pub(crate) async fn run(mut self) {
        let stop = self.shared.stop.clone();
        let end = tokio::select! {
            end = self.stream() => end,
            () = stop.cancelled() => End::Cut,
        };
        tracing::debug!(protocol = self.subscription.protocol.name(), ?end, "a connection ends");
        match end {
            End::Left | End::Cut => {}
            End::Silent => self.hush(&stop).await,
            End::TooSlow => self.last_word("ConsumerTooSlow").await,
            End::Error(name) => self.last_word(name).await,
        }
    }

    /// Keeps the connection open and sends nothing.
    pub(crate) async fn hush(&mut self, stop: &tokio_util::sync::CancellationToken) {
        loop {
            tokio::select! {
                message = self.socket.recv() => match message {
                    Some(Ok(_)) => {}
                    Some(Err(_)) | None => return,
                },
                () = stop.cancelled() => return,
            }
        }
    }

    /// Sends an error and closes.
    pub(crate) async fn last_word(&mut self, name: &'static str) {
        let message = self.subscription.error(name, "the stream ends here");
        let send = async {
            if let Some(message) = message {
                self.socket.feed(message).await?;
            }
            self.socket.send(Message::Close(None)).await
        };
        // Whether it arrives is up to the consumer.
        let _ = timeout(LAST_WORD_MAX, send).await;
    }

    async fn stream(&mut self) -> End {
        match self.try_stream().await {
            Ok(never) => match never {},
            Err(end) => end,
        }
    }

    async fn try_stream(&mut self) -> Result<std::convert::Infallible, End> {
        let mut end = self.shared.history.watch();
        if self.subscription.start.is_outdated {
            let message = "the cursor is older than what is kept: going on with the oldest event";
            let info = self.subscription.info("OutdatedCursor", message);
            if let Some(info) = info {
                self.socket.send(info).await.map_err(|_| End::Left)?;
            }
        }
        while self.needs_hello {
            let message = self.socket.recv().await;
            self.hear(message)?;
        }
        loop {
            while let Some(message) = self.socket.recv().now_or_never() {
                self.hear(message)?;
            }
            match self.shared.history.read(self.next, BATCH) {
                Read::Gone => return Err(End::TooSlow),
                Read::Entries(entries) if entries.is_empty() => self.wait(&mut end).await?,
                Read::Entries(entries) => {
                    let slow_after = self.shared.options.slow_after;
                    let sending = timeout(slow_after, self.send_all(&entries)).await;
                    sending.unwrap_or(Err(End::TooSlow))?;
                }
            }
        }
    }

    /// Waits until there is something new.
    async fn wait(&mut self, end: &mut watch::Receiver<u64>) -> Result<(), End> {
        let next = self.next;
        self.shared.maker.want(next);
        tokio::select! {
            happened = end.wait_for(|end| *end > next) => match happened {
                Ok(_) => return Ok(()),
                Err(_) => return Err(End::Cut),
            },
            message = self.socket.recv() => self.hear(message)?,
        }
        Ok(())
    }

    fn hear(&mut self, message: Option<Result<Message, axum::Error>>) -> Result<(), End> {
        let Some(Ok(message)) = message else { return Err(End::Left) };
        let text = match (self.subscription.protocol, &message) {
            (Protocol::Relay, _) | (_, Message::Ping(_) | Message::Pong(_)) => return Ok(()),
            (_, Message::Close(_)) | (Protocol::JetstreamV2, _) => return Err(End::Left),
            (Protocol::JetstreamV1, Message::Text(text)) => text.as_bytes(),
            (Protocol::JetstreamV1, Message::Binary(bytes)) => bytes.as_ref(),
        };
        let message: ClientMessage = serde_json::from_slice(text).map_err(|_| End::Left)?;
        if message.r#type != "options_update" {
            return Ok(());
        }
        let OptionsUpdate { wanted_collections, wanted_dids, max_message_size_bytes } =
            message.payload;
        let filter = Filter::new(wanted_collections, wanted_dids, &[], max_message_size_bytes);
        self.subscription.filter = filter.map_err(|_| End::Left)?;
        self.needs_hello = false;
        Ok(())
    }

    async fn send_all(&mut self, entries: &[Entry]) -> Result<(), End> {
        for entry in entries {
            let mut messages = self.subscription.messages(entry);
            self.next = entry.n + 1;
            if messages.is_empty() {
                continue;
            }
            // Events of several accounts are mixed up, not those of one: nobody could bring these
            // into order again.
            match &mut self.held {
                Some((did, held)) if *did == entry.event.did => {
                    held.extend(messages);
                    if held.len() < HELD_MAX {
                        continue;
                    }
                    messages = Vec::new();
                }
                _ => {}
            }
            let fault = self.take_fault(entry);
            let outcome = match fault {
                None => self.feed(messages).await,
                Some(fault) => self.misbehave(fault, entry, messages).await,
            };
            if let Err(end) = outcome {
                // What was before still goes out.
                let _ = self.socket.flush().await;
                return Err(end);
            }
        }
        self.socket.flush().await.map_err(|_| End::Left)
    }

    /// Sends messages, and what was held back for them.
    async fn feed(&mut self, messages: Vec<Message>) -> Result<(), End> {
        let held = self.held.take().map(|(_, held)| held);
        for message in messages.into_iter().chain(held.into_iter().flatten()) {
            self.socket.feed(message).await.map_err(|_| End::Left)?;
        }
        Ok(())
    }

    fn take_fault(&self, entry: &Entry) -> Option<Fault> {
        let (n, host) = (entry.n, self.subscription.host);
        let is_last_of_replay = n + 1 == self.cutover;
        let fault = self.shared.faults.take(Some(host), n, |fault| match fault.level() {
            Level::Opening | Level::Event => false,
            Level::Cutover => is_last_of_replay,
            Level::Sending => fault != Fault::ZipBomb || self.subscription.packer.is_some(),
        })?;
        self.shared.faults.done(DoneFault {
            fault,
            host: Some(host),
            n,
            seq: Some(self.subscription.seq(entry)),
            protocol: Some(self.subscription.protocol.name()),
        });
        Some(fault)
    }

    /// Sends an event with a fault.
    async fn misbehave(
        &mut self,
        fault: Fault,
        entry: &Entry,
        mut messages: Vec<Message>,
    ) -> Result<(), End> {
        match fault {
            Fault::Disconnect => return Err(End::Cut),
            Fault::Silence => return Err(End::Silent),
            Fault::FutureCursor => return Err(End::Error("FutureCursor")),
            Fault::ConsumerTooSlow => return Err(End::Error("ConsumerTooSlow")),
            Fault::Reorder => {
                self.held = Some((Arc::clone(&entry.event.did), messages));
                return Ok(());
            }
            Fault::Skip => return Ok(()),
            Fault::Duplicate => messages.extend(messages.clone()),
            Fault::BitFlip => {
                let mut chance = Chance::new(self.shared.options.seed, "bit-flip", entry.n);
                messages = messages.into_iter().map(|it| flip_bit(it, &mut chance)).collect();
            }
            Fault::Oversize => messages.insert(0, self.subscription.oversize()),
            Fault::InvalidFraming => {
                let cut = messages.first().map(cut_in_half);
                messages.splice(..0, cut);
            }
            Fault::ZipBomb => {
                let bomb = bomb(self.subscription.packer.clone()).await;
                messages.splice(..0, bomb);
            }
            // Not faults of a connection that sends.
            Fault::Refuse
            | Fault::Mute
            | Fault::BadSignature
            | Fault::Fork
            | Fault::BadCbor
            | Fault::BadLexicon => {}
        }
        self.feed(messages).await
    }
}

async fn bomb(packer: Option<Arc<Packer>>) -> Option<Message> {
    let packer = packer?;
    let bomb = tokio::task::spawn_blocking(move || packer.bomb()).await;
    Some(Message::Binary(bomb.ok()?.ok()?.into()))
}

/// Changes one bit. A text stays UTF-8: what is not would be refused by the websocket itself.
fn flip_bit(message: Message, chance: &mut Chance) -> Message {
    let mut bytes = match &message {
        Message::Binary(bytes) => bytes.to_vec(),
        Message::Text(text) => text.as_bytes().to_vec(),
        _ => return message,
    };
    let (at, bit) = (chance.below(bytes.len()), 1 << chance.below(7));
    if let Message::Text(_) = message {
        let is_ascii = |byte: &&mut u8| byte.is_ascii();
        bytes.iter_mut().skip(at).find(is_ascii).into_iter().for_each(|byte| *byte ^= bit);
        return Message::Text(String::from_utf8(bytes).unwrap_or_default().into());
    }
    bytes.get_mut(at).into_iter().for_each(|byte| *byte ^= bit);
    Message::Binary(bytes.into())
}

/// The first half of a message.
fn cut_in_half(message: &Message) -> Message {
    match message {
        Message::Text(text) => {
            let end = (0..=text.len() / 2).rev().find(|end| text.is_char_boundary(*end));
            Message::Text(text.get(..end.unwrap_or(0)).unwrap_or_default().into())
        }
        Message::Binary(bytes) => Message::Binary(bytes.slice(..bytes.len() / 2)),
        _ => Message::Binary(Bytes::new()),
    }
}
