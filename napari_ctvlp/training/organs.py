"""Trains the organ network.

    python -m napari_ctvlp.training.organs ../shared/data/train RUN [--leave CASE]

The folder RUN keeps prepared volumes, a checkpoint (a broken run goes on from it) and a log. With
``--leave`` a labelled CT is left out of the training and the Dice of every organ on it printed.
"""

from __future__ import annotations

import argparse
import json
import math
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional

from napari_ctvlp.core.geometry import Affine, transform
from napari_ctvlp.models.encoders.mini_tower import channels_last
from napari_ctvlp.models.precision import fast_bfloat16, learns_in_bfloat16
from napari_ctvlp.models.segmenters.mini_atlas import NAMES, packed
from napari_ctvlp.models.segmenters.mini_input import padded, place_of
from napari_ctvlp.models.segmenters.mini_net import CLASSES, COARSEST, OrganNet, inputs
from napari_ctvlp.training.organ_cases import ATLAS, BELLY, prepare_all, without
from napari_ctvlp.training.organ_crops import Dice, Loaded, draw
from napari_ctvlp.training.organ_data import IGNORE, OrganCase

#: Weights of the cross-entropy; classes that are not named have 1.
WEIGHTS = {
    "background": 0.5, "lung_left": 0.5, "lung_right": 0.5, "heart": 1.2, "aorta": 2.0,
    "kidney_left": 2.5, "kidney_right": 2.5, "airways": 2.0, "spleen": 2.0, "liver": 1.1,
    "stomach": 1.8, "oesophagus": 2.5, "gallbladder": 2.5, "pancreas": 2.5, "vessels": 1.5,
    "sternum": 2.0, "ribs": 1.6, "vertebrae": 1.2, "bladder": 1.2, "colon": 1.2, "small_bowel": 1.4,
}  # fmt: skip
#: Share of the logarithm of these weights that the shipped network takes back: weighted classes
#: come out too large. 0, .25, .5, .75 and 1 were tried on the two labelled training CTs.
TAKEN_BACK = 0.5
#: A class with fewer voxels in a crop has no Dice term.
LEAST = 15


@dataclass(frozen=True)
class Plan:
    """What a run depends on beside its data.

    Attributes
    ----------
    seed, steps, size : int
        Of weights and crops; voxels a side.
    batch : int
        Crops a step. Two take little longer than one, for which torch does without oneDNN.
    rate, head : float
        Peak learning rate, and how much faster the last layer learns.
    warm, clean, ramp : int
        Steps of warm-up, without augmentation, and until it is at full strength.
    memory : float
        Decay of the moving average of the weights.
    labelled : int
        Steps in which only fully labelled CTs are drawn.
    """

    seed: int = 0
    steps: int = 6000
    size: int = 48
    batch: int = 2
    rate: float = 4e-3
    head: float = 3.0
    warm: int = 40
    clean: int = 400
    ramp: int = 1200
    memory: float = 0.998
    labelled: int = 700


def weights_of(path: Path) -> dict[str, Tensor]:
    """Read the averaged weights of a checkpoint, or those of a file :func:`export` wrote."""
    if path.suffix != ".safetensors":
        mean: dict[str, Tensor] = torch.load(path, weights_only=True)["mean"]
        return mean
    from safetensors.torch import load_file

    state = {n: v.float() for n, v in load_file(path).items() if not n.startswith("atlas.")}
    state["head.bias"] += TAKEN_BACK * class_weights().log()
    return state


def class_weights() -> Tensor:
    """Return the weight of each class in the cross-entropy, shape (classes,)."""
    return torch.tensor([WEIGHTS.get(name, 1.0) for name in CLASSES])


def loss_of(logits: Tensor, labels: Tensor) -> Tensor:
    """Weighted cross-entropy plus soft Dice of the classes that are there.

    Parameters
    ----------
    logits : Tensor, shape (n, classes, i, p, l)
    labels : Tensor, shape (n, i, p, l)
        :data:`IGNORE` where nothing is known.
    """
    entropy = functional.cross_entropy(logits, labels, class_weights(), ignore_index=IGNORE)
    known = (labels != IGNORE).flatten()
    rows = logits.softmax(1).transpose(0, 1).flatten(1)[:, known]
    truth = labels.flatten()[known]
    counts = torch.bincount(truth, minlength=len(CLASSES))
    there = [n for n in range(1, len(CLASSES)) if int(counts[n]) > LEAST]
    if not there:
        return entropy
    overlap = torch.stack([rows[n][truth == n].sum() for n in there])
    total = rows[there].sum(1) + counts[there]
    return entropy + 1 - (2 * overlap / total).mean()


class Run:
    """A training run in a folder: goes on where a checkpoint was left.

    Parameters
    ----------
    cases : sequence of OrganCase
    plan : Plan
    folder : Path
    start : Path, optional
        Checkpoint of another run, or weights that were shipped, to begin with.
    """

    def __init__(
        self, cases: Sequence[OrganCase], plan: Plan, folder: Path, start: Path | None = None
    ) -> None:
        torch.manual_seed(plan.seed)
        self.cases = [Loaded(case) for case in cases]
        self.plan, self.folder, self.step = plan, folder, 0
        self.net, self.mean = OrganNet(), OrganNet()
        if start is not None:
            self.net.load_state_dict(weights_of(start))
        self.mean.load_state_dict(self.net.state_dict())
        channels_last(self.net)
        head = list(self.net.head.parameters())
        others = [p for name, p in self.net.named_parameters() if not name.startswith("head.")]
        self.optimiser = torch.optim.AdamW(
            [{"params": others, "by": 1.0}, {"params": head, "by": plan.head}],
            lr=plan.rate, betas=(0.9, 0.98), weight_decay=0.01,
        )  # fmt: skip
        rates: list[Callable[[int], float]] = [
            partial(rate_at, plan, by=group["by"]) for group in self.optimiser.param_groups
        ]
        self.schedule = torch.optim.lr_scheduler.LambdaLR(self.optimiser, rates)
        self.resume()

    def resume(self) -> None:
        """Load the checkpoint of this folder if there is one."""
        path = self.folder / "checkpoint.pt"
        if not path.is_file():
            return
        state = torch.load(path, weights_only=True)
        self.net.load_state_dict(state["net"])
        self.mean.load_state_dict(state["mean"])
        self.optimiser.load_state_dict(state["optimiser"])
        self.schedule.load_state_dict(state["schedule"])
        self.step = int(state["step"])

    def save(self) -> None:
        """Write the checkpoint, whole or not at all."""
        self.folder.mkdir(parents=True, exist_ok=True)
        state = {
            "net": self.net.state_dict(), "mean": self.mean.state_dict(), "step": self.step,
            "optimiser": self.optimiser.state_dict(), "schedule": self.schedule.state_dict(),
        }  # fmt: skip
        part = self.folder / "checkpoint.part"
        torch.save(state, part)
        part.replace(self.folder / "checkpoint.pt")

    def train(self, every: int = 100) -> None:
        """Train to the end of the plan, with a line in ``log.jsonl`` per ``every`` steps."""
        self.folder.mkdir(parents=True, exist_ok=True)
        (self.folder / "plan.json").write_text(json.dumps(asdict(self.plan)))
        seen: list[float] = []
        while self.step < self.plan.steps:
            seen.append(self._step())
            if self.step % every == 0 or self.step == self.plan.steps:
                line = {
                    "step": self.step,
                    "loss": sum(seen) / len(seen),
                    "cpu_s": time.process_time(),
                }
                with (self.folder / "log.jsonl").open("a") as log:
                    log.write(json.dumps(line) + "\n")
                seen.clear()
                self.save()

    def _step(self) -> float:
        plan = self.plan
        strength = min(1.0, max(0.0, (self.step - plan.clean) / max(1, plan.ramp - plan.clean)))
        early = self.step < plan.labelled
        cases = [case for case in self.cases if case.full] if early else self.cases
        crops = [
            draw(cases or self.cases, plan.size, strength, Dice(plan.seed, number))
            for number in range(self.step * plan.batch, (self.step + 1) * plan.batch)
        ]
        hu, place, labels = (
            torch.stack([getattr(crop, name) for crop in crops])
            for name in ("hu", "place", "labels")
        )
        with torch.autocast("cpu", torch.bfloat16, enabled=learns_in_bfloat16(plan.size)):
            logits = self.net(inputs(hu, place))
        loss = loss_of(logits.float(), labels)
        self.optimiser.zero_grad(set_to_none=True)
        loss.backward()
        torch.nn.utils.clip_grad_norm_(self.net.parameters(), 1.0)
        self.optimiser.step()
        self.schedule.step()
        self.step += 1
        decay = min(plan.memory, (self.step + 1) / (self.step + 10))
        with torch.no_grad():
            for kept, now in zip(self.mean.parameters(), self.net.parameters(), strict=True):
                kept.lerp_(now, 1 - decay)
        return float(loss.detach())


def rate_at(plan: Plan, step: int, by: float = 1.0) -> float:
    """``by`` times the share of the peak learning rate: warm-up, then a cosine to 2 %."""
    if step < plan.warm:
        return by * (step + 1) / plan.warm
    done = min(1.0, (step - plan.warm) / max(1, plan.steps - plan.warm))
    return by * (0.02 + 0.49 * (1 + math.cos(math.pi * done)))


def atlas_of(case: OrganCase) -> tuple[NDArray[np.float32], NDArray[np.uint8], Affine]:
    """Cut a labelled CT to its labels and keep the classes of the atlas."""
    table = np.zeros(IGNORE + 1, np.uint8)
    for number, name in enumerate(NAMES[1:], 1):
        table[CLASSES.index(name)] = number
    where = np.argwhere((case.labels > 0) & (case.labels != IGNORE))
    box = tuple(slice(a, b + 1) for a, b in zip(where.min(axis=0), where.max(axis=0), strict=True))
    affine = case.affine.copy()
    affine[:3, 3] = transform(affine, where.min(axis=0))
    return case.hu[box], table[case.labels[box]], affine


def export(run: Path, atlas: OrganCase, folder: Path) -> str:
    """Write the averaged weights of a run and the atlas; returns the file's SHA-256.

    Parameters
    ----------
    run : Path
        Folder of a :class:`Run`.
    atlas : OrganCase
        Labelled CT that is laid over scans.
    folder : Path
        Where the safetensors file goes.
    """
    from safetensors.torch import save_file

    from napari_ctvlp.models.segmenters import mini
    from napari_ctvlp.models.store import sha256

    mean = torch.load(run / "checkpoint.pt", weights_only=True)["mean"]
    mean["head.bias"] -= TAKEN_BACK * class_weights().log()
    state = {name: value.half().contiguous() for name, value in mean.items()}
    hu, labels, affine = atlas_of(atlas)
    steps = np.clip(np.round((hu - mini.ATLAS_LOWEST) / mini.ATLAS_STEP), 0, 255).astype(np.uint8)
    state["atlas.hu"] = torch.from_numpy(steps)
    state["atlas.labels"] = torch.from_numpy(packed(labels))
    state["atlas.affine"] = torch.from_numpy(affine).float()
    save_file(state, folder / mini.WEIGHTS)
    return sha256(folder / mini.WEIGHTS)


def scores(net: OrganNet, case: OrganCase) -> dict[str, float]:
    """Return the Dice of every drawn organ of a case at 4 mm, network alone."""
    volume = torch.from_numpy(padded(case.hu, COARSEST))[None, None]
    body = torch.from_numpy(padded(case.body.astype("float32"), COARSEST)) > 0.5
    place = torch.from_numpy(place_of(body.numpy(), True))[None]
    with torch.inference_mode(), torch.autocast("cpu", torch.bfloat16, enabled=fast_bfloat16()):
        best = net(inputs(volume, place)).float().argmax(1)[0].numpy()
    i, p, l = case.labels.shape  # noqa: E741 - the axis is called L
    best, known = best[:i, :p, :l], case.labels != IGNORE
    out = {}
    for number, name in enumerate(CLASSES[1:], 1):
        truth = case.labels == number
        if truth.sum() > LEAST:
            found = (best == number) & known
            out[name] = float(2 * (found & truth).sum() / (found.sum() + truth.sum()))
    return out


def main() -> None:
    """Run the command line."""
    parser = argparse.ArgumentParser(description="Trains the organ network.")
    parser.add_argument("data", type=Path)
    parser.add_argument("run", type=Path)
    parser.add_argument("--leave", choices=(ATLAS, BELLY))
    parser.add_argument("--start", type=Path, help="checkpoint or weights file to begin with")
    parser.add_argument("--weights", type=Path, help="folder to write the weights into")
    free = ("seed", "steps", "batch", "rate", "warm", "clean", "ramp", "labelled")
    for name in free:
        value = getattr(Plan, name)
        parser.add_argument(f"--{name}", type=type(value), default=value)
    options = parser.parse_args()
    torch.set_num_threads(1)
    every = prepare_all(options.data, options.run.parent / "prepared")
    drawn = {case.name: case for case in every if case.name in (ATLAS, BELLY)}
    plan = Plan(**{name: getattr(options, name) for name in free})
    run = Run(without(every, options.leave or ""), plan, options.run, options.start)
    run.train()
    for name, case in drawn.items():
        kind = "left out" if name == options.leave else "trained on"
        print(name, kind, json.dumps(scores(run.mean.eval(), case)))
    if options.weights:
        print(export(options.run, drawn[ATLAS], options.weights))


if __name__ == "__main__":
    main()
