"""What the rollout's soak would see: a mixture of two releases, and every other answer that none of them gives."""

import itertools
from pathlib import Path

import numpy as np
import pytest
from answers import Expected, Tally, broken_bars, count, require_different
from pair import make_pair, write_images

from qtriton.errors import InputError
from qtriton.repository.read import Repository
from qtriton.runtime.image import decode
from qtriton.runtime.post import postprocess
from qtriton.runtime.pre import transform
from qtriton.runtime.settings import read_postprocess, read_preprocess
from qtriton.workspace import sha256_file
from qtriton_client import read_images
from qtriton_client.catalog import Pipeline
from qtriton_client.predict import Answer, Results
from qtriton_client.results import Variant
from soak import same

OLD, NEW, OTHER = "0" * 15, "1" * 15, "2" * 15


def expected(release: str, score: float, ensemble: str = "pair_fp32") -> Expected:
    about = Variant(
        ensemble=ensemble, model="pair", title="", task="classification", backend="onnxruntime", precision="fp32",
        method="", metric="", value=None, fp32_value=None, device="CPU", threads=1, pinned_memory=False,
        preprocess="pre", runtime="run", postprocess="post",
    )  # fmt: skip
    return Expected(release, Pipeline(about, "image", "image", (1, 1), ()), (results(score),))


def results(score: float) -> Results:
    return {"scores": np.array([score], np.float32)}


BOTH = {OLD: expected(OLD, 1), NEW: expected(NEW, 2)}


@pytest.mark.parametrize(
    ("answer", "deployed", "told"),
    [
        (Answer(results(1), OLD), {OLD}, ""),
        (Answer(results(2), NEW), {OLD, NEW}, ""),
        ("[UNAVAILABLE] no", {OLD}, "a request failed 1 times: [UNAVAILABLE] no"),
        (Answer(results(2), OLD), {OLD}, f"{OLD} gave another answer than alone, 1 times"),
        (Answer(results(1.5), NEW), {NEW}, f"{NEW} gave another answer than alone, 1 times"),
        (Answer(results(1), OTHER), {OLD}, f"an answer of the release {OTHER}, 1 times"),
        (Answer(results(1), None), {OLD}, "an answer of the release None, 1 times"),
        (Answer(results(1), OLD), {NEW}, f"{OLD} answered 1 requests while it was not deployed"),
    ],
)
def test_every_answer_is_judged(answer: Answer | str, deployed: set[str], told: str) -> None:
    tally = Tally()
    for release, score in ((OLD, 1), (NEW, 2)):
        count(tally, Answer(results(score), release), 0, BOTH, frozenset(BOTH), 0.1)
    count(tally, answer, 0, BOTH, frozenset(deployed), 0.3)
    assert (tally.requests, tally.longest_s) == (3, 0.3)
    assert broken_bars(tally, 3, BOTH) == ([told] if told else [])


def test_a_release_that_never_answered_and_too_few_requests_show_nothing() -> None:
    tally = Tally()
    count(tally, Answer(results(1), OLD), 0, BOTH, frozenset(BOTH), 0.1)
    assert broken_bars(tally, 2, BOTH) == [f"{NEW} never answered: this shows nothing", "only 1 requests"]


@pytest.mark.parametrize(
    ("pair", "told"),
    [
        ([expected(OLD, 1)], "both releases are the same"),
        ([expected(OLD, 1), expected(NEW, 1)], "the same answer"),
        ([expected(OLD, 1), expected(NEW, 2, "other")], "no ensemble of the same name"),
    ],
)
def test_releases_that_cannot_be_told_apart_are_refused(pair: list[Expected], told: str) -> None:
    with pytest.raises(InputError, match=told):
        require_different(pair)


def test_a_mixture_of_the_made_releases_gives_numbers_of_its_own(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With the steps themselves: each of the eight chains that two releases could form answers otherwise."""
    monkeypatch.setenv("QTRITON_CACHE", str(tmp_path / "cache"))
    releases = make_pair(tmp_path)
    assert all(release.name == sha256_file(release / "RELEASE.json") for release in releases)
    for image in read_images(write_images(tmp_path / "images")):
        answers = [chain(image, *steps) for steps in itertools.product(releases, repeat=3)]
        assert not any(same(*two) for two in itertools.combinations(answers, 2))


def chain(image: bytes, pre: Path, runtime: Path, post: Path) -> Results:
    """What the steps of these releases would answer."""
    import onnxruntime

    ensemble = "pair_onnxruntime_fp32"
    before = read_preprocess(Repository(pre).version("pair_preprocess"))
    frame = transform(decode(image, before.max_pixels, rgb=False), before.ops)
    model = Repository(runtime).version(f"{ensemble}_runtime") / "model.onnx"
    session = onnxruntime.InferenceSession(str(model), providers=["CPUExecutionProvider"])
    outputs = session.run(None, {"image": frame.pixels[np.newaxis]})
    behind = read_postprocess(Repository(post).version("pair_postprocess"))
    return postprocess([output[0] for output in outputs], frame.geometry, behind.ops)
