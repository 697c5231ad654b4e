//! What the models say of a text that somebody asks about, here or over NATS.
//!
//! A request is a text, or a JSON object like a post, with `text` and maybe `langs`; what begins with
//! `{` is JSON. An answer has the members that a flow adds to a post: `language`, `sentiment`, `topics`;
//! and `explanation`, where the request has `explain`.

use bytes::Bytes;
use serde_json::json;
use wingbeat_flow::{FlowError, Pipeline};
use wingbeat_log::Refusal;
use wingbeat_record::{DeadCause, Record, Subject};
use wingbeat_stage::{Explain, Item, Settings, Stage, Unread, Verdict, catalogue};

use crate::failure::Failure;

/// The largest request. A post's text has 3,000 bytes; this is enough for an article.
pub(crate) const REQUEST_BYTES_MAX: usize = 64 * 1024;
/// A byte of a text takes at most so many as JSON: `\u0000`.
const ESCAPE_BYTES_MAX: usize = 6;
/// The stages that a text goes through.
pub(crate) const STAGES: [&str; 4] = ["post", "language", "sentiment", "topics"];

/// What of an answer is to be explained.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) enum Explained {
    #[default]
    Nothing,
    /// The sentiment that was found, and the topics.
    Verdict,
    /// All sentiments, and the topics that were found.
    All,
}

/// The stages that look at a text.
pub(crate) struct Analysis {
    pipeline: Pipeline,
    /// Where its records seem to come from; nobody sees it.
    subject: Subject,
}

impl Analysis {
    /// With the settings of a flow, except that everything is answered.
    pub(crate) fn new(settings: &Settings) -> Result<Self, Failure> {
        let mut settings = settings.clone();
        settings.post.bytes_max = (REQUEST_BYTES_MAX + 32) * ESCAPE_BYTES_MAX;
        settings.sentiment.threshold = 0.0;
        // Other than an app, whoever asks about a text and says its language knows it.
        settings.language.sure = 1.0;
        settings.topics.probabilities = true;
        for unread in [&mut settings.sentiment.unread, &mut settings.topics.unread] {
            if *unread == Unread::Filter {
                *unread = Unread::Emit;
            }
        }
        let mut stages: Vec<Box<dyn Stage>> = Vec::new();
        for name in STAGES {
            stages.push(catalogue::stage(name, &settings)?);
        }
        stages.push(Box::new(Explain::new(&settings)?));
        let pipeline = Pipeline::of(stages);
        Ok(Self { pipeline, subject: Subject::new("request").map_err(FlowError::from)? })
    }

    /// Answers requests, in their order. This computes: it belongs on the threads for that.
    pub(crate) fn answer(&self, requests: Vec<Bytes>) -> Vec<Result<Bytes, Refusal>> {
        let mut items: Vec<Result<Item, Refusal>> =
            requests.into_iter().map(|request| self.item(request)).collect();
        self.pipeline.run(&mut items.iter_mut().flatten().collect::<Vec<_>>());
        items.into_iter().map(|item| item.and_then(|item| answer(&item))).collect()
    }

    fn item(&self, request: Bytes) -> Result<Item, Refusal> {
        check_size(&request)?;
        let payload = match std::str::from_utf8(&request) {
            Err(_) => return Err(bad("not UTF-8")),
            Ok(text) if text.trim().is_empty() => return Err(bad("no text")),
            Ok(text) if text.trim_start().starts_with('{') => request,
            Ok(text) => self::request(text, &[], Explained::Nothing),
        };
        Ok(Item::new(Record::new(self.subject.clone(), payload)))
    }
}

/// A request about a text, whatever it begins with, in the first of these languages; where none is
/// given, in the one that it seems to be in.
pub(crate) fn request(text: &str, languages: &[String], explain: Explained) -> Bytes {
    let mut request = json!({ "text": text, "langs": languages });
    match explain {
        Explained::Nothing => {}
        Explained::Verdict => request["explain"] = true.into(),
        Explained::All => request["explain"] = "all".into(),
    }
    request.to_string().into()
}

/// How many texts a request costs, at most.
pub(crate) fn cost(request: &[u8]) -> usize {
    if Explain::may_be_wanted(request) { Explain::TEXTS_MAX } else { 1 }
}

/// Refuses a request that is too large.
pub(crate) fn check_size(request: &Bytes) -> Result<(), Refusal> {
    if request.len() <= REQUEST_BYTES_MAX {
        return Ok(());
    }
    let message = format!("{} bytes, over the limit of {REQUEST_BYTES_MAX}", request.len());
    Err(Refusal { code: 413, message })
}

fn bad(message: impl Into<String>) -> Refusal {
    Refusal { code: 400, message: message.into() }
}

fn answer(item: &Item) -> Result<Bytes, Refusal> {
    match item.verdict() {
        None => Ok(item.additions().into()),
        Some(Verdict::Dead(DeadCause { kind, .. })) if kind.as_str() == "panic" => {
            Err(Refusal { code: 500, message: "the analysis failed on this text".to_owned() })
        }
        Some(Verdict::Dead(cause) | Verdict::Retry(cause)) => {
            Err(bad(format!("{}: {}", cause.kind, cause.message)))
        }
        Some(Verdict::Filtered(reason)) => Err(bad(reason.to_string())),
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::Value;

    use super::*;

    fn ask(request: impl Into<Bytes>) -> Result<Value, Refusal> {
        let analysis = Analysis::new(&Settings::default()).unwrap();
        let answer = analysis.answer(vec![request.into()]).pop().unwrap();
        answer.map(|json| serde_json::from_slice(&json).unwrap())
    }

    #[test]
    fn an_answer_has_the_members_of_an_enriched_post() {
        for request in [
            "What a wonderful morning, I love this music!".to_owned(),
            r#"{"text": "What a wonderful morning, I love this music!", "langs": ["en"]}"#
                .to_owned(),
        ] {
            let answer = ask(request).unwrap();
            let keys =
                |value: &Value| value.as_object().unwrap().keys().cloned().collect::<Vec<_>>();
            assert_eq!(keys(&answer), ["language", "sentiment", "topics"]);
            assert_eq!(
                (&answer["language"], &answer["sentiment"]["label"]),
                (&"en".into(), &"POSITIVE".into())
            );
            assert_eq!(keys(&answer["topics"]["probabilities"]).len(), 19);
        }
    }

    /// Even where a flow is set to leave such posts out.
    #[test]
    fn what_can_not_be_read_is_answered_with_null() {
        let mut settings = Settings::default();
        settings.sentiment.unread = Unread::Filter;
        settings.topics.unread = Unread::Filter;
        let analysis = Analysis::new(&settings).unwrap();
        let text = "Was für ein wunderschöner Morgen, ich liebe diese Musik so sehr";
        let answer = analysis.answer(vec![text.into()]).pop().unwrap().unwrap();
        let expected = json!({"language": "de", "sentiment": null, "topics": null});
        assert_eq!(serde_json::from_slice::<Value>(&answer).unwrap(), expected);
    }

    #[test]
    fn i6_what_can_not_be_answered_is_refused_and_its_neighbours_are_answered() {
        let long = "x".repeat(REQUEST_BYTES_MAX + 1);
        let analysis = Analysis::new(&Settings::default()).unwrap();
        let requests = [
            (&b"fine"[..], None),
            (b"", Some((400, "no text"))),
            (b" \n", Some((400, "no text"))),
            (b"\xff\xfe", Some((400, "not UTF-8"))),
            (b"{\"text\":", Some((400, "not_json"))),
            (b"{\"words\":\"x\"}", Some((400, "missing_text"))),
            (b"{\"text\":7}", Some((400, "wrong_type"))),
            (long.as_bytes(), Some((413, "65537 bytes"))),
            (b"fine too", None),
        ];
        let asked = requests.iter().map(|(request, _)| Bytes::copy_from_slice(request)).collect();
        for (answer, (_, expected)) in analysis.answer(asked).into_iter().zip(requests) {
            match (answer, expected) {
                (Ok(_), None) => {}
                (Err(refusal), Some((code, message))) => {
                    assert_eq!(refusal.code, code);
                    assert!(refusal.message.starts_with(message), "{refusal}");
                }
                other => panic!("{other:?}"),
            }
        }
        // The largest text takes six times as many bytes as JSON.
        assert!(ask(vec![0; REQUEST_BYTES_MAX]).is_ok());
    }

    #[test]
    fn an_explanation_comes_where_it_is_asked_for() {
        let text = "What a wonderful morning, I love this music!";
        let explained = |explain: &str| ask(format!(r#"{{"text":"{text}","explain":{explain}}}"#));
        for nothing in ["false", "null"] {
            assert_eq!(explained(nothing).unwrap().get("explanation"), None);
        }
        let answer = explained("true").unwrap();
        let explanation = &answer["explanation"];
        let sentiment = explanation["sentiment"].as_array().unwrap();
        assert_eq!((sentiment.len(), &sentiment[0]["label"]), (1, &"positive".into()));
        assert_eq!(sentiment[0]["probability"], answer["sentiment"]["confidence"]);
        let parts = explanation["parts"].as_array().unwrap();
        for part in parts {
            let at =
                |index: usize| usize::try_from(part["bytes"][index].as_u64().unwrap()).unwrap();
            assert_eq!(part["text"], text[at(0)..at(1)]);
        }
        assert_eq!(sentiment[0]["added"].as_array().unwrap().len(), parts.len());
        let topics = explanation["topics"].as_array().unwrap();
        let given = answer["topics"]["topics"].as_array().unwrap();
        assert!(topics.iter().map(|topic| &topic["label"]).eq(given));
        // What is said of the text without a word is what would be answered about it.
        let without = ask("What a morning, I love this music!").unwrap();
        assert_eq!(sentiment[0]["without"][2], without["sentiment"]["probabilities"]["positive"]);
        let all = explained("\"all\"").unwrap();
        assert_eq!(all["explanation"]["sentiment"].as_array().unwrap().len(), 3);
        assert_eq!(explained("7").unwrap_err().code, 400);
        let unread = r#"{"text":"Das ist ein schrecklicher Tag heute","explain":true}"#;
        assert!(ask(unread).unwrap()["explanation"].is_null());
        assert_eq!((cost(br#"{"text":"x","explain":true}"#), cost(br#"x "explain""#)), (65, 1));
    }

    #[test]
    fn i6_any_text_is_explained() {
        let long = "good ".repeat(10_000);
        for text in ["", " ", "\u{0}", "!!!", "👍🏽", "good", "\u{202e}x\u{ad}", &long] {
            let answer = ask(request(text, &["en".to_owned()], Explained::All)).unwrap();
            let explanation = &answer["explanation"];
            assert_eq!(explanation.is_null(), answer["sentiment"].is_null(), "{text:?}");
            if let Some(parts) = explanation["parts"].as_array() {
                assert!(parts.len() < Explain::TEXTS_MAX);
                assert!(explanation["sentiment"][0]["without"][parts.len()].is_null());
            }
        }
    }

    proptest! {
        #[test]
        fn i6_any_request_is_answered_or_refused(
            request in prop_oneof![
                prop::collection::vec(any::<u8>(), 0..200),
                ".{0,100}".prop_map(String::into_bytes),
                ".{0,100}".prop_map(|text| request(&text, &[], Explained::All).to_vec()),
                "\\{\"text\":\"?.{0,50}".prop_map(String::into_bytes),
            ],
        ) {
            match ask(request) {
                Ok(answer) => prop_assert!(answer.get("sentiment").is_some()),
                Err(refusal) => prop_assert!(matches!(refusal.code, 400 | 413)),
            }
        }
    }
}
