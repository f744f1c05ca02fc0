import html
import json
import random
import shlex
import shutil
import subprocess
import sys
from html.parser import HTMLParser
from pathlib import Path

import numpy as np
import open_clip
import pytest
from conftest import Run
from kits.output_page import check

import zsretrieve as zs
from zsretrieve.demo import report, scenes, story
from zsretrieve.domain.errors import OutputExistsError
from zsretrieve.domain.ports import Encoder
from zsretrieve.encoders.catalog.model_name import DEMO_FOLDER


def test_scenes_are_rich() -> None:
    assert len(scenes.SHAPES) >= 10
    assert len(scenes.COLOURS) >= 12
    assert len(scenes.BACKGROUNDS) >= 6
    assert len(set(scenes.class_names())) == 120
    assert {"above", "left of"} == set(scenes.RELATIONS)


def test_a_fifth_is_held_out_evenly() -> None:
    unseen = scenes.unseen_class_names()
    assert len(set(unseen)) == 24
    assert set(unseen) < set(scenes.class_names())
    colours = [name.split()[0] for name in unseen]
    shapes = [name.split()[1] for name in unseen]
    assert {colours.count(c) for c in scenes.COLOURS} == {2}
    assert {shapes.count(s) for s in scenes.SHAPES} <= {2, 3}


def test_the_same_seed_draws_the_same_pictures() -> None:
    def some() -> list[np.ndarray]:
        rng = random.Random(3)
        made = [scenes.single("red star", rng), scenes.pair("blue bolt", "white heart", rng)]
        return [np.asarray(scenes.draw(scene)) for scene in made]

    for one, other in zip(some(), some(), strict=True):
        np.testing.assert_array_equal(one, other)
    assert some()[0].shape == (128, 128, 3)


def test_captions_say_what_is_there() -> None:
    one = scenes.Scene((scenes.Thing("star", "red", "solid", "small"),), "sand", None, 1)
    assert one.caption == "a small red star on a sand background"
    both = scenes.Scene((*one.things, scenes.Thing("bolt", "blue", "striped", "medium")), "sky", "left of", 1)
    assert both.caption == "a small red star left of a medium striped blue bolt on a sky background"
    assert both.shows("blue bolt")
    assert both.class_name == "red star"
    assert not one.shows("blue bolt")


@pytest.mark.parametrize("name", scenes.class_names())
def test_every_class_stands_out_from_its_background(name: str) -> None:
    rng = random.Random(name)
    for _ in range(4):
        scene = scenes.single(name, rng)
        pixels = np.asarray(scenes.draw(scene), dtype=float)
        colour = np.array(scenes.COLOURS[scene.things[0].colour], dtype=float)
        near = np.linalg.norm(pixels - colour, axis=2) < 60
        assert 0.005 < near.mean() < 0.75


def test_a_relation_is_drawn_as_said() -> None:
    rng = random.Random(0)
    for _ in range(20):
        scene = scenes.pair("red square", "cyan square", rng)
        pixels = np.asarray(scenes.draw(scene), dtype=float)
        centres = []
        for thing in scene.things:
            near = np.linalg.norm(pixels - np.array(scenes.COLOURS[thing.colour], dtype=float), axis=2) < 50
            centres.append(np.argwhere(near).mean(axis=0))
        axis = 0 if scene.relation == "above" else 1
        assert centres[0][axis] < centres[1][axis]


def test_the_bundled_model_is_a_plain_open_clip_model_of_a_few_megabytes() -> None:
    assert sum(p.stat().st_size for p in DEMO_FOLDER.iterdir()) < 12_000_000
    config = json.loads((DEMO_FOLDER / "open_clip_config.json").read_text())
    assert "hf_tokenizer_name" not in config["model_cfg"]["text_cfg"]
    assert isinstance(open_clip.get_tokenizer(f"local-dir:{DEMO_FOLDER}"), open_clip.tokenizer.SimpleTokenizer)
    card = (DEMO_FOLDER / "MODEL_CARD.md").read_text()
    for word in ("seed", "steps", "unseen", "R-precision", "scripts/train_demo_model"):
        assert word in card


@pytest.fixture(scope="module")
def told(tmp_path_factory: pytest.TempPathFactory) -> story.Story:
    return story.run(tmp_path_factory.mktemp("demo") / "out", lambda what, done, total: None)


def test_the_figures_are_as_documented(told: story.Story) -> None:
    check(json.loads(json.dumps(told.figures())), "demo")


def test_the_demo_reaches_what_it_promises(told: story.Story) -> None:
    unseen = told.reports["scenes"]["unseen"]
    assert unseen.n_classes == 120
    assert unseen.n_scored == 24 * story.SINGLES_PER_CLASS
    assert unseen.prec_at_1 >= 0.95
    assert told.reports["scenes"]["seen"].prec_at_1 >= 0.95
    assert told.r_precision >= 0.9
    assert 500 <= told.n_images <= 700


def test_the_demo_searches_find_what_they_ask_for(told: story.Story) -> None:
    for query, hits in told.text_hits.items():
        colour, shape = next(n for n in scenes.class_names() if all(w in query for w in n.split())).split()
        best = told.scenes[Path(hits[0].path).relative_to((told.out / "scenes").absolute()).as_posix()]
        assert best.shows(f"{colour} {shape}"), query
    assert told.image_query not in {hit.path for hit in told.image_hits}


def test_prec_at_1_on_a_larger_fresh_set(demo_encoder: Encoder) -> None:
    rng = random.Random(31)
    unseen = scenes.unseen_class_names()
    drawn = [scenes.single(name, rng) for name in unseen for _ in range(20)]
    vectors = demo_encoder.encode_prepared([demo_encoder.prepare(scenes.draw(s)) for s in drawn])
    prototypes = zs.make_prototypes("scenes", demo_encoder).prototypes
    assert prototypes.manifest.templates_source == "scenes"
    names = prototypes.prompts.class_names
    best = prototypes.index.search(vectors, 1)[1][:, 0]
    right = [names[b] == s.class_name for b, s in zip(best, drawn, strict=True)]
    assert sum(right) / len(right) >= 0.95


class _Page(HTMLParser):
    def __init__(self) -> None:
        super().__init__()
        self.links: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.links += [str(value) for key, value in attrs if key in ("src", "href")]


def test_the_report_stands_alone(told: story.Story) -> None:
    page = report.write_report(told).read_text()
    parser = _Page()
    parser.feed(page)
    assert len(parser.links) >= 40
    assert all(link.startswith("data:image/jpeg;base64,") for link in parser.links)
    assert "unseen" in page
    for command in told.next_commands():
        assert command in html.unescape(page)


def test_a_second_demo_replaces_the_first_and_nothing_else(told: story.Story, tmp_path: Path) -> None:
    (tmp_path / "scenes").mkdir()
    (tmp_path / "scenes" / "take1.txt").write_text("x")
    (tmp_path / "scenes.csv").write_text("mine")
    with pytest.raises(OutputExistsError, match="left alone"):
        story.draw_gallery(tmp_path, lambda done, total: None)
    assert (tmp_path / "scenes" / "take1.txt").read_text() == "x"
    assert (tmp_path / "scenes.csv").read_text() == "mine"
    (told.out / "scenes" / "added by hand.txt").write_text("x")
    story.draw_gallery(told.out, lambda done, total: None)
    assert (told.out / "scenes" / "added by hand.txt").exists()


def test_the_command_and_those_it_prints(run_cli: Run, tmp_path: Path) -> None:
    done = run_cli("-q", "demo", "--out", "my demo", "--format", "json", cwd=tmp_path)
    assert (done.returncode, done.stderr) == (0, "")
    figures = json.loads(done.stdout)
    assert figures["prec@1"]["scenes"]["unseen"]["prec@1"] >= 0.95
    assert (tmp_path / figures["report"]).is_file()
    assert len(figures["searches"]) == 4
    # A second time, with a file of one's own among its images.
    shutil.copy(tmp_path / "my demo" / "scenes" / "pair-001.jpg", tmp_path / "my demo" / "scenes" / "mine.jpg")
    told = run_cli("demo", "--out", "my demo", cwd=tmp_path)
    assert told.returncode == 0
    assert "ensemble" in told.stdout
    commands = told.stdout.split("Try next:")[1].strip().splitlines()
    assert len(commands) == 5
    server = subprocess.Popen(
        [sys.executable, "-m", "zsretrieve", *shlex.split(commands.pop())[1:], "--no-open", "--no-warm", "--port", "0"],
        cwd=tmp_path, stdout=subprocess.PIPE, text=True,
    )  # fmt: skip
    with server:
        assert server.stdout is not None
        assert server.stdout.readline().startswith("Serving 660 images at http://127.0.0.1:")
        server.terminate()
    for command in commands:
        program, *words = shlex.split(command)
        assert program.endswith("zsretrieve")
        done = run_cli(*words, cwd=tmp_path)
        assert done.returncode == 0, f"{command}\n{done.stderr}"
