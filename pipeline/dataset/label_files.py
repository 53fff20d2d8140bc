"""The label file of one stream, as it was when the plan was made."""

from __future__ import annotations

from pipeline import storage
from pipeline.dataset.identity import identity_of_bytes
from pipeline.dataset.labels import LabelRows, label_text, parse, parse_gold
from pipeline.records import Rejection, Video
from pipeline.sections import SourceConfig


def read_labels(video: Video, source: SourceConfig) -> LabelRows:
    """The rows of a stream's label file, or of its two; none when there is no such file.

    Raises:
        LabelError: the file is not of the grammar.
        FileNotFoundError: it is gone.
        Rejection: ("labels", "changed") when it has other bytes than the plan was made for.
    """
    uris = [uri for uri in (video.labels_uri, video.arousal_uri) if uri]
    if not uris:
        return parse("frame,valence,arousal", name="")
    files = [storage.read_bytes(uri) for uri in uris]
    if (found := "+".join(map(identity_of_bytes, files))) != video.labels_identity:
        planned = video.labels_identity
        raise Rejection("labels", "changed", f"{uris[0]}: planned with identity {planned}, now it has {found}")
    texts = [label_text(data, name=name) for data, name in zip(files, uris, strict=True)]
    if len(texts) == 1:
        return parse(texts[0], name=uris[0])
    return parse_gold(texts, names=uris, delays_s=(source.valence_delay_s, source.arousal_delay_s))
