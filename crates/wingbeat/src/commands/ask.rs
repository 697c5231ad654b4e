//! `wingbeat ask`: what do the models say of a text? Here, or as a service over NATS says it.

use std::{
    io::{BufRead as _, Read as _},
    sync::Arc,
    time::Duration,
};

use futures_util::{StreamExt as _, TryStreamExt as _, stream};
use serde::Deserialize;
use serde_json::{Value, json};
use tokio::sync::mpsc;
use wingbeat_flow::{FlowError, Pool};
use wingbeat_log::{LogUrl, NatsRequests, Refusal};
use wingbeat_ops::logging;
use wingbeat_record::Subject;

use super::{print_json, print_line, process::answer::SUBJECT};
use crate::{
    analysis::{self, Analysis, Explained, REQUEST_BYTES_MAX, STAGES},
    cli::{Ask, Explain, Format, Global},
    config,
    explanation::{self, Explanation},
    failure::Failure,
    fetch, table,
};

/// Lines that are answered together.
const BATCH: usize = 256;
/// Requests over NATS that wait for their answers at once: far fewer than a service lets wait.
const WINDOW: usize = 32;
/// The same where each is to be explained, which costs as much as 65 texts.
const WINDOW_EXPLAINED: usize = 8;
/// Topics below this are not shown, with `--topics`.
const SHOWN_MIN: f64 = 0.005;

pub(crate) async fn run(global: &Global, args: &Ask) -> Result<(), Failure> {
    let config = config::load(global, None, Vec::new())?.config;
    logging::start(config.logging.level, config.logging.format);
    // A log that is configured for other commands does not decide who answers.
    let asked = match (&global.log, &config.log.url) {
        (None, _) => {
            let models = fetch::prepare(&config.stages, &STAGES.map(str::to_owned)).await?;
            let here = Asked::here(&config)?;
            drop(models);
            here
        }
        (Some(_), LogUrl::Nats(url)) => Asked::Service {
            requests: Box::new(NatsRequests::open(url).await?),
            subject: Subject::new(SUBJECT).map_err(FlowError::from)?,
            wait: args.timeout.0,
        },
        (Some(_), LogUrl::Embedded(_)) => {
            return Err(Failure::Config(
                "nobody answers on an embedded log; leave --log out, and the models answer here"
                    .to_owned(),
            ));
        }
    };
    let request = Asking::of(args);
    if !args.text.is_empty() {
        let text = args.text.join(" ");
        let answers = asked.answers(std::slice::from_ref(&text), &request).await?;
        return answers.iter().try_for_each(|answer| print(args, &text, answer, true));
    }
    let mut lines = read_lines();
    let mut texts = Vec::with_capacity(BATCH);
    while lines.recv_many(&mut texts, BATCH).await > 0 {
        let batch: Vec<String> =
            std::mem::take(&mut texts).into_iter().collect::<Result<_, _>>()?;
        for (text, answer) in batch.iter().zip(asked.answers(&batch, &request).await?) {
            print(args, text, &answer, false)?;
        }
    }
    Ok(())
}

/// What is asked about every text.
struct Asking {
    languages: Vec<String>,
    explain: Explained,
}

impl Asking {
    fn of(args: &Ask) -> Self {
        let explain = match args.explain {
            None => Explained::Nothing,
            Some(Explain::Verdict) => Explained::Verdict,
            Some(Explain::All) => Explained::All,
        };
        Self { languages: args.lang.iter().cloned().collect(), explain }
    }
}

/// Who is asked.
enum Asked {
    /// The models in this process.
    Here { analysis: Arc<Analysis>, pool: Pool },
    /// A service over NATS.
    Service { requests: Box<NatsRequests>, subject: Subject, wait: Duration },
}

impl Asked {
    fn here(config: &config::Config) -> Result<Self, Failure> {
        let pool = Pool::start(1)
            .map_err(|error| Failure::io("can't start a thread for the models", &error))?;
        Ok(Self::Here { analysis: Arc::new(Analysis::new(&config.stages)?), pool })
    }

    /// The answers, in the order of the texts.
    async fn answers(&self, texts: &[String], asking: &Asking) -> Result<Vec<Value>, Failure> {
        let Asking { languages, explain } = asking;
        let request = |text: &String| analysis::request(text, languages, *explain);
        let asked: Vec<_> = texts.iter().map(request).collect();
        match self {
            Self::Here { analysis, pool } => {
                let analysis = Arc::clone(analysis);
                let answers = pool.run(move || analysis.answer(asked)).await;
                let died = |_| Failure::Failed("the thread of the models died".to_owned());
                answers
                    .map_err(died)?
                    .into_iter()
                    .map(|answer| parse(&answer.map_err(|refusal| refused(&refusal))?))
                    .collect()
            }
            Self::Service { requests, subject, wait } => {
                let ask = async |request| {
                    let answer = requests.ask(subject, request, *wait).await?;
                    match answer.refusal() {
                        Some(refusal) => Err(refused(&refusal)),
                        None => parse(&answer.payload),
                    }
                };
                let is_explained = *explain != Explained::Nothing;
                let window = if is_explained { WINDOW_EXPLAINED } else { WINDOW };
                stream::iter(asked).map(ask).buffered(window).try_collect().await
            }
        }
    }
}

fn refused(refusal: &Refusal) -> Failure {
    Failure::Failed(format!("refused: {refusal}"))
}

fn parse(answer: &[u8]) -> Result<Value, Failure> {
    serde_json::from_slice(answer)
        .map_err(|error| Failure::Failed(format!("the answer can't be read: {error}")))
}

/// The lines of standard input, one text each. Reading blocks, so it has a thread of its own.
fn read_lines() -> mpsc::Receiver<Result<String, Failure>> {
    let (lines, received) = mpsc::channel(BATCH);
    std::thread::spawn(move || {
        let mut input = std::io::stdin().lock();
        for number in 1.. {
            let line = read_line(&mut input, number);
            let is_last = !matches!(line, Ok(Some(_)));
            let Some(line) = line.transpose() else { return };
            // Nobody wants them any more where an answer has failed.
            if lines.blocking_send(line).is_err() || is_last {
                return;
            }
        }
    });
    received
}

fn read_line(input: &mut impl std::io::BufRead, number: u64) -> Result<Option<String>, Failure> {
    let wrong = |problem: &str| Failure::Failed(format!("line {number} of the input {problem}"));
    let mut line = Vec::new();
    let read = input.take(REQUEST_BYTES_MAX as u64 + 1).read_until(b'\n', &mut line);
    if read.map_err(|error| Failure::io("can't read standard input", &error))? == 0 {
        return Ok(None);
    }
    if line.len() > REQUEST_BYTES_MAX {
        return Err(wrong(&format!("has more than {REQUEST_BYTES_MAX} bytes")));
    }
    let line = String::from_utf8(line).map_err(|_| wrong("is not UTF-8"))?;
    Ok(Some(line.trim_end_matches(['\n', '\r']).to_owned()))
}

/// What is shown of an answer.
#[derive(Deserialize)]
struct Answer {
    language: Option<String>,
    sentiment: Option<Sentiment>,
    topics: Option<Topics>,
    explanation: Option<Explanation>,
}

#[derive(Deserialize)]
struct Sentiment {
    sentiment: String,
    confidence: f64,
    probabilities: Probabilities,
}

#[derive(Deserialize)]
struct Probabilities {
    positive: f64,
    neutral: f64,
    negative: f64,
}

#[derive(Deserialize)]
struct Topics {
    topics: Vec<String>,
    #[serde(default)]
    probabilities: serde_json::Map<String, Value>,
}

fn print(args: &Ask, text: &str, answer: &Value, is_alone: bool) -> Result<(), Failure> {
    if args.format == Format::Json {
        let mut json = json!({ "text": text });
        if let (Some(json), Some(answer)) = (json.as_object_mut(), answer.as_object()) {
            json.extend(answer.iter().map(|(name, value)| (name.clone(), value.clone())));
        }
        return print_json(&json);
    }
    let answer = Answer::deserialize(answer)
        .map_err(|error| Failure::Failed(format!("the answer can't be read: {error}")))?;
    let mut lines = if is_alone { portrait(&answer) } else { vec![line(&answer, text)] };
    if args.topics {
        lines.extend(likely_topics(&answer));
    }
    // Texts and answers come from outside.
    lines.iter().try_for_each(|line| print_line(&table::plain(line)))?;
    match &answer.explanation {
        Some(explanation) => explanation
            .lines(text, explanation::shows_colours())
            .iter()
            .try_for_each(|line| print_line(line)),
        None if args.explain.is_some() && answer.sentiment.is_some() => {
            print_line("not explained: the service that answers is of an older version")
        }
        None => Ok(()),
    }
}

/// One of many answers.
fn line(answer: &Answer, text: &str) -> String {
    let language = answer.language.as_deref().unwrap_or("-");
    let verdict = match &answer.sentiment {
        Some(found) => format!("{:<8} {}", found.sentiment, table::percent(found.confidence)),
        None => format!("{:<14}", "unscored"),
    };
    let topics =
        answer.topics.as_ref().map_or_else(|| "-".to_owned(), |found| found.topics.join(","));
    format!("{verdict}  {language:<3} {topics}  {text}")
}

/// The only answer.
fn portrait(answer: &Answer) -> Vec<String> {
    let mut lines = Vec::new();
    match &answer.sentiment {
        Some(Sentiment { sentiment, probabilities, .. }) => {
            let Probabilities { positive, neutral, negative } = probabilities;
            lines.push(sentiment.clone());
            for (word, share) in
                [("positive", positive), ("neutral", neutral), ("negative", negative)]
            {
                lines.push(bar_line(word, *share, 8));
            }
        }
        None => lines.push("unscored: the model does not read this language".to_owned()),
    }
    let unknown = || "unknown".to_owned();
    lines.push(format!("language    {}", answer.language.clone().unwrap_or_else(unknown)));
    if let Some(found) = &answer.topics {
        lines.push(format!("topics      {}", found.topics.join(", ")));
    }
    lines
}

/// The topics that are not out of the question, the likeliest first.
fn likely_topics(answer: &Answer) -> Vec<String> {
    let Some(found) = &answer.topics else { return Vec::new() };
    let share = |value: &Value| value.as_f64().unwrap_or(0.0);
    let mut likely: Vec<(&str, f64)> = found
        .probabilities
        .iter()
        .map(|(topic, value)| (topic.as_str(), share(value)))
        .filter(|(_, share)| *share >= SHOWN_MIN)
        .collect();
    likely.sort_by(|(_, a), (_, b)| b.total_cmp(a));
    let width = likely.iter().map(|(topic, _)| topic.chars().count()).max().unwrap_or(0);
    likely.iter().map(|(topic, share)| bar_line(topic, *share, width)).collect()
}

fn bar_line(word: &str, share: f64, width: usize) -> String {
    format!("  {word:<width$}  {}  {}", table::bar(share), table::percent(share))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_are_texts_up_to_a_limit() {
        let long = "x".repeat(REQUEST_BYTES_MAX + 1);
        let read = |input: &[u8]| {
            let mut input = input;
            let mut lines = Vec::new();
            while let Some(line) = read_line(&mut input, lines.len() as u64 + 1)? {
                lines.push(line);
            }
            Ok::<_, Failure>(lines)
        };
        assert_eq!(read(b"a\r\n\nb").unwrap(), ["a", "", "b"]);
        let error = |input| read(input).unwrap_err().to_string();
        assert!(error(long.as_bytes()).contains("line 1 of the input has more than 65536 bytes"));
        assert_eq!(error(b"a\n\xff\n"), "line 2 of the input is not UTF-8");
    }
}
