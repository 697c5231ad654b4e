//! Writing systems, and the languages that they tell apart by themselves.

/// The writing systems that matter here, as a set.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Scripts(u8);

impl Scripts {
    /// Latin.
    pub const LATIN: Self = Self(1);
    /// Cyrillic.
    pub const CYRILLIC: Self = Self(2);
    /// Arabic.
    pub const ARABIC: Self = Self(4);
    /// Devanagari.
    pub const DEVANAGARI: Self = Self(8);

    const fn and(self, other: Self) -> Self {
        Self(self.0 | other.0)
    }

    /// Whether they share a system.
    pub fn meets(self, other: Self) -> bool {
        self.0 & other.0 != 0
    }
}

const fn latin(code: &'static str) -> (&'static str, Scripts) {
    (code, Scripts::LATIN)
}
const fn cyrillic(code: &'static str) -> (&'static str, Scripts) {
    (code, Scripts::CYRILLIC)
}

/// The languages that the model tells apart (ISO 639-1), with what they are written in. Hindi is
/// often written in Latin letters in posts. The order is that of the model's columns.
pub const LANGUAGES: [(&str, Scripts); 62] = [
    latin("en"),
    latin("af"),
    latin("sq"),
    latin("az"),
    latin("eu"),
    latin("bs"),
    latin("ca"),
    latin("hr"),
    latin("cs"),
    latin("da"),
    latin("nl"),
    latin("eo"),
    latin("et"),
    latin("fi"),
    latin("fr"),
    latin("lg"),
    latin("de"),
    latin("hu"),
    latin("is"),
    latin("id"),
    latin("ga"),
    latin("it"),
    latin("la"),
    latin("lv"),
    latin("lt"),
    latin("ms"),
    latin("mi"),
    latin("nb"),
    latin("nn"),
    latin("pl"),
    latin("pt"),
    latin("ro"),
    latin("sn"),
    latin("sk"),
    latin("sl"),
    latin("so"),
    latin("st"),
    latin("es"),
    latin("sw"),
    latin("sv"),
    latin("tl"),
    latin("ts"),
    latin("tn"),
    latin("tr"),
    latin("vi"),
    latin("cy"),
    latin("xh"),
    latin("yo"),
    latin("zu"),
    cyrillic("be"),
    cyrillic("bg"),
    cyrillic("kk"),
    cyrillic("mk"),
    cyrillic("mn"),
    cyrillic("ru"),
    cyrillic("sr"),
    cyrillic("uk"),
    ("ar", Scripts::ARABIC),
    ("fa", Scripts::ARABIC),
    ("ur", Scripts::ARABIC),
    ("hi", Scripts::DEVANAGARI.and(Scripts::LATIN)),
    ("mr", Scripts::DEVANAGARI),
];

/// What the letters of a text are mostly written in.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Writing {
    /// A system that several of [`LANGUAGES`] share.
    Shared(Scripts),
    /// A system that one language has for itself, and the share of the letters that are in it.
    Own(&'static str, f32),
}

/// The systems that are counted: those of [`LANGUAGES`] first, then those of one language each.
const OWN: [&str; 16] = [
    "ja", "zh", "ko", "el", "he", "hy", "ka", "bn", "gu", "pa", "ta", "te", "th", "am", "km", "my",
];
const SHARED: [Scripts; 4] =
    [Scripts::LATIN, Scripts::CYRILLIC, Scripts::ARABIC, Scripts::DEVANAGARI];
const COUNTED: usize = SHARED.len() + OWN.len();
const JAPANESE: usize = SHARED.len();
const CHINESE: usize = SHARED.len() + 1;
/// A Han or kana character says about as much as three letters, a Hangul syllable as two.
const HAN_WEIGHT: u32 = 3;
const HANGUL_WEIGHT: u32 = 2;

/// How many letters of each system a text has.
#[derive(Debug, Default, Clone, Copy)]
pub(crate) struct Counts([u32; COUNTED]);

impl Counts {
    /// Counts one character of a word.
    pub(crate) fn add(&mut self, char: char) {
        if let Some((system, weight)) = system_of(char) {
            self.0[system] += weight;
        }
    }

    /// What most letters are in; `None` where there is no letter of a known system.
    pub(crate) fn writing(&self) -> Option<Writing> {
        let mut counts = self.0;
        // Japanese mixes its own kana with Chinese characters.
        if counts[JAPANESE] > 0 {
            counts[JAPANESE] += std::mem::take(&mut counts[CHINESE]);
        }
        let total: u32 = counts.iter().sum();
        let (best, count) = counts.iter().enumerate().max_by_key(|(index, count)| {
            // The first of equals: `max_by_key` alone takes the last.
            (**count, COUNTED - index)
        })?;
        if *count == 0 {
            return None;
        }
        Some(match SHARED.get(best) {
            Some(scripts) => Writing::Shared(*scripts),
            #[expect(clippy::cast_precision_loss, reason = "counts are small")]
            None => Writing::Own(OWN[best - SHARED.len()], *count as f32 / total as f32),
        })
    }
}

fn system_of(char: char) -> Option<(usize, u32)> {
    let own = |code: &str| OWN.iter().position(|known| *known == code).map(|at| SHARED.len() + at);
    let shared = |index: usize| Some((index, 1));
    match char {
        'a'..='z' | 'A'..='Z' | '\u{c0}'..='\u{24f}' | '\u{1e00}'..='\u{1eff}' => shared(0),
        '\u{400}'..='\u{52f}' => shared(1),
        '\u{600}'..='\u{6ff}'
        | '\u{750}'..='\u{77f}'
        | '\u{fb50}'..='\u{fdff}'
        | '\u{fe70}'..='\u{feff}' => shared(2),
        '\u{900}'..='\u{97f}' => shared(3),
        '\u{3040}'..='\u{30ff}' => Some((JAPANESE, HAN_WEIGHT)),
        '\u{3400}'..='\u{9fff}' => Some((CHINESE, HAN_WEIGHT)),
        '\u{ac00}'..='\u{d7a3}' => Some((own("ko")?, HANGUL_WEIGHT)),
        '\u{370}'..='\u{3ff}' | '\u{1f00}'..='\u{1fff}' => Some((own("el")?, 1)),
        '\u{590}'..='\u{5ff}' => Some((own("he")?, 1)),
        '\u{530}'..='\u{58f}' => Some((own("hy")?, 1)),
        '\u{10a0}'..='\u{10ff}' | '\u{1c90}'..='\u{1cbf}' => Some((own("ka")?, 1)),
        '\u{980}'..='\u{9ff}' => Some((own("bn")?, 1)),
        '\u{a80}'..='\u{aff}' => Some((own("gu")?, 1)),
        '\u{a00}'..='\u{a7f}' => Some((own("pa")?, 1)),
        '\u{b80}'..='\u{bff}' => Some((own("ta")?, 1)),
        '\u{c00}'..='\u{c7f}' => Some((own("te")?, 1)),
        '\u{e00}'..='\u{e7f}' => Some((own("th")?, 1)),
        '\u{1200}'..='\u{137f}' => Some((own("am")?, 1)),
        '\u{1780}'..='\u{17ff}' => Some((own("km")?, 1)),
        '\u{1000}'..='\u{109f}' => Some((own("my")?, 1)),
        _ => None,
    }
}

/// Whether a character is part of a word: letters, digits, `_`, and the vowel signs and other
/// marks of the scripts below U+2000, without their punctuation.
pub(crate) fn is_word_char(char: char) -> bool {
    if char.is_ascii() {
        return char.is_ascii_alphanumeric() || char == '_';
    }
    char.is_alphanumeric()
        || ('\u{300}'..'\u{2000}').contains(&char)
            && !matches!(char,
                '\u{37e}' | '\u{387}' | '\u{55a}'..='\u{55f}' | '\u{589}' | '\u{5be}' | '\u{5c0}'
                | '\u{60c}' | '\u{61b}' | '\u{61f}' | '\u{66a}'..='\u{66d}' | '\u{6d4}'
                | '\u{964}' | '\u{965}')
}

#[cfg(test)]
mod tests {
    use super::*;

    fn writing(text: &str) -> Option<Writing> {
        let mut counts = Counts::default();
        text.chars().for_each(|char| counts.add(char));
        counts.writing()
    }

    #[test]
    fn the_system_of_most_letters_counts() {
        assert_eq!(writing("123 !! 👍"), None);
        assert_eq!(writing("hello мир"), Some(Writing::Shared(Scripts::LATIN)));
        assert_eq!(writing("ok, привет"), Some(Writing::Shared(Scripts::CYRILLIC)));
        assert_eq!(writing("日本語です"), Some(Writing::Own("ja", 1.0)));
        assert_eq!(writing("你好世界"), Some(Writing::Own("zh", 1.0)));
        assert_eq!(writing("안녕하세요"), Some(Writing::Own("ko", 1.0)));
        assert_eq!(writing("Καλημέρα"), Some(Writing::Own("el", 1.0)));
        assert_eq!(writing("สวัสดี a"), Some(Writing::Own("th", 6.0 / 7.0)));
    }
}
