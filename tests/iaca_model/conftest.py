"""Tensors here are tiny: one thread is faster than handing them around, and leaves the other cores to other tests."""

import pytest


@pytest.fixture(autouse=True)
def _one_thread(one_thread):
    pass
