"""Memory of every model's run, each in a process of its own, beside the estimate on its card.

    python benchmarks/memory.py [--models ID ...] [--scans NAME ...] [--json FILE]

Prints per model and scan the most bytes that loading, encoding and scoring (or segmenting) hold
over what stood before: scan, organs and libraries. Published encoders have their full size and
generated weights, converted to safetensors beforehand, as they are from the second run on. Bar:
the estimate is within 25 % of what was used. Linux only, on the CPU.
"""

from __future__ import annotations

import argparse
import json
import multiprocessing
import tempfile
import time
from collections.abc import Callable, Mapping
from dataclasses import replace
from importlib import import_module
from pathlib import Path
from typing import Any

import torch
from common import drawn, full_size_scan
from torch import Tensor, nn

from napari_ctvlp.core.scan import Scan
from napari_ctvlp.engine import compute
from napari_ctvlp.models import store
from napari_ctvlp.models.encoders import (
    biovil_net,
    colipri_net,
    ct_clip_net,
    fvlm_net,
    merlin_net,
    radar_net,
    visd_boost_net,
)
from napari_ctvlp.models.encoders.hosting import sizes_of
from napari_ctvlp.models.protocol import Compute, ModelCard
from napari_ctvlp.models.segmenters.monai_bundle import network as segresnet

Make = Callable[[ModelCard], nn.Module]
#: The estimate may be off by this share.
BAR = 0.25
#: Shapes (slices, rows, columns) and voxels in mm (the same order).
SCANS: Mapping[str, tuple[tuple[int, int, int], tuple[float, float, float]]] = {
    "usual": ((133, 512, 512), (2.5, 0.703125, 0.703125)),
    "thin": ((332, 512, 512), (1.0, 0.703125, 0.703125)),
    "wide": ((133, 512, 512), (3.0, 0.976562, 0.976562)),
}


def _visual(card: ModelCard) -> nn.Module:
    return biovil_net.ImageTower(biovil_net.Sizes(**sizes_of(card)))


def _textual(card: ModelCard) -> nn.Module:
    return biovil_net.TextTower(biovil_net.Sizes(**sizes_of(card)))


def _segresnet(card: ModelCard) -> nn.Module:
    made: nn.Module = segresnet(card.settings["network"])
    return made


#: Networks of the published sizes, by card and by checkpoint of the card.
NETWORKS: Mapping[str, Mapping[str, Make]] = {
    "fvlm": {"model": lambda _: fvlm_net.Fvlm(fvlm_net.Sizes())},
    "colipri": {"model": lambda _: colipri_net.Colipri()},
    "merlin": {"model": lambda _: merlin_net.Merlin()},
    "ct_clip": {"model": lambda _: ct_clip_net.CtClip()},
    "visd_boost": {
        "model": lambda _: visd_boost_net.VisdBoost(),
        "normality": lambda _: visd_boost_net.VisdBoost(),
    },
    "radar": {"model": lambda _: radar_net.Radar()},
    "biovil_t": {"image": _visual, "text": _textual},
    "biovil": {"image": _visual, "text": _textual},
    "wholebody-3mm": {"model": _segresnet},
    "wholebody-15mm": {"model": _segresnet},
}
SHIPPED = ("mini", "anatomy", "classical")
SIDES = ("positive", "negative")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--models", nargs="+", default=[*SHIPPED, *NETWORKS])
    parser.add_argument("--scans", nargs="+", default=["usual"], choices=SCANS)
    parser.add_argument("--json", type=Path)
    options = parser.parse_args()
    rows = []
    for model in options.models:
        with tempfile.TemporaryDirectory() as folder:
            where = Path(folder) if model in NETWORKS else None
            if where:
                apart(generate, model, where)
            for scan in options.scans:
                rows.append(measured(model, scan, where))
                told(rows[-1])
                if options.json:
                    options.json.write_text(json.dumps(rows, indent=1))


def measured(model: str, scan: str, folder: Path | None) -> dict[str, Any]:
    """Run a model on a scan and compare what it held with its card's estimate."""
    start = time.perf_counter()
    used, voxels, ml = apart(_run, model, scan, folder)
    estimate = compute.estimate_bytes(voxels, store.card(model), ml)
    return {
        "model": model,
        "scan": scan,
        "used_gb": used / 1e9,
        "estimate_gb": estimate / 1e9,
        "share": estimate / used,
        "seconds": time.perf_counter() - start,
    }


def told(row: Mapping[str, Any]) -> None:
    verdict = "within" if abs(row["share"] - 1) <= BAR else "NOT WITHIN"
    print(
        f"{row['model']:<15} {row['scan']:<6} used {row['used_gb']:6.2f} GB   estimate "
        f"{row['estimate_gb']:6.2f} GB   {row['share']:5.0%}   {verdict} 25 %   "
        f"{row['seconds']:.0f} s",
        flush=True,
    )


def apart(function: Callable[..., Any], *arguments: Any) -> Any:
    """Call a function in a process of its own and return what it returns."""
    context = multiprocessing.get_context("spawn")
    with context.Pool(1) as pool:
        return pool.apply(function, arguments)


def peak_over(run: Callable[[], Any]) -> int:
    """Return the most bytes this process holds while ``run`` runs, over what it held before."""
    Path("/proc/self/clear_refs").write_text("5")
    before = _held("VmRSS")
    run()
    return _held("VmHWM") - before


def _held(name: str) -> int:
    """Return a line of the kernel's table of this process, in bytes."""
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) * 1024 for line in lines if line.startswith(name))


def _run(model: str, scan_name: str, folder: Path | None) -> tuple[int, int, float]:
    """Return the peak of a run, and the voxels and millilitres of its scan."""
    import transformers  # noqa: F401 - a library is not the run's memory

    card, (scan, _) = unsealed(model), full_size_scan(None, *SCANS[scan_name])
    chosen = compute.choose("cpu", card)
    compute.limit_threads(chosen)
    anatomy = drawn(scan)

    def run() -> None:
        if card.kind == "segmenter":
            _segment(card, folder, scan, chosen)
            return
        encoder = _entry(card).load(card, folder or store.verify(card), chosen)
        encoder.score(encoder.encode(scan, anatomy), anatomy)

    return peak_over(run), scan.hu.size, scan.hu.size * scan.voxel_ml


def _segment(card: ModelCard, folder: Path | None, scan: Scan, chosen: Compute) -> None:
    made = _entry(card).load(card, folder) if folder else _entry(card)()
    made.segment(scan, compute=chosen)


def _entry(card: ModelCard) -> Any:
    module, name = str(card.settings["entry"]).split(":")
    return getattr(import_module(f"napari_ctvlp.models.{module}"), name)


def generate(model: str, folder: Path) -> None:
    """Write the files of a published model into a folder, and convert them by loading them."""
    card = unsealed(model)
    for part, make in NETWORKS[model].items():
        plan = card.settings["checkpoints"][part]
        state = filled(make(card))
        save({plan["inside"]: state} if "inside" in plan else state, folder / plan["file"])
    findings = card.settings.get("findings", ())
    words(folder, [str(row.get(side, row["name"])) for row in findings for side in SIDES])
    if model == "radar":
        pairs = {row["key"]: torch.randn(2, 256) for row in findings}
        save(pairs, folder / card.settings["checkpoints"]["texts"]["file"])
    if card.kind == "segmenter":
        _entry(card).load(card, folder)
    else:
        _entry(card).load(card, folder, Compute())


def unsealed(model: str) -> ModelCard:
    """Return a card without published sums, which generated files cannot have."""
    card = store.card(model)
    bundle = card.settings.get("bundle")
    if bundle is None:
        return card
    files = [{**row, "sha256": ""} for row in bundle["files"]]
    return replace(card, settings={**card.settings, "bundle": {**bundle, "files": files}})


def filled(network: nn.Module) -> dict[str, Tensor]:
    """Return generated weights that keep values within bounds.

    RADAR draws nothing with them: each of its windows is looked at once.
    """
    torch.manual_seed(11)
    state = network.state_dict()
    for name, value in state.items():
        if value.is_floating_point() and value.ndim > 1:
            state[name] = torch.randn(value.shape) / value[0].numel() ** 0.5
        if name.endswith("UNet.decoder.seg_layers.3.bias"):
            state[name][0] = 1e3
    return state


def save(state: dict[str, Any], path: Path) -> None:
    from safetensors.torch import save_file

    save_file(state, path) if path.suffix == ".safetensors" else torch.save(state, path)


def words(folder: Path, texts: list[str]) -> None:
    """Write vocabularies of both kinds that can read the texts."""
    from tokenizers import ByteLevelBPETokenizer

    seen = sorted({word for text in texts for word in text.lower().replace(".", " .").split()})
    marks = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"]
    (folder / "vocab.txt").write_text("\n".join([*marks, *seen]))
    tokenizer = ByteLevelBPETokenizer()
    special = ["<s>", "<pad>", "</s>", "<unk>", "<mask>"]
    tokenizer.train_from_iterator(texts, 300, special_tokens=special, show_progress=False)
    tokenizer.save_model(str(folder))


if __name__ == "__main__":
    main()
