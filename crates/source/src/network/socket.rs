//! One websocket connection, read by a task of its own into a bounded buffer.

use std::{sync::Arc, time::Duration};

use bytes::Bytes;
use futures_util::{SinkExt as _, StreamExt as _};
use tokio::{
    net::TcpStream,
    sync::{
        OwnedSemaphorePermit, Semaphore,
        mpsc::{self, error::TryRecvError},
    },
    time::timeout,
};
use tokio_tungstenite::{
    Connector, MaybeTlsStream, WebSocketStream, connect_async_tls_with_config,
    tungstenite::{
        self, Error as WsError, client::IntoClientRequest as _, http::header::USER_AGENT,
        protocol::WebSocketConfig,
    },
};
use wingbeat_atproto::FRAME_BYTES_MAX;

use wingbeat_ops::tls;

/// The longest message, in bytes: the protocol's limit, and some room for JSON around a record
/// that is just within it.
pub(crate) const MESSAGE_BYTES_MAX: usize = FRAME_BYTES_MAX + 256 * 1024;

/// How much may be read ahead of whoever takes the messages, in KiB. When it is full, nothing more
/// is read: the host notices by its own buffers.
const READ_AHEAD_KIB: usize = 16 * 1024;

/// How long the host may take to say goodbye.
const GOODBYE_MAX: Duration = Duration::from_secs(1);

/// How much of a host's own words is shown, in characters.
const WORDS_MAX: usize = 200;

type Stream = WebSocketStream<MaybeTlsStream<TcpStream>>;

/// Why there is no connection.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(crate) enum ConnectError {
    /// The host can't be reached.
    #[error("{0}")]
    Unreachable(String),
    /// The host is there, but refuses the request.
    #[error("the host answers {status}{}{}", if words.is_empty() { "" } else { ": " }, words)]
    Refused {
        /// The HTTP status.
        status: u16,
        /// The error's name, such as `CursorTooOld`, where the answer has one.
        name: Option<String>,
        /// What the host says.
        words: String,
    },
}

/// What came.
#[derive(Debug)]
pub(crate) enum Received {
    /// A message.
    Message(Message),
    /// The answer to a ping, asked for or not.
    Pong(#[expect(dead_code, reason = "it takes room while it waits")] OwnedSemaphorePermit),
    /// Nothing more will come, because of this.
    Closed(String),
}

/// A message. It takes room in the buffer until it is dropped.
#[derive(Debug)]
pub(crate) struct Message {
    /// What is in it.
    pub(crate) bytes: Bytes,
    /// Whether it is binary, not text.
    pub(crate) is_binary: bool,
    _room: OwnedSemaphorePermit,
}

/// A connection. Dropping it closes it properly, in the background.
pub(crate) struct Socket {
    received: mpsc::UnboundedReceiver<Received>,
    pings: mpsc::Sender<()>,
}

impl Socket {
    /// Connects, within `limit` in all.
    pub(crate) async fn connect(url: &str, limit: Duration) -> Result<Self, ConnectError> {
        let unreachable = |error: String| ConnectError::Unreachable(error);
        let mut request =
            url.into_client_request().map_err(|error| unreachable(error.to_string()))?;
        let agent = concat!("wingbeat/", env!("CARGO_PKG_VERSION"));
        request
            .headers_mut()
            .insert(USER_AGENT, tungstenite::http::HeaderValue::from_static(agent));
        let connector = if url.starts_with("wss:") {
            Connector::Rustls(tls::client_config().map_err(unreachable)?)
        } else {
            Connector::Plain
        };
        let config = WebSocketConfig::default()
            .max_message_size(Some(MESSAGE_BYTES_MAX))
            .max_frame_size(Some(MESSAGE_BYTES_MAX));
        let connecting =
            connect_async_tls_with_config(request, Some(config), true, Some(connector));
        match timeout(limit, connecting).await {
            Ok(Ok((stream, _))) => Ok(Self::start(stream)),
            Ok(Err(WsError::Http(response))) => Err(refusal(&response)),
            Ok(Err(error)) => Err(unreachable(shown(&error.to_string()))),
            Err(_) => {
                Err(unreachable(format!("no connection within {:.1} s", limit.as_secs_f64())))
            }
        }
    }

    fn start(stream: Stream) -> Self {
        let (sender, received) = mpsc::unbounded_channel();
        let (pings, ping_requests) = mpsc::channel(1);
        tokio::spawn(read(stream, ping_requests, sender));
        Self { received, pings }
    }

    /// What comes next; waits for it. Dropping the future loses nothing.
    pub(crate) async fn next(&mut self) -> Received {
        self.received.recv().await.unwrap_or_else(|| Received::Closed(LOST.to_owned()))
    }

    /// What has come already.
    pub(crate) fn try_next(&mut self) -> Option<Received> {
        match self.received.try_recv() {
            Ok(received) => Some(received),
            Err(TryRecvError::Empty) => None,
            Err(TryRecvError::Disconnected) => Some(Received::Closed(LOST.to_owned())),
        }
    }

    /// Asks the host whether it is there.
    pub(crate) fn ping(&self) {
        // With one waiting to be sent, there is no need for another.
        let _ = self.pings.try_send(());
    }
}

/// What is said where nothing better is known.
const LOST: &str = "the connection is gone";

/// Reads until the connection or whoever listens is gone.
async fn read(
    mut stream: Stream,
    mut pings: mpsc::Receiver<()>,
    sender: mpsc::UnboundedSender<Received>,
) {
    let room = Arc::new(Semaphore::new(READ_AHEAD_KIB));
    loop {
        // Pings of the host are answered by reading.
        let next = tokio::select! {
            ping = pings.recv() => match ping {
                Some(()) => {
                    let ping = tungstenite::Message::Ping(Bytes::new());
                    match stream.send(ping).await {
                        Ok(()) => continue,
                        Err(error) => Err(error),
                    }
                }
                None => break,
            },
            next = stream.next() => next.unwrap_or(Err(WsError::ConnectionClosed)),
        };
        let (bytes, is_binary, is_pong) = match next {
            Ok(tungstenite::Message::Binary(bytes)) => (bytes, true, false),
            Ok(tungstenite::Message::Text(text)) => (Bytes::from(text), false, false),
            Ok(tungstenite::Message::Pong(bytes)) => (bytes, true, true),
            Ok(tungstenite::Message::Ping(_) | tungstenite::Message::Frame(_)) => continue,
            Ok(tungstenite::Message::Close(close)) => {
                let words = close.map_or_else(String::new, |close| {
                    shown(&format!(": {} {}", u16::from(close.code), close.reason))
                });
                let _ = sender.send(Received::Closed(format!("the host has closed it{words}")));
                break;
            }
            Err(error) => {
                let _ = sender.send(Received::Closed(shown(&error.to_string())));
                return;
            }
        };
        let Some(room) = room_for(&room, bytes.len(), &mut pings).await else { break };
        let received = if is_pong {
            Received::Pong(room)
        } else {
            Received::Message(Message { bytes, is_binary, _room: room })
        };
        if sender.send(received).is_err() {
            break;
        }
    }
    let _ = timeout(GOODBYE_MAX, stream.close(None)).await;
}

/// Waits for room in the buffer; `None` when nobody listens any more.
async fn room_for(
    room: &Arc<Semaphore>,
    bytes: usize,
    pings: &mut mpsc::Receiver<()>,
) -> Option<OwnedSemaphorePermit> {
    let kib = u32::try_from(bytes / 1024 + 1).unwrap_or(u32::MAX);
    let taken = Arc::clone(room).acquire_many_owned(kib);
    // There is no need to ask a host that has sent more than was taken.
    let until_dropped = async { while pings.recv().await.is_some() {} };
    tokio::select! {
        permit = taken => permit.ok(),
        () = until_dropped => None,
    }
}

fn refusal(response: &tungstenite::http::Response<Option<Vec<u8>>>) -> ConnectError {
    let body = response.body().as_deref().unwrap_or_default();
    let json: serde_json::Value = serde_json::from_slice(body).unwrap_or_default();
    let name = json["error"].as_str().map(shown);
    let words = match (&name, json["message"].as_str()) {
        (Some(name), Some(message)) => shown(&format!("{name}: {message}")),
        (Some(name), None) => name.clone(),
        (None, _) => shown(&String::from_utf8_lossy(body)),
    };
    ConnectError::Refused { status: response.status().as_u16(), name, words }
}

/// A host's own words, fit to be shown: not too many, and without control characters.
pub(crate) fn shown(words: &str) -> String {
    words.chars().take(WORDS_MAX).map(|c| if c.is_control() { ' ' } else { c }).collect()
}
