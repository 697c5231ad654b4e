//! Tables for people.

/// How wide a bar is, in characters.
const BAR: usize = 24;

/// Aligns columns: text to the left, numbers to the right. The first row is the head.
pub(crate) fn render(rows: &[Vec<String>]) -> String {
    let columns = rows.iter().map(Vec::len).max().unwrap_or(0);
    let width_of = |text: &str| text.chars().count();
    let widths: Vec<usize> = (0..columns)
        .map(|at| rows.iter().filter_map(|row| row.get(at)).map(|c| width_of(c)).max().unwrap_or(0))
        .collect();
    let is_number =
        |text: &str| text.chars().all(|c| c.is_ascii_digit() || matches!(c, ',' | '.' | '-' | '%'));
    let is_numeric: Vec<bool> = (0..columns)
        .map(|at| rows.iter().skip(1).filter_map(|row| row.get(at)).all(|c| is_number(c)))
        .collect();
    let mut out = String::new();
    for row in rows {
        let mut line = String::new();
        for (at, cell) in row.iter().enumerate() {
            let pad = " ".repeat(widths[at] - width_of(cell));
            let gap = if at == 0 { "" } else { "  " };
            line.push_str(gap);
            if is_numeric[at] {
                line.push_str(&pad);
                line.push_str(cell);
            } else {
                line.push_str(cell);
                line.push_str(&pad);
            }
        }
        out.push_str(line.trim_end());
        out.push('\n');
    }
    out
}

/// A number with a comma between thousands.
pub(crate) fn number(number: u64) -> String {
    let digits = number.to_string();
    let mut out = String::with_capacity(digits.len() + digits.len() / 3);
    for (at, digit) in digits.chars().enumerate() {
        if at > 0 && (digits.len() - at).is_multiple_of(3) {
            out.push(',');
        }
        out.push(digit);
    }
    out
}

/// Bytes in the largest unit that leaves a number above 1.
pub(crate) fn bytes(bytes: u64) -> String {
    #[expect(clippy::cast_precision_loss, reason = "two digits are shown")]
    let mut rest = bytes as f64;
    for unit in ["B", "KiB", "MiB", "GiB"] {
        if rest < 1024.0 {
            return if unit == "B" { format!("{rest:.0} B") } else { format!("{rest:.1} {unit}") };
        }
        rest /= 1024.0;
    }
    format!("{rest:.1} TiB")
}

/// A bar of [`BAR`] characters, to an eighth of one.
#[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "0 to 8 * BAR")]
pub(crate) fn bar(share: f64) -> String {
    const EIGHTHS: [&str; 8] = ["", "▏", "▎", "▍", "▌", "▋", "▊", "▉"];
    let eighths = (share.clamp(0.0, 1.0) * (BAR * 8) as f64).round() as usize;
    let text = "█".repeat(eighths / 8) + EIGHTHS[eighths % 8];
    format!("{text:<BAR$}")
}

/// A share as a percentage.
pub(crate) fn percent(share: f64) -> String {
    format!("{:>3.0} %", share * 100.0)
}

/// Text from outside, safe on a terminal: control characters are shown, not obeyed.
pub(crate) fn plain(text: &str) -> String {
    text.chars()
        .flat_map(|c| {
            let is_harmful =
                c.is_control() || matches!(c, '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}');
            let escaped: Vec<char> =
                if is_harmful { c.escape_default().collect() } else { vec![c] };
            escaped
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn columns_are_aligned() {
        let row = |cells: &[&str]| cells.iter().map(|c| (*c).to_owned()).collect::<Vec<_>>();
        let table = render(&[row(&["flow", "n"]), row(&["é", "1,000"]), row(&["enrich", "7"])]);
        assert_eq!(table, "flow        n\né       1,000\nenrich      7\n");
    }

    #[test]
    fn bars_are_as_long_as_their_shares() {
        assert_eq!(bar(1.0), "█".repeat(BAR));
        assert_eq!(bar(0.5).trim_end(), "█".repeat(BAR / 2));
        assert_eq!((bar(0.0).trim_end(), bar(0.005).trim_end()), ("", "▏"));
        for share in [f64::NAN, -1.0, 2.0, 0.33] {
            assert_eq!(bar(share).chars().count(), BAR);
        }
    }

    #[test]
    fn figures_are_readable_and_text_is_harmless() {
        assert_eq!(
            (number(0), number(999), number(1_234_567)),
            ("0".into(), "999".into(), "1,234,567".into())
        );
        assert_eq!((bytes(512), bytes(1536)), ("512 B".into(), "1.5 KiB".into()));
        assert_eq!(plain("a\u{1b}[31mé\u{202e}"), "a\\u{1b}[31mé\\u{202e}");
    }
}
