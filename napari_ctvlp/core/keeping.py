"""What is worked out once and kept with a frozen noun."""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeVar

T = TypeVar("T")


def keep(
    noun: object,
    name: str,
    make: Callable[[], T],
    key: tuple[object, ...] = (),
    same: tuple[object, ...] = (),
) -> T:
    """Return what ``make`` gives, from the last time where that was asked for alike.

    Parameters
    ----------
    noun : object
        A frozen dataclass with the result in an attribute of its own; it goes with the noun.
    name : str
        Of the attribute.
    make : callable
    key : tuple
        What the result depends on beside the noun, compared by value.
    same : tuple
        The same, compared by identity; held, so that no other object takes its place.
    """
    last = vars(noun).get(name)
    if last is None or last[0] != key or [*map(id, last[1])] != [*map(id, same)]:
        last = (key, same, make())
        object.__setattr__(noun, name, last)
    value: T = last[2]
    return value
