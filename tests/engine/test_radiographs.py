"""A radiograph from a file to a map, with a small BioViL-T of random weights."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest
from PIL import Image
from typer.testing import CliRunner

from napari_ctvlp.cli.main import app
from napari_ctvlp.engine import verbs
from napari_ctvlp.engine.loaded import KEPT
from napari_ctvlp.errors import ModelRefused


@pytest.fixture
def picture(hosting: ModuleType, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Host the model and write a picture that is wider than high."""
    hosting.host("biovil_t", tmp_path, monkeypatch)
    pixels = np.random.default_rng(1).integers(0, 4000, (128, 160)).astype(np.uint16)
    Image.fromarray(pixels).save(tmp_path / "chest.png")
    yield tmp_path / "chest.png"
    verbs.forget()


def test_a_phrase_is_found_on_the_pixels_of_the_picture(picture: Path):
    opened = verbs.open_radiograph(picture)
    told: list[str] = []
    found = verbs.ground_radiograph(
        opened, "pleural effusion", progress=lambda share, stage: told.append(stage)
    )
    assert "encoding" in told
    assert found.values.shape == opened.shape
    seen = np.isfinite(found.values)
    edge = int(448 * 128 / 512)
    assert seen.sum() == edge**2
    rows, columns = np.nonzero(seen)
    assert (rows.min(), columns.min()) == ((128 - edge) // 2, (160 - edge) // 2)
    assert np.abs(found.values[seen]).max() <= 1
    assert abs(found.score) <= 1
    assert found.values[found.peak_index] == pytest.approx(found.peak)
    assert found.radiograph == opened.digest
    told.clear()
    again = verbs.ground_radiograph(
        opened, "lung nodule", progress=lambda share, stage: told.append(stage)
    )
    assert KEPT in told
    assert "encoding" not in told
    assert not np.allclose(again.values[seen], found.values[seen])


def test_an_earlier_picture_changes_the_map_and_is_told(picture: Path):
    opened = verbs.open_radiograph(picture)
    earlier = replace(opened, pixels=opened.pixels[::-1].copy())
    alone = verbs.ground_radiograph(opened, "effusion")
    found = verbs.ground_radiograph(opened, "effusion", prior=earlier)
    same = verbs.ground_radiograph(opened, "effusion", prior=opened)
    assert (alone.prior, found.prior) == ("", earlier.digest)
    seen = np.isfinite(found.values)
    assert not np.allclose(found.values[seen], alone.values[seen])
    assert not np.allclose(found.values[seen], same.values[seen])


def test_a_model_of_one_visit_takes_no_earlier_picture(
    hosting: ModuleType, picture: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    hosting.host("biovil", tmp_path, monkeypatch)
    opened = verbs.open_radiograph(picture)
    assert np.isfinite(verbs.ground_radiograph(opened, "mass", "biovil").score)
    with pytest.raises(ModelRefused, match="reads one picture only"):
        verbs.ground_radiograph(opened, "mass", "biovil", prior=opened)


def test_a_model_of_cts_reads_none(picture: Path):
    with pytest.raises(ModelRefused, match="mini reads CT only"):
        verbs.ground_radiograph(verbs.open_radiograph(picture), "mass", "mini")


def test_the_command_writes_map_and_numbers(picture: Path, tmp_path: Path):
    out, numbers = tmp_path / "map.npy", tmp_path / "map.json"
    words = ["radiograph", str(picture), "mass", "--out", str(out), "--json", str(numbers)]
    done = CliRunner().invoke(app, words)
    assert done.exit_code == 0, done.output
    written, told = np.load(out), json.loads(numbers.read_text())
    assert written.shape == tuple(told["shape"]) == (128, 160)
    compared = CliRunner().invoke(app, [*words, "--prior", str(picture)])
    assert compared.exit_code == 0, compared.output
    assert not told["compared"]
    assert json.loads(numbers.read_text())["compared"]
    row, column = told["peak_row_column"]
    assert written[row, column] == pytest.approx(told["peak"])
    refused = CliRunner().invoke(app, ["radiograph", str(numbers), "mass"])
    assert refused.exit_code == 3
