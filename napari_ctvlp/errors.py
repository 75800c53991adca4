"""The one family of errors.

Each error says what was expected, what came and what to do, so that the window, the command
line and a notebook can print the same three sentences.
"""

from __future__ import annotations


class CtvlpError(Exception):
    """Base of every error this package raises on purpose.

    Parameters
    ----------
    code : str
        Short machine-readable name, for example ``"truncated"``.
    expected : str
        What the function needs, in words.
    found : str
        What came instead, naming the file, element or value.
    advice : str
        What the user can do about it.
    """

    def __init__(self, code: str, expected: str, found: str, advice: str) -> None:
        super().__init__(f"{found} Expected: {expected} {advice}")
        self.code = code
        self.expected = expected
        self.found = found
        self.advice = advice

    def as_dict(self) -> dict[str, str]:
        """Return the four parts, as the command line prints them."""
        return {
            "code": self.code,
            "expected": self.expected,
            "found": self.found,
            "advice": self.advice,
        }

    def __reduce__(self) -> tuple[type[CtvlpError], tuple[str, str, str, str]]:
        """Pickle by the four parts (errors cross the worker's pipe)."""
        return type(self), (self.code, self.expected, self.found, self.advice)


class InputRefused(CtvlpError):
    """A file, folder or array that cannot be used; nothing was changed (exit code 3)."""


class ModelRefused(CtvlpError):
    """Weights or a card that are missing, corrupt or not what their hash says."""


class JobCancelled(CtvlpError):
    """The user stopped a job; nothing was changed."""

    def __init__(
        self,
        code: str = "cancelled",
        expected: str = "the job to run to its end.",
        found: str = "The job was cancelled.",
        advice: str = "Start it again when you want its result.",
    ) -> None:
        super().__init__(code, expected, found, advice)


class WorkerFailed(CtvlpError):
    """The compute process died or answered nonsense; it is restarted on the next job."""


class OutOfResources(CtvlpError):
    """A run that would not fit in memory, refused before it starts."""
