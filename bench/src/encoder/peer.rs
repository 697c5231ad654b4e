//! ONNX Runtime in Python: `bench/python/encoder.py`, and the scripts that make and read models.

use std::{
    fs,
    io::{BufRead as _, BufReader, Write as _},
    path::Path,
    process::{Child, ChildStdin, ChildStdout, Command, Stdio},
};

use super::Subject;
use crate::Outcome;

/// The Python with what the scripts need, as they say at their heads.
fn python() -> String {
    std::env::var("PYTHON").unwrap_or_else(|_| "python3".to_owned())
}

/// Runs a script of `bench/python` to its end.
pub(super) fn script(name: &str, arguments: &[&Path]) -> Outcome<()> {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("python").join(name);
    let mut command = Command::new(python());
    let status = command.arg(&path).args(arguments).stderr(Stdio::null()).status()?;
    if status.success() {
        return Ok(());
    }
    Err(format!("{} failed; PYTHON names one with what it says at its head", path.display()).into())
}

/// A model over some texts.
pub(super) struct Peer {
    child: Child,
    input: ChildStdin,
    output: BufReader<ChildStdout>,
    texts: usize,
}

impl Peer {
    /// Starts one over a model and its texts.
    pub(super) fn start(subject: &Subject<'_>) -> Outcome<Self> {
        let mut child = Command::new(python())
            .arg(concat!(env!("CARGO_MANIFEST_DIR"), "/python/encoder.py"))
            .args([&subject.model, &subject.tokenizer, &subject.file])
            .args(subject.outputs)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .map_err(|error| format!("{}: {error}", python()))?;
        let (Some(input), Some(output)) = (child.stdin.take(), child.stdout.take()) else {
            return Err("no pipes".into());
        };
        Ok(Self { child, input, output: BufReader::new(output), texts: subject.texts.len() })
    }

    /// Asks, without waiting for the answer.
    pub(super) fn order(&mut self, what: &str) -> Outcome<()> {
        Ok(writeln!(self.input, "{what}")?)
    }

    /// The answer to the first question that has none yet.
    pub(super) fn answer(&mut self) -> Outcome<String> {
        let mut answer = String::new();
        if self.output.read_line(&mut answer)? == 0 {
            return Err("Python ended; PYTHON names one with onnxruntime, numpy, tokenizers".into());
        }
        Ok(answer.trim().to_owned())
    }

    pub(super) fn ask(&mut self, what: &str) -> Outcome<String> {
        self.order(what)?;
        self.answer()
    }

    /// Texts per second of the processor, in one of its ways.
    #[expect(clippy::cast_precision_loss, reason = "counts of posts")]
    pub(super) fn rate(&mut self, way: &str) -> Outcome<f64> {
        Ok(self.texts as f64 / self.ask(way)?.parse::<f64>()?)
    }

    /// The rows of its last output.
    pub(super) fn rows(&mut self, scratch: &Path, width: usize) -> Outcome<Vec<Vec<f32>>> {
        let file = scratch.join("rows");
        self.ask(&format!("rows {}", file.display()))?;
        rows(&file, width)
    }
}

impl Drop for Peer {
    fn drop(&mut self) {
        // It may have ended by itself.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Rows of so many numbers.
pub(super) fn rows(file: &Path, width: usize) -> Outcome<Vec<Vec<f32>>> {
    let bytes = fs::read(file)?;
    let number = |bytes: &[u8; 4]| f32::from_le_bytes(*bytes);
    let numbers: Vec<f32> = bytes.as_chunks::<4>().0.iter().map(number).collect();
    Ok(numbers.chunks(width).map(<[f32]>::to_vec).collect())
}
