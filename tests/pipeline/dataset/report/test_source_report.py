"""What is to be mended in a source, on the page and as lines for the terminal."""

from dataclasses import replace
from typing import get_args

import pytest

from pipeline.config import Config
from pipeline.dataset.format.dataset_info import DatasetInfo
from pipeline.dataset.report.quality import quality_page
from pipeline.dataset.report.source_report import MAX_ENTRIES, source_report
from pipeline.dataset.sources.finding_texts import LABEL_TEXTS, UNUSED_TEXTS
from pipeline.dataset.sources.source_warnings import label_warnings, sound_warnings, source_warnings
from pipeline.records import LabelProblem, UnusedInput, UnusedKind, VideoRow

INFO = DatasetInfo("d", "/d", "0" * 64, Config(), {}, (), {})


def row(name, content_id="", **changes):
    empty = VideoRow(name, "", f"/{name}.mp4", name, "train", "ok", "", "", "", size_bytes=9)
    return replace(empty, content_id=content_id or f"9-{name}", **changes)


def unused(kind, *names):
    return [UnusedInput(kind, name, f"{kind} {name}: no such video") for name in names]


def page_of(videos, entries):
    return quality_page(INFO, videos, [], [], (), source_report(videos, entries))


def test_a_page_without_findings_has_no_such_section():
    assert "To mend in the source" not in page_of([row("a")], [])
    assert "To mend in the source" not in page_of([row("a")], unused("file", "notes.pdf"))


def test_the_page_has_every_name_and_escapes_it():
    names = [f"labels{n}.csv" for n in range(40)]
    page = page_of([row("a"), row("b", "9-a")], unused("labels", *names, "<b>x.csv"))
    assert all(f"labels {name}: no such video" in page for name in names)
    assert "&lt;b&gt;x.csv" in page
    assert "a = b" in page
    assert "Label files without a video<small>41</small>" in page


def test_a_page_has_an_end():
    page = page_of([row("a")], unused("labels", *(f"labels{n}.csv" for n in range(MAX_ENTRIES + 5))))
    assert f"labels{MAX_ENTRIES - 1}.csv" in page
    assert f"labels{MAX_ENTRIES}.csv" not in page
    assert "the first 1,000 of 1,005" in page


def test_lines_have_a_number_and_three_names():
    rows = [row(f"v{n}", label_problem="ends_early", num_label_rows=1) for n in range(5)]
    assert label_warnings(rows) == ("5 label files end more than 1 s before their video: v0, v1, v2 and 2 more",)
    entries = [*unused("labels", "a.csv", "b.csv"), *unused("list", "x"), *unused("file", "notes.pdf")]
    assert source_warnings(rows, entries) == (
        "2 label files belong to no video: a.csv, b.csv",
        "1 name in the lists is no video's: x",
    )


def test_many_copies_are_one_short_line():
    rows = [row(f"v{n:03d}", "9-same") for n in range(100)] + [row("a", "9-x"), row("b", "9-x")]
    assert source_warnings(rows, []) == (
        "100 videos are copies of another and in the same group: a = b, v000 = v001 = v002 and 97 more",
    )
    assert "v000 = v001 = v002 = v003" in page_of(rows, [])


def test_every_kind_is_on_the_page_and_in_the_terminal():
    unused_kinds = [kind for kind in get_args(UnusedKind) if kind != "file"]  # other files: only the plan lists them
    problems = [problem for problem in get_args(LabelProblem) if problem]
    assert (list(UNUSED_TEXTS), list(LABEL_TEXTS)) == (unused_kinds, problems)
    entries = [UnusedInput(kind, f"name of {kind}", f"text of {kind}") for kind in unused_kinds]
    rows = [row(f"row_{problem}", label_problem=problem) for problem in problems]
    findings, lines = source_report(rows, entries).findings, [*source_warnings(rows, entries), *label_warnings(rows)]
    assert len(findings) == len({finding.title for finding in findings}) == len(lines) == len(entries) + len(rows)
    for name in (*(f"of {kind}" for kind in unused_kinds), *(f"row_{problem}" for problem in problems)):
        assert sum(name in finding.entries[0] for finding in findings) == 1
        assert sum(name in line for line in lines) == 1
    for text in (*UNUSED_TEXTS.values(), *LABEL_TEXTS.values()):
        assert all((text.of_one, text.of_several, text.title, text.advice))


def test_an_unknown_kind_is_a_mistake_of_ours():
    for report in (source_report, source_warnings):
        with pytest.raises(KeyError):
            report([row("a")], unused("subtitles", "a.srt"))
    with pytest.raises(KeyError):
        label_warnings([row("a", label_problem="upside_down")])


def test_sound_beside_a_video_without_any_is_named_with_the_command_that_helps():
    soundless = {"container": "mp4", "status": "ok"}
    rows = [
        replace(row("x__a_b", **soundless), uri="/videos/x/a b.MP4"),
        row("c", audio_codec="aac", container="mp4"),
        row("d", container=""),  # its container could not be read: nothing is known about its sound
        row("e", **soundless),
    ]
    entries = unused("sound", "x/a b.wav", "x/a b.flac", "c.wav", "d.wav")
    (line,) = sound_warnings(rows, entries)
    assert line == (
        "x/a b.MP4 has no sound of its own, and x/a b.wav beside it is not used: put it into the video, ffmpeg -i "
        "'x/a b.MP4' -i 'x/a b.wav' -map 0:v:0 -map 1:a:0 -c copy new.mkv, and replace both by new.mkv as x/a b.mkv"
    )
    assert "x/a b.MP4, beside it x/a b.wav" in page_of(rows, entries)
    (line,) = sound_warnings(rows, [*entries, *unused("sound", "e.m4a")])
    assert line.startswith(
        "2 videos have no sound of their own, and the sound files beside them are not used: e.mp4, x/"
    )
    assert line.endswith("and replace both by new.mkv as e.mkv")
    assert sound_warnings(rows[1:3], entries) == ()
