"""Published checkpoints: read without running anything in them, compared key by key.

A ``.pth`` or ``.pt`` file is a pickle, which may hold a program. It is read with torch's
weights-only unpickler, which builds tensors and plain containers and refuses everything else,
and is converted once to safetensors beside it. The names and shapes of its tensors must be those
the model needs, so that a wrong prefix is a refusal and never a model with random weights.
"""

from __future__ import annotations

import contextlib
import os
import pickle
import threading
import warnings
import zipfile
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from fnmatch import fnmatchcase
from pathlib import Path
from typing import TYPE_CHECKING, Any

from napari_ctvlp.errors import ModelRefused
from napari_ctvlp.models.protocol import ModelCard
from napari_ctvlp.models.store.digests import digest_of, record, recorded
from napari_ctvlp.models.store.hosted import BundleFile, bundle, converted, not_there
from napari_ctvlp.models.store.reading import bad_card, sha256

if TYPE_CHECKING:
    from torch import Tensor

#: How many offending names a message shows.
_SHOWN = 3


@dataclass(frozen=True)
class _Plan:
    """What a card says of one checkpoint: ``settings.checkpoints.<part>``."""

    file: str
    inside: str = ""
    prefix: str = ""
    ignore: Sequence[str] = ()
    optional: Sequence[str] = ()
    bare: bool = False

    def own(self, key: str) -> str:
        return key.removeprefix(self.prefix)


def state_dict(
    model: ModelCard,
    folder: Path,
    expected: Mapping[str, Sequence[int]],
    part: str = "model",
) -> dict[str, Tensor]:
    """Return the tensors of a hosted checkpoint, by name, exactly those that are expected.

    Parameters
    ----------
    model : ModelCard
        Its ``settings.checkpoints.<part>`` names the ``file``; the key ``inside`` which the
        tensors lie (left out: at the top; with ``bare`` they may be there as well); a ``prefix``
        taken off every name that has it; the names to ``ignore`` when they are there and the
        ``optional`` ones that may be absent (patterns with ``*``, after the prefix is off).
    folder : Path
        Where the file lies. Its safetensors are kept there too.
    expected : mapping of str to shape
        Every name the model needs (after the prefix is off) and its shape.
    part : str
        Which checkpoint, when a model has several.

    Returns
    -------
    dict of str to Tensor
        On the CPU, in the type they were stored in; optional ones only where they are there.

    Raises
    ------
    ModelRefused
        If the file is missing, damaged, not only tensors, or of other names or shapes. The
        message names the first ones that are wrong.
    """
    plan = _plan(model, part)
    source = folder / plan.file
    kept = _kept(source)
    raw = _read(source, plan, model, expected) if kept is None else kept
    chosen = _compared(raw, expected, plan, model)
    if kept is None and source.suffix != ".safetensors":
        with contextlib.suppress(OSError):  # a full or read-only disk: only slower next time
            _convert(raw, source)
    return chosen


def _plan(model: ModelCard, part: str) -> _Plan:
    try:
        return _Plan(**model.settings["checkpoints"][part])
    except (KeyError, TypeError) as error:
        raise bad_card(model.id, f"says nothing usable of its checkpoint {part} ({error}).") from (
            error
        )


def _kept(source: Path) -> dict[str, Tensor] | None:
    """Return the tensors of an earlier conversion; None when there is none of this very file."""
    from safetensors import SafetensorError
    from safetensors.torch import load_file

    path = converted(source)
    note = recorded(path)
    if not path.is_file() or not note:
        return None
    if source.is_file() and digest_of(source) != note.get("source"):
        return None
    if sha256(path) != note["sha256"]:
        return None
    try:
        return load_file(path)
    except (SafetensorError, OSError):
        return None


def _read(
    source: Path, plan: _Plan, model: ModelCard, expected: Iterable[str]
) -> dict[str, Tensor]:
    """Read a checkpoint's tensors by their own names; what is no tensor is only let pass later."""
    if not source.is_file():
        file = BundleFile(source.name)
        raise not_there(model, (file,), source.parent)
    _expect_sha(source, model)
    if source.suffix == ".safetensors":
        found: Any = _safetensors(source, expected)
    else:
        found = _unpickled(source, expected)
    if plan.inside:
        names = list(found) if isinstance(found, Mapping) else [type(found).__name__]
        if plan.inside in names:
            found = found[plan.inside]
        elif not plan.bare:
            raise _odd(source, f"a key {plan.inside!r} with the tensors", f"holds {_few(names)}.")
    if not isinstance(found, Mapping):
        raise _odd(source, "names and tensors", f"holds {type(found).__name__}.")
    return {str(key): value for key, value in found.items()}


def _expect_sha(source: Path, model: ModelCard) -> None:
    """Refuse a file that is not the one whose SHA-256 the card has, or that has rotted."""
    files = bundle(model)
    wanted = next((f.sha256 for f in files.files if f.name == source.name), "") if files else ""
    found = digest_of(source)
    if source.suffix == ".safetensors" and sha256(source) != found:
        raise _odd(source, f"the SHA-256 {found}", "has changed on the disk.")
    if wanted and wanted != found:
        raise _odd(source, f"the SHA-256 {wanted}", f"has the SHA-256 {found}.")


def _safetensors(source: Path, expected: Iterable[str]) -> dict[str, Tensor]:
    from safetensors import SafetensorError
    from safetensors.torch import load_file

    try:
        return load_file(source)
    except (SafetensorError, OSError) as error:
        raise _damaged(source, error, expected) from error


def _unpickled(source: Path, expected: Iterable[str]) -> object:
    """Read a pickle without running it."""
    import torch

    mapped = zipfile.is_zipfile(source)
    try:
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", "Detected pickle protocol", UserWarning)
            return torch.load(source, map_location="cpu", weights_only=True, mmap=mapped)
    except pickle.UnpicklingError as error:
        why = next((line for line in str(error).splitlines() if "Unsupported" in line), "")
        raise ModelRefused(
            "unsafe-weights",
            f"{source.name} to hold tensors and plain containers only.",
            f"{source.name} holds something else and was not run. {why.strip()}".rstrip(),
            "Do not open this file with other programs. Get it from its authors again, or ask "
            "them for safetensors.",
        ) from error
    except Exception as error:  # a damaged file can make an unpickler raise nearly anything
        raise _damaged(source, error, expected) from error


def _compared(
    raw: Mapping[str, Tensor],
    expected: Mapping[str, Sequence[int]],
    plan: _Plan,
    model: ModelCard,
) -> dict[str, Tensor]:
    """Return the expected tensors, or refuse all of them."""
    found = {plan.own(key): value for key, value in raw.items()}
    odd = [key for key in found if key not in expected and not _fits(key, plan.ignore)]
    absent = [key for key in expected if key not in found and not _fits(key, plan.optional)]
    chosen = {key: found[key] for key in expected if key in found}
    shapes = [
        f"{key} is {_shape(chosen[key])} and not {tuple(expected[key])}"
        for key in chosen
        if _shape(chosen[key]) != tuple(expected[key])
    ]
    wrong = [
        f"{what} {_few(names)}"
        for what, names in (("lacks", absent), ("also holds", odd), ("has other shapes:", shapes))
        if names
    ]
    if wrong:
        raise ModelRefused(
            "wrong-weights",
            f"the {len(expected)} tensors of {model.id} in {plan.file}.",
            f"{plan.file} {'; it '.join(wrong)}.{_prefix_hint(odd, absent)}",
            "Use the file that the card names; nothing was loaded.",
        )
    return chosen


def _shape(value: object) -> tuple[int, ...] | str:
    """Return the shape of a plain tensor, or what it is instead."""
    import torch

    if not isinstance(value, torch.Tensor) or value.layout != torch.strided or value.is_quantized:
        return f"no plain tensor ({type(value).__name__})"
    return tuple(value.shape)


def _convert(raw: Mapping[str, Tensor], source: Path) -> None:
    """Write a checkpoint's tensors as safetensors beside it, whole or not at all."""
    import torch
    from safetensors.torch import save_file

    seen: set[int] = set()
    own: dict[str, Tensor] = {}
    for key, value in raw.items():
        if not isinstance(value, torch.Tensor) or isinstance(_shape(value), str):
            continue
        place = value.untyped_storage().data_ptr()
        own[key] = value.clone() if place in seen else value.contiguous()
        seen.add(place)
    path = converted(source)
    half = path.with_suffix(f".{os.getpid()}-{threading.get_ident()}.part")
    try:
        save_file(own, half)
        half.replace(path)
    finally:
        half.unlink(missing_ok=True)
    record(path, sha256(path), source=digest_of(source))


def _prefix_hint(odd: Sequence[str], absent: Sequence[str]) -> str:
    """Say so when names would fit with, or without, a prefix."""
    for long, short, words in ((odd, absent, "begin with"), (absent, odd, "lack the prefix")):
        ends = set(short)
        for key in long[:_SHOWN]:
            cuts = (i + 1 for i, letter in enumerate(key) if letter == ".")
            prefix = next((key[:cut] for cut in cuts if key[cut:] in ends), "")
            if prefix:
                return f" Its names {words} {prefix!r}."
    return ""


def _fits(key: str, patterns: Iterable[str]) -> bool:
    return any(fnmatchcase(key, pattern) for pattern in patterns)


def _few(names: Sequence[str]) -> str:
    more = f" and {len(names) - _SHOWN} more" if len(names) > _SHOWN else ""
    return ", ".join(names[:_SHOWN]) + more if names else "nothing"


def _damaged(source: Path, error: Exception, expected: Iterable[str]) -> ModelRefused:
    words = (str(error).splitlines() or [type(error).__name__])[0]
    return ModelRefused(
        "corrupt-weights",
        f"a whole checkpoint with {_few(list(expected))}.",
        f"{source.name} is cut short or damaged ({words}).",
        "Get the file again; nothing was loaded.",
    )


def _odd(source: Path, expected: str, what: str) -> ModelRefused:
    return ModelRefused(
        "corrupt-weights",
        f"{expected} in {source.name}.",
        f"{source.name} {what}",
        "Use the file that the card names; nothing was loaded.",
    )
