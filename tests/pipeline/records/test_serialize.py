import json
import math

import pytest

from pipeline.records import AnchorPoint, SampleRow, ShardPlan, ShardRecord, Span, Video, VideoRow, VisibleFace
from pipeline.records.features import FeatureOrigin
from pipeline.records.serialize import from_json, to_json

ODD = "/vid\udce9os/Zoë\n😀.mp4"  # a byte that is not UTF-8, as Python reads it from a folder
VIDEO = Video("a", ODD, ODD, 1000, "1000-a", "left", "group", "train")
SPAN = Span(VIDEO, 512, 1024, (AnchorPoint(1.5, 0.25, 1.0, 2.0, 3.0),))
FACE = VisibleFace(0.0, 1.5, 30, 20, 0.9, 1.0, 2.0, 3.0, 4.0, "followed")
ROW = VideoRow("a", "left", ODD, "group", "train", "ok", "", "", "", 1 / 3, faces=(FACE,), seconds_fetch=1e-9)
SAMPLE = SampleRow("a_0", "train-00000.tar", 512, 1 << 40, "a", "left", "group", "train", 0.1, 7, 32, 1, 0.5, 1, 0)
RECORDS = [
    ShardPlan("train-00000", "train", (Span(VIDEO), SPAN)),
    ShardRecord("train-00000", "ab", 9, "cd", (SAMPLE,), (ROW,), {"ffmpeg": "9"}, 2, (1, 0, 3), (SPAN,)),
    FeatureOrigin("talk-1", "ab", "run", "cd", "", "", "tiny", "video", 8, 2, 512, 256),
]


@pytest.mark.parametrize("record", RECORDS, ids=lambda record: type(record).__name__)
@pytest.mark.parametrize("indent", [None, 1])
def test_a_record_survives_as_ascii(record, indent):
    text = to_json(record, indent=indent)
    assert text.isascii()
    assert ("\n" in text) == (indent is not None)
    found = from_json(type(record), text)
    assert found == record
    assert to_json(found, indent=indent) == text


def test_numbers_that_are_none_survive():
    point = from_json(AnchorPoint, to_json(AnchorPoint(math.nan, math.inf, -math.inf, 0.1, -0.0)))
    assert math.isnan(point.time_s)
    assert (point.x0, point.y0, point.x1, math.copysign(1, point.y1)) == (math.inf, -math.inf, 0.1, -1.0)


def test_fields_that_are_absent_have_their_defaults():
    values = json.loads(to_json(SPAN))
    del values["anchor"], values["stop_frame"]
    assert from_json(Span, json.dumps(values)) == Span(VIDEO, 512)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("{", "Expecting property name"),
        ("[]", "not a Span: the whole: "),
        ('{"start_frame": 0}', "not a Span: video: "),
        ('{"video": {"video_id": "a"}}', r"not a Span: video\.relative_path: "),
        (to_json(SPAN).replace("512", '"soon"'), "not a Span: start_frame: "),
        (to_json(SPAN).replace("start_frame", "first_frame"), "not a Span: first_frame: "),
        (to_json(SPAN).replace("person", "whose"), r"not a Span: video\.whose: "),
    ],
)
def test_what_does_not_fit_is_named_in_one_line(text, message):
    with pytest.raises(ValueError, match=message) as raised:
        from_json(Span, text)
    assert "\n" not in str(raised.value)
