#!/usr/bin/python3
"""The layer rules, checked on the #include lines; and every header compiles alone.

    base <- proto <- agentd
                  <- bridge <- bridge/box <- bridge/sandbox <- bridge/api
    base <- init

Usage: layers.py [compiler]   (run from anywhere; prints one line per violation)
"""
import os
import pathlib
import re
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor

ROOT = pathlib.Path(__file__).resolve().parent.parent

# folder: the folders of ours it may include
MAY_INCLUDE = {
    "base": {"base"},
    "proto": {"base", "proto"},
    "agentd": {"base", "proto", "agentd"},
    "bridge": {"base", "proto", "bridge"},
    "bridge/box": {"base", "proto", "bridge", "bridge/box"},
    "bridge/sandbox": {"base", "proto", "bridge", "bridge/box", "bridge/sandbox"},
    "bridge/api": {"base", "proto", "bridge", "bridge/box", "bridge/sandbox", "bridge/api"},
    "init": {"base", "init"},
}

# header: the only files that may include it
ONLY_IN = {
    r"cjson/.*": r"proto/msg[^/]*\.c|proto/msg_read\.h",
    r"llhttp\.h": r"proto/http\.c",
    r"pcre2\.h": r"agentd/regex\.c",
    r"uv\.h": r"(agentd|bridge)/.*",
    r"libwebsockets\.h": r"bridge/api/web\.c",
    r"sqlite3\.h": r"bridge/sandbox/store[^/]*\.c|bridge/sandbox/store_internal\.h",
    r"openssl/.*": r"bridge/sandbox/keys\.c",
    # Sans-I/O: the protocol knows bytes and no descriptors.
    r"sys/(socket|epoll|poll)\.h|poll\.h|netinet/.*|linux/vm_sockets\.h": r"(?!proto/).*",
}

INCLUDE = re.compile(r'^\s*#\s*include\s+(["<])([^">]+)[">]', re.M)


def violations(path):
    """Yield what is wrong with the includes of one file."""
    name = str(path.relative_to(ROOT))
    folder = str(path.parent.relative_to(ROOT))
    program = re.fullmatch(r"bridge/main(_\w+)?\.[ch]", name)
    may = MAY_INCLUDE["bridge/api"] if program else MAY_INCLUDE[folder]
    for kind, header in INCLUDE.findall(path.read_text()):
        if kind == '"':
            if not (ROOT / header).is_file():
                yield f'{name}: "{header}" is not a path from the top of the tree'
            elif str(pathlib.PurePath(header).parent) not in may:
                yield f'{name}: {folder} may not include "{header}"'
        for pattern, where in ONLY_IN.items():
            if re.fullmatch(pattern, header) and not re.fullmatch(where, name):
                yield f"{name}: <{header}> is only for files that match {where}"
    if path.suffix == ".h" and "#pragma once" not in path.read_text():
        yield f"{name}: no #pragma once"


def cycles(paths):
    """Inside a layer one direction: headers never include each other in a ring. (A .c file may include the
    header of a module above it to call back into its owner.)"""
    needs = {}
    for path in paths:
        if path.suffix == ".h":
            found = needs.setdefault(str(path.relative_to(ROOT)), set())
            found.update(header for kind, header in INCLUDE.findall(path.read_text()) if kind == '"')
    done = set()

    def visit(module, trail):
        if module in trail:
            yield "ring of includes: " + " -> ".join(trail[trail.index(module):] + [module])
        elif module not in done:
            for other in sorted(needs.get(module, ())):
                yield from visit(other, trail + [module])
            done.add(module)

    for module in sorted(needs):
        yield from visit(module, [])


def alone(path, compiler):
    """A header names all it needs: it compiles as the only include."""
    name = str(path.relative_to(ROOT))
    run = subprocess.run(
        [compiler, "-std=gnu11", "-D_GNU_SOURCE=", "-fsyntax-only", "-Wall", "-Werror", f"-I{ROOT}", "-xc", "-"],
        input=f'#include "{name}"\n', capture_output=True, text=True)
    return [] if run.returncode == 0 else [f"{name}: does not compile alone\n{run.stderr}"]


def main():
    compiler = sys.argv[1] if len(sys.argv) > 1 else "cc"
    paths = sorted(p for d in MAY_INCLUDE for p in (ROOT / d).glob("*.[ch]"))
    wrong = [w for p in paths for w in violations(p)]
    wrong += cycles(paths)
    with ThreadPoolExecutor(os.cpu_count()) as pool:
        headers = [p for p in paths if p.suffix == ".h"]
        for found in pool.map(lambda p: alone(p, compiler), headers):
            wrong += found
    print("\n".join(wrong) or f"layers: {len(paths)} files, all in order")
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main())
