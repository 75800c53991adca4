"""One function per intention of a user: open_scan, segment, encode, ground, score.

The command line, the compute process behind the window and notebooks all call these. Results
are kept on disk by content digest (:mod:`napari_ctvlp.engine.cache`); whatever was kept is
reported with the progress stage ``"kept result"``.
"""

from __future__ import annotations

from functools import lru_cache

from napari_ctvlp.core.anatomy import AnatomyMap
from napari_ctvlp.core.encoding import AttentionMaps, Encoding, TextVector, attention_of
from napari_ctvlp.core.findings import FindingsTable
from napari_ctvlp.core.heatmap import Heatmap
from napari_ctvlp.core.phrase import Phrase
from napari_ctvlp.core.scan import Scan
from napari_ctvlp.engine import cache, compute
from napari_ctvlp.engine.aligning import align
from napari_ctvlp.engine.archived import adopt, embed
from napari_ctvlp.engine.fallback import run_somewhere
from napari_ctvlp.engine.jobs import part
from napari_ctvlp.engine.loaded import KEPT, loading
from napari_ctvlp.engine.loaded import encoder as _encoder
from napari_ctvlp.engine.loaded import encoding_key as _encoding_key
from napari_ctvlp.engine.loaded import forget as _forget
from napari_ctvlp.engine.loaded import kept as _kept
from napari_ctvlp.engine.masks import remeasure, surfaces
from napari_ctvlp.engine.opening import open_scan
from napari_ctvlp.engine.radiographs import ground_radiograph, open_radiograph
from napari_ctvlp.engine.weights import fetch_model, import_model, verify_model
from napari_ctvlp.models import store
from napari_ctvlp.models.protocol import Compute, ModelCard, Progress, silent

__all__ = [
    "KEPT", "adopt", "align", "attention", "embed", "encode", "fetch_model", "ground",
    "ground_radiograph", "import_model", "open_radiograph", "open_scan", "remeasure", "score",
    "segment", "surfaces", "verify_model", "warm_up",
]  # fmt: skip


def segment(
    scan: Scan,
    segmenter: str = "anatomy",
    *,
    device: str = "auto",
    progress: Progress = silent,
) -> AnatomyMap:
    """Find the organs of a scan.

    Parameters
    ----------
    scan : Scan
        A CT in HU.
    segmenter : str
        Card id of a segmenter.
    device : {"auto", "cuda", "mps", "cpu"}
    progress : callable
        Called with the share done and the stage; may raise to stop.

    Returns
    -------
    AnatomyMap
        Labels (i, p, l) on the scan's grid, volumes in ml.

    Raises
    ------
    ModelRefused
        If the segmenter is unknown or its weights are not what they should be.
    OutOfResources
        If the run would not fit in memory.

    Examples
    --------
    >>> from napari_ctvlp import open_scan, segment
    >>> anatomy = segment(open_scan("chest.nii.gz"))  # doctest: +SKIP
    >>> anatomy.by_name["lung_left"].ml  # doctest: +SKIP
    2310.4
    """
    card = store.card(segmenter)

    def run() -> AnatomyMap:
        def there(where: Compute, report: Progress) -> AnatomyMap:
            return store.load_segmenter(segmenter).segment(scan, compute=where, progress=report)

        return run_somewhere(scan, card, compute.choose(device, card), there, progress)

    return _kept(cache.key_of("anatomy", store.model_digest(card), scan.digest), run, progress)


def encode(
    scan: Scan,
    anatomy: AnatomyMap | None = None,
    model: str = "mini",
    *,
    device: str = "auto",
    progress: Progress = silent,
) -> Encoding:
    """Turn a scan into tokens, once per model, weights and content.

    Parameters
    ----------
    scan : Scan
        A CT in HU.
    anatomy : AnatomyMap, optional
        Of the same scan; found with :func:`segment` when left out.
    model : str
        Card id of an encoder.
    device : {"auto", "cuda", "mps", "cpu"}
    progress : callable

    Returns
    -------
    Encoding
        Token grids, organ vectors and attention.

    Raises
    ------
    ModelRefused, OutOfResources
        As :func:`segment` does.

    Examples
    --------
    >>> from napari_ctvlp import encode, open_scan
    >>> encode(open_scan("chest.nii.gz")).grids[0].tokens.shape  # doctest: +SKIP
    (83, 77, 90, 64)
    """
    card = store.card(model)
    _expect_files(card)
    chosen = compute.choose(device, card)
    found = anatomy or segment(scan, device=device, progress=part(progress, 0.0, 0.5))
    start = 0.0 if anatomy else 0.5

    def run() -> Encoding:
        def there(where: Compute, report: Progress) -> Encoding:
            return _encoder(model, where).encode(scan, found, progress=report)

        return run_somewhere(scan, card, chosen, there, part(progress, start, 1.0))

    return _kept(_encoding_key(card, chosen, scan, found), run, progress)


def ground(
    scan: Scan,
    phrase: str,
    *,
    anatomy: AnatomyMap | None = None,
    encoding: Encoding | None = None,
    model: str = "mini",
    gate: bool = True,
    parser: bool = True,
    several: bool = True,
    maps: str = "",
    segmenter: str = "anatomy",
    device: str = "auto",
    progress: Progress = silent,
) -> Heatmap:
    """Find where a scan resembles a phrase, how much, and how sure the model is.

    Parameters
    ----------
    scan : Scan
        A CT in HU.
    phrase : str
        For example ``"nodule in the left lower lobe"``.
    anatomy : AnatomyMap, optional
        Found with :func:`segment` by ``segmenter`` when left out.
    encoding : Encoding, optional
        Of this scan by this model; found with :func:`encode` when left out.
    model : str
        Card id of an encoder.
    gate : bool
        False searches the whole field of view whatever place the phrase names.
    parser : bool
        False gives the raw text to the model: side and negation are then not understood.
    several : bool
        False embeds the phrase as it stands, not the mean of the card's wordings.
    maps : str
        Kind of map, ``"split"`` or ``"cosine"``, of a model that has several; ``""`` for the
        one on its card.
    segmenter : str
        Card id of a segmenter.
    device : {"auto", "cuda", "mps", "cpu"}
    progress : callable

    Returns
    -------
    Heatmap
        Scores on the token grid, peak, gate, verdict with its number, shares per anatomy.

    Raises
    ------
    ModelRefused, OutOfResources
        As :func:`segment` does; also for a kind of map that the model does not have.

    Examples
    --------
    >>> from napari_ctvlp import ground, open_scan
    >>> ground(open_scan("chest.nii.gz"), "lung mass").peak_ras  # doctest: +SKIP
    (-61.0, 18.5, -203.75)
    """
    from napari_ctvlp.core.parser import parse
    from napari_ctvlp.engine import judging

    chosen = compute.choose(device, store.card(model))
    found, tokens = looked_at(scan, anatomy, encoding, model, segmenter, device, progress)
    parsed = parse(phrase) if parser else Phrase(phrase, phrase)
    progress(0.9, "phrase")
    with loading:
        loaded = _encoder(model, chosen)
        told, rivals = neutral(model, chosen), judging.rivals(loaded)
    progress(0.95, "heatmap")
    return judging.answer(
        loaded, tokens, parsed, found, neutral=told, rivals=rivals, kind=maps,
        gate_applied=gate, several=several,
    )  # fmt: skip


def score(
    scan: Scan,
    *,
    anatomy: AnatomyMap | None = None,
    encoding: Encoding | None = None,
    model: str = "mini",
    segmenter: str = "anatomy",
    device: str = "auto",
    progress: Progress = silent,
) -> FindingsTable:
    """Score every finding the model can judge, by anatomy.

    Parameters
    ----------
    scan, anatomy, encoding, model, segmenter, device, progress
        As in :func:`ground`.

    Returns
    -------
    FindingsTable
        Present and absent similarities and their margin; a row that cannot be judged says why.

    Raises
    ------
    ModelRefused, OutOfResources
        As :func:`segment` does.

    Examples
    --------
    >>> from napari_ctvlp import open_scan, score
    >>> max(score(open_scan("chest.nii.gz")).rows, key=lambda row: row.margin)  # doctest: +SKIP
    """
    found, tokens = looked_at(scan, anatomy, encoding, model, segmenter, device, progress)
    progress(0.9, "scores")
    return _encoder(model, compute.choose(device, store.card(model))).score(tokens, found)


def attention(
    scan: Scan,
    *,
    anatomy: AnatomyMap | None = None,
    model: str = "mini",
    device: str = "auto",
    progress: Progress = silent,
) -> AttentionMaps:
    """Return where each organ query of the encoder looked.

    Parameters
    ----------
    scan, anatomy, model, device, progress
        As in :func:`encode`.

    Returns
    -------
    AttentionMaps
        One map (i, p, l) per organ on its token grid, summing to 1; empty for a model without.
    """
    return attention_of(encode(scan, anatomy, model, device=device, progress=progress))


def warm_up(model: str = "mini", device: str = "auto") -> None:
    """Load an encoder and its text tower, so that the next job need not."""
    neutral(model, compute.choose(device, store.card(model)))


def forget() -> None:
    """Drop loaded models and what is kept in memory; the disk stays."""
    _forget()
    _embed_neutral.cache_clear()


def looked_at(
    scan: Scan,
    anatomy: AnatomyMap | None,
    encoding: Encoding | None,
    model: str,
    segmenter: str,
    device: str,
    progress: Progress,
) -> tuple[AnatomyMap, Encoding]:
    """Return anatomy and encoding of a scan, computing what was left out."""
    _expect_files(store.card(model))
    found = anatomy or segment(scan, segmenter, device=device, progress=part(progress, 0.0, 0.4))
    tokens = encoding or encode(
        scan, found, model, device=device, progress=part(progress, 0.4, 0.9)
    )
    return found, tokens


def _expect_files(card: ModelCard) -> None:
    """Refuse a hosted model that cannot run before anything else is computed for it."""
    if store.bundle(card):
        store.verify(card)


def neutral(model: str, chosen: Compute) -> tuple[TextVector, ...]:
    """Return the card's neutral phrases beside the tokens, embedded once."""
    with loading:
        return _embed_neutral(model, chosen)


@lru_cache(maxsize=2)
def _embed_neutral(model: str, chosen: Compute) -> tuple[TextVector, ...]:
    phrases = store.card(model).settings.get("neutral", ())
    return tuple(_encoder(model, chosen).embed(list(phrases))) if phrases else ()
