//! Hosts, and what is spoken with them.

use std::fmt;

use tokio_tungstenite::tungstenite::http::Uri;

use crate::SourceError;

/// What is spoken with a host.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Protocol {
    /// The firehose: signed CBOR frames of everything. <https://atproto.com/specs/sync>
    Relay,
    /// Jetstream v2: JSON, filtered by the host, with sequence numbers.
    JetstreamV2,
    /// Jetstream v1: JSON, filtered by the host, with times for cursors.
    JetstreamV1,
}

impl Protocol {
    /// Where the stream is on a host.
    fn path(self) -> &'static str {
        match self {
            Self::Relay => "/xrpc/com.atproto.sync.subscribeRepos",
            Self::JetstreamV2 => "/xrpc/network.bsky.jetstream.subscribeEvents",
            Self::JetstreamV1 => "/subscribe",
        }
    }

    /// The word for it before a host in `auto:`.
    fn prefix(self) -> &'static str {
        match self {
            Self::Relay => "relay=",
            Self::JetstreamV2 => "v2=",
            Self::JetstreamV1 => "v1=",
        }
    }
}

/// The public hosts, in the order in which `auto` takes them: what costs least first, and what
/// needs trust in nobody but the relay last.
pub(crate) const PUBLIC_HOSTS: [(Protocol, &str); 7] = [
    (Protocol::JetstreamV2, "wss://jetstream.us-east.bsky.network"),
    (Protocol::JetstreamV2, "wss://jetstream.us-west.bsky.network"),
    (Protocol::JetstreamV1, "wss://jetstream2.us-east.bsky.network"),
    (Protocol::JetstreamV1, "wss://jetstream1.us-east.bsky.network"),
    (Protocol::JetstreamV1, "wss://jetstream2.us-west.bsky.network"),
    (Protocol::JetstreamV1, "wss://jetstream1.us-west.bsky.network"),
    (Protocol::Relay, "wss://bsky.network"),
];

/// The most hosts that `auto` takes.
const HOSTS_MAX: usize = 32;

/// A host and what is spoken with it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Endpoint {
    /// What is spoken.
    pub protocol: Protocol,
    /// `wss://` or `ws://`, the host, and a port where it is not the usual one.
    base: String,
}

impl Endpoint {
    /// Reads a host such as `wss://bsky.network`. `ws://`, which nobody protects, is for hosts of
    /// one's own.
    pub fn parse(protocol: Protocol, text: &str) -> Result<Self, SourceError> {
        let base = text.strip_suffix('/').unwrap_or(text);
        let problem = |what: &str| {
            let how = "write a host as wss://HOST or wss://HOST:PORT";
            SourceError::Spec(format!("`{text}` {what}: {how}"))
        };
        let uri: Uri = base.parse().map_err(|_| problem("is no address of a host"))?;
        if !matches!(uri.scheme_str(), Some("ws" | "wss")) {
            return Err(problem("does not begin with wss:// (or ws://)"));
        }
        let authority = uri.authority().map_or("", |authority| authority.as_str());
        if uri.host().is_none_or(str::is_empty) || authority.contains('@') {
            return Err(problem("is no address of a host"));
        }
        if base.len() != authority.len() + uri.scheme_str().map_or(0, str::len) + "://".len() {
            return Err(problem("has more than a host, the path is known"));
        }
        Ok(Self { protocol, base: base.to_owned() })
    }

    /// The address of the stream, without parameters. It is the name that places are kept under.
    pub fn url(&self) -> String {
        format!("{}{}", self.base, self.protocol.path())
    }

    /// The address of another method of the same host, over HTTP.
    pub(crate) fn http_url(&self, path: &str) -> String {
        // `ws` becomes `http`, and `wss` `https`.
        format!("http{}{path}", self.base.strip_prefix("ws").unwrap_or_default())
    }

    /// The host as it was given.
    pub fn base(&self) -> &str {
        &self.base
    }
}

impl fmt::Display for Endpoint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}{}", self.protocol.prefix(), self.base)
    }
}

/// The public hosts of a protocol; of all of them for `None`.
pub(crate) fn public_endpoints(protocol: Option<Protocol>) -> Vec<Endpoint> {
    let hosts = PUBLIC_HOSTS.iter().filter(|(of, _)| protocol.is_none_or(|wanted| *of == wanted));
    hosts
        .map(|(protocol, base)| Endpoint { protocol: *protocol, base: (*base).to_owned() })
        .collect()
}

/// Reads the hosts of `auto`: separated by commas, the best first, each with `v2=`, `v1=` or
/// `relay=` before it.
pub(crate) fn parse_endpoints(text: &str) -> Result<Vec<Endpoint>, SourceError> {
    let mut endpoints: Vec<Endpoint> = Vec::new();
    for part in text.split(',') {
        let protocols = [Protocol::JetstreamV2, Protocol::JetstreamV1, Protocol::Relay];
        let with_host =
            |protocol: &Protocol| Some((*protocol, part.strip_prefix(protocol.prefix())?));
        let Some((protocol, host)) = protocols.iter().find_map(with_host) else {
            return Err(SourceError::Spec(format!(
                "`{part}` does not say what the host speaks: write v2=, v1= (both Jetstream) or \
                 relay= before it, such as auto:v2=wss://HOST,relay=wss://HOST"
            )));
        };
        let endpoint = Endpoint::parse(protocol, host)?;
        if endpoints.contains(&endpoint) {
            return Err(SourceError::Spec(format!("{endpoint} is there twice")));
        }
        endpoints.push(endpoint);
    }
    if endpoints.len() > HOSTS_MAX {
        let count = endpoints.len();
        return Err(SourceError::Spec(format!(
            "auto takes {HOSTS_MAX} hosts at most, not {count}"
        )));
    }
    Ok(endpoints)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hosts_are_read_and_their_addresses_made() {
        let endpoint = Endpoint::parse(Protocol::Relay, "wss://bsky.network/").unwrap();
        assert_eq!(endpoint.url(), "wss://bsky.network/xrpc/com.atproto.sync.subscribeRepos");
        assert_eq!(endpoint.http_url("/x"), "https://bsky.network/x");
        let endpoint = Endpoint::parse(Protocol::JetstreamV1, "ws://127.0.0.1:80").unwrap();
        assert_eq!(endpoint.url(), "ws://127.0.0.1:80/subscribe");
        assert_eq!(endpoint.http_url("/x"), "http://127.0.0.1:80/x");
        for wrong in [
            "",
            "bsky.network",
            "https://bsky.network",
            "wss://",
            "wss://a@b",
            "wss://a/b",
            "wss://a?b",
            "ws://a b",
            "wss://:443",
        ] {
            assert!(Endpoint::parse(Protocol::Relay, wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn every_public_host_is_one() {
        for (protocol, host) in PUBLIC_HOSTS {
            assert_eq!(Endpoint::parse(protocol, host).unwrap().base(), host);
        }
    }
}
