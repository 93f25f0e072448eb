#!/usr/bin/env python3
"""gates_selftest.py: shows that every gate passes a good sample and catches a bad one."""

import pathlib
import struct
import sys
import tempfile

import gates
import syscalls
from rust_text import code_of


def elf(*headers, body=b""):
    """A file with an ELF header and program headers of these (type, flags)."""
    head = b"\x7fELF\x02\x01\x01".ljust(16, b"\0") + struct.pack("<HHIQQQIHHHHHH", 2, 62, 1, 0, 64, 0, 0, 64, 56, len(headers), 0, 0, 0)
    return head + b"".join(struct.pack("<II", *header).ljust(56, b"\0") for header in headers) + body


LOAD, DYNAMIC, INTERP, STACK = 1, 2, 3, 0x6474E551
GOOD_PROGRAM = elf((LOAD, 5), (LOAD, 6), (STACK, 6))


def files(folder, **texts):
    """Writes the texts; a name's __ stands for /, its last _ for the dot."""
    made = {}
    for name, text in texts.items():
        name = ".".join(name.replace("__", "/").rsplit("_", 1))
        path = pathlib.Path(folder, name)
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, encoding="utf-8")
        made[name] = path
    return made


def metadata(licence, folder, *dependencies):
    return {
        "workspace_members": ["x"],
        "packages": [
            {
                "id": "x",
                "name": "x",
                "version": "1",
                "license": licence,
                "manifest_path": f"/root-of/{folder}/Cargo.toml",
                "dependencies": [{"name": name} for name in dependencies],
            }
        ],
    }


def program_samples():
    stage1 = {"stage1-init": GOOD_PROGRAM}
    yield "size", lambda bad: gates.size({"fly": GOOD_PROGRAM + bytes(80 * 1024 if bad else 0)})
    for kind in (DYNAMIC, INTERP):
        yield "static", lambda bad, kind=kind: gates.static({"fly": elf((LOAD, 5), (kind, 4))} if bad else stage1)
    for kind in (LOAD, STACK):
        yield "write-xor-execute", lambda bad, kind=kind: gates.write_xor_execute(
            {"fly": elf((LOAD, 5), (STACK, 6), (kind, 7))} if bad else stage1
        )
    yield "write-xor-execute, no stack header", lambda bad: gates.write_xor_execute(
        {"fly": elf((LOAD, 5))} if bad else stage1
    )
    for text in gates.PANIC_TEXTS:
        yield f"no-panic {text.decode()}", lambda bad, text=text: gates.no_panic(
            {"stage1-init": GOOD_PROGRAM + (text if bad else b"a line")}
        )


QUIET = "// unsafe\n/* unsafe /* unsafe */ unsafe */ let a = \"unsafe \\\" unsafe\"; let b = br#\"unsafe\"unsafe\"#;\n"
QUIET += "fn f<'a>(c: &'a str) -> char { if true { '\"' } else { '\\'' } } // unsafe_code\n"


def source_samples(folder):
    for start in ("", "#[", "let c = '\"'; ", "let l: &'static str = \"x\"; "):
        yield f"unsafe-places {start!r}", lambda bad, start=start: gates.unsafe_places(
            files(folder, stage0__src__main_rs=QUIET + (start + "unsafe { f() }" if bad else ""))
        )
    yield "unsafe-places, allowed", lambda bad: gates.unsafe_places(
        files(folder, **{("fly__src__root_rs" if bad else "fly__src__sys__mount_rs"): "unsafe {}"})
    )
    forbid = "#![forbid(unsafe_code)]\n"
    for bad_text in ("", "// " + forbid, "#![deny(unsafe_code)]"):
        yield f"forbid-unsafe {bad_text!r}", lambda bad, text=bad_text: gates.forbid_unsafe(
            {
                "stage0/src/lib.rs": files(folder, a_rs=forbid)["a.rs"],
                "stage1-init/src/lib.rs": files(folder, b_rs=text if bad else forbid)["b.rs"],
            }
        )
    yield "lengths", lambda bad: gates.lengths(files(folder, a_rs="\n" * (600 if bad else 599)))
    for path in ("/wor" + "k/main/x", "'/tm" + "p/ks'", "(/roo" + "t/.cargo)", ".." + "/shared/x"):
        yield f"machine-paths {path}", lambda bad, path=path: gates.machine_paths(
            files(folder, a_md=path if bad else "upperdir=/run/work/main, /proc/work/ and workdir=/work")
        )
    yield "lints-inherited", lambda bad: gates.lints_inherited(
        {"a/Cargo.toml": files(folder, c_toml="[package]\n" + ("" if bad else "[lints]\nworkspace = true"))["c.toml"]}
    )
    yield "links", lambda bad: gates.links(
        files(folder, a_md="[x](b.md#part) [y](https://a.b/c) " + ("[z](none.md)" if bad else ""), b_md="")
    )


def dependency_samples():
    allowed = ["MIT", "Apache-2.0", "Apache-2.0 WITH LLVM-exception", "Unicode-3.0"]
    pairs = [
        ("MIT OR Apache-2.0", "GPL-3.0-only"),
        ("Unlicense/MIT", "Unlicense"),
        ("(MIT OR GPL-2.0) AND Unicode-3.0", "MIT AND GPL-2.0"),
        ("GPL-2.0 AND MIT OR MIT", "MIT AND (GPL-2.0 OR AGPL-3.0)"),
        ("Apache-2.0 WITH LLVM-exception", "GPL-2.0 WITH Classpath-exception-2.0"),
        ("MIT", None),
    ]
    for good, wrong in pairs:
        yield f"licences {wrong}", lambda bad, good=good, wrong=wrong: gates.licences(
            metadata(wrong if bad else good, "fly"), allowed
        )
    yield "libc-places", lambda bad: gates.libc_places(
        metadata("MIT", "fly" if bad else "tests", "rustix", "libc"), "/root-of"
    )
    yield "small-core", lambda bad: gates.small_core(
        "fly v0.1.0 (/x)\nrustix v1.1.6\n\n" + ("libc v0.2.1 (*)" if bad else "rustix v1.1.6 (*)"), gates.CORE
    )


def table_samples():
    bindings = "pub const __NR_read: u32 = 0;\npub const __NR_write: u32 = 1;\npub const __NR_clone3: u32 = 435;\n"
    header = "#define __NR_read 0\n#define __NR_clone3 435\n"
    good = syscalls.table(syscalls.of_bindings(bindings))
    yield "syscalls, another table", lambda bad: syscalls.findings(bindings, header, good + ("//" if bad else ""))
    yield "syscalls, no bindings", lambda bad: syscalls.findings("" if bad else bindings, "", good)
    for line in ("#define __NR_write 2\n", "#define __NR_open 2\n"):
        yield f"syscalls {line!r}", lambda bad, line=line: syscalls.findings(bindings, header + (line if bad else ""), good)
    newer = header + "#define __NR_newest 999\n"
    yield "syscalls, newer headers", lambda bad: syscalls.findings(bindings, newer, "" if bad else good)


def document_samples(folder):
    page = "- `--bind SRC DST`: as `--ro`, but\n- `--help`, `--version`: text\n"
    for text in ("--bind --help --version --new", "--bind --help", ""):
        yield f"options {text!r}", lambda bad, text=text: gates.options_documented(
            "fly", text if bad else "  --bind SRC DST  --help\n --version a-b --", page
        )
    steps = '    Close = 1 "close" Launch {}\n    Exec = 72 "exec %t[8 guarded|]" App { number x }\n'
    for text in ("| `close` | x |\n", "| `close`, `exec` | x |\n| `none` | x |\n"):
        yield f"plan {text!r}", lambda bad, text=text: gates.plan_documented(
            steps, text if bad else "| step | does |\n| `close`, `exec` | `x` |\n"
        )
    head = ".TH A 1\n.SH NAME\na \\- b\n.SH SYNOPSIS\na\n"
    for name, text in (("markup", head + "[*OPTION*...]\n"), ("a_warning", head + ".TS\nno such table\n"), ("no_synopsis", ".TH A 1\n.SH NAME\na \\- b\n")):
        yield f"man page {name}", lambda bad, text=text: gates.man_page(
            "a.1", files(folder, a_1="'\\\" t\n" + (text if bad else head))["a.1"]
        )


def main():
    assert code_of("a /* x */ 'b' \"c\nd\" r#\"e\"# 'f f").split() == ["a", "'f", "f"], "rust_text"
    wrong = count = 0
    with tempfile.TemporaryDirectory() as folder:
        samples = [*program_samples(), *source_samples(folder), *dependency_samples(), *table_samples(), *document_samples(folder)]
        for name, sample in samples:
            count += 1
            if found := sample(False):
                wrong += 1
                print(f"gate {name}: a good sample was refused: {found}")
            if not sample(True):
                wrong += 1
                print(f"gate {name}: a bad sample got through")
    tested = {name.split()[0].rstrip(",") for name, _ in samples}
    for name in gates.NAMES:
        if name.split()[0] not in tested:
            wrong += 1
            print(f"gate {name}: no sample")
    print(f"gates: {count} pairs of samples, {wrong} wrong")
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main())
