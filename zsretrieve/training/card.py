"""The model card of a trained model."""

from __future__ import annotations

from zsretrieve.domain.model_training import Loss, TrainedModel, TrainingPoint
from zsretrieve.system.hardware import cpu_name
from zsretrieve.system.version import tool_version

CARD = "MODEL_CARD.md"

_TEXT = """# {title}

{base}: {trained}, trained by zsretrieve {version}.{unchanged}

- **Data**: `{data}`: {n_images:,} images with {n_captions:,} distinct captions, and {n_held_out:,} more
  images held out. Not used: {n_skipped:,} images or captions without each other, or that cannot be read.
- **Training**: {loss}; AdamW, peak learning rate {lr:g}, {steps:,} steps of {batch_size:,}, seed {seed}{stopped};
  the weights of step {best_step:,}. {seconds:.0f} s on {cpu}.
- **Limits**: measured on images like those it was trained on. What else the model knew may have changed.

| figure | before | after |
|---|---|---|
| recall@1, text to image | {before[0]} | {after[0]} |
| recall@1, image to text | {before[1]} | {after[1]} |
| scale of probabilities | {before[2]} | {after[2]} |

Recall is that of retrieval among the held-out images and their captions. Use the model with `--model {model}`.
"""
_LOSSES = {
    Loss.CLIP: "symmetric cross-entropy with a learned temperature (Radford et al. 2021)",
    Loss.SIGLIP: "pairwise sigmoid loss with a learned temperature and bias (Zhai et al. 2023)",
}


_UNCHANGED = """ The image
tower is unchanged, so galleries of {base} stay valid beside this model."""


def card(trained: TrainedModel, *, keeps_images: bool) -> str:
    """What a trained model is, in Markdown. With ``keeps_images`` it has the image tower of the one it began as."""
    content = {**vars(trained), "loss": _LOSSES[trained.loss]}
    return _TEXT.format(
        **content,
        title=trained.out.rstrip("/").rpartition("/")[2],
        unchanged=_UNCHANGED.format(base=trained.base) if keeps_images else "",
        version=tool_version(),
        n_skipped=len(trained.skipped),
        stopped=", stopped early" if trained.stopped_early else "",
        cpu=cpu_name(),
        before=_figures(trained.first),
        after=_figures(trained.best),
    )


def _figures(point: TrainingPoint) -> tuple[str, str, str]:
    recalls = ["-" if one is None else f"{100 * one:.2f} %" for one in (point.text_to_image, point.image_to_text)]
    return recalls[0], recalls[1], f"{point.scale:.2f}"
