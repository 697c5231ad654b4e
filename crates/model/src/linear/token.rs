//! Cutting a text into tokens.
//!
//! One place says how a text is normalised, for training and for inference alike:
//!
//! - The first [`CHARS_MAX`] characters count. No post is longer.
//! - `&amp;`, `&lt;`, `&gt;`, `&quot;`, `&#39;` and `\u0041` are read as what they stand for, as
//!   texts that were exported badly have them; typographic apostrophes as `'`.
//! - A mention (`@name`) is one token of its own kind whatever the name, and so is a link
//!   (`http:`, `https:`, `www.`, `domain.tld/path`).
//! - Words are lower case; a letter that stands more than three times in a row stands three
//!   times. An apostrophe inside a word belongs to it. The `#` of a hashtag is dropped.
//! - A run of punctuation is one token (`!!!`, `:-)`, `:D`), with runs of one sign cut to two.
//! - Every other symbol, such as an emoji, is a token; variation selectors, joiners and skin tones
//!   are dropped.
//! - A word is *negated* where one of the three words before it, with no punctuation between, is
//!   a negation.

use super::script::is_word_char;

/// So many characters of a text are looked at, which bounds the work for hostile ones. A post has
/// at most 300 graphemes.
pub const CHARS_MAX: usize = 3_000;

/// A letter stands at most so many times in a row.
const REPEATS_MAX: usize = 3;
/// A sign stands at most so many times in a row.
const SIGN_REPEATS_MAX: usize = 2;
/// So many words behind a negation are negated.
const NEGATION_REACH: u8 = 3;
/// Words that negate what follows; words that end in `n't` do too.
const NEGATIONS: [&str; 13] = [
    "not", "no", "never", "cannot", "cant", "dont", "wont", "didnt", "isnt", "nothing", "without",
    "doesnt", "wasnt",
];
/// Letters that end an emoticon, as in `:D`.
pub(crate) const EMOTICON_LETTERS: [char; 11] =
    ['d', 'D', 'p', 'P', 'o', 'O', 's', 'S', 'x', '3', 'v'];
/// Signs that begin an emoticon which ends in a letter.
pub(crate) const EMOTICON_EYES: [char; 4] = [':', ';', '=', '8'];

/// What a token is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind {
    Word,
    Mention,
    Link,
    Punctuation,
    Symbol,
}

/// A token: a range of [`Tokens::chars`], empty for mentions and links.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Token {
    pub(crate) start: usize,
    pub(crate) end: usize,
    pub(crate) kind: Kind,
    pub(crate) is_negated: bool,
}

/// The tokens of a text. Reused from text to text, so that nothing is allocated per post.
#[derive(Debug, Default)]
pub(crate) struct Tokens {
    /// The text, entities read.
    source: Vec<char>,
    /// The characters of all tokens, one behind the other.
    pub(crate) chars: Vec<char>,
    pub(crate) tokens: Vec<Token>,
    /// How many of the next words are negated.
    negated_ahead: u8,
}

impl Tokens {
    /// Cuts `text`.
    pub(crate) fn read(&mut self, text: &str) {
        self.chars.clear();
        self.tokens.clear();
        self.negated_ahead = 0;
        self.decode(text);
        let source = std::mem::take(&mut self.source);
        let mut at = 0;
        while let Some(&first) = source.get(at) {
            at = match first {
                _ if first.is_whitespace() => at + 1,
                '@' if source.get(at + 1).is_some_and(|c| is_name_char(*c)) => {
                    self.mention(&source, at)
                }
                _ if is_word_char(first) => match link_end(&source, at) {
                    Some(end) => {
                        self.push(self.chars.len(), Kind::Link);
                        end
                    }
                    None => self.word(&source, at),
                },
                _ if is_sign(first) => self.punctuation(&source, at),
                _ => self.symbol(first, at),
            };
        }
        self.source = source;
    }

    /// Fills [`Self::source`].
    fn decode(&mut self, text: &str) {
        const ENTITIES: [(&str, char); 5] =
            [("&amp;", '&'), ("&lt;", '<'), ("&gt;", '>'), ("&quot;", '"'), ("&#39;", '\'')];
        self.source.clear();
        let mut rest = text;
        while let Some(char) = rest.chars().next() {
            if self.source.len() == CHARS_MAX {
                return;
            }
            let escaped = match char {
                '&' => {
                    ENTITIES.iter().find_map(|(name, char)| Some((*char, rest.strip_prefix(name)?)))
                }
                '\\' => escaped_char(rest),
                _ => None,
            };
            let (char, behind) = escaped.unwrap_or((char, &rest[char.len_utf8()..]));
            self.source.push(if char == '\u{2019}' { '\'' } else { char });
            rest = behind;
        }
    }

    fn push(&mut self, start: usize, kind: Kind) {
        let is_negated = kind == Kind::Word && self.negated_ahead > 0;
        if is_negated {
            self.negated_ahead -= 1;
        }
        let token = Token { start, end: self.chars.len(), kind, is_negated };
        match kind {
            Kind::Word if self.is_negation(token) => self.negated_ahead = NEGATION_REACH,
            Kind::Punctuation => self.negated_ahead = 0,
            _ => {}
        }
        self.tokens.push(token);
    }

    fn is_negation(&self, token: Token) -> bool {
        let word = &self.chars[token.start..token.end];
        word.ends_with(&['n', '\'', 't'])
            || (word.len() <= 7
                && NEGATIONS.iter().any(|known| known.chars().eq(word.iter().copied())))
    }

    fn mention(&mut self, source: &[char], at: usize) -> usize {
        self.push(self.chars.len(), Kind::Mention);
        let name = |c: &&char| is_name_char(**c) || matches!(c, '-' | '.');
        at + 1 + source[at + 1..].iter().take_while(name).count()
    }

    fn word(&mut self, source: &[char], mut at: usize) -> usize {
        let start = self.chars.len();
        while let Some(&char) = source.get(at) {
            let is_inner_apostrophe =
                char == '\'' && source.get(at + 1).is_some_and(|next| next.is_alphabetic());
            if !is_inner_apostrophe && !is_word_char(char) {
                break;
            }
            if char.is_ascii() {
                self.push_letter(start, char.to_ascii_lowercase());
            } else {
                char.to_lowercase().for_each(|lower| self.push_letter(start, lower));
            }
            at += 1;
        }
        self.push(start, Kind::Word);
        at
    }

    fn push_letter(&mut self, start: usize, char: char) {
        let word = &self.chars[start..];
        let is_repeated = word.len() >= REPEATS_MAX
            && char.is_alphabetic()
            && word[word.len() - REPEATS_MAX..].iter().all(|c| *c == char);
        if !is_repeated {
            self.chars.push(char);
        }
    }

    fn punctuation(&mut self, source: &[char], mut at: usize) -> usize {
        let start = self.chars.len();
        while let Some(&char) = source.get(at).filter(|c| is_sign(**c)) {
            let next = source.get(at + 1).copied();
            // A mention or a hashtag ends the run.
            if (char == '@' && next.is_some_and(is_name_char))
                || (char == '#' && next.is_some_and(is_word_char) && self.chars.len() > start)
            {
                break;
            }
            let run = &self.chars[start..];
            if run.len() < SIGN_REPEATS_MAX
                || run[run.len() - SIGN_REPEATS_MAX..].iter().any(|c| *c != char)
            {
                self.chars.push(char);
            }
            at += 1;
        }
        let run = &self.chars[start..];
        if run == ['#'] {
            self.chars.truncate(start);
            return at;
        }
        if let (Some(letter), Some(eyes)) = (source.get(at), run.first())
            && run.len() <= 2
            && EMOTICON_EYES.contains(eyes)
            && EMOTICON_LETTERS.contains(letter)
            && !source.get(at + 1).is_some_and(|c| is_word_char(*c))
        {
            self.chars.push(letter.to_ascii_lowercase());
            at += 1;
        }
        self.push(start, Kind::Punctuation);
        at
    }

    fn symbol(&mut self, char: char, at: usize) -> usize {
        let is_modifier = matches!(char, '\u{fe0f}' | '\u{200d}' | '\u{1f3fb}'..='\u{1f3ff}');
        if !is_modifier && !char.is_control() {
            let start = self.chars.len();
            self.chars.push(char);
            self.push(start, Kind::Symbol);
        }
        at + 1
    }
}

/// The character that `\uXXXX`, or two of them that make a surrogate pair, stands for, and what
/// comes behind it.
fn escaped_char(text: &str) -> Option<(char, &str)> {
    fn unit(text: &str) -> Option<(u16, &str)> {
        let text = text.strip_prefix("\\u")?;
        Some((u16::from_str_radix(text.get(..4)?, 16).ok()?, &text[4..]))
    }
    let (first, behind) = unit(text)?;
    let second = unit(behind).filter(|_| (0xd800..0xdc00).contains(&first));
    let (units, behind) = match second {
        Some((second, behind)) => (vec![first, second], behind),
        None => (vec![first], behind),
    };
    let char = char::decode_utf16(units).next()?.ok()?;
    Some((char, behind))
}

fn is_name_char(char: char) -> bool {
    char.is_alphanumeric() || char == '_'
}

/// ASCII punctuation, and the dashes, quotation marks and such of Unicode.
fn is_sign(char: char) -> bool {
    char.is_ascii_punctuation() || ('\u{2010}'..='\u{2060}').contains(&char)
}

/// Where the link that begins at `at` ends; `None` where none does.
fn link_end(source: &[char], at: usize) -> Option<usize> {
    let length = source[at..].iter().take_while(|c| !c.is_whitespace()).count();
    let run = &source[at..at + length];
    let begins = |prefix: &str| {
        run.len() >= prefix.len()
            && prefix.chars().zip(run).all(|(a, b)| a == b.to_ascii_lowercase())
    };
    let is_scheme = |scheme: &str| begins(scheme) && run.len() == scheme.len();
    let is_link = begins("http://")
        || begins("https://")
        || begins("www.")
        || begins("http…")
        || is_scheme("http")
        || is_scheme("https")
        || is_domain_with_path(run);
    is_link.then_some(at + length)
}

/// Whether this is `domain.tld/...`.
fn is_domain_with_path(run: &[char]) -> bool {
    let Some(slash) = run.iter().position(|c| *c == '/') else { return false };
    let domain = &run[..slash];
    let Some(dot) = domain.iter().rposition(|c| *c == '.') else { return false };
    let top_level = &domain[dot + 1..];
    dot > 0
        && top_level.len() >= 2
        && top_level.iter().all(char::is_ascii_alphabetic)
        && domain.iter().all(|c| c.is_ascii_alphanumeric() || matches!(c, '-' | '.'))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The tokens, one word each: `@`, `~` for a link, `!word` for a negated one.
    fn cut(text: &str) -> String {
        let mut tokens = Tokens::default();
        tokens.read(text);
        let words = tokens.tokens.iter().map(|token| {
            let chars: String = tokens.chars[token.start..token.end].iter().collect();
            match token.kind {
                Kind::Mention => "@".to_owned(),
                Kind::Link => "~".to_owned(),
                Kind::Word if token.is_negated => format!("!{chars}"),
                _ => chars,
            }
        });
        words.collect::<Vec<_>>().join(" ")
    }

    #[test]
    fn texts_are_normalised_as_documented() {
        for (text, expected) in [
            ("Hello, World!", "hello , world !"),
            ("@some.one-x hi (@b)", "@ hi ( @ )"),
            ("see https://x.example/a?b and www.y.example", "see ~ and ~"),
            ("on news.example/today now", "on ~ now"),
            ("either/or 3.5/5 a.b", "either / or 3 . 5 / 5 a . b"),
            ("sooooooo good!!!!!!", "sooo good !!"),
            ("Tom &amp; Jerry &lt;3 it&#39;s", "tom & jerry < 3 it's"),
            ("I\u{2019}m 'here'", "i'm ' here '"),
            (r"I\u2019m \ud83d\ude02 \ud83d \u00", r"i'm 😂 \ ud83d \ u00"),
            ("#MondayMood #1", "mondaymood 1"),
            ("nice :-) :D ;p =3 :(", "nice :-) :d ;p =3 :("),
            ("👍🏽👍 ❤\u{fe0f}", "👍 👍 ❤"),
            ("I do not like it, at all", "i do not !like !it , at all"),
            ("don't ever go there again now", "don't !ever !go !there again now"),
            ("ΑΘΗΝΑ Straße İstanbul", "αθηνα straße i\u{307}stanbul"),
            ("日本語のテスト", "日本語のテスト"),
            ("हिन्दी में", "हिन्दी में"),
            ("", ""),
            (" \t\u{0}\u{7} ", ""),
        ] {
            assert_eq!(cut(text), expected, "{text:?}");
        }
    }

    #[test]
    fn a_long_text_is_read_up_to_the_limit() {
        let mut tokens = Tokens::default();
        tokens.read(&"ab ".repeat(1_000_000));
        assert_eq!(tokens.tokens.len(), CHARS_MAX / 3);
        tokens.read("short");
        assert_eq!(tokens.tokens.len(), 1);
    }
}
