"""What is refused before a model library is imported."""

import subprocess
import sys
from pathlib import Path

import pytest
from kits.waiting import PATIENCE_S

from zsretrieve.domain.errors import ModelNameError
from zsretrieve.encoders.catalog.model_name import NameForm, parse_model_name

_TRY = """
import logging, sys
import zsretrieve as zs
said = []
logging.getLogger("zsretrieve").addHandler(type("Said", (logging.Handler,), {"emit": lambda self, r: said.append(r)})())
logging.getLogger("zsretrieve").setLevel(logging.INFO)
for name, compute in [(name, zs.Compute(engine=engine)) for name in sys.argv[1:] for engine in ("auto", "torch")]:
    try:
        zs.Model(name, compute).load()
    except zs.ZsRetrieveError as error:
        print(f"{error.message} | {error.hint}")
assert not {"torch", "open_clip", "transformers"} & set(sys.modules) and not said
"""


def test_what_cannot_be_loaded_is_refused_before_torch_is_imported(tmp_path: Path) -> None:
    checkpoint = tmp_path / "weights.pt"
    checkpoint.touch()
    names = ["ViT-B-99/openai", "ViT-B-32/opnai", "ViT-B-32/openai", "hf-hub:org/name", f"ViT-X/{checkpoint}"]
    done = subprocess.run([sys.executable, "-c", _TRY, *names], capture_output=True, text=True, timeout=PATIENCE_S)
    assert done.returncode == 0, done.stderr
    lines = done.stdout.splitlines()
    assert len(lines) == 2 * len(names)
    for line, wanted in zip(
        lines[::2],
        (
            "no architecture 'ViT-B-99' | Did you mean",
            "'ViT-B-32' has no tag 'opnai' | Did you mean ViT-B-32/openai",
            "'ViT-B-32/openai': not in the cache, and HF_HUB_OFFLINE is set | Check the network",
            "'hf-hub:org/name': not in the cache, and HF_HUB_OFFLINE is set | Check the network",
            "no architecture 'ViT-X'",
        ),
        strict=True,
    ):
        assert wanted in line


@pytest.mark.parametrize("name", ["{0}/lr=0.1,bs=32/ck.pt", "ViT-B-32/{0}/a,b.pt", "ViT-B-32,{0}/lr=0.1,bs=32/ck.pt"])
def test_the_path_of_a_checkpoint_may_hold_commas(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    for path in (Path("runs/lr=0.1,bs=32/ck.pt"), Path("runs/a,b.pt"), Path("lr=0.1,bs=32/ck.pt")):
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch()
    written = name.format("ViT-B-32" if name.startswith("{") else "runs")
    parsed = parse_model_name(written)
    assert (parsed.form, parsed.arch) == (NameForm.CHECKPOINT, "ViT-B-32")
    assert Path(parsed.rest).is_file()
    Path(parsed.rest).unlink()
    with pytest.raises(ModelNameError, match="there is no checkpoint"):
        parse_model_name(written)
