"""What is loaded when: a start must be quick, and a heavy library must be the business of the command that needs it."""

from __future__ import annotations

import subprocess
import sys

import pytest

HEAVY = ("torch", "open_clip", "timm", "transformers", "faiss", "pyarrow", "torchvision", "duckdb")


def loaded(code: str) -> set[str]:
    probe = f"import sys\n{code}\nprint(' '.join(m for m in {HEAVY!r} if m in sys.modules))"
    done = subprocess.run([sys.executable, "-c", probe], capture_output=True, text=True, check=True)
    return set(done.stdout.splitlines()[-1].split())


def test_importing_the_package_loads_nothing_heavy() -> None:
    assert loaded("import zsretrieve") == set()
    assert loaded("import zsretrieve, zsretrieve.errors, zsretrieve.records") == set()


@pytest.mark.parametrize("arguments", [["--help"], ["--version"], ["index", "--help"], ["search", "--help"]])
def test_help_loads_nothing_heavy(arguments: list[str]) -> None:
    code = f"sys.argv = ['zsretrieve', *{arguments!r}]\nfrom zsretrieve.cli.app import main\n"
    assert loaded(f"{code}try:\n    main()\nexcept SystemExit as e:\n    assert e.code in (0, None), e.code") == set()


def test_the_names_promised_are_there() -> None:
    import zsretrieve

    assert zsretrieve.__all__ == sorted(zsretrieve.__all__)
    for name in zsretrieve.__all__:
        assert getattr(zsretrieve, name) is not None
        assert name in dir(zsretrieve)
    # The verbs' modules must not hide the functions of the same name.
    assert callable(zsretrieve.classify)
    assert callable(zsretrieve.search)
    with pytest.raises(AttributeError, match="no attribute 'nothing'"):
        zsretrieve.nothing  # noqa: B018
