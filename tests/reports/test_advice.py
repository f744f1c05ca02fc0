"""Each rule by itself: figures that call for it, and figures just short of that."""

from __future__ import annotations

import shlex
from dataclasses import replace

import pytest
from kits.runs import report_of, run_of

from zsretrieve.domain.records import Skipped
from zsretrieve.domain.results import Bin, Calibration, CoveragePoint, EvalReport, Interval, Merged, Rejection, Run
from zsretrieve.reports.advice import RULES, Advice, Asked, Case, advise

NAMES = ("ant", "bee", "cat", "dog", "eel")
ASKED = Asked("indexes/my gallery", "indexes/p", "animals.txt")


def case(run: Run, report: EvalReport, asked: Asked = ASKED) -> Case:
    return Case(report, asked)


def found(run: Run, report: EvalReport, asked: Asked = ASKED) -> dict[str, Advice]:
    """Advice by rule; every command is one that a shell takes."""
    all_of_it = {advice.rule: advice for advice in advise(case(run, report, asked))}
    for advice in all_of_it.values():
        words = shlex.split(advice.command)
        assert words[0] == "zsretrieve"
        assert advice.text.endswith(".")
    return all_of_it


def many(names: tuple[str, ...] = NAMES, each: int = 40, wrong: int = 0) -> Run:
    """So many images of each class; of each, so many are given the next class."""
    truth = [c for c in range(len(names)) for _ in range(each)]
    predicted = [(c + (i < wrong)) % len(names) for c in range(len(names)) for i in range(each)]
    return run_of(truth, predicted, names)


def test_nothing_stands_out_where_all_is_right() -> None:
    run = many()
    assert found(run, report_of(run)) == {}


def test_every_rule_is_asked_once() -> None:
    assert len(RULES) == len(set(RULES)) == 13


@pytest.mark.parametrize(("n_right", "is_at_chance"), [(0, True), (20, True), (27, True), (28, False), (100, False)])
def test_no_better_than_guessing(n_right: int, is_at_chance: bool) -> None:
    truth = [c for c in range(5) for _ in range(20)]
    run = run_of(truth, [(c + (i >= n_right)) % 5 for i, c in enumerate(truth)], NAMES)
    advice = advise(case(run, report_of(run)))
    assert ("chance" in {one.rule for one in advice}) is is_at_chance
    if is_at_chance:  # first, because no other advice helps
        assert advice[0].text.startswith(f"Prec@1 is {n_right}.0 %, no better than guessing one of 5 classes (20.0 %).")
        assert all(word in advice[0].text for word in ("Weights:", "Activation:", "Labels:"))
        assert advice[0].command == "zsretrieve models show demo"
    alone = run_of([0] * 40, [0] * 40, NAMES[:1])
    assert "chance" not in found(alone, report_of(alone))


def test_prototypes_that_are_no_index_are_named_by_their_classes() -> None:
    run = many(each=5)
    asked = Asked("photos", None, "animals.txt", "raw", is_gallery=False)
    advice = found(run, replace(report_of(run), n_tied=7), asked)
    words = "--classes animals.txt --templates raw --model demo"
    assert advice["few-images"].command == f"zsretrieve evaluate MORE-LABELLED-IMAGES {words}"
    assert advice["ties"].command == f"zsretrieve prompts similar {words}"


def test_many_skipped() -> None:
    run = many()
    for n, applies in ((0, False), (2, False), (3, True)):
        report = report_of(run, skipped=(Skipped("a.png", "broken"),) * n)
        assert ("skipped" in found(run, report)) is applies, n
    advice = found(run, report_of(run, skipped=(Skipped("a.png", "broken"),) * 3))["skipped"]
    assert advice.text.startswith("3 images could not be read and are in no figure.")
    assert shlex.split(advice.command) == [
        "zsretrieve", "evaluate", "indexes/my gallery", "--prototypes", "indexes/p", "--skipped", "skipped.csv",
    ]  # fmt: skip


def test_a_filter_is_kept_in_the_command() -> None:
    run = many()
    report = report_of(run, skipped=(Skipped("a.png", "broken"),) * 9, where="label <> 'ant'")
    words = shlex.split(found(run, report)["skipped"].command)
    assert words[words.index("--where") + 1] == "label <> 'ant'"


def test_classes_without_an_image() -> None:
    run = run_of([0] * 40 + [3] * 40, [0] * 40 + [3] * 40, NAMES)
    advice = found(run, report_of(run))["empty-classes"]
    assert "3 of 5 classes have no image here: “bee”, “cat”, “eel”." in advice.text
    assert shlex.split(advice.command)[:6] == [
        "zsretrieve", "index", "prototypes", "NEW-PROTOTYPES", "--classes", "ant,dog",
    ]  # fmt: skip
    alone = run_of([0] * 40, [0] * 40, NAMES)
    assert "--classes ant, " in found(alone, report_of(alone))["empty-classes"].command
    commas = run_of([0] * 40, [0] * 40, ("ant, red", "bee"))
    advice = found(commas, report_of(commas))["empty-classes"]
    assert "1 of 2 classes has no image" in advice.text
    assert "--classes CLASSES " in advice.command


def test_few_images_a_class() -> None:
    for each, applies in ((29, True), (30, False)):
        run = many(each=each)
        assert ("few-images" in found(run, report_of(run))) is applies
    run = many(each=5)
    advice = found(run, report_of(run))["few-images"]
    assert "5 images or fewer. If 3 of 5 are right, the recall may be anywhere from 23.1 % to 88.2 %" in advice.text
    assert advice.command == "zsretrieve index add 'indexes/my gallery' MORE-LABELLED-IMAGES"
    folder = found(run, report_of(run), replace(ASKED, is_gallery=False))["few-images"]
    assert folder.command == "zsretrieve evaluate MORE-LABELLED-IMAGES --prototypes indexes/p"


def test_twins() -> None:
    run = many(("ant", "bee", "ant", "dog"), wrong=1)
    report = report_of(run)
    assert report.merged is not None
    assert "twins" not in found(run, report)  # the next class is never the twin
    merged = Merged(0.99, Interval(0.9, 1.0), report.n_correct + 2, ("ant",))
    advice = found(run, replace(report, merged=merged))["twins"]
    assert "Classes share a name: “ant”." in advice.text
    assert "97.5 %" in advice.text
    assert "99.0 %" in advice.text
    assert advice.command == "zsretrieve prompts similar indexes/p"


def test_ties_of_equal_prototypes() -> None:
    run = many()
    assert "ties" not in found(run, report_of(run))
    advice = found(run, replace(report_of(run), n_tied=7))["ties"]
    assert "On 7 images, several classes with different names share the best score" in advice.text
    assert advice.command == "zsretrieve prompts similar indexes/p"


def test_a_pair_of_classes_dominates() -> None:
    truth = [0] * 40 + [1] * 40 + [2] * 40
    for both, applies in ((2, False), (3, True)):
        predicted = [1] * both + [0] * (40 - both) + [0] * both + [1] * (40 - both) + [2] * 40
        run = run_of(truth, predicted, NAMES[:3])
        assert ("dominant-pair" in found(run, report_of(run))) is applies
    predicted = [1] * 4 + [0] * 36 + [0] * 3 + [1] * 37 + [0] + [2] * 39
    run = run_of(truth, predicted, NAMES[:3])
    advice = found(run, report_of(run))["dominant-pair"]
    assert "7 of 8 mistakes (87.5 %) are between “ant” and “bee”." in advice.text
    assert advice.command == "zsretrieve prompts similar indexes/p"


def test_no_pair_dominates_two_classes_or_classes_of_one_name_or_many_even_pairs() -> None:
    two = run_of([0, 1] * 40, [1, 0] * 40, NAMES[:2])
    assert "dominant-pair" not in found(two, report_of(two))
    twins = run_of([0] * 40 + [1] * 40, [1] * 40 + [1] * 40, ("ant", "ant", "bee"))
    assert "dominant-pair" not in found(twins, report_of(twins))
    even = many(tuple(f"c{i}" for i in range(11)), wrong=5)
    assert "dominant-pair" not in found(even, report_of(even))


def test_a_class_takes_what_is_not_its_own() -> None:
    truth = [c for c in range(5) for _ in range(40)]
    for from_classes, applies in ((2, False), (3, True)):
        predicted = [4 if c < from_classes and i < 3 else c for c in range(5) for i in range(40)]
        run = run_of(truth, predicted, NAMES)
        advice = found(run, report_of(run))
        assert ("greedy-class" in advice) is applies
    assert "“eel” is the answer in 9 of 9 mistakes, for images of 3 classes." in advice["greedy-class"].text


def test_raw_templates() -> None:
    run = many()
    advice = found(run, report_of(run, templates="raw"))["raw-templates"]
    assert advice.command == (
        "zsretrieve index prototypes NEW-PROTOTYPES --classes animals.txt --templates openai80 --model demo"
    )
    unnamed = found(run, report_of(run, templates="raw"), replace(ASKED, classes=None))["raw-templates"]
    assert "--classes CLASSES " in unnamed.command
    assert "raw-templates" not in found(run, report_of(run, templates="openai7"))


def calibrated(error: float, fitted_error: float, mean: float) -> Calibration:
    bins = (Bin(0.0, 1.0, 200, mean, 0.9),)
    return Calibration("softmax", 100.0, error, 1.0, bins, 37.0, fitted_error, 0.5, bins)


@pytest.mark.parametrize(
    ("error", "fitted_error", "applies"),
    [(0.05, 0.01, True), (0.049, 0.01, False), (0.12, 0.079, True), (0.12, 0.081, False)],
)
def test_calibration(error: float, fitted_error: float, applies: bool) -> None:
    run = many(wrong=4)
    report = report_of(run, calibration=calibrated(error, fitted_error, 0.97))
    assert ("calibration" in found(run, report)) is applies


def test_calibration_says_in_which_direction() -> None:
    run = many(wrong=4)
    over = found(run, report_of(run, calibration=calibrated(0.07, 0.01, 0.97)))["calibration"]
    assert "overconfident: its probabilities are off by 7.0 points on average." in over.text
    assert "logit scale of 37 instead of 100" in over.text
    under = found(run, report_of(run, calibration=calibrated(0.4, 0.01, 0.5)))["calibration"]
    assert "underconfident" in under.text
    assert over.command == "zsretrieve evaluate OTHER-LABELLED-IMAGES --prototypes indexes/p --fit-scale"


def test_no_scale_is_advised_where_none_is_the_best() -> None:
    for wrong in (0, 40):
        run = many(wrong=wrong)
        assert "calibration" not in found(run, report_of(run, calibration=calibrated(0.4, 0.01, 0.5)))


def curve(coverage: float, accuracy: float, n: int = 100) -> tuple[CoveragePoint, ...]:
    return (CoveragePoint(0.7, coverage, accuracy, round(n * coverage)), CoveragePoint(0.1, 1.0, 0.5, n))


def test_an_unknown_answer_pays() -> None:
    run = run_of([0, 1] * 50, [0] * 100, NAMES[:2])
    plain = report_of(run)
    for points, applies in (
        (curve(0.3, 0.95), "0.95"),
        (curve(0.3, 0.949), "0.9"),
        (curve(0.3, 0.8), "0.8"),
        (curve(0.3, 0.79), None),
        (curve(0.19, 0.95), None),  # 19 images prove little
        (curve(0.09, 0.95, 1000), None),  # and a tenth of them is little
    ):
        report = replace(plain, coverage={"probability": points, "margin": curve(0.2, 0.5)})
        advice = found(run, report).get("unknown")
        assert (advice is not None) is (applies is not None), points
        if advice is not None:
            assert advice.command.endswith(f"--wanted-precision {applies} --by probability")
    both = replace(plain, coverage={"probability": curve(0.3, 0.97), "margin": curve(0.4, 0.96)})
    advice = found(run, both)["unknown"]
    assert "a margin of at least 0.7 are answered, 96.0 % of the answers are right instead of 50.0 %" in advice.text
    assert "of 40.0 % of the images (40 of 100)" in advice.text
    rejection = Rejection("margin", 0.2, None, 50, 40, 0.5, 0.8, Interval(0.7, 0.9))
    assert "unknown" not in found(run, replace(both, rejection=rejection))  # it is there already


def test_little_is_gained_where_nearly_all_is_right() -> None:
    run = many(each=50, wrong=6)  # 88 % are right
    report = replace(report_of(run), coverage={"probability": curve(0.5, 0.94, 250)})
    assert "unknown" not in found(run, report)
    assert "unknown" in found(run, replace(report, coverage={"probability": curve(0.5, 0.95, 250)}))


def test_classes_that_fail_beyond_chance() -> None:
    for n, applies in ((3, False), (4, True)):  # the interval of 0 of 3 reaches 0.56, of 0 of 4 0.49
        run = run_of([0] * n + [1] * 40, [1] * n + [1] * 40, NAMES[:2])
        advice = found(run, report_of(run))
        assert ("failing-classes" in advice) is applies
    assert advice["failing-classes"].text.startswith(
        "1 class is wrong more often than right, beyond chance: “ant” (0 of 4)."
    )
    words = shlex.split(advice["failing-classes"].command)
    assert words[words.index("--from-images") + 1] == "indexes/my gallery"
    assert words[words.index("--shots") + 1] == "3"  # of four images, so that one is left to be scored
    names = tuple(f"c{i}" for i in range(9))
    all_wrong = many(names, wrong=40)
    assert " and 3 more. " in found(all_wrong, report_of(all_wrong))["failing-classes"].text


def test_near_misses() -> None:
    run = many(tuple(f"c{i}" for i in range(11)), wrong=20)
    report = report_of(run)
    assert "near-misses" not in found(run, report)
    for five, applies in ((0.64, False), (0.66, True)):
        assert ("near-misses" in found(run, replace(report, prec_at={1: 0.5, 5: five}))) is applies
    few = many(tuple(f"c{i}" for i in range(10)), wrong=20)
    assert "near-misses" not in found(few, replace(report_of(few), prec_at={1: 0.5, 5: 0.9}))


def test_names_stand_as_they_are_and_commands_are_quoted() -> None:
    hostile = ("<script>", "$(rm -rf ~); 'x'")
    run = run_of([0] * 40, [0] * 40, hostile)
    advice = found(run, report_of(run, model="a b"), replace(ASKED, source="a; b"))["empty-classes"]
    assert "$(rm -rf ~); 'x'" in advice.text
    assert shlex.split(advice.command)[-3:] == ["<script>,", "--model", "a b"]


def test_a_probe_is_not_applies_of_names_and_similarities() -> None:
    run = run_of([0] * 10 + [1] * 10 + [2] * 10, [2] * 10 + [2] * 10 + [0] * 10, NAMES)
    of_names = {"ties", "dominant-pair", "greedy-class"}
    report = report_of(run, n_tied=3)
    text, probe = (found(run, report, replace(ASKED, is_probe=is_probe)) for is_probe in (False, True))
    assert {"ties", "dominant-pair"} <= set(text)
    assert set(probe) == set(text) - of_names
    assert not [advice for advice in probe.values() if "similar" in advice.command]


def test_an_evaluation_that_is_proposed_is_of_the_same_images() -> None:
    run = many(wrong=4)
    report = report_of(run, calibration=calibrated(0.07, 0.01, 0.97), shots_included=True)
    asked = replace(ASKED, prototypes=None, classes="scenes")  # there is no index to store a scale in
    assert {"--include-shots", "--csv"} <= set(shlex.split(found(run, report, asked)["calibration"].command))


def test_a_scale_at_the_end_of_its_range_is_no_best_one() -> None:
    run = many(wrong=4)
    at_end = replace(calibrated(0.4, 0.01, 0.5), fitted_scale=10_000.0)
    assert (
        "a logit scale of 1e+04 or more instead of 100"
        in found(run, report_of(run, calibration=at_end))["calibration"].text
    )
