"""Hosted segmenters put their labels where their authors' own steps would put them."""

import dataclasses
import sys
import textwrap
from itertools import permutations, product

import nibabel
import numpy as np
import pytest
import torch
from monai.data import MetaTensor
from monai.inferers import SlidingWindowInferer
from monai.transforms import Compose, Orientation, ScaleIntensity, Spacing
from monai.transforms import NormalizeIntensity as Normalize
from monai.transforms.utils import convert_applied_interp_mode

from napari_ctvlp.core.geometry import to_ipl
from napari_ctvlp.core.phantom import phantom
from napari_ctvlp.core.segments import merged, names_in_order, organ_of
from napari_ctvlp.engine.opening import open_scan
from napari_ctvlp.errors import ModelRefused
from napari_ctvlp.models import store
from napari_ctvlp.models.protocol import Compute
from napari_ctvlp.models.segmenters.monai_bundle import WholeBody, network
from napari_ctvlp.models.segmenters.totalsegmentator import TotalSegmentator

ORIENTATIONS = [
    "".join(pair[sign] for pair, sign in zip(order, signs, strict=True))
    for order in permutations(("RL", "AP", "SI"))
    for signs in product((0, 1), repeat=3)
]
SMALL = {"out_channels": 105, "init_filters": 8, "blocks_down": [1, 1], "blocks_up": [1]}
#: Organ groups that fVLM looks at, by its own names.
GROUPS = {
    "lung": ["lung_left", "lung_right"],
    "heart": ["heart"],
    "esophagus": ["oesophagus"],
    "aorta": ["aorta"],
}


def written(scan, folder, code):
    """Write a scan with its axes running as a code says."""
    image = nibabel.Nifti1Image(np.ascontiguousarray(scan.hu), scan.affine)
    held = nibabel.orientations.io_orientation(scan.affine)
    turn = nibabel.orientations.ornt_transform(held, nibabel.orientations.axcodes2ornt(code))
    image.as_reoriented(turn).to_filename(folder / f"{code}.nii")
    return folder / f"{code}.nii"


@pytest.fixture(scope="module")
def chest():
    return phantom((20, 22, 26), (11.0, 11.5, 12.0))


@pytest.fixture(scope="module")
def bundle(tmp_path_factory):
    """A small network of generated weights, in the checkpoint its card names."""
    folder = tmp_path_factory.mktemp("bundle")
    torch.manual_seed(5)
    torch.save(network(SMALL).state_dict(), folder / "model_lowres.pt")
    card = store.card("wholebody-3mm")
    settings = {**card.settings, "network": SMALL, "window": 16, "pixdim_mm": 14.0}
    return WholeBody.load(dataclasses.replace(card, settings=settings), folder)


def as_published(path, net):
    """The bundle's published steps on a file, by monai's own transforms."""
    stored = nibabel.load(path)
    image = MetaTensor(stored.get_fdata(dtype=np.float32)[None], affine=stored.affine)
    turn, space = Orientation("RAS", labels=None), Spacing([14.0] * 3, mode="bilinear")
    image = space(turn(image))
    ready = Compose([Normalize(nonzero=True), ScaleIntensity(-1.0, 1.0)])(image)
    windows = SlidingWindowInferer([16] * 3, 1, 0.25, "gaussian", padding_mode="replicate")
    with torch.inference_mode():
        best = windows(ready.as_tensor()[None], net)[0].softmax(0).argmax(0, keepdim=True)
    steps = convert_applied_interp_mode(image.applied_operations, mode="nearest")
    back = MetaTensor(best.float(), affine=image.affine, applied_operations=steps)
    back = turn.inverse(space.inverse(back))
    return to_ipl(back[0].numpy().astype(np.uint8), stored.affine)[0]


@pytest.mark.parametrize("code", ORIENTATIONS)
def test_the_bundle_labels_the_right_place_in_every_orientation(code, chest, bundle, tmp_path):
    path = written(chest, tmp_path, code)
    found = bundle.segment(open_scan(path), compute=Compute())
    expected, rows = merged(as_published(path, bundle.net), names_in_order("wholebody"))
    assert len(np.unique(expected)) > 4, "generated weights tell places apart"
    assert np.mean(found.labels == expected) > 0.999
    assert [(organ.id, organ.name) for organ in found.organs] == rows


def test_both_resolutions_load_their_checkpoint(tmp_path, monkeypatch):
    monkeypatch.setenv("CTVLP_MODELS", str(tmp_path))
    for model, name, inside in (
        ("wholebody-15mm", "model.pt", True),
        ("wholebody-3mm", "model_lowres.pt", False),
    ):
        card = store.card(model)
        with pytest.raises(ModelRefused, match=name):
            store.load_segmenter(model)
        state = network(card.settings["network"]).state_dict()
        store.folder_of(card).mkdir(parents=True)
        torch.save({"model": state} if inside else state, store.folder_of(card) / name)
        size = (store.folder_of(card) / name).stat().st_size / 1e6
        assert size == pytest.approx(store.bundle(card).size_mb, rel=0.05)
        assert store.load_segmenter(model).card == card


def volumes(labels):
    """ml of each fVLM group in labels that are numbered by TotalSegmentator, by its own ids."""
    ids = {"lung": (10, 11, 12, 13, 14), "heart": (51, 61), "esophagus": (15,), "aorta": (52,)}
    return {group: int(np.isin(labels, numbers).sum()) for group, numbers in ids.items()}


@pytest.fixture
def drawn(chest):
    """All 117 labels, scattered; blocks for the organs that fVLM looks at."""
    labels = np.zeros(chest.shape, np.uint8)
    labels.reshape(-1)[: 117 * 3] = np.repeat(np.arange(1, 118), 3)
    for number, place in ((10, 4), (13, 8), (51, 11), (61, 13), (15, 15), (52, 17)):
        labels[place, 5 : 5 + number // 5, 3:20] = number
    return labels


STAND_IN = """
import json, os, pathlib
import numpy as np, nibabel

def totalsegmentator(image, output, **options):
    home = pathlib.Path(os.environ["TOTALSEG_HOME_DIR"])
    told = {"stats": json.loads((home / "config.json").read_text())["send_usage_stats"]}
    (home / "told.json").write_text(json.dumps({**told, **options}))
    print("noise")
    return nibabel.Nifti1Image(np.load(home / "labels.npy"), image.affine)
"""
CONFIG = """
import json, os, pathlib

home = pathlib.Path(os.environ["TOTALSEG_HOME_DIR"])
file = home / "config.json"

def setup_totalseg():
    if not file.exists():
        file.write_text(json.dumps({"send_usage_stats": True}))

def get_config_key(name):
    return json.loads(file.read_text())[name]

def set_config_key(name, value):
    file.write_text(json.dumps({**json.loads(file.read_text()), name: value}))

def get_weights_dir():
    return home
"""


@pytest.fixture
def package(tmp_path, monkeypatch, drawn):
    """A stand-in for the package, with the calls that version 2 has."""
    folder = tmp_path / "site" / "totalsegmentator"
    folder.mkdir(parents=True)
    table = dict(enumerate(names_in_order("totalsegmentator"), start=1))
    (folder / "__init__.py").touch()
    (folder / "python_api.py").write_text(textwrap.dedent(STAND_IN))
    (folder / "config.py").write_text(textwrap.dedent(CONFIG))
    (folder / "map_to_binary.py").write_text(f"class_map = {{'total': {table!r}}}\n")
    monkeypatch.syspath_prepend(folder.parent)
    monkeypatch.setenv("TOTALSEG_HOME_DIR", str(tmp_path))
    np.save(tmp_path / "labels.npy", drawn)
    yield tmp_path
    for name in [name for name in sys.modules if name.startswith("totalsegmentator")]:
        del sys.modules[name]


def test_totalsegmentator_is_run_in_private_and_named_by_the_house(package, chest, drawn, capsys):
    import json

    found = TotalSegmentator().segment(chest, compute=Compute("cuda"))
    told = json.loads((package / "told.json").read_text())
    assert told == {"stats": False, "ml": True, "task": "total", "quiet": True, "device": "gpu"}
    assert json.loads((package / "config.json").read_text())["send_usage_stats"] is True
    assert capsys.readouterr().out == ""
    assert {group: int(found.mask(names).sum()) for group, names in GROUPS.items()} == (
        volumes(drawn)
    )
    assert {organ.name for organ in found.organs} == {
        organ_of(name) for name in names_in_order("totalsegmentator")
    }


def test_totalsegmentator_fetches_nothing_while_the_network_is_off(package, chest, monkeypatch):
    monkeypatch.setenv("CTVLP_OFFLINE", "1")
    with pytest.raises(ModelRefused, match="the network is off") as caught:
        TotalSegmentator().segment(chest, compute=Compute())
    assert "Dataset291" in caught.value.expected
    assert not (package / "told.json").exists()
    for number in range(291, 296):
        (package / f"Dataset{number}_x").mkdir()
    assert TotalSegmentator().segment(chest, compute=Compute()).has("heart")


def test_totalsegmentator_without_its_package_says_what_to_do(chest):
    state = store.state_of(store.card("totalsegmentator"))
    assert state.word == "package"
    with pytest.raises(ModelRefused, match="not installed") as caught:
        TotalSegmentator().segment(chest, compute=Compute())
    assert "folder of masks" in caught.value.advice
