"""``ctvlp models``: the states of every model, and files that come and go."""

import json

import pytest

from napari_ctvlp.models import store


@pytest.fixture(autouse=True)
def own_folder(tmp_path, monkeypatch):
    monkeypatch.setenv("CTVLP_MODELS", str(tmp_path / "models"))
    monkeypatch.setenv("CTVLP_OFFLINE", "1")
    monkeypatch.setenv("CTVLP_SWITCHED_OFFLINE", "")  # given back after the test
    monkeypatch.delenv("CTVLP_SWITCHED_OFFLINE")


def test_the_list_names_every_card_and_its_state(ctvlp):
    told = json.loads(ctvlp("models", "list", "--json").stdout)
    assert told["offline"] is True
    rows = {row["id"]: row for row in told["models"]}
    assert set(rows) == {card.id for card in store.cards()}
    assert rows["mini"]["state"] == "ready"
    for row in rows.values():
        assert row["state"] in ("ready", "missing", "licence", "package")
        assert bool(row["reason"]) == (row["state"] != "ready")
    plain = ctvlp("models", "list").stdout
    assert len(plain.splitlines()) == len(rows)


@pytest.mark.parametrize("card", store.cards(), ids=lambda card: card.id)
def test_a_card_is_shown_whole(ctvlp, card):
    done = ctvlp("models", "show", card.id)
    assert done.exit_code == 0
    for words in (card.title, card.licence, *card.known_failures):
        assert words in done.stdout
    hosted = store.bundle(card)
    for file in hosted.files if hosted else ():
        assert file.name in done.stdout


def test_an_embedded_model_is_verified_and_stays(ctvlp):
    done = ctvlp("models", "verify", "classical")
    assert done.exit_code == 0
    for word in ("get", "delete"):
        done = ctvlp("models", word, "mini")
        assert done.exit_code == 1
        assert "mini" in done.stderr
        assert "Traceback" not in done.output


def test_the_switch(ctvlp, monkeypatch):
    monkeypatch.delenv("CTVLP_OFFLINE")
    monkeypatch.setenv("HF_HUB_OFFLINE", "0")
    monkeypatch.delenv("HF_HUB_OFFLINE")
    assert ctvlp("models", "offline", "on").exit_code == 0
    assert store.offline()
    assert ctvlp("models", "offline", "off").exit_code == 0
    assert not store.offline()
    assert ctvlp("models", "offline", "perhaps").exit_code == 2


def test_a_bundle_is_imported_accepted_verified_and_deleted(ctvlp, hosting, tmp_path, monkeypatch):
    """A folder that was carried here is all that is needed; each step says what is missing."""
    carried = hosting.host("fvlm", tmp_path / "elsewhere", monkeypatch)
    monkeypatch.setenv("CTVLP_MODELS", str(tmp_path / "models"))

    def state():
        rows = json.loads(ctvlp("models", "list", "--json").stdout)["models"]
        return {row["id"]: row["state"] for row in rows}["fvlm"]

    assert state() == "missing"
    fetched = ctvlp("models", "get", "fvlm")
    assert fetched.exit_code == 1
    assert "fvlm" in fetched.stderr
    assert ctvlp("models", "import", "fvlm", carried).exit_code == 0
    assert state() == "licence"
    assert "licence" in ctvlp("models", "verify", "fvlm").stderr
    accepted = ctvlp("models", "accept", "fvlm")
    assert store.card("fvlm").licence in accepted.stderr
    assert state() == "ready"
    assert ctvlp("models", "verify", "fvlm").exit_code == 0
    assert "are those of fvlm" in ctvlp("models", "delete", "fvlm-fine").stderr
    assert "freed" in ctvlp("models", "delete", "fvlm").stderr
    assert state() == "missing"
