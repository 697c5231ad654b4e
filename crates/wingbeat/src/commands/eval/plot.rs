//! How far confidences can be believed, drawn: a reliability diagram over a histogram of confidences.
//! An SVG that stands alone: no scripts, no fonts of its own, nothing to load.

use std::fmt::Write as _;

use wingbeat_model::measure::{Bin, Calibration};

use super::report::Figures;
use crate::table;

const WIDTH: f64 = 600.0;
const HEIGHT: f64 = 700.0;
/// The left and right edges of both diagrams.
const LEFT: f64 = 80.0;
const RIGHT: f64 = 570.0;
/// The top and bottom of the reliability diagram.
const SHARES: [f64; 2] = [80.0, 450.0];
/// The top and bottom of the histogram.
const COUNTS: [f64; 2] = [500.0, 630.0];
/// Between bars.
const GAP: f64 = 1.5;
/// Lines across the diagram, and numbers at its edges.
const TICKS: u8 = 5;

const STYLE: &str = "text{font-family:system-ui,-apple-system,'Segoe UI',Roboto,sans-serif;fill:#222}\
.tick{font-size:12px;fill:#555}.name{font-size:13px}.count{font-size:10px;fill:#555}\
.grid{stroke:#e3e3e3}.axis{stroke:#777}.ideal{stroke:#777;stroke-dasharray:5 4}\
.right{fill:#3b77af}.over{fill:#d1495b;fill-opacity:.35}.under{fill:#9dbbd7}\
.texts{fill:#8a9bab}";

/// Draws the bins that have texts.
pub(super) fn svg(title: &str, figures: &Figures, bins: &[Bin]) -> String {
    let Figures { texts, calibration_error, .. } = figures;
    let subtitle = format!(
        "{} texts, expected calibration error {calibration_error:.4} over {} bins",
        table::number(*texts as u64),
        Calibration::BINS
    );
    let mut out = String::new();
    // Writing to a string can't fail.
    let _ = write!(
        out,
        "<svg xmlns=\"http://www.w3.org/2000/svg\" role=\"img\" viewBox=\"0 0 {WIDTH} {HEIGHT}\" \
         width=\"{WIDTH}\" height=\"{HEIGHT}\">\n<title>{title}</title>\n<desc>{subtitle}</desc>\n\
         <style>{STYLE}</style>\n<rect width=\"100%\" height=\"100%\" fill=\"#fff\"/>\n",
        title = escaped(title),
    );
    text(&mut out, "name", (LEFT, 32.0), "start", title);
    text(&mut out, "tick", (LEFT, 52.0), "start", &subtitle);
    grid(&mut out);
    for bin in bins {
        share_bar(&mut out, bin);
    }
    let _ = writeln!(
        out,
        "<path class=\"ideal\" d=\"M{LEFT} {} L{RIGHT} {}\" fill=\"none\"/>",
        SHARES[1], SHARES[0]
    );
    let most = bins.iter().map(|bin| bin.texts).max().unwrap_or(1);
    for bin in bins {
        count_bar(&mut out, bin, most);
    }
    axes(&mut out);
    out.push_str("</svg>\n");
    out
}

/// From left to right: 0 to 1.
fn across(share: f64) -> f64 {
    LEFT + share * (RIGHT - LEFT)
}

/// From the bottom to the top: 0 to 1.
fn up([top, bottom]: [f64; 2], share: f64) -> f64 {
    bottom - share.clamp(0.0, 1.0) * (bottom - top)
}

fn grid(out: &mut String) {
    for tick in 0..=TICKS {
        let share = f64::from(tick) / f64::from(TICKS);
        let (x, y) = (across(share), up(SHARES, share));
        let [top, bottom] = SHARES;
        let lines = format!("M{LEFT} {y:.1} H{RIGHT} M{x:.1} {top} V{bottom}");
        let _ = writeln!(out, "<path class=\"grid\" d=\"{lines}\" fill=\"none\"/>");
        let label = format!("{share:.1}");
        text(out, "tick", (LEFT - 8.0, y + 4.0), "end", &label);
        text(out, "tick", (x, bottom + 18.0), "middle", &label);
        text(out, "tick", (x, COUNTS[1] + 18.0), "middle", &label);
    }
}

/// The share of a bin that was right, and above it what it lacks of the mean confidence; or over its
/// end, what it has beyond.
fn share_bar(out: &mut String, bin: &Bin) {
    let Bin { from, to, texts, right, confidence } = bin;
    let count = table::number(*texts as u64);
    let _ = writeln!(
        out,
        "<g><title>{from:.2} to {to:.2}: {count} texts, {right:.4} right, mean confidence \
         {confidence:.4}</title>",
    );
    let (low, high) = (right.min(*confidence), right.max(*confidence));
    bar(out, "right", bin, [up(SHARES, *right), up(SHARES, 0.0)]);
    let gap = if confidence > right { "over" } else { "under" };
    bar(out, gap, bin, [up(SHARES, high), up(SHARES, low)]);
    out.push_str("</g>\n");
}

#[expect(clippy::cast_precision_loss, reason = "counts of texts, far below 2^52")]
fn count_bar(out: &mut String, bin: &Bin, most: usize) {
    let top = up(COUNTS, bin.texts as f64 / most.max(1) as f64);
    bar(out, "texts", bin, [top, COUNTS[1]]);
    let middle = f64::midpoint(across(bin.from), across(bin.to));
    text(out, "count", (middle, top - 4.0), "middle", &table::number(bin.texts as u64));
}

fn bar(out: &mut String, class: &str, bin: &Bin, [top, bottom]: [f64; 2]) {
    let (x, width) = (across(bin.from) + GAP / 2.0, across(bin.to) - across(bin.from) - GAP);
    let height = bottom - top;
    let _ = writeln!(
        out,
        "<rect class=\"{class}\" x=\"{x:.1}\" y=\"{top:.1}\" width=\"{width:.1}\" \
         height=\"{height:.1}\"/>"
    );
}

fn axes(out: &mut String) {
    for [top, bottom] in [SHARES, COUNTS] {
        let lines = format!("M{LEFT} {top} V{bottom} H{RIGHT}");
        let _ = writeln!(out, "<path class=\"axis\" d=\"{lines}\" fill=\"none\"/>");
    }
    let middle = f64::midpoint(LEFT, RIGHT);
    text(out, "name", (middle, COUNTS[1] + 44.0), "middle", "confidence");
    for ([top, bottom], name) in [(SHARES, "share that is right"), (COUNTS, "texts")] {
        let y = f64::midpoint(top, bottom);
        let _ = writeln!(
            out,
            "<text class=\"name\" x=\"24\" y=\"{y:.1}\" text-anchor=\"middle\" \
             transform=\"rotate(-90 24 {y:.1})\">{name}</text>"
        );
    }
    let key = [
        ("right", "share that is right"),
        ("over", "more confident than right"),
        ("under", "less confident than right"),
    ];
    for ((class, name), row) in key.into_iter().zip(0u8..) {
        let y = SHARES[0] + 10.0 + f64::from(row) * 18.0;
        let x = LEFT + 12.0;
        let _ = writeln!(
            out,
            "<rect class=\"{class}\" x=\"{x}\" y=\"{y}\" width=\"11\" height=\"11\"/>"
        );
        text(out, "tick", (x + 18.0, y + 10.0), "start", name);
    }
}

fn text(out: &mut String, class: &str, (x, y): (f64, f64), anchor: &str, text: &str) {
    let text = escaped(text);
    let _ = writeln!(
        out,
        "<text class=\"{class}\" x=\"{x:.1}\" y=\"{y:.1}\" text-anchor=\"{anchor}\">{text}</text>"
    );
}

/// Text for XML. What XML can't hold becomes the replacement character.
fn escaped(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for char in text.chars() {
        match char {
            '&' => out.push_str("&amp;"),
            '<' => out.push_str("&lt;"),
            '>' => out.push_str("&gt;"),
            '"' => out.push_str("&quot;"),
            '\'' => out.push_str("&#39;"),
            _ if char.is_control() || matches!(char, '\u{fffe}' | '\u{ffff}') => {
                out.push('\u{fffd}');
            }
            _ => out.push(char),
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    fn figures(calibration: &Calibration) -> (Figures, Vec<Bin>) {
        let bins: Vec<Bin> = calibration.bins().filter(|bin| bin.texts > 0).collect();
        let figures = Figures {
            texts: bins.iter().map(|bin| bin.texts).sum(),
            macro_recall: 0.0,
            micro_f1: 0.0,
            macro_f1: 0.0,
            calibration_error: calibration.error(),
        };
        (figures, bins)
    }

    fn drawn(title: &str) -> (String, Vec<Bin>) {
        let mut calibration = Calibration::default();
        for (number, confidence) in [0.34, 0.5, 0.55, 0.9, 0.95, 0.97, 1.0].iter().enumerate() {
            for nth in 0..=number * 300 {
                calibration.add(*confidence, nth % 3 != 0);
            }
        }
        let (figures, bins) = figures(&calibration);
        (svg(title, &figures, &bins), bins)
    }

    /// The names of the elements that are open at the end, if everything before is well-formed: tags
    /// that match, attributes in quotes, entities that are known.
    fn well_formed(xml: &str) -> Result<Vec<String>, String> {
        let mut open: Vec<String> = Vec::new();
        let mut rest = xml;
        while let Some((text, behind)) = rest.split_once('<') {
            let (tag, behind) = behind.split_once('>').ok_or("an open tag")?;
            rest = behind;
            for entity in text.split('&').skip(1) {
                let (name, _) = entity.split_once(';').ok_or("an open entity")?;
                let known = ["amp", "lt", "gt", "quot", "#39"];
                known.contains(&name).then_some(()).ok_or(format!("&{name};"))?;
            }
            if let Some(name) = tag.strip_prefix('/') {
                (open.pop().as_deref() == Some(name)).then_some(()).ok_or(name)?;
                continue;
            }
            let (name, attributes) = tag.split_once(' ').unwrap_or((tag, ""));
            let quotes = attributes.matches('"').count();
            let equals = attributes.matches("=\"").count();
            (quotes == 2 * equals).then_some(()).ok_or(tag)?;
            if !tag.ends_with('/') {
                open.push(name.to_owned());
            }
        }
        Ok(open)
    }

    #[test]
    fn the_drawing_is_well_formed_whatever_its_title() {
        for title in ["plain", "a<b>&\"c\"'</title><script>x</script>", "\u{0}\u{1b}\u{ffff}é"] {
            let (svg, _) = drawn(title);
            assert_eq!(well_formed(&svg), Ok(vec![]));
            assert!(!svg.contains("<script") && !svg.contains('\u{1b}'));
        }
        assert!(well_formed("<a><b></a>").is_err() && well_formed("<a x=\"1>&x;</a>").is_err());
    }

    #[test]
    fn its_bars_are_the_bins() {
        let (svg, bins) = drawn("bins");
        let count = |class: &str| svg.matches(&format!("<rect class=\"{class}\" x=")).count();
        assert_eq!(count("texts"), bins.len());
        // One of each is in the key.
        assert_eq!(
            (count("right"), count("over") + count("under")),
            (bins.len() + 1, bins.len() + 2)
        );
        for bin in &bins {
            let Bin { from, to, texts, right, confidence } = bin;
            let texts = table::number(*texts as u64);
            let title = format!(
                "{from:.2} to {to:.2}: {texts} texts, {right:.4} right, mean confidence \
                 {confidence:.4}"
            );
            assert!(svg.contains(&title), "{title}");
            assert!(svg.contains(&format!(">{texts}</text>")));
        }
        let (most, least) = (
            bins.iter().max_by_key(|bin| bin.texts).unwrap(),
            bins.iter().min_by_key(|bin| bin.texts).unwrap(),
        );
        let height = |bin: &Bin| {
            let x = format!("<rect class=\"texts\" x=\"{:.1}\"", across(bin.from) + GAP / 2.0);
            let (_, behind) = svg.split_once(&x).unwrap();
            let (_, height) = behind.split_once("height=\"").unwrap();
            height.split_once('"').unwrap().0.parse::<f64>().unwrap()
        };
        assert!((height(most) - (COUNTS[1] - COUNTS[0])).abs() < 0.1);
        assert!(height(least) < height(most));
    }

    #[test]
    fn nothing_measured_is_an_empty_diagram() {
        let (figures, bins) = figures(&Calibration::default());
        assert_eq!(well_formed(&svg("nothing", &figures, &bins)), Ok(vec![]));
    }
}
