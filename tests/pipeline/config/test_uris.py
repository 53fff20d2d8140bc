"""The settings that are URIs: none is forgotten, and all are made absolute."""

from dataclasses import replace

import pytest

from pipeline.config import Config, UsageError, load
from pipeline.config.settings import all_settings
from pipeline.config.uris import absolute, uri_settings, uris_of, uris_read_by, with_uris

NO_URIS = {
    "name",
    "ablate.bases",
    "ablate.gates",
    "ablate.fronts",
    "ablate.extras",
    "ablate.extra_bases",
    "model.preset",
}
NO_URIS |= {"fetch_model.uri"}  # an address of the web, or a file, for this machine alone


def test_every_text_setting_is_a_uri_or_known_not_to_be_one():
    texts = {name for name, setting in all_settings().items() if setting.type is str}
    digests = {name for name in texts if name.endswith("_sha256")}
    assert texts - digests - NO_URIS - {"cluster.address", "media.ffmpeg"} == set(uri_settings())


def test_all_that_are_set_become_absolute(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    config = absolute(with_uris(Config(), dict.fromkeys(uri_settings(), "here")))
    assert {uri for _, uri, _ in uris_of(config)} == {f"{tmp_path}/here"}
    assert {uri for name, uri, _ in uris_of(absolute(Config())) if name != "storage.root"} == {""}


@pytest.mark.parametrize(
    ("given", "becomes"),
    [("", ""), ("ffmpeg", "ffmpeg"), ("bin/ffmpeg", "{here}/bin/ffmpeg"), ("/a/b", "/a/b"), ("~/b", "{here}/home/b")],
)
def test_the_path_of_ffmpeg_becomes_absolute_and_a_name_is_left_alone(given, becomes, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    config = absolute(load(None, {"media": {"ffmpeg": given}}))
    assert config.media.ffmpeg == becomes.format(here=tmp_path)


@pytest.mark.parametrize(
    ("given", "becomes"),
    [("", ""), ("yunet.onnx", "{here}/yunet.onnx"), ("s3://b/m.onnx", "s3://b/m.onnx"), ("https://h/m", "https://h/m")],
)
def test_the_file_of_a_model_becomes_absolute_and_a_web_address_is_left_alone(given, becomes, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert absolute(load(None, {"fetch_model": {"uri": given}})).fetch_model.uri == becomes.format(here=tmp_path)


def test_a_scheme_that_storage_does_not_know_is_named_with_its_setting():
    config = Config()
    config = config.model_copy(update={"source": replace(config.source, lists="gs://b/lists")})
    with pytest.raises(UsageError, match=r"source\.lists: cannot use 'gs://b/lists'"):
        absolute(config)


def test_a_stage_reads_its_own():
    def read_by(config, *stages):
        return {name for name, _, _ in uris_read_by(config, stages)}

    assert read_by(Config(), "evaluate") == {"evaluate.run", "evaluate.dataset"}
    assert read_by(Config(), "verify") == {"verify.dataset"}
    repair = load(None, {"verify": {"repair": True}})
    of_the_source = {"source.videos", "source.labels", "source.crops", "faces.model_uri"}
    assert read_by(repair, "verify") == {"verify.dataset"} | of_the_source
