"""Words with those before them: what is cut, what is the current utterance's, and how the scores are compared."""

from types import SimpleNamespace

import numpy as np
import pandas
import pytest
import torch
from sklearn.metrics import f1_score
from transformers import BertConfig, BertModel

from processing.corpora.readers.meld import LABELS
from study import context_models
from study.context import summarised
from study.context_models import ALONE, LAST, LENGTH, Classifier, batches, before, lower_states, pair

TOKENS = SimpleNamespace(cls_token_id=101, sep_token_id=102)


def test_what_is_too_long_loses_its_oldest_words_and_the_current_ones_stay_whole():
    words = pair([7, 8], [1, 2, 3], TOKENS)
    assert words.ids == [101, 1, 2, 3, 102, 7, 8, 102]
    assert words.segments == [0, 0, 0, 0, 0, 1, 1, 1]
    assert words.own == [False] * 5 + [True] * 3
    assert pair([7, 8], [1], TOKENS, current_first=True) == (
        [101, 7, 8, 102, 1, 102],
        [0, 0, 0, 0, 1, 1],
        [False, True, True, True, False, False],
    )
    assert pair([7], [], TOKENS) == ([101, 7, 102], [0, 0, 0], [False, True, True])
    line = list(range(200, 240))
    cut = pair(line, list(range(1, 100)), TOKENS)
    assert len(cut.ids) == LENGTH
    assert cut.ids == [101, *range(79, 100), 102, *line, 102]
    assert pair([7] * 100, [1, 2], TOKENS).ids == [101, 102, *[7] * 100, 102]


def test_context_ends_where_the_dialogue_begins():
    table = pandas.DataFrame({"dialogue": ["a", "a", "a", "b", "b"]})
    assert before(table, 2) == [[], [0], [0, 1], [], [3]]
    assert before(table, 0) == [[]] * 5


def test_batches_have_each_row_once():
    lengths = np.random.default_rng(0).integers(3, 60, 101)
    for rng in (None, np.random.default_rng(1)):
        assert sorted(np.concatenate(list(batches(lengths, 16, rng)))) == list(range(101))


def test_cached_states_give_the_mean_of_the_current_tokens(tmp_path, monkeypatch):
    """As the whole encoder does, in any batch."""
    torch.manual_seed(0)
    config = BertConfig(
        vocab_size=300, hidden_size=16, num_hidden_layers=3, num_attention_heads=2, intermediate_size=32
    )
    whole = BertModel(config, add_pooling_layer=False).eval()
    whole.save_pretrained(tmp_path)
    monkeypatch.setattr(context_models, "ENCODER", str(tmp_path))
    words = [pair([7, 8], [1, 2, 3], TOKENS), pair([9] * 20, [], TOKENS), pair([5], [4] * 9, TOKENS)]
    found = Classifier().eval().pooled(lower_states(words), [each.own for each in words])
    for each, vector in zip(words, found, strict=True):
        ids, segments = (torch.tensor([values]) for values in each[:2])
        states = whole(input_ids=ids, token_type_ids=segments).last_hidden_state[0]
        torch.testing.assert_close(vector, states[torch.tensor(each.own)].mean(0), atol=2e-3, rtol=0)


def test_differences_are_those_of_the_same_dialogues():
    rng = np.random.default_rng(0)
    labels = rng.integers(len(LABELS), size=400)
    alone = np.where(rng.random(400) < 0.5, labels, 0)
    better = np.where(rng.random(400) < 0.3, labels, alone)
    lines = [(ALONE, 0, alone), (LAST, 2, better), (LAST, 4, alone)]
    runs = pandas.DataFrame(
        {"kind": "tuned", "form": form, "before": n, "seed": 0, "held_out": 0.5, "answers": "".join(map(str, answers))}
        for form, n, answers in lines
    )
    first, second, third = summarised(runs, labels, np.repeat(np.arange(40), 10).astype(str))
    scores = [f1_score(labels, answers, average="weighted") for answers in (alone, better)]
    assert [first["weighted_f1"], second["weighted_f1"]] == pytest.approx(scores, abs=1e-4)
    assert second["difference"] == pytest.approx(scores[1] - scores[0], abs=1e-4)
    assert 0 < second["difference_low"] < second["difference"] < second["difference_high"]
    assert (third["difference"], third["difference_low"], third["difference_high"]) == (0, 0, 0)
