"""Fetching the originals: the plan, the checks and what is said without a network.

The archive is the one thing that is not real here: it is the network.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path

import pytest
from pydicom import Dataset
from pydicom.dataset import FileMetaDataset
from pydicom.uid import CTImageStorage, ExplicitVRLittleEndian, generate_uid

from napari_ctvlp.errors import InputRefused, OutOfResources
from napari_ctvlp.training.data import cases
from napari_ctvlp.training.fetch import RECORD, digest_of, fetch, idc_client, originals, plan

CT = "Lung_Dx-A0002"


class Archive:
    """Writes what it is told to hold, and counts how often it was asked."""

    def __init__(self, slices: int = 30, series: str = "", fails: bool = False) -> None:
        self.slices, self.series, self.fails, self.asked = slices, series, fails, 0

    def download_from_selection(
        self, downloadDir: str, *, seriesInstanceUID: list[str], **others: object
    ) -> None:
        self.asked += 1
        if self.fails:
            raise ConnectionError("no route to host")
        place = Path(downloadDir) / "a" / "b"
        place.mkdir(parents=True)
        for number in range(self.slices):
            write_slice(place / f"{number}.dcm", self.series or seriesInstanceUID[0], number)


def write_slice(path: Path, series: str, number: int) -> None:
    data = Dataset()
    data.SOPClassUID, data.SOPInstanceUID = CTImageStorage, generate_uid(entropy_srcs=[str(number)])
    data.SeriesInstanceUID, data.InstanceNumber = series, number
    data.file_meta = FileMetaDataset()
    data.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
    data.save_as(path, enforce_file_format=True)


def test_every_training_ct_has_an_original_with_a_licence():
    rows = {row.name: row for row in originals()}
    assert {case.name for case in cases()} <= set(rows)
    assert all(row.licence and row.cite for row in rows.values())
    assert all("NC" not in row.licence for row in rows.values())
    assert all(
        row.series.startswith("1.3.6.1.4.1.14519.") or row.elsewhere for row in rows.values()
    )


def test_the_plan_names_sources_licences_and_what_is_there(tmp_path: Path):
    lines = plan(tmp_path).splitlines()
    assert len(lines) == len(originals())
    assert all("CC BY" in line or "Apache" in line for line in lines)
    assert "not in IDC; tests/reference_files" in plan(tmp_path, ["TS-example-abdomen"])
    assert "to fetch" in plan(tmp_path, [CT])
    fetch(tmp_path, [CT], client=Archive)
    assert "fetched" in plan(tmp_path, [CT])


def test_a_fetch_keeps_files_digest_and_licence_and_asks_once(tmp_path: Path):
    archive = Archive()
    found = fetch(tmp_path, [CT], client=lambda: archive)
    assert len(list(found[CT].glob("*.dcm"))) == 30
    kept = json.loads((tmp_path / RECORD).read_text())[CT]
    assert kept["sha256"] == digest_of(found[CT])
    assert kept["licence"] == "CC BY 4.0"
    fetch(tmp_path, [CT], client=lambda: archive)
    assert archive.asked == 1


def test_another_content_than_at_first_is_refused(tmp_path: Path):
    place = fetch(tmp_path, [CT], client=Archive)[CT]
    with next(place.glob("*.dcm")).open("ab") as file:
        file.write(b"\0\0")
    with pytest.raises(InputRefused, match="SHA-256") as caught:
        fetch(tmp_path, [CT], client=Archive)
    assert caught.value.code == "not-the-original"


@pytest.mark.parametrize(
    ("archive", "words"),
    [(Archive(slices=29), "29 files instead of 30"), (Archive(series="1.2.3"), "series 1.2.3")],
)
def test_another_series_or_half_of_one_leaves_nothing(tmp_path: Path, archive: Archive, words: str):
    with pytest.raises(InputRefused, match=words):
        fetch(tmp_path, [CT], client=lambda: archive)
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("archive", [Archive(fails=True), Archive(slices=0)])
def test_without_a_network_it_says_so(tmp_path: Path, archive: Archive):
    with pytest.raises(OutOfResources, match="could not be fetched") as caught:
        fetch(tmp_path, [CT], client=lambda: archive)
    assert "needs no network" in caught.value.advice
    assert not list(tmp_path.iterdir())


def test_without_the_client_it_says_what_to_install(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setitem(sys.modules, "idc_index", None)
    with pytest.raises(InputRefused, match="pip install idc-index"):
        idc_client()


def test_an_unknown_name_and_a_spoilt_record_are_refused(tmp_path: Path):
    with pytest.raises(InputRefused, match="no training CT called nobody"):
        plan(tmp_path, ["nobody"])
    (tmp_path / RECORD).write_text("{half")
    with pytest.raises(InputRefused, match="cannot be read"):
        plan(tmp_path)
