"""Writes the files that the program embeds: encoder.onnx, tokenizer.json, encoder.json."""

import hashlib
import json
from pathlib import Path

import graph
import texts
from network import SENTIMENTS, TOPICS, Network


def parts(network: Network, kept: list[int]) -> tuple[dict, dict]:
    """The weights, by the names that the graph knows, and its settings. `kept`: the words that stay."""
    weights = {name: value.detach().numpy() for name, value in network.state_dict().items()}
    words = "encoder.embeddings.word_embeddings.weight"
    positions = "encoder.embeddings.position_embeddings.weight"
    weights[words], weights[positions] = weights[words][kept], weights[positions][: texts.LENGTH_MAX]
    settings = network.encoder.config
    config = {
        "heads": settings.num_attention_heads,
        "layers": settings.num_hidden_layers,
        "epsilon": settings.layer_norm_eps,
    }
    return {name.removeprefix("encoder.").removeprefix("encoder."): value for name, value in weights.items()}, config


def write(network: Network, tokenizer: str, kept: list[int], blend: dict, out: Path, exact: Path):
    """Writes the files to `out`, and the float model to `exact`. `blend`: what is said of the heads."""
    path = out / "encoder.onnx"
    graph.write(*parts(network, kept), path, exact)
    (out / "tokenizer.json").write_text(tokenizer)
    about = {
        "version": 1,
        "base": {"model": "sentence-transformers/all-MiniLM-L6-v2", "licence": "Apache-2.0"},
        "onnx": {
            "opset": graph.OPSET,
            "sha256": hashlib.sha256(path.read_bytes()).hexdigest(),
            "bytes": path.stat().st_size,
        },
        "tokenizer": {"sha256": hashlib.sha256(tokenizer.encode()).hexdigest()},
        "length_max": texts.LENGTH_MAX,
        "normalisation": texts.RULES,
        "embedding": {"size": network.encoder.config.hidden_size},
        "sentiment": {"labels": SENTIMENTS, **blend["sentiment"]},
        "topics": {"labels": TOPICS, **blend["topics"]},
    }
    (out / "encoder.json").write_text(json.dumps(about, indent=2, ensure_ascii=False) + "\n")
