"""The options that the parameters of the library are."""

from __future__ import annotations

from zsretrieve.domain.wording import with_parameters

# Those that are not called as the parameters that they set.
_OTHERS = {
    "fast": "fast-decode", "form": "as", "max_pixels": "max-megapixels", "storage": "ray-storage",
    "text_weight": "mix", "wanted": "wanted-precision",
}  # fmt: skip


def with_options(text: str) -> str:
    """A message of the library, with the options that its parameters are on the command line."""
    return with_parameters(text, option)


def option(parameter: str) -> str:
    """``--max-megapixels`` for ``max_pixels``, and ``--no-exif`` for ``exif=False``."""
    name = parameter.removesuffix("=False")
    written = _OTHERS.get(name, name.replace("_", "-"))
    return f"--{written}" if name == parameter else f"--no-{written}"
