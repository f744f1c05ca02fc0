"""The page: well-formed, self-contained, safe against hostile names, and equal to the JSON in it."""

from __future__ import annotations

import itertools
import json
import os
import re
from dataclasses import replace
from html.parser import HTMLParser
from pathlib import Path
from urllib.parse import unquote
from zipfile import ZipFile

import numpy as np
import pytest
from kits.runs import report_of, run_of
from PIL import Image

from zsretrieve.domain.errors import OutputExistsError, ReportError
from zsretrieve.domain.records import Skipped
from zsretrieve.domain.results import (
    Calibration,
    ClassRetrieval,
    EvalReport,
    Interval,
    Merged,
    Rejection,
    Retrieval,
    Run,
)
from zsretrieve.metrics import expected_calibration_error, reliability
from zsretrieve.reports import Asked, check_report, write_report
from zsretrieve.reports.thumbnails import link

VOID = {"meta", "img", "br", "source", "link", "input", "hr"}
OPTIONS_OF_URLS = ("src", "href", "srcset", "action", "data", "poster")


class Page(HTMLParser):
    """What is in a page; reading it fails if a tag is left open or closed in the wrong place."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.open: list[str] = []
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.text: list[str] = []
        self.data: dict[str, str] = {}
        self.feed(text)
        self.close()
        assert self.open == []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        assert len(dict(attrs)) == len(attrs)
        self.tags.append((tag, dict(attrs)))
        if tag not in VOID:
            self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        if self.open and self.open[-1] in ("script", "style"):
            self.data[self.tags[-1][1].get("type") or self.open[-1]] = data
        else:
            self.text.append(data)

    @property
    def words(self) -> str:
        return re.sub(r"\s+", " ", "".join(self.text))

    @property
    def json(self) -> object:
        return json.loads(self.data["application/json"])

    def all(self, tag: str) -> list[dict[str, str | None]]:
        return [attrs for name, attrs in self.tags if name == tag]


def check(text: str) -> Page:
    """Read a page as strictly as any page of ours must stand."""
    assert text.startswith("<!doctype html>\n")
    page = Page(text)
    ids = [attrs["id"] for _, attrs in page.tags if "id" in attrs]
    assert len(set(ids)) == len(ids)
    for tag, attrs in page.tags:
        for name in OPTIONS_OF_URLS:
            if name in attrs:
                value = str(attrs[name])
                if attrs.get("target") == "_blank":  # the image behind a thumbnail, by a relative path
                    assert (tag, name, attrs["rel"]) == ("a", "href", "noopener")
                    assert ":" not in value
                    continue
                assert value.startswith("data:image/") or (value.startswith("#") and value[1:] in ids), (tag, name)
        assert not [name for name in attrs if name.startswith("on")]
    levels = [int(tag[1]) for tag, _ in page.tags if re.fullmatch(r"h\d", tag)]
    assert levels[0] == 1
    assert levels.count(1) == 1
    assert all(after <= before + 1 for before, after in itertools.pairwise(levels))
    assert all(attrs.get("alt") for attrs in page.all("img"))
    assert [name for name, _ in page.tags].count("script") == 2
    assert "url(" not in page.data["style"]
    assert "@import" not in page.data["style"]
    return page


def world(folder: Path, names: tuple[str, ...], n: int = 120, seed: int = 3) -> EvalReport:
    """A random run over images that are there, with all figures that a report may hold."""
    rng = np.random.default_rng(seed)
    truth = rng.integers(0, len(names), n)
    predicted = np.where(rng.random(n) < 0.5, truth, rng.integers(0, len(names), n))
    paths = []
    for row in range(n):
        paths.append(str(folder / f"picture {row}.png"))
        Image.new("RGB", (30, 20), tuple(rng.integers(0, 256, 3).tolist())).save(paths[-1])
    run = run_of(truth.tolist(), predicted.tolist(), names, rng.random(n).tolist(), paths)
    bins = reliability(run.probabilities[:, 0], run.correct)
    error = expected_calibration_error(bins)
    per_class = tuple(
        ClassRetrieval(c, name, 3, {1: 1.0, 5: 0.5}, {1: 0.2, 5: 0.9}, 0.4) for c, name in enumerate(names)
    )
    return report_of(
        run,
        skipped=(Skipped("bad <b>.png", "not a readable image"), Skipped("worse.png", "empty file")),
        unlabelled=7,
        n_drawn=4,
        merged=Merged(0.5, Interval(0.4, 0.6), n // 2, (names[0],)),
        calibration=Calibration("softmax", 100.0, error, 1.0, bins, 50.0, error, 0.9, bins, fitted_on=77),
        rejection=Rejection("margin", 0.3, 0.7, n // 2, n // 3, 0.5, 2 / 3, Interval(0.55, 0.75)),
        retrieval=Retrieval(0.4, Interval(0.3, 0.5), {1: 1.0, 5: 0.5}, {1: 0.2, 5: 0.9}, per_class),
    )


@pytest.fixture(scope="module")
def full(tmp_path_factory: pytest.TempPathFactory) -> EvalReport:
    return world(tmp_path_factory.mktemp("images"), tuple(f"class {i}" for i in range(30)))


def test_the_page_holds_everything(full: EvalReport, tmp_path: Path) -> None:
    report, out = full, tmp_path / "out.html"
    content = write_report(out, report, asked=Asked("photos", "indexes/p"))
    page = check(out.read_text())
    assert page.json == json.loads(json.dumps(content))
    assert f"Prec@1: {report.n_correct} of {report.n_scored} scored images are classified correctly" in page.words
    interval = report.prec_interval[1]
    assert f"{100 * interval.low:.1f} to {100 * interval.high:.1f} %" in page.words
    for words in (
        "Evaluation of demo", "equal names merged", "calibration error",
        "mean average precision", "fitted to 77 of these images", "Below a margin of 0.3, chosen for a precision of",
        "bad <b>.png", "not a readable image", "Lowest recall", "Highest recall",
        "the prototypes were made from them; not scored",
    ):  # fmt: skip
        assert words in page.words, words
    shown = [*content["mistakes"], *content["hits"]]
    shown += [image for pair in content["pairs"] for image in (*pair["taken"], *pair["of_other"])]
    assert (len(content["mistakes"]), len(content["hits"]), len(content["pairs"])) == (36, 24, 10)
    assert len([one for one in page.all("img") if "width" in one]) == len(shown) <= 120
    assert len(list(tmp_path.iterdir())) == 1


def test_thumbnails_open_their_images(full: EvalReport, tmp_path: Path) -> None:
    content = write_report(tmp_path / "out.html", full, images=10)
    links = [attrs for attrs in check((tmp_path / "out.html").read_text()).all("a") if "target" in attrs]
    opened = [(tmp_path / unquote(str(attrs["href"]))).resolve() for attrs in links]
    shown = [*content["mistakes"], *content["hits"]]
    shown += [image for pair in content["pairs"] for image in (*pair["taken"], *pair["of_other"])]
    assert sorted(opened) == sorted(Path(image["path"]).resolve() for image in shown)
    assert link("javascript:alert(1).png", Path()) == "javascript%3Aalert%281%29.png"
    assert link("https://example.org/a b.png", Path()) == "https://example.org/a b.png"
    assert link("javascript://a", Path()) is None
    with ZipFile(tmp_path / "photos.zip", "w") as archive:
        archive.writestr("a.png", b"")
    assert link(f"{tmp_path}/photos.zip!/a.png", tmp_path) is None


def test_plots_follow_the_colours_of_the_page(full: EvalReport, tmp_path: Path) -> None:
    write_report(tmp_path / "out.html", full, images=0)
    page = check((tmp_path / "out.html").read_text())
    assert len(page.all("svg")) == 4
    for colour in {str(attrs["class"]) for attrs in page.all("path") + page.all("text") + page.all("rect")}:
        assert f".plot .{colour} {{ color: var(" in page.data["style"]


def test_the_json_is_that_of_the_run(full: EvalReport, tmp_path: Path) -> None:
    report, run = full, full.run
    content = write_report(tmp_path / "out.html", report, images=20)
    shortened = {"per_class", "confusions", "retrieval"}
    assert {key: content[key] for key in report.to_dict().keys() - shortened} == {
        key: value for key, value in report.to_dict().items() if key not in shortened
    }
    recalls = [row["recall"] for row in content["per_class"]]
    assert recalls == sorted(recalls)
    assert {row["class_id"]: row["n_correct"] for row in content["per_class"]} == {
        score.class_id: score.n_correct for score in report.per_class
    }
    for row in content["per_class"]:
        mistakes = [c for c in report.confusions if c.true_id == row["class_id"]]
        assert row["taken_for_count"] == max((c.count for c in mistakes), default=0)
    assert sum(one["count"] for one in content["confusions"]) == report.n_scored - report.n_correct
    assert content["n_confusions"] == len(report.confusions)
    for image in content["mistakes"]:
        row = run.paths.index(image["path"])
        assert (image["true_id"], image["predicted_id"]) == (run.truth[row], run.ranked[row, 0])
        assert image["true_id"] != image["predicted_id"]
        assert image["probability"] == run.probabilities[row, 0]
        assert image["true_rank"] in (2, None)
        assert image["margin"] == pytest.approx(run.margins[row], abs=1e-7)
    for pair in content["pairs"]:
        back = [
            c.count for c in report.confusions if (c.true_id, c.predicted_id) == (pair["predicted_id"], pair["true_id"])
        ]
        assert [pair["n_back"]] == (back or [0])
        assert pair["n_true"] == (run.truth == pair["true_id"]).sum()


def test_the_highest_recalls_stand_on_a_page_that_leaves_classes_out(
    full: EvalReport, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("zsretrieve.reports.content._CLASSES", 25)
    content = write_report(tmp_path / "out.html", full, images=0)
    assert (len(content["per_class"]), content["n_classes_left_out"]) == (25, 4)
    recalls = sorted((score.recall for score in full.per_class), reverse=True)
    assert [one["recall"] for one in content["highest"]] == recalls[:12]
    page = (tmp_path / "out.html").read_text()
    check(page)
    table = page.split('aria-label="classes of highest recall"')[1].split("</table>")[0]
    assert table.count("<tr>") == 1 + 12


@pytest.mark.parametrize(("factor", "words"), [(100, "any scale from 1e+04 up"), (0.01, "any scale up to 1")])
def test_a_scale_at_the_end_of_its_range_is_called_no_minimum(
    full: EvalReport, tmp_path: Path, factor: float, words: str
) -> None:
    assert full.calibration is not None
    found = replace(full.calibration, fitted_scale=factor * full.calibration.scale)
    write_report(tmp_path / "out.html", replace(full, calibration=found), images=0)
    assert f"with {words}, fitted to 77" in check((tmp_path / "out.html").read_text()).words


def test_hostile_names_are_text(tmp_path: Path) -> None:
    names = ("</script><script>alert(1)</script>", '"><img src=x onerror=alert(1)>', "{{ 7 * 7 }}", "&lt;b&gt;", "<!--")
    folder = tmp_path / "<img src=x>"
    folder.mkdir()
    report = world(folder, names, 60)
    out = tmp_path / "out.html"
    report = EvalReport(**{**vars(report), "model": "<script>alert(2)</script>", "where": "label <> '</style>'"})
    write_report(out, report, asked=Asked("<i>", "a & b"))
    page = check(out.read_text())
    for name in names:
        assert name in page.words
    assert "Evaluation of <script>alert(2)</script>" in page.words
    assert "evaluate '<i>' --prototypes 'a & b'" in page.words
    assert {row["class_name"] for row in page.json["per_class"]} == set(names)
    assert "default-src 'none'" in str(page.all("meta")[3]["content"])


def test_names_that_are_no_utf_8_are_made_visible(tmp_path: Path) -> None:
    path = os.fsencode(tmp_path) + b"/odd \xff.png"
    with open(path, "wb") as file:
        Image.new("RGB", (9, 9)).save(file, "PNG")
    run = run_of([0, 1], [1, 1], ("a", "b"), paths=[os.fsdecode(path), str(tmp_path / "gone.png")])
    write_report(tmp_path / "out.html", report_of(run))
    page = check((tmp_path / "out.html").read_text())
    assert r"odd \udcff.png" in page.words
    assert page.json["pairs"][0]["taken"][0]["path"] == os.fsdecode(path)


def test_images_that_are_gone_or_changed_are_reported_and_counted(tmp_path: Path) -> None:
    paths = [str(tmp_path / f"{row}.png") for row in range(4)]
    for path in paths[:2]:
        Image.new("RGB", (9, 9)).save(path)
    run = run_of([0, 0, 1, 1], [1, 1, 1, 1], ("a", "b"), paths=paths)
    run = Run(**{**vars(run), "digests": ("0" * 64, "", "", "")})
    content = write_report(tmp_path / "out.html", report_of(run))
    page = check((tmp_path / "out.html").read_text())
    assert content["images"] == {
        "n": 4, "problems": {"changed since it was encoded": 1, "no such file or directory": 2},
    }  # fmt: skip
    assert "cannot be shown: no such file or directory" in page.words
    assert "Of 4 images 1: changed since it was encoded; 2: no such file or directory." in page.words


@pytest.mark.parametrize(
    ("truth", "predicted", "names"),
    [
        ([0], [0], ("a",)), ([0], [1], ("a", "b")), ([0, 1, 2], [1, 2, 0], ("a", "b", "c")),
        ([1] * 9, [1] * 9, ("a", "b")),
    ],
    ids=["one image, one class", "one image, wrong", "all wrong", "all right"],
)  # fmt: skip
def test_the_smallest_runs(truth: list[int], predicted: list[int], names: tuple[str, ...], tmp_path: Path) -> None:
    run = run_of(truth, predicted, names)
    write_report(tmp_path / "out.html", report_of(run), images=120)
    words = check((tmp_path / "out.html").read_text()).words
    all_right, all_wrong = truth == predicted, set(truth) & set(predicted) == set() or len(names) == 3
    assert ("None: every scored image is classified correctly." in words) is all_right
    assert ("None: no scored image is classified correctly." in words) is (all_wrong and not all_right)


def test_no_images_may_be_asked_for(full: EvalReport, tmp_path: Path) -> None:
    content = write_report(tmp_path / "out.html", full, images=0)
    page = check((tmp_path / "out.html").read_text())
    assert content["images"]["n"] == 0
    assert content["confusions"]
    assert "None is shown." in page.words


def test_a_page_of_many_noisy_images_stays_below_five_megabytes(tmp_path: Path) -> None:
    names = tuple(f"class {i}" for i in range(1000))
    rng = np.random.default_rng(0)
    paths = []
    for row in range(40):
        paths.append(str(tmp_path / f"{row}.png"))
        Image.fromarray(rng.integers(0, 256, (200, 200, 3), dtype=np.uint8)).save(paths[-1], compress_level=0)
    truth = rng.integers(0, 1000, 20_000)
    predicted = np.where(rng.random(20_000) < 0.6, truth, rng.integers(0, 1000, 20_000))
    sure = rng.random(20_000).tolist()
    run = run_of(truth.tolist(), predicted.tolist(), names, sure, [paths[row % 40] for row in range(20_000)])
    write_report(tmp_path / "out.html", report_of(run))
    assert (tmp_path / "out.html").stat().st_size < 5_000_000


def test_a_report_is_replaced_and_nothing_else_is(full: EvalReport, tmp_path: Path) -> None:
    out = tmp_path / "out.html"
    write_report(out, full, images=0)
    write_report(out, full, images=10)
    assert 'alt="class' in out.read_text()
    out.write_text("<!doctype html>\nmine")
    with pytest.raises(OutputExistsError, match="left alone") as caught:
        write_report(out, full)
    assert "`force`" in str(caught.value.hint)
    assert out.read_text() == "<!doctype html>\nmine"
    write_report(out, full, images=0, force=True)
    check(out.read_text())
    assert len(list(tmp_path.iterdir())) == 1


def test_a_link_to_nothing_is_left_alone(full: EvalReport, tmp_path: Path) -> None:
    (tmp_path / "out.html").symlink_to(tmp_path / "elsewhere.html")
    with pytest.raises(OutputExistsError):
        check_report(tmp_path / "out.html", force=True)


def test_places_where_nothing_can_be_written_are_reported_at_once(tmp_path: Path) -> None:
    check_report(tmp_path / "out.html")
    with pytest.raises(ReportError, match="there is no folder"):
        check_report(tmp_path / "none" / "out.html")
    (tmp_path / "file").touch()
    with pytest.raises(ReportError, match="there is no folder"):
        check_report(tmp_path / "file" / "out.html", force=True)
    (tmp_path / "folder").mkdir()
    with pytest.raises(ReportError, match="it is a folder"):
        check_report(tmp_path / "folder", force=True)
    assert list((tmp_path / "folder").iterdir()) == []


def test_a_failure_leaves_what_was_there(full: EvalReport, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    out = tmp_path / "out.html"
    write_report(out, full, images=0)
    before = out.read_bytes()

    def fails(*_: object, **__: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("zsretrieve.system.atomic.put", fails)
    with pytest.raises(KeyboardInterrupt):
        write_report(out, full, images=5)
    assert out.read_bytes() == before
    assert len(list(tmp_path.iterdir())) == 1
