//! Messages that are compressed with a dictionary.

use std::{io, path::Path};

use bytes::Bytes;
use zstd::bulk::Decompressor;

use super::socket::MESSAGE_BYTES_MAX;

/// The longest dictionary, in bytes. Jetstream's have some 100,000.
pub(crate) const DICTIONARY_BYTES_MAX: usize = 1024 * 1024;

/// What a dictionary begins with: RFC 8878 section 5.
const MAGIC: [u8; 4] = [0x37, 0xa4, 0x30, 0xec];

/// A dictionary of zstd.
#[derive(Debug, Clone)]
pub(crate) struct Dictionary {
    /// The number that it is known by.
    pub(crate) id: u32,
    bytes: Bytes,
}

impl Dictionary {
    /// Takes bytes that claim to be a dictionary.
    pub(crate) fn parse(bytes: Bytes) -> Result<Self, String> {
        if bytes.len() > DICTIONARY_BYTES_MAX {
            return Err(format!(
                "it has {} bytes, more than the {DICTIONARY_BYTES_MAX} that a dictionary may have",
                bytes.len()
            ));
        }
        match *bytes {
            [a, b, c, d, ref rest @ ..] if [a, b, c, d] == MAGIC => match *rest {
                [a, b, c, d, ..] => Ok(Self { id: u32::from_le_bytes([a, b, c, d]), bytes }),
                _ => Err("it is a cut dictionary of zstd".to_owned()),
            },
            _ => Err("it is no dictionary of zstd".to_owned()),
        }
    }

    /// Reads a file.
    pub(crate) fn read(path: &Path) -> io::Result<Self> {
        let bytes = std::fs::read(path)?;
        Self::parse(bytes.into())
            .map_err(|problem| io::Error::new(io::ErrorKind::InvalidData, problem))
    }
}

/// Decompresses messages. Whatever they say of themselves, one takes no more memory than the
/// longest message.
pub(crate) struct Inflater {
    decompressor: Decompressor<'static>,
    buffer: Vec<u8>,
}

impl Inflater {
    /// Makes one for messages that are compressed with this dictionary.
    pub(crate) fn new(dictionary: &Dictionary) -> io::Result<Self> {
        let decompressor = Decompressor::with_dictionary(&dictionary.bytes)?;
        Ok(Self { decompressor, buffer: Vec::with_capacity(MESSAGE_BYTES_MAX) })
    }

    /// The message that these bytes are.
    pub(crate) fn inflate(&mut self, bytes: &[u8]) -> io::Result<&[u8]> {
        self.buffer.clear();
        self.decompressor.decompress_to_buffer(bytes, &mut self.buffer)?;
        Ok(&self.buffer)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn dictionary() -> Dictionary {
        let samples: Vec<_> =
            (0..2000_u32).map(|i| format!("{{\"did\":\"did:plc:{i}\",\"n\":{}}}", i * 7)).collect();
        Dictionary::parse(zstd::dict::from_samples(&samples, 8192).unwrap().into()).unwrap()
    }

    #[test]
    fn what_is_compressed_comes_back_and_a_bomb_does_not() {
        let dictionary = dictionary();
        let mut compressor =
            zstd::bulk::Compressor::with_dictionary(19, &dictionary.bytes).unwrap();
        let mut inflater = Inflater::new(&dictionary).unwrap();
        let message = b"{\"did\":\"did:plc:5\"}";
        let compressed = compressor.compress(message).unwrap();
        let bomb = compressor.compress(&vec![0; MESSAGE_BYTES_MAX + 1]).unwrap();
        assert!(bomb.len() < 1000);
        for _ in 0..2 {
            assert_eq!(inflater.inflate(&compressed).unwrap(), message);
            assert!(inflater.inflate(&bomb).is_err());
            assert!(inflater.inflate(b"junk").is_err());
        }
        assert!(inflater.buffer.capacity() <= MESSAGE_BYTES_MAX * 2);
    }

    #[test]
    fn what_is_no_dictionary_is_refused() {
        assert!(Dictionary::parse(Bytes::from_static(b"<html>not found")).is_err());
        assert!(Dictionary::parse(Bytes::from_static(&MAGIC)).is_err());
        assert!(Dictionary::parse(vec![0; DICTIONARY_BYTES_MAX + 1].into()).is_err());
        assert_ne!(dictionary().id, 0);
    }
}
