"""What torch.compile brings each preset on a CPU, and what it costs to begin; it needs a C++ compiler."""

import shutil
import time

import pytest
import torch

from tests.benchmarks.test_fusion_speed import NAMES, feature_model, features, learning, ms, ratio, turns

pytestmark = [
    pytest.mark.slow,
    pytest.mark.timeout(600),
    pytest.mark.usefixtures("one_thread"),
    pytest.mark.skipif(shutil.which("g++") is None, reason="torch.compile needs g++ on a CPU"),
]
WIDTH, STEPS, NUM, TURNS = 64, 16, 16, 25


@pytest.mark.parametrize("name", NAMES)
def test_gain_of_compiling(name, table):
    torch._dynamo.reset()
    model, inputs = feature_model(name, WIDTH, STEPS), features(WIDTH, STEPS, NUM)
    compiled = torch.compile(model)
    begin = time.perf_counter()
    learning(compiled, *inputs)()
    begun_s = time.perf_counter() - begin
    taken = turns({"eager": learning(model, *inputs), "compiled": learning(compiled, *inputs)}, TURNS)
    found = ratio(taken, "eager", "compiled")
    what = f"{name} compiled in {begun_s:.0f} s, forward and backward, {WIDTH} features, {NUM} x {STEPS} steps"
    table.add(what, ms(taken["compiled"]), f"eager: {ms(taken['eager'])}", found)
    torch.testing.assert_close(
        compiled.eval()(*inputs).values_BL2, model.eval()(*inputs).values_BL2, rtol=1e-4, atol=1e-5
    )
