"""A synthesised voice: glottal harmonics and breath through formants, in the rhythm of syllables."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from pipeline.synthetic.trajectory import Floats, resample, smooth_noise

CONTROL_HZ = 100.0  # rate of pitch, loudness and formant contours
SYLLABLE_HZ = (2.6, 6.2)  # at arousal -1 and 1
VOWELS_HZ = np.array(  # first three formants of an adult speaker, after Peterson & Barney 1952, rounded
    [[730, 1090, 2440], [530, 1840, 2480], [270, 2290, 3010], [570, 840, 2410], [300, 870, 2240], [490, 1350, 1690]],
    float,
)
UPPER_FORMANTS_HZ = (3500.0, 4500.0)
BANDWIDTHS_HZ = np.array([80.0, 100.0, 140.0, 200.0, 280.0])


@dataclass(frozen=True, slots=True)
class VoiceTraits:
    """Properties of a person's voice."""

    pitch_hz: float  # at rest
    tract_scale: float  # of all formants; a shorter vocal tract has higher ones
    breathiness: float  # share of breath noise, about 0 to 1


@dataclass(frozen=True, slots=True)
class Speech:
    """A voice and the movement of the lips that belongs to it."""

    samples: Floats  # (num_samples,) in [-1, 1]
    lips: Floats  # (control points,) 0 closed to 1 open, at CONTROL_HZ


def speak(
    rng: np.random.Generator, affect: Floats, voice: VoiceTraits, *, frame_rate_hz: float, sample_rate_hz: int
) -> Speech:
    """Synthesise a voice for as long as the trajectory lasts.

    Arousal raises loudness, pitch and the rate of syllables; valence brightens the source's spectral tilt and
    shortens the tract as a smile does, while low valence makes the voice breathy. Each cue has independent noise.

    Args:
        rng: of the noise and of the syllables.
        affect: (num_frames, 2) valence and arousal at `frame_rate_hz`.
        voice: of the person.
        frame_rate_hz: of the trajectory.
        sample_rate_hz: of the sound.
    """
    duration_s = len(affect) / frame_rate_hz
    num_points = int(np.ceil(duration_s * CONTROL_HZ)) + 1
    valence, arousal = resample(affect, frame_rate_hz, num_points, CONTROL_HZ).T

    def wobble(amount: float, period_s: float = 1.5) -> Floats:
        return amount * smooth_noise(rng, num_points, CONTROL_HZ, period_s)

    lips, syllable = _rhythm(rng, arousal)
    vowels_hz = VOWELS_HZ[rng.integers(len(VOWELS_HZ), size=syllable.max() + 1)]
    formants_hz = _formants(vowels_hz[syllable], voice.tract_scale * (1.0 + 0.09 * valence + wobble(0.012)))
    semitones = 5.0 * arousal + wobble(1.0) + wobble(0.4, 0.25)
    pitch_hz = voice.pitch_hz * 2.0 ** (semitones / 12.0)
    tilt = 1.75 - 0.75 * valence + wobble(0.10)
    level_db = -27.0 + 9.0 * arousal + wobble(1.5)
    breath = 0.22 * (0.6 + voice.breathiness) * np.exp(-0.5 * valence + wobble(0.15))
    loudness = 10.0 ** (level_db / 20.0) * (0.02 + lips)

    num_samples = round(duration_s * sample_rate_hz)
    voiced = _harmonics(pitch_hz, formants_hz, tilt, loudness, sample_rate_hz)[:num_samples]
    hiss = _breath(rng, formants_hz, loudness * breath, sample_rate_hz)[:num_samples]
    room = 10.0 ** (-62.0 / 20.0) * rng.standard_normal(num_samples)
    return Speech(np.tanh(voiced + hiss + room), lips)


def _rhythm(rng: np.random.Generator, arousal: Floats) -> tuple[Floats, np.ndarray]:
    """Openness of the lips (points,) and the number of the syllable at each point (points,)."""
    low, high = SYLLABLE_HZ
    rate_hz = (
        low * (high / low) ** ((arousal + 1.0) / 2.0) * np.exp(0.10 * smooth_noise(rng, len(arousal), CONTROL_HZ, 0.8))
    )
    phase = np.cumsum(rate_hz) / CONTROL_HZ
    syllable = phase.astype(int)
    stress = rng.uniform(0.6, 1.0, size=syllable[-1] + 1)
    stress[rng.random(len(stress)) < 0.09] = 0.0  # a breath between words
    lips = stress[syllable] * np.sin(np.pi * (phase - syllable)) ** 1.2
    return np.convolve(lips, np.full(5, 0.2), mode="same"), syllable


def _formants(vowels_hz: Floats, scale: Floats) -> Floats:
    """(points, 5) formant frequencies that glide from vowel to vowel."""
    glide = np.hanning(17) / np.hanning(17).sum()
    padded = np.pad(vowels_hz, ((8, 8), (0, 0)), mode="edge")
    smooth = np.stack([np.convolve(column, glide, mode="valid") for column in padded.T], axis=1)
    upper = np.broadcast_to(UPPER_FORMANTS_HZ, (len(smooth), len(UPPER_FORMANTS_HZ)))
    return np.concatenate([smooth, upper], axis=1) * scale[:, None]


def _tract(frequency_hz: Floats, formants_hz: Floats) -> Floats:
    """Gain of the vocal tract: the product of second-order resonances (Fant 1960), peaks tamed by a square root.

    Args:
        frequency_hz: (points, k) or (1, k).
        formants_hz: (points, 5).
    """
    squared = frequency_hz**2
    gain = np.ones(np.broadcast_shapes(frequency_hz.shape, (len(formants_hz), 1)))
    for centre_hz, width_hz in zip(formants_hz.T[:, :, None], BANDWIDTHS_HZ, strict=True):
        gain *= centre_hz**2 / np.sqrt((centre_hz**2 - squared) ** 2 + (width_hz * frequency_hz) ** 2)
    return np.sqrt(gain)


def _harmonics(pitch_hz: Floats, formants_hz: Floats, tilt: Floats, loudness: Floats, sample_rate_hz: int) -> Floats:
    """Sum of sines at multiples of the pitch, k^-tilt at the source, with root mean square `loudness`."""
    hop = round(sample_rate_hz / CONTROL_HZ)
    limit_hz = 0.47 * sample_rate_hz
    order = np.arange(1, int(limit_hz / pitch_hz.min()) + 1)
    frequency_hz = pitch_hz[:, None] * order
    gain = order ** -tilt[:, None] * _tract(frequency_hz, formants_hz) * (frequency_hz < limit_hz)
    gain *= (loudness / np.sqrt(0.5 * np.sum(gain**2, axis=1)))[:, None]
    angle = 2 * np.pi * np.cumsum(_upsample(pitch_hz, hop)) / sample_rate_hz
    # sin(k x) by Chebyshev's recurrence: one multiplication and subtraction per harmonic
    twice_cos, now, before = 2 * np.cos(angle), np.sin(angle), np.zeros_like(angle)
    total = np.zeros_like(angle)
    for column in np.ascontiguousarray(gain.T):
        total += _upsample(column, hop) * now
        now, before = twice_cos * now - before, now
    return total


def _breath(rng: np.random.Generator, formants_hz: Floats, loudness: Floats, sample_rate_hz: int) -> Floats:
    """White noise shaped by the tract in overlapping windows, with root mean square about `loudness`."""
    hop = round(sample_rate_hz / CONTROL_HZ)
    bins_hz = np.fft.rfftfreq(2 * hop, 1 / sample_rate_hz)
    gain = _tract(bins_hz[None, 1:], formants_hz) * (bins_hz[None, 1:] / 3000.0)
    gain *= (loudness / np.sqrt(np.mean(gain**2, axis=1)))[:, None]
    spectrum = np.fft.rfft(rng.standard_normal((len(loudness), 2 * hop)))
    spectrum[:, 1:] *= gain
    spectrum[:, 0] = 0.0
    windows = np.fft.irfft(spectrum) * np.sin(np.pi * (np.arange(2 * hop) + 0.5) / (2 * hop))
    overlapped = np.zeros((len(loudness) + 1, hop))
    overlapped[:-1] += windows[:, :hop]
    overlapped[1:] += windows[:, hop:]
    return overlapped.ravel()


def _upsample(contour: Floats, hop: int) -> Floats:
    """`contour` (points,) at the control rate as ((points - 1) * hop,) samples, linearly interpolated."""
    ramp = np.arange(hop) / hop
    return (contour[:-1, None] + np.diff(contour)[:, None] * ramp).ravel()
