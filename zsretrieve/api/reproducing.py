"""The published tables: run, planned, and explained where they are missed."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path

from zsretrieve import prompts as _prompts
from zsretrieve import sources, wiring
from zsretrieve.api.building import read_prompts
from zsretrieve.api.finding import open_source
from zsretrieve.api.opening import PathLike, cpu_backend
from zsretrieve.errors import ModelNameError, SourceError
from zsretrieve.records import PromptSet
from zsretrieve.sources import Source, cifar
from zsretrieve.verbs import explain as _explain
from zsretrieve.verbs import planning as _planning
from zsretrieve.verbs import reproduce as _reproduce
from zsretrieve.verbs.explain import Explanation
from zsretrieve.verbs.planning import Plan
from zsretrieve.verbs.published import Table, TableModel, read_table
from zsretrieve.verbs.reproduce import OnStage, Reproduction, Settings, is_supervised
from zsretrieve.wiring import reproducing as _wiring

DEFAULT_TABLE = "imagenet1k"
DEFAULT_WORK = Path("indexes") / "reproduce"
SAMPLE = 1000
# The sets of templates that `explain` compares: of 1, 7 and 80, and bare names.
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
        ``imagenet1k``, ``imagenette``, ``cifar10``, or a file of the same form as theirs (docs/reproduce.md).
    models : sequence of str, optional
        Which of its models, by name or title; all by default, and none for ``["none"]``.
    extra : sequence of str
        Further models, which have no published figures.
    baseline : bool
        Whether the supervised baseline stays in it.

    Raises
    ------
    PromptError
        If there is no such table.
    ModelNameError
        If it does not have one of the models, a name cannot be read, or no model is left.
    """
    table = read_table(dataset)
    kept = list(table.models)
    if models is not None:
        kept = [] if list(models) == [_NONE] else list(dict.fromkeys(_named(name, table) for name in models))
    kept = [one for one in kept if baseline or not is_supervised(one.name)]
    there = {one.name for one in kept}
    kept += [TableModel(name, name) for name in dict.fromkeys(extra) if name not in there]
    if not kept:
        raise ModelNameError("no model is left to run", hint="Name some with --models or --model.")
    for one in kept:
        _wiring.check_table_model(one.name)
    return replace(table, models=tuple(kept))


def reproduce(
    source: PathLike | Source,
    table: Table | str = DEFAULT_TABLE,
    *,
    work: PathLike = DEFAULT_WORK,
    ground_truth: PathLike | None = None,
    device: str = "auto",
    precision: str = "fp32",
    engine: str = "auto",
    batch_size: int | None = None,
    on_stage: OnStage | None = None,
) -> Reproduction:
    """Run a published table; what is interrupted goes on where it was. See ``zsretrieve.verbs.reproduce``.

    Parameters
    ----------
    source : path or Source
        The labelled validation images: a folder, an archive or another source; for ``imagenette`` its folder or the
        ``val`` in it, for ``cifar10`` the folder of the binary version or of images.
    table : Table or str
        A data set's name, or what ``published_table`` gave.
    work : path
        Keeps vectors and counts.
    ground_truth : path, optional
        Labels for a folder, see ``open_source``.
    device, precision, engine, batch_size
        See ``load_encoder``.
    on_stage : callable, optional
        Called with (what is done, count, of how many).
    """
    table = table if isinstance(table, Table) else published_table(table)
    prompts = _table_prompts(table)
    found = source if isinstance(source, Source) else find_images(source, table, work=work, ground_truth=ground_truth)
    settings = Settings(device, precision, engine)
    return _reproduce.reproduce(
        table, found, prompts, Path(work), _wiring.TableModels(settings, batch_size), cpu_backend(), settings,
        on_stage=on_stage,
    )  # fmt: skip


def plan_reproduction(
    source: PathLike | Source | None = None,
    table: Table | str = DEFAULT_TABLE,
    *,
    ground_truth: PathLike | None = None,
    device: str = "auto",
    precision: str = "fp32",
    engine: str = "auto",
) -> Plan:
    """What running a table would fetch, take and keep here; nothing is fetched or encoded.

    Without a source, as many images as the published figures are of. See ``zsretrieve.verbs.planning``.

    Raises
    ------
    SourceError
        If there is no source, and the table does not say how many images it is of.
    """
    table = table if isinstance(table, Table) else published_table(table)
    prompts = _table_prompts(table)
    if isinstance(source, Source):
        count = len(source.files)
    elif source is not None:
        batch = _cifar_batch(source, table.classes, ground_truth)
        # Unpacking it would write thousands of files.
        count = (
            len(find_images(source, table, ground_truth=ground_truth).files)
            if batch is None
            else cifar.count(batch, _class_names(table.classes))
        )
    elif table.images is not None:
        count = table.images
    else:
        raise SourceError("the table does not say how many images it is of", hint="Name the folder of images.")
    gflops, planned = _wiring.measured_gflops(device, precision, engine)
    return _planning.plan(
        table, count, prompts, is_cached=_wiring.is_cached, gflops=gflops,
        precision=planned.precision, engine=planned.engine, device=planned.device,
    )  # fmt: skip


def explain(
    model: str,
    source: PathLike | Source,
    *,
    classes: PathLike | Sequence[str] = DEFAULT_TABLE,
    templates: str | None = None,
    work: PathLike = DEFAULT_WORK,
    ground_truth: PathLike | None = None,
    sample: int = SAMPLE,
    seed: int = 0,
    device: str = "auto",
    precision: str = "fp32",
    batch_size: int | None = None,
    on_stage: OnStage | None = None,
) -> Explanation:
    """How much each usual cause of a missed figure moves Prec@1, on a sample. See ``zsretrieve.verbs.explain``.

    Parameters
    ----------
    model : str
        See ``load_encoder``; it is run by torch.
    source, work, ground_truth
        As for ``reproduce``; the classes tell the data set.
    classes, templates
        As for ``read_prompts``; the templates are those of the baseline, the 80 by default, where the prompts are not
        given class by class.
    sample : int
        How many images, as equally from all classes as there are.
    seed : int
        Equal seeds take equal samples.
    device, precision, batch_size
        See ``load_encoder``.
    on_stage : callable, optional
        Called with (what is done, count, of how many).
    """
    if is_supervised(model):
        raise ModelNameError(f"'{model}' takes no prompts", hint="Name a CLIP-like model.")
    class_list = _prompts.read_classes(classes if isinstance(classes, Sequence) else Path(classes), wiring.provide)
    if class_list.prompts:
        own = read_prompts(classes, templates)
        templates, sets = own.templates_source, {own.templates_source: own}
    else:
        templates = templates or _TEMPLATES[0]
        sets = {name: read_prompts(classes, name) for name in dict.fromkeys((templates, *_TEMPLATES))}
    if isinstance(source, Source):
        found = source
    else:
        found = find_images(source, classes if isinstance(classes, str) else "", work=work, ground_truth=ground_truth)
    _explain.check(found, sets[templates], sample)
    encoder = _wiring.changeable_encoder(model, device=device, precision=precision, batch_size=batch_size)
    return _explain.explain(encoder, found, sets, templates, cpu_backend(), sample=sample, seed=seed, on_stage=on_stage)


def find_images(
    where: PathLike, table: Table | str, *, work: PathLike = DEFAULT_WORK, ground_truth: PathLike | None = None
) -> Source:
    """The images of a table's data set: a source as ``open_source`` finds it, or the form the data set comes in.

    The data set is told by the classes: those of the table, or the name of a bundled set. CIFAR-10's binary test batch
    is unpacked into ``work`` once. Raises SourceError if nothing is there.
    """
    classes = table.classes if isinstance(table, Table) else table
    batch = _cifar_batch(where, classes, ground_truth)
    if batch is not None:
        return sources.folder(cifar.unpack(batch, _class_names(classes), Path(work)))
    part = {"imagenette": "val", "cifar10": "test"}.get(classes)
    if part is not None and ground_truth is None and Path(where, part).is_dir():
        return sources.folder(Path(where, part))
    return open_source([where], ground_truth=ground_truth)


def _cifar_batch(where: PathLike, classes: str, ground_truth: PathLike | None) -> Path | None:
    path = Path(where)
    if classes != "cifar10" or ground_truth is not None or not (path.is_dir() or path.suffix == ".bin"):
        return None
    return cifar.find_test_batch(path)


def _class_names(classes: str) -> Sequence[str]:
    return _prompts.read_classes(classes, wiring.provide).names


def _named(name: str, table: Table) -> TableModel:
    for one in table.models:
        if name in (one.name, one.title):
            return one
    known = ", ".join(one.name for one in table.models)
    raise ModelNameError(f"the table '{table.name}' has no model '{name}'", hint=f"It has {known}.")


def _table_prompts(table: Table) -> Mapping[str, PromptSet]:
    return {name: read_prompts(table.classes, name) for name in table.templates}
