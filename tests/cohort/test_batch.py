"""A batch gives the rows that score and ground give, keeps no name, and goes on where it ended."""

import json
import os
import shutil
import signal
import subprocess
import sys
import time

import pytest

from napari_ctvlp.cohort.batch import _recipe as recipe_of
from napari_ctvlp.cohort.batch import batch
from napari_ctvlp.cohort.inputs import find_inputs, without_names
from napari_ctvlp.cohort.store import Store
from napari_ctvlp.cohort.tokens import kept_tokens
from napari_ctvlp.cohort.work import Task, work
from napari_ctvlp.core import vocabulary
from napari_ctvlp.core.vocabulary.own import read
from napari_ctvlp.engine import export, verbs
from napari_ctvlp.errors import InputRefused

PHRASES = ("nodule in the left lung", "no pleural effusion")
COMMAND = [sys.executable, "-m", "napari_ctvlp.cli.main"]


def table(store, query):
    return store.connect().execute(query).fetchall()


def test_rows_are_those_of_score_and_ground_bit_for_bit(store, archive):
    inputs, _ = find_inputs(archive)
    scan = verbs.open_scan(inputs[0].path)
    scored = export.score_rows(verbs.score(scan))
    names = ("organ", "finding", "present", "absent", "margin", "probability", "support")
    kept = table(store, f"SELECT {', '.join(names)} FROM findings WHERE scan = '000001'")
    assert sorted(kept) == sorted(tuple(row[name] for name in names) for row in scored)
    assert any(row["margin"] is not None for row in scored)
    for phrase in PHRASES:
        stats = export.heatmap_stats(verbs.ground(scan, phrase), scan)
        (found,) = table(
            store,
            "SELECT verdict, reason, peak, margin, p_value, [peak_r, peak_a, peak_s] FROM phrases "
            f"WHERE scan = '000001' AND phrase = '{phrase}'",
        )
        expected = [stats[name] for name in ("verdict", "reason", "peak", "margin")]
        assert list(found) == [*expected, stats["background"]["p_value"], stats["peak_ras_mm"]]
    organs = export.anatomy_table(verbs.segment(scan), scan)["organs"]
    assert sorted(table(store, "SELECT organ, ml FROM organs WHERE scan = '000001'")) == sorted(
        (organ["name"], organ["ml"]) for organ in organs
    )


def test_vectors_and_tokens_are_kept_bit_for_bit(store, archive):
    scan = verbs.open_scan(find_inputs(archive)[0][0].path)
    encoding = verbs.encode(scan)
    found = dict(table(store, "SELECT organ, vector FROM vectors WHERE scan = '000001'"))
    assert set(found) == {"", *encoding.organs}
    for organ, vector in encoding.organs.items():
        assert found[organ] == vector.tolist()
    anatomy, kept = kept_tokens(store, "000001")
    assert kept.digest == encoding.digest
    assert anatomy.content == verbs.segment(scan).content
    assert kept.grids[0].tokens.dtype == encoding.grids[0].tokens.dtype


def test_a_scan_that_fails_is_a_row_of_our_own_family(store):
    failed = table(store, "SELECT error_kind, error_code, error FROM scans WHERE state = 'failed'")
    assert {row[0] for row in failed} == {"InputRefused"}
    assert {row[1] for row in failed} == {"empty", "truncated", "not-a-ct"}
    assert all("Expected:" in row[2] for row in failed)


def test_no_planted_name_is_in_the_store_but_in_the_id_map(store, archive):
    searched = 0
    for path in store.folder.rglob("*"):
        assert "ustermann" not in path.name
        if not path.is_file() or path.parent.name == "identity":
            continue
        searched += 1
        content = path.read_bytes()
        for secret in (
            b"ustermann",
            b"PAT4711X",
            b"Erika",
            b"Doe^Jane",
            os.fsencode(archive.parent),
        ):
            assert secret not in content, path
    said = str([table(store, f"FROM {name}") for name in ("scans", "labels", "phrases")])
    assert "ustermann" not in said
    assert "PAT4711X" not in said
    assert searched > 8
    ids = store.folder / "identity" / "ids.csv"
    assert "Mustermann^Erika" in ids.read_text()
    assert ids.stat().st_mode & 0o077 == 0


def test_labels_of_a_manifest_are_kept(store):
    assert table(store, "SELECT scan, value FROM labels ORDER BY scan")[:2] == [
        ("000001", "1"), ("000002", "0"),
    ]  # fmt: skip


def test_a_second_run_does_only_what_is_missing_or_stale(archive, store, tmp_path, rows):
    out = tmp_path / "store"
    shutil.copytree(store.folder, out)
    before = rows(out)
    again = batch(archive, out, phrases=PHRASES, workers=0)
    assert (again.found, again.fresh, again.done) == (8, 8, 0)
    assert rows(out) == before
    more = batch(archive, out, phrases=["pneumothorax"], workers=0)
    assert (more.fresh, more.done) == (4, 4), "what failed is not tried again"
    after = rows(out)
    assert {row[1] for row in after["phrases"]} == {*PHRASES, "pneumothorax"}
    assert after["vectors"] == before["vectors"]
    assert [row for row in after["phrases"] if row[1] in PHRASES] == before["phrases"]
    tried = batch(archive, out, workers=0, retry=True)
    assert (tried.done, tried.failed) == (4, 4)


def test_ones_own_words_make_a_scan_stale_and_go_along_to_workers(archive, store, tmp_path):
    out = tmp_path / "store"
    shutil.copytree(store.folder, out)
    words = 'organs = ["lung_left"]\nwords = ["septic emboli"]\nconcept = "cavity"\n'
    vocabulary.use(read(f'[[finding]]\nname = "septic_emboli"\n{words}'))
    try:
        made = recipe_of("mini", "anatomy", PHRASES, True)
        vocabulary.use({})  # as in a process that was just started
        work(Task(str(out), "000001", find_inputs(archive)[0][0], made))
        assert batch(archive, out, phrases=PHRASES, workers=0).done == 3
    finally:
        vocabulary.use({})
    assert table(Store(out), "SELECT count(*) FROM findings WHERE finding = 'septic_emboli'") == [
        (4,)
    ]


def test_weights_that_changed_make_a_scan_stale(archive, store, tmp_path, monkeypatch):
    from napari_ctvlp.cohort import batch as module

    out = tmp_path / "store"
    shutil.copytree(store.folder, out)
    monkeypatch.setattr(module.models, "model_digest", lambda card: "0" * 64)
    changed = batch(archive, out, workers=0)
    assert (changed.fresh, changed.done, changed.failed) == (0, 8, 4)


def test_a_file_that_changed_is_done_again(piece, tmp_path):
    path = piece(tmp_path / "in" / "a.nii.gz")
    first = batch(tmp_path / "in", tmp_path / "store", workers=0)
    assert (first.done, first.failed) == (1, 0)
    path.write_bytes(b"")
    second = batch(tmp_path / "in", tmp_path / "store", workers=0)
    assert (second.done, second.failed) == (1, 1)


def test_a_folder_tree_lists_volumes_and_what_is_broken(piece, samples, tmp_path):
    piece(tmp_path / "a" / "ct.nii.gz")
    samples.Series(tmp_path / "b", count=12).write()
    samples.Series(tmp_path / "c", count=3).write()
    (tmp_path / "d").mkdir()
    (tmp_path / "d" / "slice.dcm").write_bytes(bytes(128) + b"DICM" + b"\x02\x00\x00\x00UL\x00")
    (tmp_path / "notes.txt").write_text("nothing")
    found, words = find_inputs(tmp_path)
    assert [one.path for one in found] == [
        str(tmp_path / "a" / "ct.nii.gz"), str(tmp_path / "b"), str(tmp_path / "d" / "slice.dcm"),
    ]  # fmt: skip
    assert found[1].series
    assert "1 series" in words
    assert found[0].voxels == 22 * 20 * 18


@pytest.mark.parametrize(
    ("text", "words"), [("file,id\na,b\n", "no column 'path'"), ("path\n", "no row")]
)
def test_a_manifest_that_is_none_is_refused(tmp_path, text, words):
    (tmp_path / "m.csv").write_text(text)
    with pytest.raises(InputRefused, match=words):
        find_inputs(tmp_path / "m.csv")


def test_names_are_taken_out_of_errors():
    text = "Doe_Jane.nii.gz is empty. Open the file other/Doe.dcm instead: see Jane"
    told = without_names(text, ["/data/Doe_Jane.nii.gz", "", "Jane"])
    assert "Doe" not in told
    assert "Jane" not in told
    assert "is empty" in told


def test_workers_on_one_scheduler_give_the_same_store(archive, store, tmp_path, rows, monkeypatch):
    """Two worker processes in folders of their own share nothing but the store's folder."""
    environment = {**os.environ, "OMP_NUM_THREADS": str(threads(store))}
    started, address = [], tmp_path / "scheduler.json"
    dask = [sys.executable, "-W", "ignore", "-m"]
    quiet = {"env": environment, "stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL}
    try:
        scheduler = [*dask, "distributed.cli.dask_scheduler"]
        options = ["--host", "127.0.0.1", "--port", "0", "--no-dashboard", "--scheduler-file"]
        started.append(subprocess.Popen([*scheduler, *options, str(address)], **quiet))
        wait_for(address.exists)
        where = json.loads(address.read_text())["address"]
        for name in ("one", "two"):
            (tmp_path / name).mkdir()
            worker = [*dask, "distributed.cli.dask_worker", where]
            own = {**quiet, "env": {**environment, "CTVLP_CACHE": str(tmp_path / name / "cache")}}
            words = ["--nthreads", "1", "--no-dashboard", "--local-directory", "."]
            started.append(subprocess.Popen([*worker, *words], cwd=tmp_path / name, **own))
        command = ["batch", archive, "--out", tmp_path / "store", "--scheduler", where, "--tokens"]
        (tmp_path / "phrases.txt").write_text("\n".join(PHRASES))
        command += ["--phrases", tmp_path / "phrases.txt"]
        done = subprocess.run(
            [*COMMAND, *map(str, command)], capture_output=True, text=True, check=False
        )
        assert done.returncode == 0, done.stderr
        assert json.loads(done.stdout)["failed"] == 4
    finally:
        for process in started:
            process.terminate()
        for process in started:
            process.wait(30)
    assert rows(tmp_path / "store") == rows(store.folder)


def threads(store):
    return table(store, "SELECT max(threads) FROM scans")[0][0]


def wait_for(ready, seconds=240.0):
    end = time.monotonic() + seconds
    while not ready():
        assert time.monotonic() < end, "waited in vain"
        time.sleep(0.1)


@pytest.mark.timeout(900)  # three starts of a cluster, on a busy machine too
def test_stopped_by_ctrl_c_and_killed_twice_the_same_command_goes_on(
    archive, store, tmp_path, rows, request
):
    """A shell's background jobs, these tests perhaps, hand on that SIGINT is ignored: undone."""
    heard = "import runpy, signal; signal.signal(signal.SIGINT, signal.default_int_handler); "
    heard += "runpy.run_module('napari_ctvlp.cli.main', run_name='__main__')"
    out, log = tmp_path / "store", tmp_path / "log"
    words = ["batch", archive, "--out", out, "--workers", "1", "--tokens"]
    (tmp_path / "phrases.txt").write_text("\n".join(PHRASES))
    words = [*map(str, [*words, "--phrases", tmp_path / "phrases.txt"])]
    environment = {**os.environ, "OMP_NUM_THREADS": str(threads(store))}
    environment["CTVLP_CACHE"] = str(tmp_path / "cache")

    def start():
        with log.open("w") as file:
            run = subprocess.Popen(
                [sys.executable, "-c", heard, *words], stderr=file, stdout=subprocess.DEVNULL,
                env=environment, start_new_session=True,
            )  # fmt: skip
        request.addfinalizer(lambda: (run.kill(), run.wait()))
        return run

    def lines(event):
        path = out / "log.jsonl"
        rows = map(json.loads, path.read_text().splitlines()) if path.exists() else ()
        return [row for row in rows if row["event"] == event]

    first = start()
    wait_for(lambda: lines("begun"))
    os.kill(lines("begun")[0]["process"], signal.SIGKILL)
    wait_for(lambda: "of 8 scans" in log.read_text())
    os.killpg(first.pid, signal.SIGINT)
    assert first.wait(240) == 130, log.read_text()
    said = log.read_text()
    assert "goes on from there" in said
    assert "Traceback" not in said
    wait_for(lambda: not group_lives(first.pid), 60)
    assert not Store(out).damaged
    assert not list((out / "commits").iterdir())
    second, seen = start(), len(lines("begun"))
    wait_for(lambda: len(lines("begun")) > seen or second.poll() is not None)
    second.kill()
    second.wait()
    third = start()
    assert third.wait(240) == 0, log.read_text()
    assert rows(out) == rows(store.folder)
    assert sorted(row["scan"] for row in lines("done")) == [f"{n:06d}" for n in range(1, 9)]
    assert len(lines("begun")) <= 8 + 3


def group_lives(group):
    try:
        os.killpg(group, 0)
    except ProcessLookupError:
        return False
    return True
