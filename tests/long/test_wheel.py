"""The built wheel in an empty environment, with no network."""

import json
import zipfile

import pytest

pytestmark = [pytest.mark.long, pytest.mark.timeout(1800)]


def contents(wheel):
    with zipfile.ZipFile(wheel) as archive:
        return {name: archive.read(name) for name in archive.namelist()}


def test_wheel_holds_everything_and_the_sdist_builds_the_same(archives):
    through_sdist = contents(next(archives.glob("*.whl")))
    direct = contents(next((archives / "direct").glob("*.whl")))
    assert through_sdist == direct
    for name in (
        "napari.yaml",
        "py.typed",
        "data/ct.nii.gz",
        "data/nodule.nii.gz",
        "data/README.md",
        "weights/mini-image.safetensors",
        "weights/mini-text.safetensors",
        "core/vocabulary/concepts.toml",
        "models/cards/mini.toml",
    ):
        assert f"napari_ctvlp/{name}" in direct


def test_manifest_is_valid_where_it_is_installed(installed, offline):
    assert "valid" in offline(installed, "-m", "npe2", "validate", "napari-ctvlp")


def test_one_heatmap_of_the_sample(installed, offline, tmp_path):
    ask = "from napari_ctvlp.core.resources import sample_folder as f; print(f() / 'ct.nii.gz')"
    ct = offline(installed, "-c", ask).strip()
    assert "site-packages" in ct
    phrase = "spiculated nodule in the left lower lobe"
    command = [installed.with_name("ctvlp"), "ground", ct, phrase]
    offline(*command, "--out", "heat.nii.gz", "--json", "stats.json")
    stats = json.loads((tmp_path / "stats.json").read_text())
    assert len(stats["peak_ras_mm"]) == 3
    assert stats["peak_ras_mm"][0] < 0, "the phrase says left"
    import nibabel

    heat, source = nibabel.load(tmp_path / "heat.nii.gz"), nibabel.load(ct)
    assert heat.shape == source.shape
    assert abs(heat.affine - source.affine).max() < 1e-4
