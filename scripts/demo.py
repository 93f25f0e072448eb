#!/usr/bin/env python3
"""demo.py --binaries DIR --root DIR: `make run`. A pod from the inside, and what its start took.

The root file system holds one static program of our own, probe. Nothing else
is needed: the pod gets its /proc, /sys and /dev from the kernel.
"""

import argparse
import os
import pathlib
import shutil
import statistics
import subprocess
import sys
import time

ROUNDS = 100

# What each line of the report is about; the keys are probe's.
SHOWN = [
    ("pid 1", ["pid1.comm", "pid1.exe"]),
    ("the program", ["exe", "pid", "ppid", "uid", "groups"]),
    ("names", ["hostname", "cwd", "root"]),
    ("namespaces", ["ns.mnt", "ns.pid", "ns.ipc", "ns.uts", "ns.net"]),
    ("confinement", ["CapEff", "CapBnd", "CapInh", "CapAmb", "NoNewPrivs"]),
    ("environment", ["env."]),
    ("descriptors", ["fd."]),
    ("mounts", ["mount"]),
]


def make_root(root, probe):
    (root / "bin").mkdir(parents=True, exist_ok=True)
    shutil.copy2(probe, root / "bin/probe")


def show(report):
    lines = [line.split("=", 1) for line in report.splitlines() if "=" in line]
    for title, keys in SHOWN:
        print(f"\n  {title}")
        for key in keys:
            for name, value in lines:
                if name == key or key.endswith(".") and name.startswith(key):
                    # Of a mount: where it is, its type and options.
                    if name == "mount":
                        where, kind, options = value.split()[:3]
                        name, value = where, f"{kind} {options}"
                    host = host_namespace(name)
                    note = "" if not host else " (the host's)" if host == value else f" (the host: {host})"
                    if (name, value) == ("pid1.exe", "EACCES"):
                        note = " (a sealed copy in memory; not even root of the pod may look)"
                    print(f"    {name:<14} {value}{note}")


def host_namespace(name):
    return os.readlink(f"/proc/self/ns/{name[3:]}") if name.startswith("ns.") else None


def start_to_program(words):
    """Microseconds from the spawn to the program's first instructions, and to its end."""
    reader, writer = os.pipe()
    actions = [(os.POSIX_SPAWN_DUP2, writer, 1)]
    begin = time.monotonic_ns()
    # vfork and exec: what a launcher can't beat.
    pid = os.posix_spawn(words[0], words, os.environ, file_actions=actions)
    _, status = os.waitpid(pid, 0)
    end = time.monotonic_ns()
    os.close(writer)
    with os.fdopen(reader) as pipe:
        told = pipe.read()
    if status:
        sys.exit(f"make run: {' '.join(words)}: wait status {status}")
    started = int(told.strip().removeprefix("time="))
    return (started - begin) / 1000, (end - begin) / 1000


def measure(*commands):
    """Medians for each command, taken in turn, so that a slow moment hits all of them."""
    for words in commands:
        start_to_program(words)
    samples = [[start_to_program(words) for words in commands] for _ in range(ROUNDS)]
    return [
        [statistics.median(row[index][part] for row in samples) for part in (0, 1)] for index in range(len(commands))
    ]


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--binaries", type=pathlib.Path, required=True)
    parser.add_argument("--root", type=pathlib.Path, required=True)
    options = parser.parse_args()
    if os.geteuid() != 0:
        sys.exit("make run: a pod needs root today (as root: make run)")
    stage0, probe = options.binaries / "stage0", options.binaries / "probe"
    make_root(options.root, probe)
    pod = [str(stage0), "run", "--rootfs", str(options.root), "--hostname", "kickstage-demo", "--", "/bin/probe"]
    print("$ " + " ".join(os.path.relpath(word) if word.startswith(os.getcwd()) else word for word in pod) + " report")
    sys.stdout.flush()
    done = subprocess.run([*pod, "report"], stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, text=True, check=False)
    if done.returncode:
        return done.returncode
    show(done.stdout)
    (bare, bare_end), (inside, inside_end) = measure([str(probe), "time"], [*pod, "time"])
    print(
        f"\nThe start took {inside / 1000:.2f} ms from the call to the program's first instructions in the pod, beside"
        f" {bare / 1000:.2f} ms for vfork and exec of the same program alone (to its reaped end: {inside_end / 1000:.2f}"
        f" beside {bare_end / 1000:.2f} ms; medians of {ROUNDS} starts, taken in turn)."
    )
    return 0


if __name__ == "__main__":
    sys.exit(main())
