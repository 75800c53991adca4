"""Results on disk: kept by content, damaged ones are simply not there."""

import os

import numpy as np
import pytest

from napari_ctvlp.core.anatomy import AnatomyMap, Organ
from napari_ctvlp.engine import cache


def labels(value=1, shape=(20, 21, 22)):
    organ = Organ(1, "lung_left", 12.5, float("nan"), True)
    return AnatomyMap(np.full(shape, value, np.uint8), np.eye(4), (organ,), "classical")


@pytest.fixture
def folder(tmp_path, monkeypatch):
    monkeypatch.setenv("CTVLP_CACHE", str(tmp_path / "kept"))
    yield tmp_path / "kept"
    cache.forget_memory()


def entry(folder):
    (path,) = folder.glob("*.safetensors")
    return path


def test_a_result_comes_back_from_disk_as_it_was(folder):
    key = cache.key_of("anatomy", "digest")
    assert cache.load(key) is None
    cache.save(key, labels())
    cache.forget_memory()
    got = cache.load(key)
    assert got.content == labels().content
    assert np.isnan(got.organs[0].mean_hu)
    assert not list(folder.glob("*.part"))


def test_keys_depend_on_every_part():
    assert len({cache.key_of("a", "bc"), cache.key_of("ab", "c"), cache.key_of("a", "bd")}) == 3


@pytest.mark.parametrize("damage", ["truncated", "empty", "bit", "text"])
def test_a_damaged_entry_is_a_miss(folder, damage):
    key = cache.key_of("anatomy")
    cache.save(key, labels())
    cache.forget_memory()
    path = entry(folder)
    body = bytearray(path.read_bytes())
    if damage == "truncated":
        body = body[:-100]
    elif damage == "empty":
        body = body[:0]
    elif damage == "bit":
        body[-50] ^= 1
    else:
        body = b"not at all what it should be"
    path.write_bytes(body)
    assert cache.load(key) is None
    cache.save(key, labels(2))
    cache.forget_memory()
    assert cache.load(key).labels.max() == 2


def test_the_longest_unused_goes_first(folder):
    keys = [cache.key_of(str(number)) for number in range(4)]
    for age, key in enumerate(keys[:3]):
        cache.save(key, labels(age))
        os.utime(folder / f"{key}.safetensors", (age + 1, age + 1))
    cache.forget_memory()
    cache.load(keys[0])
    cache.save(keys[3], labels(3), limit_bytes=3 * cache.size_bytes() // 3)
    cache.forget_memory()
    assert [cache.load(key) is not None for key in keys] == [True, False, True, True]


def test_a_folder_that_cannot_be_made_is_no_error(tmp_path, monkeypatch):
    (tmp_path / "file").write_text("in the way")
    monkeypatch.setenv("CTVLP_CACHE", str(tmp_path / "file" / "kept"))
    key = cache.key_of("anatomy")
    cache.save(key, labels())
    cache.forget_memory()
    assert cache.load(key) is None


def test_clear_deletes_everything(folder):
    cache.save(cache.key_of("x"), labels())
    cache.clear()
    assert cache.size_bytes() == 0
    assert cache.load(cache.key_of("x")) is None
