//! The encoder over real posts, on one core: beside ONNX Runtime over the same model in Python,
//! both in the way that is best for it and one post at a time. Then the program with it: its memory.

use std::{
    fs,
    io::{BufRead as _, BufReader, Write as _},
    path::{Path, PathBuf},
    process::{Child, ChildStdin, ChildStdout, Command, Stdio},
};

use wingbeat_model::{
    encoder::{Card, Cleaner, Encoder, EncoderOptions, EncoderSource, RuntimeChoice, is_installed},
    hugging_face::{Embedder, ModelFolder},
    measure::spearman,
};

use crate::{Outcome, clock, enrich, live, program};

const ROUNDS: usize = 3;
/// What a flow takes at a time, more or less.
const BATCH: usize = 500;
const POSTS: usize = 1_000;
/// So many posts go through the program, while its memory is watched.
const PROGRAM_POSTS: usize = 4_000;
/// So many pairs of posts are compared.
const PAIRS: usize = 5_000;

pub(crate) fn run(folder: Option<&str>) -> Outcome<()> {
    let folder = PathBuf::from(folder.unwrap_or("models/encoder"));
    let texts = texts()?;
    let mut peer = Peer::start(&folder, &texts)?;
    let source = EncoderSource::Folder(folder.clone());
    let options = EncoderOptions { threads: 1, ..EncoderOptions::default() };
    let encoder = Encoder::load(&source, options)?;
    println!("{POSTS} posts, one core, text in and three outputs out, best of {ROUNDS} rounds\n");
    let predecessor = peer.predecessor()?;
    let mut best = [0.0f64; 5];
    for _ in 0..ROUNDS {
        let rates = [
            peer.rate("sorted")?,
            peer.rate("single")?,
            ours(&encoder, &texts, BATCH)?,
            ours(&encoder, &texts, 1)?,
            peer.rate(&predecessor)?,
        ];
        for (best, rate) in best.iter_mut().zip(rates) {
            *best = best.max(rate);
        }
    }
    println!("| way | posts per second of one core | of the best peer |\n|---|---|---|");
    let names = [
        "ONNX Runtime, sorted, batches of 256 tokens",
        "ONNX Runtime, one by one",
        "wingbeat, 500 at a time",
        "wingbeat, one by one",
        "the replaced services' way: RoBERTa-base, int8, one by one, one of its two passes",
    ];
    for (name, rate) in names.iter().zip(best) {
        println!("| {name} | {rate:.0} | {:.2} |", rate / best[0]);
    }
    alike(&encoder, &texts, &mut peer)?;
    println!("\nONNX Runtime in Python took at most {} kB.", peer.ask("memory")?);
    memory(&folder)
}

fn texts() -> Outcome<Vec<String>> {
    let lines = enrich::read(Path::new("../shared/data/posts/bluesky_posts.jsonl.gz"))?;
    let text = |line: &bytes::Bytes| {
        let post: serde_json::Value = serde_json::from_slice(line).ok()?;
        Some(post["text"].as_str()?.to_owned()).filter(|text| !text.trim().is_empty())
    };
    Ok(lines.iter().filter_map(text).take(POSTS).collect())
}

/// Our rate, in posts per second that the processor gave us.
#[expect(clippy::cast_precision_loss, reason = "counts of posts")]
fn ours(encoder: &Encoder, texts: &[String], batch: usize) -> Outcome<f64> {
    let start = clock::process_time()?;
    for texts in texts.chunks(batch) {
        for reading in encoder.read(texts.iter().map(String::as_str)) {
            std::hint::black_box(reading?);
        }
    }
    Ok(texts.len() as f64 / (clock::process_time()? - start).as_secs_f64())
}

/// `bench/python/encoder.py` over the same texts.
struct Peer {
    python: String,
    child: Child,
    input: ChildStdin,
    output: BufReader<ChildStdout>,
    texts: usize,
    /// Where it reads the texts and writes their embeddings.
    scratch: tempfile::TempDir,
}

impl Peer {
    fn start(folder: &Path, texts: &[String]) -> Outcome<Self> {
        // What the card says is done to texts is done here, so that both read the same.
        let card = folder.join("encoder.json");
        let card = Card::parse("encoder.json", &fs::read(&card)?)?;
        let cleaner = Cleaner::new("encoder.json", &card.normalisation)?;
        let cleaned: Vec<_> = texts.iter().map(|text| cleaner.clean(text)).collect();
        let scratch = tempfile::tempdir()?;
        let file = scratch.path().join("texts.json");
        fs::write(&file, serde_json::to_vec(&cleaned)?)?;
        let python = std::env::var("PYTHON").unwrap_or_else(|_| "python3".to_owned());
        let mut child = Command::new(&python)
            .arg(concat!(env!("CARGO_MANIFEST_DIR"), "/python/encoder.py"))
            .args([folder, &file])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .map_err(|error| format!("{python}: {error}"))?;
        let (Some(input), Some(output)) = (child.stdin.take(), child.stdout.take()) else {
            return Err("no pipes".into());
        };
        Ok(Self {
            python,
            child,
            input,
            output: BufReader::new(output),
            texts: texts.len(),
            scratch,
        })
    }

    fn ask(&mut self, what: &str) -> Outcome<String> {
        writeln!(self.input, "{what}")?;
        let mut answer = String::new();
        if self.output.read_line(&mut answer)? == 0 {
            return Err("Python ended; PYTHON names one with onnxruntime, numpy, tokenizers".into());
        }
        Ok(answer.trim().to_owned())
    }

    #[expect(clippy::cast_precision_loss, reason = "counts of posts")]
    fn rate(&mut self, way: &str) -> Outcome<f64> {
        Ok(self.texts as f64 / self.ask(way)?.parse::<f64>()?)
    }

    /// The command that runs a model of the replaced services.
    fn predecessor(&self) -> Outcome<String> {
        let file = self.scratch.path().join("roberta.onnx");
        let script = concat!(env!("CARGO_MANIFEST_DIR"), "/python/roberta.py");
        self.script(script, &[&file])?;
        Ok(format!("predecessor {}", file.display()))
    }

    /// Runs another script to its end.
    fn script(&self, script: &str, arguments: &[&Path]) -> Outcome<()> {
        let mut command = Command::new(&self.python);
        let status = command.arg(script).args(arguments).stderr(Stdio::null()).status()?;
        if status.success() {
            return Ok(());
        }
        Err(format!("{script} failed; PYTHON names one with what it says at its head").into())
    }

    fn embeddings(&mut self, width: usize) -> Outcome<Vec<Vec<f32>>> {
        let file = self.scratch.path().join("embeddings");
        self.ask(&format!("embeddings {}", file.display()))?;
        rows(&file, width)
    }

    /// Those of the original model, in the folder that `MINILM` names, by its reference
    /// implementation; `None` where none is named.
    fn reference(&self, width: usize) -> Outcome<Option<Vec<Vec<f32>>>> {
        let Some(original) = std::env::var_os("MINILM") else { return Ok(None) };
        let file = self.scratch.path().join("reference");
        let script = concat!(env!("CARGO_MANIFEST_DIR"), "/python/reference.py");
        self.script(script, &[original.as_ref(), &self.scratch.path().join("texts.json"), &file])?;
        rows(&file, width).map(Some)
    }

    /// The embeddings by the original model, as a user names it; `None` where the runtime is not
    /// there.
    fn by_name(&self, runtime: RuntimeChoice) -> Outcome<Option<Vec<Vec<f32>>>> {
        let Some(original) = std::env::var_os("MINILM") else { return Ok(None) };
        if runtime == RuntimeChoice::Ort && !is_installed() {
            return Ok(None);
        }
        let path = self.scratch.path().join("minilm");
        if !path.exists() {
            let script = concat!(env!("CARGO_MANIFEST_DIR"), "/python/minilm.py");
            self.script(script, &[original.as_ref(), &path])?;
        }
        let folder = ModelFolder { repo: path.display().to_string(), path };
        let tokens_max = REFERENCE_TOKENS;
        let options = EncoderOptions { tokens_max, runtime, ..EncoderOptions::default() };
        let embedder = Embedder::load(&folder, options)?;
        let texts: Vec<String> =
            serde_json::from_slice(&fs::read(self.scratch.path().join("texts.json"))?)?;
        let read = embedder.read(texts.iter().map(String::as_str));
        Ok(Some(read.into_iter().collect::<Result<_, _>>()?))
    }
}

/// The tokens that `reference.py` reads.
const REFERENCE_TOKENS: usize = 128;

/// Rows of so many numbers.
fn rows(file: &Path, width: usize) -> Outcome<Vec<Vec<f32>>> {
    let bytes = fs::read(file)?;
    let number = |bytes: &[u8; 4]| f32::from_le_bytes(*bytes);
    let numbers: Vec<f32> = bytes.as_chunks::<4>().0.iter().map(number).collect();
    Ok(numbers.chunks(width).map(<[f32]>::to_vec).collect())
}

impl Drop for Peer {
    fn drop(&mut self) {
        // It may have ended by itself.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// How much alike our embeddings are to those of others.
fn alike(encoder: &Encoder, texts: &[String], peer: &mut Peer) -> Outcome<()> {
    let readings = encoder.read(texts.iter().map(String::as_str)).into_iter();
    let ours: Vec<Vec<f32>> =
        readings.map(|reading| Ok(reading?.embedding)).collect::<Outcome<_>>()?;
    let width = ours.first().map_or(1, Vec::len);
    println!("\n| embeddings beside those of | cosine: mean | least | Spearman, {PAIRS} pairs |");
    println!("|---|---|---|---|");
    likeness("ONNX Runtime, the same file", &ours, &peer.embeddings(width)?);
    if let Some(reference) = peer.reference(width)? {
        likeness("all-MiniLM-L6-v2, float32, by transformers", &ours, &reference);
        println!("\n| all-MiniLM-L6-v2 by name beside it | cosine: mean | least | Spearman |");
        println!("|---|---|---|---|");
        for runtime in [RuntimeChoice::Rten, RuntimeChoice::Ort] {
            match peer.by_name(runtime)? {
                Some(ours) => likeness(&format!("{runtime:?}"), &ours, &reference),
                None => println!("| {runtime:?}: its library is not there | | | |"),
            }
        }
    }
    Ok(())
}

#[expect(clippy::cast_precision_loss, reason = "counts of posts")]
fn likeness(name: &str, ours: &[Vec<f32>], theirs: &[Vec<f32>]) {
    let product =
        |a: &[f32], b: &[f32]| a.iter().zip(b).map(|(a, b)| f64::from(a * b)).sum::<f64>();
    let cosines: Vec<f64> = ours.iter().zip(theirs).map(|(a, b)| product(a, b)).collect();
    let mean = cosines.iter().sum::<f64>() / cosines.len() as f64;
    let least = cosines.iter().copied().fold(1.0, f64::min);
    // Each text with those behind it at many distances: pairs without order or chance.
    let pairs = || (0..PAIRS).map(|pair| (pair % ours.len(), (pair * 7 + 1) % ours.len()));
    let of = |rows: &[Vec<f32>]| -> Vec<f64> {
        pairs().filter_map(|(a, b)| Some(product(rows.get(a)?, rows.get(b)?))).collect()
    };
    println!("| {name} | {mean:.4} | {least:.4} | {:.4} |", spearman(&of(ours), &of(theirs)));
}

/// What the whole program takes, with two threads.
fn memory(folder: &Path) -> Outcome<()> {
    let lines = enrich::read(Path::new("../shared/data/posts/bluesky_posts.jsonl.gz"))?;
    let mut child = Command::new(program()?)
        .args(["enrich", "--set", "stages.models.sentiment=encoder"])
        .args(["--set", "stages.models.topics=encoder", "--set", "compute.threads=2"])
        .args(["--set", &format!("stages.models.encoder={}", folder.display())])
        .stdin(Stdio::piped())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()?;
    let process = format!("/proc/{}", child.id());
    let mut input = child.stdin.take().ok_or("no pipe")?;
    for line in lines.iter().cycle().take(PROGRAM_POSTS) {
        input.write_all(line)?;
        input.write_all(b"\n")?;
    }
    let peak = live::peak_memory(&process)?;
    drop(input);
    child.wait()?;
    println!("`wingbeat enrich` with it, two threads: memory at most {peak}.");
    Ok(())
}
