"""What a store behind `s3://` costs a trial: at first, and once the node's cache holds what it needs.

    python benchmarks/remote.py [--processes 7]

A store of the paper's size (40 subjects of 128 x 160 x 96 voxels, 9,300 pairs of 64 x 64 px) is uploaded to a server
that speaks S3, in a process of its own on loopback (moto, of the `dev` extra: slower than a real one by far, nearer by
far). Then fresh processes open it and get their patches and slices: the first with an empty cache, where the patches
are cut and uploaded; the second on another node, which fetches them; and more, which find them in the cache.
"""

import argparse
import os
import shutil
import statistics
import subprocess
import sys
import tempfile
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent.parent / "tests"))
from prepared_fixtures import make_store
from s3_fixtures import run_server

SHAPE = (128, 160, 96)
READY = """
import sys, time
from mrisynth.data import shards, slices
from mrisynth.data.patches import PatchConfig
from mrisynth.data.store.mirror import locate
from mrisynth.data.store.prepared import open_cohort
began = time.perf_counter()
cohort = open_cohort(locate(sys.argv[1]))
opened = time.perf_counter()
shards.ensure(cohort, PatchConfig(tissue=0))
slices.ensure(cohort)
print(1000 * (opened - began), 1000 * (time.perf_counter() - opened))
"""


def ready(url: str, cache: Path) -> tuple[float, float]:
    """How long a fresh process takes to open the cohort, and then to have its patches and slices, in ms."""
    environment = {**os.environ, "MRISYNTH_CACHE": str(cache)}
    printed = subprocess.check_output([sys.executable, "-c", READY, url], env=environment, encoding="utf-8")
    opened, at_hand = map(float, printed.split())
    return opened, at_hand


def upload(store: Path, remote: object) -> None:
    """Put a store made by hand where `data prepare` would have put it."""
    for path in sorted(store.rglob("*.*"), key=lambda path: (path.suffix == ".json", str(path))):
        if path.is_file():
            remote.upload(path, str(path.relative_to(store)))  # type: ignore[attr-defined]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--processes", type=int, default=7)
    processes = parser.parse_args().processes
    splits = {f"s{number:02}": "train" if number < 31 else "validation" for number in range(40)}
    with tempfile.TemporaryDirectory() as name, run_server() as server:
        folder, url = Path(name), server.url("store")
        make_store(folder / "store", splits, shape=SHAPE)
        upload(folder / "store", server.remote("store"))
        shutil.rmtree(folder / "store")
        rows = [("empty cache, patches cut", ready(url, folder / "node-1"))]
        rows.append(("another node, patches fetched", ready(url, folder / "node-2")))
        warm = [ready(url, folder / "node-2") for _ in range(processes)]
        rows.append((f"in the cache, median of {processes}", tuple(map(statistics.median, zip(*warm, strict=True)))))
    print(f"{'':34}{'open, ms':>10}{'patches, ms':>13}")
    for what, (opened, at_hand) in rows:
        print(f"{what:34}{opened:10.0f}{at_hand:13.1f}")


if __name__ == "__main__":
    main()
