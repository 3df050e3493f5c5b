"""Each scene that measures something leaves a record of it."""

import pytest

from proof.results import Case, record


@pytest.fixture
def keep():
    """Records a case, and lets the scene fail if it is bad."""

    def keep(case: Case):
        record(case)
        print(case.line())
        assert case.is_good, case.line()

    return keep
