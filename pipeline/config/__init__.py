"""The configuration of a whole experiment: its sections, loading, and the fingerprints of what depends on it."""

from pipeline.config.detector import require_detector
from pipeline.config.experiment import Config, require_view
from pipeline.config.fields import DATASET_MARKER, RUN_MARKER
from pipeline.config.fingerprints import (
    FORMAT_VERSION,
    dataset_fingerprint,
    evaluation_fingerprint,
    fingerprint,
    run_fingerprint,
)
from pipeline.config.loading import load
from pipeline.config.usage_error import UsageError

__all__ = [
    "DATASET_MARKER",
    "FORMAT_VERSION",
    "RUN_MARKER",
    "Config",
    "UsageError",
    "dataset_fingerprint",
    "evaluation_fingerprint",
    "fingerprint",
    "load",
    "require_detector",
    "require_view",
    "run_fingerprint",
]
