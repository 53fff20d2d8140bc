"""The configuration of a whole experiment: its sections, loading, and the fingerprints of what depends on it."""

from pipeline.config.root import (
    FORMAT_VERSION,
    Config,
    UsageError,
    dataset_fingerprint,
    evaluation_fingerprint,
    fingerprint,
    load,
    require_detector,
    require_view,
    run_fingerprint,
)

__all__ = [
    "FORMAT_VERSION",
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
