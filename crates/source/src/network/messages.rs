//! Single messages of Jetstream, outside a connection.

use bytes::Bytes;

use super::{
    counters::NetworkCounters,
    dictionary::{Dictionary, Inflater},
    endpoint::Protocol,
    jetstream,
    message::Decoded,
};
use crate::{Content, SourceError};

/// Reads messages of Jetstream as the source does: for recordings, and for tests with any bytes.
pub struct JetstreamMessages {
    protocol: Protocol,
    inflater: Option<Inflater>,
    counters: NetworkCounters,
}

impl JetstreamMessages {
    /// For messages of this protocol, compressed with this dictionary of zstd, if any.
    pub fn new(protocol: Protocol, dictionary: Option<&[u8]>) -> Result<Self, SourceError> {
        let wrong = |problem: String| SourceError::Spec(format!("the dictionary: {problem}"));
        let inflater = dictionary.map(|bytes| {
            let dictionary = Dictionary::parse(Bytes::copy_from_slice(bytes)).map_err(wrong)?;
            Inflater::new(&dictionary).map_err(|error| wrong(error.to_string()))
        });
        let inflater = inflater.transpose()?;
        Ok(Self { protocol, inflater, counters: NetworkCounters::default() })
    }

    /// What a message becomes; nothing where it is a notice of the host.
    pub fn contents(&mut self, message: &[u8]) -> Result<Vec<Content>, SourceError> {
        let wrong = |problem: String| SourceError::Spec(format!("the message: {problem}"));
        let bytes = match &mut self.inflater {
            Some(inflater) => {
                inflater.inflate(message).map_err(|error| wrong(error.to_string()))?
            }
            None => message,
        };
        let decoded = jetstream::decode(bytes, self.protocol, "wss://host", &self.counters);
        match decoded.map_err(|error| wrong(error.to_string()))? {
            Decoded::Event(event) => Ok(event.contents),
            Decoded::Unknown(content) => Ok(vec![content]),
            Decoded::Info(_) | Decoded::Error(_) => Ok(Vec::new()),
        }
    }
}
