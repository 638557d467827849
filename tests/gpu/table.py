#!/usr/bin/env python3
"""What the GPU hour found, and what has changed since. Python 3, standard library only.

  table.py table GPU.JSON    records it in results/ and writes the table between the marks of kernels/README.md
  table.py status            one line a kernel: as run, changed since its last run on a GPU, or never run
  table.py sources           {revision, sources: {kernel: SHA-256 of its sources}, programs: {kernel: its tests}} as JSON
  table.py kernels           the kernels' names
  table.py tests             the test programs that have cases for a GPU

  --tree FOLDER              another source tree
"""

import argparse
import hashlib
import json
import os
import re
import subprocess
import sys

MARKS = ("<!-- gpu table -->", "<!-- end of gpu table -->")
# Lists of all kernels: a change of one kernel's line is no change of the others.
NOT_FOLLOWED = ("kernels/cuda/table.h", "kernels/cuda/glue.", "kernels/cuda/plugin.cpp", "kernels/cpu/")


def die(words):
    sys.exit(f"table.py: {words}")


def cuda_files(tree, kernel):
    """kernels/cuda/x.cu, x_backward.cu, x.cpp, ..., and what includes kernels/cuda/x.h, whatever its name."""
    folder = os.path.join(tree, "kernels", "cuda")
    found = []
    for name in os.listdir(folder):
        if re.fullmatch(re.escape(kernel) + r"(_\w+)?\.(cu|cuh|cpp|h)", name):
            found.append(name)
        elif name.endswith((".cu", ".cpp")):
            with open(os.path.join(folder, name), encoding="utf-8") as file:
                if f'"kernels/cuda/{kernel}.h"' in file.read():
                    found.append(name)
    return found


def kernels_of(tree):
    """Every kernel with CUDA code: x of kernels/x.h, x.cpp and kernels/cuda/x*.cu."""
    folder = os.path.join(tree, "kernels")
    names = [name[:-2] for name in os.listdir(folder) if name.endswith(".h") and os.path.exists(os.path.join(folder, name[:-2] + ".cpp"))]
    return sorted(name for name in names if any(file.endswith(".cu") for file in cuda_files(tree, name)))


def reached(tree, queue, folder):
    """The files of the queue, and all in the folder that they include, themselves or through others."""
    found = set()
    while queue:
        path = queue.pop()
        if path in found or path.startswith(NOT_FOLLOWED) or not os.path.exists(os.path.join(tree, path)):
            continue
        found.add(path)
        with open(os.path.join(tree, path), encoding="utf-8") as file:
            includes = re.findall(r'^\s*#\s*include\s*"([^"]+)"', file.read(), re.MULTILINE)
        queue += [include for include in includes if include.startswith(folder)]
    return found


def sources_of(tree, kernel):
    """Files that a kernel's CUDA side is made of: its own, and all of kernels/ that these include."""
    queue = [f"kernels/{kernel}.h", f"kernels/{kernel}.cpp"]
    queue += ["kernels/cuda/" + name for name in cuda_files(tree, kernel)]
    return sorted(reached(tree, queue, "kernels/"))


def tests_of(tree):
    """{program: source} of the tests that ask for a GPU: those that reach tests/support/gpu.h, and the one of devices."""
    found = {"kernels_device_test": "tests/kernels/device_test.cpp"}
    for folder, _, names in os.walk(os.path.join(tree, "tests")):
        for name in names:
            path = os.path.relpath(os.path.join(folder, name), tree).replace(os.sep, "/")
            if name.endswith("_test.cpp") and "tests/support/gpu.h" in reached(tree, [path], "tests/"):
                found[path[len("tests/"):-len(".cpp")].replace("/", "_")] = path
    return dict(sorted(found.items()))


def programs_of(tree, kernel):
    """The test programs among them that include the kernel's header, or that of its CUDA half."""
    found = []
    for program, path in tests_of(tree).items():
        with open(os.path.join(tree, path), encoding="utf-8") as file:
            if re.search(rf'"kernels/(cuda/)?{re.escape(kernel)}\.h"', file.read()):
                found.append(program)
    return found


def hash_of(tree, kernel):
    digest = hashlib.sha256()
    for path in sources_of(tree, kernel):
        with open(os.path.join(tree, path), "rb") as file:
            digest.update(path.encode() + b"\0" + file.read() + b"\0")
    return digest.hexdigest()


def revision_of(tree):
    try:
        name = subprocess.run(["git", "-C", tree, "describe", "--always", "--dirty", "--abbrev=12"], capture_output=True, text=True,
                              check=True)
        return name.stdout.strip()
    except (OSError, subprocess.CalledProcessError):
        return ""


def read_json(path):
    try:
        with open(path, encoding="utf-8") as file:
            return json.load(file)
    except OSError as error:
        die(f"{path}: {error.strerror}")
    except ValueError as error:
        die(f"{path}: no JSON: {error}")


def results_folder(tree):
    return os.path.join(tree, "tests", "gpu", "results")


def records(tree):
    """All recorded runs, oldest first."""
    folder = results_folder(tree)
    names = sorted(os.listdir(folder)) if os.path.isdir(folder) else []
    found = [read_json(os.path.join(folder, name)) for name in names if name.endswith(".json")]
    return sorted(found, key=lambda run: run.get("date", ""))


def test_of(run, kernel, step):
    """What the kernel's test programs say together."""
    entries = run.get(step) or {}
    mine = [entries[name] for name in run["programs"].get(kernel, []) if name in entries]
    if not mine:
        return {}
    bad = [one["state"] for one in mine if one.get("state") != "ok"]
    total = {"state": bad[0] if bad else "ok"}
    total["gpu"] = any(one.get("gpu") for one in mine)
    for key in ("tests", "failures"):
        if any(key in one for one in mine):
            total[key] = sum(one.get(key, 0) for one in mine)
    return total


def has_run(run, kernel):
    """Whether the kernel's tests ran on that machine's GPU, well or not."""
    test = test_of(run, kernel, "tests")
    return bool(run.get("device") and test.get("gpu")) and test.get("tests", 0) > 0


def verdict(run, kernel):
    """Of the tests: "passed", or what was wrong."""
    words = []
    for step, name in (("tests", ""), ("fresh_tests", " on fresh inputs")):
        test = test_of(run, kernel, step)
        if test.get("failures"):
            words.append(f"{test['failures']} of {test['tests']} tests fail{name}")
        elif test.get("state") not in ("ok", None):
            words.append(f"tests: {test['state']}{name}")
    sanitizer = (run.get("sanitizer") or {}).get("runs") or {}
    for name, one in sanitizer.items():
        if name.split()[1] in run["programs"].get(kernel, []) and one.get("errors"):
            words.append(f"{name.split()[0]}: {one['errors']} errors")
    return "; ".join(words) or "passed"


def status(tree):
    runs = records(tree)
    for kernel in kernels_of(tree):
        now = hash_of(tree, kernel)
        mine = [run for run in runs if has_run(run, kernel)]
        same = [run for run in mine if run["sources"].get(kernel) == now]
        if same:
            words = f"as run on {same[-1]['device']}, {same[-1]['date'][:10]}: {verdict(same[-1], kernel)}"
        elif mine:
            words = f"changed since its run on {mine[-1]['device']}, {mine[-1]['date'][:10]}"
        else:
            words = "never run on a GPU"
        print(f"{kernel:18s} {words}")


def time_words(seconds):
    for unit, factor in (("s", 1), ("ms", 1e3), ("us", 1e6)):
        if seconds * factor >= 1 or unit == "us":
            value = seconds * factor
            return f"{value:.{2 if value < 10 else 1 if value < 100 else 0}f} {unit}"
    return ""


def rate_words(rate, ceiling):
    unit = "B/s" if ceiling in ("read", "update") else "FLOP/s"
    return f"{rate / 1e12:.3g} T{unit}" if rate >= 1e12 else f"{rate / 1e9:.3g} G{unit}"


def table_of(tree, run):
    """The lines between the marks."""
    bench = run.get("bench") or {}
    ceilings = bench.get("ceilings") or {}
    gpu = bench.get("gpu") or {}
    lines = [
        f"{run['device']} (sm_{gpu.get('capability', '?')}), driver {run.get('driver', '?')}, CUDA {run.get('cuda') or '?'}, "
        f"{run['date']}, revision {run.get('revision') or '?'}; medians of CUDA graphs on a cold L2 cache, outputs checked first."
    ]
    measured = [f"{name} {rate_words(rate, name)}" for name, rate in ceilings.items() if rate > 0]
    if measured:
        lines.append(f"Ceilings measured in the run: {', '.join(measured)}.")
    lines += ["", "| kernel | case | ours | peer | its time | ratio | ceiling used |", "|---|---|---:|---|---:|---:|---|"]
    python_rows = list((run.get("python_peers") or {}).get("rows") or [])
    for row in bench.get("rows") or []:
        first = [f"`{row['kernel']}`", row["case"]]
        if "error" in row:
            lines.append(f"| {first[0]} | {first[1]} | failed | {row['error']} | | | |")
            continue
        ours = row["ours"]
        share = f"{100 * row['ceiling_used']:.0f} % of {row['ceiling']}" if row.get("ceiling_used") else "-"
        if row.get("ceiling_used") and "seconds" in ours:
            share += f" ({rate_words(row['work'] / ours['seconds'], row['ceiling'])})"
        first += [time_words(ours["seconds"]) if "seconds" in ours else "failed"]
        peers = list(row["peers"])
        for other in python_rows:
            if (other["kernel"], other["case"]) == (row["kernel"], row["case"]):
                peers.append(dict(other["peer"], name="Python: " + other["peer"]["name"]))
        for i, peer in enumerate(peers or [{"name": "", "error": ""}]):
            cells = first if i == 0 else ["", "", ""]
            if "seconds" in peer:
                ratio = f"{peer['seconds'] / ours['seconds']:.2f} x" if "seconds" in ours else ""
                cells = cells + [peer["name"], time_words(peer["seconds"]), ratio]
            else:
                cells = cells + [peer["name"], "failed" if peer["name"] else "", ""]
            cells.append(share if i == 0 else "")
            lines.append("|" + "|".join(f" {cell} " if cell else " " for cell in cells) + "|")
    rows = {(row["kernel"], row["case"]) for row in bench.get("rows") or []}
    alone = [other for other in python_rows if (other["kernel"], other["case"]) not in rows]
    for other in alone:
        seconds = other["peer"].get("seconds")
        lines.append(f"| `{other['kernel']}` | {other['case']} | | Python: {other['peer']['name']} | "
                     f"{time_words(seconds) if seconds else 'failed'} | | |")
    lines += ["", "| kernel | tests on the GPU | sources (SHA-256) |", "|---|---|---|"]
    for kernel, digest in sorted(run["sources"].items()):
        test = test_of(run, kernel, "tests")
        words = f"{test['tests']} run, {verdict(run, kernel)}" if has_run(run, kernel) else "not run"
        lines.append(f"| `{kernel}` | {words} | `{digest[:16]}` |")
    sanitizer = run.get("sanitizer") or {}
    ran = [name for name, one in (sanitizer.get("runs") or {}).items() if one.get("errors") is not None]
    lines += ["", f"compute-sanitizer: {len(ran)} runs to the end." if ran else f"compute-sanitizer: {sanitizer.get('state', 'not run')}."]
    return lines


def write_table(tree, path):
    run = read_json(path)
    if not run.get("device"):
        die(f"{path}: a run without a GPU")
    readme = os.path.join(tree, "kernels", "README.md")
    with open(readme, encoding="utf-8") as file:
        text = file.read()
    if text.count(MARKS[0]) != 1 or text.count(MARKS[1]) != 1 or text.index(MARKS[0]) > text.index(MARKS[1]):
        die(f"{readme}: expected one {MARKS[0]} before one {MARKS[1]}")
    head, rest = text.split(MARKS[0])
    tail = rest.split(MARKS[1])[1]
    name = re.sub(r"[^a-z0-9]+", "-", run["device"].lower()).strip("-")
    os.makedirs(results_folder(tree), exist_ok=True)
    record = os.path.join(results_folder(tree), name + ".json")
    for target, content in ((record, json.dumps(run, indent=1) + "\n"),
                            (readme, head + MARKS[0] + "\n" + "\n".join(table_of(tree, run)) + "\n" + MARKS[1] + tail)):
        with open(target + ".tmp", "w", encoding="utf-8") as file:
            file.write(content)
        os.replace(target + ".tmp", target)
    print(f"{record}\n{readme}")


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("command", choices=("table", "status", "sources", "kernels", "tests"))
    parser.add_argument("json", nargs="?")
    parser.add_argument("--tree", default=os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", ".."))
    arguments = parser.parse_args()
    tree = os.path.abspath(arguments.tree)
    if (arguments.command == "table") != (arguments.json is not None):
        parser.error("table needs the JSON of a run; the others take none")
    if arguments.command == "table":
        write_table(tree, arguments.json)
    elif arguments.command == "status":
        status(tree)
    elif arguments.command == "sources":
        kernels = kernels_of(tree)
        print(json.dumps({"revision": revision_of(tree), "sources": {kernel: hash_of(tree, kernel) for kernel in kernels},
                          "programs": {kernel: programs_of(tree, kernel) for kernel in kernels}}, indent=1))
    else:
        print("\n".join(kernels_of(tree) if arguments.command == "kernels" else tests_of(tree)))


if __name__ == "__main__":
    main()
