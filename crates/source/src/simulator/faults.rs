//! Malformed input, as it comes from broken or hostile writers.

use wingbeat_record::MessageId;

use super::dice::Dice;
use crate::{Content, LINE_BYTES_MAX, Post, dead::CutOriginal};

/// What is wrong with an item.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Fault {
    /// The JSON ends in the middle.
    Cut,
    /// A byte inside of it is not UTF-8.
    NotUtf8,
    /// The text is a number.
    WrongType,
    /// There is no text.
    NoText,
    /// Half of a surrogate pair.
    LoneSurrogate,
    /// An array in an array, and so on.
    Deep,
    /// Longer than a record may be.
    TooLong,
    /// Nothing at all.
    Empty,
    /// JSON, but no object.
    NotAnObject,
}

const FAULTS: [Fault; 9] = [
    Fault::Cut,
    Fault::NotUtf8,
    Fault::WrongType,
    Fault::NoText,
    Fault::LoneSurrogate,
    Fault::Deep,
    Fault::TooLong,
    Fault::Empty,
    Fault::NotAnObject,
];

/// How deep [`Fault::Deep`] nests.
const DEEP_LEVELS: usize = 5_000;

impl Fault {
    pub(super) fn pick(dice: &mut Dice) -> Self {
        dice.pick(&FAULTS).copied().unwrap_or(Self::Cut)
    }

    /// The item that a sound payload becomes. As in a file, each has an identity of its own.
    pub(super) fn content(self, payload: &[u8], id: MessageId, dice: &mut Dice) -> Content {
        let sound = String::from_utf8_lossy(payload).into_owned();
        let with_text = |text: &str| {
            // The sound payload's text stands between these two keys.
            let before = sound.split_once("\"text\":").map_or("{", |(before, _)| before);
            let behind = sound.rsplit_once(",\"created_at\":").map_or("}", |(_, behind)| behind);
            format!("{before}{text}\"created_at\":{behind}").into_bytes()
        };
        let bytes = match self {
            Self::Cut => {
                payload.get(..dice.below(payload.len().max(1))).unwrap_or_default().to_vec()
            }
            Self::NotUtf8 => {
                let mut bytes = payload.to_vec();
                let at = bytes.len() / 2;
                bytes.splice(at..at, [0xff, 0xfe]);
                bytes
            }
            Self::WrongType => with_text("\"text\":42,"),
            Self::NoText => with_text(""),
            Self::LoneSurrogate => with_text(r#""text":"half \ud83d of it","#),
            Self::Deep => {
                let (open, close) = ("[".repeat(DEEP_LEVELS), "]".repeat(DEEP_LEVELS));
                with_text(&format!("\"text\":{open}{close},"))
            }
            Self::TooLong => return too_long(),
            Self::Empty => Vec::new(),
            Self::NotAnObject => format!("[{sound}]").into_bytes(),
        };
        Content::Post(Post::of_bytes(bytes, id))
    }
}

fn too_long() -> Content {
    let mut original = CutOriginal::new();
    original.push(b"{\"text\":\"");
    let piece = [b'a'; 1024];
    while original.length() <= LINE_BYTES_MAX as u64 {
        original.push(&piece);
    }
    original.push(b"\"}");
    let message = format!(
        "the simulated post has {} bytes, more than the {LINE_BYTES_MAX} that a record may have",
        original.length()
    );
    original.dead("too_large", message)
}
