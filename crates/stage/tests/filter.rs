//! The stage `filter`: rule by rule.

#![expect(clippy::unwrap_used, clippy::panic, reason = "tests")]

use serde_json::{Value, json};
use wingbeat_record::{Record, Subject};
use wingbeat_stage::{Action, FilterSettings, Item, Settings, Stage, Verdict, catalogue};

struct Stages(Vec<Box<dyn Stage>>);

impl Stages {
    fn new(change: impl FnOnce(&mut FilterSettings)) -> Self {
        let mut settings = Settings::default();
        change(&mut settings.filter);
        Self(["post", "filter"].map(|name| catalogue::stage(name, &settings).unwrap()).into())
    }

    fn run(&self, post: &Value) -> Item {
        let record = Record::new(Subject::new("s").unwrap(), post.to_string().into_bytes());
        let mut item = Item::new(record);
        for stage in &self.0 {
            stage.run(&mut [&mut item]);
        }
        item
    }

    /// `-` where the post passes untouched, `tag:...` where it passes, else why it is left out.
    fn say(&self, post: &Value) -> String {
        let item = self.run(post);
        match (item.verdict(), item.tags()) {
            (None, None) => "-".to_owned(),
            (None, Some(tags)) => format!("tag:{tags}"),
            (Some(Verdict::Filtered(reason)), _) => reason.to_string(),
            (other, _) => panic!("{other:?}"),
        }
    }

    fn text(&self, text: &str) -> String {
        self.say(&json!({ "text": text, "author": "did:plc:a" }))
    }
}

#[test]
fn lengths_are_counted_in_characters_with_both_bounds_allowed() {
    let stages = Stages::new(|_| {});
    for (text, said) in [
        ("", "no_text"),
        ("   \n", "no_text"),
        ("a bc def!", "too_short"),
        ("a bc def g", "-"),
        ("  日本語で九文字!  ", "too_short"),
        ("日本語で十文字です!", "-"),
    ] {
        assert_eq!(stages.text(text), said, "{text:?}");
    }
    let words = "lorem ipsu ".repeat(100);
    assert_eq!(stages.text(&words[..1000]), "-");
    assert_eq!(stages.text(&format!("{words}{words}")), "too_long");
}

#[test]
fn a_rule_drops_or_tags_or_is_not_asked() {
    let shout = "BUY THIS THING RIGHT NOW PEOPLE";
    assert_eq!(Stages::new(|_| {}).text(shout), "tag:content_filtered");
    assert_eq!(Stages::new(|s| s.content = Action::Drop).text(shout), "content_filtered");
    assert_eq!(Stages::new(|s| s.content = Action::Off).text(shout), "-");
    let off = Stages::new(|s| {
        s.enabled = false;
        s.content = Action::Drop;
    });
    assert_eq!((off.text(shout), off.text("")), ("-".to_owned(), "-".to_owned()));
}

#[test]
fn the_patterns_of_the_replaced_service_are_found() {
    let stages = Stages::new(|_| {});
    for text in [
        "look here BIT.LY/abc please",
        "look at https://tinyurl.com/abc",
        "we go 🚀 to the\nMOON together",
        "💎 and strong hands",
        "Buy it NOW, a limited offer, little time",
    ] {
        assert_eq!(stages.text(text), "tag:spam_detected", "{text}");
    }
    assert_eq!(stages.text("the moon is bright tonight"), "-");
    let mut settings = Settings::default();
    settings.filter.spam_patterns = vec!["(".to_owned()];
    let error = catalogue::stage("filter", &settings).err().unwrap().to_string();
    assert!(error.contains("spam_patterns"), "{error}");
    settings = Settings::default();
    settings.filter.length_min = 2000;
    let error = catalogue::stage("filter", &settings).err().unwrap().to_string();
    assert!(error.contains("length_min"), "{error}");
}

#[test]
fn the_first_declared_language_counts_and_the_text_is_a_check() {
    let stages = Stages::new(|s| s.languages = vec!["en".to_owned(), "DE".to_owned()]);
    let english = "I would really like to see the mountains again this year";
    let french = "Je voudrais vraiment revoir les montagnes cette année encore";
    let say = |text: &str, langs: Value| stages.say(&json!({ "text": text, "langs": langs }));
    assert_eq!(say(english, json!(["en-US", "fr"])), "-");
    assert_eq!(say(english, json!(["fr", "en"])), "language_filtered");
    assert_eq!(say(english, json!(null)), "-");
    assert_eq!(say(french, json!(["de"])), "language_filtered");
    assert_eq!(say(french, json!([])), "-");
    let unchecked = Stages::new(|s| {
        s.languages = vec!["de".to_owned()];
        s.language_check = false;
    });
    assert_eq!(unchecked.say(&json!({ "text": french, "langs": ["de"] })), "-");
}

#[test]
fn labels_links_and_mentions_are_looked_at() {
    let stages = Stages::new(|_| {});
    let post = json!({ "text": "a picture for you", "labels": ["porn"] });
    assert_eq!(stages.say(&post), "tag:labelled");
    let post = json!({ "text": "a picture for you", "labels": ["something"] });
    assert_eq!(stages.say(&post), "-");
    assert_eq!(stages.text(&"https://x.example ".repeat(5)), "tag:link_density");
    assert_eq!(stages.text(&"@a.example ".repeat(7)), "tag:mention_density");
    let both = format!("{} and bit.ly/x", "https://x.example ".repeat(5));
    assert_eq!(stages.text(&both), "tag:spam_detected,link_density");
}

#[test]
fn the_same_words_again_and_again_are_noticed_by_author_and_across_authors() {
    let stages = Stages::new(|s| s.repeat_authors_max = 5);
    let say = |author: usize, text: &str| {
        stages.say(&json!({ "text": text, "author": format!("did:plc:{author}") }))
    };
    let text = |n: usize| format!("@friend{n} you must really see this, number {n}!");
    let by_one: Vec<String> = (0..5).map(|n| say(1, &text(n))).collect();
    assert_eq!(by_one, ["-", "-", "-", "tag:repeated", "tag:repeated"]);
    let by_many: Vec<String> = (2..8).map(|n| say(n, &text(n))).collect();
    assert_eq!(by_many, ["-", "-", "-", "-", "tag:repeated", "tag:repeated"]);
    assert_eq!(say(1, "something else altogether"), "-");
    // Short ones repeat by chance.
    assert!((0..10).all(|_| say(1, "good night") == "-"));
}
