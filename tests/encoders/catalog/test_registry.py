import re
import warnings

import open_clip
import pytest
import timm.data

import zsretrieve as zs
from zsretrieve.domain.errors import ModelNameError, OptionalDependencyError, PromptError, WeightsUnavailableError
from zsretrieve.domain.prompts import read_classes, read_templates
from zsretrieve.encoders.catalog import model_name, registry
from zsretrieve.encoders.catalog.bundled_prompts import provide
from zsretrieve.encoders.catalog.describe import describe
from zsretrieve.encoders.catalog.model_name import _OPENAI, SHORT_NAMES, NameForm, full_name, parse_model_name
from zsretrieve.encoders.loading import Model


def test_every_tag_resolves_to_the_activation_it_was_trained_with() -> None:
    """By what was published of the families; the tag's record in open_clip decides and must agree."""
    quick = {"openai", "metaclip_400m", "metaclip_fullcc", "dfn2b", "dfn5b"}
    plain = ("laion2b", "datacomp", "commonpool", "webli", "mscoco", "dfndr", "laion5b", "merged")
    singular = {
        "roberta-ViT-B-32/laion2b_s12b_b32k": "quick_gelu",
        "ViT-B-32/laion400m_e32": "quick_gelu",
        "ViT-B-16/laion400m_e32": "gelu",
        "ViT-L-14/laion400m_e32": "gelu",
    }
    checked = 0
    for arch, tag in open_clip.list_pretrained():
        name, resolved = f"{arch}/{tag}", registry.tag_activation(arch, tag)
        if name in singular:
            assert resolved == singular[name], name
        elif tag in quick or arch.endswith("-quickgelu"):
            assert resolved == "quick_gelu", name
        elif tag.startswith(plain):
            assert resolved == "gelu", name
        else:
            continue
        checked += 1
    assert checked > 100


def test_a_bare_checkpoint_is_treated_as_all_tags_of_its_architecture_agree() -> None:
    siglip = registry.common_to_tags("ViT-B-16-SigLIP")
    assert siglip.preprocessing["resize_mode"] == "squash"
    assert tuple(siglip.preprocessing["mean"]) == (0.5, 0.5, 0.5)
    assert registry.common_to_tags("ViT-B-32").activation == "gelu", "tags disagree, so the default stays"
    assert registry.common_to_tags("ViT-B-32-quickgelu").activation == "quick_gelu"
    assert registry.common_to_tags("RN50x16").activation == "quick_gelu"
    assert registry.common_to_tags("ViT-S-32-alt").preprocessing == {}


@pytest.mark.parametrize(("tag", "quick"), [("openai", True), ("laion2b_s34b_b79k", False)])
def test_the_model_built_has_that_activation(monkeypatch: pytest.MonkeyPatch, tag: str, quick: bool) -> None:
    """Weights cannot be had here, so open_clip is asked for the architecture alone, with our options."""
    from zsretrieve.encoders.torch import loading

    create = open_clip.create_model

    def without_weights(name: str, pretrained: str, require_pretrained: bool, **options: object) -> object:
        return create(name, **options)

    monkeypatch.setattr(open_clip, "create_model", without_weights)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        model = loading._load_model(parse_model_name(f"ViT-B-32/{tag}"), None)
    assert loading._uses_quick_gelu(model) is quick


def test_known_models_are_searched_by_words() -> None:
    found = registry.known_models("siglip 256")
    assert found
    assert all("siglip" in m.name.lower() and "256" in m.name for m in found)
    assert len(registry.known_models()) > 100
    b32 = registry.model_info("ViT-B-32", "openai")
    assert (b32.image_size, b32.dim, b32.context_length, b32.tokenizer) == ((224, 224), 512, 77, "CLIP BPE")
    assert not b32.cached


def test_model_names() -> None:
    assert parse_model_name("ViT-B-32/openai").form is NameForm.TAG
    assert parse_model_name("ViT-B-32,openai").open_clip_name == "ViT-B-32"
    assert parse_model_name("hf-hub:timm/ViT-B-16-SigLIP").form is NameForm.HUB
    assert parse_model_name("demo").form is NameForm.LOCAL
    for wrong in ("ViT-B-32", "", "hf-hub:timm", "local-dir:/nowhere", "ViT-B-32/none.pt", "/openai", "a/b/c"):
        with pytest.raises(ModelNameError):
            parse_model_name(wrong)


def test_hugging_face_names_are_the_models_of_the_same_weights(caplog: pytest.LogCaptureFixture) -> None:
    """What open_clip's registry says of the repositories in it; the others by their own architecture and size."""
    hubs = {
        f"{arch}/{tag}": str(open_clip.get_pretrained_cfg(arch, tag).get("hf_hub") or "").lower().rpartition("/")[0]
        for arch, tag in open_clip.list_pretrained()
        if not arch.endswith("-quickgelu")
    }
    rows = model_name._models_of_repositories()
    assert {repo for repo in rows if repo.startswith("laion/")} == {r for r in hubs.values() if r.startswith("laion/")}
    sizes = {"base": "B", "large": "L", "so400m": "SO400M", "giant": "gopt"}
    for repo, name in rows.items():
        if repo.startswith("laion/"):
            assert hubs[name] == repo
            continue
        family, size, patch, side = re.findall(r"(clip|siglip2?)(?:-vit)?-(\w+)(?:-opt)?-patch(\d+)(?:-(\d+))?", repo)[
            0
        ]
        kind = {"clip": "", "siglip": "-SigLIP", "siglip2": "-SigLIP2"}[family]
        assert re.match(rf"ViT-{sizes[size]}-{patch}{kind}(?![2\w])", name), repo
        # Of 384 pixels, a model with patches of 14 uses 378.
        assert int(side or 224) - registry.model_info(*name.split("/")).image_size[0] in (0, 6), repo
        assert repo.endswith(("i18n", "multilingual")) == ("i18n" in name)
    with caplog.at_level("INFO", "zsretrieve"):
        model = zs.Model("openai/clip-vit-base-patch32")
    assert (model.name, model.identity) == ("ViT-B-32/openai", "tag:ViT-B-32/openai")
    assert caplog.messages == ["openai/clip-vit-base-patch32 is ViT-B-32/openai in open_clip: the same weights"]
    assert describe("google/siglip-base-patch16-224")["name"] == "ViT-B-16-SigLIP/webli"
    assert zs.Model("laion/CLIP-of-tomorrow").name == "hf-hub:laion/CLIP-of-tomorrow"
    with pytest.raises(ModelNameError, match="no model with the weights of 'google/siglip2-base-patch16-naflex'"):
        parse_model_name("google/siglip2-base-patch16-naflex")


def test_models_are_described_without_their_weights() -> None:
    siglip = describe("ViT-B-16-SigLIP/webli")
    assert (siglip["context_length"], siglip["dim"]) == (64, 768)
    assert siglip["preprocessing"] == {
        "mean": [0.5, 0.5, 0.5],
        "std": [0.5, 0.5, 0.5],
        "interpolation": "bicubic",
        "resize_mode": "squash",
    }
    assert (siglip["needs_torch"], siglip["torch_reason"]) == (False, None)
    resnet = describe("RN50/openai")
    assert (resnet["needs_torch"], resnet["torch_reason"]) == (True, "its image tower is a ResNet")
    assert describe("demo")["dim"] == 128
    with pytest.raises(WeightsUnavailableError):
        describe("hf-hub:timm/ViT-B-16-SigLIP")
    with pytest.raises(ModelNameError):
        describe("ViT-B-32/none")


def test_lists_are_read_from_the_libraries_that_ship_them() -> None:
    assert provide("open_clip:IMAGENET_CLASSNAMES") == list(open_clip.IMAGENET_CLASSNAMES)
    assert provide("open_clip:OPENAI_IMAGENET_TEMPLATES") == [t("{}") for t in open_clip.OPENAI_IMAGENET_TEMPLATES]
    assert provide("timm:imagenet_synsets") == list(timm.data.ImageNetInfo().label_names())
    for wrong in ("open_clip:NOTHING", "timm:nothing", "sklearn:digits"):
        with pytest.raises(PromptError):
            provide(wrong)


def test_a_library_that_is_missing_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("importlib.util.find_spec", lambda _: None)
    with pytest.raises(OptionalDependencyError, match="timm is not installed") as refused:
        provide("timm:imagenet_synsets")
    assert "'zsretrieve[models]'" in str(refused.value.hint)


def test_the_bundled_sets_of_imagenet_are_those_of_the_libraries() -> None:
    classes, templates = read_classes("imagenet1k", provide), read_templates("openai80", provide)
    assert list(classes.names) == list(open_clip.IMAGENET_CLASSNAMES)
    assert list(classes.keys or ()) == list(timm.data.ImageNetInfo().label_names())
    assert list(templates.templates) == [template("{}") for template in open_clip.OPENAI_IMAGENET_TEMPLATES]


@pytest.mark.parametrize(
    ("written", "name"),
    [("small", "ViT-B-32-256/datacomp_s34b_b86k"), ("ViT-B/32", "ViT-B-32/openai"), (" RN50x4 ", "RN50x4/openai"),
     ("ViT-L/14@336px", "ViT-L-14-336/openai")],
)  # fmt: skip
def test_short_names_and_those_of_openai_are_understood(written: str, name: str) -> None:
    assert parse_model_name(written) == parse_model_name(name)
    assert Model(written).name == name


def test_every_name_with_another_spelling_is_in_the_registry() -> None:
    for written in (*SHORT_NAMES, *_OPENAI):
        registry.check_tag(*full_name(written).split("/"), written)
