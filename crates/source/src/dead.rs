//! Dead letters of the sources themselves: what was read, but not understood.

use bytes::Bytes;
use sha2::{Digest, Sha256};
use wingbeat_record::{DeadCause, Reason};

use crate::{Content, hex};

/// The longest original that a dead letter keeps whole, in bytes: 1 MiB, the limit of a record.
pub const ORIGINAL_BYTES_MAX: usize = 1024 * 1024;

/// How much is kept of a longer one, in bytes: enough to see what it is.
pub const ORIGINAL_CUT_BYTES: usize = 64 * 1024;

/// The stage that dead letters of sources name.
const STAGE: &str = "source";

/// A dead letter of bytes that are at hand.
pub(crate) fn dead(original: &[u8], kind: &'static str, message: String) -> Content {
    let mut cut = CutOriginal::new();
    if original.len() <= ORIGINAL_BYTES_MAX {
        return letter(Bytes::copy_from_slice(original), None, kind, message);
    }
    cut.push(original);
    cut.dead(kind, message)
}

fn letter(
    original: Bytes,
    cut_from: Option<(u64, String)>,
    kind: &'static str,
    message: String,
) -> Content {
    let cause = DeadCause::new(STAGE, Reason::new(kind), message);
    Content::Dead { original, cut_from, cause, id: None }
}

/// An original that is too long to be kept, taken in piece by piece: its beginning, its length
/// and its hash.
pub(crate) struct CutOriginal {
    beginning: Vec<u8>,
    length: u64,
    hasher: Sha256,
}

impl CutOriginal {
    pub(crate) fn new() -> Self {
        Self { beginning: Vec::new(), length: 0, hasher: Sha256::new() }
    }

    /// Takes in the next piece.
    pub(crate) fn push(&mut self, piece: &[u8]) {
        let room = ORIGINAL_CUT_BYTES.saturating_sub(self.beginning.len());
        self.beginning.extend_from_slice(piece.get(..room).unwrap_or(piece));
        self.length += piece.len() as u64;
        self.hasher.update(piece);
    }

    /// How many bytes were taken in.
    pub(crate) fn length(&self) -> u64 {
        self.length
    }

    /// The dead letter.
    pub(crate) fn dead(self, kind: &'static str, message: String) -> Content {
        let hash = hex(&self.hasher.finalize());
        letter(self.beginning.into(), Some((self.length, hash)), kind, message)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_is_too_long_is_cut() {
        let Content::Dead { original, cut_from, cause, .. } = dead(b"abc", "bad", "why".to_owned())
        else {
            panic!()
        };
        assert_eq!((&original[..], cut_from), (&b"abc"[..], None));
        assert_eq!((cause.stage.as_ref(), cause.kind.as_str()), ("source", "bad"));

        let long = vec![b'x'; ORIGINAL_BYTES_MAX + 1];
        let Content::Dead { original, cut_from, .. } = dead(&long, "bad", String::new()) else {
            panic!()
        };
        assert_eq!(original, &long[..ORIGINAL_CUT_BYTES]);
        let (length, hash) = cut_from.unwrap();
        assert_eq!((length, hash.len()), (long.len() as u64, 64));
    }
}
