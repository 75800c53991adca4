"""What looks painted or round but is no finding: healthy patches and vessel-like tubes."""

from __future__ import annotations

import torch
from torch import Tensor

from napari_ctvlp.training.synthesis.canvas import CODE, Canvas, Chance, blob, offsets


def place(canvas: Canvas, dice: Chance) -> None:
    """Put one to three healthy patches into three crops of ten, tubes into two."""
    if dice.chance(0.3):
        for _ in range(dice.integer(1, 3)):
            healthy_patch(canvas, dice)
    if dice.chance(0.2):
        for _ in range(dice.integer(1, 3)):
            tube(canvas, dice)


def healthy_patch(canvas: Canvas, dice: Chance) -> bool:
    """Copy healthy tissue over its like with the soft edge of a finding.

    Lung in half of the crops, else liver, spleen, heart or bone; False when there is no room.
    """
    tissue = _tissue(canvas, dice)
    source_place = tissue & (canvas.anatomy != CODE["vessel"])
    centre, other = canvas.spot(tissue, dice), canvas.spot(source_place, dice)
    if centre is None or other is None:
        return False
    shape = blob(canvas, centre, dice.log_uniform(3.6, 24), dice)
    source = tuple(
        slice(o - c + s.start, o - c + s.stop)
        for o, c, s in zip(other, centre, shape.where, strict=True)
    )
    fits = all(s.start >= 0 and s.stop <= n for s, n in zip(source, canvas.shape, strict=True))
    if not fits or bool(canvas.found[shape.where].any() or canvas.found[source].any()):
        return False
    alpha = shape.soft(dice.uniform(0.45, 0.9)) * tissue[source] * tissue[shape.where]
    canvas.paint("", shape.where, alpha, canvas.hu[source].clone())
    return True


def tube(canvas: Canvas, dice: Chance) -> bool:
    """Paint a vessel-like tube into a lung: a hard negative for nodules."""
    centre = canvas.spot(canvas.lung_mm > 5, dice)
    if centre is None:
        return False
    radius = dice.uniform(2.0, 5.6)
    shape = blob(canvas, centre, radius * dice.uniform(4.5, 9.0) / 2, dice, axes=(1.0, 1.0))
    offset, axis = offsets(shape.where, centre, dice), dice.rotation()
    along = offset @ axis[0]
    bent = offset @ axis[1] + dice.uniform(-0.03, 0.03) * along**2
    across = torch.stack([bent, offset @ axis[2]]).norm(dim=0)
    alpha = torch.sigmoid((radius / 2 - across) / 0.5) * shape.soft(0.8)
    alpha = alpha * (canvas.lung_mm[shape.where] > 0)
    canvas.paint("", shape.where, alpha, dice.uniform(10, 80))
    canvas.anatomy[shape.where][alpha > 0.5] = CODE["vessel"]
    return True


def _tissue(canvas: Canvas, dice: Chance) -> Tensor:
    """Choose a tissue that the crop holds enough of."""
    lung = canvas.lung_mm > 3
    if dice.chance(0.5):
        return lung
    for names in (("liver", "spleen"), ("heart", "aorta"), ("bone", "vertebra")):
        mask = canvas.mask(*names)
        if int(mask.sum()) > 2000 and dice.chance(0.6):
            return mask
    return lung
