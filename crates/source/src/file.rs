//! Posts from a file: one JSON object on each line.

use std::sync::atomic::{AtomicU64, Ordering};

use async_trait::async_trait;
use bytes::Bytes;
use wingbeat_record::{Document, MessageId, Time};

use crate::{
    Content, Description, Item, Pace, Post, Source, SourceError,
    dead::{CutOriginal, ORIGINAL_BYTES_MAX},
    feed::{Feed, ItemReader},
    input::{Input, InputPath},
};

/// The longest line that becomes a record, in bytes, without its line ending. A longer one is a
/// dead letter.
pub const LINE_BYTES_MAX: usize = ORIGINAL_BYTES_MAX;

/// The byte order mark that some editors write at the start of a file.
const BYTE_ORDER_MARK: &[u8] = b"\xef\xbb\xbf";

/// Lines of a file or of standard input, plain, gzip or zstd.
///
/// Every line is an item, whatever it holds; what is no post is for a flow to find out. The
/// position is the number of bytes up to the end of the line, after decompression.
pub struct FileSource {
    description: Description,
    feed: Feed,
}

impl FileSource {
    /// Opens the file, and passes over what lies before the position `resume`.
    pub fn open(
        path: &InputPath,
        resume: Option<u64>,
        pace: Option<Pace>,
    ) -> Result<Self, SourceError> {
        let fingerprint = path.fingerprint()?;
        let origin = match &fingerprint {
            Some(fingerprint) => format!("file:{fingerprint}"),
            None if resume.is_some() => return Err(path.refuse_resume()),
            None => format!("file:{}", run_id()),
        };
        let mut reader = LineReader { input: Input::open(path)?, origin, line_number: 0 };
        if let Some(position) = resume {
            reader.resume_at(position)?;
        }
        let description = Description {
            kind: "file",
            spec: format!("file:{path}"),
            is_simulated: false,
            fingerprint,
        };
        Ok(Self { description, feed: Feed::start("file", reader, pace)? })
    }
}

#[async_trait]
impl Source for FileSource {
    fn description(&self) -> &Description {
        &self.description
    }

    async fn next(&mut self, max: usize) -> Result<Option<Vec<Item>>, SourceError> {
        self.feed.next(max).await
    }
}

/// Identifies this reading of an input that can't be read twice, so that the same bad line of two
/// inputs is two dead letters.
fn run_id() -> String {
    static OPENED: AtomicU64 = AtomicU64::new(0);
    let nth = OPENED.fetch_add(1, Ordering::Relaxed);
    format!("{}-{}-{nth}", Time::now().as_micros(), std::process::id())
}

/// Turns lines into items.
struct LineReader {
    input: Input,
    /// What the ids of lines without identity begin with.
    origin: String,
    line_number: u64,
}

impl LineReader {
    /// Passes over everything before a saved position, and counts the lines in it.
    fn resume_at(&mut self, position: u64) -> Result<(), SourceError> {
        let mut lines = 0;
        let mut last_byte = b'\n';
        let missing = self.input.pass(position, |bytes| {
            lines += memchr::memchr_iter(b'\n', bytes).count() as u64;
            last_byte = bytes.last().copied().unwrap_or(last_byte);
        })?;
        if missing > 0 {
            let problem =
                format!("it ends before the saved position {position}: it is not the same file");
            return Err(self.input.damage(&problem));
        }
        self.line_number = lines;
        if last_byte != b'\n' {
            // The position was saved behind a last line without line ending. Where the file has
            // grown since, that line's ending comes first, and is no empty line.
            self.line_number += 1;
            for byte in *b"\r\n" {
                if self.input.fill()?.first() == Some(&byte) {
                    self.input.consume(1);
                }
            }
        }
        Ok(())
    }

    /// The next line, or `None` at the end.
    fn read_line(&mut self) -> Result<Option<Line>, SourceError> {
        let mut line = LineBuffer::default();
        let mut has_bytes = false;
        let is_ended = loop {
            let bytes = self.input.fill()?;
            if bytes.is_empty() {
                break false;
            }
            has_bytes = true;
            let end = memchr::memchr(b'\n', bytes);
            let taken = end.unwrap_or(bytes.len());
            line.push(bytes.get(..taken).unwrap_or_default());
            self.input.consume(taken + usize::from(end.is_some()));
            if end.is_some() {
                break true;
            }
        };
        let is_mark_alone = self.line_number == 0 && !is_ended && line.bytes == BYTE_ORDER_MARK;
        if !has_bytes || is_mark_alone {
            return Ok(None);
        }
        self.line_number += 1;
        Ok(Some(line.finish(is_ended)))
    }

    fn content_of(&self, line: Bytes) -> Content {
        let Ok(document) = Document::parse(line.clone()) else {
            // Each bad line is a dead letter of its own, also where two are equal.
            let id = MessageId::new(format!("{}:{}", self.origin, self.input.position()));
            return Content::Post(Post::of_bytes(line, id));
        };
        let text = |key| document.get(key).and_then(|value| Some(value.as_str()?.into_owned()));
        let id = match (text("uri"), text("cid")) {
            (Some(uri), Some(cid)) => MessageId::of_post(&uri, &cid),
            _ => MessageId::from_content(&line),
        };
        Content::Post(Post::of_document(document, id))
    }
}

impl ItemReader for LineReader {
    fn read(&mut self) -> Result<Option<Item>, SourceError> {
        let Some(line) = self.read_line()? else { return Ok(None) };
        let content = match line {
            Line::Whole(mut line) => {
                if self.line_number == 1 && line.starts_with(BYTE_ORDER_MARK) {
                    line.drain(..BYTE_ORDER_MARK.len());
                }
                self.content_of(line.into())
            }
            Line::TooLong(original) => {
                let message = format!(
                    "{} line {}: the line has {} bytes, more than the {LINE_BYTES_MAX} that a \
                     record may have",
                    self.input.name(),
                    self.line_number,
                    original.length(),
                );
                original.dead("too_large", message)
            }
        };
        Ok(Some(Item { position: self.input.position(), content }))
    }

    fn is_ready(&self) -> bool {
        memchr::memchr(b'\n', self.input.buffered()).is_some()
    }
}

/// A line without its ending.
enum Line {
    Whole(Vec<u8>),
    TooLong(CutOriginal),
}

/// A line while it is read. It never holds more than a little over [`LINE_BYTES_MAX`].
#[derive(Default)]
struct LineBuffer {
    bytes: Vec<u8>,
    /// Where the line is too long: all of it but a carriage return at its end, which may turn out
    /// to belong to the line ending.
    too_long: Option<CutOriginal>,
}

impl LineBuffer {
    fn push(&mut self, piece: &[u8]) {
        self.bytes.extend_from_slice(piece);
        // One byte more than the limit: it may be a carriage return.
        if self.too_long.is_some() || self.bytes.len() > LINE_BYTES_MAX + 1 {
            self.spill(true);
        }
    }

    /// Moves the bytes over to what is too long.
    fn spill(&mut self, keeps_carriage_return: bool) {
        let kept = usize::from(keeps_carriage_return && self.bytes.ends_with(b"\r"));
        let moved = self.bytes.len() - kept;
        let too_long = self.too_long.get_or_insert_with(CutOriginal::new);
        too_long.push(self.bytes.get(..moved).unwrap_or_default());
        self.bytes.drain(..moved);
    }

    fn finish(mut self, is_ended: bool) -> Line {
        if is_ended && self.bytes.ends_with(b"\r") {
            self.bytes.pop();
        }
        if self.too_long.is_some() || self.bytes.len() > LINE_BYTES_MAX {
            self.spill(false);
        }
        match self.too_long {
            Some(original) => Line::TooLong(original),
            None => Line::Whole(self.bytes),
        }
    }
}
