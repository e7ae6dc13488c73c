#!/usr/bin/env python3
"""Compiles RocksDB once a machine, outside of cargo's target folder, and tells cargo where it is.

    scripts/rocksdb.py              the archive, and .cargo/rocksdb.toml, which names it to cargo
    scripts/rocksdb.py --print-env  the archive, and the two variables for a project that depends on Floodmark

The sources are those of the locked `librocksdb-sys`, compiled with the options of its build script. Its 342 files are compiled
in a few chunks, each one file of `#include` lines: a third of the time, since the headers are read once a chunk. The archive
lies in ${FLOODMARK_CACHE:-~/.cache/floodmark}/rocksdb-<key>, where the key stands for version, compiler and options. It is
complete or absent: it is made in a temporary folder and renamed, under a lock.
See docs/decisions/0002-one-build-of-rocksdb.md.
"""

import argparse
import concurrent.futures
import contextlib
import fcntl
import hashlib
import json
import os
import pathlib
import platform
import shutil
import subprocess
import sys
import tempfile
import time

ROOT = pathlib.Path(__file__).resolve().parent.parent
CONFIG = ROOT / ".cargo" / "rocksdb.toml"
# One chunk needs up to 2.7 GB while it is compiled.
CHUNK_MEMORY = 3 << 30
LEAST_CHUNKS, MOST_CHUNKS = 4, 12

DEFINES = [
    "NDEBUG=1",
    "HAVE_ALIGNED_NEW",
    "HAVE_UINT128_EXTENSION",
    "OS_LINUX",
    "ROCKSDB_PLATFORM_POSIX",
    "ROCKSDB_LIB_IO_POSIX",
    "ROCKSDB_SCHED_GETCPU_PRESENT",
    "ROCKSDB_AUXV_GETAUXVAL_PRESENT",
    "ROCKSDB_FALLOCATE_PRESENT",
    "ROCKSDB_RANGESYNC_PRESENT",
    "LZ4=1",
]
OPTIONS = ["-std=c++20", "-O3", "-w", "-include", "cstdint", "-fPIC", "-ffunction-sections", "-fdata-sections"]
# Without them RocksDB computes its checksums in software. Every x86-64 processor since 2011 has them.
X86_OPTIONS = ["-msse4.2", "-mpclmul"]


def fail(*lines):
    for line in lines:
        print(f"setup: {line}", file=sys.stderr)
    sys.exit(1)


def tell(line):
    print(f"setup: {line}", file=sys.stderr, flush=True)


def packages():
    """The folders of the two crates whose sources are needed, as Cargo.lock names them; cargo fetches them."""
    command = ["cargo", "metadata", "--format-version", "1", "--locked"]
    metadata = json.loads(subprocess.run(command, cwd=ROOT, check=True, stdout=subprocess.PIPE).stdout)
    found = {package["name"]: package for package in metadata["packages"]}
    rocksdb, lz4 = found["librocksdb-sys"], found["lz4-sys"]
    folder = lambda package: pathlib.Path(package["manifest_path"]).parent
    return rocksdb["version"], folder(rocksdb), folder(lz4)


def compiler():
    return os.environ.get("CXX", "g++")


def options():
    machine = X86_OPTIONS if platform.machine() == "x86_64" else []
    return OPTIONS + machine + [f"-D{define}" for define in DEFINES]


def key(version):
    about = subprocess.run([compiler(), "-v"], check=True, stderr=subprocess.PIPE, stdout=subprocess.DEVNULL).stderr
    digest = hashlib.sha256()
    for part in [version.encode(), about, " ".join(options()).encode()]:
        digest.update(part + b"\0")
    return f"{version.partition('+')[0]}-{digest.hexdigest()[:16]}"


def cores_and_jobs():
    cores = len(os.sched_getaffinity(0))
    with open("/proc/meminfo") as lines:
        available = next(int(line.split()[1]) * 1024 for line in lines if line.startswith("MemAvailable"))
    return cores, max(1, min(cores, available // CHUNK_MEMORY))


def chunks(sources, count):
    """The files in their order, cut into `count` parts of about the same number of bytes."""
    total, parts, so_far = sum(source.stat().st_size for source in sources), [[] for _ in range(count)], 0
    for source in sources:
        parts[min(count - 1, so_far * count // total)].append(source)
        so_far += source.stat().st_size
    return [part for part in parts if part]


def compile_chunk(number, sources, crate, lz4, folder, compilers):
    unit = folder / f"chunk{number}.cc"
    unit.write_text("".join(f'#include "{source}"\n' for source in sources))
    includes = [crate / "rocksdb/include", crate / "rocksdb", crate, lz4 / "liblz4" / "lib"]
    command = [compiler(), *options(), *(f"-I{include}" for include in includes), "-c", str(unit), "-o", str(unit.with_suffix(".o"))]
    compilers.append(subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True))
    process = compilers[-1]
    words = process.communicate()[0]
    if process.returncode != 0:
        raise RuntimeError(words[-4000:])
    return unit.with_suffix(".o")


def build(crate, lz4, destination):
    listed = (crate / "rocksdb_lib_sources.txt").read_text().split()
    sources = [crate / "rocksdb" / name for name in listed if name != "util/build_version.cc"]
    sources.append(crate / "build_version.cc")
    cores, jobs = cores_and_jobs()
    parts = chunks(sources, min(MOST_CHUNKS, max(LEAST_CHUNKS, 2 * jobs if jobs > 2 else 0)))
    tell(f"compiling RocksDB from {len(sources)} C++ files in {len(parts)} chunks, {jobs} at a time; about 3 minutes on two cores,")
    tell(f"once a machine: it is kept in {destination}")
    started = time.monotonic()
    with tempfile.TemporaryDirectory(prefix="building-", dir=destination.parent) as folder:
        folder = pathlib.Path(folder)
        objects, compilers = [], []
        with concurrent.futures.ThreadPoolExecutor(jobs) as pool:
            running = [pool.submit(compile_chunk, number, part, crate, lz4, folder, compilers) for number, part in enumerate(parts)]
            try:
                for future in concurrent.futures.as_completed(running):
                    objects.append(future.result())
                    tell(f"{len(objects)} of {len(parts)} chunks of RocksDB compiled after {time.monotonic() - started:.0f} s")
            except RuntimeError as failure:
                for other in running:
                    other.cancel()
                for process in compilers:
                    process.kill()
                fail("RocksDB could not be compiled:", *str(failure).splitlines())
        made = folder / "made"
        made.mkdir()
        archive = made / "librocksdb.a"
        subprocess.run(["ar", "crs", str(archive), *map(str, sorted(objects))], check=True)
        with open(archive, "rb") as whole:
            os.fsync(whole.fileno())
        os.rename(made, destination)


@contextlib.contextmanager
def locked(path):
    with open(path, "w") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            tell("another setup on this machine is compiling RocksDB; waiting for it")
            fcntl.flock(lock, fcntl.LOCK_EX)
        yield


def archive_folder():
    version, crate, lz4 = packages()
    cache = pathlib.Path(os.environ.get("FLOODMARK_CACHE") or pathlib.Path.home() / ".cache" / "floodmark").absolute()
    destination = cache / f"rocksdb-{key(version)}"
    if not (destination / "librocksdb.a").exists():
        cache.mkdir(parents=True, exist_ok=True)
        with locked(cache / "rocksdb.lock"):
            if not (destination / "librocksdb.a").exists():
                shutil.rmtree(destination, ignore_errors=True)
                build(crate, lz4, destination)
    return destination


def write_config(folder):
    """Written only where it would change: cargo compares the values, and people the times."""
    text = (
        "# Written by make setup, and read through .cargo/config.toml. Without this file cargo compiles RocksDB itself.\n"
        "[env]\n"
        f"ROCKSDB_LIB_DIR = {{ value = {json.dumps(str(folder))}, force = true }}\n"
        'ROCKSDB_STATIC = { value = "1", force = true }\n'
    )
    if not CONFIG.exists() or CONFIG.read_text() != text:
        new = CONFIG.with_suffix(".toml.new")
        new.write_text(text)
        os.replace(new, CONFIG)


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--print-env", action="store_true", help="print the variables for another project's builds; write nothing here")
    arguments = parser.parse_args()
    folder = archive_folder()
    if arguments.print_env:
        print(f"export ROCKSDB_LIB_DIR='{folder}' ROCKSDB_STATIC=1")
    else:
        write_config(folder)


if __name__ == "__main__":
    main()
