"""WorkerClient: asks the compute process, one job at a time; imports neither torch nor Qt."""

from __future__ import annotations

import threading
from collections.abc import Callable
from dataclasses import dataclass, field

from napari_ctvlp.engine.jobs import RequestNumbers
from napari_ctvlp.engine.pipes import Message
from napari_ctvlp.engine.process import WorkerProcess
from napari_ctvlp.engine.wire import Value, unpack_error
from napari_ctvlp.errors import CtvlpError, JobCancelled, WorkerFailed

#: A cancelled job that has not ended after so many seconds ends with its process.
GRACE_S = 1.8
#: A newer request of these verbs replaces older ones that still wait.
REPLACED = ("ground",)


@dataclass
class _Job:
    number: int
    verb: str
    arguments: dict[str, Value]
    tries: int = 0
    taken: bool = False
    lost: bool = False
    cancelled: threading.Event = field(default_factory=threading.Event)
    ended: threading.Event = field(default_factory=threading.Event)


def _nothing(*_: Value) -> None:
    """Take an answer that nobody waits for."""


class WorkerClient:
    """Runs verbs in a process of its own and answers by request number.

    Parameters
    ----------
    on_progress : callable, optional
        Called with number, share done (0..1) and stage.
    on_done : callable, optional
        Called with number and the result noun; an encoding comes as ``EncodingSummary``.
    on_failed : callable, optional
        Called with number and a ``CtvlpError``; ``JobCancelled`` after a cancel.

    Notes
    -----
    Every job ends in exactly one call of ``on_done`` or ``on_failed``, from a thread of the
    client. Jobs queue; a newer ``ground`` replaces older ones that still wait. A process that
    dies fails the job it ran and is started again for the next one.

    Examples
    --------
    >>> client = WorkerClient(on_done=print)  # doctest: +SKIP
    >>> client.submit("segment", scan=scan)  # doctest: +SKIP
    1
    """

    def __init__(
        self,
        on_progress: Callable[[int, float, str], None] = _nothing,
        on_done: Callable[[int, Value], None] = _nothing,
        on_failed: Callable[[int, CtvlpError], None] = _nothing,
    ) -> None:
        self._on_progress, self._on_done, self._on_failed = on_progress, on_done, on_failed
        self._numbers = RequestNumbers()
        self._changed = threading.Condition()
        self._queue: list[_Job] = []
        self._running: _Job | None = None
        self._process: WorkerProcess | None = None
        self._warm_up = ""
        self._closed = False
        self._runner = threading.Thread(target=self._serve, daemon=True)
        self._runner.start()

    @property
    def pid(self) -> int | None:
        """Process id of the compute process, None while there is none."""
        process = self._process
        return process.pid if process is not None and process.alive else None

    def submit(self, verb: str, **arguments: Value) -> int:
        """Queue a job and return its request number at once.

        Parameters
        ----------
        verb : {"open_scan", "segment", "encode", "ground", "score", "attention"}
        **arguments
            Those of the function of that name in :mod:`napari_ctvlp.engine.verbs`; an encoding
            may be given as its summary.
        """
        job = _Job(self._numbers.next(), verb, arguments)
        with self._changed:
            if self._closed:
                raise _closed_error()
            if verb in REPLACED:
                for older in self._queue:
                    if older.verb == verb:
                        older.cancelled.set()
            self._queue.append(job)
            self._changed.notify_all()
        return job.number

    def cancel(self, number: int) -> None:
        """Stop a job, queued or running; one that has ended is left alone."""
        with self._changed:
            for job in (*self._queue, self._running):
                if job is not None and job.number == number:
                    job.cancelled.set()
            self._changed.notify_all()

    def warm_up(self, model: str = "mini") -> None:
        """Start the process and its imports; returns at once."""
        with self._changed:
            self._warm_up = model
            self._changed.notify_all()

    def close(self) -> None:
        """Cancel what waits, end the process, delete its files."""
        with self._changed:
            self._closed = True
            for job in (*self._queue, self._running):
                if job is not None:
                    job.cancelled.set()
            self._changed.notify_all()
        self._runner.join()

    def _serve(self) -> None:
        """Take jobs one by one until the client is closed."""
        while (job := self._next()) is not None:
            if job.cancelled.is_set():
                self._end(job, error=JobCancelled())
            else:
                self._run(job)
        if self._process is not None:
            self._process.close()

    def _next(self) -> _Job | None:
        """Wait for a job; meanwhile start the process if asked to. None when closed."""
        while True:
            with self._changed:
                self._changed.wait_for(lambda: self._queue or self._closed or self._warm_up)
                model, self._warm_up = self._warm_up, ""
                if self._queue and not model:
                    self._running = self._queue.pop(0)
                    return self._running
                if self._closed and not self._queue:
                    return None
            if not self._closed:
                self._start_warm(model)

    def _run(self, job: _Job) -> None:
        """Run one job to its end; one that a dying process never took is sent once more."""
        job.tries, job.lost = job.tries + 1, False
        try:
            process = self._alive_process()
            process.send_job(job.number, job.verb, job.arguments)
            self._wait(job, process)
            if job.lost:
                process.close()
                self._run(job)
        except CtvlpError as error:
            self._end(job, error=error)
        except Exception as error:
            self._end(job, error=self._failure(error))

    def _wait(self, job: _Job, process: WorkerProcess) -> None:
        """Wait for the end; a cancelled job gets ``GRACE_S``, then its process is replaced."""
        with self._changed:
            self._changed.wait_for(lambda: job.ended.is_set() or job.cancelled.is_set() or job.lost)
        if job.ended.is_set() or job.lost:
            return
        process.send({"kind": "cancel", "number": job.number})
        if not job.ended.wait(0 if self._closed else GRACE_S):
            self._end(job, error=JobCancelled())
            process.kill()
            if not self._closed:
                self._start_warm("")

    def _end(self, job: _Job, result: Value = None, error: CtvlpError | None = None) -> None:
        """Report the end of a job, once."""
        with self._changed:
            if job.ended.is_set():
                return
            job.ended.set()
            if self._running is job:
                self._running = None
            self._changed.notify_all()
        if job.cancelled.is_set():
            self._on_failed(job.number, JobCancelled())
        elif error is not None:
            self._on_failed(job.number, error)
        else:
            self._on_done(job.number, result)

    def _take(self, process: WorkerProcess, message: Message | None) -> None:
        """Take a message of the process, from its reader thread."""
        job = self._running
        if job is None or process is not self._process:
            return
        if message is None:
            self._died(job, process)
        elif message.get("number") != job.number:
            return
        elif message["kind"] == "taken":
            job.taken = True
        elif message["kind"] == "progress" and not job.cancelled.is_set():
            self._on_progress(job.number, message["share"], message["stage"])
        elif message["kind"] == "failed":
            self._end(job, error=unpack_error(message["error"]))
        elif message["kind"] == "done":
            self._done(job, process, message)

    def _died(self, job: _Job, process: WorkerProcess) -> None:
        if job.taken or job.tries > 1:
            self._end(job, error=process.death())
            return
        with self._changed:
            job.lost = True
            self._changed.notify_all()

    def _done(self, job: _Job, process: WorkerProcess, message: Message) -> None:
        try:
            result = process.result(message)
        except Exception as error:
            self._end(job, error=self._failure(error))
        else:
            self._end(job, result=result)

    def _alive_process(self) -> WorkerProcess:
        """Return the running process, a new one if the last has ended."""
        if self._process is None or not self._process.alive:
            if self._process is not None:
                self._process.close()
            self._process = WorkerProcess(self._take)
        return self._process

    def _start_warm(self, model: str) -> None:
        """Start the process; a failure is told by the next job."""
        try:
            process = self._alive_process()
            if model:
                process.send({"kind": "warm_up", "model": model})
        except OSError:
            return

    def _failure(self, error: Exception) -> WorkerFailed:
        """Return why a message did not cross."""
        if self._process is not None and not self._process.alive:
            return self._process.death()
        return WorkerFailed(
            "worker-unreachable",
            "a compute process that takes and gives messages.",
            f"The message did not cross ({type(error).__name__}: {error}).",
            "See whether the disk for temporary files is full, then try again.",
        )


def _closed_error() -> WorkerFailed:
    return WorkerFailed(
        "closed", "an open client.", "The compute process was closed.", "Open a new window."
    )
