import subprocess
import sys
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays_strategy

from mrisynth.data.store.arrays import map_arrays, write_arrays
from mrisynth.errors import InvalidInputError, NotFoundError


def owner(array):
    while isinstance(array.base, np.ndarray):
        array = array.base
    return array


@given(
    dtype=st.sampled_from(["float32", "float64", "uint8", "int16", "int64"]),
    shape=arrays_strategy.array_shapes(min_dims=1, max_dims=4, min_side=1, max_side=4),
)
@settings(max_examples=30, deadline=None)
def test_writing_then_mapping_gives_the_same_array(tmp_path_factory, dtype, shape):
    path = tmp_path_factory.mktemp("arrays") / "a.arrow"
    array = np.random.default_rng(0).integers(0, 100, shape).astype(dtype)
    write_arrays(path, {"a": array})
    mapped = map_arrays(path)["a"]
    assert mapped.dtype == array.dtype
    assert mapped.shape == shape
    np.testing.assert_array_equal(mapped, array)


def test_a_transposed_array_is_written_in_its_own_order(tmp_path):
    array = np.arange(24, dtype=np.float32).reshape(2, 3, 4).transpose(2, 0, 1)
    write_arrays(tmp_path / "a.arrow", {"a": array})
    np.testing.assert_array_equal(map_arrays(tmp_path / "a.arrow")["a"], array)


def test_an_array_without_rows_survives(tmp_path):
    write_arrays(tmp_path / "a.arrow", {"a": np.zeros((0, 1, 4, 4), np.float32)})
    assert map_arrays(tmp_path / "a.arrow")["a"].shape == (0, 1, 4, 4)


def test_mapping_copies_nothing(tmp_path):
    write_arrays(tmp_path / "a.arrow", {"low": np.ones((8, 256, 256), np.float32), "high": np.ones((8, 4), np.uint8)})
    before = pa.total_allocated_bytes()
    arrays = map_arrays(tmp_path / "a.arrow")
    assert pa.total_allocated_bytes() - before < 10_000
    for array in arrays.values():
        assert not owner(array).flags.owndata
        assert not array.flags.writeable


def test_mapping_imports_nothing_heavy(tmp_path):
    write_arrays(tmp_path / "a.arrow", {"low": np.ones((2, 1, 4, 4), np.float32), "subject": np.arange(2)})
    script = "import sys; from pathlib import Path; from mrisynth.data.store.arrays import map_arrays\n"
    script += "map_arrays(Path(sys.argv[1])); print({'pandas', 'pyarrow.compute'} & set(sys.modules))"
    command = [sys.executable, "-c", script, str(tmp_path / "a.arrow")]
    assert subprocess.run(command, check=True, capture_output=True, text=True).stdout == "set()\n"


def test_columns_with_gaps_or_of_anything_but_numbers_are_refused(tmp_path):
    path = tmp_path / "a.arrow"
    for column in (pa.array([1.0, None]), pa.array(["a", "b"]), pa.array([True, False])):
        batch = pa.record_batch({"a": column})
        with pa.OSFile(str(path), "wb") as sink, pa.ipc.new_file(sink, batch.schema) as writer:
            writer.write_batch(batch)
        with pytest.raises(InvalidInputError, match="not a whole Arrow file"):
            map_arrays(path)


def test_mapped_arrays_cannot_be_written(tmp_path):
    write_arrays(tmp_path / "a.arrow", {"a": np.ones((2, 2), np.float32)})
    with pytest.raises(ValueError, match="read-only"):
        map_arrays(tmp_path / "a.arrow")["a"][0, 0] = 2


def test_any_arrow_reader_sees_fixed_shape_tensors(tmp_path):
    array = np.arange(12, dtype=np.float32).reshape(2, 2, 3)
    write_arrays(tmp_path / "a.arrow", {"a": array})
    column = pa.ipc.open_file(str(tmp_path / "a.arrow")).read_all().column("a").combine_chunks()
    np.testing.assert_array_equal(column.to_numpy_ndarray(), array)


def test_arrays_with_different_rows_are_refused(tmp_path):
    with pytest.raises(ValueError, match=r"'b': 3"):
        write_arrays(tmp_path / "a.arrow", {"a": np.ones((2, 2)), "b": np.ones((3, 2))})


def test_booleans_are_refused(tmp_path):
    with pytest.raises(ValueError, match="uint8"):
        write_arrays(tmp_path / "a.arrow", {"mask": np.ones((2, 2), bool)})


def test_a_missing_file_is_named(tmp_path):
    with pytest.raises(NotFoundError, match="absent"):
        map_arrays(tmp_path / "absent.arrow")


@pytest.mark.parametrize("kept", [0, 5, 300])
def test_a_truncated_file_is_refused(tmp_path: Path, kept):
    path = tmp_path / "a.arrow"
    write_arrays(path, {"a": np.ones((2, 100), np.float32)})
    path.write_bytes(path.read_bytes()[:kept])
    with pytest.raises(InvalidInputError, match="delete it"):
        map_arrays(path)
