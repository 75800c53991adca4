"""The manifest, the lock and the list of decisions agree with pyproject.toml and the package."""

import re
import tomllib
from importlib import import_module, metadata
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

import napari_ctvlp
from napari_ctvlp.core import resources

ROOT = Path(__file__).resolve().parents[2]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
EXTRAS = [line for extra in PROJECT["optional-dependencies"].values() for line in extra]
REQUIREMENTS = [Requirement(line) for line in PROJECT["dependencies"] + EXTRAS]
#: Only for who wants them: neither locked nor installed here.
WANTED = {"TotalSegmentator"}


def locked():
    lines = (ROOT / "requirements" / "lock.txt").read_text(encoding="utf-8").splitlines()
    pairs = [line.split("==") for line in lines if line and not line.startswith("#")]
    return {canonicalize_name(name): version for name, version in pairs}


def test_version_is_said_once_in_effect():
    assert PROJECT["version"] == napari_ctvlp.__version__ == metadata.version("napari-ctvlp")


@pytest.mark.parametrize(
    "requirement", [r for r in REQUIREMENTS if r.name not in WANTED], ids=lambda r: r.name
)
def test_lock_satisfies_each_requirement(requirement):
    assert requirement.specifier.contains(locked()[canonicalize_name(requirement.name)])


def test_lock_is_what_is_installed():
    for name, version in locked().items():
        assert metadata.version(name).partition("+")[0] == version, name


def test_each_dependency_has_its_reason():
    page = (ROOT / "docs" / "decisions" / "0002-dependencies.md").read_text(encoding="utf-8")
    cells = {name for row in re.findall(r"^\| ([^|]+) \|", page, re.M) for name in row.split(", ")}
    assert {r.name for r in REQUIREMENTS} <= cells


def test_resources_are_found():
    assert (resources.sample_folder() / "ct.nii.gz").is_file()
    assert (resources.weights_folder() / "mini-image.safetensors").is_file()
    assert (resources.PACKAGE / "napari.yaml").read_bytes() == (ROOT / "napari.yaml").read_bytes()


def test_manifest_points_at_things_that_exist():
    from npe2 import PluginManifest

    manifest = PluginManifest.from_file(ROOT / "napari.yaml")
    assert manifest.name == "napari-ctvlp"
    names = [c.python_name for c in manifest.contributions.commands or [] if c.python_name]
    assert names
    for name in names:
        module, _, attribute = name.partition(":")
        assert callable(getattr(import_module(module), attribute)), name


def test_checkout_without_links_gets_a_copy_of_the_manifest(tmp_path, monkeypatch):
    monkeypatch.syspath_prepend(ROOT)
    from hatch_build import mend_link

    manifest, link = tmp_path / "napari.yaml", tmp_path / "inside.yaml"
    manifest.write_text("name: x")
    link.write_text("../napari.yaml")
    mend_link(manifest, link)
    assert link.read_text() == "name: x"
    manifest.write_text("name: y")
    mend_link(manifest, link)
    assert link.read_text() == "name: y"
