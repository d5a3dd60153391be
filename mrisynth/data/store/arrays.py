"""Arrays of fixed shape in one Arrow file: written once, then mapped into memory by every process that reads them.

The one door to Arrow for prepared volumes, patch shards and evaluation slices. A file holds named arrays of one
common length along their first axis (slices of a volume, patches of a shard), uncompressed: reading copies nothing.
The SHA-256 of all that it holds stands in its own schema: `check_arrays` tells whether it still holds that.
"""

import hashlib
import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from mrisynth.errors import InvalidInputError, NotFoundError
from mrisynth.files import write_with

_CHECKSUM = b"mrisynth.sha256"


def write_arrays(path: Path, arrays: Mapping[str, NDArray[Any]]) -> None:
    """Write named arrays as one Arrow IPC file of a single record batch, whole or not at all.

    Args:
        path: the file; its folder exists.
        arrays: name -> array of integers or floats, shape (rows, ...), the same number of rows in each. Booleans go
            in as uint8, since Arrow packs them into bits, which cannot be mapped.

    Raises:
        ValueError: the arrays differ in their number of rows, or one cannot be mapped.
    """
    rows = {name: len(array) for name, array in arrays.items()}
    if len(set(rows.values())) != 1:
        raise ValueError(f"the arrays of {path.name} need one common number of rows, but have {rows}")
    columns = {name: _to_column(name, array) for name, array in arrays.items()}
    batch = pa.record_batch(columns)
    batch = batch.replace_schema_metadata({_CHECKSUM: _checksum(batch)})

    def write(temporary: Path) -> None:
        with pa.OSFile(str(temporary), "wb") as sink, pa.ipc.new_file(sink, batch.schema) as writer:
            writer.write_batch(batch)

    write_with(path, write)


def map_arrays(path: Path) -> dict[str, NDArray[Any]]:
    """The arrays of a file that `write_arrays` made, as read-only views of the mapped file: read only where used.

    The mapping lives as long as one of its arrays. The file must never be modified in place: whoever has it mapped
    would crash.

    Raises:
        NotFoundError: there is no such file.
        InvalidInputError: the file is not a whole Arrow file of fixed-shape arrays.
    """
    batch = _map_batch(path)
    return {name: _to_array(column) for name, column in zip(batch.schema.names, batch.columns, strict=True)}


def check_arrays(path: Path) -> bool | None:
    """Whether a file holds what was written into it: all of it is read. None where no checksum was recorded.

    Raises:
        NotFoundError: there is no such file.
        InvalidInputError: the file is not a whole Arrow file of fixed-shape arrays.
    """
    batch = _map_batch(path)
    recorded = (batch.schema.metadata or {}).get(_CHECKSUM)
    return None if recorded is None else bool(recorded == _checksum(batch))


def _map_batch(path: Path) -> Any:
    """The one record batch of a file, mapped into memory."""
    try:
        reader = pa.ipc.open_file(pa.memory_map(str(path)))
        batch = reader.get_batch(0)
        batch.validate()
        for column in batch.columns:
            _to_array(column)
    except FileNotFoundError:
        raise NotFoundError(f"{path} does not exist") from None
    # Besides Arrow's own complaints: no batch at all, columns of text or with gaps, a schema that is not UTF-8.
    except (pa.ArrowException, OSError, ValueError, IndexError, TypeError) as error:
        raise InvalidInputError(
            f"{path} is not a whole Arrow file ({' '.join(str(error).split())}); delete it and have it made again"
        ) from None
    return batch


def _checksum(batch: Any) -> bytes:
    """The SHA-256 of a batch's names, types and values, in hex."""
    found = hashlib.sha256()
    for field, column in zip(batch.schema, batch.columns, strict=True):
        found.update(f"{field.name} {field.type} {len(column)}\n".encode())
        found.update(np.ascontiguousarray(_to_array(column)).reshape(-1).view(np.uint8).data)
    return found.hexdigest().encode()


def _to_column(name: str, array: NDArray[Any]) -> Any:
    """The array as an Arrow column of fixed-shape tensors, or of plain numbers where it has one axis."""
    if array.dtype.kind not in "iuf":
        raise ValueError(
            f"array {name!r} is of type {array.dtype}; only integers and floats can be mapped (booleans as uint8)"
        )
    values = pa.array(np.ascontiguousarray(array).reshape(-1))
    if array.ndim == 1:
        return values
    shape = array.shape[1:]
    # Not FixedShapeTensorArray.from_numpy_ndarray: it misreads the strides of axes of length one as a permutation.
    storage = pa.FixedSizeListArray.from_arrays(values, math.prod(shape))
    return pa.ExtensionArray.from_storage(pa.fixed_shape_tensor(values.type, shape), storage)


def _to_array(column: Any) -> NDArray[Any]:
    """The column as a view of its own buffer, shape (rows, ...).

    Not by Arrow's own `to_numpy` and `flatten`, which import pandas and all of `pyarrow.compute`: half a second for
    every process that trains.
    """
    shape: tuple[int, ...] = (len(column),)
    gaps, first = column.null_count, column.offset
    if isinstance(column.type, pa.FixedShapeTensorType):
        shape += tuple(column.type.shape)
        first *= math.prod(column.type.shape)
        column = column.storage.values
        gaps, first = gaps + column.null_count, first + column.offset
    if gaps or not (pa.types.is_integer(column.type) or pa.types.is_floating(column.type)):
        raise TypeError(f"a column of {column.type} with {gaps} gaps is no array of numbers")
    dtype = np.dtype(column.type.to_pandas_dtype())
    flat: NDArray[Any] = np.frombuffer(
        column.buffers()[1] or b"", dtype, count=math.prod(shape), offset=first * dtype.itemsize
    )
    return flat.reshape(shape)
