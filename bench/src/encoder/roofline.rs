//! Where the time of our runtime goes, and how near its products are to the most that the machine's
//! products of bytes reach.

use std::path::Path;

use wingbeat_model::encoder::{Cleaner, Layout, Tokeniser, plan};
use wingbeat_transformer::{Level, Model, Part, Workspace};

use super::{ROUNDS, Subject, TOKENS_MAX};
use crate::Outcome;

/// The tokens of a batch, as the runtime has them.
const BATCH_TOKENS: usize = 512;

/// Prints a table.
#[expect(clippy::cast_precision_loss, reason = "counts of operations")]
pub(super) fn print(subject: &Subject<'_>, config: Option<&Path>) -> Outcome<()> {
    let config = config.map(std::fs::read).transpose()?;
    let model =
        Model::from_onnx(&std::fs::read(&subject.model)?, config.as_deref(), Level::chosen()?)?;
    let tokenizer = std::fs::read(&subject.tokenizer)?;
    let cleaner = Cleaner::new("none", &[])?;
    let tokeniser = Tokeniser::parse("tokenizer.json", &tokenizer, cleaner, TOKENS_MAX)?;
    let ids = subject.texts.iter().map(|text| tokeniser.ids(text));
    let ids = ids.collect::<Result<Vec<_>, _>>()?;
    let lengths: Vec<usize> = ids.iter().map(Vec::len).collect();
    let batches = plan(&lengths, BATCH_TOKENS, Layout::Packed);
    let (mut best, mut work) = (None, Workspace::default());
    let mut peak = 0.0f64;
    for _ in 0..ROUNDS {
        peak = peak.max(model.peak());
        let mut times = Part::ALL.map(|_| 0.0);
        for batch in &batches {
            let texts = batch.iter().filter_map(|text| ids.get(*text)).map(Vec::as_slice);
            let profile = model.profile(&mut work, texts)?;
            for (time, part) in times.iter_mut().zip(Part::ALL) {
                *time += profile.time(part).as_secs_f64();
            }
        }
        let total: f64 = times.iter().sum();
        if best.is_none_or(|(least, _)| total < least) {
            best = Some((total, times));
        }
    }
    let (total, times) = best.ok_or("no rounds")?;
    let tokens = lengths.iter().sum::<usize>() as f64;
    println!(
        "\nWhere it goes, without the tokenizer: {:.0} tokens/s; products within the first cache reach {:.0} GOP/s\n",
        tokens / total,
        peak / 1e9
    );
    println!("| part | share of the time | GOP/s | of the most |\n|---|---|---|---|");
    let mut operations = 0.0;
    for (time, part) in times.into_iter().zip(Part::ALL) {
        let of_part = model.operations(part) as f64 * tokens;
        operations += of_part;
        let rate = if of_part > 0.0 {
            format!("{:.0} | {:.2}", of_part / time / 1e9, of_part / time / peak)
        } else {
            " | ".to_owned()
        };
        println!("| {} | {:.2} | {rate} |", part.name(), time / total);
    }
    let rate = operations / total;
    println!("| all | 1.00 | {:.0} | {:.2} |", rate / 1e9, rate / peak);
    Ok(())
}
