"""The long-lived process that owns torch: ``python -m napari_ctvlp.engine.worker FOLDER``.

Messages come and go through standard input and output (:mod:`napari_ctvlp.engine.pipes`);
whatever else would print goes to standard error. Arrays lie in ``FOLDER``, which belongs to
one client and is deleted when the process ends. It ends when its input closes.
"""

from __future__ import annotations

import contextlib
import os
import queue
import shutil
import sys
import threading
import traceback
from collections.abc import Callable
from importlib import import_module
from pathlib import Path
from typing import BinaryIO

from napari_ctvlp.core.anatomy import AnatomyMap
from napari_ctvlp.core.encoding import Encoding, EncodingSummary, summary_of
from napari_ctvlp.engine import own_vocabulary
from napari_ctvlp.engine.jobs import CancelToken, cancellable
from napari_ctvlp.engine.pipes import ArrayFolder, Message, MessageWriter, read_message
from napari_ctvlp.engine.wire import Value, pack, pack_error, unpack
from napari_ctvlp.errors import CtvlpError, JobCancelled, OutOfResources, WorkerFailed

#: What a client may ask for, by name.
VERBS = (
    "open_radiograph", "ground_radiograph",
    "open_scan", "segment", "encode", "ground", "score", "attention", "surfaces", "remeasure",
    "finding", "verdicts",
    "report", "draft", "fetch_model", "import_model", "verify_model", "align", "embed", "adopt",
    "cut", "alike", "evaluate_folder",
    "place_words", "phrase_words", "place_attention", "phrase_relevance", "sensitivity",
    "check_weights", "check_voxels", "check_organs",
)  # fmt: skip
ASKING = "evidence.asking"
#: Modules of the engine that verbs are of; the others are of ``engine/verbs.py``.
HOMES = {
    "finding": "by_organ", "verdicts": "by_organ",
    "report": "reporting", "draft": "reporting", "cut": "marking", "alike": "marking",
    "evaluate_folder": "evaluating", "place_words": ASKING, "phrase_words": ASKING,
    "place_attention": ASKING, "phrase_relevance": ASKING, "sensitivity": ASKING,
    "check_weights": ASKING, "check_voxels": ASKING, "check_organs": ASKING,
}  # fmt: skip


class Worker:
    """Runs one job at a time on the main thread; a second thread listens.

    Parameters
    ----------
    source, target : binary file
        Messages in and out.
    folder : Path
        Where arrays lie.
    """

    def __init__(self, source: BinaryIO, target: BinaryIO, folder: Path) -> None:
        self._source = source
        self._writer = MessageWriter(target)
        self._folder = folder
        self._arrays = ArrayFolder(folder, "w")
        self._inbox: queue.SimpleQueue[Message] = queue.SimpleQueue()
        self._tokens: dict[int, CancelToken] = {}
        self._nouns: dict[str, Value] = {}

    def serve(self) -> None:
        """Answer messages until the input closes; never returns."""
        threading.Thread(target=self._listen, daemon=True).start()
        self._writer.send({"kind": "ready", "pid": os.getpid()})
        while True:
            message = self._inbox.get()
            if message["kind"] == "noun":
                self._nouns[message["ref"]] = unpack(message["noun"], self._arrays.map)
            elif message["kind"] == "forget":
                self._nouns.pop(message["ref"], None)
                for name in message["files"]:
                    self._arrays.drop(name)
            elif message["kind"] == "job":
                self._answer(message)

    def _listen(self) -> None:
        """Read messages; the end of the input, or a broken one, ends the process."""
        try:
            self._read_all()
        finally:
            shutil.rmtree(self._folder, ignore_errors=True)
            os._exit(0)

    def _read_all(self) -> None:
        """Put messages into the inbox; a cancel acts at once."""
        while (message := read_message(self._source)) is not None:
            number = message.get("number", 0)
            if message["kind"] == "cancel":
                self._tokens.setdefault(number, CancelToken()).cancel()
            elif message["kind"] == "warm_up":
                threading.Thread(target=_warm_up, args=(message["model"],), daemon=True).start()
            else:
                self._inbox.put(message)

    def _answer(self, message: Message) -> None:
        """Run one job and send its result or its error, never both."""
        number = message["number"]
        token = self._tokens.setdefault(number, CancelToken())
        self._writer.send({"kind": "taken", "number": number})
        try:
            result = pack(self._run(message, token), self._arrays.put)
            answer = {"kind": "done", "number": number, "result": result}
        except BaseException as error:
            answer = {"kind": "failed", "number": number, "error": pack_error(_as_error(error))}
        self._writer.send(answer)
        self._tokens.pop(number, None)

    def _run(self, message: Message, token: CancelToken) -> Value:
        number = message["number"]

        def progress(share: float, stage: str) -> None:
            self._writer.send(
                {"kind": "progress", "number": number, "share": share, "stage": stage}
            )

        token.check()
        if message.get("vocabulary"):
            with contextlib.suppress(CtvlpError):  # the window tells; the words from before stay
                own_vocabulary.refresh(Path(message["vocabulary"]))
        if message["verb"] not in VERBS:
            raise _unknown_verb(message["verb"])
        home = import_module(f"napari_ctvlp.engine.{HOMES.get(message['verb'], 'verbs')}")
        verb: Callable[..., Value] = getattr(home, message["verb"])
        arguments = {name: self._argument(value) for name, value in message["arguments"].items()}
        result = verb(**arguments, progress=cancellable(progress, token))
        token.check()
        return self._kept_here(result)

    def _argument(self, value: Value) -> Value:
        """Find a noun that was sent before; an encoding is found again by its verb."""
        if isinstance(value, dict) and "ref" in value:
            return self._nouns[value["ref"]]
        argument = unpack(value, self._arrays.take)
        return None if isinstance(argument, EncodingSummary) else argument

    def _kept_here(self, result: Value) -> Value:
        """Return what crosses the pipe: tokens stay and a summary goes, labels stay as well."""
        if isinstance(result, AnatomyMap):
            self._nouns[result.content] = result
        return summary_of(result) if isinstance(result, Encoding) else result


def main() -> None:
    """Start the process; the only argument is the folder of arrays."""
    folder = Path(sys.argv[1])
    source, target = _claim_pipes()
    try:
        Worker(source, target, folder).serve()
    except BrokenPipeError:
        shutil.rmtree(folder, ignore_errors=True)


def _claim_pipes() -> tuple[BinaryIO, BinaryIO]:
    """Take standard input and output for messages; print and libraries get standard error."""
    source = os.fdopen(os.dup(0), "rb")
    target = os.fdopen(os.dup(1), "wb")
    empty = os.open(os.devnull, os.O_RDONLY)
    os.dup2(empty, 0)
    os.close(empty)
    os.dup2(2, 1)
    sys.stdout = sys.stderr
    return source, target


def _warm_up(model: str) -> None:
    """Load what phrases need; a failure is told by the first job that needs it."""
    from napari_ctvlp.engine import verbs

    with contextlib.suppress(CtvlpError):
        verbs.warm_up(model)


def _as_error(error: BaseException) -> CtvlpError:
    """Return the error in the house's words; an unforeseen one is logged with its trace."""
    if isinstance(error, CtvlpError):
        return error
    traceback.print_exception(error, file=sys.stderr)
    if isinstance(error, MemoryError) or "out of memory" in str(error).lower():
        return OutOfResources(
            "memory",
            "enough memory for the run.",
            f"The memory ran out ({error}).",
            "Close other programs, or open a smaller part of the scan.",
        )
    if isinstance(error, KeyboardInterrupt):
        return JobCancelled()
    return WorkerFailed(
        "unexpected",
        "the job to run to its end.",
        f"{type(error).__name__}: {error}.",
        "Report this with the log; the scan and earlier results are unchanged.",
    )


def _unknown_verb(verb: str) -> CtvlpError:
    return WorkerFailed(
        "unknown-verb", f"one of {', '.join(VERBS)}.", f"The verb is {verb!r}.", "Report this."
    )


if __name__ == "__main__":
    main()
