"""What the user has decided once: accepted licences, and whether the network may be used."""

from __future__ import annotations

import datetime
import json
import os
import sys
from pathlib import Path
from typing import Any

from napari_ctvlp.errors import ModelRefused
from napari_ctvlp.models.protocol import ModelCard
from napari_ctvlp.models.store.hosted import bundle, models_folder, owner_of

#: Set beside ``HF_HUB_OFFLINE`` when that was the user's switch and not the user's environment;
#: processes that are started inherit both.
_OURS = "CTVLP_SWITCHED_OFFLINE"
_NO = ("", "0", "no", "off", "false")


def offline() -> bool:
    """Return True when nothing may use the network.

    ``CTVLP_OFFLINE`` or ``HF_HUB_OFFLINE`` in the environment says so, else the user's switch.
    """
    asked = ("CTVLP_OFFLINE",) if _OURS in os.environ else ("CTVLP_OFFLINE", "HF_HUB_OFFLINE")
    for name in asked:
        if name in os.environ:
            return os.environ[name].strip().lower() not in _NO
    return bool(_read().get("offline", False))


def set_offline(on: bool) -> None:
    """Keep the user's switch, for this process and every later one."""
    _write({**_read(), "offline": on})
    apply_offline()


def apply_offline() -> None:
    """Tell the libraries that know the network by themselves; done before they are imported.

    The hub is never told anything but which file is wanted.
    """
    os.environ.setdefault("HF_HUB_DISABLE_TELEMETRY", "1")
    if offline() and os.environ.get("HF_HUB_OFFLINE") != "1":
        os.environ.update({"HF_HUB_OFFLINE": "1", _OURS: "1"})
    elif not offline() and os.environ.pop(_OURS, ""):
        del os.environ["HF_HUB_OFFLINE"]
        constants: Any = sys.modules.get("huggingface_hub.constants")
        if constants is not None:
            constants.HF_HUB_OFFLINE = False


def accepted(model: ModelCard) -> bool:
    """Return True when a model may be used: nothing is asked, or this licence was accepted."""
    found = bundle(model)
    if found is None or not found.ask:
        return True
    row = _read().get("accepted", {}).get(owner_of(model), {})
    return bool(row.get("licence") == model.licence)


def accept(model: ModelCard) -> None:
    """Keep that the user has read and accepted the licence that stands on the card."""
    kept = _read()
    row = {"licence": model.licence, "on": datetime.datetime.now(datetime.UTC).date().isoformat()}
    _write({**kept, "accepted": {**kept.get("accepted", {}), owner_of(model): row}})


def expect_accepted(model: ModelCard) -> None:
    """Refuse a model whose licence has not been accepted yet.

    Raises
    ------
    ModelRefused
        With the licence.
    """
    if not accepted(model):
        raise ModelRefused(
            "licence",
            f"that you have accepted the licence of {model.id} once: {model.licence}",
            f"The licence of {model.id} has not been accepted.",
            f"Read it, then run: ctvlp models accept {model.id} (or use the Models dock).",
        )


def _path() -> Path:
    return models_folder() / "settings.json"


def _read() -> dict[str, Any]:
    try:
        kept = json.loads(_path().read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    return kept if isinstance(kept, dict) else {}


def _write(kept: dict[str, Any]) -> None:
    path = _path()
    path.parent.mkdir(parents=True, exist_ok=True)
    half = path.with_suffix(f".{os.getpid()}.part")
    half.write_text(json.dumps(kept, indent=2), encoding="utf-8")
    half.replace(path)
