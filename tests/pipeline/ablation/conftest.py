"""Trials run on one thread, as in the workers: more of them only get in each other's way at this size."""

import pytest


@pytest.fixture(autouse=True)
def _one_thread(one_thread):
    pass
