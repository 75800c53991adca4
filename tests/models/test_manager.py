"""Hosted models: what is missing is told, files come whole or not at all, the network is asked."""

import dataclasses
import hashlib
import http.server
import shutil
import socket
import subprocess
import sys
import threading

import huggingface_hub.constants  # noqa: F401 - reads HF_ENDPOINT once, before a test sets it
import pytest
import torch

from napari_ctvlp.errors import JobCancelled, ModelRefused
from napari_ctvlp.models import store
from napari_ctvlp.models.protocol import ModelCard
from napari_ctvlp.models.store.hosted import converted

COMMIT = "0123456789abcdef0123456789abcdef01234567"
BODY = bytes(range(256)) * 4096 * 24  # 24 MiB: the hub's library writes 10 MiB at a time
NAME = "model.pth"


@pytest.fixture(autouse=True)
def own_folder(tmp_path, monkeypatch):
    """Keep models in a folder of the test; the real switches do not count."""
    monkeypatch.setenv("CTVLP_MODELS", str(tmp_path / "models"))
    monkeypatch.delenv("CTVLP_OFFLINE", raising=False)
    monkeypatch.setenv("HF_HUB_OFFLINE", "0")
    monkeypatch.setenv("CTVLP_SWITCHED_OFFLINE", "")  # given back after the test
    monkeypatch.delenv("CTVLP_SWITCHED_OFFLINE")
    return tmp_path / "models"


def card(*, ask=False, sha256="", **more):
    files = [
        {"name": NAME, "sha256": sha256},
        {"name": "vocab.txt", "optional": True, "why": "free text"},
    ]
    bundle = {"where": "On the drive.", "population": "P.", "ask": ask, "files": files, **more}
    settings = {
        "bundle": bundle,
        "checkpoints": {"model": {"file": NAME}},
        "entry": "encoders.mini:Mini",
    }
    return ModelCard("toy", "T", "encoder", "CC BY-NC 4.0", "S", "Words.", settings=settings)


def checkpoint(folder, name=NAME):
    folder.mkdir(exist_ok=True)
    torch.save({"w": torch.arange(6.0)}, folder / name)
    return folder / name


def test_what_is_missing_is_named_with_its_folder_and_origin():
    state = store.state_of(card())
    assert (state.usable, state.word) == (False, "missing")
    assert NAME in state.reason
    assert "vocab.txt" not in state.reason
    with pytest.raises(ModelRefused, match=NAME) as caught:
        store.verify(card())
    assert str(store.folder_of(card())) in caught.value.expected
    assert "On the drive." in caught.value.advice


def test_a_licence_is_accepted_once_and_again_when_it_changes(tmp_path):
    model = card(ask=True)
    store.import_files(model, checkpoint(tmp_path))
    assert store.state_of(model).word == "licence"
    with pytest.raises(ModelRefused, match="CC BY-NC"):
        store.verify(model)
    store.accept(model)
    assert store.state_of(model).usable
    assert store.verify(model) == store.folder_of(model)
    assert not store.accepted(dataclasses.replace(model, licence="Another"))


def test_import_verify_carry_and_delete(tmp_path):
    model, shape = card(), {"w": (6,)}
    source = checkpoint(tmp_path / "from", "release_19.pth")
    with pytest.raises(ModelRefused, match="holds none of them"):
        store.import_files(model, source)
    told = []
    seen = lambda share, name: told.append((share, name))  # noqa: E731
    assert store.import_files(model, source, name=NAME, progress=seen) == [NAME]
    assert told[-1] == (1.0, "release_19.pth")
    store.state_dict(model, store.folder_of(model), shape)
    assert set(store.verify_files(model)) == {NAME, f"{NAME}.safetensors"}

    carried = tmp_path / "stick"
    shutil.copytree(store.folder_of(model), carried)
    (carried / NAME).unlink()
    assert store.delete(model) > 0
    assert not store.folder_of(model).exists()
    assert store.import_files(model, carried) == [f"{NAME}.safetensors"]
    assert store.state_of(model).usable
    found = store.state_dict(model, store.folder_of(model), shape)
    assert torch.equal(found["w"], torch.arange(6.0))


def test_another_sha256_than_the_card_has_is_refused_and_the_old_file_stays(tmp_path):
    good = checkpoint(tmp_path)
    model = card(sha256=store.sha256(good))
    store.import_files(model, good)
    other = tmp_path / "other"
    other.mkdir()
    (other / NAME).write_bytes(b"something else")
    with pytest.raises(ModelRefused, match="has the SHA-256"):
        store.import_files(model, other)
    assert store.verify_files(model) == {NAME: store.sha256(good)}
    names = [path.name for path in store.folder_of(model).iterdir()]
    assert sorted(names) == [NAME, f"{NAME}.sha256.json"]


def test_verify_finds_a_file_that_changed_after_it_came(tmp_path):
    model = card()
    store.import_files(model, checkpoint(tmp_path))
    path = store.folder_of(model) / NAME
    path.write_bytes(path.read_bytes()[:-1] + b"?")
    with pytest.raises(ModelRefused, match=f"{NAME} has the SHA-256"):
        store.verify_files(model)


def test_results_follow_the_checkpoint(tmp_path):
    model = card()
    nothing = store.model_digest(model)
    store.import_files(model, checkpoint(tmp_path))
    first = store.model_digest(model)
    store.state_dict(model, store.folder_of(model), {"w": (6,)})
    (store.folder_of(model) / NAME).unlink()
    assert store.model_digest(model) == first != nothing


def test_an_embedded_model_is_always_there_and_cannot_be_deleted():
    for act in (store.delete, store.verify_files, store.download):
        with pytest.raises(ModelRefused, match="mini"):
            act(store.card("mini"))
    assert store.state_of(store.card("mini")).usable


class Hub(http.server.BaseHTTPRequestHandler):
    """Serves one file as the hub does."""

    protocol_version = "HTTP/1.1"
    gets: list
    body = BODY

    def do_HEAD(self):
        self.answer(0, False)

    def do_GET(self):
        start = int((self.headers.get("Range") or "bytes=0-").split("=")[1].rstrip("-"))
        if NAME in self.path:
            self.gets.append((self.path, start))
        self.answer(start, True)

    def answer(self, start, send):
        if NAME not in self.path:
            self.send_response(404)
            self.send_header("X-Error-Code", "EntryNotFound")
            self.send_header("Content-Length", "0")
            self.end_headers()
            return
        self.send_response(206 if start else 200)
        self.send_header("ETag", f'"{hashlib.sha256(BODY).hexdigest()}"')
        self.send_header("X-Repo-Commit", COMMIT)
        self.send_header("Content-Length", str(len(self.body) - start))
        if start:
            self.send_header("Content-Range", f"bytes {start}-{len(self.body) - 1}/{len(BODY)}")
        self.end_headers()
        if send:
            self.wfile.write(self.body[start:])

    def log_message(self, *_):
        """Stay quiet."""


@pytest.fixture
def hub(monkeypatch):
    """Serve a hub on a loopback port for as long as the test runs."""
    handler = type("OneHub", (Hub,), {"gets": []})
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        monkeypatch.setenv("HF_ENDPOINT", f"http://127.0.0.1:{server.server_port}")
        yield handler
        server.shutdown()


def fetched(**more):
    return card(repo="owner/toy", revision=COMMIT, **more)


def without_vocabulary(model):
    bundle = model.settings["bundle"]
    files = [row for row in bundle["files"] if row["name"] == NAME]
    settings = {**model.settings, "bundle": {**bundle, "files": files}}
    return dataclasses.replace(model, settings=settings)


def test_a_download_goes_on_where_it_broke_off(hub):
    model = without_vocabulary(fetched(sha256=hashlib.sha256(BODY).hexdigest()))

    def stop(share, name):
        if share > 0.2:
            raise JobCancelled

    with pytest.raises(JobCancelled):
        store.download(model, stop)
    (half,) = store.folder_of(model).glob(".*.part")
    size = half.stat().st_size
    assert 0 < size < len(BODY)
    assert store.state_of(model).word == "missing"

    shares = []
    assert store.download(model, lambda share, name: shares.append(share)) == [NAME]
    path = store.folder_of(model) / NAME
    assert path.read_bytes() == BODY
    assert shares == sorted(shares)
    assert shares[-1] == 1.0
    assert [start for _, start in hub.gets] == [0, size]
    assert f"/{COMMIT}/" in hub.gets[0][0]
    assert not list(store.folder_of(model).glob(".*.part"))
    assert store.download(model) == []


def test_only_the_pinned_revision_is_taken(hub):
    model = card(repo="owner/toy", revision=COMMIT[::-1])
    with pytest.raises(ModelRefused, match=f"commit {COMMIT}"):
        store.download(without_vocabulary(model))


def test_a_file_that_came_wrong_is_not_kept(hub):
    hub.body = BODY[:-1] + b"?"
    model = without_vocabulary(fetched())
    with pytest.raises(ModelRefused, match="the sum"):
        store.download(model)
    assert not list(store.folder_of(model).iterdir())


def test_a_licence_is_asked_before_anything_is_fetched(hub):
    with pytest.raises(ModelRefused, match="licence"):
        store.download(fetched(ask=True))
    assert not hub.gets


def test_a_card_without_a_pinned_revision_says_how_to_get_the_files_by_hand():
    with pytest.raises(ModelRefused, match="On the drive") as caught:
        store.download(card(repo="owner/toy"))
    assert str(store.folder_of(card())) in caught.value.advice


@pytest.fixture
def no_network(monkeypatch):
    """Refuse every connection; return what was tried."""
    tried = []

    def refuse(self, address, *_):
        tried.append(address)
        raise OSError("the network is off")

    monkeypatch.setattr(socket.socket, "connect", refuse)
    monkeypatch.setattr(socket.socket, "connect_ex", refuse)
    monkeypatch.setattr(socket, "getaddrinfo", lambda *a, **k: refuse(None, a))
    return tried


def test_without_a_network_the_message_says_what_to_do(no_network):
    with pytest.raises(ModelRefused, match=NAME) as caught:
        store.download(without_vocabulary(fetched()))
    assert no_network
    assert str(store.folder_of(card())) in caught.value.advice


@pytest.mark.parametrize("way", ["CTVLP_OFFLINE", "HF_HUB_OFFLINE", "switch"])
def test_the_offline_switch_touches_no_network(no_network, monkeypatch, way):
    if way == "switch":
        monkeypatch.delenv("HF_HUB_OFFLINE")
        store.set_offline(True)
    else:
        monkeypatch.setenv(way, "1")
    assert store.offline()
    with pytest.raises(ModelRefused, match="offline switch"):
        store.download(fetched())
    assert not no_network
    store.set_offline(False)
    assert store.offline() is (way != "switch")


def test_the_switch_reaches_the_libraries_and_later_processes(monkeypatch):
    monkeypatch.delenv("HF_HUB_OFFLINE")
    store.set_offline(True)
    told = (
        "import napari_ctvlp.models.store as store, huggingface_hub.constants as hub;"
        "print(store.offline(), hub.is_offline_mode())"
    )
    run = [sys.executable, "-c", told]
    assert subprocess.check_output(run, text=True).split() == ["True", "True"]
    store.set_offline(False)
    assert subprocess.check_output(run, text=True).split() == ["False", "False"]


def test_with_the_network_off_everything_but_a_download_works(no_network, tmp_path, chest):
    from napari_ctvlp import ground, score
    from napari_ctvlp.engine import verbs

    verbs.forget()
    model = card()
    store.import_files(model, checkpoint(tmp_path))
    assert store.verify_files(model)
    assert ground(chest, "nodule in the left lung").peak_ras
    assert score(chest).rows
    assert not no_network
    assert converted(store.folder_of(model) / NAME).parent == store.folder_of(model)


def test_a_model_without_its_files_is_refused_before_organs_are_looked_for(chest):
    from napari_ctvlp import ground

    model = next(card for card in store.cards("encoder") if store.bundle(card))
    with pytest.raises(ModelRefused, match="is not in") as caught:
        ground(chest, "nodule", model=model.id, progress=lambda *_: pytest.fail("something ran"))
    assert str(store.folder_of(model)) in caught.value.expected
