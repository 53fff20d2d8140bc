"""Explain a prediction: what the front and the gates of a trained model chose for one segment, and which steps attended
to which.

    python examples/explain_a_prediction.py outputs/runs/demo-... --picture why.png

Takes the first segment of the test split of the dataset that the run was trained on, or the one that --key names.
"""

from __future__ import annotations

import argparse

import numpy as np
import torch

from iaca_model.model import model_of
from pipeline.dataset.format.dataset_info import read_dataset, read_index
from pipeline.evaluation.explanations import gate_rows, heat_map
from pipeline.training import checkpoint
from pipeline.training.compatibility import spec_of
from pipeline.training.loader import read_segment
from pipeline.training.run_record import read_config, require_record
from pipeline.training.sequences import cut, end_frames


def main() -> None:
    """Write the heat maps of one sequence and print the mean weight of every option of the front and the gates."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("run", help="folder or s3:// address of a finished run")
    parser.add_argument("--key", default="", help="of a sample, as in index.parquet")
    parser.add_argument("--phase", type=int, default=0, help="which of the segment's interleaved sequences")
    parser.add_argument("--picture", default="why.png", help="file to write")
    options = parser.parse_args()

    record, config = require_record(options.run), read_config(options.run)
    dataset = read_dataset(record.dataset_uri)
    rows = [
        row for row in read_index(dataset.uri) if row.key == options.key or (not options.key and row.split == "test")
    ]
    if not rows:
        raise SystemExit(f"{dataset.uri} has no sample {options.key or 'in the test split'}")
    segment = read_segment(dataset.uri, rows[0])

    spec = spec_of(config, record.features)
    model = model_of(spec, config.model)
    model.load_state_dict(checkpoint.load_weights(options.run, record.best_step))
    model.eval()
    with torch.no_grad():
        prediction = model(cut(segment, (options.phase,), config.sequence, spec))

    last_frames = end_frames((options.phase,), config.sequence)[0]  # own frame at which each step's sub-clip ends
    times_s = segment.start_s + last_frames / segment.frame_rate_hz
    heat_map(prediction, sequence=0, times_s=times_s.round(2)).savefig(options.picture)
    for name, weights in zip(*gate_rows(prediction, sequence=0), strict=True):  # NaN at steps without any modality
        print(f"{name:<18} mean weight {np.nanmean(weights):.2f}")
    print(f"{segment.key}, phase {options.phase} -> {options.picture}")


if __name__ == "__main__":
    main()
