//! What an ONNX file says about itself: which operator sets it was written for, what it takes and
//! what it gives.
//!
//! The format is a protocol buffer, `ModelProto`. Little of it is looked at here; the runtime reads
//! the rest. <https://github.com/onnx/onnx/blob/main/onnx/onnx.proto>

use std::{collections::BTreeSet, ops::RangeInclusive};

use wingbeat_transformer::protobuf::{Fields, Value};

use super::ModelSpec;
use crate::ModelError;

/// The inputs of a model: token ids; 1 where there is one, 0 where there is padding; and, where the
/// model asks for it, which of two texts a token belongs to.
pub(super) const INPUTS: [&str; 3] = ["input_ids", "attention_mask", "token_type_ids"];
/// Those of [`INPUTS`] that every model has.
const INPUTS_NEEDED: usize = 2;

/// The versions of ONNX's own operators that are taken: the oldest that quantised models have, and
/// the newest that the runtime was tried with.
const OPSETS: RangeInclusive<u64> = 11..=21;
/// `ModelProto.graph`.
const GRAPH: u64 = 7;
/// `ModelProto.opset_import`, an `OperatorSetIdProto`.
const OPSET_IMPORT: u64 = 8;
/// `GraphProto.initializer`, a `TensorProto`.
const INITIALIZER: u64 = 5;
/// `GraphProto.input`, a `ValueInfoProto`.
const INPUT: u64 = 11;
/// `GraphProto.output`, a `ValueInfoProto`.
const OUTPUT: u64 = 12;
/// `TensorProto.name`.
const TENSOR_NAME: u64 = 8;
/// `ValueInfoProto.name`.
const VALUE_NAME: u64 = 1;
/// `OperatorSetIdProto.domain`; empty for ONNX's own operators.
const DOMAIN: u64 = 1;
/// `OperatorSetIdProto.version`.
const VERSION: u64 = 2;

/// So many names are told in an error.
const NAMES_TOLD_MAX: usize = 8;

/// What a model takes and gives, by the names in its file.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Outline {
    inputs: Vec<String>,
    outputs: Vec<String>,
}

impl Outline {
    /// Looks into a file, whose `name` is for errors. Refuses what is no ONNX file, and one whose
    /// operators are older or newer than the runtimes know.
    pub(crate) fn read(name: &str, file: &[u8]) -> Result<Self, ModelError> {
        let failed = |problem: &str| ModelError::new(name, problem);
        let unsound = || {
            failed("not a whole ONNX file: it is damaged or cut short; fetch or export it again")
        };
        let mut outline = None;
        let mut opset = None;
        for field in Fields(file) {
            match field.ok_or_else(unsound)? {
                (GRAPH, Value::Bytes(graph)) => {
                    outline = Some(Self::of_graph(graph).ok_or_else(unsound)?);
                }
                (OPSET_IMPORT, Value::Bytes(import)) => {
                    opset = own_opset(import).ok_or_else(unsound)?.or(opset);
                }
                _ => {}
            }
        }
        let outline = outline.ok_or_else(unsound)?;
        match opset {
            Some(version) if OPSETS.contains(&version) => Ok(outline),
            Some(version) => Err(failed(&format!(
                "it uses operator set {version}; sets {} to {} can be run: export it again with one of \
                 those",
                OPSETS.start(),
                OPSETS.end()
            ))),
            None => Err(failed("it does not say which operator set it uses; export it again")),
        }
    }

    /// `None`: the graph can't be read.
    fn of_graph(graph: &[u8]) -> Option<Self> {
        let (mut inputs, mut outputs, mut weights) = (Vec::new(), Vec::new(), BTreeSet::new());
        for field in Fields(graph) {
            match field? {
                (INPUT, Value::Bytes(value)) => inputs.push(text_in(value, VALUE_NAME)?),
                (OUTPUT, Value::Bytes(value)) => outputs.push(text_in(value, VALUE_NAME)?),
                (INITIALIZER, Value::Bytes(tensor)) => {
                    weights.insert(text_in(tensor, TENSOR_NAME)?);
                }
                _ => {}
            }
        }
        // Old files list the weights among the inputs.
        inputs.retain(|input| !weights.contains(input));
        Some(Self { inputs, outputs })
    }

    /// Whether the model has an output of this name.
    pub(crate) fn has_output(&self, name: &str) -> bool {
        self.outputs.iter().any(|output| output == name)
    }

    /// The inputs that the model is to be given: all of [`INPUTS`] that it has, in their order.
    pub(super) fn inputs(&self) -> impl Iterator<Item = &'static str> {
        INPUTS.into_iter().filter(|input| self.inputs.iter().any(|has| has == input))
    }

    /// Refuses a model that asks for what is not known, or lacks what is wanted.
    pub(super) fn check(&self, name: &str, spec: &ModelSpec) -> Result<(), ModelError> {
        let lacks = |kind: &str, wanted: &str, has: &[String]| {
            let problem = format!(
                "it has no {kind} `{wanted}`, but {}: it is another kind of model, or was exported \
                 otherwise",
                told(has)
            );
            Err(ModelError::new(name, problem))
        };
        for needed in &INPUTS[..INPUTS_NEEDED] {
            if !self.inputs.iter().any(|has| has == needed) {
                return lacks("input", needed, &self.inputs);
            }
        }
        if let Some(unknown) = self.inputs.iter().find(|has| !INPUTS.contains(&has.as_str())) {
            let (unknown, known) = (told(std::slice::from_ref(unknown)), INPUTS.join("`, `"));
            let problem =
                format!("it asks for the input {unknown}; known are `{known}`: export it without");
            return Err(ModelError::new(name, problem));
        }
        match spec.outputs.iter().find(|output| !self.has_output(&output.name)) {
            Some(missing) => lacks("output", &missing.name, &self.outputs),
            None => Ok(()),
        }
    }
}

/// Names out of a file, as an error tells them: not more than some, and nothing that a terminal
/// would take for itself.
fn told(names: &[String]) -> String {
    let shown = names.iter().take(NAMES_TOLD_MAX);
    let shown: Vec<String> =
        shown.map(|name| format!("`{:.64}`", name.escape_debug().to_string())).collect();
    let more = if names.len() > NAMES_TOLD_MAX { ", ..." } else { "" };
    shown.join(", ") + more
}

/// The text in a field of a message; empty where there is none.
fn text_in(message: &[u8], number: u64) -> Option<String> {
    for field in Fields(message) {
        match field? {
            (found, Value::Bytes(text)) if found == number => {
                return String::from_utf8(text.to_vec()).ok();
            }
            _ => {}
        }
    }
    Some(String::new())
}

/// The version, where the import is of ONNX's own operators. Outside `None`: it can't be read.
fn own_opset(import: &[u8]) -> Option<Option<u64>> {
    let (mut is_own, mut version) = (true, None);
    for field in Fields(import) {
        match field? {
            (DOMAIN, Value::Bytes(domain)) => is_own = matches!(domain, b"" | b"ai.onnx"),
            (VERSION, Value::Number(number)) => version = Some(number),
            _ => {}
        }
    }
    Some(version.filter(|_| is_own))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// A model with an empty graph, ONNX's own operators of this version and somebody else's.
    fn file(version: u8) -> Vec<u8> {
        let mut file = vec![0x08, 8, 0x3a, 0];
        file.extend_from_slice(&[0x42, 2, 0x10, version]);
        file.extend_from_slice(&[0x42, 7, 0x0a, 3, b'a', b'.', b'b', 0x10, 99]);
        file
    }

    fn problem(file: &[u8]) -> String {
        Outline::read("x.onnx", file).unwrap_err().to_string()
    }

    #[test]
    fn only_operator_sets_that_can_be_run_are_taken() {
        for version in [11, 17, 21] {
            Outline::read("x.onnx", &file(version)).unwrap();
        }
        for version in [1, 10, 22, 99] {
            let problem = problem(&file(version));
            assert!(problem.contains(&format!("operator set {version};")), "{problem}");
        }
        assert!(problem(&[0x3a, 0]).contains("does not say which"), "{}", problem(&[0x3a, 0]));
        assert!(problem(&file(99)).starts_with("model `x.onnx`"));
    }

    #[test]
    fn a_cut_file_is_refused() {
        let whole = file(17);
        for end in 0..8 {
            assert!(Outline::read("x.onnx", &whole[..end]).is_err(), "{end}");
        }
        assert!(problem(b"").contains("cut short"));
        assert!(problem(b"<html>not found</html>").contains("not a whole ONNX file"));
    }

    #[test]
    fn inputs_and_outputs_are_found_by_name_without_the_weights() {
        // Inputs `a` and `w`, an output `b`, and the weights `w`.
        let graph = [
            0x5a, 3, 0x0a, 1, b'a', 0x5a, 3, 0x0a, 1, b'w', 0x62, 3, 0x0a, 1, b'b', 0x2a, 3, 0x42,
            1, b'w',
        ];
        let outline = Outline::of_graph(&graph).unwrap();
        assert_eq!(
            outline,
            Outline { inputs: vec!["a".to_owned()], outputs: vec!["b".to_owned()] }
        );
        let spec = ModelSpec { outputs: Vec::new(), padding: 0 };
        let problem = outline.check("x.onnx", &spec).unwrap_err().problem;
        assert!(problem.contains("no input `input_ids`, but `a`"), "{problem}");
    }

    proptest! {
        #[test]
        fn i6_any_bytes_are_looked_at_without_a_panic(bytes in prop::collection::vec(any::<u8>(), 0..80)) {
            let _ = Outline::read("x.onnx", &bytes);
        }
    }
}
