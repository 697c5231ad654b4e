//! Classifiers: a text's sentiment, or its topics.

use super::{ModelFolder, folder::Opened, labels};
use crate::{
    ModelError, Sentiment, Topics,
    encoder::{EncoderOptions, Engine, OutputSpec},
    labels::{keep, sigmoid, to_probabilities},
};

/// The output of every classifier that Hugging Face's libraries export.
const OUTPUT: &str = "logits";

/// What a classifier is to say.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Task {
    /// Negative, neutral or positive.
    Sentiment,
    /// What a text is about.
    Topics,
}

/// What a classifier says of a text.
#[derive(Debug, Clone, PartialEq)]
pub enum Said {
    /// With [`Task::Sentiment`].
    Sentiment(Sentiment),
    /// With [`Task::Topics`].
    Topics(Topics),
}

/// A classifier that is loaded, and the threads that run it.
#[derive(Debug)]
pub struct Classifier {
    engine: Engine,
    meaning: Meaning,
    /// Whether each label has a probability of its own, instead of a part of 1.
    is_multi_label: bool,
}

/// What the outputs stand for.
#[derive(Debug)]
enum Meaning {
    /// Sentiments, as places in [`Sentiment::LABELS`].
    Sentiments(Vec<usize>),
    /// Topics of these names.
    Topics(&'static [&'static str]),
}

impl Classifier {
    /// Loads a classifier for this task, tries it, and starts its threads.
    ///
    /// # Errors
    ///
    /// When a file is missing, damaged, or does not fit the others, the task or this program; the
    /// error names it and says what to do.
    pub fn load(
        folder: &ModelFolder,
        task: Task,
        options: EncoderOptions,
    ) -> Result<Self, ModelError> {
        let opened = folder.open()?;
        let labels = labels_of(&opened)?;
        let meaning = match task {
            Task::Sentiment => Meaning::Sentiments(
                labels::sentiments(&labels).map_err(|problem| opened.wrong_config(problem))?,
            ),
            Task::Topics => Meaning::Topics(keep(&labels)),
        };
        let says =
            opened.config.is_multi_label().map_err(|problem| opened.wrong_config(problem))?;
        let known = opened.preset.and_then(|preset| preset.is_multi_label);
        let engine = opened.start(OutputSpec::row(OUTPUT, labels.len()), options)?;
        Ok(Self { engine, meaning, is_multi_label: known.unwrap_or(says) })
    }

    /// Reads texts. The answers come in their order; what is wrong with one text does not touch the
    /// others. Waits for the threads that compute.
    pub fn read<'a>(
        &self,
        texts: impl IntoIterator<Item = &'a str>,
    ) -> Vec<Result<Said, ModelError>> {
        let said = |rows: Vec<Vec<f32>>| self.said(rows.into_iter().next().unwrap_or_default());
        self.engine.run(texts).into_iter().map(|answer| answer.map(said)).collect()
    }

    /// What runs it, for people.
    pub fn runtime(&self) -> &'static str {
        self.engine.runtime()
    }

    /// Why a faster runtime does not run it, where one was passed over.
    pub fn passed_over(&self) -> Option<&str> {
        self.engine.passed_over()
    }

    /// The names of the topics; none where it does not say topics.
    pub fn topics(&self) -> &'static [&'static str] {
        match self.meaning {
            Meaning::Sentiments(_) => &[],
            Meaning::Topics(labels) => labels,
        }
    }

    fn said(&self, logits: Vec<f32>) -> Said {
        let mut scores = logits;
        if self.is_multi_label {
            scores.iter_mut().for_each(|score| *score = sigmoid(*score));
        } else {
            to_probabilities(&mut scores);
        }
        match &self.meaning {
            Meaning::Topics(labels) => Said::Topics(Topics::new(labels, scores)),
            Meaning::Sentiments(places) => Said::Sentiment(sentiment(places, &scores)),
        }
    }
}

/// The sentiment that the scores of labels mean, which stand for these places. Several labels may
/// stand for one, and none for neutral. Where the scores are independent they are brought to a sum
/// of 1.
fn sentiment(places: &[usize], scores: &[f32]) -> Sentiment {
    let mut sums = [0.0; Sentiment::LABELS.len()];
    for (place, score) in places.iter().zip(scores) {
        if let Some(sum) = sums.get_mut(*place) {
            *sum += score;
        }
    }
    // No logit is so low that its sigmoid is 0 for all; if it were, nothing is said.
    let total: f32 = sums.iter().sum();
    let [negative, neutral, positive] =
        if total > 0.0 { sums.map(|sum| sum / total) } else { [0.0, 1.0, 0.0] };
    Sentiment { negative, neutral, positive }
}

fn labels_of(opened: &Opened) -> Result<Vec<String>, ModelError> {
    let labels = opened.config.labels().map_err(|problem| opened.wrong_config(problem))?;
    let known = opened.preset.map(|preset| preset.labels).unwrap_or_default();
    if labels::are_nameless(&labels) && known.len() == labels.len() {
        return Ok(known.iter().map(|label| (*label).to_owned()).collect());
    }
    Ok(labels)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn labels_that_stand_for_the_same_add_up() {
        let stars = sentiment(&[0, 0, 1, 2, 2], &[0.1, 0.2, 0.3, 0.15, 0.25]);
        for (found, expected) in stars.probabilities().into_iter().zip([0.3, 0.3, 0.4]) {
            assert!((found - expected).abs() < 1e-6);
        }
        let two = sentiment(&[2, 0], &[0.9, 0.1]);
        assert_eq!(two, Sentiment { negative: 0.1, neutral: 0.0, positive: 0.9 });
        let independent = sentiment(&[0, 2], &[0.6, 0.6]);
        assert_eq!(independent.probabilities(), [0.5, 0.0, 0.5]);
        assert_eq!(sentiment(&[0, 2], &[0.0, 0.0]).top().0, "neutral");
    }
}
