"""Session and Study: what is open and what is known of it. Docks talk to these only."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Any, Protocol

from psygnal import Signal

from napari_ctvlp.core.anatomy import AnatomyMap
from napari_ctvlp.core.encoding import AttentionMaps, Encoding, EncodingSummary
from napari_ctvlp.core.findings import FindingsTable
from napari_ctvlp.core.heatmap import Heatmap
from napari_ctvlp.core.scan import Scan
from napari_ctvlp.core.surface import Surfaces
from napari_ctvlp.errors import CtvlpError, JobCancelled

Point = tuple[float, float, float]


class Runner(Protocol):
    """Whatever runs verbs and answers by request number (see ``ui/jobs.py``)."""

    def submit(self, verb: str, **arguments: Any) -> int:
        """Start a job and return its number."""
        ...

    def cancel(self, number: int) -> None:
        """Stop a job."""
        ...


@dataclass(frozen=True)
class Run:
    """How the jobs of a session run.

    Attributes
    ----------
    model : str
        Card id of the encoder.
    device : str
        ``"auto"``, ``"cpu"``, ``"cuda"`` or ``"mps"``.
    segmenter : str
        Card id of the segmenter.
    maps : str
        Kind of map, ``""`` for the one on the model's card.
    """

    model: str = "mini"
    device: str = "auto"
    segmenter: str = "anatomy"
    maps: str = ""


@dataclass
class Job:
    """One request that has not been answered yet."""

    number: int
    kind: str
    study: Study
    done: Callable[[Any], None]
    share: float = 0.0
    stage: str = "waiting"


class Study:
    """One scan and the nouns computed from it; a signal when one is replaced.

    Parameters
    ----------
    scan : Scan
        What every other noun of the study describes.
    """

    anatomy_changed = Signal(object)
    encoding_changed = Signal(object)
    heatmap_changed = Signal(object)
    findings_changed = Signal(object)
    attention_changed = Signal(object)
    surfaces_changed = Signal(object)

    def __init__(self, scan: Scan) -> None:
        self.scan = scan
        self.anatomy: AnatomyMap | None = None
        self.segmenter = ""
        self.encoding: EncodingSummary | None = None
        self.encoded_with: AnatomyMap | None = None
        self.attention: AttentionMaps | None = None
        self.heatmap: Heatmap | None = None
        self.findings: FindingsTable | None = None
        self.surfaces: Surfaces | None = None

    def put(self, name: str, noun: object) -> None:
        """Replace one noun (``"anatomy"``, ``"encoding"``, ...) and say so."""
        if name == "anatomy":
            self.surfaces = None
        setattr(self, name, noun)
        getattr(self, f"{name}_changed").emit(noun)


@dataclass(frozen=True)
class Look:
    """How heatmaps are drawn, the same for every phrase.

    Attributes
    ----------
    opacity, threshold : float
        0..1; values under the threshold are transparent.
    colormap : str
        One of ``palette.HEAT_MAPS``.
    jump : bool
        Whether a new heatmap moves the crosshair to its peak.
    lines : bool
        Lines at named levels over a map that is supported; one without support always has them.
    hatch : bool
        Hatching where nothing was searched.
    cells : bool
        The model's own grid.
    pale : bool
        Fill maps without support faintly, beside their lines.
    """

    opacity: float = 0.55
    threshold: float = 0.05
    colormap: str = "inferno"
    jump: bool = True
    lines: bool = False
    hatch: bool = False
    cells: bool = False
    pale: bool = False


class Session:
    """The open study, the jobs on it and the point everybody looks at.

    Attributes
    ----------
    together : bool
        Several phrases are drawn as one layer, and the one in front is not.
    """

    study_changed = Signal(object)
    jobs_changed = Signal()
    failed = Signal(object)
    point_changed = Signal(tuple)
    shown_organs_changed = Signal(frozenset)
    grounding = Signal(str, bool)
    attention_wanted = Signal(str)
    beside_wanted = Signal(object)
    look_changed = Signal(object)
    models_changed = Signal()

    def __init__(self, runner: Runner) -> None:
        self.runner = runner
        self.run = Run()
        self.look = Look()
        self.together = False
        self.study: Study | None = None
        self.point: Point | None = None
        self.shown_organs: frozenset[str] = frozenset()
        self.jobs: dict[str, Job] = {}
        self._wish: tuple[str, bool] | None = None

    def open(self, scan: Scan | None) -> Study | None:
        """Make ``scan`` the study of this session; jobs on the one before are stopped."""
        self.cancel()
        self.study = None if scan is None else Study(scan)
        self.study_changed.emit(self.study)
        return self.study

    def look_at(self, point_ras: Point) -> None:
        """Move everybody's crosshair to a point in RAS mm."""
        self.point = point_ras
        self.point_changed.emit(point_ras)

    def show_organs(self, names: frozenset[str]) -> None:
        """Choose the organs that are drawn."""
        self.shown_organs = names
        self.shown_organs_changed.emit(names)

    def set_look(self, look: Look) -> None:
        """Change how heatmaps are drawn."""
        self.look = look
        self.look_changed.emit(look)

    def prepare(self) -> None:
        """Compute what is missing, or is of another choice: anatomy, then encoding, then findings.

        Organs that were opened or edited stay until another segmenter is chosen.
        """
        study, run = self.study, self.run
        if study is None:
            return
        if study.anatomy is None or study.segmenter not in ("", run.segmenter):
            self.segment()
        elif _model_of(study.encoding) != run.model or study.encoded_with is not study.anatomy:
            self.encode()
        elif _model_of(study.findings) != run.model:
            self.score()

    def segment(self) -> None:
        """Find the organs of the study."""
        if self.study is not None:
            name = self.run.segmenter
            self._start("segment", partial(self._segmented, segmenter=name), segmenter=name)

    def shape(self) -> None:
        """Find the surfaces of the organs, once per anatomy."""
        study = self.study
        missing = study is not None and study.anatomy is not None and study.surfaces is None
        if study is not None and missing and "surfaces" not in self.jobs:
            self._start("surfaces", self._put("surfaces"), anatomy=study.anatomy)

    def remeasure(self, anatomy: AnatomyMap) -> None:
        """Make edited masks the study's anatomy, once they have been measured."""
        if self.study is not None:
            self._start("remeasure", self._put("anatomy"), anatomy=anatomy)

    def encode(self) -> None:
        """Encode the study once; every phrase uses the result."""
        study = self.study
        if study is not None:
            done = partial(self._encoded, organs=study.anatomy)
            self._start("encode", done, anatomy=study.anatomy, model=self.run.model)

    def adopt(self, anatomy: AnatomyMap, encoding: Encoding) -> None:
        """Take anatomy and tokens that were kept in a store; nothing is encoded again."""
        if self.study is not None:
            self.study.put("anatomy", anatomy)
            done = partial(self._encoded, organs=anatomy)
            self._start("adopt", done, anatomy=anatomy, encoding=encoding)

    def score(self) -> None:
        """Fill the findings table."""
        study = self.study
        if study is not None and study.encoding is not None:
            self._start("score", self._put("findings"), anatomy=study.anatomy, model=self.run.model)

    def ground(self, text: str, gate: bool = True) -> None:
        """Look for a phrase; before the scan is encoded the wish waits for it."""
        study = self.study
        if study is None or not text.strip():
            return
        self.grounding.emit(text, gate)
        if study.encoding is None:
            self._wish = (text, gate)
            if not self.jobs:
                self.prepare()
            return
        self._start(
            "ground",
            self._put("heatmap"),
            phrase=text,
            gate=gate,
            anatomy=study.anatomy,
            model=self.run.model,
            maps=self.run.maps,
        )

    def compute(self, verb: str, done: Callable[[Any], None], **arguments: Any) -> None:
        """Run a verb on the study for a dock that keeps the answer itself."""
        if self.study is not None:
            given = {"model": self.run.model, **arguments}
            self._start(verb, done, anatomy=self.study.anatomy, **given)

    def attend(self, organ: str) -> None:
        """Show where an organ's query looked; ``""`` shows none."""
        self.attention_wanted.emit(organ)
        study = self.study
        if not organ or study is None or study.encoding is None:
            return
        if _model_of(study.attention) != self.run.model:
            self._start(
                "attention",
                self._put("attention"),
                anatomy=study.anatomy,
                model=self.run.model,
            )

    def cancel(self) -> None:
        """Stop every job; whatever still arrives from them is dropped."""
        jobs, self.jobs, self._wish = list(self.jobs.values()), {}, None
        for job in jobs:
            self.runner.cancel(job.number)
        if jobs:
            self.jobs_changed.emit()

    def on_progress(self, number: int, share: float, stage: str) -> None:
        """Take a report from the runner."""
        job = self._job(number)
        if job is not None:
            job.share, job.stage = share, stage
            self.jobs_changed.emit()

    def on_done(self, number: int, result: object) -> None:
        """Take an answer from the runner; one with an old number is dropped."""
        job = self._job(number)
        if job is None:
            return
        del self.jobs[job.kind]
        job.done(result)
        self.jobs_changed.emit()

    def on_failed(self, number: int, error: CtvlpError) -> None:
        """Take a failure from the runner; the rest of the chain is not started."""
        job = self._job(number)
        if job is None:
            return
        del self.jobs[job.kind]
        self._wish = None
        self.jobs_changed.emit()
        if not isinstance(error, JobCancelled):
            self.failed.emit(error)

    def _start(self, kind: str, done: Callable[[Any], None], **arguments: Any) -> None:
        """Submit a job; a newer one of the same kind replaces it."""
        assert self.study is not None  # noqa: S101 - every caller has checked it
        older = self.jobs.pop(kind, None)
        if older is not None:
            self.runner.cancel(older.number)
        number = self.runner.submit(kind, scan=self.study.scan, device=self.run.device, **arguments)
        self.jobs[kind] = Job(number, kind, self.study, done)
        self.jobs_changed.emit()

    def _job(self, number: int) -> Job | None:
        """Return the job that a number belongs to, if it is still wanted."""
        for job in self.jobs.values():
            if job.number == number and job.study is self.study:
                return job
        return None

    def _put(self, name: str) -> Callable[[Any], None]:
        study = self.study
        return lambda noun: study.put(name, noun) if study is not None else None

    def _segmented(self, anatomy: AnatomyMap, segmenter: str) -> None:
        assert self.study is not None  # noqa: S101 - _job has checked it
        self.study.segmenter = segmenter
        self.study.put("anatomy", anatomy)
        self.prepare()

    def _encoded(self, encoding: EncodingSummary, organs: AnatomyMap | None) -> None:
        assert self.study is not None  # noqa: S101 - _job has checked it
        self.study.encoded_with, self.study.attention = organs, None
        self.study.put("encoding", encoding)
        if self.study.findings is not None:
            self.study.put("findings", None)
        wish, self._wish = self._wish, None
        if wish is not None:
            self.ground(*wish)
        self.prepare()


def _model_of(noun: EncodingSummary | AttentionMaps | FindingsTable | None) -> str:
    return noun.model if noun is not None else ""
