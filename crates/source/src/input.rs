//! The bytes of a file or of standard input, decompressed.

use std::{
    fs::File,
    io::{self, BufRead, BufReader, Cursor, Read},
    path::{Path, PathBuf},
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
};

use flate2::bufread::MultiGzDecoder;
use sha2::{Digest, Sha256};

use crate::{SourceError, hex};

/// How much is read at once, in bytes.
const BUFFER_BYTES: usize = 64 * 1024;

/// The largest window that a zstd frame may ask for, as a power of two: 128 MiB, which is what
/// `zstd` itself accepts unless told otherwise. A hostile file must not name its own memory use.
const ZSTD_WINDOW_LOG_MAX: u32 = 27;

/// How much of the content goes into a fingerprint, in bytes.
const FINGERPRINT_BYTES: u64 = 4_096;

/// Where bytes come from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum InputPath {
    /// Standard input.
    Stdin,
    /// A file, or anything else that can be opened and read.
    File(PathBuf),
}

impl std::fmt::Display for InputPath {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Stdin => f.write_str("-"),
            Self::File(path) => path.display().fmt(f),
        }
    }
}

impl InputPath {
    /// What messages call it.
    fn name(&self) -> String {
        match self {
            Self::Stdin => "standard input".to_owned(),
            Self::File(path) => path.display().to_string(),
        }
    }

    /// Identifies the file and its content by the path and the beginning of what is in it. `None`
    /// for what can't be read twice: standard input, pipes, devices.
    pub(crate) fn fingerprint(&self) -> Result<Option<String>, SourceError> {
        let Self::File(path) = self else { return Ok(None) };
        let fail = |error| SourceError::Io { what: self.name(), error };
        if !path.metadata().map_err(fail)?.is_file() {
            return Ok(None);
        }
        let mut beginning = Vec::new();
        // Damage in the beginning is reported when the source reads there; what could be read
        // before it identifies the file well enough.
        let _ = Input::open(self)?.reader.take(FINGERPRINT_BYTES).read_to_end(&mut beginning);
        let mut hasher = Sha256::new();
        hasher.update(path.canonicalize().map_err(fail)?.as_os_str().as_encoded_bytes());
        hasher.update([0]);
        hasher.update(&beginning);
        Ok(Some(hex(&hasher.finalize()[..16])))
    }
}

/// An open input. Compression is recognised by the content, not by the name.
pub(crate) struct Input {
    name: String,
    is_compressed: bool,
    raw: Arc<RawProgress>,
    reader: BufReader<Box<dyn Read + Send>>,
    position: u64,
}

/// What has happened below the decompression.
#[derive(Debug, Default)]
struct RawProgress {
    bytes: AtomicU64,
    has_failed: AtomicBool,
}

/// Counts what is read, and takes note of a failure: so that a disk that fails is told apart from
/// a file that is damaged.
struct Watched<R> {
    inner: R,
    progress: Arc<RawProgress>,
}

impl<R: Read> Read for Watched<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let result = self.inner.read(buffer);
        match &result {
            Ok(count) => _ = self.progress.bytes.fetch_add(*count as u64, Ordering::Relaxed),
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(_) => self.progress.has_failed.store(true, Ordering::Relaxed),
        }
        result
    }
}

impl Input {
    /// Opens an input at its start.
    pub(crate) fn open(path: &InputPath) -> Result<Self, SourceError> {
        let name = path.name();
        let fail = |error| SourceError::Io { what: name.clone(), error };
        let file: Box<dyn Read + Send> = match path {
            InputPath::Stdin => Box::new(io::stdin()),
            InputPath::File(path) => Box::new(open_file(path).map_err(fail)?),
        };
        let raw = Arc::new(RawProgress::default());
        let mut file = Watched { inner: file, progress: Arc::clone(&raw) };
        let mut magic = Vec::with_capacity(4);
        file.by_ref().take(4).read_to_end(&mut magic).map_err(fail)?;
        let compression = Compression::of(&magic);
        let whole = Cursor::new(magic).chain(file);
        let decompressed: Box<dyn Read + Send> = match compression {
            Compression::None => Box::new(whole),
            Compression::Gzip => {
                let buffered = BufReader::with_capacity(BUFFER_BYTES, whole);
                Box::new(MultiGzDecoder::new(buffered))
            }
            Compression::Zstd => {
                let mut decoder = zstd::Decoder::new(whole).map_err(fail)?;
                decoder.window_log_max(ZSTD_WINDOW_LOG_MAX).map_err(fail)?;
                Box::new(decoder)
            }
        };
        Ok(Self {
            name,
            is_compressed: compression != Compression::None,
            raw,
            reader: BufReader::with_capacity(BUFFER_BYTES, decompressed),
            position: 0,
        })
    }

    /// What messages call it.
    pub(crate) fn name(&self) -> &str {
        &self.name
    }

    /// How many bytes were consumed, decompressed.
    pub(crate) fn position(&self) -> u64 {
        self.position
    }

    /// What can be had without reading.
    pub(crate) fn buffered(&self) -> &[u8] {
        self.reader.buffer()
    }

    /// Some bytes, at least one; none at the end. They are consumed by [`Input::consume`].
    pub(crate) fn fill(&mut self) -> Result<&[u8], SourceError> {
        loop {
            match self.reader.fill_buf() {
                // Asked for once more below: a buffer can't be returned from inside a loop.
                Ok(_) => break,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(self.failure(error)),
            }
        }
        Ok(self.reader.buffer())
    }

    /// Consumes bytes that [`Input::fill`] has returned.
    pub(crate) fn consume(&mut self, count: usize) {
        self.reader.consume(count);
        self.position += count as u64;
    }

    /// Consumes up to so many bytes, and gives each piece of them to `look`. Says how many bytes
    /// were missing at the end.
    pub(crate) fn pass(
        &mut self,
        count: u64,
        mut look: impl FnMut(&[u8]),
    ) -> Result<u64, SourceError> {
        let mut left = count;
        while left > 0 {
            let bytes = self.fill()?;
            if bytes.is_empty() {
                break;
            }
            let taken = bytes.len().min(usize::try_from(left).unwrap_or(usize::MAX));
            look(bytes.get(..taken).unwrap_or_default());
            self.consume(taken);
            left -= taken as u64;
        }
        Ok(left)
    }

    /// The input is broken here, in words.
    pub(crate) fn damage(&self, problem: &str) -> SourceError {
        let compressed = self.raw.bytes.load(Ordering::Relaxed);
        let place = if self.is_compressed {
            format!("{} (at most {compressed} bytes into the compressed file)", self.position)
        } else {
            self.position.to_string()
        };
        SourceError::Damaged {
            what: self.name.clone(),
            problem: format!("{problem}, at byte {place}"),
        }
    }

    fn failure(&self, error: io::Error) -> SourceError {
        if self.is_compressed && !self.raw.has_failed.load(Ordering::Relaxed) {
            return self.damage(&format!("it can't be decompressed: {error}"));
        }
        SourceError::Io { what: self.name.clone(), error }
    }
}

fn open_file(path: &Path) -> io::Result<File> {
    let file = File::open(path)?;
    if file.metadata()?.is_dir() {
        return Err(io::Error::from(io::ErrorKind::IsADirectory));
    }
    Ok(file)
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Compression {
    None,
    Gzip,
    Zstd,
}

impl Compression {
    /// By the first four bytes: RFC 1952 section 2.3.1, RFC 8878 sections 3.1.1 and 3.1.2 (a file
    /// may begin with a skippable frame).
    fn of(magic: &[u8]) -> Self {
        match magic {
            [0x1f, 0x8b, ..] => Self::Gzip,
            [0x28, 0xb5, 0x2f, 0xfd] | [0x50..=0x5f, 0x2a, 0x4d, 0x18] => Self::Zstd,
            _ => Self::None,
        }
    }
}
