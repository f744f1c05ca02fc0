"""Tip-Adapter, Tip-Adapter-F and LP++ are what their papers write, computed here by plain numpy, through the search and
the files of any other prototypes.
"""

from __future__ import annotations

import json
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from kits.hashing_encoder import HashingEncoder
from kits.labelled import clusters, labelled
from kits.scored import prototypes_of
from typer.testing import CliRunner

import zsretrieve as zs
from zsretrieve.backends.faiss_flat import FaissBackend
from zsretrieve.cli.app import app
from zsretrieve.domain.errors import (
    ClassMappingError,
    IndexVersionError,
    IntegrityError,
    OutputExistsError,
    SourceError,
    SpaceMismatchError,
    UsageError,
)
from zsretrieve.domain.records import Encoding, Head, ScoreHead
from zsretrieve.domain.shots import AdapterSettings, Shots
from zsretrieve.domain.vectors import Vectors, unit_rows
from zsretrieve.evaluation.classify import classify_vectors
from zsretrieve.evaluation.labelled import Labelled
from zsretrieve.evaluation.report import evaluate_labelled
from zsretrieve.evaluation.splits import draw, validation_of
from zsretrieve.prototypes import lp, tip
from zsretrieve.prototypes.adapters import TrainedAdapter, train_adapter
from zsretrieve.prototypes.images import TrainingImages, write_trained
from zsretrieve.store import manifest as manifests
from zsretrieve.store.indexes import Prototypes, open_prototypes

BACKEND = FaissBackend("cpu")
Run = Callable[..., "subprocess.CompletedProcess[str]"]
N_CLASSES, DIM, SCALE = 5, 12, 30.0


def world(each: int = 8, *, seed: int = 0, head: Head | None = None) -> tuple[Labelled, Prototypes, Vectors]:
    """Labelled images, text prototypes that are near their classes, and other images."""
    vectors, truth = clusters(N_CLASSES, each, DIM, noise=1.2, seed=seed)
    some = labelled(vectors, truth)
    rng = np.random.default_rng(seed + 1)
    middles = np.stack([vectors[truth == c].mean(axis=0) for c in range(N_CLASSES)])
    text = prototypes_of(
        unit_rows(middles + 0.4 * rng.standard_normal(middles.shape) / np.sqrt(DIM)),
        some.prompts.class_names, head=head or Head(ScoreHead.SOFTMAX, SCALE),
    )  # fmt: skip
    return some, text, unit_rows(rng.standard_normal((40, DIM)))


def trained(some: Labelled, text: Prototypes, shots: Shots | None = None, **settings: Any) -> TrainedAdapter:
    images = TrainingImages(some, text.head, Encoding("numpy", "fp64", "cpu"), "here")
    return train_adapter(images, shots or Shots(), text, BACKEND, AdapterSettings(**settings))


def naive_tip(
    x: np.ndarray, text: np.ndarray, keys: np.ndarray, truth: np.ndarray, alpha: float, beta: float
) -> np.ndarray:
    """SCALE x W^T + alpha exp(-beta (1 - x F^T)) L, number by number."""
    logits = np.zeros((len(x), len(text)))
    for row, vector in enumerate(x.astype(np.float64)):
        for c, w in enumerate(text.astype(np.float64)):
            logits[row, c] = SCALE * sum(vector * w)
        for key, c in zip(keys.astype(np.float64), truth, strict=True):
            logits[row, c] += alpha * np.exp(-beta * (1 - sum(vector * key)))
    return logits


def softmax(logits: np.ndarray) -> np.ndarray:
    chances = np.exp(logits - logits.max(axis=1, keepdims=True))
    return np.asarray(chances / chances.sum(axis=1, keepdims=True))


def all_chances(vectors: Vectors, prototypes: Prototypes) -> np.ndarray:
    found = np.zeros((len(vectors), len(prototypes.vectors)))
    for row, predictions in enumerate(classify_vectors(vectors, prototypes, len(prototypes.vectors))):
        for one in predictions:
            found[row, one.class_id] = one.probability
    return found


def cross_entropy(logits: np.ndarray, truth: np.ndarray) -> float:
    return float(-np.log(softmax(logits)[np.arange(len(truth)), truth]).mean())


@pytest.mark.parametrize(("alpha", "beta"), [(1.0, 5.5), (7.5, 0.5), (0.25, 20.0)])
def test_tip_is_the_formula_in_memory_and_from_the_files(tmp_path: Path, alpha: float, beta: float) -> None:
    some, text, others = world()
    made = write_trained(tmp_path / "tip", trained(some, text, alpha=alpha, beta=beta))
    expected = naive_tip(others, text.vectors, some.vectors, some.truth, alpha, beta)
    for prototypes in (made.prototypes, open_prototypes(tmp_path / "tip", BACKEND)):
        assert np.abs(all_chances(others, prototypes) - softmax(expected)).max() < 1e-5
        scores = prototypes.against(others).all()
        assert np.abs(SCALE * scores.astype(np.float64) - expected).max() < 1e-5 * SCALE
        found, classes = prototypes.search(others, N_CLASSES)
        order = np.argsort(-scores, axis=1, kind="stable")
        assert np.array_equal(classes, order)
        assert np.array_equal(found, np.take_along_axis(scores, order, axis=1))
    assert zs.verify(tmp_path / "tip") == []


def test_shots_and_the_class_of_each_key_are_what_was_drawn() -> None:
    some, text, _ = world()
    keys = trained(some, text, Shots(3, seed=4)).prototypes.keys
    rows = draw(some, 3, 4).rows
    assert keys is not None
    assert sorted(map(bytes, keys.keys)) == sorted(map(bytes, some.vectors[rows]))
    assert keys.classes.tolist() == sorted(some.truth[rows])


def test_without_weight_it_is_zero_shot_to_the_last_bit() -> None:
    some, text, others = world()
    made = trained(some, text, alpha=0.0, beta=5.0).prototypes
    for one, other in zip(made.search(others, 3), text.search(others, 3), strict=True):
        assert np.array_equal(one, other)
    assert classify_vectors(others, made) == classify_vectors(others, text)


def test_ties_go_to_the_lowest_class() -> None:
    """Two classes with the same text and the same keys are always equal."""
    vectors, truth = clusters(3, 4, DIM)
    some = labelled(np.vstack([vectors, vectors[truth == 1]]), [*truth, 3, 3, 3, 3])
    texts = unit_rows(np.stack([vectors[truth == c].mean(axis=0) for c in (0, 1, 2, 1)]))
    made = trained(some, prototypes_of(texts, some.prompts.class_names), alpha=2.0, beta=3.0).prototypes
    _, classes = made.search(vectors, 4)
    assert all(row.index(1) + 1 == row.index(3) for row in classes.tolist())


def test_a_fitted_scale_changes_probabilities_and_no_order() -> None:
    some, text, others = world()
    made = trained(some, text, alpha=2.0, beta=3.0).prototypes
    cooler = made.at_scale(SCALE / 3)
    assert np.array_equal(made.search(others, 5)[1], cooler.search(others, 5)[1])
    expected = softmax(naive_tip(others, text.vectors, some.vectors, some.truth, 2.0, 3.0) / 3)
    assert np.abs(all_chances(others, cooler) - expected).max() < 1e-5


def test_a_sigmoid_model_keeps_its_head() -> None:
    head = Head(ScoreHead.SIGMOID, SCALE, -12.0)
    some, text, others = world(head=head)
    made = trained(some, text, alpha=2.0, beta=3.0).prototypes
    logits = naive_tip(others, text.vectors, some.vectors, some.truth, 2.0, 3.0) - 12.0
    assert np.abs(all_chances(others, made) - 1 / (1 + np.exp(-logits))).max() < 1e-5


@pytest.mark.parametrize("by", ["loss", "accuracy"])
def test_the_weights_are_the_best_of_the_grid(by: str) -> None:
    some, text, _ = world(each=12)
    made = trained(some, text, Shots(seed=3), by=by)
    rows = draw(some, None, 3).rows
    drawn = some.at(rows)
    held = validation_of(drawn, 3, 0.2)
    fitted = np.setdiff1d(np.arange(len(rows)), held)
    tried = []
    for alpha in tip.ALPHAS:
        for beta in tip.BETAS:
            logits = naive_tip(
                drawn.vectors[held], text.vectors, drawn.vectors[fitted], drawn.truth[fitted], alpha, beta
            ) if alpha else SCALE * drawn.vectors[held].astype(float) @ text.vectors.astype(float).T  # fmt: skip
            right = float((logits.argmax(axis=1) == drawn.truth[held]).mean())
            loss = round(cross_entropy(logits, drawn.truth[held]), 12)
            tried.append(((-right, loss) if by == "accuracy" else (loss, -right), alpha, beta))
    _, alpha, beta = min(tried)
    assert made.search is not None
    assert (made.search.alpha, made.search.beta) == (alpha, beta)
    assert (made.search.n_fit, made.search.n_validation) == (len(fitted), len(held)) == (50, 10)
    assert made.search.steps[0].alpha == 0.0, "zero-shot is the first that is tried"
    assert {step.beta for step in made.search.steps} == set(tip.BETAS)


def test_one_image_of_each_class_has_the_weights_of_the_paper() -> None:
    some, text, _ = world(each=1)
    search = trained(some, text).search
    assert search is not None
    assert (search.alpha, search.beta, search.steps, search.n_validation) == (1.0, 5.5, (), 0)


def test_the_derivatives_of_the_keys_are_those_of_the_loss() -> None:
    some, text, _ = world(each=2)
    x = some.vectors.astype(np.float64)
    rng = np.random.default_rng(5)
    keys = x + 0.1 * rng.standard_normal(x.shape)
    zero_shot = SCALE * x @ text.vectors.astype(np.float64).T
    found = tip.gradient_of(keys, x[:7], some.truth, some.truth[:7], zero_shot[:7], 1.5, 2.5)

    def loss(of: np.ndarray) -> float:
        return cross_entropy(naive_tip(x[:7], text.vectors, of, some.truth, 1.5, 2.5), some.truth[:7])

    for row, column in ((0, 0), (3, 5), (9, 11), (6, 2)):
        moved = [keys.copy(), keys.copy()]
        moved[0][row, column] += 1e-5
        moved[1][row, column] -= 1e-5
        assert found[row, column] == pytest.approx((loss(moved[0]) - loss(moved[1])) / 2e-5, abs=1e-6)


def test_learnt_keys_are_those_of_torch_s_adamw() -> None:
    torch = pytest.importorskip("torch")
    some, text, _ = world()
    x = torch.tensor(some.vectors, dtype=torch.float64)
    zero_shot = SCALE * x @ torch.tensor(text.vectors, dtype=torch.float64).T
    truth, values = torch.tensor(some.truth), torch.nn.functional.one_hot(torch.tensor(some.truth)).double()
    keys = x.clone().requires_grad_()
    optimizer = torch.optim.AdamW([keys], lr=tip.RATE, eps=1e-4)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, tip.EPOCHS)
    for _ in range(tip.EPOCHS):
        optimizer.zero_grad()
        logits = zero_shot + 2.0 * torch.exp(-3.0 * (1 - x @ keys.T)) @ values
        torch.nn.functional.cross_entropy(logits, truth).backward()
        optimizer.step()
        schedule.step()
    found = tip.learn(some.vectors, some.truth, zero_shot.numpy(), 2.0, 3.0, 0)
    assert np.abs(found - some.vectors).max() > 1e-3, "something was learnt"
    assert np.abs(found - keys.detach().numpy()).max() < 1e-6
    assert np.array_equal(found, tip.learn(some.vectors, some.truth, zero_shot.numpy(), 2.0, 3.0, 0))


def test_learnt_keys_are_stored_and_lower_the_loss(tmp_path: Path) -> None:
    some, text, others = world(each=10)
    made = write_trained(tmp_path / "f", trained(some, text, method="tip-f", alpha=1.0, beta=2.0))
    keys, search = made.prototypes.keys, made.search
    assert keys is not None
    assert search is not None
    assert made.losses is not None
    assert made.losses[1] < made.losses[0]
    assert not np.array_equal(keys.keys, some.vectors)
    expected = naive_tip(others, text.vectors, keys.keys, keys.classes, search.alpha, search.beta)
    assert np.abs(all_chances(others, open_prototypes(tmp_path / "f", BACKEND)) - softmax(expected)).max() < 1e-5


def naive_lp(x: np.ndarray, truth: np.ndarray, text: np.ndarray, iterations: int) -> tuple[np.ndarray, list[float]]:
    n, n_classes = len(x), len(text)
    w = np.stack([x[truth == c].sum(axis=0) for c in range(n_classes)])
    means = [np.mean([x[i] @ text[c] for i in np.flatnonzero(truth == c)]) for c in range(n_classes)]
    alpha = np.full(n_classes, 250 * np.mean(means))
    lipschitz_w = np.linalg.norm(x.T @ x, 2) / (4 * n)
    lipschitz_alpha = max(sum((x[i] @ text[c]) ** 2 for i in range(n)) for c in range(n_classes)) / (4 * n)

    def chances() -> np.ndarray:
        return softmax(np.array([[x[i] @ (w[c] + alpha[c] * text[c]) for c in range(n_classes)] for i in range(n)]))

    def loss() -> float:
        return float(-np.log(chances()[np.arange(n), truth]).mean())

    losses = [loss()]
    for iteration in range(1, iterations + 1):
        of = (chances() - np.eye(n_classes)[truth]) / n
        w = w - np.stack([sum(of[i, c] * x[i] for i in range(n)) for c in range(n_classes)]) / lipschitz_w
        if iteration % 10 == 0:
            of = (chances() - np.eye(n_classes)[truth]) / n
            steps = [sum(of[i, c] * (x[i] @ text[c]) for i in range(n)) for c in range(n_classes)]
            alpha = alpha - np.array(steps) / lipschitz_alpha
        losses.append(loss())
    return w + alpha[:, None] * text, losses


def test_lp_is_the_formula() -> None:
    some, text, _ = world(each=4)
    weights, losses = naive_lp(some.vectors.astype(float), some.truth, text.vectors.astype(float), 21)
    found = lp.blend(some.vectors, some.truth, text.vectors, 21)
    assert np.abs(found.weights - weights).max() < 1e-9 * np.abs(weights).max()
    assert found.losses == pytest.approx(losses, abs=1e-10)


@pytest.mark.parametrize("seed", range(6))
def test_the_loss_of_lp_never_rises(seed: int) -> None:
    rng = np.random.default_rng(seed)
    n_classes, dim = int(rng.integers(2, 9)), int(rng.integers(3, 40))
    vectors, truth = clusters(n_classes, int(rng.integers(1, 12)), dim, noise=rng.uniform(0.2, 3), seed=seed)
    losses = np.array(lp.blend(vectors, truth, unit_rows(rng.standard_normal((n_classes, dim)))).losses)
    assert (np.diff(losses) <= 1e-9).all()
    assert losses[-1] < losses[0]


def test_lp_is_stored_as_a_probe_is(tmp_path: Path) -> None:
    some, text, others = world()
    made = write_trained(tmp_path / "lp", trained(some, text, method="lp++"))
    weights = lp.blend(some.vectors, some.truth, text.vectors).weights
    found = open_prototypes(tmp_path / "lp", BACKEND)
    assert found.manifest.lifted
    assert found.keys is None
    assert made.search is None
    assert np.abs(all_chances(others, found) - softmax(others.astype(np.float64) @ weights.T)).max() < 1e-4


@pytest.mark.parametrize("method", ["tip", "tip-f", "lp++"])
def test_it_is_compared_with_zero_shot_on_the_same_images(method: str) -> None:
    some, text, _ = world(each=20)
    made = trained(some, text, Shots(6), method=method).prototypes
    report = evaluate_labelled(some, made, against=text)
    assert report.baseline is not None
    assert report.baseline.n_correct == evaluate_labelled(some, text).n_correct
    right = [made.search(some.vectors, 1)[1][:, 0] == some.truth, text.search(some.vectors, 1)[1][:, 0] == some.truth]
    assert report.n_correct == right[0].sum()
    assert report.baseline.difference.only_second == (right[0] & ~right[1]).sum()
    assert report.baseline.difference.only_first == (right[1] & ~right[0]).sum()
    assert made.manifest.templates_source == f"raw with {method} on 6 images per class, seed 0"


def test_retrieval_ranks_by_the_scores_with_keys() -> None:
    from sklearn.metrics import average_precision_score

    some, text, _ = world(each=20)
    made = trained(some, text, Shots(6), alpha=20.0, beta=2.0).prototypes
    report = evaluate_labelled(some, made, retrieval_at=(5,))
    scores = made.against(some.vectors).all()
    expected = [average_precision_score(some.truth == c, scores[:, c]) for c in range(N_CLASSES)]
    assert report.retrieval is not None
    assert [one.average_precision for one in report.retrieval.per_class] == pytest.approx(expected)


def test_older_versions_refuse_it_and_damage_is_found(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    some, text, _ = world()
    for method in ("tip", "lp++"):
        write_trained(tmp_path / method, trained(some, text, method=method))
        assert json.loads((tmp_path / method / "manifest.json").read_text())["format_version"] == 5
    with monkeypatch.context() as patch:
        patch.setattr(manifests, "FORMAT_VERSION", 4)
        with pytest.raises(IndexVersionError, match="format version 5; this zsretrieve reads up to 4"):
            open_prototypes(tmp_path / "tip", BACKEND)
    (faiss,) = (tmp_path / "tip").rglob("index.faiss")
    faiss.unlink()
    with pytest.raises(IntegrityError, match=r"index\.faiss' is missing"):
        open_prototypes(tmp_path / "tip", BACKEND)
    zs.repair(tmp_path / "tip")
    expected = trained(some, text).prototypes
    assert classify_vectors(some.vectors, open_prototypes(tmp_path / "tip", BACKEND)) == classify_vectors(
        some.vectors, expected
    )
    # The repair has written all files again, beside the old ones.
    (name,) = (name for name in zs.read_manifest(tmp_path / "tip").files if name.endswith("keys.npy"))
    keys = tmp_path / "tip" / name
    keys.write_bytes(keys.read_bytes()[:-4])
    with pytest.raises(IntegrityError, match=r"keys\.npy"):
        open_prototypes(tmp_path / "tip", BACKEND)
    with pytest.raises(IntegrityError, match=r"the keys of .* are damaged"):
        zs.repair(tmp_path / "tip")


def test_what_cannot_be_adapted(tmp_path: Path) -> None:
    some, text, _ = world()
    one = some.at(np.flatnonzero(some.truth == 0))
    with pytest.raises(SourceError, match="an adapter needs at least two classes, and there is only one"):
        trained(labelled(one.vectors, one.truth), prototypes_of(text.vectors[:1], ["c0"]))
    with pytest.raises(SourceError, match="1 class has no image to train on: 'c2'"):
        trained(some.at(np.flatnonzero(some.truth != 2)), text)
    with pytest.raises(SourceError, match="fewer than 9 different images"):
        trained(some, text, Shots(9))
    with pytest.raises(SourceError, match="were made from images, but text prototypes are needed"):
        trained(some, trained(some, text, alpha=1.0, beta=1.0).prototypes)
    other = prototypes_of(unit_rows(np.eye(N_CLASSES, DIM + 1)), some.prompts.class_names)
    with pytest.raises(SpaceMismatchError):
        trained(some, other)
    write_trained(tmp_path / "tip", trained(some, text))
    with pytest.raises(SourceError, match="cannot be exported"):
        zs.export_index(tmp_path / "tip", tmp_path / "npy", "npy")
    with pytest.raises(SourceError, match="have an adapter"):
        zs.similar_classes(tmp_path / "tip")


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"method": "clip-adapter"}, "'clip-adapter' is not an adapter"),
        ({"method": "lp++", "alpha": 1.0}, r"LP\+\+ learns its own weights"),
        ({"alpha": -1.0}, "alpha must be a number from 0 to 10,000"),
        ({"beta": 0.0}, "beta must be"),
        ({"validation": 1.0}, "validation images must be between 0 and 1"),
        ({"by": "margin"}, "nothing is chosen by 'margin'"),
    ],
)
def test_settings_out_of_range(settings: dict[str, Any], message: str) -> None:
    with pytest.raises(UsageError, match=message):
        AdapterSettings(**settings)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory, scene_folder: Path) -> Path:
    """A gallery of four classes of scenes and their text prototypes, by the hashing encoder."""
    root = tmp_path_factory.mktemp("adapters")
    names = ("red circle", "blue star", "green heart", "white square")
    (root / "photos").mkdir()
    for name in names:
        (root / "photos" / name).symlink_to(scene_folder / name)
    zs.build_gallery(root / "photos", root / "gallery", HashingEncoder())
    zs.build_prototypes(root / "text", ",".join(names), HashingEncoder(), templates="raw")
    return root


@pytest.mark.parametrize("method", ["tip", "tip-f", "lp++"])
def test_the_command(folder: Path, method: str) -> None:
    words = ["fewshot", "train", str(folder / "gallery"), str(folder / method), "-p", str(folder / "text")]
    done = CliRunner().invoke(app, [*words, "--method", method, "--shots", "2"])
    assert done.exit_code == 0, done.stderr
    assert "4 classes, 8 images" in done.stderr
    done = CliRunner().invoke(app, [*words, "--method", method, "--shots", "2", "--force", "--format", "json"])
    answer = json.loads(done.stdout)
    assert (answer["method"], answer["n_images"], answer["shots"]) == (method, 8, 2)
    assert (answer["losses"] is None) == (method == "tip")
    info = CliRunner().invoke(app, ["index", "info", str(folder / method)])
    assert ("8 keys, alpha" in info.stdout) == (method != "lp++")
    done = CliRunner().invoke(
        app, ["evaluate", str(folder / "gallery"), "-p", str(folder / method), "--against", str(folder / "text")]
    )
    assert done.exit_code == 0, done.stderr
    assert "percentage points, paired" in done.stdout
    assert "not scored" in done.stdout


def test_the_command_refuses(folder: Path, run_cli: Run) -> None:
    def refused(*words: str | Path) -> str:
        done = run_cli("fewshot", "train", folder / "gallery", *words)
        assert done.returncode, done.stdout
        return done.stderr

    text, out = folder / "text", folder / "x"
    assert "Leave --alpha and --beta out" in refused(out, "-p", text, "--method", "lp++", "--alpha", "1")
    both = ("--alpha", "1", "--beta", "2", "--validation", "0.5")
    assert "--validation has no effect with --alpha and --beta" in refused(out, "-p", text, *both)
    assert "text prototypes themselves" in refused(text, "-p", text, "--force")
    zs.build_prototypes(folder / "fruit", "apple,pear", HashingEncoder(), templates="raw", force=True)
    with pytest.raises(ClassMappingError, match=r"red circle|blue star|green heart|white square"):
        zs.train_adapter(folder / "gallery", out, folder / "fruit")
    with pytest.raises(OutputExistsError):
        zs.train_adapter(folder / "gallery", folder / "gallery", text, force=True)
    assert not out.exists()
