//! What an ONNX file says about itself: which operator sets it was written for.
//!
//! The format is a protocol buffer, `ModelProto`. Only its outermost fields are looked at here; the
//! runtime reads the rest. <https://github.com/onnx/onnx/blob/main/onnx/onnx.proto>

use std::ops::RangeInclusive;

use crate::ModelError;

/// The versions of ONNX's own operators that are taken: the oldest that quantised models have, and
/// the newest that the runtime was tried with.
const OPSETS: RangeInclusive<u64> = 11..=21;
/// `ModelProto.graph`.
const GRAPH: u64 = 7;
/// `ModelProto.opset_import`, an `OperatorSetIdProto`.
const OPSET_IMPORT: u64 = 8;
/// `OperatorSetIdProto.domain`; empty for ONNX's own operators.
const DOMAIN: u64 = 1;
/// `OperatorSetIdProto.version`.
const VERSION: u64 = 2;
/// A variable-length integer has at most so many bytes.
const VARINT_BYTES_MAX: usize = 10;

/// Refuses what is no ONNX file, and one whose operators are older or newer than the runtime knows.
pub(super) fn check(name: &str, file: &[u8]) -> Result<(), ModelError> {
    let failed = |problem: &str| ModelError::new(name, problem);
    let unsound = "not a whole ONNX file: it is damaged or cut short; fetch or export it again";
    let mut has_graph = false;
    let mut opset = None;
    for field in Fields(file) {
        match field.ok_or_else(|| failed(unsound))? {
            (GRAPH, Value::Bytes(_)) => has_graph = true,
            (OPSET_IMPORT, Value::Bytes(import)) => {
                opset = own_opset(import).ok_or_else(|| failed(unsound))?.or(opset);
            }
            _ => {}
        }
    }
    if !has_graph {
        return Err(failed(unsound));
    }
    match opset {
        Some(version) if OPSETS.contains(&version) => Ok(()),
        Some(version) => Err(failed(&format!(
            "it uses operator set {version}; sets {} to {} can be run: export it again with one of \
             those",
            OPSETS.start(),
            OPSETS.end()
        ))),
        None => Err(failed("it does not say which operator set it uses; export it again")),
    }
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

/// The value of a field.
enum Value<'a> {
    Number(u64),
    Bytes(&'a [u8]),
}

/// The fields of a message, each with its number; `None` where one can't be read, and then the end.
struct Fields<'a>(&'a [u8]);

impl<'a> Iterator for Fields<'a> {
    type Item = Option<(u64, Value<'a>)>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.0.is_empty() {
            return None;
        }
        let field = self.field();
        if field.is_none() {
            self.0 = &[];
        }
        Some(field)
    }
}

impl<'a> Fields<'a> {
    fn field(&mut self) -> Option<(u64, Value<'a>)> {
        let key = self.varint()?;
        let value = match key & 7 {
            0 => Value::Number(self.varint()?),
            1 => Value::Bytes(self.take(8)?),
            2 => {
                let length = usize::try_from(self.varint()?).ok()?;
                Value::Bytes(self.take(length)?)
            }
            5 => Value::Bytes(self.take(4)?),
            _ => return None,
        };
        Some((key >> 3, value))
    }

    fn take(&mut self, length: usize) -> Option<&'a [u8]> {
        let (taken, rest) = self.0.split_at_checked(length)?;
        self.0 = rest;
        Some(taken)
    }

    fn varint(&mut self) -> Option<u64> {
        let mut number = 0;
        for at in 0..VARINT_BYTES_MAX {
            let byte = *self.take(1)?.first()?;
            number |= u64::from(byte & 0x7f) << (7 * at);
            if byte < 0x80 {
                return Some(number);
            }
        }
        None
    }
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
        check("x.onnx", file).unwrap_err().to_string()
    }

    #[test]
    fn only_operator_sets_that_can_be_run_are_taken() {
        for version in [11, 17, 21] {
            check("x.onnx", &file(version)).unwrap();
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
            assert!(check("x.onnx", &whole[..end]).is_err(), "{end}");
        }
        assert!(problem(b"").contains("cut short"));
        assert!(problem(b"<html>not found</html>").contains("not a whole ONNX file"));
    }

    proptest! {
        #[test]
        fn i6_any_bytes_are_looked_at_without_a_panic(bytes in prop::collection::vec(any::<u8>(), 0..80)) {
            let _ = check("x.onnx", &bytes);
        }
    }
}
