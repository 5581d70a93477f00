"""Non-maximum suppression against its definition, written anew here, one pair of boxes after the other."""

from dataclasses import replace
from fractions import Fraction
from typing import Any, Final, NamedTuple, TypeAlias

import numpy as np
import numpy.typing as npt
from hypothesis import assume, given
from hypothesis import strategies as st

from qtriton.runtime.detections import Nms, suppress
from qtriton.runtime.end2end import Detections
from qtriton.runtime.pre import Geometry
from qtriton.runtime.values import Candidates, Results

Array: TypeAlias = npt.NDArray[Any]
Box: TypeAlias = tuple[float, float, float, float]

#: It maps exactly what lies on a grid of whole pixels, and clips some of it.
GEOMETRY: Final = Geometry(height=5, width=6, scale_x=2, scale_y=2, pad_x=1, pad_y=2)


class Found(NamedTuple):
    """A detection in pixels of the model, and the row that it came from."""

    row: int
    label: int
    score: float


def iou(one: Box, two: Box) -> Fraction:
    """Exactly; two boxes without an area have nothing in common."""
    one_, two_ = (tuple(map(Fraction, box)) for box in (one, two))
    width = max(min(one_[2], two_[2]) - max(one_[0], two_[0]), Fraction(0))
    height = max(min(one_[3], two_[3]) - max(one_[1], two_[1]), Fraction(0))
    union = area(one) + area(two) - width * height
    return width * height / union if union else Fraction(0)


def area(box: Box) -> Fraction:
    left, top, right, bottom = map(Fraction, box)
    return max(right - left, Fraction(0)) * max(bottom - top, Fraction(0))


def over_threshold(scores: list[list[float]], op: Nms) -> list[Found]:
    """What is looked at, best first, ties in the order of rows and then of classes."""
    pairs = []
    for row, of_row in enumerate(scores):
        labels = range(len(of_row)) if op.multi_label else [of_row.index(max(of_row))]
        pairs += [Found(row, label, of_row[label]) for label in labels if of_row[label] > op.score_threshold]
    return sorted(pairs, key=lambda found: -found.score)[: op.candidates]


def reference(boxes: list[Box], scores: list[list[float]], op: Nms) -> list[Found]:
    kept: list[Found] = []
    for one in over_threshold(scores, op):
        same = [two for two in kept if two.label == one.label]
        if all(iou(boxes[one.row], boxes[two.row]) <= op.iou_threshold for two in same):
            kept.append(one)
    return kept[: op.detections]


def there(box: Box) -> list[float]:
    """A box in the original image of GEOMETRY."""
    x = [min(max((each - GEOMETRY.pad_x) / GEOMETRY.scale_x, 0), GEOMETRY.width) for each in box[::2]]
    y = [min(max((each - GEOMETRY.pad_y) / GEOMETRY.scale_y, 0), GEOMETRY.height) for each in box[1::2]]
    return [x[0], y[0], x[1], y[1]]


def candidates(boxes: list[Box], scores: list[list[float]], classes: int) -> Candidates:
    return Candidates(
        np.array(boxes, np.float32).reshape(-1, 4), np.array(scores, np.float32).reshape(len(boxes), classes)
    )


def rows(results: Results) -> list[tuple[Any, ...]]:
    """Class, score and box of each detection, once the padding is seen to be zero."""
    count = int(results["num_detections"][0])
    for name in ("boxes", "scores", "classes"):
        assert not results[name][count:].any()
    found = zip(results["classes"], results["scores"], results["boxes"], strict=True)
    return [(int(label), float(score), *box.tolist()) for label, score, box in found][:count]


# On a grid with few values there are ties, equal boxes and an IoU of just the threshold, and float32 is exact.
grid = st.integers(0, 12)
length = st.integers(0, 6)
boxes_on_grid = st.builds(lambda x, y, w, h: (x, y, x + w, y + h), grid, grid, length, length)
sixteenths = st.integers(0, 16).map(lambda each: each / 16)


@st.composite
def given_rows(draw: st.DrawFn) -> tuple[list[Box], list[list[float]], int]:
    """Boxes, their scores for each class, and the number of classes."""
    classes = draw(st.integers(1, 3))
    pairs = draw(st.lists(st.tuples(boxes_on_grid, st.lists(sixteenths, min_size=classes, max_size=classes))))
    return [box for box, _ in pairs], [scores for _, scores in pairs], classes


many = st.just(1000)
settings_of_nms = st.builds(
    Nms,
    score_threshold=sixteenths,
    iou_threshold=st.sampled_from([0, 0.125, 0.25, 0.5, 0.75, 1]),
    detections=st.one_of(many, st.integers(1, 5)),
    candidates=st.one_of(many, st.integers(1, 5)),
    multi_label=st.booleans(),
)
unbound = settings_of_nms.map(lambda op: replace(op, detections=1000, candidates=1000))


@given(given_rows(), settings_of_nms)
def test_nms_is_its_definition(drawn: tuple[list[Box], list[list[float]], int], op: Nms) -> None:
    boxes, scores, _ = drawn
    expected = [(found.label, found.score, *there(boxes[found.row])) for found in reference(boxes, scores, op)]

    results = op(candidates(*drawn), GEOMETRY)

    assert rows(results) == expected
    assert {name: (str(array.dtype), array.shape) for name, array in results.items()} == {
        "num_detections": ("int32", (1,)),
        "boxes": ("float32", (op.detections, 4)),
        "scores": ("float32", (op.detections,)),
        "classes": ("int32", (op.detections,)),
    }


@given(given_rows(), settings_of_nms)
def test_detections_are_few_enough_and_best_first(drawn: tuple[list[Box], list[list[float]], int], op: Nms) -> None:
    found = rows(op(candidates(*drawn), GEOMETRY))

    assert len(found) <= min(op.detections, op.candidates)
    scores = [score for _, score, *_ in found]
    assert scores == sorted(scores, reverse=True)
    assert all(score > op.score_threshold for score in scores)


class Sorted(NamedTuple):
    """What suppress() takes, best first."""

    boxes: Array
    scores: Array
    classes: Array

    def only(self, places: Array) -> "Sorted":
        return Sorted(self.boxes[places], self.scores[places], self.classes[places])


@st.composite
def sorted_boxes(draw: st.DrawFn) -> Sorted:
    """Boxes of any size, in eighths of a pixel; a few are the wrong way round, as a model may say what it likes."""
    place, size = st.integers(-80, 800), st.one_of(st.integers(0, 400), st.integers(-40, 400))
    drawn = draw(st.lists(st.tuples(place, place, size, size, st.floats(0, 1, width=32), st.integers(0, 2))))
    drawn.sort(key=lambda each: -each[4])
    boxes = np.array([(x, y, x + w, y + h) for x, y, w, h, _, _ in drawn], np.float32).reshape(-1, 4) / 8
    return Sorted(boxes, np.array([each[4] for each in drawn], np.float32), np.array([each[5] for each in drawn], int))


@given(sorted_boxes(), st.floats(0, 1))
def test_what_is_kept_overlaps_little_and_what_is_dropped_overlaps_a_better_one(
    drawn: Sorted, threshold: float
) -> None:
    boxes, scores, classes = drawn
    overlap = [[float(iou(tuple(one), tuple(two))) for two in boxes.tolist()] for one in boxes.tolist()]

    kept = suppress(boxes, scores, classes, threshold, 1000)

    assert kept.dtype == np.int64
    assert (np.diff(kept) > 0).all()
    for place in range(len(boxes)):
        better = [other for other in kept.tolist() if other < place and classes[other] == classes[place]]
        most = max((overlap[place][other] for other in better), default=0.0)
        assert most <= threshold + 1e-5 if place in kept else most > threshold - 1e-5


@given(sorted_boxes(), st.floats(0, 1))
def test_the_classes_do_not_know_of_each_other(drawn: Sorted, threshold: float) -> None:
    kept = suppress(*drawn, threshold, 1000)

    classes = drawn[2]
    for label in range(3):
        own = np.flatnonzero(classes == label)
        alone = own[suppress(*drawn.only(own), threshold, 1000)]
        assert alone.tolist() == kept[classes[kept] == label].tolist()


@given(sorted_boxes(), st.floats(0, 1), st.integers(0, 10), st.integers(0, 10))
def test_a_lower_cap_keeps_the_first_of_a_higher_one(drawn: Sorted, threshold: float, most: int, more: int) -> None:
    kept = suppress(*drawn, threshold, most + more).tolist()

    assert suppress(*drawn, threshold, most).tolist() == kept[:most]


@given(sorted_boxes(), st.floats(0, 1), st.data())
def test_what_is_not_finite_is_as_if_it_were_not_there(drawn: Sorted, threshold: float, data: st.DataObject) -> None:
    boxes, scores, classes = (each.copy() for each in drawn)
    broken = np.array(data.draw(st.lists(st.booleans(), min_size=len(scores), max_size=len(scores))), bool)
    for place in np.flatnonzero(broken):
        odd = data.draw(st.sampled_from([np.nan, np.inf, -np.inf]))
        column = data.draw(st.integers(0, 4))
        if column == 4:
            scores[place] = odd
        else:
            boxes[place, column] = odd

    with np.errstate(invalid="ignore"):
        kept = suppress(boxes, scores, classes, threshold, 1000)

    whole = np.flatnonzero(~broken)
    assert kept.tolist() == whole[suppress(*drawn.only(whole), threshold, 1000)].tolist()


@given(given_rows(), settings_of_nms, st.randoms(use_true_random=False))
def test_the_order_of_the_rows_does_not_matter_where_no_scores_are_equal(
    drawn: tuple[list[Box], list[list[float]], int], op: Nms, random: Any
) -> None:
    boxes, scores, classes = drawn
    assume(boxes)
    steps = iter(random.sample(range(1, 1000), len(boxes) * classes))
    scores = [[next(steps) / 1024 for _ in row] for row in scores]
    order = random.sample(range(len(boxes)), len(boxes))

    straight = op(candidates(boxes, scores, classes), GEOMETRY)
    mixed = op(candidates([boxes[row] for row in order], [scores[row] for row in order], classes), GEOMETRY)

    assert rows(straight) == rows(mixed)


@given(given_rows(), unbound, sixteenths)
def test_a_higher_score_threshold_only_cuts_off_the_end(
    drawn: tuple[list[Box], list[list[float]], int], op: Nms, higher: float
) -> None:
    assume(higher >= op.score_threshold)

    found = rows(op(candidates(*drawn), GEOMETRY))
    fewer = rows(replace(op, score_threshold=higher)(candidates(*drawn), GEOMETRY))

    assert fewer == [each for each in found if each[1] > higher]


@given(given_rows(), unbound)
def test_the_best_of_each_class_is_kept_and_nothing_is_dropped_at_a_threshold_of_1(
    drawn: tuple[list[Box], list[list[float]], int], op: Nms
) -> None:
    """A higher IoU threshold need not keep more: who is kept may suppress two others. But these are its ends."""
    boxes, scores, _ = drawn
    looked_at = over_threshold(scores, op)

    found = rows(op(candidates(*drawn), GEOMETRY))
    everything = rows(replace(op, iou_threshold=1)(candidates(*drawn), GEOMETRY))

    for label in {each.label for each in looked_at}:
        best = next(each for each in looked_at if each.label == label)
        assert (label, best.score, *there(boxes[best.row])) == next(each for each in found if each[0] == label)
    assert everything == [(each.label, each.score, *there(boxes[each.row])) for each in looked_at]


numbers = st.one_of(st.integers(-8, 20).map(float), st.sampled_from([np.nan, np.inf, -np.inf]))
of_a_model = st.tuples(st.integers(-1, 3).map(float), st.one_of(sixteenths, numbers), *[numbers] * 4)


@given(st.lists(of_a_model), sixteenths, st.integers(1, 10))
def test_detections_of_a_model_with_nms_inside_are_sorted_clipped_and_padded(
    drawn: list[tuple[float, ...]], threshold: float, most: int
) -> None:
    good = [row for row in drawn if np.isfinite(row).all() and row[0] >= 0 and row[1] > threshold]
    good.sort(key=lambda row: -row[1])
    limits = (GEOMETRY.width, GEOMETRY.height) * 2
    expected = [(*row[:2], *(min(max(x, 0), limit) for x, limit in zip(row[2:], limits, strict=True))) for row in good]

    results = Detections((100, 100), score_threshold=threshold, detections=most)(
        [np.array(drawn, np.float32).reshape(-1, 6)], GEOMETRY
    )

    assert rows(results) == expected[:most]
