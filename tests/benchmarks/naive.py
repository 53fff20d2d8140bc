"""What somebody would write in an afternoon: dump every frame, look for a face in each at full size, crop, save.

Run as `python naive.py VIDEO FOLDER [YUNET.onnx]`. Prints the seconds it took, without the imports.
"""

import json
import os
import subprocess
import sys
import time
import wave
from pathlib import Path

import cv2
import numpy as np

from pipeline.media.ffmpeg_command import find_ffmpeg

CROP_PX, MARGIN, NUM_MELS, N_FFT, RATE_HZ = 112, 0.25, 64, 1024, 16000


def main() -> None:
    video, folder = sys.argv[1], Path(sys.argv[2])
    detect = yunet(sys.argv[3]) if len(sys.argv) > 3 else haar()
    before, begin = os.times(), time.perf_counter()
    (folder / "frames").mkdir(parents=True)
    ffmpeg = [find_ffmpeg(), "-nostdin", "-v", "error", "-i", video]
    subprocess.run([*ffmpeg, "-q:v", "2", str(folder / "frames/%06d.jpg")], check=True)
    subprocess.run([*ffmpeg, "-ac", "1", "-ar", str(RATE_HZ), str(folder / "sound.wav")], check=True)
    (folder / "crops").mkdir()
    for path in sorted((folder / "frames").iterdir()):
        frame = cv2.imread(str(path))
        box = detect(frame)
        if box is not None:
            cv2.imwrite(str(folder / "crops" / path.name), cv2.resize(cut(frame, box), (CROP_PX, CROP_PX)))
    np.save(folder / "mel.npy", log_mel(folder / "sound.wav"))
    wall_s, after = time.perf_counter() - begin, os.times()
    print(json.dumps({"wall_s": wall_s, "cpu_s": sum(after[:4]) - sum(before[:4])}))


def yunet(model: str):
    network = cv2.FaceDetectorYN.create(model, "", (320, 320), 0.6)

    def detect(frame):
        network.setInputSize((frame.shape[1], frame.shape[0]))
        _, faces = network.detect(frame)
        return None if faces is None else max(faces, key=lambda face: face[2] * face[3])[:4]

    return detect


def haar():
    cascade = cv2.CascadeClassifier(cv2.data.haarcascades + "haarcascade_frontalface_alt2.xml")

    def detect(frame):
        faces = cascade.detectMultiScale(cv2.cvtColor(frame, cv2.COLOR_BGR2GRAY), 1.1, 3)
        return max(faces, key=lambda face: face[2] * face[3]) if len(faces) else None

    return detect


def cut(frame, box):
    x, y, width, height = (int(value) for value in box)
    more = int(MARGIN * max(width, height))
    return frame[max(0, y - more) : y + height + more, max(0, x - more) : x + width + more]


def log_mel(path: Path):
    """Log-mel spectrogram in the usual way; librosa where it is installed."""
    with wave.open(str(path)) as sound:
        samples = np.frombuffer(sound.readframes(sound.getnframes()), "<i2") / 32768
    try:
        import librosa

        return librosa.power_to_db(librosa.feature.melspectrogram(y=samples, sr=RATE_HZ, n_fft=N_FFT, n_mels=NUM_MELS))
    except ImportError:
        pass
    frames = np.lib.stride_tricks.sliding_window_view(samples, N_FFT)[:: RATE_HZ // 100] * np.hanning(N_FFT)
    power = np.abs(np.fft.rfft(frames, axis=1)) ** 2
    mels = 700 * (10 ** (np.linspace(0, 2595 * np.log10(1 + RATE_HZ / 2 / 700), NUM_MELS + 2) / 2595) - 1)
    ramps = (np.fft.rfftfreq(N_FFT, 1 / RATE_HZ)[None] - mels[:, None]) / np.diff(mels, append=mels[-1] + 1)[:, None]
    bands = np.maximum(0, np.minimum(ramps[:-2], 1 - ramps[1:-1]))
    return 10 * np.log10(power @ bands.T + 1e-10)


if __name__ == "__main__":
    main()
