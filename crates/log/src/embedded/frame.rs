//! The bytes of one record in a segment file.
//!
//! ```text
//!  0  marker    u32  the segment's salt
//!  4  checksum  u32  CRC-32C of everything behind it, keyed with the salt
//!  8  body      u32  length of what follows the 32-byte header
//! 12  kind      u8   1 record, 2 deleted record (its body: the hash of its id, then zeros)
//! 13  zero      u8
//! 14  subject   u16  length of the subject
//! 16  sequence  u64
//! 24  time      i64  microseconds since 1970
//! 32  subject, headers, payload
//! ```
//! All integers are little-endian. Headers: a `u16` count, then for each a `u16` length of the
//! name, a `u32` length of the value, the name, the value.
//!
//! When a damaged file is searched for the next sound frame, the marker shows where one may
//! begin. A payload can't hold one on purpose, because the salt is random and secret.

use bytes::Bytes;
use wingbeat_record::{Headers, Record, Subject, Time};

use super::window::id_hash;
use crate::contract::{RECORD_BYTES_MAX, Stored};

/// The length of a frame's header, in bytes.
pub(super) const HEADER_BYTES: usize = 32;
/// The largest body: the largest record and room for the lengths of its headers.
const BODY_BYTES_MAX: usize = RECORD_BYTES_MAX + 4096;
/// What a frame holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    Record = 1,
    Deleted = 2,
}

/// The fixed part of a frame.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Header {
    pub(super) kind: Kind,
    pub(super) body_bytes: usize,
    pub(super) subject_bytes: usize,
    pub(super) sequence: u64,
    pub(super) time: Time,
    checksum: u32,
}

impl Header {
    /// The length of the whole frame.
    pub(super) fn frame_bytes(&self) -> usize {
        HEADER_BYTES + self.body_bytes
    }
}

/// Why bytes are no frame.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Bad {
    /// The bytes end before the frame does; it needs this many.
    Short(usize),
    /// They are no sound frame.
    Broken,
}

/// Appends the frame of a record to `out`.
pub(super) fn encode(out: &mut Vec<u8>, salt: u32, sequence: u64, time: Time, record: &Record) {
    let start = out.len();
    let subject = record.subject.as_str().as_bytes();
    out.extend_from_slice(&[0; 12]);
    out.extend_from_slice(&[Kind::Record as u8, 0]);
    out.extend_from_slice(&length16(subject.len()));
    out.extend_from_slice(&sequence.to_le_bytes());
    out.extend_from_slice(&time.as_micros().to_le_bytes());
    out.extend_from_slice(subject);
    out.extend_from_slice(&length16(record.headers.len()));
    for (name, value) in record.headers.iter() {
        out.extend_from_slice(&length16(name.len()));
        out.extend_from_slice(&length32(value.len()));
        out.extend_from_slice(name.as_bytes());
        out.extend_from_slice(value.as_bytes());
    }
    out.extend_from_slice(&record.payload);
    seal(&mut out[start..], salt);
}

/// The frame that replaces a deleted record: the same length and place, no content.
/// `frame_bytes` is the length of the whole frame; `id_hash` is 0 where it had no message id.
pub(super) fn deleted(
    salt: u32,
    frame_bytes: usize,
    sequence: u64,
    time: Time,
    id_hash: u64,
) -> Vec<u8> {
    let mut frame = vec![0; frame_bytes.max(HEADER_BYTES)];
    frame[12] = Kind::Deleted as u8;
    frame[16..24].copy_from_slice(&sequence.to_le_bytes());
    frame[24..32].copy_from_slice(&time.as_micros().to_le_bytes());
    // A frame with an id is longer than this.
    if let Some(place) = frame.get_mut(HEADER_BYTES..HEADER_BYTES + 8) {
        place.copy_from_slice(&id_hash.to_le_bytes());
    }
    seal(&mut frame, salt);
    frame
}

/// Writes marker, length and checksum of a frame whose other bytes are complete.
fn seal(frame: &mut [u8], salt: u32) {
    frame[0..4].copy_from_slice(&salt.to_le_bytes());
    let body = length32(frame.len() - HEADER_BYTES);
    frame[8..12].copy_from_slice(&body);
    let checksum = crc32c::crc32c_append(salt, &frame[8..]);
    frame[4..8].copy_from_slice(&checksum.to_le_bytes());
}

// Lengths are checked against RECORD_BYTES_MAX, SUBJECT_BYTES_MAX and HEADERS_MAX before a record
// comes here, so these never saturate.
fn length16(length: usize) -> [u8; 2] {
    u16::try_from(length).unwrap_or(u16::MAX).to_le_bytes()
}

fn length32(length: usize) -> [u8; 4] {
    u32::try_from(length).unwrap_or(u32::MAX).to_le_bytes()
}

/// Reads a frame's header without checking its content.
pub(super) fn header(bytes: &[u8], salt: u32) -> Result<Header, Bad> {
    let Some(fixed) = bytes.first_chunk::<HEADER_BYTES>() else {
        return Err(Bad::Short(HEADER_BYTES));
    };
    let mut fields = Fields { bytes: fixed, at: 0 };
    if fields.u32() != Some(salt) {
        return Err(Bad::Broken);
    }
    let checksum = fields.u32().ok_or(Bad::Broken)?;
    let body_bytes = fields.u32().ok_or(Bad::Broken)? as usize;
    let kind = match fields.take::<2>() {
        Some([1, 0]) => Kind::Record,
        Some([2, 0]) => Kind::Deleted,
        _ => return Err(Bad::Broken),
    };
    let subject_bytes = usize::from(fields.u16().ok_or(Bad::Broken)?);
    let sequence = u64::from_le_bytes(fields.take().ok_or(Bad::Broken)?);
    let micros = i64::from_le_bytes(fields.take().ok_or(Bad::Broken)?);
    if body_bytes > BODY_BYTES_MAX || subject_bytes > body_bytes {
        return Err(Bad::Broken);
    }
    let time = Time::from_micros(micros);
    Ok(Header { kind, body_bytes, subject_bytes, sequence, time, checksum })
}

/// Reads a frame's header and checks the whole frame against its checksum.
pub(super) fn verify(bytes: &[u8], salt: u32) -> Result<Header, Bad> {
    let header = header(bytes, salt)?;
    let Some(frame) = bytes.get(..header.frame_bytes()) else {
        return Err(Bad::Short(header.frame_bytes()));
    };
    if crc32c::crc32c_append(salt, &frame[8..]) != header.checksum {
        return Err(Bad::Broken);
    }
    Ok(header)
}

/// Decodes frames one after the other; remembers the last subject, which most often repeats.
#[derive(Debug, Default)]
pub(super) struct Decoder {
    subject: Option<Subject>,
}

impl Decoder {
    /// The record in a frame that [`verify`] accepted; `None` for a deleted one. The payload
    /// shares the frame's memory.
    pub(super) fn record(&mut self, header: &Header, frame: &Bytes) -> Result<Option<Stored>, Bad> {
        if header.kind == Kind::Deleted {
            return Ok(None);
        }
        let (subject, headers, payload_at) = self.parts(header, frame).ok_or(Bad::Broken)?;
        let payload = frame.slice(payload_at..);
        Ok(Some(Stored {
            sequence: header.sequence,
            time: header.time,
            record: Record { subject, headers, payload },
        }))
    }

    fn parts(&mut self, header: &Header, frame: &[u8]) -> Option<(Subject, Headers, usize)> {
        let mut fields = Fields { bytes: frame, at: HEADER_BYTES };
        let subject = self.subject(fields.text(header.subject_bytes)?)?;
        let mut headers = Headers::new();
        for _ in 0..fields.u16()? {
            let name_bytes = usize::from(fields.u16()?);
            let value_bytes = fields.u32()? as usize;
            let name = fields.text(name_bytes)?;
            headers.restore(name, fields.text(value_bytes)?.to_owned());
        }
        Some((subject, headers, fields.at))
    }

    fn subject(&mut self, text: &str) -> Option<Subject> {
        match &self.subject {
            Some(last) if last.as_str() == text => {}
            _ => self.subject = Some(Subject::new(text).ok()?),
        }
        self.subject.clone()
    }
}

/// The hash of the message id in a frame that [`verify`] accepted, without decoding the rest.
pub(super) fn id_hash_in(header: &Header, frame: &[u8], salt: u32) -> Option<u64> {
    if header.kind == Kind::Deleted {
        let hash = Fields { bytes: frame, at: HEADER_BYTES }.take().map(u64::from_le_bytes);
        return hash.filter(|hash| *hash != 0);
    }
    message_id(header, frame).map(|id| id_hash(salt, id))
}

fn message_id<'a>(header: &Header, frame: &'a [u8]) -> Option<&'a str> {
    let mut fields = Fields { bytes: frame, at: HEADER_BYTES + header.subject_bytes };
    for _ in 0..fields.u16()? {
        let name_bytes = usize::from(fields.u16()?);
        let value_bytes = fields.u32()? as usize;
        let is_id = fields.text(name_bytes)? == wingbeat_record::name::MESSAGE_ID;
        let value = fields.text(value_bytes)?;
        if is_id {
            return Some(value);
        }
    }
    None
}

struct Fields<'a> {
    bytes: &'a [u8],
    at: usize,
}

impl<'a> Fields<'a> {
    fn take<const N: usize>(&mut self) -> Option<[u8; N]> {
        let taken = self.bytes.get(self.at..)?.first_chunk::<N>()?;
        self.at += N;
        Some(*taken)
    }

    fn u16(&mut self) -> Option<u16> {
        self.take().map(u16::from_le_bytes)
    }

    fn u32(&mut self) -> Option<u32> {
        self.take().map(u32::from_le_bytes)
    }

    fn text(&mut self, length: usize) -> Option<&'a str> {
        let end = self.at.checked_add(length)?;
        let text = std::str::from_utf8(self.bytes.get(self.at..end)?).ok()?;
        self.at = end;
        Some(text)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use wingbeat_record::MessageId;

    use super::*;

    fn record() -> impl Strategy<Value = Record> {
        let text = "[a-z]{1,8}(\\.[a-z]{1,8}){0,2}";
        let headers = prop::collection::vec(("[A-Za-z-]{1,12}", "\\PC{0,40}"), 0..4);
        let payload = prop::collection::vec(any::<u8>(), 0..300);
        (text, headers, payload).prop_map(|(subject, headers, payload)| {
            let mut record = Record::new(Subject::new(subject).unwrap(), payload);
            for (name, value) in headers {
                record.headers.try_set(&name, &value).unwrap();
            }
            record.with_id(MessageId::new("id"))
        })
    }

    fn decode(bytes: &[u8], salt: u32) -> Result<Option<Stored>, Bad> {
        let header = verify(bytes, salt)?;
        let frame = Bytes::copy_from_slice(&bytes[..header.frame_bytes()]);
        Decoder::default().record(&header, &frame)
    }

    proptest! {
        #[test]
        fn a_record_comes_back_as_it_was(record in record(), salt: u32, sequence: u64, micros: i64) {
            let mut bytes = b"before".to_vec();
            let time = Time::from_micros(micros);
            encode(&mut bytes, salt, sequence, time, &record);
            let frame = &bytes[6..];
            prop_assert_eq!(decode(frame, salt), Ok(Some(Stored { sequence, time, record })));
            let header = verify(frame, salt).unwrap();
            prop_assert_eq!(id_hash_in(&header, frame, salt), Some(id_hash(salt, "id")));
            prop_assert_eq!(verify(frame, salt ^ 1), Err(Bad::Broken));
        }

        #[test]
        fn one_changed_bit_or_a_missing_end_is_noticed(
            record in record(), salt: u32, bit: prop::sample::Index, cut: prop::sample::Index,
        ) {
            let mut bytes = Vec::new();
            encode(&mut bytes, salt, 7, Time::from_micros(1), &record);
            let short = cut.index(bytes.len());
            prop_assert!(matches!(verify(&bytes[..short], salt), Err(Bad::Short(_))));
            let bit = bit.index(bytes.len() * 8);
            bytes[bit / 8] ^= 1 << (bit % 8);
            prop_assert!(verify(&bytes, salt).is_err());
        }

        #[test]
        fn a_deleted_record_keeps_its_place_and_nothing_else(record in record(), salt: u32) {
            let mut bytes = Vec::new();
            encode(&mut bytes, salt, 9, Time::from_micros(5), &record);
            let hash = id_hash(salt, "id");
            let gone = deleted(salt, bytes.len(), 9, Time::from_micros(5), hash);
            prop_assert_eq!(gone.len(), bytes.len());
            let header = verify(&gone, salt).unwrap();
            prop_assert_eq!((header.sequence, header.time), (9, Time::from_micros(5)));
            prop_assert!(gone[HEADER_BYTES + 8..].iter().all(|&b| b == 0));
            prop_assert_eq!(decode(&gone, salt), Ok(None));
            prop_assert_eq!(id_hash_in(&header, &gone, salt), Some(hash));
        }

        #[test]
        fn no_bytes_panic(mut bytes in prop::collection::vec(any::<u8>(), 0..120), salt: u32) {
            let _ = decode(&bytes, salt);
            // Sound checksum, hostile content.
            if bytes.len() >= HEADER_BYTES {
                bytes[12..14].copy_from_slice(&[1, 0]);
                seal(&mut bytes, salt);
                if let Ok(header) = verify(&bytes, salt) {
                    let _ = decode(&bytes, salt);
                    let _ = id_hash_in(&header, &bytes, salt);
                }
            }
        }
    }
}
