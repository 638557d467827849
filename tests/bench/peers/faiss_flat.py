#!/usr/bin/env python3
"""Times faiss-cpu's IndexFlatIP, k = 1, on the look-ups of `lexel bench kernels --kernel codebook_lookup`, beside ours.

    python3 -m venv /tmp/faiss && /tmp/faiss/bin/pip install faiss-cpu numpy
    /tmp/faiss/bin/python tests/bench/peers/faiss_flat.py --lexel build/release/bin/lexel --threads 1

The vectors are drawn from a seed, unit length, as in ours: no time depends on their values. Ids are compared with numpy's
before anything is timed. With one thread the time is the thread's CPU time, else wall time; of all calls the best, as in ours.
"""

import argparse
import json
import subprocess
import time

import faiss
import numpy

SIZES = ["1024 x 8192 x 32", "8192 x 8192 x 32", "1024 x 8192 x 256", "1 x 8192 x 32"]


def unit_vectors(seed: int, count: int, width: int) -> numpy.ndarray:
    x = numpy.random.default_rng(seed).standard_normal((count, width), dtype=numpy.float32)
    return x / numpy.linalg.norm(x, axis=1, keepdims=True)


def faiss_seconds(size: str, threads: int) -> float:
    num_rows, num_codes, width = (int(word) for word in size.split(" x "))
    rows, codes = unit_vectors(1, num_rows, width), unit_vectors(2, num_codes, width)
    index = faiss.IndexFlatIP(width)
    index.add(codes)
    differ = int((index.search(rows, 1)[1][:, 0] != (rows @ codes.T).argmax(1)).sum())
    assert differ <= 1 + num_rows // 1000, f"{differ} ids differ from numpy's"
    clock = time.thread_time if threads == 1 else time.perf_counter
    best, begin = float("inf"), time.perf_counter()
    while time.perf_counter() - begin < 1.0:
        start = clock()
        index.search(rows, 1)
        best = min(best, clock() - start)
    return best


def lexel_seconds(program: str, size: str, threads: int) -> float:
    command = [program, "bench", "kernels", "--kernel", "codebook_lookup", "--case", size + ", cosine"]
    command += ["--threads", str(threads), "--rounds", "2", "--json", "-", "--quiet"]
    out = subprocess.run(command, check=True, capture_output=True, text=True).stdout
    rows = [row for row in json.loads(out)["rows"] if row["case"] == size + ", cosine"]
    return rows[0]["ours"]["seconds"]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--lexel", help="the program of the same machine, to time beside faiss")
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--sizes", nargs="+", default=SIZES, help="rows x codes x width")
    options = parser.parse_args()
    faiss.omp_set_num_threads(options.threads)
    print(f"faiss-cpu {faiss.__version__} ({faiss.get_compile_options().strip()}), {options.threads} threads")
    for size in options.sizes:
        theirs = faiss_seconds(size, options.threads)
        line = f"{size:20} faiss IndexFlatIP {theirs * 1e3:9.3f} ms"
        if options.lexel:
            ours = lexel_seconds(options.lexel, size, options.threads)
            line += f"   codebook_lookup {ours * 1e3:9.3f} ms   ratio {theirs / ours:6.2f}"
        print(line, flush=True)


if __name__ == "__main__":
    main()
