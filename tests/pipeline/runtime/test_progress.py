"""Progress lines and results survive the way from a job to its caller."""

from pipeline.runtime.progress import (
    JobResult,
    Progress,
    emit,
    emit_notices,
    parse,
    parse_notice,
    result_from_json,
    result_to_json,
)


def test_progress_lines_are_read_back_and_others_are_not(capsys):
    progress = Progress("shards", 3, 12, "shards", "train-00003 in “2 s”")
    emit(progress)
    line = capsys.readouterr().out
    assert line.count("\n") == 1
    assert parse(line) == progress
    assert parse("an ordinary line") is None
    assert parse(line.rstrip() + line) is None


def test_notices_are_read_back_and_others_are_not(capsys):
    emit_notices(["one", "train.batch_size is “2”"])
    assert list(map(parse_notice, capsys.readouterr().out.splitlines())) == ["one", "train.batch_size is “2”"]
    assert parse_notice("an ordinary line") == ""


def test_results_round_trip():
    result = JobResult("shard", "s3://b/d", skipped=False, seconds=1.5, counts={"videos": 3}, lines=("a", "b"))
    assert result_from_json(result_to_json(result)) == result


def test_lines_of_a_result_can_be_printed():
    result = JobResult("shard", "d", skipped=False, seconds=1.5, lines=("ignored: \udcff.mp3",))
    assert result_from_json(result_to_json(result)).lines == ("ignored: \\udcff.mp3",)
