"""fVLM at full size with generated weights on a whole CT, beside the official order of work.

    python benchmarks/encoders.py [--ct PATH] [--device cpu] [--json FILE] [--skip-plain]

Prints, from one run: seconds of our encoder and of a plain port of what the authors' evaluation
does (a window per organ, convolution and attention written out, float32, prompts padded to 384
tokens), their ratio, how far the scores lie apart, and peak memory beside the estimate. Bars: not
slower; the estimate within 25 % of what was used. On a GPU also float32 beside bfloat16: seconds,
deviation of the scores, rank correlation of the heatmaps.
"""

from __future__ import annotations

import argparse
import json
import multiprocessing
import tempfile
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import psutil
import torch
from common import full_size_scan, line, timed
from scipy import stats
from torch.nn import functional

from napari_ctvlp.core.anatomy import AnatomyMap, anatomy_from_labels
from napari_ctvlp.core.encoding import Encoding
from napari_ctvlp.core.geometry import transform, voxel_of
from napari_ctvlp.core.scan import Scan
from napari_ctvlp.engine import compute
from napari_ctvlp.models import store
from napari_ctvlp.models.encoders import fvlm_prepare as prepare
from napari_ctvlp.models.encoders.fvlm import Fvlm, prepared
from napari_ctvlp.models.encoders.fvlm_net import LEVELS, Sizes
from napari_ctvlp.models.encoders.fvlm_net import Fvlm as Network
from napari_ctvlp.models.encoders.hosting import text_vectors
from napari_ctvlp.models.encoders.organ_query import flags
from napari_ctvlp.models.encoders.prompts import wordpiece
from napari_ctvlp.models.protocol import Compute

#: Organ, centre from the middle of the scan (RAS mm), radii (x, y, z) in mm.
ORGANS = (
    ("lung_left", (-75, 0, 5), (54, 80, 118)),
    ("lung_right", (75, 0, 5), (54, 80, 118)),
    ("heart", (-22, 25, -45), (52, 42, 48)),
    ("oesophagus", (0, -40, 0), (8, 8, 120)),
    ("aorta", (-20, -46, -40), (13, 13, 110)),
)
#: The usual chest fits into one window that all organs share; one as wide as the field does not.
WIDTHS = (1.0, 1.4)
#: The estimate may be off by this share.
MEMORY_BAR = 0.25
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
    generate(folder)
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
    report["memory"] = memory(scan, folder, chosen)
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


def generate(folder: Path) -> None:
    """Write a checkpoint and a vocabulary of the published sizes."""
    torch.manual_seed(11)
    state = Network(Sizes()).state_dict()
    for name in ("query_tokens", "visual_encoder.patch_embedding.position_embeddings"):
        state[name] = 0.5 * torch.randn(state[name].shape)
    torch.save({"model": state}, folder / "model.pth")
    findings = store.card("fvlm").settings["findings"]
    texts = " ".join(row["negative"] for row in findings).lower().replace(".", " .").split()
    words = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", *sorted({*texts})]
    (folder / "vocab.txt").write_text("\n".join(words))


def memory(scan: Scan, folder: Path, chosen: Compute) -> dict[str, float]:
    """Load, encode and score in a process of its own; compare its peak with the estimate."""
    ml = scan.hu.size * scan.voxel_ml
    estimate = compute.estimate_bytes(scan.hu.size, store.card("fvlm"), ml)
    context = multiprocessing.get_context("spawn")
    ask, answer = context.Pipe(duplex=False)
    child = context.Process(target=_alone, args=(answer, scan, folder, chosen))
    child.start()
    used = ask.recv()
    child.join()
    share = used / estimate
    verdict = "within" if abs(share - 1) <= MEMORY_BAR else "NOT WITHIN"
    print(
        f"memory beside the scan: {used / 1e9:.2f} GB used, {estimate / 1e9:.2f} GB estimated, "
        f"{share:.0%}: {verdict} 25 %"
    )
    return {"used_gb": used / 1e9, "estimate_gb": estimate / 1e9}


def _alone(answer: Any, scan: Scan, folder: Path, chosen: Compute) -> None:
    """Send the most bytes a run holds over what stood before: scan, organs and libraries."""
    import transformers  # noqa: F401 - a library is not the run's memory

    compute.limit_threads(chosen)
    anatomy = drawn(scan, WIDTHS[-1])
    process, stop = psutil.Process(), threading.Event()
    before = process.memory_info().rss
    held = [before]

    def look() -> None:
        while not stop.wait(0.01):
            held.append(process.memory_info().rss)

    watcher = threading.Thread(target=look)
    watcher.start()
    encoder = Fvlm.load(store.card("fvlm"), folder, chosen)
    encoder.score(encoder.encode(scan, anatomy), anatomy)
    stop.set()
    watcher.join()
    cuda = chosen.device == "cuda"
    answer.send(torch.cuda.max_memory_allocated() if cuda else max(held) - before)


def drawn(scan: Scan, width: float) -> AnatomyMap:
    """Return organs of a chest's usual size and place; finding them is not measured here."""
    labels = np.zeros(scan.shape, np.uint8)
    middle = transform(scan.affine, (np.array(scan.shape) - 1) / 2)
    index = np.ogrid[tuple(slice(0, n) for n in scan.shape)]
    for number, (_, centre, radii) in enumerate(ORGANS):
        at = voxel_of(scan.affine, middle + np.array(centre) * (width, 1, 1))
        size = (np.array(radii) * (width, 1, 1))[::-1] / scan.spacing
        apart = [((i - c) / r) ** 2 for i, c, r in zip(index, at, size, strict=True)]
        labels[sum(apart) <= 1] = number + 1
    names = [(number + 1, name) for number, (name, *_) in enumerate(ORGANS)]
    return anatomy_from_labels(labels, scan, names, source="drawn")


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
