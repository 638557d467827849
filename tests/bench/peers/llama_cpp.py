#!/usr/bin/env python3
"""Times llama.cpp on SmolLM2-135M-Instruct (Q4_1) beside our benchmark in the same run, one thread each.

    python3 -m venv /tmp/llama && /tmp/llama/bin/pip install xllamacpp
    cmake --build --preset release --target bench_language_model_bench
    /tmp/llama/bin/python tests/bench/peers/llama_cpp.py --bench build/release/bin/bench_language_model_bench

xllamacpp's wheel carries llama.cpp compiled for x86-64 in general, which chooses among its kernels at run time. It reads prompts of
128 and 512 tokens and writes 64. Both sides are timed in CPU time, of three runs the best. `--serve` leaves its server running instead
(the completions API with log-probabilities), for `lexel eval spae-fewshot --llm URL`.
"""

import argparse
import json
import subprocess
import time

import xllamacpp

MODEL = "data/smollm2-135m-instruct-q4_1.gguf"


def start(model: str) -> xllamacpp.Server:
    params = xllamacpp.CommonParams()
    params.model.path = model
    params.n_ctx = 2048
    params.n_parallel = 1
    params.cpuparams.n_threads = 1
    params.cpuparams_batch.n_threads = 1
    return xllamacpp.Server(params)


def cpu_seconds(server: xllamacpp.Server, first: int, prompt_tokens: int, written: int) -> float:
    prompt = [first] + [100 + i * 37 % 40000 for i in range(1, prompt_tokens)]
    start = time.process_time()
    server.handle_completions(
        {"prompt": prompt, "max_tokens": written, "temperature": 0, "ignore_eos": True})
    return time.process_time() - start


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--model", default=MODEL)
    parser.add_argument("--bench", default="build/release/bin/bench_language_model_bench")
    parser.add_argument("--serve", action="store_true")
    options = parser.parse_args()
    server = start(options.model)
    if options.serve:
        print(server.listening_address + "/v1", flush=True)
        while True:
            time.sleep(3600)
    peer = {}
    for tokens in (128, 512):  # a first token of its own each time, so that nothing is found in the server's cache
        peer[f"read_prompt/fast/{tokens}"] = max(
            tokens / cpu_seconds(server, 200 + run, tokens, 1) for run in range(3))
    cpu_seconds(server, 300, 128, 1)  # and here all of it is
    peer["write_token/fast"] = max(65 / cpu_seconds(server, 300, 128, 64) for _ in range(3))
    del server
    report = subprocess.run(
        [options.bench, "--benchmark_filter=/fast", "--benchmark_format=json",
         "--benchmark_repetitions=3"], check=True, capture_output=True, text=True)
    ours = {}
    for run in json.loads(report.stdout)["benchmarks"]:
        if run["run_type"] == "iteration":
            ours[run["run_name"]] = max(ours.get(run["run_name"], 0.0), run["tokens_per_s"])
    print(f"{'tokens a second':24} {'lexel':>8} {'llama.cpp':>10} {'ratio':>6}")
    for name, theirs in peer.items():
        print(f"{name:24} {ours[name]:8.0f} {theirs:10.0f} {ours[name] / theirs:6.2f}")


if __name__ == "__main__":
    main()
