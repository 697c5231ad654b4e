//! Posts from a recording of the firehose.
//!
//! A recording is a file, plain, gzip or zstd, of frames as they were received, each behind its
//! length: 32 bits, the lowest byte first.

use std::{
    collections::VecDeque,
    fmt,
    sync::{Arc, atomic::Ordering},
};

use async_trait::async_trait;
use wingbeat_atproto::{FRAME_BYTES_MAX, Frame};

use crate::{
    Description, Item, Pace, Source, SourceError,
    contents::ReadCounters,
    dead::{CutOriginal, dead},
    feed::{Feed, ItemReader},
    frame_contents::contents_of,
    input::{Input, InputPath},
};

/// The bits of a position that count the operations of a frame. A frame has 200 at most.
const OP_BITS: u32 = 16;

/// The length before each frame, in bytes.
const LENGTH_BYTES: usize = 4;

/// Recorded frames of `com.atproto.sync.subscribeRepos`.
///
/// New posts are posts; deletions and updates of posts, and what happens to accounts, are events;
/// operations in other collections are counted and are no items. A position is the index of the
/// frame in the upper 48 bits, and the number of its operations that are done in the lower 16.
pub struct FramesSource {
    description: Description,
    counters: Arc<ReadCounters>,
    feed: Feed,
}

impl FramesSource {
    /// Opens the recording, and passes over what lies before the position `resume`.
    pub fn open(
        path: &InputPath,
        resume: Option<u64>,
        pace: Option<Pace>,
    ) -> Result<Self, SourceError> {
        let fingerprint = path.fingerprint()?;
        if fingerprint.is_none() && resume.is_some() {
            return Err(path.refuse_resume());
        }
        let description = Description {
            kind: "frames",
            spec: format!("frames:{path}"),
            is_simulated: false,
            fingerprint,
        };
        let counters = Arc::new(ReadCounters::default());
        let mut reader = FrameReader {
            input: Input::open(path)?,
            counters: Arc::clone(&counters),
            next_index: 0,
            ops_done: 0,
            items: VecDeque::new(),
        };
        if let Some(position) = resume {
            reader.resume_at(position)?;
        }
        Ok(Self { description, counters, feed: Feed::start("frames", reader, pace)? })
    }
}

#[async_trait]
impl Source for FramesSource {
    fn description(&self) -> &Description {
        &self.description
    }

    fn counters(&self) -> Vec<(&'static str, u64)> {
        self.counters.read()
    }

    async fn next(&mut self, max: usize) -> Result<Option<Vec<Item>>, SourceError> {
        self.feed.next(max).await
    }
}

/// What messages call a frame.
struct FrameName<'a> {
    input: &'a str,
    index: u64,
}

impl fmt::Display for FrameName<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} frame {}", self.input, self.index + 1)
    }
}

/// Turns frames into items.
struct FrameReader {
    input: Input,
    counters: Arc<ReadCounters>,
    /// The index of the frame that is read next.
    next_index: u64,
    /// How many of its operations were done before the resume.
    ops_done: usize,
    /// Items of the frame that was read last.
    items: VecDeque<Item>,
}

impl FrameReader {
    fn resume_at(&mut self, position: u64) -> Result<(), SourceError> {
        let frames_done = position >> OP_BITS;
        while self.next_index < frames_done {
            let Some(length) = self.read_length()? else {
                let problem = format!("it ends before the saved frame {}", frames_done + 1);
                return Err(self.input.damage(&problem));
            };
            if self.input.pass(length, |_| {})? > 0 {
                return Err(self.cut_frame());
            }
            self.next_index += 1;
        }
        let ops_done = position & ((1 << OP_BITS) - 1);
        self.ops_done = usize::try_from(ops_done).unwrap_or(usize::MAX);
        Ok(())
    }

    /// The length of the next frame, or `None` at the end.
    fn read_length(&mut self) -> Result<Option<u64>, SourceError> {
        let mut length = Vec::with_capacity(LENGTH_BYTES);
        self.input.pass(LENGTH_BYTES as u64, |bytes| length.extend_from_slice(bytes))?;
        match *length {
            [] => Ok(None),
            [a, b, c, d] => Ok(Some(u32::from_le_bytes([a, b, c, d]).into())),
            _ => Err(self.cut_frame()),
        }
    }

    fn cut_frame(&self) -> SourceError {
        self.input.damage(&format!("it ends inside of frame {}", self.next_index + 1))
    }

    /// Reads the next frame and queues its items. Returns `false` at the end.
    fn read_frame(&mut self) -> Result<bool, SourceError> {
        let Some(length) = self.read_length()? else { return Ok(false) };
        let index = self.next_index;
        self.counters.frames.fetch_add(1, Ordering::Relaxed);
        let mut contents = Vec::new();
        if length > FRAME_BYTES_MAX as u64 {
            let mut original = CutOriginal::new();
            if self.input.pass(length, |bytes| original.push(bytes))? > 0 {
                return Err(self.cut_frame());
            }
            let name = FrameName { input: self.input.name(), index };
            let message = format!(
                "{name}: the frame has {length} bytes, more than the {FRAME_BYTES_MAX} that the \
                 protocol allows"
            );
            contents.push((0, original.dead("too_large", message)));
        } else {
            let mut frame = Vec::new();
            if self.input.pass(length, |bytes| frame.extend_from_slice(bytes))? > 0 {
                return Err(self.cut_frame());
            }
            let name = FrameName { input: self.input.name(), index };
            match Frame::decode(&frame) {
                Ok(decoded) => {
                    let take = |index, content| contents.push((index, content));
                    self.counters.count_ops(contents_of(&decoded, &frame, &name, take));
                }
                Err(error) => {
                    let content = dead(&frame, "bad_frame", format!("{name}: {error}"));
                    contents.push((0, content));
                }
            }
        }
        self.next_index += 1;
        let ops_done = std::mem::take(&mut self.ops_done);
        for (op_index, content) in contents {
            if op_index >= ops_done {
                let position = (index << OP_BITS) | (op_index as u64 + 1);
                self.items.push_back(Item { position, content });
            }
        }
        Ok(true)
    }
}

impl ItemReader for FrameReader {
    fn read(&mut self) -> Result<Option<Item>, SourceError> {
        while self.items.is_empty() {
            if !self.read_frame()? {
                return Ok(None);
            }
        }
        Ok(self.items.pop_front())
    }

    fn is_ready(&self) -> bool {
        if !self.items.is_empty() {
            return true;
        }
        let Some((length, behind)) = self.input.buffered().split_first_chunk() else {
            return false;
        };
        usize::try_from(u32::from_le_bytes(*length)).is_ok_and(|length| length <= behind.len())
    }
}
