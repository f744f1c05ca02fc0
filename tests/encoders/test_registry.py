import warnings

import open_clip
import pytest
import timm.data

from zsretrieve.encoders import registry
from zsretrieve.encoders.describe import describe
from zsretrieve.encoders.metadata import provide
from zsretrieve.encoders.naming import NameForm, parse_model_name
from zsretrieve.errors import ModelNameError, OptionalDependencyError, PromptError, WeightsUnavailableError


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
    from zsretrieve.encoders import openclip

    create = open_clip.create_model

    def without_weights(name: str, pretrained: str, require_pretrained: bool, **options: object) -> object:
        return create(name, **options)

    monkeypatch.setattr(open_clip, "create_model", without_weights)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        model = openclip._load_model(parse_model_name(f"ViT-B-32/{tag}"), None)
    assert openclip._uses_quick_gelu(model) is quick


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


def test_models_are_described_without_their_weights() -> None:
    siglip = describe("ViT-B-16-SigLIP/webli")
    assert (siglip["context_length"], siglip["dim"]) == (64, 768)
    assert siglip["preprocessing"] == {
        "mean": [0.5, 0.5, 0.5],
        "std": [0.5, 0.5, 0.5],
        "interpolation": "bicubic",
        "resize_mode": "squash",
    }
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
    with pytest.raises(OptionalDependencyError, match="timm is not installed"):
        provide("timm:imagenet_synsets")
