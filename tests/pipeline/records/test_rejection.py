import pickle

import numpy as np

from pipeline.records import FRAME_DTYPE, Rejection


def test_a_rejection_travels_between_processes_with_all_it_holds():
    frames = np.zeros(3, FRAME_DTYPE)
    frames["time_s"] = [0.0, 0.04, 0.08]
    rejection = Rejection("faces", "no_face", "no face in 3 frames", contact_sheet=b"a picture", frames=frames)
    copy = pickle.loads(pickle.dumps(rejection))
    assert str(copy) == str(rejection) == "faces: no_face: no face in 3 frames"
    assert (copy.stage, copy.reason, copy.detail) == ("faces", "no_face", "no face in 3 frames")
    assert copy.contact_sheet == b"a picture"
    assert np.array_equal(copy.frames["time_s"], frames["time_s"])


def test_a_rejection_without_pictures_holds_none():
    copy = pickle.loads(pickle.dumps(Rejection("probe", "unreadable", "the file is empty")))
    assert (copy.contact_sheet, copy.frames) == (b"", None)
