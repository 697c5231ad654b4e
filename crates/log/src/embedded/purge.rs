//! Removing records: single ones, which are overwritten, and everything before a place, which goes
//! with its files.

use std::{collections::BTreeMap, os::unix::fs::FileExt, sync::Arc};

use wingbeat_record::Time;

use super::{
    frame,
    image::{Change, DeletePlace},
    segment::Segment,
    writer::Writer,
};
use crate::{LogError, crashpoint};

/// A record that is to be overwritten.
type Found = (Arc<Segment>, u64, DeletePlace);

impl Writer {
    /// Overwrites records; returns how many were there. The intent is durable first, so that a
    /// crash in the middle leaves nothing that looks like damage.
    pub(super) fn delete_many(&mut self, sequences: &[u64]) -> Result<u64, LogError> {
        let mut found: Vec<Found> = Vec::new();
        for &sequence in sequences {
            let place = self.find(sequence)?;
            found.extend(place.map(|(segment, place)| (segment, sequence, place)));
        }
        if found.is_empty() {
            return Ok(0);
        }
        let stream = || self.stream.name.to_string();
        let intent = |(_, sequence, place): &Found| Change::Deleting {
            stream: stream(),
            sequence: *sequence,
            place: *place,
        };
        self.journal.commit_blocking(found.iter().map(intent).collect())?;
        crashpoint::hit(crashpoint::name::DELETE_INTENDED);
        let mut touched: BTreeMap<u64, Arc<Segment>> = BTreeMap::new();
        for (segment, sequence, place) in &found {
            overwrite(segment, *sequence, *place)?;
            touched.insert(segment.base, Arc::clone(segment));
        }
        touched.values().try_for_each(|segment| sync(segment))?;
        for (segment, sequence, _) in &found {
            segment.contents().deleted.insert(*sequence);
            self.journal.note(Change::Deleted { stream: stream(), sequence: *sequence })?;
        }
        Ok(found.len() as u64)
    }

    /// Lets everything before a sequence expire; returns how many records that were.
    pub(super) fn purge_before(&mut self, first: u64) -> Result<u64, LogError> {
        let before = self.stream.info();
        let first = first.min(before.last + 1);
        if first <= before.first {
            return Ok(0);
        }
        if first > before.last {
            // The file that is written to would stay.
            let has_records = |s: &Arc<Segment>| s.contents().last >= s.base;
            let mut state = self.stream.state_mut();
            let must_roll = state.segments.last().is_some_and(has_records);
            state.must_roll |= must_roll;
            drop(state);
            if must_roll {
                self.open_segment()?;
            }
        }
        self.stream.purge_before(first, &self.journal)?;
        Ok(before.records.saturating_sub(self.stream.info().records))
    }

    /// Where a record that still exists lies.
    fn find(&self, sequence: u64) -> Result<Option<(Arc<Segment>, DeletePlace)>, LogError> {
        if self.stream.get(sequence)?.is_none() {
            return Ok(None);
        }
        let segments = self.stream.state().segments.clone();
        let holds = |s: &&Arc<Segment>| (s.base..=s.contents().last).contains(&sequence);
        let Some(segment) = segments.iter().find(holds) else { return Ok(None) };
        let mut found = None;
        segment.visit_from(segment.seek(sequence), |header, offset, bytes| {
            if header.sequence == sequence {
                found = Some(DeletePlace {
                    segment: segment.base,
                    offset,
                    frame_bytes: header.frame_bytes(),
                    time_us: header.time.as_micros(),
                    id_hash: frame::id_hash_in(header, bytes, self.stream.salt).unwrap_or(0),
                });
            }
            header.sequence < sequence
        })?;
        Ok(found.map(|place| (Arc::clone(segment), place)))
    }
}

/// Overwrites a record with nothing; durable after [`sync`].
pub(super) fn overwrite(
    segment: &Segment,
    sequence: u64,
    place: DeletePlace,
) -> Result<(), LogError> {
    let failed = |error| LogError::io(format!("can't write {}", segment.path.display()), &error);
    let time = Time::from_micros(place.time_us);
    let frame = frame::deleted(segment.salt, place.frame_bytes, sequence, time, place.id_hash);
    if crashpoint::reached(crashpoint::name::DELETE_HALF_DONE) {
        segment.file.write_all_at(&frame[..frame.len() / 2], place.offset).map_err(failed)?;
        crashpoint::die();
    }
    segment.file.write_all_at(&frame, place.offset).map_err(failed)
}

/// Makes what was overwritten durable.
pub(super) fn sync(segment: &Segment) -> Result<(), LogError> {
    let failed = |error| LogError::io(format!("can't write {}", segment.path.display()), &error);
    segment.file.sync_data().map_err(failed)
}
