//! What is wrong with files or texts is an error that says so.

use serde_json::json;
use wingbeat_transformer::{Error, Level, Model, Workspace};

use crate::made::{HIDDEN, Made, POSITIONS, VOCABULARY};

fn refusal(made: &Made) -> Error {
    Model::from_safetensors(&made.config(), &made.weights(), Level::Portable).err().unwrap()
}

#[test]
fn kinds_that_are_not_run_here_are_told_from_damage() {
    for (field, value, named) in [
        ("model_type", json!("gpt2"), "family `gpt2`"),
        ("hidden_act", json!("relu"), "activation `relu`"),
        ("position_embedding_type", json!("relative_key"), "absolute positions: false"),
        ("is_decoder", json!(true), "decoder: true"),
        ("hidden_size", json!(100), "hidden width 100: it must be a multiple of 64"),
        ("hidden_size", json!(64_000), "hidden width 64000"),
        ("intermediate_size", json!(0), "inner width 0"),
        ("num_attention_heads", json!(3), "3 heads of the width 64"),
        ("num_attention_heads", json!(8), "each must have a multiple of 16"),
        ("num_attention_heads", json!(0), "0 heads"),
        ("num_hidden_layers", json!(0), "0 layers"),
        ("vocab_size", json!(1_u64 << 40), "tokens"),
    ] {
        let mut made = Made::bert();
        made.config[field] = value;
        let error = refusal(&made);
        assert!(error.is_unsupported() && error.to_string().contains(named), "{error}");
    }
}

#[test]
fn a_config_that_can_not_be_read_is_named() {
    let weights = Made::bert().weights();
    for (config, named) in [
        (&b"{"[..], "no JSON"),
        (b"{}", "no `model_type`"),
        (b"[]", "no `model_type`"),
        (br#"{"model_type": "bert"}"#, "hidden_size"),
        (br#"{"model_type": "bert", "hidden_size": -1}"#, "config.json"),
    ] {
        let error = Model::from_safetensors(config, &weights, Level::Portable).err().unwrap();
        assert!(!error.is_unsupported() && error.to_string().contains(named), "{error}");
    }
    let mut made = Made::bert();
    made.config["layer_norm_eps"] = json!(-1.0);
    assert!(refusal(&made).to_string().contains("layer_norm_eps is -1"));
    let mut made = Made::roberta("roberta");
    made.config["pad_token_id"] = json!(u32::MAX);
    assert!(refusal(&made).to_string().contains("no text fits"));
}

#[test]
fn weights_that_do_not_fit_are_named() {
    let name = "encoder.layer.1.output.dense.weight";
    let mut made = Made::bert();
    made.tensors.get_mut(name).unwrap().0.reverse();
    let error = refusal(&made);
    assert!(!error.is_unsupported());
    assert!(error.to_string().contains(name) && error.to_string().contains("[128, 64]"), "{error}");

    let mut made = Made::bert();
    made.tensors.remove(name);
    assert!(refusal(&made).to_string().contains(&format!("no `{name}`")));

    for wrong in [f32::NAN, f32::INFINITY, f32::NEG_INFINITY] {
        for name in
            [name, "embeddings.word_embeddings.weight", "encoder.layer.0.output.LayerNorm.bias"]
        {
            let mut made = Made::bert();
            made.tensors.get_mut(name).unwrap().1[5] = wrong;
            let error = refusal(&made).to_string();
            assert!(error.contains(name) && error.contains("NaN or infinite"), "{error}");
        }
    }

    let mut made = Made::bert_classifier();
    made.tensors.remove("classifier.bias");
    assert!(refusal(&made).to_string().contains("classifier.bias"));
}

#[test]
fn a_cut_file_is_refused() {
    let made = Made::bert();
    let (config, weights) = (made.config(), made.weights());
    for end in [0, 1, 8, 100, weights.len() / 2, weights.len() - 1] {
        let model = Model::from_safetensors(&config, &weights[..end], Level::Portable);
        assert!(model.err().unwrap().to_string().contains("no whole safetensors file"));
    }
}

#[test]
fn texts_that_can_not_be_run_are_named_and_the_shortest_and_longest_are_run() {
    let made = Made::bert();
    let model = Model::from_safetensors(&made.config(), &made.weights(), Level::best()).unwrap();
    let mut work = Workspace::default();
    let last = u32::try_from(VOCABULARY - 1).unwrap();
    let whole = vec![last; POSITIONS];
    for (text, named) in [
        (&[][..], "0 tokens; it must be 1 to 40"),
        (&[1; POSITIONS + 1], "41 tokens"),
        (&[1, last + 1], "there is no token 90, but 0 to 89"),
        (&[u32::MAX], "there is no token 4294967295"),
    ] {
        let error = model.run(&mut work, [&whole[..], text]).unwrap_err();
        assert!(matches!(error, Error::Text { text: 1, .. }));
        assert!(error.to_string().contains(named), "{error}");
        assert!(work.rows(0).is_empty());
    }
    model.run(&mut work, [&[last][..], &whole]).unwrap();
    assert_eq!(work.rows(0).len(), 2 * HIDDEN);
    assert!(work.rows(0).iter().all(|value| value.is_finite()));
    assert!(work.rows(2).is_empty());
    model.run(&mut work, []).unwrap();
    assert!(work.rows(0).is_empty());
}
