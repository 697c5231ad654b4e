//! Opening a stream's files: checking every frame, finishing what a crash left half done, and
//! finding out exactly what is missing.

use std::{
    path::{Path, PathBuf},
    sync::Arc,
};

use wingbeat_record::Time;

use super::{
    frame,
    image::StreamImage,
    purge,
    segment::{self, FILE_HEADER_BYTES, Lost, Segment},
    stream::{State, Stream},
    window::{DuplicateWindow, IDS_MAX},
};
use crate::{LogError, contract::LostRange};

/// A stream as it was found.
pub(super) struct Loaded {
    pub(super) stream: Arc<Stream>,
    /// What was missing or damaged, in words.
    pub(super) problems: Vec<String>,
}

/// Opens a stream's files. `known_last` is the newest sequence that somebody is known to have
/// seen; whatever is missing up to there is lost, not torn. Only a log that is open for writing
/// (`is_writable`) is repaired.
pub(super) fn load(
    directory: PathBuf,
    image: &StreamImage,
    known_last: u64,
    is_writable: bool,
) -> Result<Loaded, LogError> {
    let known_last = known_last.max(image.last);
    let mut loader = Loader {
        directory: &directory,
        image,
        is_writable,
        segments: Vec::new(),
        lost: Vec::new(),
        // The next sequence that must be found.
        expected: image.first,
        problems: Vec::new(),
    };
    loader.open_segments()?;
    let is_torn_or_damaged = loader.scan_segments()?;
    let must_roll = loader.settle_end(known_last, is_torn_or_damaged)?;
    let Loader { segments, lost, problems, .. } = loader;
    let last = segments.last().map_or(image.first - 1, |s| s.contents().last).max(known_last);
    let last_time = segments.iter().rev().find_map(|s| s.contents().last_time);
    let state = State {
        config: image.config.clone(),
        segments: segments.into_iter().map(Arc::new).collect(),
        first: image.first.min(last + 1),
        last,
        last_time,
        lost,
        must_roll,
    };
    let stream = Arc::new(Stream::new(&image.config.name, directory, image.salt, state));
    let prefix = |problem| format!("stream `{}`: {problem}", image.config.name);
    let mut problems: Vec<String> = problems.into_iter().map(prefix).collect();
    problems.extend(stream.info().lost.iter().map(|range| {
        prefix(format!("records {}..={} are lost: {}", range.first, range.last, range.cause))
    }));
    Ok(Loaded { stream, problems })
}

struct Loader<'a> {
    directory: &'a Path,
    image: &'a StreamImage,
    is_writable: bool,
    segments: Vec<Segment>,
    lost: Vec<LostRange>,
    expected: u64,
    problems: Vec<String>,
}

impl Loader<'_> {
    /// Opens the files, drops those that retention had given up, and finishes deletions.
    fn open_segments(&mut self) -> Result<(), LogError> {
        let paths = segment::list(self.directory)?;
        for path in &paths {
            let Some(segment) = Segment::open(path, self.image.salt, self.is_writable)? else {
                // The crash came before the header was written, so nothing ever was in it.
                self.remove(path)?;
                continue;
            };
            if !segment.is_header_sound {
                self.problems.push(format!(
                    "the header of {} is damaged; its records were read all the same",
                    path.display()
                ));
            }
            self.segments.push(segment);
        }
        // A file is expired when the next one begins at or before the first kept record.
        let bases: Vec<u64> = self.segments.iter().skip(1).map(|segment| segment.base).collect();
        let expired = bases.iter().take_while(|&&next| next <= self.image.first).count();
        for segment in self.segments.drain(..expired).collect::<Vec<_>>() {
            self.remove(&segment.path)?;
        }
        for (&sequence, &place) in &self.image.deleting {
            let found = self.segments.iter().find(|segment| segment.base == place.segment);
            if let (Some(segment), true) = (found, self.is_writable) {
                purge::overwrite(segment, sequence, place)?;
                purge::sync(segment)?;
            }
        }
        Ok(())
    }

    fn remove(&self, path: &Path) -> Result<(), LogError> {
        if !self.is_writable {
            return Ok(());
        }
        let failed = |error| LogError::io(format!("can't remove {}", path.display()), &error);
        std::fs::remove_file(path).map_err(failed)
    }

    /// Checks every frame of every file. Returns how many bytes at the very end are no frame.
    fn scan_segments(&mut self) -> Result<u64, LogError> {
        let mut tail_bytes = 0;
        for at in 0..self.segments.len() {
            let segment = &self.segments[at];
            if segment.base > self.expected {
                let cause = "a file of the log is missing".to_owned();
                self.lost.push(LostRange { first: self.expected, last: segment.base - 1, cause });
            }
            tail_bytes = segment.scan(|_, _| {})?.tail_bytes;
            let mut contents = segment.contents();
            let next = self.segments.get(at + 1);
            if let Some(next) = next.filter(|next| contents.last + 1 < next.base) {
                let bytes = (contents.end, contents.end + tail_bytes);
                let first = contents.last + 1;
                contents.lose(Lost { first, last: next.base - 1, bytes });
            }
            self.expected = contents.last + 1;
        }
        Ok(tail_bytes)
    }

    /// Tells a torn end, which was never acknowledged and is cut off, from a damaged one, which
    /// is kept and reported. Returns whether the last file must not be written to any more.
    fn settle_end(&mut self, known_last: u64, tail_bytes: u64) -> Result<bool, LogError> {
        let Some(segment) = self.segments.last() else {
            if known_last >= self.expected {
                let cause = "all files of the stream are missing".to_owned();
                self.lost.push(LostRange { first: self.expected, last: known_last, cause });
            }
            return Ok(false);
        };
        let (end, last) = {
            let contents = segment.contents();
            (contents.end, contents.last)
        };
        if last < known_last {
            let lost = Lost { first: last + 1, last: known_last, bytes: (end, end + tail_bytes) };
            segment.contents().lose(lost);
            return Ok(true);
        }
        if tail_bytes > 0 && self.is_writable {
            tracing::info!(file = %segment.path.display(), bytes = tail_bytes, "cutting off a write that was not finished when the process ended; nothing in it was acknowledged");
            let cut = segment.file.set_len(end).and_then(|()| segment.file.sync_all());
            cut.map_err(|e| LogError::io(format!("can't repair {}", segment.path.display()), &e))?;
        }
        Ok(false)
    }
}

/// Remembers the message ids of the stream's last records, as far as the window reaches back. Time
/// in which the log was closed does not count: an id is forgotten after it was remembered for the
/// window's length of running time, however long the machine was down.
pub(super) fn recent_ids(stream: &Stream, now: Time) -> Result<DuplicateWindow, LogError> {
    let state = stream.state();
    let length = state.config.duplicate_window;
    let mut window = DuplicateWindow::new(length, IDS_MAX);
    let Some(last_time) = state.last_time else { return Ok(window) };
    let horizon = last_time.minus(length);
    let segments = state.segments.clone();
    drop(state);
    for segment in segments {
        if segment.contents().last_time.is_none_or(|time| time < horizon) {
            continue;
        }
        let offset = segment.seek(segment.seek_time(horizon)).max(FILE_HEADER_BYTES);
        segment.visit_from(offset, |header, _, bytes| {
            let hash = frame::id_hash_in(header, bytes, stream.salt);
            if let Some(hash) = hash.filter(|_| header.time >= horizon) {
                window.insert(hash, header.sequence, now.minus(last_time.since(header.time)));
            }
            true
        })?;
    }
    Ok(window)
}

/// Takes up what another process has written to a stream since it was opened here.
pub(super) fn refresh(stream: &Stream) -> Result<(), LogError> {
    let newest = stream.state().segments.last().map(Arc::clone);
    if let Some(newest) = &newest {
        newest.scan(|_, _| {})?;
    }
    let known = newest.map_or(0, |segment| segment.base);
    let mut found = Vec::new();
    for path in segment::list(&stream.directory)? {
        // A file that retention removes meanwhile is no error.
        let Ok(Some(segment)) = Segment::open(&path, stream.salt, false) else { continue };
        if segment.base > known {
            segment.scan(|_, _| {})?;
            found.push(Arc::new(segment));
        }
    }
    let mut state = stream.state_mut();
    state.segments.extend(found);
    let newest = state.segments.last().map(|segment| {
        let contents = segment.contents();
        (contents.last, contents.last_time)
    });
    if let Some((last, last_time)) = newest {
        state.last = state.last.max(last);
        state.last_time = last_time.or(state.last_time);
        stream.tip.send_replace(state.last);
    }
    Ok(())
}
