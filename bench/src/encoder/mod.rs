//! Encoders over real posts, beside ONNX Runtime over the same models in Python, in the way that is
//! best for it and one post at a time: the embedded encoder, and a RoBERTa-base classifier as the
//! replaced services had two. On one core and on all, and a post by itself. Then how much alike the
//! outputs are, and the memory of the program.

mod alike;
mod peer;
mod roofline;

use std::{
    fs,
    path::{Path, PathBuf},
    process::{Command, Stdio},
    time::Instant,
};

use wingbeat_model::{
    encoder::{Card, Cleaner, Encoder, EncoderOptions, EncoderSource, Fused},
    hugging_face::{Classifier, ModelFolder, Task},
};

use self::peer::{Peer, script};
use crate::{Outcome, clock, enrich, live, program};

const ROUNDS: usize = 3;
/// What a flow takes at a time, more or less.
const BATCH: usize = 500;
const POSTS: usize = 1_000;
/// So many posts go through RoBERTa-base, which is slow.
const POSTS_OF_LARGE: usize = 200;
/// The tokens of a post that are read: as the embedded encoder has it, and the scripts.
const TOKENS_MAX: usize = 128;
/// So many posts go through the program, while its memory is watched.
const PROGRAM_POSTS: usize = 4_000;

/// One of our models.
enum Ours {
    Encoder(Box<Encoder>),
    Classifier(Box<Classifier>),
}

impl Ours {
    fn read(&self, texts: &[String]) -> Outcome<()> {
        let texts = texts.iter().map(String::as_str);
        match self {
            Self::Encoder(encoder) => {
                for reading in encoder.read(texts) {
                    std::hint::black_box(reading?);
                }
            }
            Self::Classifier(classifier) => {
                for said in classifier.read(texts) {
                    std::hint::black_box(said?);
                }
            }
        }
        Ok(())
    }

    fn runtime(&self) -> &'static str {
        match self {
            Self::Encoder(encoder) => encoder.runtime(),
            Self::Classifier(classifier) => classifier.runtime(),
        }
    }
}

/// A model that both sides have.
struct Subject<'a> {
    name: &'a str,
    model: PathBuf,
    tokenizer: PathBuf,
    outputs: &'a [&'a str],
    /// A JSON file of texts, and these.
    file: PathBuf,
    texts: Vec<String>,
    load: &'a dyn Fn(usize) -> Outcome<Ours>,
}

pub(crate) fn run(folder: Option<&str>) -> Outcome<()> {
    let folder = PathBuf::from(folder.unwrap_or("models/encoder"));
    let scratch = tempfile::tempdir()?;
    let scratch = scratch.path();
    let texts = texts(&folder)?;
    let roberta = scratch.join("roberta");
    script("roberta.py", &[&roberta])?;
    let tokenizer = folder.join("tokenizer.json");
    fs::copy(&tokenizer, roberta.join("tokenizer.json"))?;
    let options =
        |threads| EncoderOptions { threads, tokens_max: TOKENS_MAX, ..EncoderOptions::default() };
    let source = EncoderSource::Folder(folder.clone());
    let encoder = |threads| Ok(Ours::Encoder(Box::new(Encoder::load(&source, options(threads))?)));
    let model = ModelFolder { repo: roberta.display().to_string(), path: roberta.clone() };
    let classifier = |threads| {
        let loaded = Classifier::load(&model, Task::Sentiment, options(threads))?;
        Ok(Ours::Classifier(Box::new(loaded)))
    };
    let subject = |name, model, outputs, count: usize, load| -> Outcome<_> {
        let texts = texts.get(..count).ok_or("there are too few posts")?.to_vec();
        let file = scratch.join(format!("texts-{count}.json"));
        fs::write(&file, serde_json::to_vec(&texts)?)?;
        Ok(Subject { name, model, tokenizer: tokenizer.clone(), outputs, file, texts, load })
    };
    let small = subject(
        "The embedded encoder (MiniLM-L6): text in, sentiment, topics and embedding out",
        folder.join("encoder.onnx"),
        &["sentiment", "topics", "embedding"],
        POSTS,
        &encoder,
    )?;
    let large = subject(
        "RoBERTa-base, a classifier by name, int8",
        roberta.join("onnx/model_int8.onnx"),
        &["logits"],
        POSTS_OF_LARGE,
        &classifier,
    )?;
    println!("Fused runs on {}.", Fused::instructions()?);
    let mut peer = small.compare()?;
    roofline::print(&small, None)?;
    large.compare()?;
    roofline::print(&large, Some(&roberta.join("config.json")))?;
    let Ours::Encoder(encoder) = encoder(1)? else { return Err("no encoder".into()) };
    alike::print(&encoder, &small, &mut peer, scratch)?;
    println!("\nONNX Runtime in Python took at most {} kB.", peer.ask("memory")?);
    memory(&folder)
}

/// Real posts, as the encoder's card says that they are cleaned: both sides read the same.
fn texts(folder: &Path) -> Outcome<Vec<String>> {
    let card = Card::parse("encoder.json", &fs::read(folder.join("encoder.json"))?)?;
    let cleaner = Cleaner::new("encoder.json", &card.normalisation)?;
    let lines = enrich::read(Path::new("../shared/data/posts/bluesky_posts.jsonl.gz"))?;
    let text = |line: &bytes::Bytes| {
        let post: serde_json::Value = serde_json::from_slice(line).ok()?;
        let text = post["text"].as_str().filter(|text| !text.trim().is_empty())?;
        Some(cleaner.clean(text).into_owned())
    };
    Ok(lines.iter().filter_map(text).take(POSTS).collect())
}

impl Subject<'_> {
    /// Prints a table; gives the peer, which has the model loaded.
    fn compare(&self) -> Outcome<Peer> {
        let cores = std::thread::available_parallelism()?.get();
        let mut peers = (0..cores).map(|_| Peer::start(self)).collect::<Outcome<Vec<_>>>()?;
        let (one, all) = ((self.load)(1)?, (self.load)(cores)?);
        let mut best = [0.0f64; 7];
        let mut alone = [[f64::INFINITY; 2]; 2];
        for _ in 0..ROUNDS {
            let first = peers.first_mut().ok_or("no core")?;
            let rates = [
                first.rate("sorted")?,
                first.rate("single")?,
                first.rate("replaced")?,
                self.rate(&one, BATCH)?,
                self.rate(&one, 1)?,
                self.rate_of_peers(&mut peers)?,
                self.rate_of_all(&all, cores)?,
            ];
            best.iter_mut().zip(rates).for_each(|(best, rate)| *best = best.max(rate));
            let first = peers.first_mut().ok_or("no core")?;
            for (best, times) in
                alone.iter_mut().zip([times(&first.ask("alone")?)?, self.alone(&one)?])
            {
                best.iter_mut().zip(times).for_each(|(best, time)| *best = best.min(time));
            }
        }
        println!("\n{}; {} posts, best of {ROUNDS} rounds\n", self.name, self.texts.len());
        println!(
            "| way | posts/s of one core | of the best peer | posts/s of {cores} cores | of the peer | alone, ms: median | 99 % |"
        );
        println!("|---|---|---|---|---|---|---|");
        let [sorted, single, replaced, ours, ours_single, peers_all, ours_all] = best;
        let row = |name: &str, rate: f64, of_all: Option<f64>, alone: Option<[f64; 2]>| {
            let of_all = of_all
                .map_or("| ".to_owned(), |rate| format!("{rate:.0} | {:.2}", rate / peers_all));
            let alone =
                alone.map_or("| ".to_owned(), |[half, most]| format!("{half:.2} | {most:.2}"));
            println!(
                "| {name} | {rate:.0} | {:.2} | {of_all} | {alone} |",
                rate / sorted.max(single)
            );
        };
        row("ONNX Runtime, sorted, batches of 256 tokens", sorted, Some(peers_all), None);
        row("ONNX Runtime, one by one", single, None, Some(alone[0]));
        row("the replaced services' way: one by one, default threads", replaced, None, None);
        row(
            &format!("wingbeat (`{}`), {BATCH} at a time", one.runtime()),
            ours,
            Some(ours_all),
            None,
        );
        row("wingbeat, one by one", ours_single, None, Some(alone[1]));
        peers.pop().ok_or_else(|| "no core".into())
    }

    /// Our rate with one thread, in posts per second that the processor gave us.
    #[expect(clippy::cast_precision_loss, reason = "counts of posts")]
    fn rate(&self, ours: &Ours, batch: usize) -> Outcome<f64> {
        let start = clock::process_time()?;
        self.texts.chunks(batch).try_for_each(|texts| ours.read(texts))?;
        Ok(self.texts.len() as f64 / (clock::process_time()? - start).as_secs_f64())
    }

    /// Our rate with all cores, by the clock: as many callers as there are threads.
    #[expect(clippy::cast_precision_loss, reason = "counts of posts")]
    fn rate_of_all(&self, ours: &Ours, cores: usize) -> Outcome<f64> {
        let start = Instant::now();
        let texts = &self.texts;
        let read = || texts.chunks(BATCH).try_for_each(|texts| ours.read(texts));
        let read = || read().map_err(|error| error.to_string());
        std::thread::scope(|scope| {
            let callers: Vec<_> = (0..cores).map(|_| scope.spawn(read)).collect();
            callers.into_iter().try_for_each(|caller| {
                caller.join().map_err(|_| "a thread panicked".to_owned()).and_then(|read| read)
            })
        })?;
        Ok((cores * self.texts.len()) as f64 / start.elapsed().as_secs_f64())
    }

    /// The peer's, with a process for each core.
    #[expect(clippy::cast_precision_loss, reason = "counts of posts")]
    fn rate_of_peers(&self, peers: &mut [Peer]) -> Outcome<f64> {
        let start = Instant::now();
        peers.iter_mut().try_for_each(|peer| peer.order("sorted"))?;
        for peer in peers.iter_mut() {
            peer.answer()?;
        }
        Ok((peers.len() * self.texts.len()) as f64 / start.elapsed().as_secs_f64())
    }

    /// How long a post takes us by itself, in milliseconds.
    fn alone(&self, ours: &Ours) -> Outcome<[f64; 2]> {
        let mut times = Vec::new();
        for text in self.texts.chunks(1) {
            let begin = Instant::now();
            ours.read(text)?;
            times.push(begin.elapsed().as_secs_f64() * 1e3);
        }
        times.sort_by(f64::total_cmp);
        let at = |percent: usize| times.get(times.len() * percent / 100).copied();
        Ok([at(50), at(99)].map(Option::unwrap_or_default))
    }
}

fn times(answer: &str) -> Outcome<[f64; 2]> {
    let times = answer.split(' ').map(str::parse).collect::<Result<Vec<f64>, _>>()?;
    times.try_into().map_err(|_| "no two times".into())
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
        std::io::Write::write_all(&mut input, line)?;
        std::io::Write::write_all(&mut input, b"\n")?;
    }
    let peak = live::peak_memory(&process)?;
    drop(input);
    child.wait()?;
    println!("`wingbeat enrich` with it, two threads: memory at most {peak}.");
    Ok(())
}
