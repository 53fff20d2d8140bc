"""The options of `pipeline.media` as the sections of a configuration set them."""

from __future__ import annotations

from pipeline.config import Config, UsageError
from pipeline.media.ffmpeg_command import OLDEST_FFMPEG, find_ffmpeg
from pipeline.media.options import CropOptions, DecodeOptions, MelOptions, TrackingOptions, VideoOptions


def require_ffmpeg(config: Config) -> str:
    """The absolute path of the ffmpeg that `media.ffmpeg` chooses.

    Raises:
        UsageError: it is not there, it is no ffmpeg, or it is too old.
    """
    chosen = config.media.ffmpeg
    oldest = "{}.{}".format(*OLDEST_FFMPEG)
    try:
        return find_ffmpeg(chosen)
    except ValueError as error:
        if chosen:
            advice = f"give one of version {oldest} or newer, or leave media.ffmpeg out to use the bundled one"
        else:
            advice = f"install the imageio-ffmpeg of constraints.txt, or set media.ffmpeg to ffmpeg {oldest} or newer"
        raise UsageError(f"media.ffmpeg: {error}; {advice}") from error


def decode_options(config: Config, ffmpeg: str) -> DecodeOptions:
    """How `ffmpeg`, the path of an executable, decodes a file."""
    return DecodeOptions(ffmpeg, config.media.frame_rate_hz, config.media.timeout_s)


def tracking_options(config: Config) -> TrackingOptions:
    """How faces are detected and joined into tracks."""
    faces = config.faces
    return TrackingOptions(faces.detect_every, faces.min_score, faces.min_overlap, faces.max_gap_s)


def crop_options(config: Config) -> CropOptions:
    """How faces are cut out and kept."""
    media, faces = config.media, config.faces
    return CropOptions(media.crop_px, media.jpeg_quality, faces.margin, faces.align)


def video_options(config: Config, ffmpeg: str) -> VideoOptions:
    """How the followed face of a video is read."""
    return VideoOptions(decode_options(config, ffmpeg), tracking_options(config), crop_options(config))


def mel_options(config: Config) -> MelOptions:
    """The log-mel spectrogram."""
    sound = config.sound
    return MelOptions(config.media.sample_rate_hz, sound.n_fft, sound.window_s, sound.hop_s, sound.num_mels)
