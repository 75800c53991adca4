"""``find``: scans ranked by a phrase, by the vectors of the organs the phrase belongs to."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from napari_ctvlp.cohort.store import Store, check_usable
from napari_ctvlp.cohort.thresholds import Limits, limits_of
from napari_ctvlp.core.phrase import Phrase
from napari_ctvlp.core.vocabulary import findings, places
from napari_ctvlp.errors import InputRefused

Vectors = NDArray[np.float32]
#: Name under which the mean of all tokens stands among the organs.
WHOLE = ""


class Found(NamedTuple):
    """One scan of a ranking.

    Attributes
    ----------
    rank : int
        From 1.
    scan : str
        Its number in the store.
    organ : str
        The organ that was most like the phrase (least, for a negated one).
    score : float
        Its vector's product with the phrase's.
    percentile : float
        Per cent of the store's scans that are less like the phrase.
    answer : {"present", "absent", "cannot tell"}
        By the store's limits.
    """

    rank: int
    scan: str
    organ: str
    score: float
    percentile: float
    answer: str


@dataclass(frozen=True)
class Ranking:
    """The answer to a phrase.

    Attributes
    ----------
    rows : tuple of Found
        Best first; for a negated phrase, those least like the finding.
    phrase : Phrase
    organs : tuple of str
        Organs that were looked at.
    judged : int
        Scans of the store that have one of them.
    limits : Limits
        Where the answers come from.
    """

    rows: tuple[Found, ...]
    phrase: Phrase
    organs: tuple[str, ...]
    judged: int
    limits: Limits


class Index:
    """The vectors of a store in memory, one matrix for each organ.

    Parameters
    ----------
    store : Store
        Its ``vectors`` and ``scans`` must be whole.

    Attributes
    ----------
    scans : list of str
        Scans that are done, in order.
    rows : dict of str to ndarray
        Organ to places in ``scans``, shape (n,).
    vectors : dict of str to ndarray
        Organ to vectors, shape (n, c), float32.
    """

    def __init__(self, store: Store) -> None:
        check_usable(store, ("scans", "vectors"))
        self.store = store
        self.connection = store.connect()
        done = "SELECT scan FROM scans WHERE state = 'done' ORDER BY scan"
        self.scans = [scan for (scan,) in self.connection.execute(done).fetchall()]
        counted = self.connection.execute(
            "SELECT organ, count(*), max(len(vector)) FROM vectors "
            f"WHERE scan IN ({done}) GROUP BY organ"
        ).fetchall()
        self.rows = {organ: np.empty(n, np.int64) for organ, n, _ in counted}
        self.vectors = {organ: np.empty((n, width), np.float32) for organ, n, width in counted}
        self._fill(done)
        self._wide = False

    def rank(
        self,
        phrase: Phrase,
        vector: Vectors,
        organs: Sequence[str],
        *,
        where: str = "",
        top: int | None = None,
    ) -> Ranking:
        """Rank by exact products of vectors.

        Parameters
        ----------
        phrase : Phrase
        vector : ndarray, shape (c,)
            Of ``phrase.query``, by the store's model.
        organs : sequence of str
            Looked at; see :func:`organs_of`.
        where : str
            SQL condition over :func:`wide`'s columns; percentiles stay those of the whole store.
        top : int, optional
            Only so many.
        """
        scores, best = self.scores(vector, organs, negated=phrase.negated)
        judged = np.flatnonzero(np.isfinite(scores))
        percentile = _percentiles(scores, judged)
        limits = limits_of(self.connection, self.store, phrase, self.scans, scores)
        order = judged[np.argsort(-scores[judged], kind="stable")]
        if phrase.negated:
            order = judged[np.argsort(scores[judged], kind="stable")]
        if where.strip():
            order = order[self._allowed(where)[order]]
        shown = order[:top]
        columns = (
            range(1, len(shown) + 1),
            map(self.scans.__getitem__, shown.tolist()),
            map(organs.__getitem__, best[shown].tolist()),
            scores[shown].tolist(),
            percentile[shown].tolist(),
            limits.answers(scores[shown]),
        )
        rows = tuple(map(Found._make, zip(*columns, strict=True)))
        return Ranking(rows, phrase, tuple(organs), len(judged), limits)

    def scores(
        self, vector: Vectors, organs: Sequence[str], *, negated: bool = False
    ) -> tuple[NDArray[np.float32], NDArray[np.intp]]:
        """Return the highest product over organs and the place of that organ, one for each scan.

        A negated phrase holds only where the finding is in none of the organs, so the highest
        product counts for it too. Scans without any of the organs get -inf.
        """
        scores = np.full(len(self.scans), -np.inf, np.float32)
        best = np.zeros(len(self.scans), np.intp)
        for place, organ in enumerate(organs):
            products, rows = self.vectors[organ] @ vector, self.rows[organ]
            higher = products > scores[rows]
            scores[rows[higher]] = products[higher]
            best[rows[higher]] = place
        return scores, best

    def _fill(self, done: str) -> None:
        """Read the vectors batch by batch, so that they are in memory once."""
        place = {scan: number for number, scan in enumerate(self.scans)}
        filled = dict.fromkeys(self.rows, 0)
        query = f"SELECT scan, organ, vector FROM vectors WHERE scan IN ({done})"
        reader = self.connection.sql(query).to_arrow_reader(50_000)
        for batch in reader:
            organs = np.asarray(batch.column(1).to_pylist(), dtype=object)
            scans = np.array([place[scan] for scan in batch.column(0).to_pylist()], np.int64)
            lists = batch.column(2)
            values, ends = lists.flatten().to_numpy(), np.cumsum(lists.value_lengths().to_numpy())
            starts = ends - lists.value_lengths().to_numpy()
            for organ in set(organs.tolist()):
                own = np.flatnonzero(organs == organ)
                width, begin = self.vectors[organ].shape[1], filled[organ]
                inside = starts[own, None] + np.arange(width)
                self.rows[organ][begin : begin + len(own)] = scans[own]
                self.vectors[organ][begin : begin + len(own)] = values[inside]
                filled[organ] += len(own)

    def _allowed(self, where: str) -> NDArray[np.bool_]:
        """Return which scans a SQL condition lets through, shape (scans,)."""
        place = {scan: number for number, scan in enumerate(self.scans)}
        chosen = np.zeros(len(self.scans), np.bool_)
        for scan in self.select(where):
            if scan in place:
                chosen[place[scan]] = True
        return chosen

    def select(self, where: str) -> list[str]:
        """Return the scans that a SQL condition lets through.

        Raises
        ------
        InputRefused
            ``bad-where`` when DuckDB does not take it.
        """
        self.prepare()
        query = f"SELECT scan FROM wide WHERE {where}"
        return [scan for (scan,) in asked(self.connection, query).fetchall()]

    def prepare(self) -> None:
        """Make the wide table, once."""
        if not self._wide:
            widen(self.connection)
            self._wide = True


def widen(connection: Any) -> None:
    """Make the table ``wide``: a row for each scan with ``liver_ml``, ``label_x``, ``mark``.

    Parameters
    ----------
    connection : DuckDB connection
        Of :meth:`napari_ctvlp.cohort.store.Store.connect`.
    """
    names = [name for (name,) in connection.execute("SELECT DISTINCT name FROM labels").fetchall()]
    pivots = (
        "SELECT s.* EXCLUDE (affine), m.mark, m.date AS mark_date FROM scans s "
        "LEFT JOIN marks m USING (scan)"
    )
    connection.execute(f"CREATE TEMP TABLE plain AS {pivots}")
    connection.execute(
        "CREATE TEMP TABLE organ_columns AS PIVOT (SELECT * FROM organs) ON organ "
        "USING first(ml) AS ml, first(mean_hu) AS hu, first(complete) AS complete GROUP BY scan"
    )
    columns = [
        f"max(value) FILTER (WHERE name = {_text(name)}) AS {_identifier('label_' + name)}"
        for name in sorted(names)
    ]
    chosen = ", ".join(["scan", *columns])
    connection.execute(
        f"CREATE TEMP TABLE label_columns AS SELECT {chosen} FROM labels GROUP BY scan"
    )
    connection.execute(
        "CREATE TEMP TABLE wide AS SELECT * FROM plain "
        "LEFT JOIN organ_columns USING (scan) LEFT JOIN label_columns USING (scan) ORDER BY scan"
    )


def asked(connection: Any, query: str) -> Any:
    """Run a query of the user's.

    Raises
    ------
    InputRefused
        ``bad-where`` with DuckDB's first line.
    """
    try:
        return connection.execute(query)
    except Exception as error:  # duckdb.Error has many children
        raise InputRefused(
            "bad-where",
            "a condition in SQL over the columns of the store, such as liver_ml > 2000.",
            f"DuckDB says: {str(error).splitlines()[0]}",
            "docs/cohorts.md lists the columns.",
        ) from None


def organs_of(phrase: Phrase, known: Sequence[str], settings: Mapping[str, Any]) -> list[str]:
    """Return the model's organs that a phrase is about, of those the store knows.

    The place the phrase names with its side; else the organs of its finding; else all; without
    any organ the mean of all tokens.

    Parameters
    ----------
    phrase : Phrase
    known : sequence of str
        Organs with vectors.
    settings : mapping
        The card's; ``settings.organs`` names the model's organs by house names.
    """
    house = settings.get("organs", {})
    own = {organ: {organ, *house.get(organ, ())} for organ in known if organ != WHOLE}
    place, finding = places().get(phrase.anatomy), findings().get(phrase.finding)
    wanted: list[set[str]] = [{place.name, *place.members}] if place else []
    wanted += [{*finding.organs}] if finding else []
    for names in wanted:
        hits = [organ for organ, members in own.items() if members & names]
        sided = [organ for organ in hits if _on_side(own[organ], phrase.side)]
        if sided or hits:
            return sided or hits
    return list(own) or [WHOLE]


def _on_side(members: set[str], side: str) -> bool:
    """Say whether an organ lies on a side; one without a side lies on both."""
    other = {"left": "_right", "right": "_left"}.get(side, "?")
    return not all(name.endswith(other) for name in members)


def _percentiles(scores: NDArray[np.float32], judged: NDArray[np.intp]) -> NDArray[np.float64]:
    """Return per cent of judged scans with a lower score, NaN for the others."""
    out = np.full(len(scores), np.nan)
    ranked = np.sort(scores[judged])
    out[judged] = 100.0 * np.searchsorted(ranked, scores[judged]) / max(1, len(judged))
    return out


def find(
    store: Store | Index, text: str, *, where: str = "", top: int | None = None,
    device: str = "auto",
) -> Ranking:  # fmt: skip
    """Rank the scans of a store by a phrase.

    Parameters
    ----------
    store : Store or Index
        An index answers faster the second time.
    text : str
        As for ``ground``; side and negation are understood.
    where : str
        SQL condition, for example ``"liver_ml > 2000"``.
    top : int, optional
        Only so many.
    device : str

    Raises
    ------
    InputRefused
        For a store or a condition that cannot be used.
    ModelRefused
        When the model is not the one the store was made with.
    """
    from napari_ctvlp.core.parser import parse
    from napari_ctvlp.engine import verbs
    from napari_ctvlp.models import store as models

    index = store if isinstance(store, Index) else Index(store)
    check_weights(index.store)
    model = index.store.info["model"]
    phrase = parse(text)
    vector = verbs.embed(text, model=model, device=device)
    organs = organs_of(phrase, list(index.vectors), models.card(model).settings)
    return index.rank(phrase, vector, organs, where=where, top=top)


def check_weights(store: Store) -> None:
    """Refuse phrases of another model than the one that made a store.

    Raises
    ------
    InputRefused
        ``store-stale``.
    """
    from napari_ctvlp.models import store as models

    digest = models.model_digest(models.card(store.info["model"]))
    connection = store.connect()
    query = "SELECT count(*) FROM scans WHERE state = 'done' AND model_digest <> ?"
    (other,) = connection.execute(query, [digest]).fetchone()
    connection.close()
    if other:
        raise InputRefused(
            "store-stale",
            "a store made with the weights that are installed.",
            f"{other} of its scans were made with other weights of {store.info['model']!r}.",
            "Run ctvlp batch again: it computes just those anew.",
        )


def _text(value: str) -> str:
    return "'" + value.replace("'", "''") + "'"


def _identifier(name: str) -> str:
    return '"' + re.sub(r"\W", "_", name) + '"'
