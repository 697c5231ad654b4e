//! What is known about a host, and how a connection to it is made.

use bytes::Bytes;

use super::{
    counters::NetworkCounters,
    dictionary::{DICTIONARY_BYTES_MAX, Dictionary, Inflater},
    endpoint::{Endpoint, Protocol},
    http::HttpClient,
    jetstream,
    message::{BadMessage, Decoded},
    options::NetworkOptions,
    outbox::now_us,
    relay,
    silence::Silence,
    socket::{ConnectError, Message, Socket},
    start::{Known, Start},
};
use crate::Place;

/// What is known about a host.
pub(crate) struct Host {
    pub(crate) endpoint: Endpoint,
    /// The address of its stream: the name that its place is kept under.
    pub(crate) url: String,
    /// How far it has been read.
    pub(crate) place: Option<Place>,
    /// How often its events come.
    pub(crate) silence: Silence,
    /// The message that could not be understood last.
    pub(crate) suspect: Option<Suspect>,
    /// It has said that its place is too old for it.
    is_too_old: bool,
    /// It has refused compression, so it is not asked for it again.
    is_plain: bool,
}

/// A message that could not be understood, and for which the connection was dropped.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Suspect {
    /// A hash of its bytes.
    pub(crate) hash: u64,
    /// The cursor before it.
    pub(crate) after: u64,
    /// How often there was one behind this cursor.
    pub(crate) times: u32,
}

/// A connection to a host, and what is known about what comes over it.
pub(crate) struct Session {
    pub(crate) socket: Socket,
    pub(crate) start: Start,
    inflater: Option<Inflater>,
}

impl Host {
    pub(crate) fn new(endpoint: Endpoint, places: &[Place]) -> Self {
        let url = endpoint.url();
        Self {
            place: places.iter().find(|place| place.host == url).cloned(),
            endpoint,
            url,
            silence: Silence::default(),
            suspect: None,
            is_too_old: false,
            is_plain: false,
        }
    }

    /// An event came: what was wrong with the cursor is right again.
    pub(crate) fn arrived_at(&mut self, cursor: u64, time_us: u64) {
        self.is_too_old = false;
        // On Jetstream v1 the cursor is a time, and they don't come strictly in order.
        let place =
            self.place.get_or_insert_with(|| Place { host: self.url.clone(), cursor, time_us });
        let is_by_time = self.endpoint.protocol == Protocol::JetstreamV1;
        place.cursor = if is_by_time { cursor.max(place.cursor) } else { cursor };
        place.time_us = time_us.max(place.time_us);
    }

    /// Connects, and begins where it makes sense after the last event of any host.
    pub(crate) async fn connect(
        &mut self,
        last_us: Option<u64>,
        options: &NetworkOptions,
        v1_dictionary: Option<&Dictionary>,
    ) -> Result<Session, ConnectError> {
        let known = Known {
            protocol: self.endpoint.protocol,
            place: self.place.as_ref(),
            last_us,
            now_us: now_us(),
            is_too_old: self.is_too_old,
            is_sparse: !options.dids.is_empty(),
        };
        let start = Start::of(known, &options.timings);
        let dictionary = match self.endpoint.protocol {
            Protocol::JetstreamV2 if !self.is_plain => self.fetch_dictionary(options).await,
            Protocol::JetstreamV1 => v1_dictionary.cloned(),
            _ => None,
        };
        let inflater = dictionary.as_ref().and_then(|dictionary| Inflater::new(dictionary).ok());
        let compression = dictionary.filter(|_| inflater.is_some()).map(|dictionary| dictionary.id);
        let url = self.address(start.cursor, compression, options);
        match Socket::connect(&url, options.timings.connect_max).await {
            Ok(socket) => Ok(Session { socket, start, inflater }),
            Err(error) => {
                if let ConnectError::Refused { name: Some(name), .. } = &error {
                    match name.as_str() {
                        "CursorTooOld" => self.is_too_old = true,
                        "UnknownZstdDictionary" => self.is_plain = true,
                        _ => {}
                    }
                }
                Err(error)
            }
        }
    }

    /// The dictionary that the host compresses with now. Without one, messages come as plain JSON.
    async fn fetch_dictionary(&self, options: &NetworkOptions) -> Option<Dictionary> {
        let client = HttpClient::new(options.timings.connect_max).ok()?;
        let url = self.endpoint.http_url("/xrpc/network.bsky.jetstream.getZstdDictionary");
        let bytes: Bytes = client.get(&url, DICTIONARY_BYTES_MAX).await.ok()?;
        Dictionary::parse(bytes).ok()
    }

    /// The address to connect to.
    fn address(
        &self,
        cursor: Option<u64>,
        compression: Option<u32>,
        options: &NetworkOptions,
    ) -> String {
        let mut parameters: Vec<(&str, String)> = Vec::new();
        let (collections, dids) = match self.endpoint.protocol {
            Protocol::Relay => (None, None),
            Protocol::JetstreamV1 => (Some("wantedCollections"), Some("wantedDids")),
            Protocol::JetstreamV2 => (Some("collections"), Some("dids")),
        };
        for (name, values) in [(collections, &options.collections), (dids, &options.dids)] {
            let Some(name) = name else { continue };
            // Of all that these may hold, only `%` means something in an address.
            parameters.extend(values.iter().map(|value| (name, value.replace('%', "%25"))));
        }
        match (self.endpoint.protocol, compression) {
            (Protocol::JetstreamV1, Some(_)) => parameters.push(("compress", "true".to_owned())),
            (_, Some(id)) => parameters.push(("zstdDictionary", id.to_string())),
            (_, None) => {}
        }
        parameters.extend(cursor.map(|cursor| ("cursor", cursor.to_string())));
        let mut address = self.url.clone();
        for (index, (name, value)) in parameters.iter().enumerate() {
            address.push(if index == 0 { '?' } else { '&' });
            address.push_str(name);
            address.push('=');
            address.push_str(value);
        }
        address
    }
}

impl Session {
    /// Reads a message that has come.
    pub(crate) fn decode(
        &mut self,
        message: &Message,
        host: &Host,
        options: &NetworkOptions,
        counters: &NetworkCounters,
    ) -> Result<Decoded, BadMessage> {
        let protocol = host.endpoint.protocol;
        if protocol == Protocol::Relay {
            return relay::decode(message, &host.url, options, counters);
        }
        let bytes = match &mut self.inflater {
            Some(inflater) if message.is_binary => inflater
                .inflate(&message.bytes)
                .map_err(|error| BadMessage(format!("it can't be decompressed: {error}")))?,
            None if message.is_binary => {
                return Err(BadMessage("binary, but no compression was asked for".to_owned()));
            }
            _ => &message.bytes,
        };
        jetstream::decode(bytes, protocol, &host.url, counters)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_address_says_what_is_wanted() {
        let options = NetworkOptions {
            dids: vec!["did:web:a%3A80".to_owned(), "did:plc:b".to_owned()],
            ..NetworkOptions::default()
        };
        let address = |protocol, compression| {
            let endpoint = Endpoint::parse(protocol, "wss://a").unwrap();
            Host::new(endpoint, &[]).address(Some(7), compression, &options)
        };
        assert_eq!(
            address(Protocol::Relay, None),
            "wss://a/xrpc/com.atproto.sync.subscribeRepos?cursor=7"
        );
        assert_eq!(
            address(Protocol::JetstreamV1, Some(1)),
            "wss://a/subscribe?wantedCollections=app.bsky.feed.post&wantedDids=did:web:a%253A80\
             &wantedDids=did:plc:b&compress=true&cursor=7"
        );
        assert_eq!(
            address(Protocol::JetstreamV2, Some(9)),
            "wss://a/xrpc/network.bsky.jetstream.subscribeEvents?collections=app.bsky.feed.post\
             &dids=did:web:a%253A80&dids=did:plc:b&zstdDictionary=9&cursor=7"
        );
    }
}
