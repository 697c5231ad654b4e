//! Dictionaries for compressed streams of Jetstream.

use std::{fs, path::Path, sync::Arc};

use zstd::{bulk::Compressor, dict::EncoderDictionary};

use crate::{
    event::View,
    options::{Options, StartError},
    world::World,
};

/// How long a dictionary is, in bytes: the length of the one that the real network serves.
const DICTIONARY_BYTES: usize = 65_536;

/// The longest dictionary that is read from a file.
const FILE_BYTES_MAX: u64 = 16 << 20;

/// From how many events a dictionary is trained.
const TRAINING_EVENTS: usize = 1_000;

/// The level of compression: the real network's streams are compressed for speed.
const LEVEL: i32 = 1;

/// How a dictionary begins (RFC 8878, section 5): behind it is its id.
const MAGIC: [u8; 4] = [0x37, 0xa4, 0x30, 0xec];

/// What the zip bomb unpacks to, in bytes: zeros.
const BOMB_BYTES: usize = 256 << 20;

/// A dictionary, ready for use.
pub(crate) struct Dictionary {
    bytes: Vec<u8>,
    id: u32,
    prepared: EncoderDictionary<'static>,
}

impl std::fmt::Debug for Dictionary {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Dictionary").field("id", &self.id).finish_non_exhaustive()
    }
}

impl Dictionary {
    fn new(bytes: Vec<u8>) -> Result<Self, String> {
        let id = match bytes.get(..8) {
            Some(&[a, b, c, d, e, f, g, h]) if [a, b, c, d] == MAGIC => {
                u32::from_le_bytes([e, f, g, h])
            }
            _ => return Err("it is no zstd dictionary".to_owned()),
        };
        let prepared = EncoderDictionary::try_copy(&bytes, LEVEL);
        let prepared = prepared.map_err(|error| error.to_string())?;
        Ok(Self { bytes, id, prepared })
    }

    /// Reads a dictionary from a file.
    pub(crate) fn read(path: &Path) -> Result<Self, StartError> {
        let refuse = |problem| StartError::Dictionary { path: path.to_owned(), problem };
        let length = fs::metadata(path).map_err(|error| refuse(error.to_string()))?.len();
        if length > FILE_BYTES_MAX {
            return Err(refuse(format!("{length} bytes are more than {FILE_BYTES_MAX}")));
        }
        let bytes = fs::read(path).map_err(|error| refuse(error.to_string()))?;
        Self::new(bytes).map_err(refuse)
    }

    /// Trains a dictionary from the first events of a network with these options.
    pub(crate) fn train(options: &Options) -> Result<Self, String> {
        let mut world = World::new(options).map_err(|error| error.to_string())?;
        let events = (0..TRAINING_EVENTS).map(|_| world.make(None));
        let events: Vec<_> = events.collect::<Result<_, _>>().map_err(|error| error.to_string())?;
        let views = events.iter().flat_map(|event| &event.views);
        let samples: Vec<String> = views.map(|view: &View| view.v2(0)).collect();
        let bytes = zstd::dict::from_samples(&samples, DICTIONARY_BYTES);
        Self::new(bytes.map_err(|error| error.to_string())?)
    }

    pub(crate) fn bytes(&self) -> &[u8] {
        &self.bytes
    }

    pub(crate) fn id(&self) -> u32 {
        self.id
    }
}

/// Compresses the messages of one connection.
pub(crate) struct Packer {
    dictionary: Arc<Dictionary>,
}

impl Packer {
    pub(crate) fn new(dictionary: Arc<Dictionary>) -> Self {
        Self { dictionary }
    }

    /// Each message becomes one zstd frame.
    pub(crate) fn pack(&self, messages: &[String]) -> std::io::Result<Vec<Vec<u8>>> {
        let mut compressor = Compressor::with_prepared_dictionary(&self.dictionary.prepared)?;
        messages.iter().map(|message| compressor.compress(message.as_bytes())).collect()
    }

    /// A small frame that unpacks to 256 MiB of zeros.
    pub(crate) fn bomb(&self) -> std::io::Result<Vec<u8>> {
        use std::io::Write as _;
        let mut encoder =
            zstd::stream::Encoder::with_prepared_dictionary(Vec::new(), &self.dictionary.prepared)?;
        let zeros = vec![0; 1 << 20];
        for _ in 0..BOMB_BYTES / zeros.len() {
            encoder.write_all(&zeros)?;
        }
        encoder.finish()
    }
}
