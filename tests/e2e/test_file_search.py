"""glob and grep: the same answers as git, Python's glob and grep itself give on random trees; limits, bombs, cancel."""
import glob as python_glob
import os
import pathlib
import random
import subprocess

import pytest

import lines
from harness import eventually, open_files
from lines import Lines, from_wire, glob, grep, paths
from wire import AgentError

pytestmark = pytest.mark.same_machine

WORDS = [b"alpha", b"beta", b"Gamma", b"delta", b"foo_bar", b"foo", b"bar", b"x", b"42", b"naive", b"caf\xc3\xa9", b"\xff\xfe",
         b"TODO:", b"a.b", b"a+b", b"[x]", b"$end", b"\t", b"", b"0x1f"]


@pytest.fixture
def tree(tmp_path):
    """Files of random words: many lines, empty, without a last newline, long, binary, in odd names."""
    rng = random.Random(7)
    for number in range(120):
        where = tmp_path / rng.choice(["", "src", "src/deep/er", "doc", ".hidden", "build/out"])
        where.mkdir(parents=True, exist_ok=True)
        name = rng.choice([f"f{number}.c", f"f{number}.h", f"f{number}.txt", f".dot{number}", f"with space{number}"])
        count = rng.choice([0, 1, 5, 50, 3000])
        text = b"\n".join(b" ".join(rng.choices(WORDS, k=rng.randint(0, 9))) for _ in range(count))
        (where / name).write_bytes(text + rng.choice([b"", b"\n", b"\n\n"]))
    (tmp_path / "binary").write_bytes(b"foo\n\0foo\n")
    (tmp_path / "long").write_bytes(b"y" * 700000 + b" foo " + b"z" * 400000 + b"\nfoo bar\n")
    (tmp_path / "crlf.txt").write_bytes(b"foo\r\nbar\r\n")
    (pathlib.Path(os.fsdecode(os.fsencode(tmp_path) + b"/n\xff\xfe")) / "").mkdir()
    (pathlib.Path(os.fsdecode(os.fsencode(tmp_path) + b"/n\xff\xfe")) / "f.c").write_bytes(b"foo in an odd place\n")
    os.symlink("src", tmp_path / "link")
    os.mkfifo(tmp_path / "fifo")
    return tmp_path


def real_grep(tree, *args):
    """What grep prints: {(path, line number): text}, binary files as text or not at all as args say."""
    out = subprocess.run(["grep", "-rnZ", "--devices=skip", *args, "."], cwd=tree, env={"LC_ALL": "C.UTF-8", "PATH": os.environ["PATH"]},
                         stdout=subprocess.PIPE, check=False).stdout
    found = {}
    for line in out.split(b"\n")[:-1]:
        path, _, rest = line.partition(b"\0")
        number, _, text = rest.partition(b":")
        found[path[2:], int(number)] = text
    return found


def ours(result):
    return {(from_wire(line["path"]), line["line"]): from_wire(line["text"]) for line in result}


@pytest.mark.parametrize("pattern, ours_is, theirs", [
    ("foo", {}, ["-F"]),
    ("foo", {"word": True}, ["-w"]),
    ("FOO_bar", {"icase": True}, ["-i"]),
    ("a.b", {"literal": True}, ["-F"]),
    ("a+b [", {"literal": True}, ["-F"]),
    ("[x]", {"literal": True}, ["-F"]),
    (r"^foo.*bar$", {}, ["-P"]),
    (r"[0-9]+ [a-z]+", {}, ["-E"]),
    (r"(alpha|beta) foo", {}, ["-E"]),
    (r"^$", {}, ["-E"]),
    (r"[^a-z]x[^a-z]", {}, ["-E"]),
    (r"\bfoo\b.*\bdelta\b", {}, ["-P"]),
    (r"alpha\s+beta", {}, ["-P"]),
    ("caf\u00e9", {}, ["-F"]),
    ("caf.( |$)", {}, ["-P"]),
    (r"(?i)gamma (?!foo)", {}, ["-P"]),
    ("", {}, ["-F"]),
])
def test_same_lines_as_grep(link, tree, pattern, ours_is, theirs):
    result, done = grep(link, tree, pattern, hidden=True, binary=True, max_line=16384, **ours_is)
    expected = real_grep(tree, "-a", *theirs, "-e", pattern)
    got = ours(result)
    assert set(got) == set(expected)
    assert done["matches"] == len(result) == len(expected) and not done["truncated"] and done["errors"] == 0
    for key, text in expected.items():
        if len(text) <= 16384:
            assert got[key] == text


def test_bytes_as_pattern(link, tree):
    result, _ = grep(link, tree, b"\xff\xfe", hidden=True, binary=True)
    expected = subprocess.run(["grep", "-rc", "-aF", "-e", b"\xff\xfe", "."], cwd=tree, env={"LC_ALL": "C"}, check=False,
                              stdout=subprocess.PIPE).stdout
    assert len(result) == sum(int(line.rpartition(b":")[2]) for line in expected.split(b"\n")[:-1]) > 0
    assert any("b64" in line["text"] for line in result)


def test_text_only_and_no_hidden_by_default(link, tree):
    result, _ = grep(link, tree, "foo")
    found = paths(result)
    assert "binary" not in found and "long" in found
    assert not any(part.startswith(".") for path in found for part in path.split("/"))
    assert not any(path.startswith("link/") for path in found)


def test_column_and_cut_of_long_lines(link, tree):
    result, _ = grep(link, tree / "long", "foo", max_line=100)
    first, second = result
    assert first["path"] == "long" and first["line"] == 1 and first["col"] == 700002
    assert first["cut"] and len(first["text"]) == 100 and " foo z" in first["text"]
    assert first["text"][first["col"] - 1 - first["start"]:].startswith("foo")
    assert (second["line"], second["col"], second["text"]) == (2, 1, "foo bar") and "cut" not in second


def test_context(link, tmp_path):
    (tmp_path / "f").write_text("".join(f"{n}\n" for n in range(1, 200001)))
    result, _ = grep(link, tmp_path, r"^(1|5|99999|200000)$", context=2)
    assert [(line["line"], line.get("before", []), line.get("after", [])) for line in result] == [
        (1, [], ["2", "3"]), (5, ["3", "4"], ["6", "7"]), (99999, ["99997", "99998"], ["100000", "100001"]),
        (200000, ["199998", "199999"], [])]


@pytest.mark.parametrize("context", [0, 3])
def test_lines_on_block_borders(link, tmp_path, context):
    """Lines of all lengths across the borders of the blocks that a file is read in; none twice, none lost."""
    rng = random.Random(3)
    text, expected = [], []
    for number in range(1, 40001):
        hit = rng.random() < 0.02
        expected += [number] if hit else []
        text.append("x" * rng.randint(0, 60) + ("needle" if hit else "") + "y" * rng.randint(0, 30))
    (tmp_path / "f").write_text("\n".join(text))
    for pattern in ("needle", "ne+dle", "[n]eed[a-z]e"):
        result, _ = grep(link, tmp_path, pattern, context=context)
        assert [line["line"] for line in result] == expected
        for line in result:
            at = line["line"] - 1
            assert line["text"] == text[at]
            assert line.get("before", []) == text[max(0, at - context):at]
            assert line.get("after", []) == text[at + 1:at + 1 + context]


def test_lines_longer_than_any_buffer(link, tmp_path):
    (tmp_path / "f").write_bytes(b"a" * (3 << 20) + b"\nneedle\n" + b"b" * (5 << 20) + b"needle" + b"c" * 10 + b"\nneedle")
    for context in (0, 2):
        result, _ = grep(link, tmp_path, "needle", context=context, max_line=10)
        assert [line["line"] for line in result] == [2, 3, 4]
        assert result[1]["col"] == (5 << 20) + 1


def test_limits_are_said(link, tree):
    result, done = grep(link, tree, "foo", limit=7)
    assert len(result) == 7 and done["truncated"] and done["matches"] == 7
    result, done = grep(link, tree, "foo", max_per_file=1)
    assert len(set(paths(result))) == len(result) and not done["truncated"]
    result, done = glob(link, tree, "**", limit=3)
    assert len(result) == 3 and done["truncated"]
    for spec in ({"limit": 0}, {"context": 101}, {"max_line": 16385}, {"max_per_file": 0}, {"glob": ["*"] * 257},
                 {"glob": "[a"}, {"pattern": 3}, {"pattern": "(" }, {"pattern": "a\nb"}):
        with pytest.raises(AgentError) as info:
            Lines(link, "grep", tree, **{"pattern": "x", **spec}).finish()
        assert info.value.code == "bad_message", spec
    for spec in ({"pattern": "{a"}, {"pattern": "a" * 4097}, {"limit": -1}):
        with pytest.raises(AgentError) as info:
            Lines(link, "glob", tree, **{"pattern": "x", **spec}).finish()
        assert info.value.code == "bad_message", spec


def test_which_files(link, tree):
    def files(**spec):
        return set(paths(grep(link, tree, "", hidden=True, max_per_file=1, **spec)[0]))
    everything = files()
    assert files(glob="*.c") == {path for path in everything if path.endswith(".c")}
    assert files(glob=["*.{c,h}", "!src"]) == {p for p in everything if p[-2:] in (".c", ".h") and not p.startswith("src/")}
    assert files(glob="!*.c") == {path for path in everything if not path.endswith(".c")}
    assert files(glob="/src/**/*.c") == {p for p in everything if p.startswith("src/") and p.endswith(".c")}


def test_errors_are_lines_and_the_rest_goes_on(link, tmp_path):
    """A file that cannot be read is told of; a FIFO blocks nothing; a missing top ends the channel."""
    for name in ("a", "b"):
        (tmp_path / name).write_text("foo\n")
    (tmp_path / "shut").mkdir(mode=0)
    (tmp_path / "b").chmod(0)
    tmp_path.chmod(0o755)
    for parent in tmp_path.parents:
        if parent != parent.parent and parent.stat().st_uid == os.getuid() and str(parent).startswith("/tmp/pytest"):
            parent.chmod(0o755)
    result, done = Lines(link, "grep", tmp_path, pattern="foo", user="65534").finish()
    assert {line["path"]: line.get("error", {}).get("errno") for line in result} == {"a": None, "b": 13, "shut": 13}
    assert done["errors"] == 2 and done["matches"] == 1
    with pytest.raises(AgentError) as info:
        grep(link, tmp_path / "nothing", "x")
    assert info.value.code == "failed" and info.value.error["errno"] == 2
    os.mkfifo(tmp_path / "fifo")
    with pytest.raises(AgentError) as info:
        grep(link, tmp_path / "fifo", "x")
    assert info.value.code == "special_file"


@pytest.mark.parametrize("bomb", ["(a+)+$", "(a|aa)+$", "^(.*?,){30}P", "(x+x+)+y", "(.*)*\\1b", "a*a*a*a*a*a*c"])
def test_regex_bombs_end(link, tmp_path, bomb):
    """Each is an error for its file, and the next file is still looked at."""
    (tmp_path / "bomb").write_text("a" * 5000 + "!\n" + "x" * 5000 + "\n" + "1,2,3,4,5,6,7,8," * 20 + "\n")
    (tmp_path / "z").write_text("aay c\nxxy\n,,,P\nb\n")
    result, done = grep(link, tmp_path, bomb)
    assert done["files"] == 2
    for line in result:
        assert line["path"] == "z" or line["error"]["code"] == "too_large" and line["line"] in (1, 2, 3)


def test_cancel(agent, link, tmp_path):
    """CLOSE ends a search soon, whatever it is at; and nothing is left of it."""
    (tmp_path / "f").write_text(("a" * 60 + "\n") * 300000)
    search = Lines(link, "grep", tmp_path, pattern="(a*)*b|a*a*a*a*[xyz]")
    link.request("ping")
    search.close(timeout=20)
    slow = Lines(link, "grep", tmp_path, pattern="a", auto=False, window=1000)
    slow.wait(lambda c: c.out.offset == 1000, "the window to be used up")
    slow.close()
    with open(tmp_path / "endless", "wb") as sparse:
        sparse.truncate(1 << 42)
    endless = Lines(link, "grep", tmp_path / "endless", pattern="x", binary=True)
    link.request("ping")
    endless.close()
    (tmp_path / "endless").unlink()
    other = agent.connect()
    Lines(other, "grep", tmp_path, pattern="a", auto=False, window=1000)
    other.request("ping")
    other.cut()
    eventually(lambda: not any(path.startswith(str(tmp_path)) for path in open_files(agent.pid).values()), "no file to be open")


GLOBS = ["*", "*.c", "**/*.c", "src/*", "src/**", "**", "src/**/f1*.?", "**/deep/**", "[fw]*", "**/[!f]*", "doc/*.txt", "nothing/**"]


@pytest.mark.parametrize("pattern", GLOBS)
def test_same_names_as_python(link, tree, pattern):
    found = set(paths(glob(link, tree, pattern, hidden=True)[0]))
    expected = set(python_glob.glob(pattern, root_dir=tree, recursive=True, include_hidden=True))
    # Python goes through symbolic links, ends directories in "/", and counts the top itself.
    top = {"", "src", "src/deep", "nothing"}
    expected = {path.rstrip("/") for path in expected if not path.startswith("link/")}
    assert found - top == expected - top


def test_entries_of_glob(link, tree):
    entry, = glob(link, tree, "lin?")[0]
    assert entry["path"] == entry["name"] == "link" and entry["type"] == "link" and entry["target"] == "src"
    assert set(paths(glob(link, tree, "*", type="dir")[0])) >= {"src", "doc"}
    entry, = glob(link, tree, "{src,doc}/dee[p]", stat=False)[0]
    assert entry == {"path": "src/deep", "type": "dir"}
    assert not any(path.startswith(".") for path in paths(glob(link, tree, "**")[0]))


def test_root_is_not_left(link, tree):
    assert paths(glob(link, "/src", "*", root=str(tree))[0]) == sorted(p for p in os.listdir(tree / "src") if p[0] != ".")
    os.symlink("/etc", tree / "out")
    with pytest.raises(AgentError) as info:
        glob(link, "out", "*", root=str(tree))
    assert info.value.code == "failed"


IGNORES = ["*.o", "!keep.o", "/top", "build/", "a/b", "doc/**/x", "**/cache", "logs/**", "*.[ch]", "!important.c", "foo", "/a/*/c", "#c",
           "\\#x", "sp\\ ", "d?", "!d/", "[!a]x", "*", "!*/", "!*.txt", "a/**/c", "  ", "x/y/"]
NAMES = ["a", "b", "c", "d", "d1", "x", "y", "foo", "top", "build", "doc", "cache", "logs", "k.o", "keep.o", "m.c", "important.c", "t.txt",
         "#x", "sp ", "bx"]


@pytest.mark.parametrize("seed", range(25))
def test_same_ignored_as_git(link, tmp_path, seed):
    """Random .gitignore files at random places, judged by git itself."""
    rng = random.Random(seed)
    subprocess.run(["git", "init", "-q", str(tmp_path)], check=True)
    dirs = [tmp_path]
    for _ in range(12):
        where = rng.choice(dirs) / rng.choice(NAMES)
        if not where.exists():
            where.mkdir()
            dirs.append(where)
    for _ in range(60):
        where = rng.choice(dirs) / rng.choice(NAMES)
        if not where.exists():
            where.write_text("x\n")
    for where in [tmp_path, *rng.sample(dirs, 3)]:
        (where / ".gitignore").write_text("".join(rule + "\n" for rule in rng.sample(IGNORES, rng.randint(1, 5))))
    (tmp_path / ".git/info/exclude").write_text("".join(rule + "\n" for rule in rng.sample(IGNORES, 2)))
    listed = subprocess.run(["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"], cwd=tmp_path, check=True,
                            stdout=subprocess.PIPE, env={"HOME": "/nonexistent", "PATH": os.environ["PATH"]}).stdout
    expected = sorted(name.decode() for name in listed.split(b"\0")[:-1])
    assert paths(glob(link, tmp_path, "**", ignore=True, hidden=True, type="file")[0]) == expected
    # From a directory further down the rules above it hold too.
    for below in {name.partition("/")[0] for name in expected if "/" in name}:
        found = paths(glob(link, tmp_path / below, "**", ignore=True, hidden=True, type="file")[0])
        assert found == sorted(name[len(below) + 1:] for name in expected if name.startswith(below + "/"))


def test_ignore_file_counts_too(link, tmp_path):
    (tmp_path / ".ignore").write_text("a\n")
    (tmp_path / ".gitignore").write_text("b\n!a\n")
    for name in "abc":
        (tmp_path / name).write_text("foo\n")
    assert paths(grep(link, tmp_path, "foo", ignore=True)[0]) == ["c"]
    assert paths(grep(link, tmp_path, "foo")[0]) == ["a", "b", "c"]


def test_many_at_once(agent, tree):
    """Searches side by side do not mix."""
    links = [agent.connect() for _ in range(4)]
    searches = [Lines(links[n % 4], "grep", tree, pattern=word) for n, word in enumerate(["foo", "bar", "alpha", "x"] * 5)]
    results = [len(search.finish()[0]) for search in searches]
    assert results[:4] * 5 == results
    assert lines.glob(links[0], tree, "*")[0]
