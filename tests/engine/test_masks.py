"""Surfaces lie where the masks are; edited masks are measured again, by the compute process too."""

import numpy as np
import pytest

from napari_ctvlp.core.anatomy import anatomy_from_labels
from napari_ctvlp.core.geometry import oriented_affine, transform
from napari_ctvlp.core.scan import Scan, Source
from napari_ctvlp.engine.masks import remeasure, surfaces

SHAPE = (40, 90, 88)
CENTRE = (18, 40, 50)
RADIUS_MM = 22.0


@pytest.fixture(scope="module", params=[(2.5, 0.8, 0.9), (1.0, 1.2, 1.3)])
def ball(request):
    """A scan with a ball of 22 mm, labelled as the liver, and an empty organ."""
    affine = oriented_affine("IPL", SHAPE, request.param, (12.0, -30.0, 700.0))
    away = (np.indices(SHAPE).T - CENTRE) * request.param
    inside = (away**2).sum(axis=-1).T < RADIUS_MM**2
    scan = Scan(np.where(inside, 60, -100).astype(np.int16), affine, Source((), SHAPE, affine))
    labels = inside.astype(np.uint8) * 3
    names = [(3, "liver"), (4, "spleen")]
    return scan, anatomy_from_labels(labels, scan, names, source="test", reliability="Rough.")


def test_a_surface_lies_where_its_mask_ends(ball):
    scan, anatomy = ball
    found = surfaces(scan, anatomy)
    assert found.names == ("liver",)
    away = np.linalg.norm(found.vertices - transform(scan.affine, CENTRE), axis=1)
    reached = [n for n in range(3) if CENTRE[n] * scan.spacing[n] > RADIUS_MM + 3]
    assert np.median(away) == pytest.approx(RADIUS_MM, abs=0.8)
    for axis in reached:
        row = 2 - axis
        middle = (found.vertices[:, row].max() + found.vertices[:, row].min()) / 2
        assert middle == pytest.approx(transform(scan.affine, CENTRE)[row], abs=0.7)
    assert found.faces_of({"liver"}).shape == found.faces.shape
    assert found.faces_of({"spleen"}).shape == (0, 3)
    assert found.faces.max() == len(found.vertices) - 1 == len(found.owner()) - 1


def test_edited_masks_are_measured_again(ball, worker):
    scan, anatomy = ball
    labels = anatomy.labels.copy()
    labels[:, :, : CENTRE[2]][labels[:, :, : CENTRE[2]] == 3] = 4
    edited = remeasure(
        scan, type(anatomy)(labels, anatomy.affine, anatomy.organs, "test", "Rough.")
    )
    before, after = anatomy.by_name, edited.by_name
    assert after["spleen"].ml + after["liver"].ml == pytest.approx(before["liver"].ml)
    assert after["spleen"].ml > 0.4 * before["liver"].ml
    assert after["spleen"].mean_hu == pytest.approx(60)
    assert edited.reliability == "Edited by hand. Rough."
    assert remeasure(scan, edited).reliability == edited.reliability
    asked = worker.ask("surfaces", scan=scan, anatomy=edited, device="auto")
    assert set(asked.names) == {"liver", "spleen"}
    assert np.array_equal(asked.faces, surfaces(scan, edited).faces)
    assert worker.ask("remeasure", scan=scan, anatomy=edited, device="auto").organs == edited.organs
