"""The steps of the GPU hour (run.sh starts this): one JSON, written anew after each step.

A step that crashes, hangs or cannot start is recorded, and the next one begins. Without a GPU every step says so; programs are
only asked whether they start.
"""

import argparse
import concurrent.futures
import datetime
import json
import os
import re
import shutil
import subprocess
import threading
import time


class Hour:
    def __init__(self, arguments):
        self.bundle = arguments.bundle
        self.output = arguments.output
        self.deadline = time.monotonic() + 60 * float(arguments.minutes)
        self.environment = dict(os.environ, LD_LIBRARY_PATH=arguments.libraries)
        self.python_environment = dict(os.environ)  # python finds its own torch; ours is not mixed in
        self.log = open(os.path.join(self.output, "run.log"), "w", encoding="utf-8", errors="replace")
        self.lock = threading.Lock()
        self.result = {}

    def left(self):
        return self.deadline - time.monotonic()

    def save(self):
        path = os.path.join(self.output, "gpu.json")
        with open(path + ".tmp", "w", encoding="utf-8") as file:
            json.dump(self.result, file, indent=1)
            file.write("\n")
        os.replace(path + ".tmp", path)

    def run(self, command, limit_s, environment=None):
        """Runs a command for at most limit_s; returns (state, output, seconds), state "ok", "exit N", "timed out", ..."""
        limit_s = min(limit_s, self.left())
        name = " ".join(os.path.basename(command[0]) if i == 0 else part for i, part in enumerate(command))
        if limit_s < 2:
            return "no time left", "", 0.0
        start = time.monotonic()
        try:
            done = subprocess.run(command, env=environment or self.environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
                                  stdin=subprocess.DEVNULL, timeout=limit_s, cwd=self.output)
            output = done.stdout.decode(errors="replace")
            if done.returncode == 0:
                state = "ok"
            elif done.returncode < 0:
                state = f"signal {-done.returncode}"
            else:
                state = f"exit {done.returncode}"
        except subprocess.TimeoutExpired as expired:
            output, state = (expired.stdout or b"").decode(errors="replace"), "timed out"
        except OSError as error:
            output, state = str(error), "did not start"
        seconds = time.monotonic() - start
        with self.lock:
            self.log.write(f"--- {name}\n--- {state}, {seconds:.1f} s\n{output[-20000:]}\n")
            self.log.flush()
            print(f"[{seconds:6.1f} s] {state:10s} {name}", flush=True)
        return state, output, round(seconds, 1)


def read_json(path):
    try:
        with open(path, encoding="utf-8") as file:
            return json.load(file)
    except (OSError, ValueError):
        return None


def has_gpu():
    return os.path.exists("/dev/nvidiactl") or os.path.exists("/dev/dxg")


def describe(hour):
    """Device, driver, CUDA; and what the bundle was made from."""
    made = read_json(os.path.join(hour.bundle, "sources.json")) or {}
    result = {
        "date": datetime.datetime.now(datetime.timezone.utc).strftime("%Y-%m-%d %H:%M UTC"),
        "revision": made.get("revision", ""),
        "sources": made.get("sources", {}),
        "programs": made.get("programs", {}),
        "cores": os.cpu_count(),
        "device": None,
    }
    if has_gpu():
        query = "name,driver_version,memory.total,clocks.max.sm,clocks.max.mem,power.limit"
        state, output, _ = hour.run(["nvidia-smi", f"--query-gpu={query}", "--format=csv,noheader"], 30)
        fields = [field.strip() for field in output.splitlines()[0].split(",")] if state == "ok" and output else []
        result["device"] = fields[0] if fields else "a GPU that nvidia-smi does not name"
        if len(fields) == 6:
            result.update(driver=fields[1], memory=fields[2], max_clock=fields[3], max_memory_clock=fields[4], power=fields[5])
        state, output, _ = hour.run(["nvidia-smi"], 30)
        found = re.search(r"CUDA Version: *([0-9.]+)", output)
        result["cuda"] = found.group(1) if found else ""
    return result


def test_programs(hour):
    folder = os.path.join(hour.bundle, "bin")
    return [os.path.join(folder, name) for name in sorted(os.listdir(folder)) if name.endswith("_test")]


# Emulated CUDA was tested where the bundle was made, and would take the time of the real one.
NOT_EMULATED = "--gtest_filter=-*mulat*"


def gtest_result(state, path, seconds):
    """Counts and failures of a gtest program's own report."""
    report = read_json(path)
    entry = {"state": state, "seconds": seconds}
    if report is None:
        return entry
    entry["gpu"] = report.get("gpu") == "yes"  # from tests/support/gpu.h: the program used one
    entry.update(tests=report["tests"], failures=report["failures"], skipped=0, failed=[])
    for suite in report["testsuites"]:
        for test in suite["testsuite"]:
            if test.get("result") == "SKIPPED":
                entry["skipped"] += 1
            if test.get("failures"):
                words = test["failures"][0].get("failure", "")
                parameter = f" ({test['value_param']})" if "value_param" in test else ""
                entry["failed"].append({"test": f"{suite['name']}.{test['name']}{parameter}", "words": words[:600]})
    return entry


def run_test(hour, program, fresh_seed):
    if not has_gpu():
        state, _, seconds = hour.run([program, "--gtest_list_tests"], 60)
        return {"state": "no GPU" if state == "ok" else state, "seconds": seconds}
    report = os.path.join(hour.output, os.path.basename(program) + ".tmp")
    command = [program, NOT_EMULATED, f"--gtest_output=json:{report}", "--gtest_brief=1", f"--gtest_random_seed={fresh_seed}"]
    state, _, seconds = hour.run(command, 120)
    result = gtest_result(state, report, seconds)
    if os.path.exists(report):
        os.remove(report)
    return result


def run_tests(hour, fresh_seed):
    """All test programs, on fixed inputs or on fresh ones; some at a time, for most of their work is the reference's."""
    programs = test_programs(hour)
    with concurrent.futures.ThreadPoolExecutor(max(1, min(4, (os.cpu_count() or 1) // 2))) as pool:
        results = pool.map(lambda program: run_test(hour, program, fresh_seed), programs)
        return {os.path.basename(program): result for program, result in zip(programs, results)}


def run_benchmarks(hour):
    """One process a kernel, so that a crash costs only its own rows."""
    lexel = os.path.join(hour.bundle, "bin", "lexel")
    if not has_gpu():
        state, output, _ = hour.run([lexel, "bench", "kernels", "--device", "cuda", "--list"], 60)
        return {"state": "no GPU" if state == "ok" else state, "cases": output.splitlines() if state == "ok" else []}
    result = {"state": "ok", "kernels": {}, "ceilings": {}, "gpu": {}, "rows": []}
    for kernel in hour.result["sources"]:
        path = os.path.join(hour.output, "bench.tmp")
        if os.path.exists(path):
            os.remove(path)
        state, output, seconds = hour.run(
            [lexel, "bench", "kernels", "--device", "cuda", "--kernel", kernel, "--json", path, "--rounds", "5", "--quiet"], 90)
        numbers = read_json(path)
        if os.path.exists(path):
            os.remove(path)
        result["kernels"][kernel] = {"state": state, "seconds": seconds}
        if state != "ok":
            result["kernels"][kernel]["words"] = output.strip().splitlines()[-1][:400] if output.strip() else ""
        if numbers is not None:
            result["gpu"] = numbers.get("gpu", {})
            result["ceilings"].update(numbers["ceilings"])
            result["rows"] += numbers["rows"]
        hour.result["bench"] = result
        hour.save()
    return result


def run_python_peers(hour):
    """What a Python user of this machine has: one JSON a line, so that a hang loses one row."""
    if not has_gpu():
        return {"state": "no GPU"}
    state, output, seconds = hour.run(["python3", "-u", os.path.join(hour.bundle, "peers.py")], 200, hour.python_environment)
    rows = []
    for line in output.splitlines():
        if line.startswith('{"kernel"'):
            try:
                rows.append(json.loads(line))
            except ValueError:
                pass
    return {"state": state, "seconds": seconds, "rows": rows}


def find_sanitizer():
    places = [shutil.which("compute-sanitizer"), "/usr/local/cuda/bin/compute-sanitizer",
              "/usr/local/cuda/compute-sanitizer/compute-sanitizer"]
    return next((place for place in places if place and os.path.exists(place)), None)


def run_sanitizer(hour):
    """memcheck, then racecheck, of each test program; a time limit each, since they take tens of times longer."""
    if not has_gpu():
        return {"state": "no GPU"}
    sanitizer = find_sanitizer()
    if sanitizer is None:
        return {"state": "no compute-sanitizer on this machine"}
    result = {"state": "ok", "runs": {}}
    for tool in ("memcheck", "racecheck"):
        for program in test_programs(hour):
            name = f"{tool} {os.path.basename(program)}"
            command = [sanitizer, "--tool", tool, "--error-exitcode", "99", "--print-limit", "5", program, NOT_EMULATED, "--gtest_brief=1"]
            state, output, seconds = hour.run(command, 60)
            if "Device not supported" in output or "Failed to initialize" in output:
                return {"state": "compute-sanitizer does not work on this machine"}
            found = re.findall(r"ERROR SUMMARY: (\d+) error|RACECHECK SUMMARY: (\d+) hazard", output)
            errors = [line for line in output.splitlines() if line.startswith("=========")]
            result["runs"][name] = {
                "state": state,
                "seconds": seconds,
                "errors": sum(int(a or b) for a, b in found) if found else None,
                "words": errors[:40] if state == "exit 99" else [],
            }
            hour.result["sanitizer"] = result
            hour.save()
            if state == "no time left":
                return result
    return result


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    for name in ("bundle", "output", "minutes", "libraries"):
        parser.add_argument("--" + name, required=True)
    hour = Hour(parser.parse_args())
    hour.result.update(describe(hour))
    hour.save()
    fresh = int(time.time()) % 99999 + 1
    # The most telling first: should the time be short, the sanitizer pays.
    steps = [("tests", lambda: run_tests(hour, 0)), ("bench", lambda: run_benchmarks(hour)),
             ("fresh_tests", lambda: run_tests(hour, fresh) if has_gpu() else {"state": "no GPU"}), ("python_peers", lambda: run_python_peers(hour)),
             ("sanitizer", lambda: run_sanitizer(hour))]
    hour.result["fresh_seed"] = fresh
    for name, step in steps:
        try:
            hour.result[name] = step()
        except Exception as error:  # a bug of ours must not cost the other steps
            hour.result[name] = {"state": f"{type(error).__name__}: {error}"}
        hour.save()
    runs = [*hour.result["tests"].items(), *hour.result["bench"].get("kernels", {}).items()]
    failed = [name for name, run in runs if isinstance(run, dict) and run.get("state") not in ("ok", "no GPU")]
    failed += [name for name, run in hour.result["tests"].items() if isinstance(run, dict) and run.get("gpu") is False and hour.result["device"]]
    print(f"{hour.output}/gpu.json: {hour.result['device'] or 'no GPU'}; failed: {', '.join(failed) or 'none'}")


if __name__ == "__main__":
    main()
