"""One compute process, seen from the client: start, send, listen, kill."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tempfile
import threading
import traceback
from collections import OrderedDict
from collections.abc import Callable
from pathlib import Path
from typing import Any, BinaryIO, cast

from numpy.typing import NDArray

from napari_ctvlp.core.anatomy import AnatomyMap
from napari_ctvlp.core.scan import Scan
from napari_ctvlp.engine.compute import cpu_threads
from napari_ctvlp.engine.own_vocabulary import vocabulary_file
from napari_ctvlp.engine.pipes import ArrayFolder, Message, MessageWriter, read_message
from napari_ctvlp.engine.wire import Value, pack, unpack
from napari_ctvlp.errors import WorkerFailed

#: Scans and label maps that stay open in the process.
KEPT_NOUNS = 6
_LOG_LINES = 4


class WorkerProcess:
    """A running ``napari_ctvlp.engine.worker``.

    Parameters
    ----------
    on_message : callable
        Called with this process and each message, and with ``None`` when it has ended, from
        the reader thread.
    """

    def __init__(self, on_message: Callable[[WorkerProcess, Message | None], None]) -> None:
        self._on_message = on_message
        self.folder = Path(tempfile.mkdtemp(prefix="ctvlp-"))
        self._arrays = ArrayFolder(self.folder, "c")
        self._sent: OrderedDict[str, list[str]] = OrderedDict()
        self._log = (self.folder / "worker.log").open("wb")
        self._popen = _start(self.folder, self._log)
        self._stdin = cast("BinaryIO", self._popen.stdin)
        self._stdout = cast("BinaryIO", self._popen.stdout)
        self._writer = MessageWriter(self._stdin)
        self._reader = threading.Thread(target=self._listen, daemon=True)
        self._reader.start()

    @property
    def pid(self) -> int:
        """Process id."""
        return self._popen.pid

    @property
    def alive(self) -> bool:
        """False once it has ended."""
        return self._popen.poll() is None

    def send(self, message: Message) -> None:
        """Send a message; raises ``OSError`` when the process is gone."""
        self._writer.send(message)

    def send_job(self, number: int, verb: str, arguments: dict[str, Value]) -> None:
        """Send a job; scans and label maps cross once, by their content."""
        packed = {name: self._argument(value) for name, value in arguments.items()}
        job = {"kind": "job", "number": number, "verb": verb, "arguments": packed}
        self.send({**job, "vocabulary": str(vocabulary_file())})
        self._forget_oldest()

    def result(self, message: Message) -> Value:
        """Return the noun of a ``done`` message; its files are read and deleted."""
        noun = unpack(message["result"], self._arrays.take)
        if isinstance(noun, AnatomyMap):
            self._sent[noun.content] = []
        return noun

    def kill(self) -> None:
        """End the process at once."""
        self._popen.kill()
        self._popen.wait()

    def close(self, timeout_s: float = 2.0) -> None:
        """Close its input, wait for its end, delete its folder."""
        try:
            self._stdin.close()
        except OSError:
            self._popen.kill()
        try:
            self._popen.wait(timeout_s)
        except subprocess.TimeoutExpired:
            self._popen.kill()
            self._popen.wait()
        if threading.current_thread() is not self._reader:
            self._reader.join()
        self._stdout.close()
        self._log.close()
        shutil.rmtree(self.folder, ignore_errors=True)

    def death(self) -> WorkerFailed:
        """Return the error that says how it ended, with the last lines of its log."""
        text = ""
        log = self.folder / "worker.log"
        if log.is_file():
            text = log.read_text(encoding="utf-8", errors="replace").strip()
        last = " ".join(text.split("\n")[-_LOG_LINES:])
        return WorkerFailed(
            "worker-died",
            "the compute process to answer.",
            f"The compute process ended by itself (code {self._popen.poll()}). {last}".strip(),
            "Try again: it is started anew. If it ends again, memory may be short.",
        )

    def _argument(self, value: Value) -> Value:
        if isinstance(value, Scan):
            return self._by_content(value.digest, value)
        if isinstance(value, AnatomyMap):
            return self._by_content(value.content, value)
        return pack(value, self._arrays.put)

    def _by_content(self, ref: str, noun: Value) -> Message:
        if ref not in self._sent:
            files: list[str] = []

            def put(array: NDArray[Any]) -> str:
                files.append(self._arrays.put(array))
                return files[-1]

            self.send({"kind": "noun", "ref": ref, "noun": pack(noun, put)})
            self._sent[ref] = files
        self._sent.move_to_end(ref)
        return {"ref": ref}

    def _forget_oldest(self) -> None:
        while len(self._sent) > KEPT_NOUNS:
            ref, files = self._sent.popitem(last=False)
            self.send({"kind": "forget", "ref": ref, "files": files})

    def _listen(self) -> None:
        while (message := read_message(self._stdout)) is not None:
            try:
                self._on_message(self, message)
            except Exception:
                traceback.print_exc()
        self._popen.wait()
        self._on_message(self, None)


def _start(folder: Path, log: BinaryIO) -> subprocess.Popen[bytes]:
    """Start the interpreter of this process on the worker module, without a console window."""
    threads = str(cpu_threads())
    environment = {**os.environ, "OMP_NUM_THREADS": threads, "TOKENIZERS_PARALLELISM": "false"}
    return subprocess.Popen(
        [sys.executable, "-m", "napari_ctvlp.engine.worker", str(folder)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=log,
        env=environment,
        creationflags=getattr(subprocess, "CREATE_NO_WINDOW", 0),
    )
