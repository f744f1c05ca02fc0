"""The cache of query vectors: exact, bounded, private, shared by processes, and never in the way."""

from __future__ import annotations

import multiprocessing
import os
import random
import shutil
import sqlite3
import stat
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from kits.hashing_encoder import HashingEncoder
from kits.models import write_model
from kits.processes import as_nobody, in_process
from typer.testing import CliRunner

import zsretrieve as zs
from zsretrieve.cli.app import app
from zsretrieve.domain.errors import SpaceMismatchError
from zsretrieve.domain.ports import Encoder
from zsretrieve.domain.records import Space
from zsretrieve.domain.vectors import Vectors
from zsretrieve.encoders import loading
from zsretrieve.encoders.cache import text_embeddings, vector_store
from zsretrieve.encoders.cache.text_embeddings import CachedPrompts, CachedQueries
from zsretrieve.encoders.catalog.fingerprint import weights_identity
from zsretrieve.encoders.catalog.model_name import parse_model_name
from zsretrieve.encoders.torch.data_parallel import Replicas
from zsretrieve.system.version import tool_version

TEXTS = ["a dog", "a cat", "Ein Hünd 🐕", "\udcff", ""]


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("ZSRETRIEVE_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache" / "queries.sqlite3"


@pytest.fixture
def space(hashing_encoder: HashingEncoder) -> Space:
    return hashing_encoder.space


def no_model(*_: object) -> Encoder:
    raise AssertionError("the model is not needed")


def hashing(space: Space) -> Encoder:
    return zs.Model.of(HashingEncoder()).load(space)


def fill(space: Space, load: Callable[[Space], Encoder]) -> None:
    CachedQueries(space, "here", load).encode_texts(TEXTS[:3])


def test_a_hit_needs_no_model_and_has_the_same_bits(hashing_encoder: HashingEncoder, space: Space) -> None:
    fresh = [hashing_encoder.encode_texts([text])[0] for text in TEXTS[:3]]
    first = CachedQueries(space, "here", lambda _: hashing_encoder).encode_texts(TEXTS[:3])
    again = CachedQueries(space, "here", no_model).encode_texts(TEXTS[2::-1])
    for row, vector in enumerate(fresh):
        assert vector.tobytes() == first[row].tobytes() == again[2 - row].tobytes()
    assert again.dtype == np.float32
    assert CachedQueries(space, "here", no_model).encode_texts([]).shape == (0, space.dim)
    assert text_embeddings.QUERIES.size()[0] == 3


@pytest.mark.parametrize(
    ("other", "settings"),
    [
        (lambda space: replace(space, weights="sha256:other"), "here"),
        (lambda space: replace(space, activation="other"), "here"),
        (lambda space: replace(space, text=replace(space.text, context_length=5)), "here"),
        (lambda space: space, "there"),
    ],
)
def test_what_makes_other_vectors_is_kept_apart(
    hashing_encoder: HashingEncoder, space: Space, other: Callable[[Space], Space], settings: str
) -> None:
    fill(space, lambda _: hashing_encoder)
    with pytest.raises(AssertionError, match="not needed"):
        CachedQueries(other(space), settings, no_model).encode_texts(["a dog"])


def test_another_version_does_not_use_what_this_one_kept(
    hashing_encoder: HashingEncoder, space: Space, monkeypatch: pytest.MonkeyPatch
) -> None:
    fill(space, lambda _: hashing_encoder)
    monkeypatch.setattr(text_embeddings, "tool_version", lambda: "another")
    with pytest.raises(AssertionError, match="not needed"):
        CachedQueries(space, "here", no_model).encode_texts(["a dog"])


@pytest.mark.parametrize("package", ["openvino", "torch", "open_clip_torch", "tokenizers", "transformers"])
def test_another_version_of_what_encodes_does_not_use_it(
    hashing_encoder: HashingEncoder, space: Space, monkeypatch: pytest.MonkeyPatch, package: str
) -> None:
    fill(space, lambda _: hashing_encoder)
    version = text_embeddings._version_of
    monkeypatch.setattr(text_embeddings, "_version_of", lambda name: "another" if name == package else version(name))
    with pytest.raises(AssertionError, match="not needed"):
        CachedQueries(space, "here", no_model).encode_texts(["a dog"])


@pytest.mark.parametrize(
    ("engine", "kept"), [("openvino", 1), ("torch", 0)], ids=["as planned", "torch in the place of OpenVINO"]
)
def test_only_what_was_planned_is_kept(
    hashing_encoder: HashingEncoder, space: Space, monkeypatch: pytest.MonkeyPatch, engine: str, kept: int
) -> None:
    monkeypatch.setattr(hashing_encoder, "encoding", replace(hashing_encoder.encoding, engine=engine))
    monkeypatch.setattr(loading, "load_encoder", lambda *_: hashing_encoder)
    first = zs.Model(None, zs.Compute("cpu")).texts(space).encode_texts(["a dog"])
    np.testing.assert_array_equal(first, hashing_encoder.encode_texts(["a dog"]))
    assert text_embeddings.QUERIES.size()[0] == kept


def test_a_call_opens_the_file_once_to_read_and_once_to_write(
    hashing_encoder: HashingEncoder, space: Space, monkeypatch: pytest.MonkeyPatch
) -> None:
    opened, asked = [], []
    connect, encode = sqlite3.connect, hashing_encoder.encode_texts

    def counted(*arguments: Any, **options: Any) -> sqlite3.Connection:
        opened.append(arguments)
        return connect(*arguments, **options)

    def noted(texts: Sequence[str]) -> Vectors:
        asked.append(list(texts))
        return encode(texts)

    monkeypatch.setattr(sqlite3, "connect", counted)
    monkeypatch.setattr(hashing_encoder, "encode_texts", noted)
    fill(space, lambda _: hashing_encoder)
    opened.clear()
    asked.clear()
    CachedQueries(space, "here", lambda _: hashing_encoder).encode_texts([*TEXTS, *TEXTS])
    assert len(opened) == 2
    assert asked == [[text] for text in TEXTS[3:]], "each text alone, and once"
    opened.clear()
    CachedQueries(space, "here", no_model).encode_texts(TEXTS)
    assert len(opened) == 1


def test_many_are_encoded_in_one_batch_and_kept_apart(hashing_encoder: HashingEncoder, space: Space) -> None:
    asked: list[int] = []

    class Counting:
        text_encoding = hashing_encoder.encoding

        def encode_texts(self, texts: Sequence[str]) -> Vectors:
            asked.append(len(texts))
            return hashing_encoder.encode_texts(texts)

    fill(space, lambda _: hashing_encoder)
    many = [*TEXTS, *(f"a dog and {number} cats" for number in range(40))]
    for _ in range(2):
        vectors = CachedQueries(space, "here", lambda _: Counting()).encode_texts([*many, *many])
        np.testing.assert_array_equal(vectors, np.tile(hashing_encoder.encode_texts(many), (2, 1)))
    assert asked == [len(many) - 3], "those in the cache are not encoded again"
    assert text_embeddings.QUERIES.size()[0] == 3
    CachedQueries(space, "here", lambda _: Counting(), together=True).encode_texts(["a fox", "a hen", TEXTS[0]])
    CachedQueries(space, "here", lambda _: Counting(), together=True).encode_texts(["an owl"])
    assert asked[1:] == [2, 1]
    assert text_embeddings.QUERIES.size()[0] == 4, "what was encoded in a batch is not taken for a query's own bits"


def test_the_same_weights_in_another_place_are_the_same(hashing_encoder: HashingEncoder, space: Space) -> None:
    fill(space, lambda _: hashing_encoder)
    CachedQueries(replace(space, model="local-dir:elsewhere"), "here", no_model).encode_texts(["a dog"])


def test_a_model_of_another_space_is_refused(space: Space) -> None:
    encoder = CachedQueries(space, "here", zs.Model.of(HashingEncoder(seed=9)).load)
    with pytest.raises(SpaceMismatchError):
        encoder.encode_texts(["a dog"])
    assert text_embeddings.QUERIES.size()[0] == 0


@pytest.mark.parametrize("damage", ["empty", "text", "cut", "random", "bits", "table", "folder"])
def test_a_damaged_file_is_only_not_used(
    hashing_encoder: HashingEncoder, space: Space, cache: Path, damage: str
) -> None:
    fill(space, lambda _: hashing_encoder)
    content = cache.read_bytes()
    rng = random.Random(1)
    cache.unlink()
    match damage:
        case "empty":
            cache.touch()
        case "text":
            cache.write_text("no database at all, but long enough for a header " * 100)
        case "cut":
            cache.write_bytes(content[: len(content) // 2])
        case "random":
            cache.write_bytes(content[:100] + rng.randbytes(len(content) - 100))
        case "bits":
            cache.write_bytes(bytes(byte ^ (rng.random() < 0.01) for byte in content))
        case "table":
            with sqlite3.connect(cache) as table:
                table.execute("CREATE TABLE queries (key BLOB PRIMARY KEY, vector TEXT, used TEXT)")
            table.close()
        case "folder":
            cache.mkdir()
    for _ in range(2):
        found = CachedQueries(space, "here", lambda _: hashing_encoder).encode_texts(TEXTS)
        for row, text in enumerate(TEXTS):
            assert found[row].tobytes() == hashing_encoder.encode_texts([text])[0].tobytes()
    if damage not in ("bits", "table", "folder"):
        CachedQueries(space, "here", no_model).encode_texts(TEXTS)


def test_a_changed_bit_of_a_vector_is_noticed(hashing_encoder: HashingEncoder, space: Space, cache: Path) -> None:
    fill(space, lambda _: hashing_encoder)
    with sqlite3.connect(cache) as table:
        rows = table.execute("SELECT key, vector FROM queries").fetchall()
        for key, vector in rows:
            table.execute("UPDATE queries SET vector = ? WHERE key = ?", (bytes([vector[0] ^ 1]) + vector[1:], key))
    table.close()
    with pytest.raises(AssertionError, match="not needed"):
        fill(space, no_model)
    fill(space, lambda _: hashing_encoder)
    fill(space, no_model)


def test_the_number_is_bounded_and_the_longest_unused_go_first(
    hashing_encoder: HashingEncoder, space: Space, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(text_embeddings.QUERIES, "most", 20)
    monkeypatch.setattr(text_embeddings.QUERIES, "noted_ns", 0)
    encoder = CachedQueries(space, "here", lambda _: hashing_encoder)
    for number in range(100):
        encoder.encode_texts([f"query {number}", "asked again and again"])
        assert text_embeddings.QUERIES.size()[0] <= 20
    CachedQueries(space, "here", no_model).encode_texts(["query 99", "asked again and again"])
    with pytest.raises(AssertionError, match="not needed"):
        CachedQueries(space, "here", no_model).encode_texts(["query 0"])


def _many(space: Space, number: int, folder: Path) -> None:
    os.environ["ZSRETRIEVE_CACHE"] = str(folder)  # the fork server was started with another
    encoder = CachedQueries(space, "here", hashing)
    for round_ in range(40):
        text = f"query {round_ * (number % 2 + 1)}"
        assert encoder.encode_texts([text])[0].tobytes() == HashingEncoder().encode_texts([text])[0].tobytes()


def test_processes_share_it(space: Space, cache: Path) -> None:
    context = multiprocessing.get_context("forkserver")
    processes = [context.Process(target=_many, args=(space, number, cache.parent)) for number in range(4)]
    for process in processes:
        process.start()
    for process in processes:
        process.join()
    assert [process.exitcode for process in processes] == [0] * 4
    # On a busy machine one may have waited too long for another, and kept nothing.
    assert 1 <= text_embeddings.QUERIES.size()[0] <= 60
    fill(space, hashing)
    fill(space, no_model)


def test_one_that_another_process_holds_is_not_waited_for_long(
    hashing_encoder: HashingEncoder, space: Space, cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    fill(space, lambda _: hashing_encoder)
    monkeypatch.setattr(vector_store, "_WAIT_S", 0.01)
    holder = sqlite3.connect(cache, isolation_level=None)
    holder.execute("BEGIN EXCLUSIVE")
    fill(space, lambda _: hashing_encoder)
    with pytest.raises(AssertionError, match="not needed"):
        fill(space, no_model)
    holder.execute("ROLLBACK")
    holder.close()
    fill(space, no_model)


def _read_only(space: Space, folder: str) -> None:
    os.environ["ZSRETRIEVE_CACHE"] = folder
    tool_version()
    as_nobody(fill, space, hashing)


def test_a_home_that_may_not_be_written_is_no_error(space: Space, cache: Path) -> None:
    for folder in ("/proc/nothing/can/be/made/here", str(cache.parent)):
        assert in_process(_read_only, space, folder) == ""
    assert text_embeddings.QUERIES.size() == (0, 0)
    text_embeddings.QUERIES.clear()


def test_a_python_without_sqlite_searches_all_the_same(
    hashing_encoder: HashingEncoder, space: Space, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "sqlite3", None)
    for name in ("text_embeddings", "vector_store"):
        monkeypatch.delitem(sys.modules, f"zsretrieve.encoders.cache.{name}")
        monkeypatch.delattr(f"zsretrieve.encoders.cache.{name}")
    monkeypatch.setattr(loading, "load_encoder", lambda *_: hashing_encoder)
    model = zs.Model()
    np.testing.assert_array_equal(model.texts(space).encode_texts(TEXTS), hashing_encoder.encode_texts(TEXTS))
    assert zs.Model().prompt_memory(space) is None


def test_it_is_the_users_own_and_holds_no_words(hashing_encoder: HashingEncoder, space: Space, cache: Path) -> None:
    CachedQueries(space, "here", lambda _: hashing_encoder).encode_texts(["my secret wish"])
    assert stat.S_IMODE(os.stat(cache).st_mode) == 0o600
    assert b"secret" not in cache.read_bytes()
    assert text_embeddings.QUERIES.size() == (1, cache.stat().st_size)
    text_embeddings.QUERIES.clear()
    assert text_embeddings.QUERIES.size() == (0, 0)
    assert not cache.exists()


def test_a_search_is_remembered_but_not_with_an_encoder_given(
    small_gallery: Path, hashing_encoder: HashingEncoder, monkeypatch: pytest.MonkeyPatch
) -> None:
    given = zs.search(small_gallery, "a red circle", hashing_encoder)
    assert text_embeddings.QUERIES.size()[0] == 0
    monkeypatch.setattr(loading, "planned_encoding", lambda compute: hashing_encoder.encoding)
    monkeypatch.setattr(loading, "load_encoder", lambda *_: hashing_encoder)
    assert zs.search(small_gallery, "a red circle") == given
    assert text_embeddings.QUERIES.size()[0] == 1
    monkeypatch.setattr(loading, "load_encoder", no_model)
    assert zs.search(small_gallery, "a red circle") == given
    assert zs.search(small_gallery, "a red circle + a red circle") == given


def test_what_the_first_of_several_devices_encoded_is_remembered(
    space: Space, hashing_encoder: HashingEncoder, monkeypatch: pytest.MonkeyPatch
) -> None:
    several = Replicas([hashing_encoder, HashingEncoder()])
    monkeypatch.setattr(loading, "planned_encoding", lambda compute: several.encoding)
    monkeypatch.setattr(loading, "load_encoder", lambda *_: several)
    first = zs.Model().texts(space).encode_texts(TEXTS)
    monkeypatch.setattr(loading, "load_encoder", no_model)
    np.testing.assert_array_equal(zs.Model().texts(space).encode_texts(TEXTS), first)


def test_the_command_line_caches_queries_unless_it_should_not(
    small_gallery: Path, hashing_encoder: HashingEncoder, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(loading, "planned_encoding", lambda compute: hashing_encoder.encoding)
    monkeypatch.setattr(loading, "load_encoder", lambda *_: hashing_encoder)
    ask = ["search", str(small_gallery), "a red circle", "--format", "json"]
    fresh = CliRunner().invoke(app, [*ask, "--no-query-cache"])
    assert (fresh.exit_code, text_embeddings.QUERIES.size()[0]) == (0, 0), fresh.output
    first = CliRunner().invoke(app, ask)
    assert text_embeddings.QUERIES.size()[0] == 1
    monkeypatch.setattr(loading, "load_encoder", no_model)
    assert fresh.stdout == first.stdout == CliRunner().invoke(app, ask).stdout
    other = CliRunner().invoke(app, [*ask, "--precision", "fp32"])
    assert isinstance(other.exception, AssertionError), "another precision is another vector"


def test_a_model_of_other_weights_is_refused_although_the_vector_is_there(
    odd_photos: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    own, other = (write_model("vit-quickgelu", tmp_path / name, seed) for seed, name in enumerate(("own", "other")))
    copy = shutil.copytree(own, tmp_path / "copy")
    stand_in = HashingEncoder()
    weights = weights_identity(parse_model_name(f"local-dir:{own}"))
    stand_in.space = replace(stand_in.space, model=f"local-dir:{own}", weights=weights)
    zs.build_gallery(odd_photos, tmp_path / "gallery", stand_in)
    monkeypatch.setattr(loading, "planned_encoding", lambda compute: stand_in.encoding)
    monkeypatch.setattr(loading, "load_encoder", lambda *_: stand_in)
    ask = ["search", str(tmp_path / "gallery"), "a red circle", "--format", "json"]
    assert CliRunner().invoke(app, ask).exit_code == 0
    monkeypatch.setattr(loading, "load_encoder", no_model)
    assert CliRunner().invoke(app, [*ask, "--model", f"local-dir:{copy}"]).exit_code == 0
    refused = CliRunner().invoke(app, [*ask, "--model", f"local-dir:{other}"])
    assert isinstance(refused.exception, SpaceMismatchError)
    # What is not fetched yet may be anything, so that it must be loaded to tell.
    unknown = CliRunner().invoke(app, [*ask, "--model", "hf-hub:nobody/nothing"])
    assert str(unknown.exception) == "the model is not needed"


def test_prompts_are_kept_in_a_file_of_their_own(hashing_encoder: HashingEncoder, space: Space, cache: Path) -> None:
    memory = CachedPrompts(space, "here")
    assert memory.recall(TEXTS) == {}
    vectors = hashing_encoder.encode_texts(TEXTS)
    memory.keep(TEXTS, vectors, hashing_encoder.encoding)
    found = CachedPrompts(replace(space, model="elsewhere"), "here").recall(["none", *TEXTS])
    assert list(found) == TEXTS
    assert all(found[text].tobytes() == vectors[row].tobytes() for row, text in enumerate(TEXTS))
    assert CachedPrompts(space, "there").recall(TEXTS) == {}
    assert CachedPrompts(replace(space, weights="other"), "here").recall(TEXTS) == {}
    assert text_embeddings.QUERIES.size() == (0, 0)
    own = cache.with_name("prompts.sqlite3")
    assert (text_embeddings.PROMPTS.size(), stat.S_IMODE(own.stat().st_mode)) == ((5, own.stat().st_size), 0o600)
    refusing = CachedPrompts(space, "refused", is_as_planned=lambda encoding: encoding.engine == "another")
    refusing.keep(TEXTS, vectors, hashing_encoder.encoding)
    assert refusing.recall(TEXTS) == {}
    own.write_bytes(b"no database" * 1000)
    assert memory.recall(TEXTS) == {}
    memory.keep(TEXTS, vectors, hashing_encoder.encoding)
    assert len(memory.recall(TEXTS)) == 5


def test_the_number_of_prompts_is_bounded(
    hashing_encoder: HashingEncoder, space: Space, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(text_embeddings.PROMPTS, "most", 30)
    monkeypatch.setattr(text_embeddings.PROMPTS, "spare", 10)
    memory = CachedPrompts(space, "here")
    for number in range(0, 100, 7):
        texts = [f"prompt {number + i}" for i in range(7)]
        memory.keep(texts, hashing_encoder.encode_texts(texts), hashing_encoder.encoding)
        assert text_embeddings.PROMPTS.size()[0] <= 30
        assert len(memory.recall(texts)) == 7
    assert memory.recall(["prompt 0"]) == {}


def _keep_for_ever(space: Space, folder: Path) -> None:
    os.environ["ZSRETRIEVE_CACHE"] = str(folder)
    encoder, memory = HashingEncoder(), CachedPrompts(space, "here")
    for number in range(100_000):
        texts = [f"prompt {number % 40} {i}" for i in range(50)]
        memory.keep(texts, encoder.encode_texts(texts), encoder.encoding)


def test_a_killed_writer_leaves_what_is_right(hashing_encoder: HashingEncoder, space: Space, cache: Path) -> None:
    context = multiprocessing.get_context("forkserver")
    writers = [context.Process(target=_keep_for_ever, args=(space, cache.parent)) for _ in range(2)]
    for writer in writers:
        writer.start()
    waited = 0
    while text_embeddings.PROMPTS.size()[0] < 200 and waited < 600:
        time.sleep(0.1)
        waited += 1
    for writer in writers:
        writer.kill()
        writer.join()
    texts = [f"prompt {number} {i}" for number in range(40) for i in range(50)]
    found = CachedPrompts(space, "here").recall(texts)
    assert len(found) >= 200
    for text in list(found)[::17]:
        assert found[text].tobytes() == hashing_encoder.encode_texts([text])[0].tobytes()
    CachedPrompts(space, "here").keep(["new"], hashing_encoder.encode_texts(["new"]), hashing_encoder.encoding)
    assert len(CachedPrompts(space, "here").recall(["new"])) == 1
