//! One linear model: its file, and adding up its weights.
//!
//! A file is in the safetensors format: `weights` (int8, one row per bucket, one column per
//! label, columns padded), `scale` and `bias` (float32, one per column). Its metadata says what
//! the columns mean ([`Layout`], as JSON) and carries a CRC-32C of everything else.

use std::collections::HashMap;

use safetensors::{Dtype, SafeTensors, tensor::TensorView};
use serde::{Deserialize, Serialize};

use super::features::{Features, Group, fingerprint};
use crate::ModelError;

/// What the columns of a model mean, and which features it reads.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Layout {
    /// The fingerprint of the featuriser that it was trained with, hexadecimal.
    pub featuriser: String,
    /// What each column stands for; the columns behind are padding.
    pub labels: Vec<String>,
    /// Sums that are made separately.
    pub blocks: Vec<Block>,
}

/// Groups of features that are added up together, and divided by the square root of how many
/// features they hold, so that long texts do not speak louder.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Block {
    /// The groups.
    pub groups: Vec<Group>,
    /// How much the block counts.
    pub weight: f32,
}

impl Block {
    /// How many features of `features` are in it.
    pub fn count(&self, features: &Features) -> usize {
        self.groups.iter().map(|group| features.group(*group).len()).sum()
    }

    /// What a feature in it counts, where there are `count` of them.
    pub fn share(&self, count: usize) -> f32 {
        #[expect(clippy::cast_precision_loss, reason = "at most six per character that is read")]
        let count = count.max(1) as f32;
        self.weight / count.sqrt()
    }
}

/// The bucket, of `buckets`, that a feature's weights stand in.
pub fn bucket(hash: u32, buckets: usize) -> usize {
    // Less than `buckets`, which is a `usize`.
    ((u64::from(hash) * buckets as u64) >> u32::BITS) as usize
}

/// So many int8 weights add up in an int16 without overflow.
const ADDED_IN_16_BITS: usize = 256;
/// The names in a file.
const WEIGHTS: &str = "weights";
const SCALE: &str = "scale";
const BIAS: &str = "bias";
const LAYOUT: &str = "layout";
const CHECKSUM: &str = "crc32c";

/// A linear model with `C` columns.
#[derive(Debug, Clone)]
pub struct Head<'a, const C: usize> {
    rows: &'a [[u8; C]],
    scale: [f32; C],
    bias: [f32; C],
    layout: Layout,
}

impl<'a, const C: usize> Head<'a, C> {
    /// Reads a file. `labels` are those that it must have, in this order.
    ///
    /// # Errors
    ///
    /// When the file is damaged, was trained with another featuriser, or has other labels.
    pub fn parse(model: &'static str, labels: &[&str], file: &'a [u8]) -> Result<Self, ModelError> {
        parse(labels, file).map_err(|problem| ModelError::new(model, problem))
    }

    /// The logits of all columns, those of padding included.
    pub fn logits(&self, features: &Features) -> [f32; C] {
        let mut logits = self.bias;
        for block in &self.layout.blocks {
            let mut sums = [0i32; C];
            for group in &block.groups {
                for hashes in features.group(*group).chunks(ADDED_IN_16_BITS) {
                    self.add_up(hashes, &mut sums);
                }
            }
            let share = block.share(block.count(features));
            for ((logit, sum), scale) in logits.iter_mut().zip(sums).zip(&self.scale) {
                #[expect(clippy::cast_precision_loss, reason = "far below 2^24")]
                let sum = sum as f32;
                *logit += share * scale * sum;
            }
        }
        logits
    }

    fn add_up(&self, hashes: &[u32], sums: &mut [i32; C]) {
        let mut part = [0i16; C];
        for hash in hashes {
            let row = &self.rows[bucket(*hash, self.rows.len())];
            for (sum, weight) in part.iter_mut().zip(row) {
                *sum += i16::from(weight.cast_signed());
            }
        }
        for (sum, part) in sums.iter_mut().zip(part) {
            *sum += i32::from(part);
        }
    }

    /// Writes a file.
    ///
    /// # Errors
    ///
    /// When the shapes do not fit one another.
    pub fn to_file(
        layout: &Layout,
        rows: &[[i8; C]],
        scale: &[f32; C],
        bias: &[f32; C],
    ) -> Result<Vec<u8>, ModelError> {
        let failed = |problem: String| ModelError::new("new", problem);
        let weights: Vec<u8> = rows.as_flattened().iter().map(|w| w.cast_unsigned()).collect();
        let floats = |values: &[f32; C]| values.iter().flat_map(|v| v.to_le_bytes()).collect();
        let (scale, bias): (Vec<u8>, Vec<u8>) = (floats(scale), floats(bias));
        let layout = serde_json::to_string(layout).map_err(|error| failed(error.to_string()))?;
        let checksum = checksum(&layout, &weights, &scale, &bias);
        let tensors = [
            (WEIGHTS, TensorView::new(Dtype::I8, vec![rows.len(), C], &weights)),
            (SCALE, TensorView::new(Dtype::F32, vec![C], &scale)),
            (BIAS, TensorView::new(Dtype::F32, vec![C], &bias)),
        ];
        let tensors = tensors
            .into_iter()
            .map(|(name, view)| Ok((name, view?)))
            .collect::<Result<Vec<_>, safetensors::SafeTensorError>>()
            .map_err(|error| failed(error.to_string()))?;
        // One entry only: with two, the order in the file would change from run to run.
        let metadata = serde_json::json!({ LAYOUT: layout, CHECKSUM: checksum }).to_string();
        let metadata = HashMap::from([("wingbeat".to_owned(), metadata)]);
        safetensors::serialize(tensors, Some(metadata)).map_err(|error| failed(error.to_string()))
    }
}

fn checksum(layout: &str, weights: &[u8], scale: &[u8], bias: &[u8]) -> u32 {
    let parts = [layout.as_bytes(), weights, scale, bias];
    parts.iter().fold(0, |sum, part| crc32c::crc32c_append(sum, part))
}

/// What a file's metadata holds.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Metadata {
    layout: String,
    crc32c: u32,
}

fn parse<'a, const C: usize>(labels: &[&str], file: &'a [u8]) -> Result<Head<'a, C>, String> {
    let tensors = SafeTensors::deserialize(file)
        .map_err(|error| format!("not a sound safetensors file: {error}"))?;
    let (_, header) = SafeTensors::read_metadata(file)
        .map_err(|error| format!("not a sound safetensors file: {error}"))?;
    let metadata = header
        .metadata()
        .as_ref()
        .and_then(|metadata| metadata.get("wingbeat"))
        .ok_or("its metadata has no entry `wingbeat`: not a model of this program")?;
    let metadata: Metadata = serde_json::from_str(metadata)
        .map_err(|error| format!("its metadata can't be read: {error}"))?;
    let weights = tensor(&tensors, WEIGHTS, Dtype::I8)?;
    let (scale, bias) = (tensor(&tensors, SCALE, Dtype::F32)?, tensor(&tensors, BIAS, Dtype::F32)?);
    if checksum(&metadata.layout, weights, scale, bias) != metadata.crc32c {
        return Err("its checksum is wrong: the file is damaged".to_owned());
    }
    let layout: Layout = serde_json::from_str(&metadata.layout)
        .map_err(|error| format!("its layout can't be read: {error}"))?;
    let featuriser = format!("{:016x}", fingerprint());
    if layout.featuriser != featuriser {
        return Err(format!(
            "it was trained with the featuriser {}, this program's is {featuriser}: train it anew",
            layout.featuriser
        ));
    }
    if layout.labels != labels || labels.len() > C {
        return Err(format!("its labels are {:?}, not {labels:?}", layout.labels));
    }
    let (rows, rest) = weights.as_chunks::<C>();
    if rows.is_empty() || !rest.is_empty() || u32::try_from(rows.len()).is_err() {
        let bytes = weights.len();
        return Err(format!("its weights have {bytes} bytes, not a number of rows of {C}"));
    }
    Ok(Head { rows, scale: floats(scale, SCALE)?, bias: floats(bias, BIAS)?, layout })
}

fn tensor<'a>(tensors: &SafeTensors<'a>, name: &str, dtype: Dtype) -> Result<&'a [u8], String> {
    let view = tensors.tensor(name).map_err(|_| format!("it has no tensor `{name}`"))?;
    if view.dtype() != dtype {
        return Err(format!("its tensor `{name}` is {:?}, not {dtype:?}", view.dtype()));
    }
    Ok(view.data())
}

fn floats<const C: usize>(bytes: &[u8], name: &str) -> Result<[f32; C], String> {
    let (values, rest) = bytes.as_chunks::<4>();
    if values.len() != C || !rest.is_empty() {
        return Err(format!("its tensor `{name}` has {} bytes, not {}", bytes.len(), C * 4));
    }
    let mut floats = [0.0; C];
    for (float, value) in floats.iter_mut().zip(values) {
        *float = f32::from_le_bytes(*value);
        if !float.is_finite() {
            return Err(format!("its tensor `{name}` holds a number that is not finite"));
        }
    }
    Ok(floats)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::linear::Featuriser;

    const LABELS: [&str; 2] = ["no", "yes"];

    fn layout() -> Layout {
        Layout {
            featuriser: format!("{:016x}", fingerprint()),
            labels: LABELS.map(str::to_owned).to_vec(),
            blocks: vec![Block { groups: vec![Group::Word], weight: 2.0 }],
        }
    }

    fn file() -> Vec<u8> {
        let mut rows = vec![[0i8; 4]; 64];
        let features = Featuriser::default().features("yes");
        rows[bucket(features.group(Group::Word)[0], 64)] = [-100, 100, 0, 0];
        Head::to_file(&layout(), &rows, &[0.01, 0.02, 0.0, 0.0], &[0.5, 0.0, 0.0, 0.0]).unwrap()
    }

    #[test]
    fn logits_are_the_sum_of_rows_over_the_root_of_their_number() {
        let file = file();
        let head = Head::<4>::parse("test", &LABELS, &file).unwrap();
        let logits = |text: &str| head.logits(&Featuriser::default().features(text));
        assert_eq!(logits("yes"), [0.5 - 2.0, 4.0, 0.0, 0.0]);
        assert_eq!(logits("yes yes yes yes"), [0.5 - 4.0, 8.0, 0.0, 0.0]);
        assert_eq!(logits(""), [0.5, 0.0, 0.0, 0.0]);
        // More than fit into an int16 at a time.
        let many = logits(&"yes ".repeat(700));
        assert!((many[1] - 2.0 * 0.02 * 100.0 * 700.0 / 700f32.sqrt()).abs() < 0.01, "{many:?}");
    }

    #[test]
    fn a_file_that_does_not_fit_is_refused_with_the_reason() {
        let file = file();
        let problem = |labels: &[&str], file: &[u8]| {
            Head::<4>::parse("test", labels, file).unwrap_err().problem
        };
        assert!(problem(&["no", "maybe"], &file).contains("labels"));
        assert!(problem(&LABELS, &file[..100]).contains("not a sound safetensors file"));
        assert!(problem(&LABELS, b"").contains("not a sound safetensors file"));
        let mut other = layout();
        other.featuriser = "0".repeat(16);
        let other = Head::to_file(&other, &[[0i8; 4]; 8], &[1.0; 4], &[0.0; 4]).unwrap();
        assert!(problem(&LABELS, &other).contains("train it anew"));
        let wide = Head::to_file(&layout(), &[[0i8; 8]; 8], &[1.0; 8], &[0.0; 8]).unwrap();
        assert!(problem(&LABELS, &wide).contains("bytes, not"));
        let nan = Head::to_file(&layout(), &[[0i8; 4]; 8], &[f32::NAN; 4], &[0.0; 4]).unwrap();
        assert!(problem(&LABELS, &nan).contains("not finite"));
        assert_eq!(
            Head::to_file(&layout(), &[[0i8; 4]; 8], &[1.0; 4], &[0.0; 4]),
            Head::to_file(&layout(), &[[0i8; 4]; 8], &[1.0; 4], &[0.0; 4]),
            "the same weights give the same bytes"
        );
    }

    proptest! {
        #[test]
        fn i6_a_damaged_file_is_refused(at in any::<prop::sample::Index>(), bit in 0u8..8) {
            let mut file = file();
            let at = at.index(file.len());
            file[at] ^= 1 << bit;
            prop_assert!(Head::<4>::parse("test", &LABELS, &file).is_err(), "byte {}", at);
        }

        #[test]
        fn i6_any_bytes_are_refused(file in prop::collection::vec(any::<u8>(), 0..200)) {
            prop_assert!(Head::<4>::parse("test", &LABELS, &file).is_err());
        }
    }
}
