import dataclasses

import pytest
import torch

from iaca_model.config import FeatureSpec
from pipeline.dataset.format.dataset_info import read_index
from pipeline.training import sampler
from pipeline.training.loader import Loader, read_segment
from pipeline.training.ranks import Ranks
from tests.support.fake_dataset import write_shard
from tests.support.fake_features import AUDIO_DIM, VIDEO_DIM, small_features
from tests.support.fake_run import small_config, small_segments

CONFIG = small_config()


@pytest.fixture(scope="module")
def dataset(tmp_path_factory):
    directory = tmp_path_factory.mktemp("dataset")
    rows = write_shard(directory, "train-00000", small_segments("train", 3))
    samples = sampler.training_samples(rows, stride=8, num_phases=4, seed=1, epoch=0)
    return str(directory), sampler.batches(samples, 5)


def load(dataset, rank=0, world_size=1, skip=0, **settings):
    uri, batches = dataset
    loader = Loader(uri, CONFIG.sequence, CONFIG.input_spec, Ranks(rank, world_size), **settings)
    return batches_of(loader.read(batches[skip:]))


def batches_of(parts):
    return [part.batch for part in parts]


def same(one, other):
    return all(torch.equal(a, b) for a, b in zip(one.tensors(), other.tensors(), strict=True))


def joined(parts):
    return [torch.cat(tensors) for tensors in zip(*(part.tensors() for part in parts), strict=True)]


@pytest.mark.parametrize("world_size", [2, 3])
def test_ranks_together_load_what_one_rank_loads_in_the_same_number_of_steps(dataset, world_size):
    alone = load(dataset)
    ranks = [load(dataset, rank, world_size) for rank in range(world_size)]
    assert {len(batches) for batches in ranks} == {len(alone)}
    for whole, *parts in zip(alone, *ranks, strict=True):
        assert len({len(part) for part in parts}) == 1
        real = [part.slice(0, int(part.video_ok_BL.any(1).sum())) for part in parts]
        assert all(torch.equal(a, b) for a, b in zip(joined(real), whole.tensors(), strict=True))


def test_a_part_has_the_position_and_the_groups_of_its_sequences(dataset):
    uri, batches = dataset
    assert any(len({sample.row.group for sample in global_batch}) > 1 for global_batch in batches)
    loaders = [Loader(uri, CONFIG.sequence, CONFIG.input_spec, Ranks(rank, 2)) for rank in range(2)]
    for global_batch, *parts in zip(batches, *(loader.read(batches) for loader in loaders), strict=True):
        groups = [sample.row.group for sample in global_batch for _ in sample.phases]
        for part in parts:
            assert len(part.groups) == len(part.batch)
            real = [group for group in part.groups if group]
            assert groups[part.first : part.first + len(real)] == real
            assert part.groups[len(real) :] == (None,) * (len(part.batch) - len(real))
        assert sum(None in part.groups for part in parts) == len(groups) % 2


def test_skipping_batches_resumes_in_the_middle_of_an_epoch(dataset):
    for whole, resumed in zip(load(dataset)[2:], load(dataset, skip=2), strict=True):
        assert same(whole, resumed)


@pytest.mark.parametrize("settings", [{"num_threads": 1}, {"num_threads": 4, "num_ahead": 0}])
def test_threads_do_not_change_what_is_loaded(dataset, settings):
    assert all(same(a, b) for a, b in zip(load(dataset), load(dataset, **settings), strict=True))


def test_leaving_early_stops_the_threads(dataset):
    import threading

    uri, batches = dataset
    reading = Loader(uri, CONFIG.sequence, CONFIG.input_spec).read(batches)
    next(reading)
    reading.close()
    for thread in [t for t in threading.enumerate() if t.name.startswith("loader")]:
        thread.join(timeout=10)
        assert not thread.is_alive()


def test_the_index_and_the_shard_must_agree(dataset):
    uri, batches = dataset
    row = batches[0][0].row
    with pytest.raises(ValueError, match=r"the index says other"):
        read_segment(uri, dataclasses.replace(row, key="other"))
    with pytest.raises(ValueError, match=r"not a tar slice|lacks"):
        read_segment(uri, dataclasses.replace(row, offset=row.offset + 512))
    with pytest.raises(ValueError, match=r"ends \d+ bytes before sample"):
        read_segment(uri, dataclasses.replace(row, offset=10**9))


def test_an_unreadable_sample_is_masked_and_counted_and_its_neighbours_are_untouched(dataset):
    uri, batches = dataset
    broken = dataclasses.replace(batches[0][0], row=dataclasses.replace(batches[0][0].row, offset=10**9))
    loader = Loader(uri, CONFIG.sequence, CONFIG.input_spec)
    (part,) = loader.read([[broken, *batches[0][1:]]])
    (whole,) = batches_of(Loader(uri, CONFIG.sequence, CONFIG.input_spec).read([batches[0]]))
    batch = part.batch
    count = len(broken.phases)
    assert loader.num_unreadable == 1
    assert part.groups[:count] == (None,) * count
    assert None not in part.groups[count:]
    assert not batch.video_ok_BL[:count].any()
    assert not batch.target_ok_BL[:count].any()
    assert same(batch.slice(count, len(batch)), whole.slice(count, len(whole)))


def test_features_are_loaded_like_crops_and_what_cannot_be_read_is_masked(tmp_path):
    info = small_features(tmp_path, splits=("train",))
    rows = read_index(info.uri)
    shifted = [dataclasses.replace(rows[0], offset=rows[0].offset + 512), *rows[1:]]
    batches = sampler.batches(sampler.validation_samples(shifted, stride=8, num_phases=2), 3)
    spec = FeatureSpec(CONFIG.sequence.num_subclips, VIDEO_DIM, AUDIO_DIM)
    ranks = [Loader(info.uri, CONFIG.sequence, spec, Ranks(rank, 2)) for rank in range(2)]
    parts = [batches_of(loader.read(batches)) for loader in ranks]
    assert [[len(batch) for batch in part] for part in parts] == [[2, 2], [2, 2]]
    assert sum(loader.num_unreadable for loader in ranks) == 2
    assert sum(int(batch.video_ok_BL.any(1).sum()) for part in parts for batch in part) == 4
    last = parts[1][1].slice(1, 2)
    expected = read_segment(info.uri, rows[2]).features
    phase = sampler.validation_samples(rows, stride=8, num_phases=2)[2].phases[-1]
    assert torch.equal(last.video_BLD[0], torch.from_numpy(expected.video_ND[phase::8]).float())
    assert torch.equal(last.audio_BLD[0], torch.from_numpy(expected.audio_ND[phase::8]).float())
    assert last.target_ok_BL.all()
