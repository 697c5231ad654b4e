//! The models that ship inside the program.

#![expect(clippy::unwrap_used, clippy::print_stderr, reason = "tests")]

use std::{fs::File, io::Read as _, path::PathBuf};

use proptest::prelude::*;
use wingbeat_model::{
    Sentiment,
    linear::{Analyzer, Featuriser},
    measure::Confusion,
};

fn language(text: &str) -> Option<&'static str> {
    let analyzer = Analyzer::embedded().unwrap();
    analyzer.language(&Featuriser::default().features(text)).map(|language| language.code)
}

#[test]
fn the_embedded_weights_fit_the_featuriser() {
    Analyzer::embedded().unwrap();
}

#[test]
fn languages_are_told_apart() {
    for (text, code) in [
        ("The train was late again and nobody told us why.", "en"),
        ("Der Zug kam wieder zu spät und niemand sagte uns warum.", "de"),
        ("Le train était encore en retard et personne n'a dit pourquoi.", "fr"),
        ("El tren llegó tarde otra vez y nadie nos dijo por qué.", "es"),
        ("O trem atrasou de novo e ninguém nos disse por quê.", "pt"),
        ("Поезд опять опоздал, и никто не сказал почему.", "ru"),
        ("Tren yine geç kaldı ve kimse nedenini söylemedi.", "tr"),
        ("القطار تأخر مرة أخرى ولم يخبرنا أحد", "ar"),
        ("電車がまた遅れて、誰も理由を教えてくれなかった。", "ja"),
        ("기차가 또 늦었는데 아무도 이유를 말해주지 않았다", "ko"),
        ("火车又晚点了,没有人告诉我们原因", "zh"),
        ("Το τρένο άργησε πάλι", "el"),
    ] {
        assert_eq!(language(text), Some(code), "{text}");
    }
    for text in ["", "   ", "12345 !!!", "👍👍👍", "@someone https://x.example/a", "\u{0}\u{7}"]
    {
        assert_eq!(language(text), None, "{text:?}");
    }
}

#[test]
fn plain_moods_and_topics_are_found() {
    let analyzer = Analyzer::embedded().unwrap();
    let features = |text: &str| Featuriser::default().features(text);
    let mood = |text: &str| analyzer.sentiment(&features(text)).top().0;
    assert_eq!(mood("I love this so much, what a wonderful day!"), "positive");
    assert_eq!(mood("This is terrible, I hate everything about it."), "negative");
    assert_eq!(mood("The meeting starts at 10 on Monday."), "neutral");
    let topic = |text: &str| analyzer.topics(&features(text)).top().0;
    assert_eq!(topic("What a goal! The team wins the championship again."), "sports");
    assert_eq!(topic("New album out on Friday, listen to the first song now"), "music");
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn i6_any_text_gives_probabilities(text in any::<String>(), times in 1usize..2_000) {
        let analyzer = Analyzer::embedded().unwrap();
        let features = Featuriser::default().features(&text.repeat(times));
        let sum: f32 = analyzer.sentiment(&features).probabilities().iter().sum();
        prop_assert!((sum - 1.0).abs() < 1e-5, "{}", sum);
        let topics = analyzer.topics(&features);
        prop_assert!(topics.scores.iter().all(|score| (0.0..=1.0).contains(score)));
        if let Some(language) = analyzer.language(&features) {
            prop_assert!((0.0..=1.0).contains(&language.confidence));
        }
    }
}

/// The shared data, where they are: beside the project, or where the environment says.
fn shared(path: &str) -> Option<PathBuf> {
    let folder = std::env::var_os("WINGBEAT_SHARED").map_or_else(
        || PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../../../shared"),
        PathBuf::from,
    );
    let path = folder.join(path);
    if path.exists() {
        return Some(path);
    }
    eprintln!("skipped: {} is not there", path.display());
    None
}

#[test]
fn sentiment_of_the_validation_tweets_is_as_good_as_the_card_says() {
    let Some(path) = shared("data/sentiment/semeval_val.tsv.gz") else { return };
    let mut text = String::new();
    flate2::read::GzDecoder::new(File::open(path).unwrap()).read_to_string(&mut text).unwrap();
    let analyzer = Analyzer::embedded().unwrap();
    let mut featuriser = Featuriser::default();
    let mut confusion = Confusion::<3>::default();
    for line in text.lines().skip(1) {
        let (label, text) = line.split_once('\t').unwrap();
        let index = |label: &str| Sentiment::LABELS.iter().position(|l| *l == label).unwrap();
        let found = analyzer.sentiment(&featuriser.features(text)).top().0;
        confusion.add(index(label), index(found));
    }
    assert!(confusion.macro_recall() >= 0.68, "{}", confusion.macro_recall());
    assert!(confusion.recalls().into_iter().all(|recall| recall >= 0.55), "{confusion:?}");
}
