//! Each family, beside plain arithmetic, on every level that the machine has.

use wingbeat_transformer::{Level, Model, Part, Workspace};

use crate::{
    made::{HIDDEN, INNER, LABELS, LAYERS, Made, POSITIONS, VOCABULARY},
    plain::{Plain, cosine},
};

/// Texts of all lengths up to this, more than go through the layers at once.
fn texts(longest: usize) -> Vec<Vec<u32>> {
    let id = |n: usize| u32::try_from((n * n + 7 * n) % VOCABULARY).unwrap();
    (0..60).map(|n| (0..n * 13 % longest + 1).map(|at| id(n * 31 + at)).collect()).collect()
}

fn levels() -> Vec<Level> {
    Level::available().collect()
}

fn rows(model: &Model, texts: &[Vec<u32>]) -> Vec<Vec<f32>> {
    let mut work = Workspace::default();
    model.run(&mut work, texts.iter().map(Vec::as_slice)).unwrap();
    let (_, width) = model.outputs().next().unwrap();
    work.rows(0).chunks_exact(width).map(<[f32]>::to_vec).collect()
}

#[test]
fn the_embedding_of_a_bert_is_that_of_floats() {
    let made = Made::bert();
    let texts = texts(POSITIONS);
    let plain = Plain { config: &made.config, tensors: &made.tensors };
    for level in levels() {
        let model = Model::from_safetensors(&made.config(), &made.weights(), level).unwrap();
        assert_eq!(model.level(), level);
        assert_eq!(model.outputs().collect::<Vec<_>>(), [("mean", HIDDEN), ("first", HIDDEN)]);
        assert_eq!((model.length_max(), model.vocabulary()), (POSITIONS, VOCABULARY));
        for (ids, found) in texts.iter().zip(rows(&model, &texts)) {
            let cosine = cosine(&found, &plain.mean(ids));
            assert!(cosine > 0.999, "{}: {cosine} for {} tokens", level.name(), ids.len());
            let length = found.iter().map(|x| x * x).sum::<f32>();
            assert!((length - 1.0).abs() < 1e-5);
        }
        let mut work = Workspace::default();
        model.run(&mut work, texts.iter().map(Vec::as_slice)).unwrap();
        for (ids, first) in texts.iter().zip(work.rows(1).chunks_exact(HIDDEN)) {
            assert!(cosine(first, &plain.states(ids)[..HIDDEN]) > 0.995);
        }
    }
}

#[test]
fn the_logits_of_classifiers_are_those_of_floats() {
    let bert = ("pooler.dense", "classifier");
    let roberta = ("classifier.dense", "classifier.out_proj");
    for (made, longest, (dense, labels)) in [
        (Made::bert_classifier(), POSITIONS, bert),
        (Made::roberta("roberta"), POSITIONS - 2, roberta),
        (Made::roberta("xlm-roberta"), POSITIONS - 2, roberta),
    ] {
        let mut texts = texts(longest);
        // With RoBERTa's padding, as a text that names it.
        texts.push(vec![5, 1, 9, 1, 7, 30, 1]);
        let plain = Plain { config: &made.config, tensors: &made.tensors };
        for level in levels() {
            let model = Model::from_safetensors(&made.config(), &made.weights(), level).unwrap();
            assert_eq!(model.outputs().collect::<Vec<_>>(), [("logits", LABELS)]);
            assert_eq!(model.length_max(), longest);
            for (ids, found) in texts.iter().zip(rows(&model, &texts)) {
                for (found, expected) in found.iter().zip(plain.logits(ids, dense, labels)) {
                    assert!((found - expected).abs() < 0.15, "{found} {expected}");
                }
            }
        }
    }
}

#[test]
fn a_text_gets_the_same_alone_and_among_others() {
    let made = Made::roberta("roberta");
    let texts = texts(POSITIONS - 2);
    for level in levels() {
        let model = Model::from_safetensors(&made.config(), &made.weights(), level).unwrap();
        let together = rows(&model, &texts);
        assert_eq!(together.len(), texts.len());
        for (text, row) in texts.iter().zip(&together) {
            assert_eq!(rows(&model, std::slice::from_ref(text))[0], *row, "{}", level.name());
        }
    }
}

#[test]
fn a_profile_has_the_time_of_every_part_and_changes_nothing() {
    let made = Made::bert_classifier();
    let model =
        Model::from_safetensors(&made.config(), &made.weights(), Level::chosen().unwrap()).unwrap();
    let (texts, mut work) = (texts(POSITIONS), Workspace::default());
    let profile = model.profile(&mut work, texts.iter().map(Vec::as_slice)).unwrap();
    assert!(Part::ALL.iter().all(|part| !profile.time(*part).is_zero()), "{profile:?}");
    assert_eq!(profile.total(), Part::ALL.iter().map(|part| profile.time(*part)).sum());
    assert_eq!(work.rows(0), rows(&model, &texts).concat());
    let sizes = [(Part::Qkv, 3 * HIDDEN * HIDDEN), (Part::Inner, HIDDEN * INNER), (Part::Heads, 0)];
    for (part, size) in sizes {
        assert_eq!(model.operations(part), 2 * LAYERS * size);
    }
    assert!(model.peak() > 0.0);
}
