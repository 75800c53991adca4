"""fVLM at full size with generated weights on a whole CT, beside the official order of work.

    python benchmarks/encoders.py [--ct PATH] [--device cpu] [--json FILE] [--skip-plain]

Prints, from one run: seconds of our encoder and of a plain port of what the authors' evaluation
does (a window per organ, convolution and attention written out, float32, prompts padded to 384
tokens), their ratio, how far the scores lie apart, and peak memory beside the estimate (of every
model: benchmarks/memory.py). Bars: not slower; the estimate within 25 %. On a GPU also float32
beside bfloat16: seconds, deviation of the scores, rank correlation of the heatmaps.
"""

from __future__ import annotations

import argparse
import json
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from common import drawn, full_size_scan, line, timed
from memory import generate, measured, told
from scipy import stats
from torch.nn import functional

from napari_ctvlp.core.anatomy import AnatomyMap
from napari_ctvlp.core.encoding import Encoding
from napari_ctvlp.core.scan import Scan
from napari_ctvlp.engine import compute
from napari_ctvlp.models import store
from napari_ctvlp.models.encoders import fvlm_prepare as prepare
from napari_ctvlp.models.encoders.fvlm import Fvlm, prepared
from napari_ctvlp.models.encoders.fvlm_net import LEVELS
from napari_ctvlp.models.encoders.fvlm_net import Fvlm as Network
from napari_ctvlp.models.encoders.hosting import text_vectors
from napari_ctvlp.models.encoders.organ_query import flags
from napari_ctvlp.models.encoders.prompts import wordpiece

#: The usual chest fits into one window that all organs share; one as wide as the field does not.
WIDTHS = (1.0, 1.4)
#: Columns the official evaluation pads prompts to.
COLUMNS = 384


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--ct", type=Path)
    parser.add_argument("--device", default="auto")
    parser.add_argument("--json", type=Path)
    parser.add_argument("--skip-plain", action="store_true")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        report = measure(options.ct, options.device, Path(folder), not options.skip_plain)
    if options.json:
        options.json.write_text(json.dumps(report, indent=1))


def measure(ct: Path | None, device: str, folder: Path, plainly: bool) -> dict[str, Any]:
    generate("fvlm", folder)
    scan, name = full_size_scan(ct)
    card = store.card("fvlm")
    chosen = replace(compute.choose(device, card), precision="float32")
    compute.limit_threads(chosen)
    print(f"scan: {name}, {scan.shape}; {chosen.device}, {chosen.threads} threads")
    report: dict[str, Any] = {"scan": name, "device": chosen.device, "threads": chosen.threads}
    encoder = Fvlm.load(card, folder, chosen)
    for width in WIDTHS:
        print(f"chest {width} times as wide as usual")
        report[f"width {width}"] = one = {}
        beside(one, encoder, scan, drawn(scan, width), folder, plainly)
    report["memory"] = measured("fvlm", "usual", folder)
    told(report["memory"])
    if chosen.device == "cuda":
        line("memory of the GPU", torch.cuda.max_memory_allocated() / 1e9, "GB")
    return report


def beside(
    report: dict[str, Any],
    encoder: Fvlm,
    scan: Scan,
    anatomy: AnatomyMap,
    folder: Path,
    plainly: bool,
) -> None:
    """Encode and score one chest, by us and by the official order of work."""
    encoder.prompts = text_vectors(encoder.network.texts, encoder.card, folder, encoder.compute)
    with counted(encoder) as passes, timed(report, "ours: image"):
        encoding = encoder.encode(scan, anatomy)
    report["passes"] = len(passes)
    print(f"passes of the image tower: {len(passes)} for {len(encoding.organs)} organs")
    with timed(report, "ours: prompts and scores"):
        rows = encoder.score(encoding, anatomy).rows
    report["scores"] = {row.finding: row.probability for row in rows}
    if plainly:
        plain(report, encoder, scan, anatomy, folder)
    if encoder.compute.device == "cuda":
        lean(report, encoder, encoding, scan, anatomy)


@contextmanager
def counted(encoder: Fvlm) -> Iterator[list[None]]:
    """Count the passes of the image tower within a block."""
    passes: list[None] = []
    tower = encoder.network.visual_encoder
    hook = tower.register_forward_hook(lambda *_: passes.append(None))
    yield passes
    hook.remove()


def plain(
    report: dict[str, Any], ours: Fvlm, scan: Scan, anatomy: AnatomyMap, folder: Path
) -> None:
    """Do the official order of work and compare."""
    network, device = ours.network, ours.compute.device
    with torch.inference_mode():
        with timed(report, "plain: image"):
            ready = prepared(scan, anatomy, list(ours.organs.values()))
            units = {
                organ: official_organ(network, ready.image, ready.labels, number, device)
                for number, organ in enumerate(ours.organs)
                if (ready.labels == number + 1).any()
            }
        with timed(report, "plain: prompts and scores"):
            found = {
                row["name"]: official_score(network, folder, row, units[row["organ"]])
                for row in ours.card.settings["findings"]
                if row["organ"] in units
            }
    apart = max(abs(found[name] - report["scores"][name]) for name in found)
    image = report["plain: image_s"] / report["ours: image_s"]
    whole = sum(report[f"plain: {part}_s"] for part in ("image", "prompts and scores"))
    whole /= sum(report[f"ours: {part}_s"] for part in ("image", "prompts and scores"))
    report.update(ratio_image=image, ratio=whole, probability_apart=apart)
    line("plain / ours, image", image, "x")
    line("plain / ours, with prompts", whole, "x", "not slower" if whole >= 1 else "SLOWER")
    print(f"largest difference of a probability: {apart:.1e} over {len(found)} findings")


def official_organ(
    network: Network, image: np.ndarray, labels: np.ndarray, number: int, device: str
) -> torch.Tensor:
    """Encode one organ's window as the authors do, attention written out."""
    mask = labels == number + 1
    window = prepare.window_of(mask, network.sizes.patch)
    volume = torch.from_numpy(prepare.cut(image, window))[None, None].to(device)
    on = flags(torch.from_numpy(prepare.cut(mask, window)), network.sizes.patch).to(device)
    tower, levels = network.visual_encoder, []
    patches = tower.patch_embedding
    x = patches.patch_embeddings(volume)
    x = x.flatten(2).transpose(1, 2) + patches.places(tuple(x.shape[2:]))
    for place, block in enumerate(tower.blocks):
        qkv = block.attn.qkv(block.norm1(x)).unflatten(2, (3, block.attn.heads, -1))
        q, k, v = qkv.permute(2, 0, 3, 1, 4)
        share = (q @ k.transpose(2, 3) / q.shape[-1] ** 0.5).softmax(-1)
        x = x + block.attn.out_proj((share @ v).transpose(1, 2).flatten(2))
        x = x + block.mlp.linear2(functional.gelu(block.mlp.linear1(block.norm2(x))))
        levels += [x] if place in LEVELS else []
    rows = torch.cat([level[0, on] for level in (*levels, tower.norm(x))])[None]
    pooled, _ = network.attention(network.query_tokens[number][None, None], rows, rows)
    return functional.normalize(network.projection(number)(pooled[0, 0]), dim=0)


def official_score(
    network: Network, folder: Path, row: dict[str, str], unit: torch.Tensor
) -> float:
    """Score one finding with its two prompts padded to the authors' length."""
    ids, mask = wordpiece(folder / "vocab.txt", COLUMNS)([row["negative"], row["positive"]])
    missing = [(0, 0), (0, COLUMNS - ids.shape[1])]
    padded = (torch.from_numpy(np.pad(part, missing)).to(unit.device) for part in (ids, mask))
    logits = network.texts(*padded) @ unit / network.temp
    return float(logits.softmax(0)[1])


def lean(
    report: dict[str, Any], ours: Fvlm, full: Encoding, scan: Scan, anatomy: AnatomyMap
) -> None:
    """Encode in bfloat16 and say how far scores and maps lie from float32."""
    ours.compute = replace(ours.compute, precision="bfloat16")
    with timed(report, "ours in bfloat16: image"):
        half = ours.encode(scan, anatomy)
    rows = {row.finding: row.probability for row in ours.score(half, anatomy).rows}
    apart = np.nanmax([abs(rows[name] - report["scores"][name]) for name in rows])
    (vector,) = ours.embed(["nodule"])
    ranks = min(
        stats.spearmanr(*(grid.tokens[grid.valid] @ vector.vector for grid in pair))[0]
        for pair in zip(full.grids, half.grids, strict=True)
    )
    report.update(bfloat16_probability_apart=float(apart), bfloat16_rank_correlation=float(ranks))
    print(f"bfloat16: probabilities within {apart:.1e}, rank correlation of maps >= {ranks:.5f}")


if __name__ == "__main__":
    started = time.perf_counter()
    main()
    print(f"{time.perf_counter() - started:.0f} s in all")
