//! Sources by name: how they are written, and the list of them all.

use std::{fmt, path::PathBuf};

use crate::{
    FileSource, FramesSource, InputPath, Pace, Resume, Source, SourceError,
    network::{
        Endpoint, NetworkOptions, NetworkSource, Protocol, Verify, parse_endpoints,
        public_endpoints,
    },
    simulator::{Settings, SimulatorSource},
};

/// How sources are written, for messages.
const HOW_TO_WRITE: &str = "write auto for the network, relay or jetstream for one kind of host \
                            (relay:wss://HOST), file:PATH, file:- for standard input, \
                            frames:PATH for recorded firehose frames, or simulator for made-up \
                            posts";

/// The names of the sources.
const KINDS: [&str; 7] =
    ["auto", "file", "frames", "jetstream", "jetstream1", "relay", "simulator"];

/// Which source to open.
#[derive(Debug, Clone, PartialEq)]
pub enum SourceSpec {
    /// JSON lines.
    File(InputPath),
    /// Recorded firehose frames.
    Frames(InputPath),
    /// Made-up posts.
    Simulator(Settings),
    /// A relay of the AT Protocol.
    Relay(Endpoint),
    /// A host of Jetstream, of either version.
    Jetstream(Endpoint),
    /// The best of several hosts; of the public ones where the list is empty.
    Auto(Vec<Endpoint>),
}

/// What may be asked of any source.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct OpenOptions {
    /// Go on where an earlier run of the same source has ended.
    pub resume: Option<Resume>,
    /// At most so many items per second. The simulator takes it instead of its own rate.
    pub rate: Option<f64>,
    /// What is asked of sources that read from the network.
    pub network: NetworkOptions,
}

impl SourceSpec {
    /// Reads a spec such as `file:posts.jsonl.gz`. The error says how to write it.
    pub fn parse(text: &str) -> Result<Self, SourceError> {
        let (kind, rest) = match text.split_once(':') {
            Some((kind, rest)) => (kind, Some(rest)),
            None => (text, None),
        };
        match (kind, rest) {
            ("file", rest) => Ok(Self::File(parse_path(kind, rest)?)),
            ("frames", rest) => Ok(Self::Frames(parse_path(kind, rest)?)),
            ("simulator", rest) => Ok(Self::Simulator(Settings::parse(rest.unwrap_or(""))?)),
            ("relay", rest) => Ok(Self::Relay(parse_host(Protocol::Relay, rest)?)),
            ("jetstream", rest) => Ok(Self::Jetstream(parse_host(Protocol::JetstreamV2, rest)?)),
            ("jetstream1", rest) => Ok(Self::Jetstream(parse_host(Protocol::JetstreamV1, rest)?)),
            ("auto", None) => Ok(Self::Auto(Vec::new())),
            ("auto", Some(hosts)) => Ok(Self::Auto(parse_endpoints(hosts)?)),
            ("", _) => Err(SourceError::Spec(format!("no source is named: {HOW_TO_WRITE}"))),
            (kind, _) => Err(SourceError::Spec(unknown_kind(text, kind))),
        }
    }
}

/// Opens a source. It blocks for as long as opening a file and reading its beginning takes; with
/// a position to resume at, for as long as reading up to it takes.
pub fn open(spec: &SourceSpec, options: &OpenOptions) -> Result<Box<dyn Source>, SourceError> {
    let pace = || options.rate.map(Pace::new).transpose();
    let position = options.resume.as_ref().map(|resume| resume.position);
    let network = |kind, endpoints| -> Result<Box<dyn Source>, SourceError> {
        let (resume, network) = (options.resume.clone(), options.network.clone());
        let spec = spec.to_string();
        Ok(Box::new(NetworkSource::open(kind, spec, endpoints, network, resume, pace()?)?))
    };
    let is_of_network =
        matches!(spec, SourceSpec::Relay(_) | SourceSpec::Jetstream(_) | SourceSpec::Auto(_));
    if options.network.verify != Verify::None && !is_of_network {
        return Err(SourceError::Spec(format!(
            "{spec} can't be verified: only a relay sends proofs. Leave verify out, or write none"
        )));
    }
    Ok(match spec {
        SourceSpec::File(path) => Box::new(FileSource::open(path, position, pace()?)?),
        SourceSpec::Frames(path) => Box::new(FramesSource::open(path, position, pace()?)?),
        SourceSpec::Simulator(settings) => {
            let mut settings = settings.clone();
            if let Some(rate) = options.rate {
                settings.rate = rate;
            }
            Box::new(SimulatorSource::open(settings, position)?)
        }
        SourceSpec::Relay(endpoint) => network("relay", vec![endpoint.clone()])?,
        SourceSpec::Jetstream(endpoint) => network("jetstream", vec![endpoint.clone()])?,
        SourceSpec::Auto(endpoints) => {
            let all = if endpoints.is_empty() { public_endpoints(None) } else { endpoints.clone() };
            network("auto", verifiable(all, options.network.verify))?
        }
    })
}

/// The hosts that can be verified as far as is asked for; all of them where none can be, so that it
/// is said why.
fn verifiable(endpoints: Vec<Endpoint>, verify: Verify) -> Vec<Endpoint> {
    let relays = endpoints.iter().filter(|endpoint| endpoint.protocol == Protocol::Relay);
    let relays: Vec<Endpoint> = relays.cloned().collect();
    if verify == Verify::None || relays.is_empty() { endpoints } else { relays }
}

fn parse_path(kind: &str, path: Option<&str>) -> Result<InputPath, SourceError> {
    match path {
        Some("-") => Ok(InputPath::Stdin),
        Some(path) if !path.is_empty() => Ok(InputPath::File(PathBuf::from(path))),
        _ => Err(SourceError::Spec(format!("`{kind}` needs a path: write {kind}:PATH"))),
    }
}

/// The host of a source that has one, or the first public one.
fn parse_host(protocol: Protocol, host: Option<&str>) -> Result<Endpoint, SourceError> {
    match host {
        Some(host) => Endpoint::parse(protocol, host),
        None => public_endpoints(Some(protocol))
            .into_iter()
            .next()
            .ok_or_else(|| SourceError::Spec("there is no public host: name one".to_owned())),
    }
}

fn unknown_kind(text: &str, kind: &str) -> String {
    let looks_like_path = text.contains(['/', '.']) || text == "-";
    if looks_like_path && !KINDS.iter().any(|known| text.starts_with(known)) {
        return format!("`{text}` names no source: did you mean file:{text}? Else {HOW_TO_WRITE}");
    }
    match nearest(kind, &KINDS) {
        Some(known) => {
            format!("there is no source `{kind}`: did you mean `{known}`? Else {HOW_TO_WRITE}")
        }
        None => format!("there is no source `{kind}`: {HOW_TO_WRITE}"),
    }
}

/// The candidate that is most like a word, if one is much like it.
pub(crate) fn nearest<'a>(word: &str, candidates: &[&'a str]) -> Option<&'a str> {
    let word = word.to_lowercase();
    let distance = |candidate: &str| strsim::damerau_levenshtein(&word, candidate);
    let best = candidates.iter().copied().min_by_key(|candidate| distance(candidate))?;
    (distance(best) <= 2.max(best.len() / 3)).then_some(best)
}

impl fmt::Display for SourceSpec {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::File(path) => write!(f, "file:{path}"),
            Self::Frames(path) => write!(f, "frames:{path}"),
            Self::Simulator(settings) => settings.fmt(f),
            Self::Relay(endpoint) => write!(f, "relay:{}", endpoint.base()),
            Self::Jetstream(endpoint) if endpoint.protocol == Protocol::JetstreamV1 => {
                write!(f, "jetstream1:{}", endpoint.base())
            }
            Self::Jetstream(endpoint) => write!(f, "jetstream:{}", endpoint.base()),
            Self::Auto(endpoints) => {
                f.write_str("auto")?;
                for (index, endpoint) in endpoints.iter().enumerate() {
                    write!(f, "{}{endpoint}", if index == 0 { ':' } else { ',' })?;
                }
                Ok(())
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn problem(text: &str) -> String {
        SourceSpec::parse(text).unwrap_err().to_string()
    }

    #[test]
    fn specs_are_read_and_written() {
        for text in [
            "file:posts.jsonl.gz",
            "file:-",
            "file:C:/posts",
            "frames:a b.zst",
            "simulator",
            "simulator:seed=7,rate=500",
            "relay:wss://bsky.network",
            "relay:ws://127.0.0.1:2470",
            "jetstream:wss://jetstream.us-east.bsky.network",
            "jetstream1:wss://jetstream2.us-east.bsky.network",
            "auto",
            "auto:v2=ws://127.0.0.1:1,v1=ws://127.0.0.1:2,relay=wss://bsky.network",
            "simulator:count=10,languages=en:3+ja:1,start=2026-07-04T14:38:08Z",
        ] {
            assert_eq!(SourceSpec::parse(text).unwrap().to_string(), text);
        }
        let stdin = SourceSpec::parse("file:-").unwrap();
        assert_eq!(stdin, SourceSpec::File(InputPath::Stdin));
    }

    #[test]
    fn a_wrong_spec_is_answered_with_the_right_one() {
        assert!(problem("").contains("no source is named: write auto"));
        assert!(problem("relay:bsky.network").contains("write a host as wss://HOST"));
        assert!(problem("jetstream:wss://a/subscribe").contains("has more than a host"));
        assert!(problem("auto:").contains("does not say what the host speaks"));
        assert!(problem("auto:wss://a").contains("write v2=, v1= (both Jetstream) or relay="));
        assert!(problem("auto:v1=ws://a,v1=ws://a/").contains("is there twice"));
        assert!(problem("jetsream").contains("did you mean `jetstream`"));
        assert!(problem("flie:x").contains("did you mean `file`"));
        assert!(problem("simluator").contains("did you mean `simulator`"));
        assert!(problem("Frames:x").contains("did you mean `frames`"));
        assert!(problem("posts.jsonl").contains("did you mean file:posts.jsonl?"));
        assert!(problem("kinesis:x").starts_with("there is no source `kinesis`: write auto"));
        assert_eq!(problem("file:"), "`file` needs a path: write file:PATH");
        assert_eq!(problem("frames"), "`frames` needs a path: write frames:PATH");
        assert!(problem("simulator:ratee=5").contains("did you mean `rate`"));
        assert!(problem("simulator:rate=0").contains("rate"));
    }
}
