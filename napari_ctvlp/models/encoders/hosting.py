"""What hosted encoders share: loading, their text side, and the table of their findings.

What their cards may set::

    [settings.prompts]
    positive = "{}."
    negative = "Not {}."          # left out: phrases are compared with their positive prompt only
    tokens = 384                  # longest text

    [[settings.findings]]
    name = "Emphysema"
    organ = "lung"                # of [settings.organs]; "" or left out for the whole scan
    positive = "Emphysema."       # or several: ["Emphysema.", "Emphysematous changes."]
    negative = "Not Emphysema."
    summary = [0.497, 0.224, 0.038, 0.475, 0.943]   # published: mean, sd, min, median, max
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import numpy as np
from numpy.typing import NDArray

from napari_ctvlp.core.encoding import Encoding
from napari_ctvlp.core.findings import FindingRow, FindingsTable
from napari_ctvlp.core.vocabulary import findings, shipped
from napari_ctvlp.models import store
from napari_ctvlp.models.encoders.prompts import (
    VECTORS,
    Prompts,
    Tokenizer,
    read_vectors,
    wordpiece,
)
from napari_ctvlp.models.protocol import Compute, ModelCard, Progress

if TYPE_CHECKING:
    from torch import Tensor, nn

    Net = TypeVar("Net", bound=nn.Module)

#: Longest text in tokens, where the card does not say.
_TOKENS = 512
#: Published summaries have three digits: nothing is known of what lies nearer to 0 or 1.
_LEAST = 0.0005
_POLES = "Present and absent: cosine of the organ to the positive and to the negative prompt."


class Progressing:
    """Turns ticks of a network into shares of a progress bar.

    Parameters
    ----------
    progress : callable
    start, stop : float
        Share done before the first and after the last tick.
    count : int
        Ticks in all.
    """

    def __init__(self, progress: Progress, start: float, stop: float, count: int) -> None:
        self.progress, self.start, self.stop, self.count = progress, start, stop, count
        self.done = 0

    def __call__(self) -> None:
        """Report one more step; raises what the callback raises."""
        self.done += 1
        share = min(1.0, self.done / max(1, self.count))
        self.progress(self.start + (self.stop - self.start) * share, "encoding")


def loaded(
    network: Net, card: ModelCard, folder: Path, compute: Compute, part: str = "model"
) -> Net:
    """Fill a network from the checkpoint its card calls ``part`` and bring it to its device.

    Raises
    ------
    ModelRefused
        If the checkpoint is missing or holds other tensors than the card allows.
    """
    expected = {name: tuple(value.shape) for name, value in network.state_dict().items()}
    network.load_state_dict(store.state_dict(card, folder, expected, part), strict=False)
    return network.eval().requires_grad_(False).to(compute.device)


def sizes_of(card: ModelCard) -> dict[str, Any]:
    """Return the sizes a card gives a network, lists as tuples; empty for the published ones."""
    given = card.settings.get("sizes", {})
    return {name: tuple(n) if isinstance(n, list) else n for name, n in given.items()}


def text_vectors(
    run: Callable[[Tensor, Tensor], Tensor],
    card: ModelCard,
    folder: Path,
    compute: Compute,
    split: Callable[[Path, int], Tokenizer | None] = wordpiece,
    file: str = "vocab.txt",
) -> Prompts:
    """Return the text side of a model.

    Parameters
    ----------
    run : callable
        Token ids and mask (n, t) to unit vectors (n, c).
    card : ModelCard
    folder : Path
        Holds the tokenizer's ``file``, or vectors made before, or neither.
    compute : Compute
    split : callable
        Makes the tokenizer of its file and the longest text.
    file : str
    """
    told = card.settings.get("prompts", {})
    tokenizer = split(folder / file, int(told.get("tokens", _TOKENS)))

    def vectors(texts: Sequence[str]) -> NDArray[np.float32]:
        import torch

        ids, mask = (torch.from_numpy(part).to(compute.device) for part in tokenizer(texts))  # type: ignore[misc]
        with torch.inference_mode():
            return np.asarray(run(ids, mask).float().cpu().numpy())

    return Prompts(
        vectors if tokenizer else None,
        read_vectors(folder / VECTORS),
        f"The tokenizer's file {file} is not in {folder}.",
        positive=str(told.get("positive", "{}")),
        negative=str(told.get("negative", "")),
    )


def table_of(
    card: ModelCard, encoding: Encoding, prompts: Prompts, temperature: float = float("nan")
) -> FindingsTable:
    """Score the card's findings by their exact prompts, by the mean cosine where they are several.

    Where any text can be read, the findings of the user's own vocabulary follow, by their prompts
    in each of the model's organs that they are looked for in.

    Returns
    -------
    FindingsTable
        Cosines to both prompts, their difference, the softmax over both at ``temperature`` (NaN
        without one), and where that lies among published values, roughly. A finding whose organ
        is not there says so.
    """
    own = _own(card) if prompts.free else ()
    listed: list[dict[str, Any]] = [*card.settings.get("findings", ()), *own]
    sides = [_several(row[side]) for row in listed for side in ("positive", "negative")]
    vectors = [prompts.vectors(texts).mean(axis=0) for texts in sides]
    rows = []
    for finding, yes, no in zip(listed, vectors[::2], vectors[1::2], strict=True):
        organ, name = str(finding.get("organ", "")), str(finding["name"])
        unit, nan = encoding.organs.get(organ), float("nan")
        said = tuple(" / ".join(_several(finding[side])) for side in ("positive", "negative"))
        if unit is None:
            why = f"The {organ or 'body'} was not found in this scan."
            rows.append(FindingRow(organ, name, nan, nan, nan, support=why, prompts=said))
            continue
        present, absent = float(unit @ yes), float(unit @ no)
        probability = float(1 / (1 + np.exp((absent - present) / temperature)))
        rows.append(
            FindingRow(
                organ, name, present, absent, present - absent,
                percentile=percentile(probability, finding.get("summary", ())),
                probability=probability, prompts=said,
            )
        )  # fmt: skip
    return FindingsTable(tuple(rows), card.id, encoding.scan, poles=_POLES)


def _own(card: ModelCard) -> Iterator[dict[str, Any]]:
    """Yield the user's own findings in the form of a card's."""
    organs: dict[str, Sequence[str]] = card.settings.get("organs", {"": ()})
    for finding in findings().values():
        mine = [name for name, house in organs.items() if not name or {*house} & {*finding.organs}]
        for organ in mine if finding.name not in shipped() else ():
            yield {
                "name": finding.name, "organ": organ, "positive": list(finding.present),
                "negative": list(finding.absent),
            }  # fmt: skip


def _several(prompts: str | Sequence[str]) -> list[str]:
    return [prompts] if isinstance(prompts, str) else list(prompts)


def percentile(probability: float, summary: Sequence[float]) -> float:
    """Return roughly which share of published scans scored lower, in percent.

    Known are their lowest, middle and highest value; between them the share is taken to grow
    evenly with the logit. NaN without a summary.

    Parameters
    ----------
    probability : float
    summary : sequence of float
        Mean, standard deviation, minimum, median, maximum.
    """
    if not summary:
        return float("nan")
    known = _logit(np.array(summary[2:]))
    return float(np.interp(_logit(np.array(probability)), known, [0.0, 50.0, 100.0]))


def _logit(values: NDArray[np.float64]) -> NDArray[np.float64]:
    kept = np.clip(values, _LEAST, 1 - _LEAST)
    return np.asarray(np.log(kept / (1 - kept)))
