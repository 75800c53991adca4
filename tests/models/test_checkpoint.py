"""Published checkpoints are read without running them, and only when every name fits."""

import os
import pickle
import threading

import pytest
import torch
from safetensors.torch import save_file

from napari_ctvlp.errors import ModelRefused
from napari_ctvlp.models import store
from napari_ctvlp.models.protocol import ModelCard
from napari_ctvlp.models.store.hosted import converted

EXPECTED = {"tower.weight": (3, 2), "tower.bias": (3,), "temp": ()}


def card(file="model.pth", sha256="", **plan):
    settings = {
        "bundle": {"where": "W.", "population": "P.", "files": [{"name": file, "sha256": sha256}]},
        "checkpoints": {"model": {"file": file, **plan}},
    }
    return ModelCard("x", "T", "encoder", "L", "S", "Words.", settings=settings)


def tensors(prefix="", **more):
    made = {name: torch.randn(shape) for name, shape in EXPECTED.items()}
    return {**{prefix + name: value for name, value in made.items()}, **more}


def read(model, folder):
    return store.state_dict(model, folder, EXPECTED)


class Harm:
    """A pickle that would write a file when it is read."""

    def __init__(self, path):
        self.path = path

    def __reduce__(self):
        return os.mkdir, (str(self.path),)


@pytest.mark.parametrize("zipped", [True, False])
def test_a_checkpoint_is_converted_once_and_then_no_longer_needed(tmp_path, zipped):
    saved = {"model": tensors(), "epoch": 3, "config": {"lr": 1e-4}}
    torch.save(saved, tmp_path / "model.pth", _use_new_zipfile_serialization=zipped)
    model = card(inside="model")
    first = read(model, tmp_path)
    (tmp_path / "model.pth").unlink()
    again = read(model, tmp_path)
    for found in (first, again):
        assert found.keys() == EXPECTED.keys()
        assert all(torch.equal(found[name], saved["model"][name]) for name in EXPECTED)
    assert sorted(path.name for path in tmp_path.iterdir()) == [
        "model.pth.safetensors",
        "model.pth.safetensors.sha256.json",
        "model.pth.sha256.json",
    ]


def test_tied_tensors_and_views_are_kept_whole(tmp_path):
    whole = torch.randn(4, 2)
    state = {"tower.weight": whole[:3], "tower.bias": torch.ones(3), "temp": torch.tensor(0.07)}
    torch.save({**state, "tied": state["tower.weight"]}, tmp_path / "model.pth")
    model = card(ignore=["tied"])
    assert torch.equal(read(model, tmp_path)["tower.weight"], whole[:3])
    (tmp_path / "model.pth").unlink()
    assert torch.equal(read(model, tmp_path)["tower.weight"], whole[:3])


@pytest.mark.parametrize("protocol", [2, 4])
def test_a_malicious_pickle_is_refused_and_never_run(tmp_path, protocol):
    harm = {"model": {"tower.weight": Harm(tmp_path / "harm")}}
    torch.save(harm, tmp_path / "model.pth", pickle_protocol=protocol)
    with pytest.raises(ModelRefused, match=r"model\.pth holds something else and was not run"):
        read(card(inside="model"), tmp_path)
    (tmp_path / "model.pth").write_bytes(pickle.dumps(harm, protocol))
    with pytest.raises(ModelRefused, match=r"model\.pth"):
        read(card(inside="model"), tmp_path)
    assert not (tmp_path / "harm").exists()
    assert not converted(tmp_path / "model.pth").exists()


@pytest.mark.parametrize("share", [0.0, 0.5, 0.98])
@pytest.mark.parametrize("name", ["model.pth", "model.safetensors"])
def test_a_truncated_checkpoint_is_refused(tmp_path, share, name):
    path = tmp_path / name
    (save_file if name.endswith("safetensors") else torch.save)(tensors(), path)
    path.write_bytes(path.read_bytes()[: int(path.stat().st_size * share)])
    with pytest.raises(ModelRefused, match="cut short or damaged") as caught:
        read(card(name), tmp_path)
    assert "tower.weight, tower.bias" in caught.value.expected


@pytest.mark.parametrize(
    ("state", "message"),
    [
        (tensors("module."), "lacks tower.weight, tower.bias.*module.tower.weight.*'module.'"),
        ({"tower.weight": torch.ones(3, 2), "temp": torch.ones(())}, "lacks tower.bias"),
        (tensors(**{"head.weight": torch.ones(2)}), "also holds head.weight"),
        ({**tensors(), "tower.bias": torch.ones(4)}, r"tower.bias is \(4,\) and not \(3,\)"),
        ({**tensors(), "tower.bias": [1, 2, 3]}, "tower.bias is no plain tensor"),
        ({**tensors(), "tower.bias": torch.ones(3).to_sparse()}, "tower.bias is no plain tensor"),
    ],
    ids=["wrong prefix", "missing", "unexpected", "wrong shape", "a list", "sparse"],
)
def test_other_names_and_shapes_are_refused_and_the_first_are_named(tmp_path, state, message):
    torch.save(state, tmp_path / "model.pth")
    with pytest.raises(ModelRefused, match=message):
        read(card(), tmp_path)
    assert not converted(tmp_path / "model.pth").exists()


@pytest.mark.parametrize("state", [[1, 2], {"state": {}}], ids=["a list", "other key"])
def test_a_file_without_the_key_is_refused(tmp_path, state):
    torch.save(state, tmp_path / "model.pth")
    with pytest.raises(ModelRefused, match=r"holds (list|state)"):
        read(card(inside="model"), tmp_path)


def test_the_card_says_what_may_be_absent_or_ignored_and_what_the_prefix_is(tmp_path):
    state = tensors("module.", **{"module.cls.bias": torch.ones(2)})
    del state["module.temp"]
    torch.save(state, tmp_path / "model.pth")
    model = card(prefix="module.", ignore=["cls.*"], optional=["temp"])
    assert set(read(model, tmp_path)) == {"tower.weight", "tower.bias"}


def test_a_missing_file_says_where_it_belongs(tmp_path):
    with pytest.raises(ModelRefused, match=r"model\.pth is not in") as caught:
        read(card(), tmp_path)
    assert str(tmp_path) in caught.value.expected
    assert "W." in caught.value.advice


def test_a_replaced_checkpoint_is_converted_again(tmp_path):
    torch.save(tensors(), tmp_path / "model.pth")
    read(card(), tmp_path)
    other = tensors()
    torch.save(other, tmp_path / "model.pth")
    os.utime(tmp_path / "model.pth", ns=(1, 1))
    assert torch.equal(read(card(), tmp_path)["tower.weight"], other["tower.weight"])


def test_rotten_safetensors_are_never_loaded(tmp_path):
    save_file(tensors(), tmp_path / "model.safetensors")
    model = card("model.safetensors")
    read(model, tmp_path)
    rot(tmp_path / "model.safetensors")
    with pytest.raises(ModelRefused, match="has changed on the disk"):
        read(model, tmp_path)


def test_a_rotten_conversion_is_made_again(tmp_path):
    state = tensors()
    torch.save(state, tmp_path / "model.pth")
    read(card(), tmp_path)
    rot(converted(tmp_path / "model.pth"))
    assert torch.equal(read(card(), tmp_path)["temp"], state["temp"])


def rot(path):
    """Change the last byte and leave the times as they were."""
    times = path.stat()
    body = bytearray(path.read_bytes())
    body[-1] ^= 1
    path.write_bytes(body)
    os.utime(path, ns=(times.st_atime_ns, times.st_mtime_ns))


def test_the_sha256_of_the_card_is_asked_for(tmp_path):
    torch.save(tensors(), tmp_path / "model.pth")
    with pytest.raises(ModelRefused, match="has the SHA-256"):
        read(card(sha256="0" * 64), tmp_path)
    assert read(card(sha256=store.sha256(tmp_path / "model.pth")), tmp_path)


def test_two_readers_at_once_both_get_the_tensors(tmp_path):
    torch.save(tensors(), tmp_path / "model.pth")
    found = []
    readers = [threading.Thread(target=lambda: found.append(read(card(), tmp_path))) for _ in "ab"]
    for reader in readers:
        reader.start()
    for reader in readers:
        reader.join()
    assert len(found) == 2
    assert converted(tmp_path / "model.pth").is_file()


def test_unpickling_is_weights_only_everywhere():
    package = store.CARDS.parents[1]
    texts = {path: path.read_text(encoding="utf-8") for path in package.rglob("*.py")}
    for path, text in texts.items():
        assert "weights_only" + "=False" not in text, path
        assert text.count("torch.load(") == text.count("weights_only=True"), path
