"""What `from qtriton import ...` gives: every name, when it is first used."""

from pathlib import Path

import pytest

import qtriton


@pytest.mark.parametrize("name", qtriton.__all__)
def test_each_public_name_is_there_and_documented(name: str) -> None:
    assert getattr(qtriton, name).__doc__
    assert name in dir(qtriton)


def test_another_name_is_an_attribute_error() -> None:
    with pytest.raises(AttributeError, match="no attribute 'biuld'"):
        qtriton.biuld  # noqa: B018


def test_no_module_takes_the_place_of_a_public_name() -> None:
    """A submodule of the same name would become the attribute as soon as anything imports it."""
    modules = {path.stem for path in Path(qtriton.__file__).parent.iterdir()}
    assert not modules & set(qtriton.__all__)
