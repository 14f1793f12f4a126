"""What `study.context` trains on words with those before them: pairs of segments, their states, both classifiers."""

from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple

import numpy as np
import pandas
import torch
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import f1_score
from sklearn.preprocessing import normalize
from torch import nn
from torch.nn.functional import cross_entropy, scaled_dot_product_attention
from torch.nn.utils.rnn import pad_sequence
from transformers import AutoModel, AutoTokenizer, get_linear_schedule_with_warmup

from processing.corpora.readers.meld import LABELS

ENCODER = "encoders/text"
TUNED_LAYERS = 2
LENGTH = 64  # tokens of a pair, unless the current utterance has more
BATCH = 16
REGULARISATION = (1.0, 3.0, 10.0, 30.0)
ANSWERED = ("held_out", "dev")
NAMELESS, ALONE, BESIDE, LAST, FIRST = "words", "name and words", "vectors beside", "pair", "pair, current first"


class Words(NamedTuple):
    """Token ids of an utterance with its context, the segment of each (0 or 1), and which are its own."""

    ids: list[int]
    segments: list[int]
    own: list[bool]


def before(table: pandas.DataFrame, utterances: int) -> list[list[int]]:
    """Positions of the utterances before each row in its dialogue, the oldest first."""
    counts = table.groupby("dialogue").cumcount().clip(upper=utterances)
    return [list(range(row - count, row)) for row, count in enumerate(counts)]


def pair(line: Sequence[int], context: Sequence[int], tokenizer: Any, current_first: bool = False) -> Words:
    """The tokens of an utterance after (or before) those of its context, which loses its oldest ones."""
    room = max(0, LENGTH - len(line) - 3)
    own = [*line, tokenizer.sep_token_id]
    others = [*context[max(0, len(context) - room) :], tokenizer.sep_token_id] if context else []
    halves = [(own, True), (others, False)] if current_first else [(others, False), (own, True)]
    halves = [half for half in halves if half[0]]
    return Words(
        [tokenizer.cls_token_id, *(token for tokens, _ in halves for token in tokens)],
        [0, *(segment for segment, (tokens, _) in enumerate(halves) for _ in tokens)],
        [False, *(current for tokens, current in halves for _ in tokens)],
    )


def batches(lengths: np.ndarray, size: int, rng: np.random.Generator | None = None) -> Iterator[np.ndarray]:
    """Rows of about one length each; with `rng`, other ones in another order each time."""
    order = np.argsort(lengths if rng is None else lengths + rng.uniform(0, 8, len(lengths)), kind="stable")
    starts = np.arange(0, len(order), size)
    for start in starts if rng is None else rng.permutation(starts):
        yield order[start : start + size]


def padded(rows: Sequence[Any], kind: torch.dtype = torch.long) -> torch.Tensor:
    return pad_sequence([torch.as_tensor(row).to(kind) for row in rows], batch_first=True)


def lower_states(words: Sequence[Words]) -> list[torch.Tensor]:
    """States of the frozen layers, (tokens, width) each, in half precision."""
    model = AutoModel.from_pretrained(ENCODER, add_pooling_layer=False).eval()
    model.encoder.layer = model.encoder.layer[:-TUNED_LAYERS]
    states: list[Any] = [None] * len(words)
    lengths = np.array([len(each.ids) for each in words])
    for rows in batches(lengths, 64):
        ids, segments = (padded([words[row][k] for row in rows]) for k in (0, 1))
        mask = padded([[1] * lengths[row] for row in rows])
        with torch.no_grad():
            found = model(input_ids=ids, token_type_ids=segments, attention_mask=mask).last_hidden_state
        for row, state in zip(rows, found.half(), strict=True):
            states[row] = state[: lengths[row]].clone()
    return states


class Pass(nn.Module):
    """In place of a model's embeddings: the states of its lower layers as they are."""

    def forward(self, inputs_embeds: torch.Tensor, **unused: Any) -> torch.Tensor:
        return inputs_embeds


class Classifier(nn.Module):
    """The upper layers, the mean over the current tokens, and a linear head."""

    def __init__(self) -> None:
        super().__init__()
        self.encoder = AutoModel.from_pretrained(ENCODER, add_pooling_layer=False)
        *others, self.last = self.encoder.encoder.layer[-TUNED_LAYERS:]
        self.encoder.encoder.layer = nn.ModuleList(others)
        self.encoder.embeddings = Pass()
        self.head = nn.Sequential(nn.Dropout(0.1), nn.Linear(self.encoder.config.hidden_size, len(LABELS)))

    def pooled(self, states: Sequence[torch.Tensor], own: Sequence[Sequence[bool]]) -> torch.Tensor:
        """Lower states (tokens, width) of each utterance to vectors (utterances, width)."""
        mask = padded([[1] * len(state) for state in states])
        hidden = self.encoder(inputs_embeds=padded(states, torch.float32), attention_mask=mask).last_hidden_state
        flags = padded(own, torch.bool)
        current = padded([row[chosen] for row, chosen in zip(hidden, flags, strict=True)], torch.float32)
        weights = padded([[1 / sum(each)] * sum(each) for each in own], torch.float32)
        return (weights[:, :, None] * self._last(current, hidden, mask)).sum(1)

    def _last(self, current: torch.Tensor, hidden: torch.Tensor, mask: torch.Tensor) -> torch.Tensor:
        """The last layer, whose other states nobody reads: the current tokens alone ask."""
        attention = self.last.attention
        projections = (attention.self.query, attention.self.key, attention.self.value)
        query, key, value = (
            projection(states).unflatten(-1, (self.encoder.config.num_attention_heads, -1)).transpose(1, 2)
            for projection, states in zip(projections, (current, hidden, hidden), strict=True)
        )
        dropout = attention.self.dropout.p if self.training else 0.0
        found = scaled_dot_product_attention(
            query, key, value, attn_mask=mask[:, None, None].bool(), dropout_p=dropout
        )
        return self.last.feed_forward_chunk(attention.output(found.transpose(1, 2).flatten(2), current))

    def forward(self, states: Sequence[torch.Tensor], own: Sequence[Sequence[bool]]) -> torch.Tensor:
        """As `pooled`, to logits (utterances, classes)."""
        return self.head(self.pooled(states, own))


class Trials:
    """Trains on the rows of `study.context.read_parts`, and answers for the dialogues held out and for dev."""

    def __init__(self, table: pandas.DataFrame):
        self.table, self.labels = table, table.label.to_numpy()
        self.rows = {part: np.flatnonzero(table.part == part) for part in ("train", *ANSWERED)}
        self.tokenizer = AutoTokenizer.from_pretrained(ENCODER)
        self.known: dict[tuple[str, int], tuple[list[Words], list[torch.Tensor]]] = {}

    def words(self, form: str, utterances: int) -> list[Words]:
        """The tokens of all rows in a form, each with that many utterances before it."""
        lines = self.table.Utterance if form == NAMELESS else self.table.line
        ids = self.tokenizer(list(lines), add_special_tokens=False)["input_ids"]
        contexts = [[token for row in rows for token in ids[row]] for rows in before(self.table, utterances)]
        pairs = zip(ids, contexts, strict=True)
        return [pair(line, context, self.tokenizer, form == FIRST) for line, context in pairs]

    def encoded(self, form: str, utterances: int) -> tuple[list[Words], list[torch.Tensor]]:
        if (form, utterances) not in self.known:
            words = self.words(form, utterances)
            self.known[form, utterances] = words, lower_states(words)
        return self.known[form, utterances]

    def frozen(self, form: str, utterances: int) -> dict[str, Any]:
        """Logistic regression on sentence vectors, with the regularisation that is best on the dialogues held out."""
        if form == BESIDE:
            alone = self._vectors(ALONE, 0)
            others = np.zeros((len(alone), utterances, alone.shape[1]), np.float32)
            for row, positions in enumerate(before(self.table, utterances)):
                others[row, utterances - len(positions) :] = alone[positions]
            vectors = np.hstack([alone, others.reshape(len(alone), -1)])
        else:
            vectors = self._vectors(form, utterances)
        tried = []
        for strength in REGULARISATION:
            head = LogisticRegression(C=strength, max_iter=1000)
            head.fit(vectors[self.rows["train"]], self.labels[self.rows["train"]])
            answers = {part: head.predict(vectors[self.rows[part]]) for part in ANSWERED}
            tried.append({"setting": strength} | self._scored(answers))
        return max(tried, key=lambda line: line["held_out"])

    def _vectors(self, form: str, utterances: int) -> np.ndarray:
        words, states = self.encoded(form, utterances)
        model, vectors = Classifier().eval(), np.empty((len(words), states[0].shape[1]), np.float32)
        with torch.no_grad():
            for rows in batches(np.array([len(each.ids) for each in words]), 64):
                vectors[rows] = model.pooled([states[row] for row in rows], [words[row].own for row in rows]).numpy()
        return normalize(vectors)

    def tuned(self, form: str, utterances: int, seed: int, rate: float) -> dict[str, Any]:
        """The upper layers and a head, once over the training dialogues."""
        words, states = self.encoded(form, utterances)
        lengths = np.array([len(each.ids) for each in words])
        torch.manual_seed(seed)
        model, train = Classifier().train(), self.rows["train"]
        optimizer = torch.optim.AdamW(model.parameters(), lr=rate, weight_decay=0.01)
        steps = -(-len(train) // BATCH)
        schedule = get_linear_schedule_with_warmup(optimizer, steps // 10, steps)
        for chosen in batches(lengths[train], BATCH, np.random.default_rng(seed)):
            rows = train[chosen]
            logits = model([states[row] for row in rows], [words[row].own for row in rows])
            cross_entropy(logits, torch.as_tensor(self.labels[rows])).backward()
            nn.utils.clip_grad_norm_(model.parameters(), 1.0)
            optimizer.step()
            schedule.step()
            optimizer.zero_grad()
        model.eval()
        answers = {part: np.empty(len(self.rows[part]), int) for part in ANSWERED}
        with torch.no_grad():
            for part, found in answers.items():
                for chosen in batches(lengths[self.rows[part]], 64):
                    rows = self.rows[part][chosen]
                    logits = model([states[row] for row in rows], [words[row].own for row in rows])
                    found[chosen] = logits.argmax(1).numpy()
        return self._scored(answers)

    def _scored(self, answers: dict[str, np.ndarray]) -> dict[str, Any]:
        """Weighted F1 of both parts, and the answers for dev, a digit each."""
        scores = {
            part: round(float(f1_score(self.labels[self.rows[part]], found, average="weighted")), 4)
            for part, found in answers.items()
        }
        return scores | {"answers": "".join(map(str, answers["dev"]))}
