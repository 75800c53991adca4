"""Exit codes, words, and that nothing is written when something goes wrong."""

import json
import shutil
import subprocess
import sys

import pytest

from napari_ctvlp.cli.output import Outputs
from napari_ctvlp.core.resources import weights_folder
from napari_ctvlp.engine import verbs
from napari_ctvlp.errors import InputRefused, ModelRefused


def refused(done):
    """Check the shape of a refusal and return its four parts."""
    assert done.exit_code == 3
    error = json.loads(done.stdout)["error"]
    assert set(error) == {"code", "expected", "found", "advice"}
    assert all(error.values())
    assert error["found"] in done.stderr
    assert "Traceback" not in done.output
    return error


def test_help_imports_neither_torch_nor_nibabel():
    code = (
        "import sys\n"
        "from napari_ctvlp.cli.main import app\n"
        "try:\n"
        "    app(['--help'])\n"
        "except SystemExit:\n"
        "    pass\n"
        "heavy = {'torch', 'nibabel', 'transformers', 'pydicom', 'monai', 'napari', 'qtpy'}\n"
        "print(sorted(heavy & set(sys.modules)), file=sys.stderr)\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stderr.strip() == "[]"
    for name in ("view", "inspect", "segment", "ground", "score", "parse", "sample", "doctor"):
        assert name in done.stdout


@pytest.mark.parametrize(
    "words",
    [
        ("segment", "{}", "--out", "labels.nii.gz"),
        ("ground", "{}", "nodule", "--out", "heat.nii.gz"),
        ("score", "{}", "--out", "scores.csv"),
        ("view", "{}"),
    ],
    ids=lambda words: words[0],
)
def test_a_missing_input_is_refused(ctvlp, tmp_path, monkeypatch, words):
    monkeypatch.chdir(tmp_path)
    refused(ctvlp(*(word.format(tmp_path / "nothing.nii.gz") for word in words)))
    assert not list(tmp_path.iterdir())


def test_a_broken_input_is_refused_and_leaves_the_old_result(ctvlp, ct, tmp_path):
    cut = tmp_path / "cut.nii.gz"
    cut.write_bytes(ct.read_bytes()[:2000])
    out = tmp_path / "labels.nii.gz"
    out.write_bytes(b"earlier result")
    refused(ctvlp("segment", cut, "--out", out))
    assert out.read_bytes() == b"earlier result"
    assert sorted(path.name for path in tmp_path.iterdir()) == ["cut.nii.gz", "labels.nii.gz"]


@pytest.mark.parametrize(
    ("out", "code"),
    [
        ("missing/labels.nii.gz", "missing-folder"),
        ("labels.png", "bad-suffix"),
        ("chest.nii.gz", "would-overwrite"),
    ],
)
def test_an_output_that_cannot_be_is_refused_before_anything_runs(ctvlp, ct, tmp_path, out, code):
    copy = shutil.copy(ct, tmp_path / "chest.nii.gz")
    before = copy.read_bytes()
    assert refused(ctvlp("segment", copy, "--out", tmp_path / out))["code"] == code
    assert copy.read_bytes() == before
    assert [path.name for path in tmp_path.iterdir()] == ["chest.nii.gz"]


def test_a_file_of_the_input_folder_is_not_overwritten(tmp_path):
    (tmp_path / "series").mkdir()
    (tmp_path / "series" / "slice.nii").write_bytes(b"one of many")
    with Outputs(tmp_path / "series") as outputs, pytest.raises(InputRefused):
        outputs.add(tmp_path / "series" / "slice.nii", (".nii",))


def test_two_outputs_cannot_be_one_file(tmp_path):
    with Outputs() as outputs:
        outputs.add(tmp_path / "x.json", (".json",))
        with pytest.raises(InputRefused):
            outputs.add(tmp_path / "x.json", (".json",))


def test_a_failure_in_between_leaves_nothing(tmp_path):
    def run():
        with Outputs() as outputs:
            outputs.add(tmp_path / "a.nii", (".nii",)).write_bytes(b"half")
            outputs.write_json(tmp_path / "b.json", {})
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        run()
    assert not list(tmp_path.iterdir())


def test_other_failures_exit_with_one_sentence(ctvlp, ct, tmp_path):
    done = ctvlp("ground", ct, "nodule", "--model", "nobody", "--out", tmp_path / "heat.nii.gz")
    assert done.exit_code == 1
    assert "nobody" in done.stderr
    assert "Traceback" not in done.output
    assert done.stdout == ""
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("place", ["before", "after"])
def test_debug_shows_the_trace(ctvlp, ct, place):
    words = ["ground", ct, "nodule", "--model", "nobody"]
    done = ctvlp("--debug", *words) if place == "before" else ctvlp(*words, "--debug")
    assert isinstance(done.exception, ModelRefused)


def test_usage_errors_exit_with_two(ctvlp):
    assert ctvlp("segment").exit_code == 2
    assert ctvlp("nonsense").exit_code == 2


def test_corrupt_weights_are_refused_and_nothing_is_written(ctvlp, ct, tmp_path, monkeypatch):
    weights = tmp_path / "weights"
    shutil.copytree(weights_folder(), weights)
    for path in weights.glob("*.safetensors"):
        path.write_bytes(path.read_bytes()[:-1] + b"?")
    monkeypatch.setenv("CTVLP_WEIGHTS", str(weights))
    verbs.forget()
    done = ctvlp("ground", ct, "nodule", "--out", tmp_path / "heat.nii.gz")
    verbs.forget()
    assert done.exit_code == 1
    assert "has the SHA-256" in done.stderr
    assert [path.name for path in tmp_path.iterdir()] == ["weights"]
    doctor = ctvlp("doctor", "--json")
    assert doctor.exit_code == 1
    told = {check["name"]: check for check in json.loads(doctor.stdout)["checks"]}
    assert told["Weights"]["state"] == "broken"
    assert told["Weights"]["advice"]


def test_doctor_says_what_to_do_about_each_problem(ctvlp):
    done = ctvlp("doctor", "--json")
    told = json.loads(done.stdout)
    assert done.exit_code == 0
    assert told["usable"] is True
    names = {check["name"] for check in told["checks"]}
    assert {"Compute", "Memory", "Window", "Weights", "Text model", "Offline", "Cache"} <= names
    for check in told["checks"]:
        assert check["found"]
        assert check["advice"] or check["state"] == "good"


def test_doctor_finds_a_missing_text_model(ctvlp, tmp_path, monkeypatch):
    monkeypatch.setenv("CTVLP_TEXT_MODEL", str(tmp_path))
    done = ctvlp("doctor")
    assert done.exit_code == 1
    assert "broken   Text model" in done.stdout


def test_ones_own_words_are_read_and_a_fault_in_them_is_refused(ctvlp, settings):
    (settings / "vocabulary.toml").write_text('[[finding]]\nname = "nodule"\nwords = ["blob"]\n')
    assert json.loads(ctvlp("parse", "blob in the left lung").stdout)["finding"] == "nodule"
    (settings / "vocabulary.toml").write_text('[[finding]]\nname = "nodule"\nwords = 1\n')
    done = ctvlp("parse", "blob")
    refused(done)
    assert "'words' is not a list" in done.stderr
    (settings / "vocabulary.toml").unlink()
    assert json.loads(ctvlp("parse", "blob in the left lung").stdout)["finding"] == ""
