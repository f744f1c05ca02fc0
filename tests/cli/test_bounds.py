"""Numbers out of bounds are refused before anything is read or reserved."""

import pytest
from conftest import Run


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ("classify x -l a,b --batch-size 1000000", "batch_size must be a whole number from 1 to 4,096, got 1000000"),
        ("classify x -l a,b --max-megapixels 1e999", "inf is not a number of megapixels"),
        ("classify x -l a,b --max-megapixels nan", "nan is less than 0.001"),
        ("classify x -l a,b --max-megapixels 1e300", "max_pixels must be a whole number from 1 to"),
        ("fewshot curve x -p y --seeds 1000000000", "1000000000 is more than 1000"),
        ("fewshot curve x -p y --seed 99999999999999", "each a whole number from 0 to 4,294,967,295"),
        ("probe x y --shots 99999999999999", "per_class must be a whole number from 1 to"),
    ],
)
def test_a_number_out_of_bounds_is_refused(words: str, message: str, run_cli: Run) -> None:
    done = run_cli(*words.split())
    assert done.returncode == 2
    assert message in done.stderr
    assert "--help" in done.stderr.splitlines()[-1]
