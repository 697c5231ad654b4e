//! What is known of models that do not say it themselves, each with its source.

use crate::{Sentiment, TOPIC_LABELS, encoder::Rule};

/// What is known of some models.
#[derive(Debug, PartialEq)]
pub(super) struct Preset {
    /// Their names.
    repos: &'static [&'static str],
    /// The file that is taken; `None`: the first of the usual ones that is there.
    pub(super) file: Option<&'static str>,
    /// What the outputs stand for, where the model has nothing but `LABEL_0` and so on.
    pub(super) labels: &'static [&'static str],
    /// Whether each label stands for itself; `None`: the model says.
    pub(super) is_multi_label: Option<bool>,
    /// What is done to a text: name, pattern, what stands in its place.
    rules: &'static [(&'static str, &'static str, &'static str)],
}

/// A name of a user, with the character before it: a handle has dots and hyphens in it.
const MENTION: &str = r"(^|[^\w@.])@\w(?:[\w.-]*\w)?";
/// A link.
const LINK: &str = r"\bhttps?://\S*";

/// How CardiffNLP's models of sentiment were trained: names became `@user`, links `http`
/// (<https://huggingface.co/cardiffnlp/twitter-roberta-base-sentiment>, `preprocess`).
const TWEET_EVAL: &[(&str, &str, &str)] =
    &[("mentions", MENTION, "${1}@user"), ("links", LINK, "http")];
/// How TweetTopic was written: names of users became `{{USERNAME}}`, links `{{URL}}`
/// (<https://huggingface.co/datasets/cardiffnlp/tweet_topic_multi>).
const TWEET_TOPIC: &[(&str, &str, &str)] =
    &[("mentions", MENTION, "${1}{{USERNAME}}"), ("links", LINK, "{{URL}}")];

const PRESETS: &[Preset] = &[
    // The labels: the same page as the text's preparation. The file: what the replaced processors
    // took.
    Preset {
        repos: &[
            "onnx-community/twitter-roberta-base-sentiment-ONNX",
            "cardiffnlp/twitter-roberta-base-sentiment",
        ],
        file: Some("onnx/model_int8.onnx"),
        labels: &Sentiment::LABELS,
        is_multi_label: Some(false),
        rules: TWEET_EVAL,
    },
    // <https://huggingface.co/cardiffnlp/twitter-roberta-base-sentiment-latest>,
    // <https://huggingface.co/cardiffnlp/twitter-xlm-roberta-base-sentiment>
    Preset {
        repos: &[
            "cardiffnlp/twitter-roberta-base-sentiment-latest",
            "Xenova/twitter-roberta-base-sentiment-latest",
            "cardiffnlp/twitter-xlm-roberta-base-sentiment",
            "cardiffnlp/twitter-xlm-roberta-base-sentiment-multilingual",
        ],
        file: None,
        labels: &Sentiment::LABELS,
        is_multi_label: Some(false),
        rules: TWEET_EVAL,
    },
    // <https://huggingface.co/cardiffnlp/tweet-topic-21-multi>, of which the first is an export.
    Preset {
        repos: &["richardr1126/tweet-topic-21-multi-ONNX", "cardiffnlp/tweet-topic-21-multi"],
        file: Some("model_quantized.onnx"),
        labels: &TOPIC_LABELS,
        is_multi_label: Some(true),
        rules: TWEET_TOPIC,
    },
    // Its int8 exports are for one kind of processor each and round each tensor as a whole, which
    // costs much of an embedding.
    Preset {
        repos: &["sentence-transformers/all-MiniLM-L6-v2"],
        file: Some("onnx/model.onnx"),
        labels: &[],
        is_multi_label: None,
        rules: &[],
    },
];

impl Preset {
    /// What is known of a model of this name, if anything is.
    pub(super) fn find(repo: &str) -> Option<&'static Self> {
        PRESETS.iter().find(|preset| preset.repos.contains(&repo))
    }

    /// What is done to a text before it is cut into tokens.
    pub(super) fn rules(&self) -> Vec<Rule> {
        let rule = |(name, pattern, replace): &(&str, &str, &str)| Rule {
            name: (*name).to_owned(),
            pattern: (*pattern).to_owned(),
            replace: (*replace).to_owned(),
        };
        self.rules.iter().map(rule).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::encoder::Cleaner;

    #[test]
    fn texts_are_written_as_each_model_was_trained() {
        let text = "@ann.bsky.social see https://a.example/b?c (@bob) a@b.c http";
        for (repo, expected) in [
            (
                "onnx-community/twitter-roberta-base-sentiment-ONNX",
                "@user see http (@user) a@b.c http",
            ),
            (
                "richardr1126/tweet-topic-21-multi-ONNX",
                "{{USERNAME}} see {{URL}} ({{USERNAME}}) a@b.c http",
            ),
            ("sentence-transformers/all-MiniLM-L6-v2", text),
        ] {
            let rules = Preset::find(repo).unwrap().rules();
            assert_eq!(Cleaner::new("preset", &rules).unwrap().clean(text), expected);
        }
        assert_eq!(Preset::find("somebody/else"), None);
    }
}
