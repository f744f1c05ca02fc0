"""How the vectors of one gallery were computed, where that was in two ways."""

from __future__ import annotations

from dataclasses import replace

from zsretrieve.domain.errors import SpaceMismatchError
from zsretrieve.domain.records import Encoding


def joined_encoding(old: Encoding, new: Encoding) -> Encoding:
    """The encoding of a gallery whose vectors were computed in two ways; it names both engines, precisions and devices.

    Raises
    ------
    SpaceMismatchError
        If both are int8 with different calibrations, whose vectors are further apart than others.
    """
    if new.calibration is not None and "int8" in old.precision.split("+") and old.calibration != new.calibration:
        raise SpaceMismatchError(
            f"the gallery's int8 vectors are of calibration {old.calibration or 'unknown'}, and the model's is "
            f"{new.calibration}",
            hint="Use `precision` bf16, or encode all images again: zsretrieve index rebuild GALLERY --precision int8",
        )

    def both(before: str, now: str) -> str:
        return "+".join(dict.fromkeys([*before.split("+"), now]))

    measured = old if new.calibration is None else new
    return replace(
        old,
        engine=both(old.engine, new.engine),
        precision=both(old.precision, new.precision),
        device=both(old.device, new.device),
        cosine_to_fp32=measured.cosine_to_fp32,
        least_cosine_to_fp32=measured.least_cosine_to_fp32,
        calibration=measured.calibration,
    )
