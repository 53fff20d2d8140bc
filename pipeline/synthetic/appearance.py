"""A talker's appearance and voice: colours, proportions and pitch, drawn from the seed and the person's number."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from pipeline.synthetic.voice import VoiceTraits

Colour = tuple[int, int, int]  # blue, green, red, as OpenCV has it

SKINS: tuple[Colour, ...] = (
    (178, 203, 238),
    (150, 180, 224),
    (128, 162, 214),
    (104, 138, 194),
    (84, 112, 166),
    (66, 90, 138),
)
HAIRS: tuple[Colour, ...] = ((28, 26, 30), (34, 44, 66), (40, 62, 98), (62, 104, 158), (38, 62, 138), (150, 150, 156))
IRISES: tuple[Colour, ...] = ((40, 58, 88), (92, 84, 58), (120, 92, 60), (72, 98, 70), (34, 40, 52))
CLOTHES: tuple[Colour, ...] = (
    (112, 74, 44),
    (62, 62, 120),
    (86, 110, 60),
    (70, 66, 64),
    (128, 96, 128),
    (60, 124, 168),
)
HAIR_TO_SKIN = 0.62  # hair is at most this bright


@dataclass(frozen=True, slots=True)
class Identity:
    """A person. Lengths are in half-widths of the head."""

    skin: Colour
    hair: Colour
    iris: Colour
    cloth: Colour
    head_height: float  # from the centre to the chin
    jaw: float  # how much narrower the head is at the chin
    eye_spread: float  # from the middle to an eye's centre
    eye_size: float
    nose_width: float
    nose_length: float
    mouth_width: float
    lip_fullness: float
    brow_thickness: float
    hairline: float  # y of the hair's lower edge on the forehead
    parting: float  # x where the hair parts
    long_hair: bool
    stubble: float  # 0 none to 1
    voice: VoiceTraits


def draw_identity(seed: int, number: int) -> Identity:
    """Draw the person with this number; persons with neighbouring numbers differ in skin, hair and pitch."""
    rng = np.random.default_rng([seed, 1, number])

    def pick(palette: tuple[Colour, ...], step: int) -> Colour:
        chosen = palette[(number * step + rng.integers(2)) % len(palette)]
        return tuple(int(np.clip(c + rng.integers(-8, 9), 0, 255)) for c in chosen)  # type: ignore[return-value]

    skin, hair = pick(SKINS, 1), pick(HAIRS, 5)
    # Hair as bright as the skin would leave no edge around the face for a detector of grey pictures.
    dimming = min(1.0, HAIR_TO_SKIN * sum(skin) / sum(hair))
    low_voiced = bool(rng.random() < 0.5)
    pitch_hz = rng.uniform(95, 135) if low_voiced else rng.uniform(165, 215)
    scale = rng.uniform(0.92, 1.0) if low_voiced else rng.uniform(1.04, 1.14)
    return Identity(
        skin=skin,
        hair=tuple(int(dimming * c) for c in hair),  # type: ignore[arg-type]
        iris=pick(IRISES, 2),
        cloth=pick(CLOTHES, 1),
        head_height=rng.uniform(1.26, 1.40),
        jaw=rng.uniform(0.06, 0.20),
        eye_spread=rng.uniform(0.40, 0.45),
        eye_size=rng.uniform(0.92, 1.10),
        nose_width=rng.uniform(0.13, 0.18),
        nose_length=rng.uniform(0.38, 0.46),
        mouth_width=rng.uniform(0.34, 0.40),
        lip_fullness=rng.uniform(0.8, 1.2),
        brow_thickness=rng.uniform(0.045, 0.075),
        hairline=rng.uniform(-0.92, -0.76),
        parting=rng.uniform(-0.5, 0.5),
        long_hair=bool(rng.random() < (0.15 if low_voiced else 0.7)),
        stubble=float(rng.uniform(0.2, 1.0)) if low_voiced and rng.random() < 0.5 else 0.0,
        voice=VoiceTraits(pitch_hz=pitch_hz, tract_scale=scale, breathiness=rng.uniform(0.1, 0.6)),
    )
