"""The raw bytes of MetaImage and NRRD files against what their headers promise.

SimpleITK reads a MetaImage with damaged compression without a word. Encodings and lists of files that are rare are left
to SimpleITK, which refuses them where it finds too few voxels.
"""

import difflib
import math
import re
from pathlib import Path

from mrisynth.data.scans import packed
from mrisynth.data.scans.inspection import Problem, check_exists, check_shape, check_spacing, error, sheared, too_large

ENDINGS = (".mha", ".mhd", ".nrrd", ".nhdr")

_HEADER_BYTES = 2**20
_META_BYTES = {"CHAR": 1, "SHORT": 2, "INT": 4, "LONG": 4, "LONG_LONG": 8, "FLOAT": 4, "DOUBLE": 8}
_META_VECTORS = {"DimSize", "ElementSpacing", "ElementSize", "Offset", "Origin", "Position", "CenterOfRotation"}
_META_MATRICES = {"TransformMatrix", "Rotation", "Orientation"}
_META_SWITCHES = {"BinaryData", "BinaryDataByteOrderMSB", "ElementByteOrderMSB", "CompressedData"}
_META_WORDS = {
    *("ObjectType", "ObjectSubType", "TransformType", "AnatomicalOrientation", "ElementType", "Modality", "Comment"),
    *("Name", "ID", "ParentID", "Color", "SequenceID", "AcquisitionDate", "DistanceUnits", "ElementSizeValid"),
    *("ElementNBits", "ElementToIntensityFunctionSlope", "ElementToIntensityFunctionOffset", "HeaderSizePerSlice"),
}
_A_TYPO = 0.85  # how much a field must be like a known one to be taken for a damaged one, and not for somebody's own
_META_NUMBERS = {"NDims", "CompressedDataSize", "HeaderSize", "ElementNumberOfChannels", "ElementMin", "ElementMax"}
_NRRD_BYTES = {
    1: "signed char,int8,int8_t,uchar,unsigned char,uint8,uint8_t",
    2: "short,short int,signed short,signed short int,int16,int16_t,"
    "ushort,unsigned short,unsigned short int,uint16,uint16_t",
    4: "int,signed int,int32,int32_t,uint,unsigned int,uint32,uint32_t,float",
    8: "longlong,long long,long long int,signed long long,signed long long int,int64,int64_t,"
    "ulonglong,unsigned long long,unsigned long long int,uint64,uint64_t,double",
}
_DAMAGED = error("header", "has no valid header of its format", packed.COPY_AGAIN)


def is_text_header(path: Path) -> bool:
    """Whether a path is named like a MetaImage or NRRD file."""
    return path.name.lower().endswith(ENDINGS)


def check_text_header(path: Path) -> list[Problem]:
    """Read a MetaImage or NRRD file to its last byte and compare it with its header.

    Args:
        path: ends in .mha, .mhd, .nrrd or .nhdr.
    """
    with path.open("rb") as stream:
        raw = stream.read(_HEADER_BYTES)
    try:
        return _check_metaimage(path, raw) if path.suffix.lower() in (".mha", ".mhd") else _check_nrrd(path, raw)
    except ValueError:
        return [_DAMAGED]


def _check_metaimage(path: Path, raw: bytes) -> list[Problem]:
    """A MetaImage, `Key = value` line by line; its voxels follow `ElementDataFile`."""
    end = re.search(rb"^[ \t]*ElementDataFile[ \t]*[=:][ \t]*([^\r\n]*)\r?\n?", raw, re.MULTILINE)
    if end is None:
        raise ValueError
    fields = _meta_fields(raw[: end.start()])
    shape = [int(length) for length in fields.get("DimSize", "").split()]
    bytes_each = _meta_bytes(fields.get("ElementType", ""))
    count = int(fields.get("NDims", "0"))
    if not 2 <= count <= 4 or len(shape) != count or min(shape) < 1 or bytes_each is None:
        raise ValueError
    sizes = fields.get("ElementSpacing", fields.get("ElementSize", "1 1 1")).split()[:3]
    wrong = check_spacing(tuple(map(float, sizes))) or _check_finite(fields, ("TransformMatrix", "Offset", "Position"))
    channels = int(fields.get("ElementNumberOfChannels", "1"))
    if wrong or channels != 1 or fields.get("BinaryData", "True").lower() not in ("true", "1"):
        return wrong
    name = end[1].decode("utf-8").strip()
    if not name.isprintable():
        raise ValueError
    local = name.upper() == "LOCAL"
    if not local and (name.upper().startswith("LIST") or "%" in name):
        return []
    compressed = fields.get("CompressedData", "False").lower() in ("true", "1")
    start = end.end() if local else 0
    skip = int(fields.get("HeaderSize", "0")) if not compressed else 0
    if skip < 0 or (local and skip):
        return []
    need = math.prod(shape) * bytes_each
    if compressed and local and int(fields.get("CompressedDataSize", "-1")) != path.stat().st_size - start:
        return [error("truncated", "has not as many bytes as its CompressedDataSize promises", packed.COPY_AGAIN)]
    return _check_data(path if local else path.parent / name, start + skip, need, packed.ZLIB if compressed else None)


def _meta_bytes(kind: str) -> int | None:
    """How long a voxel of a MetaImage is, in bytes."""
    name = kind.removeprefix("MET_").removesuffix("_ARRAY")
    return _META_BYTES.get(name if name in _META_BYTES else name.removeprefix("U"))


def _meta_fields(raw: bytes) -> dict[str, str]:
    """The fields before the voxels, judged strictly: SimpleITK's reader breaks its own memory over some damaged ones.

    Raises:
        ValueError: a line is no field, a field is there twice, or has not as many numbers as there are axes.
    """
    lines = [line.strip() for line in raw.decode("ascii").splitlines() if line.strip()]
    matches = [re.fullmatch(r"(\w+)\s*[=:]\s*([ -~\t]{0,4000})", line) for line in lines]
    pairs = [(match[1], match[2].strip()) for match in matches if match]
    fields = dict(pairs)
    if len(fields) != len(lines):
        raise ValueError
    count = int(fields.get("NDims", "0"))
    for names, length in ((_META_VECTORS, count), (_META_MATRICES, count * count), (_META_NUMBERS, 1)):
        for name in names & set(fields):
            if len([float(value) for value in fields[name].split()]) != length:
                raise ValueError
    if any(fields.get(name, "True").lower() not in ("true", "false", "1", "0") for name in _META_SWITCHES):
        raise ValueError
    known = _META_VECTORS | _META_MATRICES | _META_NUMBERS | _META_SWITCHES | _META_WORDS
    if any(difflib.get_close_matches(name, known, n=1, cutoff=_A_TYPO) for name in set(fields) - known):
        raise ValueError
    if not {"ObjectType", "NDims", "BinaryData", "DimSize", "ElementType"} <= set(fields):
        raise ValueError
    orientation = fields.get("AnatomicalOrientation", "?" * count)
    if len(orientation) != count or fields.get("ObjectType", "Image") != "Image":
        raise ValueError
    return fields


def _check_nrrd(path: Path, raw: bytes) -> list[Problem]:
    """An NRRD file, `field: value` line by line up to an empty line; its voxels follow, or lie in `data file`."""
    if not raw.startswith(b"NRRD"):
        return [_DAMAGED]
    end = re.search(rb"\r?\n\r?\n", raw)
    text = raw[: end.start() if end else len(raw)].decode("latin-1")
    fields: dict[str, str] = {
        key.lower(): value for key, value in re.findall(r"^([^#:\n]+): *(.*?)\s*$", text, re.MULTILINE)
    }
    shape = [int(length) for length in fields.get("sizes", "").split()]
    kind = fields.get("type", "").lower()
    bytes_each = next((size for size, names in _NRRD_BYTES.items() if kind in names.split(",")), None)
    if int(fields.get("dimension", "0")) != len(shape) or not shape or min(shape) < 1 or bytes_each is None:
        return [_DAMAGED]
    wrong = check_shape(tuple(shape), 0) if len(shape) < 3 else _check_directions(fields)
    name = fields.get("data file", fields.get("datafile", ""))
    encoding = fields.get("encoding", "").lower()
    if wrong or encoding not in ("raw", "gzip", "gz") or name.upper().startswith("LIST") or "%" in name:
        return wrong
    if {"line skip", "lineskip", "byte skip", "byteskip"} & set(fields) or (not name and end is None):
        return [] if name or end else [_DAMAGED]
    start = 0 if name or end is None else end.end()
    need = math.prod(shape) * bytes_each
    return _check_data(path.parent / name if name else path, start, need, None if encoding == "raw" else packed.GZIP)


def _check_finite(fields: dict[str, str], names: tuple[str, ...]) -> list[Problem]:
    """Numbers of a place that are none; the transform matrix must not be sheared, which SimpleITK judges."""
    for name in names:
        values = [float(value) for value in fields.get(name, "").split()]
        if not all(math.isfinite(value) for value in values):
            return [error("orientation", f"has a {name} that is not finite", f"correct {name} in its header")]
    return []


def _check_directions(fields: dict[str, str]) -> list[Problem]:
    """The voxel's axes of an NRRD: finite, of a length, at right angles. SimpleITK straightens them silently."""
    if "spacings" in fields:
        sizes = tuple(float(value) for value in fields["spacings"].split())[-3:]
        return check_spacing(sizes)
    vectors = re.findall(r"\(([^)]*)\)", fields.get("space directions", ""))
    axes = [[float(value) for value in vector.split(",")] for vector in vectors]
    if not axes:
        return []
    if len({len(axis) for axis in axes}) != 1:
        return [_DAMAGED]
    origin = {"space origin": re.sub(r"[(),]", " ", fields.get("space origin", ""))}
    wrong = check_spacing(tuple(math.hypot(*axis) for axis in axes)) or _check_finite(origin, ("space origin",))
    if wrong:
        return wrong
    cosines = [
        abs(sum(a * b for a, b in zip(one, other, strict=True))) / (math.hypot(*one) * math.hypot(*other))
        for number, one in enumerate(axes)
        for other in axes[:number]
    ]
    off = math.degrees(math.asin(min(1.0, max(cosines, default=0.0))))
    return [sheared(f"has sheared axes, {off:.1f} degrees off right angles")] if off > 0.1 else []


def _check_data(path: Path, start: int, need: int, kind: int | None) -> list[Problem]:
    """Voxels: all of them, with their checksum where they are compressed."""
    problems = too_large(need)
    if problems:
        return problems
    problems = check_exists(path)
    if problems:
        return [error(p.code, f"needs '{path.name}', which {p.message}", p.remedy) for p in problems]
    if kind is None:
        have = path.stat().st_size - start
        return packed.check_enough(have, need) or packed.check_excess(have - need)
    with path.open("rb") as stream:
        stream.seek(start)
        data, problems = packed.unpack(stream, need, kind)
    if any(problem.severity == "error" for problem in problems):
        return problems
    return packed.check_enough(len(data), need) or problems
