"""Spelling of URIs."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline import storage

NAMES = st.text(st.characters(exclude_characters="/\0", exclude_categories=["Cs"]), min_size=1, max_size=20).filter(
    lambda name: name not in (".", "..")
)
ROOTS = st.one_of(
    st.lists(NAMES, max_size=4).map(lambda names: "/" + "/".join(names)),
    st.lists(NAMES, max_size=3).map(lambda names: "/".join(["s3://bucket", *names])),
)


@given(ROOTS)
def test_normalise_is_its_own_end(root):
    once = storage.normalise(root)
    assert storage.normalise(once) == once
    assert storage.normalise(root + "/") == once


@given(ROOTS, NAMES, NAMES)
def test_joining_once_or_twice_is_the_same(root, first, second):
    at_once = storage.join(root, first, second)
    assert at_once == storage.join(storage.join(root, first), second) == storage.join(root, f"{first}/{second}")
    assert at_once == storage.normalise(at_once)
    assert at_once.endswith(f"/{first}/{second}")
    assert storage.is_local(at_once) == storage.is_local(root)


@given(ROOTS, st.lists(NAMES, max_size=3), st.lists(NAMES, max_size=3))
def test_nothing_climbs_out(root, before, after):
    with pytest.raises(ValueError, match=r"\.\."):
        storage.join(root, *before, "..", *after)


@given(st.lists(NAMES, min_size=1, max_size=4).map(lambda names: "/" + "/".join(names)))
def test_a_file_uri_is_its_path(path):
    assert storage.normalise(Path(path).as_uri()) == storage.normalise(path)


def test_local_spellings(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HOME", "/home/ann")
    here = os.getcwd()
    assert storage.normalise("./outputs/") == f"{here}/outputs"
    assert storage.normalise("a/../b") == f"{here}/b"
    assert storage.normalise("~/videos") == "/home/ann/videos"
    assert storage.normalise("//srv//videos") == "/srv/videos"
    assert storage.normalise("file://localhost/srv/my%20videos/") == "/srv/my videos"
    assert storage.join("/", "srv") == "/srv"
    assert storage.join("s3://bucket") == storage.join("s3://bucket/", "", "/") == "s3://bucket"


@pytest.mark.parametrize(
    "uri", ["", "gs://bucket/x", "http://host/x", "s3a://b/x", "S3://b/x", "s3:/b/x", "s3://", "s3:///x", "C:/videos"]
)
def test_other_uris_are_rejected(uri):
    for use in (storage.normalise, storage.exists, storage.list_files):
        with pytest.raises(ValueError, match=r"allowed are a local path, file:///path and s3://bucket/prefix"):
            use(uri)


def test_a_file_of_another_host_is_refused():
    with pytest.raises(ValueError, match="'nas'"):
        storage.normalise("file://nas/videos")
