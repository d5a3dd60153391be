"""Arrays of fixed shape in one Arrow file: written once, then mapped into memory by every process that reads them.

The one door to Arrow for prepared volumes, patch shards and evaluation slices. A file holds named arrays of one
common length along their first axis (slices of a volume, patches of a shard), uncompressed: reading copies nothing.
"""

import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from mrisynth.errors import InvalidInputError, NotFoundError
from mrisynth.files import write_with


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
    try:
        batch = pa.ipc.open_file(pa.memory_map(str(path))).get_batch(0)
    except FileNotFoundError:
        raise NotFoundError(f"{path} does not exist") from None
    except (pa.ArrowInvalid, OSError) as error:
        raise InvalidInputError(
            f"{path} is not a whole Arrow file ({error}); delete it and have it made again"
        ) from None
    return {name: _to_array(column) for name, column in zip(batch.schema.names, batch.columns, strict=True)}


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
    """The column as a view of its own buffer, shape (rows, ...)."""
    if isinstance(column.type, pa.FixedShapeTensorType):
        flat: NDArray[Any] = column.storage.flatten().to_numpy(zero_copy_only=True)
        return flat.reshape(len(column), *column.type.shape)
    plain: NDArray[Any] = column.to_numpy(zero_copy_only=True)
    return plain
