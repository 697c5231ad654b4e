"""The embeddings of the encoder as it was published: what the trained one must stay close to."""

from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from torch import multiprocessing
from tqdm import tqdm

import network
from texts import pad

# As it was published to be used.
LENGTH_MAX = 256


def _work(rank, world, base, ids, out):
    torch.set_num_threads(1)
    encoder = network.load(base)
    order = np.argsort([len(row) for row in ids], kind="stable")
    mine = [order[at : at + 64] for at in range(0, len(order), 64)][rank::world]
    with torch.inference_mode():
        for rows in tqdm(mine, disable=rank > 0, mininterval=5, desc="teacher"):
            batch, mask = (torch.from_numpy(value) for value in pad([ids[row] for row in rows]))
            states = encoder(input_ids=batch, attention_mask=mask).last_hidden_state
            column = mask.unsqueeze(-1).float()
            out[torch.from_numpy(rows)] = F.normalize((states * column).sum(1) / column.sum(1), dim=-1)


def embeddings(base: Path, ids: list, kept: Path, processes: int) -> torch.Tensor:
    """Mean-pooled and normalised float32 embeddings; computed once, then read from `kept`."""
    if kept.exists():
        return torch.load(kept)
    out = torch.zeros(len(ids), 384).share_memory_()
    multiprocessing.start_processes(_work, (processes, base, ids, out), nprocs=processes, start_method="spawn")
    torch.save(out, kept)
    return out
