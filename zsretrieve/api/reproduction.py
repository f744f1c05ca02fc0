"""Reproducing published tables: run them, plan a run, and explain figures that differ."""

from __future__ import annotations

import contextlib
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path

from zsretrieve.api.indexes import cpu_backend
from zsretrieve.api.models import describe_model
from zsretrieve.api.prompts import read_prompts
from zsretrieve.api.sources import as_source
from zsretrieve.domain import prompts as _prompts
from zsretrieve.domain.arguments import Count, Seed
from zsretrieve.domain.errors import ModelNameError, SourceError, UsageError, WeightsUnavailableError
from zsretrieve.domain.ports import OnStage, one_step
from zsretrieve.domain.records import PathLike, PromptSet
from zsretrieve.domain.settings import INTEL, Compute, Precision
from zsretrieve.encoders import baseline as _baseline
from zsretrieve.encoders.baseline import SupervisedModel, is_supervised
from zsretrieve.encoders.catalog.bundled_prompts import provide
from zsretrieve.encoders.catalog.model_name import NameForm, parse_model_name
from zsretrieve.encoders.choosing import planned_encoding
from zsretrieve.encoders.loading import Model
from zsretrieve.images import sources
from zsretrieve.images.sources import Source, cifar
from zsretrieve.reproduction import ablation as _ablation
from zsretrieve.reproduction import plan as _plan
from zsretrieve.reproduction import run as _run
from zsretrieve.reproduction.ablation import Experiment, Explanation
from zsretrieve.reproduction.plan import Plan
from zsretrieve.reproduction.run import Job, Reproduction
from zsretrieve.reproduction.tables import Table, TableModel, read_table
from zsretrieve.system import extras

DEFAULT_TABLE = "imagenet1k"
DEFAULT_WORK = Path("indexes") / "reproduce"
SAMPLE = 1000
# The papers ran their models in fp32.
FP32 = Compute(precision=Precision.FP32)
# The sets of templates that `explain` compares: of 80, 7 and 1, and bare names.
_TEMPLATES = ("openai80", "openai7", "standard", "raw")
_NONE = "none"


def published_table(
    dataset: str | Path = DEFAULT_TABLE,
    *,
    models: Sequence[str] | None = None,
    extra: Sequence[str] = (),
    baseline: bool = True,
) -> Table:
    """Published figures of a data set, with all or some of its models.

    Parameters
    ----------
    dataset : str or Path
        ``imagenet1k``, ``imagenette``, ``cifar10``, or a file of the same form (docs/reproduce.md).
    models : sequence of str, optional
        Which of its models, by name or title; all by default, and none for ``["none"]``.
    extra : sequence of str
        More models, without published figures.
    baseline : bool
        Keep the supervised baseline.

    Raises
    ------
    PromptError
        If there is no such table.
    ModelNameError
        If it does not have one of the models, a name cannot be read, or no model is left.
    """
    table = read_table(dataset)
    chosen = list(table.models)
    if models is not None:
        chosen = [] if list(models) == [_NONE] else list(dict.fromkeys(_named(name, table) for name in models))
    chosen = [model for model in chosen if baseline or not is_supervised(model.name)]
    names = {model.name for model in chosen}
    chosen += [TableModel(name, name) for name in dict.fromkeys(extra) if name not in names]
    if not chosen:
        raise ModelNameError("no model is left to run", hint="Name some.")
    for model in chosen:
        if not is_supervised(model.name):
            parse_model_name(model.name)
    return replace(table, models=tuple(chosen))


def reproduce(
    source: PathLike | Source,
    table: Table | str = DEFAULT_TABLE,
    *,
    compute: Compute = FP32,
    work: PathLike = DEFAULT_WORK,
    ground_truth: PathLike | None = None,
    on_stage: OnStage | None = None,
) -> Reproduction:
    """Run a published table. After an interruption the same call continues. See ``zsretrieve.reproduction.run``.

    Parameters
    ----------
    source : path or Source
        The labelled validation images: a folder, an archive or another source; for ``imagenette`` its folder or the
        ``val`` in it, for ``cifar10`` the folder of the binary version or of images.
    table : Table or str
        A data set's name, or what ``published_table`` returned.
    compute : Compute
        By default fp32, as in the papers.
    work : path
        The folder that keeps vectors and counts.
    ground_truth : path, optional
        Labels for a folder, see ``open_source``.
    on_stage : callable, optional
        Called with (name of the stage, steps done, steps in all).

    Raises
    ------
    UsageError
        If the precision is int8.
    """
    _refuse_int8(compute)
    table = table if isinstance(table, Table) else published_table(table)
    prompts = _table_prompts(table)

    def model_of(name: str) -> Model:
        if is_supervised(name):
            return SupervisedModel(compute, on_stage=on_stage)
        return Model(name, compute, on_stage=on_stage)

    for one in table.models:
        with contextlib.suppress(WeightsUnavailableError):  # that is a result, a row of its own
            model_of(one.name).check_installed()
    images = source if isinstance(source, Source) else find_images(source, table, work=work, ground_truth=ground_truth)
    return _run.reproduce(table, Job(images, Path(work), compute, model_of, cpu_backend(), on_stage), prompts)


def plan_reproduction(
    source: PathLike | Source | None = None,
    table: Table | str = DEFAULT_TABLE,
    *,
    compute: Compute = FP32,
    ground_truth: PathLike | None = None,
    on_stage: OnStage | None = None,
) -> Plan:
    """What running a table would download, take and store here; nothing is downloaded or encoded.

    Without a source, it is for as many images as the published figures. See ``zsretrieve.reproduction.plan``.

    Raises
    ------
    SourceError
        If there is no source, and the table does not give a number of images.
    UsageError
        If the precision is int8, or there is a ground truth without a source.
    """
    _refuse_int8(compute)
    if compute.device in INTEL:
        raise UsageError(f"a plan cannot estimate '{compute.device}'", hint="Plan for `device` cpu.")
    extras.require_models("planning a run")
    if source is None and ground_truth is not None:
        raise UsageError("a ground truth goes with a source of images", hint="Name the folder of images.")
    table = table if isinstance(table, Table) else published_table(table)
    prompts = _table_prompts(table)
    count = table.images if source is None else _count_images(source, table.classes, ground_truth)
    if count is None:
        raise SourceError("the table does not give a number of images", hint="Name the folder of images.")
    with one_step(on_stage, "measuring this machine"):
        from zsretrieve.encoders.torch import speed

        encoding = planned_encoding(compute)
        gflops = speed.gflops(encoding)
    return _plan.plan(table, count, prompts, is_cached=_is_cached, encoding=encoding, gflops=gflops)


def explain(
    model: str,
    source: PathLike | Source,
    *,
    compute: Compute = FP32,
    classes: PathLike | Sequence[str] = DEFAULT_TABLE,
    templates: str | None = None,
    work: PathLike = DEFAULT_WORK,
    ground_truth: PathLike | None = None,
    sample: Count = SAMPLE,
    seed: Seed = 0,
    on_stage: OnStage | None = None,
) -> Explanation:
    """How much each usual cause of a differing figure moves Prec@1. See ``zsretrieve.reproduction.ablation``.

    Parameters
    ----------
    model : str
        See ``Model``; it runs in torch.
    source, work, ground_truth
        As for ``reproduce``; the classes decide the data set.
    compute : Compute
        By default fp32, as in the papers.
    classes, templates
        As for ``read_prompts``; the templates are the baseline's, by default the 80. Prompts given class by class take
        none.
    sample : int
        The number of images, spread as evenly over the classes as possible.
    seed : int
        Equal seeds draw equal samples.
    on_stage : callable, optional
        Called with (name of the stage, steps done, steps in all).

    Raises
    ------
    ModelNameError
        If it is the supervised baseline, which takes no prompts.
    ClassMappingError
        If a label is not one of the classes.
    UsageError
        If the precision is int8.
    """
    _refuse_int8(compute)
    if is_supervised(model):
        raise ModelNameError(f"'{model}' takes no prompts", hint="Name a CLIP-like model.")
    extras.require_models("explaining a figure")
    class_list = _prompts.read_classes(classes if isinstance(classes, Sequence) else Path(classes), provide)
    if class_list.prompts:
        own = read_prompts(classes, templates)
        templates, sets = own.templates_source, {own.templates_source: own}
    else:
        templates = templates or _TEMPLATES[0]
        sets = {name: read_prompts(classes, name) for name in dict.fromkeys((templates, *_TEMPLATES))}
    if isinstance(source, Source):
        images = source
    else:
        images = find_images(source, classes if isinstance(classes, str) else "", work=work, ground_truth=ground_truth)
    experiment = Experiment(images, sets, templates, sample, seed)
    experiment.check()
    from zsretrieve.encoders.torch.ablated import AblatedEncoder

    return _ablation.explain(AblatedEncoder(model, compute), experiment, cpu_backend(), on_stage=on_stage)


def find_images(
    where: PathLike, table: Table | str, *, work: PathLike = DEFAULT_WORK, ground_truth: PathLike | None = None
) -> Source:
    """The images of a table's data set: any source that ``open_source`` opens, or the data set as it is distributed.

    The classes decide the data set: those of the table, or the name of a bundled set. CIFAR-10's binary test batch is
    unpacked into ``work`` once. Raises SourceError if nothing is there.
    """
    classes = table.classes if isinstance(table, Table) else table
    batch = _cifar_batch(where, classes, ground_truth)
    if batch is not None:
        return sources.folder(cifar.unpack(batch, _class_names(classes), Path(work)))
    part = {"imagenette": "val", "cifar10": "test"}.get(classes)
    if part is not None and ground_truth is None and Path(where, part).is_dir():
        return sources.folder(Path(where, part))
    return as_source(where, ground_truth)


def _count_images(source: PathLike | Source, classes: str, ground_truth: PathLike | None) -> int:
    if isinstance(source, Source):
        return len(source.files)
    batch = _cifar_batch(source, classes, ground_truth)
    if batch is not None:  # unpacking it would write thousands of files
        return cifar.count(batch, _class_names(classes))
    return len(find_images(source, classes, ground_truth=ground_truth).files)


def _cifar_batch(where: PathLike, classes: str, ground_truth: PathLike | None) -> Path | None:
    path = Path(where)
    if classes != "cifar10" or ground_truth is not None or not (path.is_dir() or path.suffix == ".bin"):
        return None
    return cifar.find_test_batch(path)


def _class_names(classes: str) -> Sequence[str]:
    return _prompts.read_classes(classes, provide).names


def _named(name: str, table: Table) -> TableModel:
    for model in table.models:
        if name in (model.name, model.title):
            return model
    known = ", ".join(model.name for model in table.models)
    raise ModelNameError(f"the table '{table.name}' has no model '{name}'", hint=f"Use {known}.")


def _table_prompts(table: Table) -> Mapping[str, PromptSet]:
    return {name: read_prompts(table.classes, name) for name in table.templates}


def _is_cached(name: str) -> bool | None:
    """Whether the weights of a model are on this machine; None if only a download could show it."""
    if is_supervised(name):
        return _baseline.is_cached()
    if parse_model_name(name).form is NameForm.HUB:
        return Model(name).identity is not None or None
    return bool(describe_model(name)["cached"])


def _refuse_int8(compute: Compute) -> None:
    if compute.precision is Precision.INT8:
        raise UsageError("the papers did not run in int8", hint="Use `precision` fp32 or bf16.")
