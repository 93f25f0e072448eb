#!/usr/bin/env python3
"""gates.py [--binaries DIR] [--man DIR]: what `make lint` checks beyond fmt, clippy and shellcheck.

Every gate is a function from what it looks at to a list of findings, one line
each; no finding, no output but the gate's name. gates_selftest.py shows for
each of them that a bad sample is caught.
"""

import argparse
import json
import os
import pathlib
import re
import struct
import subprocess
import sys
import tomllib

import syscalls
from rust_text import code_of

# Bytes that each program may have, stripped and static: see docs/architecture.md.
BUDGET = {"fly": 80 * 1024, "fly-full": 96 * 1024, "fly-seccomp": 40 * 1024, "stage1-init": 48 * 1024, "stage1-machine": 48 * 1024, "stage0": 160 * 1024, "stage0-full": 384 * 1024}
# What runs on every start: no_std, and nothing from crates.io but the raw calls.
PACKAGES = ["fly", "stage1-init", "stage0"]
CORE = {*PACKAGES, "rustix", "linux-raw-sys", "bitflags"}
MAX_LINES = 600
# A program that can panic carries one of these: the handler's own line
# (fly::entry!), core's messages, or the path of a source file for a Location.
PANIC_TEXTS = [
    b"internal error: panicked",
    b"panicked at",
    b"called `Option::unwrap",
    b"called `Result::unwrap",
    b"index out of bounds",
    b"out of range for slice",
    b"attempt to ",
    b"explicit panic",
    b"entered unreachable code",
    b"already borrowed",
    b"library/core/src",
    b"/rustc/",
]
UNSAFE_FOLDERS = ("fly/src/sys/", "bench/", "tests/")
FORBIDS_UNSAFE = ["stage0/src/lib.rs", "stage1-init/src/lib.rs"]
LIBC_FOLDERS = ("bench/", "tests/")
SOURCE = (".rs", ".py", ".sh", ".md", ".toml", ".ld", "Makefile", ".ci/run")
# Folders of one machine or one person, written so that this line does not match itself.
MACHINE_PATHS = re.compile(
    r"(?<![\w.-])/(?:wor[k]/(?:main|shared|\.library)|tm[p]/ks|roo[t]/\.(?:cargo|rustup|pyenv|bashrc))\b|\.\./share[d]/"
)


# ---- the programs

def segments(data):
    """(type, flags) of each program header of a 64-bit little-endian ELF file."""
    if data[:6] != b"\x7fELF\x02\x01":
        raise ValueError("not a 64-bit ELF file")
    (offset,) = struct.unpack_from("<Q", data, 32)
    size, count = struct.unpack_from("<HH", data, 54)
    return [struct.unpack_from("<II", data, offset + index * size) for index in range(count)]


def size(programs):
    return [
        f"{name} has {len(data)} bytes, {len(data) - BUDGET[name]} more than its budget of {BUDGET[name]}"
        for name, data in programs.items()
        if name in BUDGET and len(data) > BUDGET[name]
    ]


def static(programs):
    names = {2: "PT_DYNAMIC (linked dynamically, or relocated at start)", 3: "PT_INTERP (needs a loader)"}
    return [
        f"{name} has a {names[kind]}"
        for name, data in programs.items()
        for kind, _ in segments(data)
        if kind in names
    ]


def write_xor_execute(programs):
    # PT_LOAD and PT_GNU_STACK: what the kernel maps, and whether the stack may be executed.
    found = []
    for name, data in programs.items():
        headers = segments(data)
        found += [
            f"{name}: a segment is writable and executable"
            for kind, flags in headers
            if kind in (1, 0x6474E551) and flags & 3 == 3
        ]
        if not any(kind == 0x6474E551 for kind, _ in headers):
            found.append(f"{name} has no PT_GNU_STACK: its stack would be executable")
    return found


def no_panic(programs):
    data = programs.get("stage1-init", b"")
    return [f"stage1-init can panic: it contains {text.decode()!r}" for text in PANIC_TEXTS if text in data]


# ---- the sources

def files_of(root):
    """The files of the repository, without what git ignores; of an unpacked archive, all but target/."""
    listed = subprocess.run(
        ["git", "-C", root, "ls-files", "-z", "-co", "--exclude-standard"], capture_output=True, check=False
    )
    if listed.returncode == 0 and listed.stdout:
        names = [os.fsdecode(name) for name in listed.stdout.split(b"\0") if name]
    else:
        names = [
            os.path.relpath(os.path.join(folder, name), root)
            for folder, folders, found in os.walk(root)
            if folders.sort() or not os.path.relpath(folder, root).split("/")[0] in ("target", ".git")
            for name in found
        ]
    return {name: pathlib.Path(root, name) for name in sorted(names) if os.path.isfile(os.path.join(root, name))}


def text_of(path):
    return path.read_text(encoding="utf-8", errors="replace")


def unsafe_places(files):
    found = []
    for name, path in files.items():
        if not name.endswith(".rs") or name.startswith(UNSAFE_FOLDERS):
            continue
        for number, line in enumerate(code_of(text_of(path)).splitlines(), 1):
            if re.search(r"\bunsafe\b", line):
                found.append(f"{name}:{number}: unsafe belongs in {', '.join(UNSAFE_FOLDERS)}")
    return found


def forbid_unsafe(files):
    found = []
    for name in FORBIDS_UNSAFE:
        code = code_of(text_of(files[name])) if name in files else ""
        if not re.search(r"#!\[forbid\([^)]*\bunsafe_code\b", code):
            found.append(f"{name} must say #![forbid(unsafe_code)]")
    return found


def lengths(files):
    found = []
    for name, path in files.items():
        if name.endswith(SOURCE):
            count = text_of(path).count("\n")
            if count >= MAX_LINES:
                found.append(f"{name} has {count} lines; a file has fewer than {MAX_LINES}")
    return found


def machine_paths(files):
    return [
        f"{name}:{number}: {match.group(0)} is a path of one machine"
        for name, path in files.items()
        for number, line in enumerate(text_of(path).splitlines(), 1)
        for match in [MACHINE_PATHS.search(line)]
        if match
    ]


def lints_inherited(files):
    found = []
    for name, path in files.items():
        if os.path.basename(name) == "Cargo.toml":
            manifest = tomllib.loads(text_of(path))
            if "package" in manifest and "workspace" not in manifest and not manifest.get("lints", {}).get("workspace"):
                found.append(f"{name} lacks [lints] workspace = true")
    return found


# ---- the dependencies

def licence_allowed(expression, allowed):
    """Whether an SPDX expression can be satisfied from `allowed`; AND binds tighter than OR."""
    words = re.findall(r"[()]|[\w.+-]+", (expression or "").replace("/", " OR "))

    def any_of():
        value = all_of()
        while words and words[0].upper() == "OR":
            words.pop(0)
            value = all_of() or value
        return value

    def all_of():
        value = one()
        while words and words[0].upper() == "AND":
            words.pop(0)
            value = one() and value
        return value

    def one():
        word = words.pop(0) if words else ""
        if word == "(":
            value = any_of()
            if words:
                words.pop(0)
            return value
        if words and words[0].upper() == "WITH":
            word = f"{word} WITH {words[1]}"
            del words[:2]
        return word in allowed

    return any_of() and not words


def licences(metadata, allowed):
    return [
        f"{package['name']} {package['version']}: licence {package['license']!r} is not in deny.toml's list"
        for package in metadata["packages"]
        if not licence_allowed(package["license"], allowed)
    ]


def libc_places(metadata, root):
    found = []
    for package in metadata["packages"]:
        if package["id"] not in metadata["workspace_members"]:
            continue
        folder = os.path.relpath(package["manifest_path"], root)
        if any(dependency["name"] == "libc" for dependency in package["dependencies"]) and not folder.startswith(
            LIBC_FOLDERS
        ):
            found.append(f"{folder} depends on libc, which belongs in {', '.join(LIBC_FOLDERS)}")
    return found


def small_core(tree, allowed):
    """`tree`: the crates that the three programs are linked from, one a line."""
    names = {line.split()[0] for line in tree.splitlines() if line.strip()}
    return [
        f"{name} would be linked into what runs on every start (allowed: {', '.join(sorted(allowed))})"
        for name in sorted(names - set(allowed))
    ]


# ---- the documents

def options_in(text):
    return set(re.findall(r"(?<![\w-])--[a-z][a-z0-9-]*", text))


def options_documented(program, help_text, page):
    """Each option of --help has an entry in the page's list, and the other way round."""
    entries = options_in("\n".join(re.findall(r"^- (`.*?`)(?=: )", page, re.M)))
    helped = options_in(help_text)
    if not helped:
        return [f"{program} --help names no option"]
    return [f"docs/{program}.md lacks {option}" for option in sorted(helped - entries)] + [
        f"docs/{program}.md has {option}, {program} --help does not" for option in sorted(entries - helped)
    ]


def plan_documented(source, page):
    """The steps of fly/src/plan/step.rs are those in the tables of docs/plan.md."""
    steps = set(re.findall(r'^    [A-Z]\w* = \d+ "([a-z0-9]+)[ "].*? [A-Z]\w* \{', source, re.M))
    listed = {verb for row in re.findall(r"^\| (`[^|]*) \|", page, re.M) for verb in re.findall(r"`([a-z0-9]+)`", row)}
    if not steps:
        return ["no step was found in the source"]
    return [f"docs/plan.md lacks the step {verb}" for verb in sorted(steps - listed)] + [
        f"docs/plan.md has {verb}, which is no step" for verb in sorted(listed - steps)
    ]


def links(files):
    found = []
    for name, path in files.items():
        if not name.endswith(".md"):
            continue
        for target in re.findall(r"\]\(([^)#\s]+)[^)]*\)", text_of(path)):
            if "://" not in target and not (path.parent / target).exists():
                found.append(f"{name}: the link to {target} leads nowhere")
    return found


def man_page(name, path):
    """Renders the page as a reader's `man` does; a warning of the formatter is a finding."""
    made = subprocess.run(
        ["man", "--warnings", "--encoding=UTF-8", "--local-file", path],
        env={**os.environ, "MANWIDTH": "80", "LC_ALL": "C.UTF-8", "MANPAGER": "cat", "PAGER": "cat"},
        capture_output=True,
        text=True,
        check=False,
    )
    found = [f"{name}: {line}" for line in made.stderr.splitlines()]
    found += [f"{name}: markup is left: {text}" for text in re.findall(r"\*\w+\*|`\w+|\\[\w_-]", made.stdout)]
    return found + [f"{name} has no {part}" for part in ("NAME", "SYNOPSIS") if part not in made.stdout]


# ---- all of it

NAMES = (
    "size static write-xor-execute no-panic unsafe-places forbid-unsafe lints-inherited licences libc-places"
    " small-core lengths machine-paths links plan syscalls options man"
).split()


def command(*words, cwd):
    return subprocess.run(words, cwd=cwd, check=True, capture_output=True, text=True).stdout


def help_of(binaries, program):
    return subprocess.run(
        [os.path.join(binaries, program), "--help"], capture_output=True, text=True, check=False, timeout=10
    ).stdout


def gates(root, binaries, man):
    """(name, function) of every gate, in order."""
    files = files_of(root)
    programs = {name: pathlib.Path(binaries, name).read_bytes() for name in BUDGET}
    rules = tomllib.loads(text_of(files["deny.toml"]))
    features = ["--filter-platform", "x86_64-unknown-linux-gnu"]
    metadata = json.loads(command("cargo", "metadata", "--format-version=1", "--locked", *features, cwd=root))
    products = [word for name in PACKAGES for word in ("-p", name)]
    tree = command("cargo", "tree", "--locked", *products, "-e", "normal", "--prefix", "none", cwd=root)
    yield "size", lambda: size(programs)
    yield "static", lambda: static(programs)
    yield "write-xor-execute", lambda: write_xor_execute(programs)
    yield "no-panic", lambda: no_panic(programs)
    yield "unsafe-places", lambda: unsafe_places(files)
    yield "forbid-unsafe", lambda: forbid_unsafe(files)
    yield "lints-inherited", lambda: lints_inherited(files)
    yield "licences", lambda: licences(metadata, rules["licenses"]["allow"])
    yield "libc-places", lambda: libc_places(metadata, root)
    yield "small-core", lambda: small_core(tree, CORE)
    yield "lengths", lambda: lengths(files)
    yield "machine-paths", lambda: machine_paths(files)
    yield "links", lambda: links(files)
    step = text_of(files["fly/src/plan/step.rs"])
    yield "plan", lambda: plan_documented(step, text_of(files["docs/plan.md"]))
    table = text_of(files[syscalls.TABLE])
    yield "syscalls", lambda: syscalls.findings(syscalls.bindings_of(metadata), syscalls.header_of_machine(), table)
    for name in ("fly", "fly-seccomp", "stage1-init", "stage0"):
        page = text_of(files[f"docs/{name}.md"])
        yield f"options of {name}", lambda name=name, page=page: options_documented(name, help_of(binaries, name), page)
    for path in sorted(pathlib.Path(man).glob("*.[1-8]")):
        yield f"man page {path.name}", lambda path=path: man_page(path.name, path)


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--binaries", default="target/release")
    parser.add_argument("--man", default="target/man")
    options = parser.parse_args()
    root = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
    bad = 0
    seen = set()
    for name, gate in gates(root, os.path.abspath(options.binaries), os.path.abspath(options.man)):
        seen.add(name.split()[0])
        found = gate()
        bad += bool(found)
        print(f"gate {name}: {'ok' if not found else 'FAILED'}")
        for line in found:
            print(f"  {line}")
    for name in NAMES:
        if name not in seen:
            bad += 1
            print(f"gate {name}: FAILED\n  there was nothing to look at")
    return 1 if bad else 0


if __name__ == "__main__":
    sys.exit(main())
