//! Posts per second of one core, beside ONNX Runtime with the same model and the same posts.
//!
//! ```sh
//! PYTHON=python3 cargo run --release -p wingbeat-transformer --example rate -- \
//!     MODEL POSTS [--onnx FILE] [--float FILE]
//! ```
//!
//! MODEL is a folder with `tokenizer.json`, and with `config.json` and `model.safetensors` or the embedded
//! encoder's `encoder.onnx`; POSTS a gzipped
//! file with a JSON object in each line. `--onnx` is the same model as ONNX Runtime runs it fastest
//! (8-bit weights by column), `--float` as it was before it was quantised.

#![expect(clippy::print_stdout, reason = "it is what it is for")]
#![expect(clippy::cast_precision_loss, reason = "counts of posts")]

use std::{
    env,
    error::Error,
    fs,
    io::{BufRead as _, BufReader, Write as _},
    path::{Path, PathBuf},
    process::{Child, ChildStdin, ChildStdout, Command, Stdio},
    time::Instant,
};

use wingbeat_transformer::{Level, Model, Workspace};

type Outcome<T> = Result<T, Box<dyn Error>>;

const POSTS: &str = "1000";
const LENGTH_MAX: &str = "128";
const ROUNDS: usize = 3;
/// Posts that are handed over at a time.
const BATCH: usize = 200;

fn main() -> Outcome<()> {
    let arguments: Vec<String> = env::args().skip(1).collect();
    let [folder, posts, options @ ..] = &arguments[..] else {
        return Err("MODEL POSTS [--onnx FILE] [--float FILE]".into());
    };
    let option = |name: &str| {
        options.chunks_exact(2).find(|option| option[0] == name).map(|option| option[1].as_str())
    };
    let folder = Path::new(folder);
    let level = Level::chosen()?;
    let weights = folder.join("model.safetensors");
    let model = if weights.exists() {
        Model::from_safetensors(&fs::read(folder.join("config.json"))?, &fs::read(weights)?, level)?
    } else {
        Model::from_onnx(&fs::read(folder.join("encoder.onnx"))?, None, level)?
    };
    let scratch = env::temp_dir().join(format!("rate-{}", std::process::id()));
    fs::create_dir_all(&scratch)?;
    let result = compare(&model, folder, posts, option("--onnx"), option("--float"), &scratch);
    fs::remove_dir_all(&scratch)?;
    result
}

fn compare(
    model: &Model,
    folder: &Path,
    posts: &str,
    onnx: Option<&str>,
    float: Option<&str>,
    scratch: &Path,
) -> Outcome<()> {
    let ids_file = scratch.join("ids.json");
    let start = |file: &str| Peer::start(file, &folder.join("tokenizer.json"), posts, &ids_file);
    let mut peer = onnx.map(start).transpose()?;
    let mut float = float.map(start).transpose()?;
    let texts: Vec<Vec<u32>> = serde_json::from_slice(&fs::read(&ids_file)?)?;
    let texts: Vec<&[u32]> = texts.iter().map(Vec::as_slice).collect();
    let tokens: usize = texts.iter().map(|ids| ids.len()).sum();
    println!("{} posts, {tokens} tokens; {}", texts.len(), model.level().name());

    let mut work = Workspace::default();
    let names = ["ONNX Runtime, sorted", "ONNX Runtime, one by one", "ours", "ours, one by one"];
    let mut best = [0.0f64; 4];
    for _ in 0..ROUNDS {
        if let Some(peer) = &mut peer {
            best[0] = best[0].max(texts.len() as f64 / peer.ask("sorted")?);
            best[1] = best[1].max(texts.len() as f64 / peer.ask("single")?);
        }
        for (best, batch) in best[2..].iter_mut().zip([BATCH, 1]) {
            *best = best.max(rate(model, &mut work, &texts, batch)?);
        }
    }
    for (name, rate) in names.iter().zip(best) {
        println!("{name}: {rate:.0} posts per second of one core");
    }
    println!("of the best peer: {:.2}", best[2] / best[0].max(best[1]));

    let embeddings = embeddings(model, &mut work, &texts)?;
    for (name, peer) in [("ONNX Runtime, the same file", &mut peer), ("floats", &mut float)] {
        if let Some(peer) = peer {
            let file = scratch.join("embeddings");
            peer.ask(&format!("outputs embedding {}", file.display()))?;
            likeness(name, &embeddings, &fs::read(&file)?);
        }
    }
    Ok(())
}

/// Posts per second of this thread's processor time.
fn rate(model: &Model, work: &mut Workspace, texts: &[&[u32]], batch: usize) -> Outcome<f64> {
    let start = Instant::now();
    let before = processor_time()?;
    for texts in texts.chunks(batch) {
        model.run(work, texts.iter().copied())?;
    }
    let spent = processor_time()?
        .map_or(start.elapsed().as_secs_f64(), |now| now - before.unwrap_or_default());
    Ok(texts.len() as f64 / spent)
}

/// The seconds that the processor gave this thread, where the system says so.
fn processor_time() -> Outcome<Option<f64>> {
    // Nanoseconds, then what is of no interest here.
    let Ok(status) = fs::read_to_string("/proc/thread-self/schedstat") else { return Ok(None) };
    let nanoseconds: f64 = status.split(' ').next().unwrap_or_default().parse()?;
    Ok(Some(nanoseconds * 1e-9))
}

fn embeddings(model: &Model, work: &mut Workspace, texts: &[&[u32]]) -> Outcome<Vec<Vec<f32>>> {
    let found = model.outputs().position(|(name, _)| name == "embedding");
    let at = found.ok_or("the model has no embedding")?;
    let (_, width) = model.outputs().nth(at).ok_or("the model has no embedding")?;
    model.run(work, texts.iter().copied())?;
    Ok(work.rows(at).chunks_exact(width).map(<[f32]>::to_vec).collect())
}

/// How much alike our embeddings are to those of others.
fn likeness(name: &str, ours: &[Vec<f32>], theirs: &[u8]) {
    let theirs: Vec<f32> =
        theirs.as_chunks().0.iter().map(|bytes| f32::from_le_bytes(*bytes)).collect();
    let width = theirs.len() / ours.len();
    let product =
        |a: &[f32], b: &[f32]| a.iter().zip(b).map(|(a, b)| f64::from(a * b)).sum::<f64>();
    let mut cosines: Vec<f64> = ours
        .iter()
        .zip(theirs.chunks_exact(width))
        .map(|(a, b)| product(a, b) / (product(a, a) * product(b, b)).sqrt())
        .collect();
    cosines.sort_by(f64::total_cmp);
    let mean = cosines.iter().sum::<f64>() / cosines.len() as f64;
    let (least, low) = (cosines[0], cosines[cosines.len() / 100]);
    println!("cosine to {name}: mean {mean:.4}, least {least:.4}, 99 % above {low:.4}");
}

/// `peer.py` over the same posts.
struct Peer {
    child: Child,
    input: ChildStdin,
    output: BufReader<ChildStdout>,
}

impl Peer {
    fn start(model: &str, tokenizer: &Path, posts: &str, ids: &PathBuf) -> Outcome<Self> {
        let python = env::var("PYTHON").unwrap_or_else(|_| "python3".to_owned());
        let mut child = Command::new(python)
            .arg(concat!(env!("CARGO_MANIFEST_DIR"), "/examples/peer.py"))
            .arg(model)
            .arg(tokenizer)
            .args([posts, POSTS, LENGTH_MAX])
            .arg(ids)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()?;
        let (Some(input), Some(output)) = (child.stdin.take(), child.stdout.take()) else {
            return Err("no pipes".into());
        };
        let mut peer = Self { child, input, output: BufReader::new(output) };
        peer.line()?;
        Ok(peer)
    }

    fn line(&mut self) -> Outcome<String> {
        let mut line = String::new();
        if self.output.read_line(&mut line)? == 0 {
            return Err("Python ended; PYTHON names one with onnxruntime, numpy, tokenizers".into());
        }
        Ok(line.trim().to_owned())
    }

    fn ask(&mut self, what: &str) -> Outcome<f64> {
        writeln!(self.input, "{what}")?;
        Ok(self.line()?.parse()?)
    }
}

impl Drop for Peer {
    fn drop(&mut self) {
        // It may have ended by itself.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
