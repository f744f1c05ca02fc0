"""What the prompt lab found, as JSON has it: rates and differences are fractions."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from zsretrieve.results import PairedDifference
    from zsretrieve.verbs.prompt_lab import Pictures, Sensitivity, SetScore, Share, TemplateScore
    from zsretrieve.verbs.prompt_select import Selection


def pictures(of: Pictures) -> dict[str, Any]:
    """What was scored."""
    return {
        "model": of.model,
        "classes": of.classes,
        "n_scored": of.n_scored,
        "n_unlabelled": of.n_unlabelled,
        "n_skipped": of.n_skipped,
        "n_classes": of.n_classes,
        "n_classes_scored": of.n_classes_scored,
        "where": of.where,
    }


def share(name: str, found: Share | None) -> dict[str, Any]:
    """Prec@1 and its interval as fractions, each key beginning with ``name``; all null where there is none."""
    return {
        f"{name}_prec@1": None if found is None else found.prec_at_1,
        f"{name}_low": None if found is None else found.interval.low,
        f"{name}_high": None if found is None else found.interval.high,
        f"{name}_n_correct": None if found is None else found.n_correct,
        f"{name}_n": None if found is None else found.n,
    }


def difference(name: str, found: PairedDifference | None) -> dict[str, Any]:
    """A difference and its interval as fractions, likewise."""
    return {
        name: None if found is None else found.difference,
        f"{name}_low": None if found is None else found.interval.low,
        f"{name}_high": None if found is None else found.interval.high,
        f"{name}_p": None if found is None else found.p_value,
        f"{name}_gained": None if found is None else found.only_second,
        f"{name}_lost": None if found is None else found.only_first,
    }


def set_row(row: SetScore) -> dict[str, Any]:
    """One template set."""
    return {
        "templates": row.name,
        "n_templates": row.n_templates,
        "n_prompts": row.n_prompts,
        "prec@1": row.share.prec_at_1,
        "low": row.share.interval.low,
        "high": row.share.interval.high,
        "n_correct": row.share.n_correct,
        "n_scored": row.share.n,
        **difference("difference", row.difference),
    }


def template_row(row: TemplateScore) -> dict[str, Any]:
    """One template alone and left out."""
    return {
        "template": row.template,
        **share("alone", row.alone),
        **share("left_out", row.left_out),
        **difference("adds", row.adds),
    }


def selection(found: Selection) -> dict[str, Any]:
    """The templates chosen, the halves and the scores."""
    split = found.halves
    return {
        **pictures(found.pictures),
        "candidates": found.name,
        "n_candidates": found.n_candidates,
        "seed": split.seed,
        "selecting": {"n": len(split.selecting), "n_looked_at": found.n_looked_at, "sha256": split.digests[0]},
        "reporting": {"n": len(split.reporting), "sha256": split.digests[1]},
        "steps": [{"template": step.template, **share("selecting", step.share)} for step in found.steps],
        **share("chosen", found.chosen),
        **share("all", found.every),
        **difference("difference", found.difference),
    }


def sensitivity(found: Sensitivity) -> dict[str, Any]:
    """The spread, and the single templates."""
    return {
        **pictures(found.pictures),
        "templates": found.name,
        "n_templates": len(found.singles),
        **share("all", found.together),
        "mean": found.mean,
        "sd": found.sd,
        "least": found.least,
        "most": found.most,
        "quartiles": list(found.quartiles),
        "singles": [{"template": row.template, **share("alone", row.alone)} for row in found.singles],
    }
