//! The simulator: believable, varied, and the same every time.

use std::{
    collections::{BTreeMap, BTreeSet, HashSet},
    time::Duration,
};

use wingbeat_atproto::{Cid, Codec, Did, RecordUri, cbor::Value};
use wingbeat_record::{Document, Time};
use wingbeat_source::{
    Content, Event, OpenOptions, Post, SourceSpec, open,
    simulator::{Described, Fault, Kind, Mood, Settings, Simulator},
};

use crate::common::{all_shown, json, open_spec, read_all, shown};

const NOW: Time = Time::from_micros(1_783_175_888_123_456);

fn simulator(settings: &str) -> Simulator {
    Simulator::new(Settings::parse(settings).unwrap()).unwrap()
}

fn post(simulator: &Simulator, n: u64) -> Post {
    match simulator.item(n, NOW).content {
        Content::Post(post) => post,
        other => panic!("item {n} is {other:?}"),
    }
}

fn event(simulator: &Simulator, n: u64) -> Event {
    match simulator.item(n, NOW).content {
        Content::Event(event) => event,
        other => panic!("item {n} is {other:?}"),
    }
}

/// The share of some items, in percent.
fn percent(count: usize, of: u64) -> f64 {
    count as f64 / of as f64 * 100.0
}

#[tokio::test(start_paused = true)]
async fn a_source_that_resumes_goes_on_exactly_there() {
    let spec = "simulator:count=400,start=2026-07-04T14:38:08Z";
    let mut whole = open_spec(spec, None).unwrap();
    let (items, error) = read_all(whole.as_mut()).await;
    assert!(error.is_none() && items.len() == 400);
    for resume in [1_usize, 137, 399] {
        let position = items[resume - 1].position;
        let (rest, _) = read_all(open_spec(spec, Some(position)).unwrap().as_mut()).await;
        assert_eq!(all_shown(&rest), all_shown(&items[resume..]));
    }
    assert!(open_spec(spec, Some(400)).unwrap().next(1).await.unwrap().is_none());
    let description = whole.description();
    assert!(description.is_simulated && description.kind == "simulator");
    assert_eq!(description.spec, spec);
}

/// In live use the times differ from run to run; what identifies a post does not.
#[test]
fn identity_does_not_depend_on_when_a_post_is_made() {
    let simulator = simulator("");
    for n in 0..300 {
        let (now, later) =
            (simulator.item(n, NOW), simulator.item(n, NOW.plus(Duration::from_secs(9))));
        let identity = |content| match content {
            Content::Post(post) => post.id,
            Content::Event(event) => event.id,
            other => panic!("{other:?}"),
        };
        if !matches!(simulator.describe(n).kind, Kind::Malformed { .. }) {
            assert_eq!(identity(now.content), identity(later.content));
        }
    }
    let payload = json(&post(&simulator, 0).payload);
    assert_eq!(payload["created_at"], "2026-07-04T14:38:08.123Z");
    assert_eq!(payload["timestamp"], "2026-07-04T14:38:08Z");
}

#[test]
fn the_fingerprint_is_of_what_item_n_follows_from() {
    let fingerprint = |spec: &str| open_spec(spec, None).unwrap().description().fingerprint.clone();
    assert_eq!(fingerprint("simulator"), fingerprint("simulator:count=5"));
    assert_ne!(fingerprint("simulator"), fingerprint("simulator:seed=2"));
    assert_ne!(fingerprint("simulator"), fingerprint("simulator:rate=51"));
}

#[test]
fn texts_are_varied_and_fit() {
    let simulator = simulator("");
    let mut texts = HashSet::new();
    let mut posts = 0;
    for n in 0..20_000 {
        if simulator.describe(n).kind != Kind::Post {
            continue;
        }
        let payload = json(&post(&simulator, n).payload);
        let text = payload["text"].as_str().unwrap();
        assert!((1..=300).contains(&text.chars().count()), "{text}");
        posts += 1;
        texts.insert(text.to_owned());
    }
    let distinct = percent(texts.len(), posts);
    assert!(posts > 18_000 && distinct >= 95.0, "{distinct} % of {posts}");
}

#[test]
fn the_mix_is_as_asked_for() {
    let simulator = simulator("");
    let count = 20_000;
    let described: Vec<_> = (0..count).map(|n| simulator.describe(n)).collect();
    let share = |wanted: &dyn Fn(&Kind) -> bool| {
        percent(described.iter().filter(|item| wanted(&item.kind)).count(), count)
    };
    assert!((share(&|kind| matches!(kind, Kind::Duplicate { .. })) - 1.0).abs() < 0.3);
    assert!((share(&|kind| matches!(kind, Kind::Delete { .. })) - 1.0).abs() < 0.3);
    assert!((share(&|kind| matches!(kind, Kind::Malformed { .. })) - 0.5).abs() < 0.2);
    assert!((share(&|kind| *kind == Kind::Spam) - 2.0).abs() < 0.4);
    let mut languages = BTreeMap::new();
    let mut authors = BTreeMap::new();
    for item in &described {
        *languages.entry(item.language).or_insert(0) += 1;
        *authors.entry(item.author.as_str()).or_insert(0) += 1;
        assert!(Did::parse(&item.author).is_ok() && item.author.len() == 32);
    }
    assert!((percent(languages["en"], count) - 55.0).abs() < 1.5);
    assert!((percent(languages["ja"], count) - 15.0).abs() < 1.5);
    assert!(languages.len() >= 10);
    let topics: BTreeSet<_> = described.iter().map(|item| item.topic).collect();
    assert_eq!(topics.len(), 19);
    // Many write, and some much more than others.
    let busiest = percent(*authors.values().max().unwrap(), count);
    assert!(authors.len() > 1_500 && (0.3..6.0).contains(&busiest), "{} {busiest}", authors.len());

    let asked = self::simulator("languages=de:3+ja:1,spam=0.5,duplicates=0,deletes=0,malformed=0");
    let items: Vec<_> = (0..4_000).map(|n| asked.describe(n)).collect();
    let german = items.iter().filter(|item| item.language == "de").count();
    assert!((percent(german, 4_000) - 75.0).abs() < 4.0);
    let spam = items.iter().filter(|item| item.kind == Kind::Spam).count();
    assert!((percent(spam, 4_000) - 50.0).abs() < 4.0);
}

/// So that a chart of it is alive: over an hour, the share of good posts in a minute goes up and
/// down by more than chance.
#[test]
fn the_mood_changes_over_time() {
    let simulator = simulator("burst=1");
    let minute = 3_000;
    let shares: Vec<f64> = (0..60)
        .map(|index| {
            let items = (index * minute..(index + 1) * minute).step_by(5);
            let good = items.filter(|n| simulator.describe(*n).mood == Mood::Positive).count();
            percent(good, minute / 5)
        })
        .collect();
    let (low, high) = shares.iter().fold((100.0_f64, 0.0_f64), |(l, h), s| (l.min(*s), h.max(*s)));
    assert!(low > 5.0 && high < 90.0 && high - low > 20.0, "{low} {high}");
}

#[test]
fn the_cid_is_that_of_the_record() {
    let simulator = simulator("start=2026-07-04T14:38:08Z");
    let mut checked = 0;
    for n in 0..300 {
        let described = simulator.describe(n);
        if described.kind != Kind::Post || described.reply_to.is_some() {
            continue;
        }
        let payload = json(&post(&simulator, n).payload);
        let langs: Vec<_> = payload["langs"].as_array().cloned().unwrap_or_default();
        let mut record = vec![
            ("$type", Value::Text("app.bsky.feed.post")),
            ("text", Value::Text(payload["text"].as_str().unwrap())),
            ("createdAt", Value::Text(payload["created_at"].as_str().unwrap())),
        ];
        if !langs.is_empty() {
            let langs = langs.iter().map(|lang| Value::Text(lang.as_str().unwrap()));
            record.push(("langs", Value::Array(langs.collect())));
        }
        let cid = Cid::of(Codec::Drisl, &Value::Map(record).encode().unwrap());
        assert_eq!(payload["cid"], cid.to_string());
        checked += 1;
    }
    assert!(checked > 150, "{checked}");
}

#[test]
fn payloads_have_their_keys_in_order_and_their_addresses_in_form() {
    let simulator = simulator("");
    let mut uris = HashSet::new();
    for n in (0..500).filter(|n| simulator.describe(*n).kind == Kind::Post) {
        let post = post(&simulator, n);
        let text = String::from_utf8(post.payload.to_vec()).unwrap();
        let place = |key: &str| text.find(&format!("\"{key}\":")).unwrap();
        let keys = ["uri", "cid", "author", "text", "created_at", "timestamp"];
        assert!(keys.windows(2).all(|pair| place(pair[0]) < place(pair[1])), "{text}");
        let payload = json(&post.payload);
        let uri = payload["uri"].as_str().unwrap();
        let parsed = RecordUri::parse(uri).unwrap();
        assert_eq!(payload["author"], parsed.did.as_str());
        // What is known without a scan is what a scan finds.
        assert_eq!(post.document, Document::parse(post.payload.clone()).ok());
        assert!(uris.insert(uri.to_owned()), "{uri} stands twice");
        assert_eq!(post.id.as_str(), format!("{uri}:{}", payload["cid"].as_str().unwrap()));
    }
}

#[test]
fn items_that_refer_to_earlier_ones_do() {
    let simulator = simulator("duplicates=0.1,deletes=0.1,start=2026-07-04T14:38:08Z");
    let (mut duplicates, mut deletes, mut replies) = (0, 0, 0);
    for n in 0..1_000 {
        let described = simulator.describe(n);
        match described.kind {
            Kind::Duplicate { of } => {
                assert!(of < n);
                let (again, first) = (simulator.item(n, NOW), simulator.item(of, NOW));
                let position = format!("{} ", again.position);
                assert_eq!(
                    shown(&again).replacen(&position, "", 1),
                    shown(&first).split_once(' ').unwrap().1
                );
                duplicates += 1;
            }
            Kind::Delete { of } => {
                let payload = json(&event(&simulator, n).payload);
                assert_eq!(payload["uri"], json(&post(&simulator, of).payload)["uri"]);
                assert_eq!(payload["kind"], "delete");
                deletes += 1;
            }
            _ => {}
        }
        if let (Kind::Post, Some(answered)) = (described.kind, described.reply_to) {
            let payload = json(&post(&simulator, n).payload);
            assert_eq!(payload["reply_parent"], json(&post(&simulator, answered).payload)["uri"]);
            assert_eq!(described.language, simulator.describe(answered).language);
            replies += 1;
        }
    }
    assert!(duplicates > 50 && deletes > 50 && replies > 80, "{duplicates} {deletes} {replies}");
}

/// Every fault is what it says, and is found out by a look at the payload.
#[test]
fn malformed_items_are_malformed() {
    let simulator = simulator("malformed=1,duplicates=0,deletes=0");
    let mut faults = HashSet::new();
    let mut ids = HashSet::new();
    for n in 0..400 {
        let Kind::Malformed { fault } = simulator.describe(n).kind else { panic!() };
        faults.insert(fault);
        match simulator.item(n, NOW).content {
            Content::Post(post) => {
                let has_text = |document: Document| {
                    document.get("text").is_some_and(|text| text.as_str().is_some())
                };
                assert!(!Document::parse(post.payload).is_ok_and(has_text), "{fault:?} {n}");
                assert!(ids.insert(post.id));
            }
            Content::Dead { original, cut_from, cause, .. } => {
                assert_eq!((original.len(), cause.kind.as_str()), (64 * 1024, "too_large"));
                assert!(cut_from.unwrap().0 > 1024 * 1024);
            }
            other => panic!("{other:?}"),
        }
    }
    assert_eq!(faults.len(), 9);
}

#[tokio::test(start_paused = true)]
async fn items_come_at_the_rate_of_the_settings_or_of_the_options() {
    for (spec, rate, expected) in [
        ("simulator:rate=20,burst=1", None, 20.0),
        ("simulator:rate=20,burst=1", Some(200.0), 200.0),
    ] {
        let mut source = open(
            &SourceSpec::parse(spec).unwrap(),
            &OpenOptions { rate, ..OpenOptions::default() },
        )
        .unwrap();
        let start = tokio::time::Instant::now();
        let mut items = 0;
        while start.elapsed() < Duration::from_secs(30) {
            items += source.next(1_000).await.unwrap().unwrap().len();
        }
        let per_second = f64::from(u32::try_from(items).unwrap()) / 30.0;
        assert!((per_second - expected).abs() < expected * 0.05, "{per_second}");
    }
}

#[test]
fn the_mix_is_the_one_that_was_asked_for() {
    let settings = "languages=en,sentiments=negative:3+positive:1,topics=sports+music,spam=0,\
                    malformed=0,duplicates=0,deletes=0,oversize=0.1";
    let simulator = simulator(settings);
    let items: Vec<_> = (0..4_000).map(|n| simulator.describe(n)).collect();
    let share =
        |wanted: &dyn Fn(&&Described) -> bool| percent(items.iter().filter(wanted).count(), 4_000);
    let oversize = share(&|item| matches!(item.kind, Kind::Malformed { fault: Fault::TooLong }));
    assert!((8.0..12.0).contains(&oversize), "{oversize}");
    assert_eq!(oversize + share(&|item| item.kind == Kind::Post), 100.0);
    let negative = share(&|item| item.mood == Mood::Negative);
    assert!((72.0..78.0).contains(&negative), "{negative}");
    assert_eq!(share(&|item| item.mood == Mood::Neutral), 0.0);
    let sports = share(&|item| item.topic == "sports");
    assert!((46.0..54.0).contains(&sports), "{sports}");
    assert_eq!(sports + share(&|item| item.topic == "music"), 100.0);
    assert_eq!(share(&|item| item.language == "en"), 100.0);
}
