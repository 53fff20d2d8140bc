"""Every kind of file that the media stage promises to survive, with what becomes of it."""

import resource
import subprocess
import sys
import threading
from dataclasses import replace
from fractions import Fraction
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import numpy as np
import pytest

import pipeline.media.container.probe as module
from pipeline.media.container.probe import probe
from pipeline.media.decode import PictureReader
from pipeline.media.read_sound import read_sound
from pipeline.records import Rejection
from tests.support import hostile_files as hostile
from tests.support.hostile_files import NUM_FRAMES, TIMES_MS, clip
from tests.support.media_files import read_counter, tone
from tests.support.media_options import DECODE, MEL
from tests.support.processes import gone

SILENT = {"sound": np.zeros(32000)}
UNEVEN_MS = np.cumsum([0] + [(13, 40, 95, 21, 60)[i % 5] for i in range(NUM_FRAMES - 1)]).tolist()


def examine(path):
    """The counter at each tick, the clock, the sound, and the problem that was reported."""
    probed = probe(path, max_duration_s=1000)
    with PictureReader(path, probed, DECODE) as reader:
        numbers = [read_counter(picture.y) for picture in reader]
    if not numbers:
        raise Rejection("decode", "undecodable", reader.problem())
    sound = read_sound(path, probed, DECODE, MEL, num_clock_frames=len(numbers))
    return numbers, reader.clock_map(), sound, probed.problem or reader.problem() or sound.problem


def write(data):
    return lambda path: path.write_bytes(data) and path


def made(times_ms=TIMES_MS, **settings):
    return lambda path: clip(path, times_ms, **settings)


def sounding(**settings):
    return made(**{"sound": tone(2.0)} | settings)


REFUSED = {  # file name: how it is made, reason, part of the detail
    "zero bytes.mp4": (lambda path: path.touch() or path, "unreadable", "the file is empty"),
    "text.mp4": (write(b"this is no film\n" * 99), "unreadable", "not a media file: text"),
    "noise.mkv": (write(np.random.default_rng(0).bytes(50_000)), "unreadable", "not a media file, or of a container"),
    "cut at 2 %.mp4": (hostile.cut(0.02), "unreadable", "incomplete: the index (moov atom) is missing"),
    "cut at 50 %, index lost.mp4": (hostile.cut(0.5), "unreadable", "incomplete: the index (moov atom) is missing"),
    "cut in its index.mp4": (hostile.cut_at(b"mdia"), "no_video", "incomplete: the index (moov atom) is cut off"),
    "cut before its pictures.mp4": (hostile.cut_at(b"mdat"), "no_video", "incomplete: the file ends at byte"),
    "16k pictures.mov": (hostile.huge_pictures(16000), "too_large", "16000 x 16000 pixels; allowed: 8192 x 8192"),
    "larger than ffmpeg's own limit.mov": (hostile.huge_pictures(16384), "unreadable", "size of its pictures"),
    "200 streams.mov": (hostile.two_hundred_streams, "too_large", "200 streams; allowed: 64"),
    "memory bomb.mp4": (hostile.table_of_samples_too_large_for_memory, "no_video", "no packets"),  # 1.4 GB of them
    "clock jumps ten hours.mkv": (made([*TIMES_MS[:-1], 36_000_000]), "too_long", "a packet at 36000.0 s"),
    "only sound.wav": (
        lambda path: hostile.write_media(path, sound=tone(1.0)),
        "no_video",
        "no video stream; its streams: audio",
    ),
}

ALL, NONE = (0, 2), (0, 0)
ACCEPTED = {  # file name: how it is made, seconds of real sound, part of the problem
    "variable.mp4": (made(UNEVEN_MS), NONE, ""),
    "negative times.mp4": (hostile.negative_times, ALL, ""),
    "times twice.mkv": (hostile.times_twice, NONE, ""),
    "no sound.mp4": (made(), NONE, ""),
    "sound late.mkv": (sounding(sound_at_ms=600, sound=tone(1.4)), (0.6, 2), ""),
    "sound short.mkv": (sounding(sound=tone(0.9)), (0, 0.9), ""),
    "sound long.mkv": (sounding(sound=tone(5.0)), ALL, ""),
    "silent.mkv": (made(**SILENT), ALL, ""),
    "5.1.mkv": (sounding(layout="5.1", sound_codec="flac"), ALL, ""),
    "rotated.mp4": (made(rotation_deg=180), NONE, ""),
    "oblong pixels.mkv": (made(aspect=Fraction(4, 3)), NONE, ""),
    "ten bits.mp4": (made(pix_fmt="yuv420p10le"), NONE, ""),
    "grey.mkv": (made(codec="ffv1", pix_fmt="gray"), NONE, ""),
    "ten hours promised.mkv": (hostile.promise_ten_hours, NONE, "header promises 36000.00 s"),
    "unicode žluťoučký 视频 🎬.mp4": (sounding(sound_codec="aac"), ALL, ""),
    "-i leading dash.mp4": (sounding(sound_codec="aac"), ALL, ""),
    "new\nline.mp4": (sounding(sound_codec="aac"), ALL, ""),
    "%03d 'quoted' \"twice\" $HOME;.mp4": (sounding(sound_codec="aac"), ALL, ""),
    "http:127.0.0.1": (lambda path: clip(path.with_suffix(".mp4")).rename(path), NONE, ""),
    "y" * 250 + ".mp4": (sounding(sound_codec="aac"), ALL, ""),
    "x" * 200 + "/" + "y" * 200 + ".mp4": (sounding(sound_codec="aac"), ALL, ""),
    "cut at 30 %.mkv": (hostile.cut(0.3), NONE, "promises 1.99 s"),
    "cut at 70 %.mkv": (hostile.cut(0.7), NONE, "promises 1.99 s"),
    "cut at 95 %.mkv": (hostile.cut(0.95), NONE, ""),
}


@pytest.mark.parametrize("name", REFUSED)
def test_a_rejection_has_a_specific_reason(name, tmp_path):
    make, reason, message = REFUSED[name]
    with pytest.raises(Rejection) as caught:
        examine(make(tmp_path / name))
    assert caught.value.reason == reason
    assert message in caught.value.detail


@pytest.mark.parametrize("name", ACCEPTED)
def test_what_can_be_used_is_right_and_masked(name, tmp_path):
    make, sound_s, message = ACCEPTED[name]
    (tmp_path / name).parent.mkdir(exist_ok=True)
    numbers, decoded, sound, problem = examine(make(tmp_path / name))
    shown = decoded.source_index
    assert message in problem
    assert bool(message) == bool(problem)
    if "cut at" not in name:
        assert decoded.num_decoded == len(probe(tmp_path / name, max_duration_s=1000).frame_times_s)
    assert len(numbers) >= (5 if "cut" in name else 40)
    skipped = NUM_FRAMES - decoded.num_decoded if "negative" in name else 0
    if name != "rotated.mp4":  # its counter stands on its head
        assert [n - skipped for n, i in zip(numbers, shown, strict=True) if i >= 0] == shown[shown >= 0].tolist()
    real_s = np.flatnonzero(sound.hop_ok) * 0.01
    first_s, last_s = sound_s
    if last_s:
        assert (real_s[0], real_s[-1]) == pytest.approx((first_s, min(last_s, len(numbers) / 25)), abs=0.07)
    assert (len(real_s) > 0) == (last_s > 0)


class FakeRemoteServer(BaseHTTPRequestHandler):
    requested: list[str] = []  # noqa: RUF012 - shared by all requests, that is its purpose

    def do_GET(self):
        self.requested.append(self.path)
        self.send_error(404)

    def log_message(self, *arguments):
        pass


@pytest.fixture
def canary_url():
    server = ThreadingHTTPServer(("127.0.0.1", 0), FakeRemoteServer)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    FakeRemoteServer.requested.clear()
    yield f"http://127.0.0.1:{server.server_port}/"
    server.shutdown()
    server.server_close()


def test_references_to_other_files_are_not_followed(canary_url, tmp_path):
    secret = clip(tmp_path / "secret.ts")
    probed = probe(secret, max_duration_s=100)
    scripts = {
        "hls": f"#EXTM3U\n#EXT-X-TARGETDURATION:1\n#EXTINF:1,\n{canary_url}a.ts\n#EXTINF:1,\n{secret}\n",
        "concat": f"ffconcat version 1.0\nfile {secret}\nfile {canary_url}b.ts\n",
        "sdp": "v=0\no=- 0 0 IN IP4 127.0.0.1\ns=x\nc=IN IP4 127.0.0.1\nt=0 0\nm=video 9 RTP/AVP 96\n",
        "dash": f'<MPD xmlns="urn:mpeg:dash:schema:mpd:2011"><BaseURL>{canary_url}</BaseURL></MPD>',
        "svg": f'<svg xmlns="http://www.w3.org/2000/svg"><image href="{canary_url}c.png"/></svg>',
    }
    for name, text in scripts.items():
        path = tmp_path / f"{name}.mp4"
        path.write_text(text)
        with pytest.raises(Rejection, match="probe: unreadable"):
            probe(path, max_duration_s=100)
        # Had it come past the probe, the decoder would refuse it too.
        with PictureReader(path, probed, DECODE) as reader:
            assert list(reader) == []
        with_sound = replace(probed, audio_stream=0)
        assert read_sound(path, with_sound, DECODE, MEL, num_clock_frames=5).problem
    assert FakeRemoteServer.requested == []


@pytest.fixture
def interpreter(monkeypatch, tmp_path):
    """Run this shell script in place of the process that reads containers."""

    def replace_by(script):
        path = tmp_path / "interpreter"
        path.write_text(f"#!/bin/sh\n{script}\n")
        path.chmod(0o755)
        monkeypatch.setattr(sys, "executable", str(path))
        monkeypatch.setattr(module, "_running", [])

    return replace_by


def test_a_file_that_kills_its_reader_is_refused(interpreter, tmp_path):
    path = clip(tmp_path / "clip.mp4")
    interpreter("read request; kill -SEGV $$")
    with pytest.raises(Rejection, match="probe: unreadable: the process that reads this file died: SIGSEGV"):
        probe(path, max_duration_s=10)


def test_a_file_that_is_read_forever_is_refused(interpreter, tmp_path):
    path = clip(tmp_path / "clip.mp4")
    interpreter("exec sleep 60")
    with pytest.raises(Rejection, match=r"probe: timeout: not read within 0\.2 s"):
        probe(path, max_duration_s=10, timeout_s=0.2)
    assert not module._running[0].is_usable


def test_a_reader_that_dies_of_something_else_is_replaced(tmp_path):
    path = clip(tmp_path / "clip.mp4")
    before = probe(path, max_duration_s=10)
    process = module._running[0]._process
    process.kill()
    after = probe(path, max_duration_s=10)
    assert after.frame_times_s.tolist() == before.frame_times_s.tolist()
    assert module._running[0]._process.pid != process.pid


def test_the_reader_is_limited_and_ends_with_its_parent(tmp_path):
    path = clip(tmp_path / "clip.mp4")
    script = (
        "import sys; from pathlib import Path; import pipeline.media.container.probe as module\n"
        f"module.probe(Path({str(path)!r}), max_duration_s=10)\n"
        "print(module._running[0]._process.pid, flush=True); sys.stdin.read()\n"
    )
    parent = subprocess.Popen([sys.executable, "-c", script], stdout=subprocess.PIPE, stdin=subprocess.PIPE, text=True)
    pid = int(parent.stdout.readline())
    limits = [resource.prlimit(pid, kind)[1] for kind in (resource.RLIMIT_AS, resource.RLIMIT_FSIZE)]
    assert limits == [1 << 30, 0]
    parent.kill()
    parent.wait()
    assert gone(pid)
