"""What learns: the tower, the dense objective, and the objectives switched on beside it."""

from __future__ import annotations

from importlib import import_module
from typing import Protocol

import torch
from torch import Tensor, nn

from napari_ctvlp.models.encoders.mini_tower import Tower, channels_last
from napari_ctvlp.training.batch import Batch
from napari_ctvlp.training.config import Plan
from napari_ctvlp.training.objectives.dense import dense_loss, pointing_loss, rivalry_loss
from napari_ctvlp.training.synthesis.canvas import FINDINGS
from napari_ctvlp.training.targets import concepts, unions

#: Parameters of the tower that learn faster: the heads, the concept table and its bias.
HEADS = ("head", "table", "bias")


class Objective(Protocol):
    """Something to minimise beside dense grounding.

    Random numbers come from torch's generator, whose state is in the checkpoint. Buffers that
    steer the loss are registered in ``parts`` and keep their shape, so that a resumed run
    goes on exactly.
    """

    name: str

    def parts(self) -> nn.Module:
        """Return the trainable heads and the buffers; they are saved with the tower."""
        ...

    def loss(self, batch: Batch) -> Tensor:
        """Return a scalar; 0 without a gradient when there is nothing to learn."""
        ...


def objectives_of(plan: Plan) -> list[tuple[Objective, float]]:
    """Return the objectives a plan switches on, with their weights.

    The class is ``Objective`` in ``training/objectives/NAME.py``; it is given the options of
    the config but ``weight``.
    """
    made = []
    for name, options in sorted(plan.objectives.items()):
        module = import_module(f"napari_ctvlp.training.objectives.{name}")
        own = {key: value for key, value in options.items() if key != "weight"}
        made.append((module.Objective(**own), float(options["weight"])))
    return [(objective, weight) for objective, weight in made if weight > 0]


class Sealed:
    """Keeps Fabric's hands off a batch: it would round HU to bfloat16, steps of 4 HU in lung."""

    def __init__(self, batch: Batch) -> None:
        self.batch = batch


class Learner(nn.Module):
    """Tower and heads; called with a batch it returns the losses.

    Parameters
    ----------
    plan : Plan
    """

    rivals: Tensor

    def __init__(self, plan: Plan) -> None:
        super().__init__()
        self.plan = plan
        self.tower = Tower(len(concepts()), detail=plan.detail)
        channels_last(self.tower)
        self._run = torch.compile(self.tower.features) if plan.compile else self.tower.features
        self.objectives = objectives_of(plan)
        self.heads = nn.ModuleDict({o.name: o.parts() for o, _ in self.objectives})
        both = (concepts().index("lungs"), concepts().index("vessel"))
        rivals = torch.tensor([*range(len(FINDINGS)), *both])
        self.register_buffer("rivals", rivals, persistent=False)

    def forward(self, sealed: Sealed) -> dict[str, Tensor]:
        """Return the losses of a batch; ``loss`` is what is minimised.

        Only the tower runs under autocast: losses are taken in single precision.
        """
        batch = sealed.batch
        pre, tokens = self._run(batch.hu, batch.place)
        with torch.autocast(batch.hu.device.type, enabled=False):
            losses = self._dense(tokens.float(), batch)
            if self.objectives:
                batch.tokens, batch.pre = tokens.float(), pre.float()
            for objective, weight in self.objectives:
                losses[objective.name] = objective.loss(batch)
                losses["loss"] = losses["loss"] + weight * losses[objective.name]
        return losses

    def averaged_names(self) -> set[str]:
        """Return what is averaged over steps: parameters, and the tower's running mean.

        Other buffers hold past vectors or counts, whose mean would mean nothing.
        """
        own = {f"tower.{name}" for name in self.tower.state_dict()}
        return own | {name for name, _ in self.named_parameters()}

    def groups(self) -> list[dict[str, object]]:
        """Return the slow and the fast parameters, for the optimiser."""
        named = [(n, p) for n, p in self.named_parameters() if p.requires_grad]
        fast = [p for n, p in named if n.removeprefix("tower.").startswith(HEADS)]
        slow = [p for n, p in named if not n.removeprefix("tower.").startswith(HEADS)]
        return [
            {"params": slow, "factor": 1.0},
            {"params": fast, "factor": self.plan.head_factor},
        ]

    def _dense(self, tokens: Tensor, batch: Batch) -> dict[str, Tensor]:
        """Mean over the crops; each is judged by itself, its hardest negatives too."""
        dense, rivalry, pointing = [], [], []
        sayable = len(FINDINGS) + len(unions())
        for one, (chosen, target, kind) in zip(tokens, batch.rows, strict=True):
            rows = one.permute(1, 2, 3, 0).reshape(-1, one.shape[0])[chosen]
            logits = self.tower.logits(rows)
            dense.append(dense_loss(logits, target, hard=self.plan.hard))
            rivalry.append(rivalry_loss(logits, kind, self.rivals))
            pointing.append(pointing_loss(logits[:, :sayable], target[:, :sayable]))
        parts = {"dense": dense, "rivalry": rivalry, "pointing": pointing}
        losses = {name: torch.stack(values).mean() for name, values in parts.items()}
        weighted = self.plan.rivalry * losses["rivalry"] + self.plan.pointing * losses["pointing"]
        return {"loss": losses["dense"] + weighted, **losses}
