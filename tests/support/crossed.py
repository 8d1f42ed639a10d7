"""Parametrises tests by every value of two parameters, but not by every pair."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import pytest

_Parameter = type(pytest.param())


def crossed(first: Sequence[Any], second: Sequence[Any]) -> list[Any]:
    """All of `first` with the first of `second`, and all of `second` with the first of `first`.

    Items are values or `pytest.param`s.
    """
    pairs = [(each, second[0]) for each in first] + [(first[0], each) for each in second[1:]]
    return [_joined(*pair) for pair in pairs]


def _joined(*pair: Any) -> Any:
    parameters = [each if isinstance(each, _Parameter) else pytest.param(each) for each in pair]
    values = [value for each in parameters for value in each.values]
    return pytest.param(*values, id="-".join(f"{each.id or each.values[0]}" for each in parameters))
