"""Every rule of check has a case in the list that breaks it, and a twin that differs in the fault alone."""

from collections import Counter

import pytest

from e2e.check_cases import CASES, Case
from e2e.check_cases.pairs import NOT_RUN, PAIRS
from qtriton.repository.check import ALL_RULES, Severity
from qtriton.repository.check.engines import ENGINE_RULES
from qtriton.repository.check.published import PUBLISHED_RULES
from qtriton.repository.check.rtx import RTX_RULES
from qtriton.repository.check.rules import Rule

#: What qtriton has published has tests of its own: these rules are none of the server's.
OURS = {rule.id for rule in (*PUBLISHED_RULES, *ENGINE_RULES, *RTX_RULES)}
NAMED = {case.name: case for case in CASES}


def files(case: Case) -> Counter[object]:
    """What stands in a case's files, wherever they are: a name can be the fault, too."""
    return Counter(content for content in case.files.values() if content is not None)


def test_every_rule_has_a_pair() -> None:
    assert set(PAIRS) == {rule.id for rule in ALL_RULES} - OURS


@pytest.mark.parametrize("rule", [rule for rule in ALL_RULES if rule.id in PAIRS], ids=lambda rule: rule.id)
def test_a_pair_differs_in_the_fault_alone(rule: Rule) -> None:
    bad, good = (NAMED[name] for name in PAIRS[rule.id])

    assert rule.id == bad.refused if rule.severity is Severity.ERROR else rule.id in bad.also
    assert not good.refused and rule.id not in good.also
    assert bad.server == good.server
    assert max((files(bad) - files(good)).total(), (files(good) - files(bad)).total()) <= 1 or not bad.files


def test_the_server_judges_both_of_a_pair_or_the_list_says_why_not() -> None:
    read = {rule for rule, pair in PAIRS.items() if any(NAMED[name].judge == "read" for name in pair)}

    assert read == set(NOT_RUN)
