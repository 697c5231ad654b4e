//! A host for tests: real sockets, and a test that says what happens on them.

use std::time::Duration;

use futures_util::{SinkExt as _, StreamExt as _};
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::{TcpListener, TcpStream},
    sync::{mpsc, watch},
};
use tokio_tungstenite::{
    WebSocketStream,
    tungstenite::{
        Message,
        handshake::server::{Request, Response},
    },
};
use wingbeat_atproto::Cid;
use wingbeat_source::{
    Connection, Content, Item, OpenOptions, Place, Resume, Source, SourceSpec,
    network::{NetworkOptions, Timings},
    open,
};

use crate::{
    common::json,
    frames::{DID, commit_at, op, record},
};

/// The time of the event with the number 0, in microseconds since 1970.
pub(crate) const TIME_US: u64 = 1_783_175_888_000_000;

/// How far the events are apart, in microseconds.
pub(crate) const STEP_US: u64 = 1_000_000;

pub(crate) fn time_of(number: u64) -> String {
    let micros = i64::try_from(TIME_US + number * STEP_US).unwrap();
    wingbeat_record::Time::from_micros(micros).to_string()
}

/// A frame of a relay: one new post.
pub(crate) fn frame(seq: u64) -> Message {
    frame_at(seq, &time_of(seq))
}

pub(crate) fn frame_at(seq: u64, time: &str) -> Message {
    let text = format!("post {seq}");
    let record = record(&text);
    let path = format!("app.bsky.feed.post/r{seq}");
    let ops = vec![op("create", &path, Some(&record))];
    Message::binary(commit_at(i64::try_from(seq).unwrap(), time, ops, &[&record]))
}

fn json_commit(number: u64) -> serde_json::Value {
    let text = format!("post {number}");
    let cid = Cid::of(wingbeat_atproto::Codec::Drisl, &record(&text)).to_string();
    serde_json::json!({
        "rev": "3mptbypluud2a",
        "operation": "create",
        "collection": "app.bsky.feed.post",
        "rkey": format!("r{number}"),
        "record": {"text": text, "createdAt": "2026-07-04T14:38:08.999Z", "langs": ["en"]},
        "cid": cid,
    })
}

/// The same post as Jetstream v1 sends it.
pub(crate) fn v1(number: u64) -> serde_json::Value {
    let time_us = TIME_US + number * STEP_US;
    serde_json::json!({
        "did": DID, "time_us": time_us, "kind": "commit", "commit": json_commit(number),
    })
}

/// The same post as Jetstream v2 sends it.
pub(crate) fn v2(seq: u64) -> serde_json::Value {
    let mut payload = json_commit(seq);
    payload["$type"] = "network.bsky.jetstream.subscribeEvents#commit".into();
    payload["seq"] = seq.into();
    payload["did"] = DID.into();
    payload["time"] = time_of(seq).into();
    serde_json::json!({"$type": "message", "payload": payload})
}

pub(crate) fn text(json: &serde_json::Value) -> Message {
    Message::text(json.to_string())
}

/// A host.
pub(crate) struct Host {
    listener: TcpListener,
}

/// A connection to it.
pub(crate) struct Wire {
    /// What was asked for: the path and the parameters.
    pub(crate) asked: String,
    pub(crate) stream: WebSocketStream<TcpStream>,
}

impl Host {
    pub(crate) async fn start() -> Self {
        Self { listener: TcpListener::bind("127.0.0.1:0").await.unwrap() }
    }

    pub(crate) fn address(&self) -> String {
        format!("ws://{}", self.listener.local_addr().unwrap())
    }

    /// Takes the next connection, which must ask for a websocket.
    pub(crate) async fn accept(&self) -> Wire {
        let (stream, _) = self.listener.accept().await.unwrap();
        let mut asked = String::new();
        #[expect(clippy::result_large_err, reason = "the crate's own type")]
        let look = |request: &Request, response: Response| {
            asked = request.uri().to_string();
            Ok(response)
        };
        let stream = tokio_tungstenite::accept_hdr_async(stream, look).await.unwrap();
        Wire { asked, stream }
    }

    /// Answers the next connection over HTTP. Returns what was asked for.
    pub(crate) async fn answer(&self, status: u16, body: &[u8]) -> String {
        let (mut stream, _) = self.listener.accept().await.unwrap();
        let mut request = Vec::new();
        while !request.ends_with(b"\r\n\r\n") {
            request.push(stream.read_u8().await.unwrap());
        }
        let head = format!(
            "HTTP/1.1 {status} x\r\ncontent-length: {}\r\nconnection: close\r\n\r\n",
            body.len()
        );
        stream.write_all(&[head.as_bytes(), body].concat()).await.unwrap();
        stream.shutdown().await.unwrap();
        let request = String::from_utf8(request).unwrap();
        request.split(' ').nth(1).unwrap().to_owned()
    }

    /// Takes the next connection to Jetstream v2, and has no dictionary for it.
    pub(crate) async fn accept_v2(&self) -> Wire {
        let asked = self.answer(404, b"{}").await;
        assert_eq!(asked, "/xrpc/network.bsky.jetstream.getZstdDictionary");
        self.accept().await
    }
}

impl Wire {
    pub(crate) async fn send(&mut self, message: Message) {
        self.stream.send(message).await.unwrap();
    }

    /// Waits until the other side has closed, and counts the pings until then.
    pub(crate) async fn closed(&mut self) -> usize {
        let mut pings = 0;
        while let Some(Ok(message)) = self.stream.next().await {
            pings += usize::from(message.is_ping());
        }
        pings
    }

    pub(crate) async fn close(mut self) {
        self.stream.close(None).await.unwrap();
        self.closed().await;
    }

    /// What stands behind `cursor=`.
    pub(crate) fn cursor(&self) -> Option<u64> {
        Some(self.asked.split_once("cursor=")?.1.parse().unwrap())
    }
}

/// A source that is read.
pub(crate) struct Reading {
    items: mpsc::UnboundedReceiver<(Item, Vec<Place>)>,
    counters: watch::Receiver<Vec<(&'static str, u64)>>,
    pub(crate) connection: watch::Receiver<Connection>,
}

pub(crate) fn quick() -> Timings {
    Timings {
        retry_min: Duration::from_millis(1),
        retry_max: Duration::from_millis(20),
        settled_after: Duration::ZERO,
        ..Timings::default()
    }
}

pub(crate) fn options() -> OpenOptions {
    let network = NetworkOptions { timings: quick(), ..NetworkOptions::default() };
    OpenOptions { network, ..OpenOptions::default() }
}

/// As if an earlier run had read up to the event with this number.
pub(crate) fn read_before(url: String, cursor: u64, number: u64) -> OpenOptions {
    let time_us = TIME_US + number * STEP_US;
    let places = vec![Place { host: url, cursor, time_us }];
    OpenOptions { resume: Some(Resume { position: 7, places }), ..options() }
}

impl Reading {
    pub(crate) fn start(spec: &str, options: &OpenOptions) -> Self {
        let source = open(&SourceSpec::parse(spec).unwrap(), options).unwrap();
        Self::of(source)
    }

    fn of(mut source: Box<dyn Source>) -> Self {
        let (sender, items) = mpsc::unbounded_channel();
        let (counted, counters) = watch::channel(Vec::new());
        let connection = source.connection().unwrap();
        tokio::spawn(async move {
            loop {
                let batch = tokio::select! {
                    batch = source.next(7) => batch.unwrap().unwrap(),
                    () = sender.closed() => return,
                };
                counted.send_replace(source.counters());
                let Some(last) = batch.len().checked_sub(1) else {
                    // It says where it begins.
                    continue;
                };
                for (index, item) in batch.into_iter().enumerate() {
                    let places = if index == last { source.places() } else { Vec::new() };
                    if sender.send((item, places)).is_err() {
                        return;
                    }
                }
            }
        });
        Self { items, counters, connection }
    }

    pub(crate) async fn item(&mut self) -> Item {
        self.items.recv().await.unwrap().0
    }

    /// The next item and the places with it.
    pub(crate) async fn item_and_places(&mut self) -> (Item, Vec<Place>) {
        self.items.recv().await.unwrap()
    }

    /// The next item, which must be the post with this number.
    pub(crate) async fn expect_post(&mut self, number: u64) {
        let item = self.item().await;
        let Content::Post(post) = &item.content else { panic!("{item:?}") };
        assert_eq!(json(&post.payload)["text"], format!("post {number}"));
    }

    /// The next item, which must be a gap.
    pub(crate) async fn expect_gap(&mut self) -> serde_json::Value {
        let item = self.item().await;
        let Content::Event(event) = &item.content else { panic!("{item:?}") };
        assert_eq!(event.kind, "gap");
        json(&event.payload)
    }

    pub(crate) fn counter(&self, name: &str) -> u64 {
        let counters = self.counters.borrow();
        counters.iter().find(|(of, _)| *of == name).unwrap().1
    }

    /// Waits until the source says that it is broken, and why.
    pub(crate) async fn broken(&mut self) -> String {
        let is_broken = |connection: &Connection| matches!(connection, Connection::Broken { .. });
        match self.connection.wait_for(is_broken).await.unwrap().clone() {
            Connection::Broken { problem, .. } => problem,
            _ => String::new(),
        }
    }

    pub(crate) async fn live(&mut self) -> String {
        let is_live = |connection: &Connection| matches!(connection, Connection::Live { .. });
        match self.connection.wait_for(is_live).await.unwrap().clone() {
            Connection::Live { host } => host,
            _ => String::new(),
        }
    }
}
