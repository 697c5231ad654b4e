"""The network: the encoder, and the heads on it."""

from pathlib import Path

import torch
from torch import nn
from transformers import BertModel

SENTIMENTS = ["negative", "neutral", "positive"]
TOPICS = [
    "arts_&_culture",
    "business_&_entrepreneurs",
    "celebrity_&_pop_culture",
    "diaries_&_daily_life",
    "family",
    "fashion_&_style",
    "film_tv_&_video",
    "fitness_&_health",
    "food_&_dining",
    "gaming",
    "learning_&_educational",
    "music",
    "news_&_social_concern",
    "other_hobbies",
    "relationships",
    "science_&_technology",
    "sports",
    "travel_&_adventure",
    "youth_&_student_life",
]
# The width of the sentiment head.
DENSE = 128
DROPOUT = 0.2


class Network(nn.Module):
    """all-MiniLM-L6-v2 with heads for sentiment, topics and the embedding.

    Sentiment and topics read the mean of the last states, the first state and a pool whose weights
    are learnt, so that they can differ from what the mean must stay: the embedding.
    """

    def __init__(self, base: Path):
        super().__init__()
        self.encoder = load(base)
        width = self.encoder.config.hidden_size
        self.attention = nn.Linear(width, 1)
        self.sentiment = nn.Sequential(
            nn.Linear(3 * width, DENSE), nn.GELU(), nn.Dropout(DROPOUT), nn.Linear(DENSE, len(SENTIMENTS))
        )
        self.topics = nn.Linear(3 * width, len(TOPICS))
        nn.init.zeros_(self.attention.weight)

    def features(self, ids, mask):
        """What the heads read, [n, 3 * width]; its first part is the mean."""
        states = self.encoder(input_ids=ids, attention_mask=mask).last_hidden_state.float()
        column = mask.unsqueeze(-1).float()
        mean = (states * column).sum(1) / column.sum(1)
        scores = self.attention(states).masked_fill(column == 0, -1e4)
        pool = (states * scores.softmax(1)).sum(1)
        return torch.cat([mean, states[:, 0], pool], -1)

    def mean(self, features):
        """The mean of the last states, of `features`."""
        return features[:, : self.encoder.config.hidden_size]


def load(base: Path) -> BertModel:
    """The encoder as it was published. Eager attention is the fastest for short texts on a CPU."""
    return BertModel.from_pretrained(base, add_pooling_layer=False, attn_implementation="eager").eval()
