"""Which setting was meant by a name that there is not: a misspelt one, or the one that other programs use."""

from __future__ import annotations

import difflib
from collections.abc import Collection, Iterable, Sequence

from pipeline.config.settings import all_settings, section_descriptions

SIMILARITY = 0.75  # of two names, from 0 to 1; names less alike are no misspellings of each other
MIN_PREFIX = 3  # letters that stand for a name which begins with them
MAX_SUGGESTIONS = 3

# The usual names of other programs without their underscores, by the settings that they stand for, likeliest first.
_USUAL_NAMES: dict[tuple[str, ...], str] = {
    ("train.learning_rate", "ablate.learning_rate"): "lr maxlr learnrate",
    ("train.batch_size", "ablate.batch_size"): "bs batch batchsz",
    ("train.num_workers", "cluster.num_workers", "ablate.num_workers"): (
        "workers worker nworkers jobs njobs nproc processes cpus worldsize nprocpernode"
    ),
    ("evaluate.num_threads",): "threads nthreads",
    ("train.use_gpu", "extract.use_gpu", "ablate.use_gpu"): "gpu gpus ngpus numgpus device devices cuda accelerator",
    ("train.weight_decay",): "wd l2 decay",
    ("model.fusion_dropout", "model.head_dropout"): "dropout droprate",
    ("train.epochs",): "epoch numepochs maxepochs nepochs nepoch",
    ("train.epochs", "ablate.updates"): "steps maxsteps iterations iters numsteps",
    ("train.seed", "splits.seed", "synthesis.seed"): "seed randomseed manualseed",
    ("train.precision",): "precision fp16 bf16 amp half dtype mixedprecision",
    ("train.clip_norm",): "clip gradclip clipgrad maxgradnorm gradientclipval",
    ("train.warmup_fraction",): "warmup warmupsteps warmupepochs warmupratio",
    ("train.patience",): "earlystopping earlystop",
    ("train.checkpoint_every_steps",): "saveevery savesteps checkpointevery",
    ("model.backbone", "model.preset"): "model arch architecture modelname network backbones encoder",
    ("model.feature_dim", "model.head_dim"): "hiddendim hiddensize embeddim dim",
    ("evaluate.run", "extract.run", "weights.video"): (
        "checkpoint ckpt ckptpath checkpointpath modelpath weights pretrained"
    ),
    ("storage.root",): (
        "output out outdir outputdir outputs outputpath root rootdir savedir savepath logdir workdir expdir resultsdir"
    ),
    ("name",): "expname experimentname runname project",
    ("source.videos", "train.dataset", "evaluate.dataset", "extract.dataset", "verify.dataset"): (
        "data datadir datapath dataroot video videodir videopath input inputs inputdir source src path folder"
    ),
    ("source.labels",): "label labelsdir labeldir annotations annotation targets",
    ("train.dataset", "evaluate.dataset", "extract.dataset", "verify.dataset", "ablate.dataset", "source.videos"): (
        "dataset datasets datasetpath datasetdir"
    ),
    ("source.manifest",): "csv metadata splitfile splitsfile groups splits",
    ("splits.val",): "valsplit valsize valratio valfraction",
    ("splits.test",): "testsplit testsize testratio testfraction",
    ("media.frame_rate_hz", "synthesis.frame_rate_hz"): "fps framerate rate",
    ("media.sample_rate_hz",): "sr samplerate samplingrate audiorate",
    ("media.crop_px",): "crop cropsize imagesize imgsize facesize resolution size",
    ("media.jpeg_quality",): "quality jpeg",
    ("media.timeout_s",): "timeout",
    ("faces.detector",): "facedetector face detection",
    ("faces.min_score",): "threshold confidence minconfidence minscore",
    ("sound.num_mels",): "mels nmels melbins nummelbins",
    ("sound.n_fft",): "nfft fft fftsize",
    ("sound.hop_s",): "hop hoplength hopsize frameshift",
    ("sound.window_s",): "win window winlength windowsize",
    ("sequence.num_subclips",): "seqlen sequencelength cliplength cliplen",
    ("shards.target_mb",): "shardsize maxsize",
    ("preprocess.limit",): "maxsamples maxvideos numvideos subset first",
    ("preprocess.dry_run",): "dry plan planonly",
    ("cluster.address",): "ray rayaddress cluster master masteraddr",
    ("verify.repair",): "fix",
}
SYNONYMS = {name: settings for settings, names in _USUAL_NAMES.items() for name in names.split()}

# Usual names for which there is no setting, and why there is none.
_NO_SETTING = {
    "optimizer opt optim": "the optimizer is AdamW",
    "scheduler lrscheduler schedule": "the learning rate warms up over train.warmup_fraction, then falls by a cosine",
    "loss criterion": "the loss is 1 - CCC",
    "resume continue autoresume": "an interrupted command continues when it is run again",
    "force overwrite redo": "a complete output is never made again; delete its folder to have it made anew",
    "wandb logger tensorboard": "each run has metrics.jsonl and TensorBoard events",
}
NO_SETTING = {name: reason for names, reason in _NO_SETTING.items() for name in names.split()}


def did_you_mean(name: str, known: Iterable[str]) -> str:
    """The known name that is nearly the same or begins with this one, or "" where there is none."""
    names = list(known)
    if close := difflib.get_close_matches(name, names, n=1, cutoff=SIMILARITY):
        return close[0]
    longer = [each for each in names if len(name) >= MIN_PREFIX and each.startswith(name)]
    return longer[0] if len(longer) == 1 else ""


def settings_meant_by(name: str, sections: Collection[str] = ()) -> list[str]:
    """The settings that an unknown name may stand for, the likeliest first; [] where none is likely.

    Args:
        name: as it was given, with or without a section, e.g. `train.lr`, `batch_size`.
        sections: in which a setting is rather looked for, where the name has no section that there is.
    """
    section, _, field = name.lower().rpartition(".")
    section = section if section in section_descriptions() else did_you_mean(section, section_descriptions())
    if section:
        own = {setting.field: setting.name for setting in all_settings().values() if setting.section == section}
        if found := [meant for meant in _with_this_name(field) if meant in own.values()]:
            return found[:MAX_SUGGESTIONS]
        if close := did_you_mean(field, own):
            return [own[close]]
    found = _with_this_name(field)
    if not found and name not in section_descriptions():
        found = _with_a_name_like(field)
    preferred = [meant for meant in found if meant.rpartition(".")[0] in sections]
    return (preferred or found)[:MAX_SUGGESTIONS]


def reason_for_none(name: str) -> str:
    """Why there is no such setting, although other programs have one; "" where there is nothing to explain."""
    return NO_SETTING.get(name.lower().rpartition(".")[2].replace("_", ""), "")


def question(names: Sequence[str]) -> str:
    """Ask which of these was meant: "did you mean a, b or c?"."""
    *first, last = names
    return f"did you mean {', '.join(first)} or {last}?" if first else f"did you mean {last}?"


def _with_this_name(field: str) -> list[str]:
    """The settings of any section that have this name there, or another usual name for it."""
    bare = field.replace("_", "")
    same = [setting.name for setting in all_settings().values() if setting.field.replace("_", "") == bare]
    return [*dict.fromkeys([*SYNONYMS.get(bare, ()), *same])]


def _with_a_name_like(field: str) -> list[str]:
    close = did_you_mean(field, dict.fromkeys(setting.field for setting in all_settings().values()))
    return _with_this_name(close) if close else []
