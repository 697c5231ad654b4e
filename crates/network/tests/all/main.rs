//! The simulated network, as a plain websocket client and an HTTP client see it.

#![expect(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "tests")]

mod faults;
mod http;
mod jetstream;
mod relay;

use std::collections::HashMap;

use futures_util::{SinkExt as _, StreamExt as _};
use serde_json::Value;
use tokio::net::TcpStream;
use tokio_tungstenite::{
    MaybeTlsStream, WebSocketStream,
    tungstenite::{Error, Message, protocol::WebSocketConfig},
};
use wingbeat_network::{Afterwards, Network, Options, Prepared};

const RELAY: &str = "/xrpc/com.atproto.sync.subscribeRepos";
const V1: &str = "/subscribe";
const V2: &str = "/xrpc/network.bsky.jetstream.subscribeEvents";

/// Events that are all there from the start, as soon as someone reads.
fn prepared(events: usize) -> Options {
    Options {
        rate: 0.0,
        accounts: 20,
        prepared: Some(Prepared { events, then: Afterwards::End }),
        ..Options::default()
    }
}

/// A consumer.
struct Client(WebSocketStream<MaybeTlsStream<TcpStream>>);

impl Client {
    async fn try_open(network: &Network, host: usize, path: &str) -> Result<Self, Error> {
        let url = format!("ws://{}{path}", network.addresses()[host]);
        let config = WebSocketConfig::default().max_message_size(None).max_frame_size(None);
        let connecting = tokio_tungstenite::connect_async_with_config(url, Some(config), true);
        connecting.await.map(|(stream, _)| Self(stream))
    }

    async fn open(network: &Network, path: &str) -> Self {
        Self::try_open(network, 0, path).await.unwrap()
    }

    /// The status and the body of a connection that is refused.
    async fn refused(network: &Network, path: &str) -> (u16, Value) {
        match Self::try_open(network, 0, path).await {
            Err(Error::Http(response)) => {
                let body = response.body().as_deref().unwrap_or_default();
                (response.status().as_u16(), serde_json::from_slice(body).unwrap_or_default())
            }
            Err(error) => panic!("{error}"),
            Ok(_) => panic!("{path} was not refused"),
        }
    }

    async fn say(&mut self, text: &str) {
        self.0.send(Message::Text(text.into())).await.unwrap();
    }

    /// The next message; `None` where the connection was closed or broke.
    async fn next(&mut self) -> Option<Vec<u8>> {
        loop {
            match self.0.next().await {
                Some(Ok(Message::Binary(bytes))) => return Some(bytes.into()),
                Some(Ok(Message::Text(text))) => return Some(text.as_bytes().to_vec()),
                Some(Ok(Message::Close(_)) | Err(_)) | None => return None,
                Some(Ok(_)) => {}
            }
        }
    }

    async fn take(&mut self, count: usize) -> Vec<Vec<u8>> {
        let mut messages = Vec::with_capacity(count);
        for _ in 0..count {
            messages.push(self.next().await.expect("the stream ended too early"));
        }
        messages
    }

    /// All messages up to the end of the stream.
    async fn drain(&mut self) -> Vec<Vec<u8>> {
        let mut messages = Vec::new();
        while let Some(message) = self.next().await {
            messages.push(message);
        }
        messages
    }

    async fn json(&mut self, count: usize) -> Vec<Value> {
        let messages = self.take(count).await;
        messages.iter().map(|message| serde_json::from_slice(message).unwrap()).collect()
    }
}

/// The first messages of a stream with the cursor 0.
async fn first(network: &Network, path: &str, count: usize) -> Vec<Vec<u8>> {
    let sign = if path.contains('?') { '&' } else { '?' };
    Client::open(network, &format!("{path}{sign}cursor=0")).await.take(count).await
}

async fn get(network: &Network, path: &str) -> (u16, Vec<u8>) {
    let url = format!("{}{path}", network.http_url(0).unwrap());
    let response = client().get(url).send().await.unwrap();
    (response.status().as_u16(), response.bytes().await.unwrap().into())
}

async fn post(network: &Network, path: &str) -> u16 {
    let url = format!("{}{path}", network.http_url(0).unwrap());
    client().post(url).send().await.unwrap().status().as_u16()
}

/// The lines of an endpoint that gives JSON lines.
async fn lines(network: &Network, path: &str) -> Vec<Value> {
    let (status, body) = get(network, path).await;
    assert_eq!(status, 200);
    let lines = body.split(|byte| *byte == b'\n').filter(|line| !line.is_empty());
    lines.map(|line| serde_json::from_slice(line).unwrap()).collect()
}

/// The truth, by event.
async fn truth(network: &Network) -> HashMap<u64, Vec<Value>> {
    let mut events: HashMap<u64, Vec<Value>> = HashMap::new();
    for line in lines(network, "/simulate/events").await {
        events.entry(line["n"].as_u64().unwrap()).or_default().push(line);
    }
    events
}

/// A client. The program's own TLS library is without a provider until one is chosen.
fn client() -> reqwest::Client {
    // Another test may have chosen it already.
    let _ = rustls::crypto::ring::default_provider().install_default();
    reqwest::Client::new()
}
