"""What the public functions and value objects are given: wrong types and numbers out of bounds."""

from __future__ import annotations

import pickle
import time
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import pytest
from kits.hashing_encoder import HashingEncoder

import zsretrieve as zs
from zsretrieve.domain.arguments import MOST_CHARACTERS, Count, Share, check_texts, entrance
from zsretrieve.domain.errors import DeviceError, ModelNameError, SourceError, UsageError
from zsretrieve.domain.ports import Encoder
from zsretrieve.encoders.loading import Model

LONG = "x" * 5000


def takes(
    path: str | Path,
    k: Count | None = None,
    share: Share = 0.5,
    names: Sequence[str] = (),
    model: Model | Encoder | str = "",
) -> str:
    return f"{path} {k}"


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda call: call(None), "path must be a text or a Path, got None"),
        (lambda call: call(), "missing a required argument: 'path'"),
        (lambda call: call("a", top=3), "unexpected keyword argument 'top'"),
        (lambda call: call("a", True), "k must be a whole number from 1 to 2,147,483,647, got True"),
        (lambda call: call("a", 2.0), "k must be a whole number .*, got 2.0"),
        (lambda call: call("a", 0), "k must be .*, got 0"),
        (lambda call: call("a", 10**30), "k must be .*, got 1000"),
        (lambda call: call("a", share=float("nan")), "share must be a number from 0 to 1, got nan"),
        (lambda call: call("a", share=float("inf")), "got inf"),
        (lambda call: call("a", share="1"), "share must be .*, got '1'"),
        (lambda call: call("a", names="abc"), "names must be a list, each a text, got 'abc'"),
        (lambda call: call("a", names=["a", 1]), "names must be a list, each a text"),
        (lambda call: call("a", names={"a": 1}), "names must be a list"),
        (lambda call: call("a", model=object()), "model must be a Model or an Encoder or a text"),
    ],
)
def test_arguments_are_held_against_annotations(call: Callable[[object], object], message: str) -> None:
    with pytest.raises(UsageError, match=message) as caught:
        call(entrance(takes))
    assert caught.value.hint == "See help(zsretrieve.takes)."


def test_what_fits_passes() -> None:
    call = entrance(takes)
    assert call(Path("a"), k=np.int64(3), share=np.float32(0.5), names=np.array(["b"]), model=HashingEncoder()) == "a 3"
    assert call("a", share=1, names=("b",), model=Model("demo")) == "a None"


def test_what_only_the_type_checker_knows_is_not_checked() -> None:
    def takes_it(given: Unknown, number: int) -> int:  # type: ignore[name-defined] # noqa: F821
        return number

    assert entrance(takes_it)(object(), 2) == 2
    with pytest.raises(UsageError, match="number must be"):
        entrance(takes_it)(object(), "2")


def test_errors_of_the_system_say_where() -> None:
    def open_it(path: str) -> object:
        return Path(path).read_text()

    for path, message in ((LONG, "'xxx.*': file name too long"), ("a\0b", "a path holds a null character")):
        with pytest.raises(SourceError, match=message) as caught:
            entrance(open_it)(path)
        assert len(caught.value.message) < 300


def test_every_public_function_is_checked() -> None:
    functions = [getattr(zs, name) for name in zs.__all__ if type(getattr(zs, name)) is type(takes)]
    assert len(functions) > 40
    assert all(hasattr(function, "__wrapped__") for function in functions)
    assert zs.search is zs.search
    assert pickle.loads(pickle.dumps(zs.search)) is zs.search


@pytest.mark.parametrize(
    "call",
    [
        lambda: zs.open_gallery(None),
        lambda: zs.open_gallery(LONG),
        lambda: zs.open_gallery("a\0b"),
        lambda: zs.is_index(LONG),
        lambda: zs.read_manifest([1]),
        lambda: zs.build_gallery(["a", 5], "out"),
        lambda: zs.build_gallery("a", 5),
        lambda: zs.classify("a", 5),
        lambda: zs.classify("a", labels=7),
        lambda: zs.evaluate("a", "b", ranks=5),
        lambda: zs.open_source(None),
        lambda: zs.open_source([LONG]),
        lambda: zs.read_prompts(None),
        lambda: zs.read_prompts(LONG),
        lambda: zs.make_prototypes([1, 2]),
        lambda: zs.find_duplicates("x", near="0.5"),
        lambda: zs.remove("gallery", "pattern"),
        lambda: zs.compare(None, None),
        lambda: zs.open_run(LONG),
        lambda: zs.Model(5),
        lambda: zs.Model("demo", "cpu"),
        lambda: zs.Model(f"local-dir:{LONG}\0"),
        lambda: zs.Compute(5),
        lambda: zs.Compute(precision=[1]),
        lambda: zs.Compute(batch_size=1_000_000),
        lambda: zs.Compute(batch_size="8"),
        lambda: zs.Compute(compile="yes"),
        lambda: zs.Reading(max_pixels=float("inf")),
        lambda: zs.Reading(workers=0),
        lambda: zs.Reading(exif="no"),
        lambda: zs.Shots("5"),
        lambda: zs.Shots(seed=-1),
        lambda: zs.Regularisation(c=float("nan")),
        lambda: zs.CurveSettings(shots=5),
        lambda: zs.CurveSettings(seeds=(2**40,)),
        lambda: zs.Reject(below="1"),
        lambda: zs.Outputs(images=-1),
    ],
)
def test_wrong_values_are_refused_in_our_own_words(call: Callable[[], object]) -> None:
    with pytest.raises(zs.ZsRetrieveError) as caught:
        call()
    assert caught.value.hint


@pytest.mark.parametrize("device", ["gpu", "cuda:x", "cuda:all,cpu", "intel", "", "cpu,cpu", "cuda:"])
def test_an_unknown_device_is_refused_when_it_is_written_down(device: str) -> None:
    with pytest.raises(DeviceError, match="is not a device"):
        zs.Compute(device)
    for known in ("auto", "cpu", "cuda", "cuda:1", "cuda:0,cuda:1", "cuda:0, cuda:1", "cuda:all"):
        assert zs.Compute(known).device == known


def test_a_text_alone_is_not_a_list_of_its_letters(demo_encoder: Encoder) -> None:
    for encode in (demo_encoder.encode_texts, demo_encoder.token_counts):
        with pytest.raises(UsageError, match="must be a list of texts, got a single text") as caught:
            encode("a red star")  # type: ignore[operator]
        assert '["a red star"]' in str(caught.value.hint)
    with pytest.raises(UsageError, match="each a text"):
        demo_encoder.encode_texts(["a", 5])  # type: ignore[list-item]
    assert demo_encoder.encode_texts(("a red star",)).shape == (1, demo_encoder.space.dim)


def test_a_text_of_a_megabyte_is_refused_at_once() -> None:
    start = time.perf_counter()
    with pytest.raises(UsageError, match="1,000,000 characters"):
        check_texts(["short", "x" * 1_000_000])
    assert time.perf_counter() - start < 0.5
    check_texts(["x" * MOST_CHARACTERS])


def test_a_mistyped_model_is_no_path() -> None:
    with pytest.raises(ModelNameError):
        zs.Model("x" * 100_000)
