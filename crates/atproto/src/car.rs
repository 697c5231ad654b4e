//! CAR v1: blocks, each behind its CID. <https://dasl.ing/car.html>
//!
//! A commit on the firehose carries a slice of its repository in this form. It is read in place:
//! finding one block walks the lengths of the sections before it and looks at nothing else.

use crate::{
    cbor::{CborError, EncodeError, Reader, Usual, Value},
    cid::{CID_BYTES, Cid, CidError},
};

/// The longest CAR header that is accepted, in bytes: version and some 25 roots. Slices of
/// repositories have one root.
const HEADER_BYTES_MAX: usize = 1_024;

/// A CAR whose header was read.
#[derive(Debug, Clone, Copy)]
pub struct Car<'a> {
    root: Option<Cid>,
    sections: Sections<'a>,
}

/// One block and its name. Whether the name is right is not checked yet.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Block<'a> {
    /// Its name.
    pub cid: Cid,
    /// Its bytes.
    pub content: &'a [u8],
}

/// What is wrong with a CAR.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum CarError {
    /// The header is not DRISL of the wanted shape.
    #[error("the CAR header: {0}")]
    Header(CborError),
    /// The header lacks its version or its roots, has another version than 1, or is too long.
    #[error("the CAR header: {0}")]
    HeaderShape(&'static str),
    /// A length that is not a number in its shortest form, or points behind the end.
    #[error("the CAR section at byte {offset} has a broken length")]
    Length {
        /// Where the section starts, in bytes from the start of the CAR.
        offset: usize,
    },
    /// A section that does not start with a CID.
    #[error("the CAR section at byte {offset}: {error}")]
    Cid {
        /// Where the section starts, in bytes from the start of the CAR.
        offset: usize,
        /// What is wrong.
        error: CidError,
    },
}

/// Why a block can't be had.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum BlockError {
    /// The CAR is broken before the block is found.
    #[error(transparent)]
    Car(#[from] CarError),
    /// No section has this name.
    #[error("the block {0} is missing")]
    Missing(Cid),
    /// A section has this name, but its bytes hash to another one.
    #[error("the bytes of the block {0} have another hash")]
    Mismatch(Cid),
    /// The record is larger than a record may be.
    #[error("the record has {size} bytes, more than the {max} that are allowed")]
    TooLarge {
        /// Its size in bytes.
        size: usize,
        /// The limit in bytes.
        max: usize,
    },
}

/// The blocks of a CAR, each of which has the name that it claims.
#[derive(Debug, Clone, Default)]
pub struct Blocks<'a> {
    /// By name.
    sorted: Vec<Block<'a>>,
}

/// The sections that are still to be read.
#[derive(Debug, Clone, Copy)]
struct Sections<'a> {
    car: &'a [u8],
    at: usize,
}

impl<'a> Car<'a> {
    /// Reads the header.
    pub fn parse(car: &'a [u8]) -> Result<Self, CarError> {
        let mut sections = Sections { car, at: 0 };
        let Some(header) = sections.next_section()? else {
            return Err(CarError::HeaderShape("there is none"));
        };
        if header.len() > HEADER_BYTES_MAX {
            return Err(CarError::HeaderShape("it is too long"));
        }
        if let Some(root) = read_usual_header(header) {
            return Ok(Self { root: Some(root), sections });
        }
        let mut reader = Reader::new(header);
        let (version, roots) = read_header(&mut reader).map_err(CarError::Header)?;
        if version != Some(1) {
            return Err(CarError::HeaderShape("its version is not 1"));
        }
        let Some(root) = roots else { return Err(CarError::HeaderShape("it has no roots")) };
        Ok(Self { root, sections })
    }

    /// The first root: in a slice of a repository the CID of the commit object.
    pub fn root(&self) -> Option<Cid> {
        self.root
    }

    /// All blocks in order. After an error nothing more comes.
    pub fn blocks(&self) -> impl Iterator<Item = Result<Block<'a>, CarError>> + use<'a> {
        let mut sections = self.sections;
        std::iter::from_fn(move || {
            let offset = sections.at;
            let result = sections.next_section().and_then(|section| {
                let Some(section) = section else { return Ok(None) };
                let (cid, content) = section.split_at(section.len().min(CID_BYTES));
                let cid = Cid::from_bytes(cid).map_err(|error| CarError::Cid { offset, error })?;
                Ok(Some(Block { cid, content }))
            });
            if result.is_err() {
                sections.at = sections.car.len();
            }
            result.transpose()
        })
    }

    /// Finds a block by its name, without checking that the name is right. Sections that don't
    /// start with a CID as atproto uses it are passed over.
    pub fn find(&self, cid: &Cid) -> Result<Option<&'a [u8]>, CarError> {
        let mut sections = self.sections;
        while let Some(section) = sections.next_section()? {
            // As arrays, whose comparison needs no call.
            if let Some((name, content)) = section.split_first_chunk()
                && name == cid.as_bytes()
            {
                return Ok(Some(content));
            }
        }
        Ok(None)
    }

    /// Finds a block by its name and checks its hash.
    pub fn find_verified(&self, cid: &Cid) -> Result<&'a [u8], BlockError> {
        let content = self.find(cid)?.ok_or(BlockError::Missing(*cid))?;
        if cid.names(content) { Ok(content) } else { Err(BlockError::Mismatch(*cid)) }
    }

    /// All blocks, to be found by their names. Checks the hash of each.
    pub fn verified(&self) -> Result<Blocks<'a>, BlockError> {
        let mut sorted = Vec::new();
        for block in self.blocks() {
            let block = block?;
            if !block.cid.names(block.content) {
                return Err(BlockError::Mismatch(block.cid));
            }
            sorted.push(block);
        }
        sorted.sort_unstable_by_key(|block| block.cid);
        Ok(Blocks { sorted })
    }
}

impl<'a> Blocks<'a> {
    /// None.
    pub const fn new() -> Self {
        Self { sorted: Vec::new() }
    }

    /// Finds a block by its name.
    pub fn get(&self, cid: &Cid) -> Result<&'a [u8], BlockError> {
        let found = self.sorted.binary_search_by(|block| block.cid.cmp(cid)).ok();
        let block = found.and_then(|at| self.sorted.get(at));
        block.map(|block| block.content).ok_or(BlockError::Missing(*cid))
    }

    /// How many there are; one that the CAR holds twice counts twice.
    pub fn len(&self) -> usize {
        self.sorted.len()
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.sorted.is_empty()
    }
}

/// The root, where the header has one root and nothing else to say.
fn read_usual_header(header: &[u8]) -> Option<Cid> {
    let mut usual = Usual::at(&Reader::new(header));
    usual.expect(b"\xa2\x65roots\x81")?;
    let root = usual.link()?;
    usual.expect(b"\x67version\x01")?;
    usual.is_at_end().then(|| Cid::from_link(root))
}

/// The version, and the first of the roots.
type Header = (Option<u64>, Option<Option<Cid>>);

fn read_header(reader: &mut Reader<'_>) -> Result<Header, CborError> {
    let (mut version, mut roots) = (None, None);
    let mut entries = reader.map()?;
    while let Some(key) = entries.next_key(reader)? {
        match key {
            b"roots" => {
                let mut first = None;
                for _ in 0..reader.array()? {
                    let root = reader.link()?;
                    first.get_or_insert(root);
                }
                roots = Some(first);
            }
            b"version" => version = Some(reader.unsigned()?),
            _ => reader.skip()?,
        }
    }
    reader.end()?;
    Ok((version, roots))
}

impl<'a> Sections<'a> {
    /// The bytes behind the next length, or `None` at the end.
    #[inline]
    fn next_section(&mut self) -> Result<Option<&'a [u8]>, CarError> {
        let start = self.at;
        if start == self.car.len() {
            return Ok(None);
        }
        let section = self.read_varint().and_then(|length| {
            let section = self.car.get(self.at..)?.get(..usize::try_from(length).ok()?)?;
            self.at += section.len();
            Some(section)
        });
        section.map(Some).ok_or(CarError::Length { offset: start })
    }

    /// An unsigned varint in its shortest form, of at most 9 bytes
    /// (<https://github.com/multiformats/unsigned-varint>).
    #[inline]
    fn read_varint(&mut self) -> Option<u64> {
        let mut number = 0_u64;
        for index in 0..9 {
            let byte = *self.car.get(self.at)?;
            self.at += 1;
            number |= u64::from(byte & 0x7f) << (7 * index);
            if byte & 0x80 == 0 {
                // A last byte of zero adds nothing: the number has a shorter form.
                return (index == 0 || byte != 0).then_some(number);
            }
        }
        None
    }
}

/// Writes a CAR with one root: for simulators and tests.
pub fn encode(root: Cid, blocks: &[(Cid, &[u8])]) -> Result<Vec<u8>, EncodeError> {
    let header = Value::Map(vec![
        ("roots", Value::Array(vec![Value::Link(root)])),
        ("version", Value::Integer(1)),
    ])
    .encode()?;
    let mut car = Vec::new();
    write_varint(&mut car, header.len());
    car.extend_from_slice(&header);
    for (cid, content) in blocks {
        write_varint(&mut car, CID_BYTES + content.len());
        car.extend_from_slice(cid.as_bytes());
        car.extend_from_slice(content);
    }
    Ok(car)
}

fn write_varint(out: &mut Vec<u8>, mut number: usize) {
    loop {
        let [low, ..] = number.to_le_bytes();
        number >>= 7;
        if number == 0 {
            out.push(low & 0x7f);
            return;
        }
        out.push(low | 0x80);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Codec;

    fn three_blocks() -> (Vec<(Cid, &'static [u8])>, Vec<u8>) {
        let blocks: Vec<(Cid, &[u8])> = [&b"\xa0"[..], b"\x80", &[0; 200]]
            .into_iter()
            .map(|content| (Cid::of(Codec::Drisl, content), content))
            .collect();
        let car = encode(blocks[0].0, &blocks).unwrap();
        (blocks, car)
    }

    #[test]
    fn blocks_are_found_and_verified() {
        let (blocks, bytes) = three_blocks();
        let car = Car::parse(&bytes).unwrap();
        assert_eq!(car.root(), Some(blocks[0].0));
        let read: Vec<_> =
            car.blocks().map(|block| block.unwrap()).map(|b| (b.cid, b.content)).collect();
        assert_eq!(read, blocks);
        for (cid, content) in &blocks {
            assert_eq!(car.find_verified(cid), Ok(*content));
        }
        let absent = Cid::of(Codec::Drisl, b"\xf6");
        assert_eq!(car.find_verified(&absent), Err(BlockError::Missing(absent)));
    }

    #[test]
    fn a_block_that_was_tampered_with_is_refused() {
        let (blocks, mut bytes) = three_blocks();
        *bytes.last_mut().unwrap() ^= 1;
        let cid = blocks[2].0;
        assert_eq!(Car::parse(&bytes).unwrap().find_verified(&cid), Err(BlockError::Mismatch(cid)));
    }

    #[test]
    fn broken_lengths_are_errors_and_end_the_walk() {
        let (blocks, bytes) = three_blocks();
        for end in 0..bytes.len() {
            let Ok(car) = Car::parse(&bytes[..end]) else { continue };
            let last = car.blocks().last();
            let whole_blocks = car.blocks().filter(Result::is_ok).count();
            assert!(
                whole_blocks < blocks.len() && last.is_none_or(|block| block.is_ok() || end > 0)
            );
            assert!(car.find_verified(&blocks[2].0).is_err());
        }
        // 5 written in two bytes, and a number that never ends.
        for varint in [&[0x85, 0x00][..], &[0xff; 20]] {
            let broken = [&bytes[..], varint, &[0; 40]].concat();
            let last = Car::parse(&broken).unwrap().blocks().last().unwrap();
            assert_eq!(last, Err(CarError::Length { offset: bytes.len() }));
        }
    }

    #[test]
    fn headers_of_another_kind_are_refused() {
        let car_of = |header: Value| {
            let header = header.encode().unwrap();
            [&[u8::try_from(header.len()).unwrap()][..], &header].concat()
        };
        let roots = ("roots", Value::Array(Vec::new()));
        let version = |n| ("version", Value::Integer(n));
        let empty = car_of(Value::Map(vec![roots.clone(), version(1)]));
        assert_eq!(Car::parse(&empty).unwrap().root(), None);
        for header in [
            Value::Map(vec![roots.clone(), version(2)]),
            Value::Map(vec![version(1)]),
            Value::Map(vec![roots]),
            Value::Null,
        ] {
            assert!(Car::parse(&car_of(header)).is_err());
        }
        assert!(Car::parse(b"").is_err());
    }
}
