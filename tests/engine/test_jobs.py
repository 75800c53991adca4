"""Progress, cancellation, request numbers."""

import threading

import pytest

from napari_ctvlp.engine.jobs import CancelToken, RequestNumbers, cancellable, part
from napari_ctvlp.errors import JobCancelled


def test_cancelled_work_stops_at_its_next_report():
    token, told = CancelToken(), []
    progress = cancellable(lambda share, stage: told.append(share), token)
    progress(0.1, "one")
    token.cancel()
    with pytest.raises(JobCancelled):
        progress(0.2, "two")
    assert told == [0.1]


def test_a_flood_of_reports_is_thinned_but_each_stage_is_told():
    told = []
    progress = cancellable(lambda share, stage: told.append(stage), CancelToken())
    for step in range(1000):
        progress(step / 1000, "first" if step < 500 else "second")
    assert set(told) == {"first", "second"}
    assert len(told) < 1000


def test_part_of_a_job_fills_its_own_share():
    told = []
    progress = part(lambda share, stage: told.append(share), 0.4, 0.9)
    progress(0.0, "")
    progress(1.0, "")
    assert told == pytest.approx([0.4, 0.9])


def test_numbers_are_never_given_twice():
    numbers, given = RequestNumbers(), []
    threads = [
        threading.Thread(target=lambda: given.extend(numbers.next() for _ in range(200)))
        for _ in range(4)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(set(given)) == 800
