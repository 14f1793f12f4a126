"""The bound of fusion and the interaction benchmark, on distributions that are known."""

from itertools import product
from pathlib import Path

import numpy as np
import pandas
import pytest
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import roc_auc_score

from processing.corpora.registry import read_corpus
from processing.evaluation.records import Predictions
from study import bound, interaction, runs
from study.bound import Calibration, agreement, agreement_auc, agrees, bayes_fusion, bound_of, told_apart
from study.interaction import interaction_pairs
from study.other_emotions import other_emotions

PRIOR = np.array([0.5, 0.3, 0.2])
VOICE = np.array([[0.6, 0.3, 0.1], [0.2, 0.5, 0.3], [0.1, 0.2, 0.7]])  # p(x | c), a row an emotion
WORDS = np.array([[0.7, 0.2, 0.1, 0.0], [0.2, 0.3, 0.3, 0.2], [0.1, 0.2, 0.3, 0.4]])


def posterior(likelihood: np.ndarray) -> np.ndarray:
    """p(c | symbol), (symbols, classes)."""
    joint = (PRIOR[:, None] * likelihood).T
    return joint / joint.sum(1, keepdims=True)


def sample(count: int, seed: int = 0) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    rng = np.random.default_rng(seed)
    labels = rng.choice(3, count, p=PRIOR)
    voice, words = (
        np.array([rng.choice(table.shape[1], p=table[label]) for label in labels]) for table in (VOICE, WORDS)
    )
    return labels, voice, words


def test_the_fusion_is_bayes_rule_of_the_joint_distribution():
    for x, w in product(range(3), range(4)):
        joint = PRIOR * VOICE[:, x] * WORDS[:, w]
        log_posteriors = (np.log(posterior(table)[[symbol]] + 1e-300) for table, symbol in ((VOICE, x), (WORDS, w)))
        found = np.exp(bayes_fusion(*log_posteriors, PRIOR))[0]
        np.testing.assert_allclose(found, joint / joint.sum(), atol=1e-12)


def test_agreement_is_the_ratio_of_pairs_of_one_emotion_to_independent_ones():
    for x, w in product(range(3), range(4)):
        together = (PRIOR * VOICE[:, x] * WORDS[:, w]).sum()
        apart = (PRIOR * VOICE[:, x]).sum() * (PRIOR * WORDS[:, w]).sum()
        logs = (np.log(posterior(table)[[symbol]] + 1e-300) for table, symbol in ((VOICE, x), (WORDS, w)))
        assert np.exp(agreement(*logs, PRIOR))[0] == pytest.approx(together / apart)


def test_a_pair_agrees_where_pairs_of_one_emotion_are_likelier_than_pairs_of_two():
    for x, w in product(range(3), range(4)):
        pairs = {(a, b): PRIOR[a] * PRIOR[b] * VOICE[a, x] * WORDS[b, w] for a, b in product(range(3), repeat=2)}
        one = (PRIOR * VOICE[:, x] * WORDS[:, w]).sum()
        two = sum(share for (a, b), share in pairs.items() if a != b) / (1 - sum(PRIOR**2))
        logs = (np.log(posterior(table)[[symbol]] + 1e-300) for table, symbol in ((VOICE, x), (WORDS, w)))
        assert agrees(*logs, PRIOR)[0] == (one > two)


def test_pairs_are_told_apart_by_certain_halves_alone():
    labels = np.repeat(np.arange(3), 20)
    certain, blind = np.log(np.eye(3)[labels] + 1e-12), np.log(np.full((60, 3), 1 / 3))
    prior = np.full(3, 1 / 3)
    assert told_apart(certain, certain, prior, labels) == 1.0
    assert told_apart(certain, blind, prior, labels) == 0.5


def test_the_area_over_all_pairs_equals_a_loop():
    labels, voice, words = sample(40)
    logs = np.log(posterior(VOICE)[voice]), np.log(posterior(WORDS)[words] + 1e-12)
    scores, same = [], []
    for clip, text in product(range(40), range(40)):
        scores.append(sum(np.exp(logs[0][clip] + logs[1][text]) / PRIOR))
        same.append(labels[clip] == labels[text])
    assert agreement_auc(*logs, PRIOR, labels) == pytest.approx(roc_auc_score(same, scores))


def test_calibration_finds_the_slope_and_biases_that_spoilt_a_posterior():
    labels, voice, _ = sample(4000)
    true = posterior(VOICE)
    spoilt = true**3 * np.array([1.0, 0.5, 2.0])
    spoilt /= spoilt.sum(1, keepdims=True)
    found = np.exp(Calibration(spoilt[voice], labels)(spoilt))
    assert np.abs(spoilt - true).max() > 0.2
    np.testing.assert_allclose(found, true, atol=0.03)


def predictions(probabilities: np.ndarray, labels: np.ndarray) -> Predictions:
    count = len(labels)
    return Predictions(
        ["a", "b", "c"], [str(number) for number in range(count)], ["1"] * count, labels, probabilities.argmax(1),
        probabilities, np.full(count, np.nan), np.full((count, 2), np.nan),
    )  # fmt: skip


def overconfident(table: np.ndarray, power: float) -> np.ndarray:
    spoilt = (posterior(table) + 1e-9) ** power
    return spoilt / spoilt.sum(1, keepdims=True)


def parts_of(seeds: tuple[int, int] = (0, 1)) -> tuple[dict[str, Predictions], dict[str, Predictions]]:
    """A voice that is sure of itself, and words that are not: late fusion listens to the wrong one."""
    speech, text = {}, {}
    for part, seed in zip(("validation", "test"), seeds, strict=True):
        labels, voice, words = sample(4000, seed)
        speech[part] = predictions(overconfident(VOICE, 6.0)[voice], labels)
        text[part] = predictions(overconfident(WORDS, 0.5)[words], labels)
    return speech, text


def test_the_bound_is_that_of_the_true_distribution_and_above_late_fusion():
    found = bound_of(*parts_of())
    joint = PRIOR[:, None, None] * VOICE[:, :, None] * WORDS[:, None]
    right = np.array([joint[c][joint.argmax(0) == c].sum() / PRIOR[c] for c in range(3)])
    assert found["bound"] == pytest.approx(right.mean(), abs=0.02)
    assert found["late"] < found["bound"] - 0.01
    assert max(found["voice"], found["words"]) < found["bound"]
    assert 0.55 < found["agreement_auc"] < 0.8


def test_runs_on_other_clips_are_refused():
    speech, text = parts_of()
    labels, _, words = sample(100)
    with pytest.raises(ValueError, match="tested on other clips"):
        bound_of(speech, text | {"test": predictions(posterior(WORDS)[words], labels)})


def test_the_command_reads_the_runs_and_writes_a_line_for_each(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(bound, "FOLDER", tmp_path)
    assert bound.main([]) == 1
    assert "no finished runs" in capsys.readouterr().err
    for row, parts in zip(("speech", "text"), parts_of(), strict=True):
        folder = tmp_path / "frozen" / "paired" / row / "EB0-seed0"
        folder.mkdir(parents=True)
        (folder / "metrics.json").write_text("{}")
        for part, found in parts.items():
            found.write(folder / f"{part}_predictions.csv")
    assert bound.main([]) == 0
    (line,) = pandas.read_csv(tmp_path / "bound.csv").to_dict("records")
    assert (line["corpus"], line["fold_and_seed"], line["standardised_by"]) == ("paired", "EB0-seed0", "training")
    assert line["bound"] == pytest.approx(bound_of(*parts_of())["bound"], abs=1e-4)


# The interaction benchmark.

EMOTIONS = ["anger", "joy", "sadness", "neutral"]


def pairs_table(clips: int = 60) -> pandas.DataFrame:
    rng = np.random.default_rng(0)
    rows = [
        {
            "audio": f"{number}.flac", "text": f"text {number}", "label": EMOTIONS[rng.integers(4)],
            "speaker": f"s{number % 6}", "fold": number % 3, "text_id": f"t{number}",
        }
        for number in range(clips)
    ]  # fmt: skip
    return pandas.DataFrame(rows)


def test_every_clip_and_every_text_stands_once_under_each_label():
    table = pairs_table()
    pairs = interaction_pairs(table, "fold")
    assert len(pairs) == 120
    for column in ("audio", "text_id"):
        assert (pairs.groupby([column, "label"]).size() == 1).all()
        assert pairs.groupby(column).label.nunique().eq(2).all()
        assert pairs.groupby(column).fold.nunique().eq(1).all()
    assert ((pairs.voice == pairs.words) == (pairs.label == "agreement")).all()
    known = table.set_index("audio"), table.set_index("text_id")
    assert (pairs.voice == known[0].label[pairs.audio].to_numpy()).all()
    assert (pairs.words == known[1].label[pairs.text_id].to_numpy()).all()
    assert (pairs.text == known[1].text[pairs.text_id].to_numpy()).all()
    assert (pairs.irony == ((pairs.words == "joy") & pairs.voice.isin(["anger", "sadness"]))).all()
    assert pairs.irony.any()


def test_sums_of_what_each_modality_says_are_at_chance_and_products_are_not():
    pairs = interaction_pairs(pairs_table(300), "fold")
    voice, words = (pandas.get_dummies(pairs[name]).to_numpy(float) for name in ("voice", "words"))
    both = (voice[:, :, None] * words[:, None]).reshape(len(pairs), -1)
    labels = pairs.label == "agreement"
    sums = LogisticRegression(C=1e3, max_iter=2000).fit(np.hstack([voice, words]), labels)
    assert np.abs(sums.predict_proba(np.hstack([voice, words])) - 0.5).max() < 1e-3
    assert LogisticRegression(C=1e3).fit(both, labels).score(both, labels) == 1.0


def test_other_emotions_vary_with_the_seed_and_never_repeat_the_own():
    labels = np.array(["a"] * 10 + ["b"] * 6 + ["c"] * 4)
    found = [other_emotions(labels, np.random.default_rng(seed)) for seed in range(20)]
    for chosen in found:
        assert sorted(chosen) == list(range(20))
        assert (labels[chosen] != labels).all()
    assert len({tuple(chosen) for chosen in found}) == 20


def test_an_emotion_with_most_of_the_clips_leaves_no_other_text():
    table = pairs_table().assign(label="anger")
    with pytest.raises(ValueError, match="fold 0: more than half of the clips are of one emotion, anger"):
        interaction_pairs(table, "fold")


def test_the_command_writes_both_corpora(shared_data: Path, tmp_path: Path, monkeypatch, capsys):
    monkeypatch.setattr(interaction, "FOLDER", tmp_path)
    assert interaction.main(["--data", str(shared_data)]) == 0
    for name, clips, group in (("ravdess_paired", 936, "fold"), ("paired", 2696, "speaker")):
        pairs = pandas.read_csv(tmp_path / "interaction" / f"{name}.csv", keep_default_na=False)
        assert len(pairs) == 2 * clips
        read = read_corpus("manifest", tmp_path / "interaction" / f"{name}.csv", progress=False)
        assert len(set(read.dataset["all"]["utterance_id"])) == 2 * clips
        assert pairs.groupby("text").agg({group: "nunique"})[group].eq(1).all()
        assert Path(pairs.audio[0]).is_file()


@pytest.mark.parametrize(
    ("kind", "message"),
    [
        ("trained", "--kind trained is run on ravdess_paired alone"),
        ("interaction", "run `python -m study.interaction"),
    ],
)
def test_runs_that_cannot_start_are_refused(tmp_path: Path, monkeypatch, capsys, kind: str, message: str):
    monkeypatch.setattr(runs, "FOLDER", tmp_path)
    with pytest.raises(SystemExit):
        runs.main(["--data", str(tmp_path), "--kind", kind, "--corpora", "paired"])
    assert message in capsys.readouterr().err
