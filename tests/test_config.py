"""Presets, TOML files and what is refused in them."""

from pathlib import Path

import pytest

from glyffctl.core.errors import UsageError
from glyffctl.core.models.config import Config, as_dict, merge, parse, preset_names, read_preset, read_toml
from glyffctl.core.networks.unet import UNetConfig


def test_presets_are_whole_and_survive_a_round_trip() -> None:
    assert preset_names() == [
        "autoencoder",
        "classifier",
        "contrastive",
        "cpu",
        "dit",
        "few-step",
        "gan",
        "glyffuser",
        "gpu",
        "latent",
        "upscaler",
        "vae",
    ]
    for name in preset_names():
        config = parse(merge(read_preset(name)))
        assert parse(as_dict(config)) == config


def test_the_author_s_own_sizes() -> None:
    config = parse(merge(read_preset("glyffuser")))
    assert isinstance(config.network, UNetConfig)
    assert config.network.channels == (128, 256, 512, 512)
    assert config.network.patch == 1
    assert (config.diffusion.schedule, config.diffusion.prediction) == ("linear", "eps")


def test_later_layers_win_and_one_budget_replaces_another() -> None:
    sections = merge(read_preset("cpu"), {"training": {"batch": 7}}, {"training": {"epochs": 2.0}})
    config = parse(sections)
    assert config.training.batch == 7
    assert (config.training.epochs, config.training.minutes) == (2.0, 0)


@pytest.mark.parametrize(
    ("sections", "words"),
    [
        ({"trainig": {}}, "did you mean training?"),
        ({"training": {"learning_rat": 1e-3}}, "did you mean learning_rate?"),
        ({"training": {"batch": "8"}}, "training.batch must be a whole number"),
        ({"training": {"batch": True}}, "training.batch must be a whole number"),
        ({"training": {"batch": 0}}, "greater than 0"),
        ({"training": {"learning_rate": float("nan")}}, "greater than 0"),
        ({"training": {"seed": -1}}, "the seed must be"),
        ({"training": {"epochs": 1, "images": 5}}, "exactly one budget"),
        ({"training": {"minutes": 0}}, "exactly one budget"),
        ({"training": 3}, "must be a section"),
        ({"diffusion": {"prediction": "noise"}}, "must be one of eps, v, x0"),
        ({"diffusion": {"caption_dropout": 1.5}}, "in [0, 1]"),
        ({"network": {"channels": [64.0]}}, "a list of whole numbers"),
        ({"network": {"channels": []}}, "must be positive"),
        ({"network": {"attention": [9]}}, "levels 0"),
        ({"network": {"size": 128, "patch": 7}}, "not a multiple"),
        ({"network": {"channels": [33, 64]}}, "even"),
    ],
)
def test_settings_that_make_no_sense_are_told_in_one_line(sections: dict[str, dict[str, object]], words: str) -> None:
    with pytest.raises(UsageError) as caught:
        parse(merge({"training": {"minutes": 1}}, sections))
    assert words in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_config_file_that_is_none(tmp_path: Path) -> None:
    binary = tmp_path / "x.toml"
    binary.write_bytes(b"\xff\xfe\x00")
    for path in (tmp_path / "missing.toml", binary, tmp_path):
        with pytest.raises(UsageError):
            read_toml(path)
    with pytest.raises(UsageError, match="there is no preset"):
        read_preset("huge")


def test_defaults_are_the_cpu_preset_s() -> None:
    preset, defaults = parse(merge(read_preset("cpu"))), Config()
    assert preset.network == defaults.network
    assert preset.diffusion == defaults.diffusion
