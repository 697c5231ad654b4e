//! Texts to token ids.

use tokenizers::{Tokenizer, TruncationParams};

use super::Cleaner;
use crate::ModelError;

/// So many bytes of a text are looked at for each token that is taken. Words of posts take some five
/// bytes a token; a text that needs more than this has nothing but blanks or endless words, and what
/// stands behind is left unread. A text of any length costs no more than this, then.
const BYTES_PER_TOKEN_MAX: usize = 32;
/// The tokens that a text must have room for: those that begin and end it, and something between.
pub(super) const TOKENS_MIN: usize = 8;

/// Cuts texts into tokens, as the model's own tokenizer does.
#[derive(Debug)]
pub struct Tokeniser {
    name: String,
    tokenizer: Tokenizer,
    cleaner: Cleaner,
    tokens_max: usize,
    bytes_max: usize,
}

impl Tokeniser {
    /// Reads a `tokenizer.json`. `name` is that of the file, for errors; a text gets at most
    /// `tokens_max` tokens, those that begin and end it included.
    ///
    /// # Errors
    ///
    /// When the file is damaged, of a kind that is not known, or leaves a text no room.
    pub fn parse(
        name: &str,
        file: &[u8],
        cleaner: Cleaner,
        tokens_max: usize,
    ) -> Result<Self, ModelError> {
        let failed = |problem: String| ModelError::new(name, problem);
        let mut tokenizer = Tokenizer::from_bytes(file).map_err(|error| {
            failed(format!("not a sound tokenizer: {error}; fetch or export it again"))
        })?;
        tokenizer.with_padding(None);
        tokenizer.with_truncation(None).map_err(|error| failed(error.to_string()))?;
        let own = tokenizer.encode_fast("", true).map_err(|error| failed(error.to_string()))?.len();
        if own >= tokens_max || tokens_max < TOKENS_MIN {
            return Err(failed(format!(
                "a text is to have at most {tokens_max} tokens, and {own} of them only begin and end \
                 it: allow at least {}",
                TOKENS_MIN.max(own + 1)
            )));
        }
        let truncation = TruncationParams { max_length: tokens_max, ..TruncationParams::default() };
        tokenizer.with_truncation(Some(truncation)).map_err(|error| failed(error.to_string()))?;
        let bytes_max = tokens_max.saturating_mul(BYTES_PER_TOKEN_MAX);
        Ok(Self { name: name.to_owned(), tokenizer, cleaner, tokens_max, bytes_max })
    }

    /// The ids of a text's tokens.
    ///
    /// # Errors
    ///
    /// When the tokenizer has no token for something in it, not even one for the unknown.
    pub fn ids(&self, text: &str) -> Result<Vec<u32>, ModelError> {
        let begin = &text[..text.floor_char_boundary(self.bytes_max)];
        let cleaned = self.cleaner.clean(begin);
        let encoding = self.tokenizer.encode_fast(cleaned, true);
        let failed = |error: tokenizers::Error| ModelError::new(&self.name, error.to_string());
        Ok(encoding.map_err(failed)?.get_ids().to_vec())
    }

    /// The most tokens that a text gets.
    pub fn tokens_max(&self) -> usize {
        self.tokens_max
    }

    /// The largest id that it gives.
    pub fn id_max(&self) -> u32 {
        self.tokenizer.get_vocab(true).into_values().max().unwrap_or(0)
    }
}
