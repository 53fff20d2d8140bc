"""Builds shards in one process, without Ray, once for every line on standard input; tells the seconds it took."""

import json
import os
import sys
import time
from pathlib import Path

from pipeline.config import Config
from pipeline.jobs.workers.shard_builder import ShardBuilder, find_toolchain
from pipeline.records import ShardPlan
from pipeline.records.serialize import from_json


def main() -> None:
    folder, dataset_uri = Path(sys.argv[1]), sys.argv[2]
    config = Config.model_validate_json((folder / "config.json").read_text())
    plans = [from_json(ShardPlan, line) for line in (folder / "plans.jsonl").read_text().splitlines()]
    builder = ShardBuilder(config, dataset_uri, find_toolchain(config))
    print("ready", flush=True)
    for _ in sys.stdin:
        before, begin = os.times(), time.perf_counter()
        for plan in plans:
            builder.build(plan)
        wall_s, after = time.perf_counter() - begin, os.times()
        print(json.dumps({"wall_s": wall_s, "cpu_s": sum(after[:4]) - sum(before[:4])}), flush=True)


if __name__ == "__main__":
    main()
