"""micrograd.compile.toolchain: whatever is broken, an object that loads and computes what its source says, or NoCompiler."""

from __future__ import annotations

import contextlib
import ctypes
import hashlib
import os
import select
import shutil
import signal
import stat
import subprocess
import sys
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import TextIO

import pytest
from conftest import ROOT, run_fresh

from micrograd.compile import toolchain
from micrograd.compile.toolchain import Loaded, NoCompiler, compiler, load

SOURCE = "int answer(void) { return 42; }"
ANSWER = """
from micrograd.compile.toolchain import load
loaded = load("int answer(void) { return 42; }")
print(loaded.library.answer(), loaded.cached, loaded.seconds > 0)
"""
NEW, WARM = "42 False True\n", "42 True False\n"


def answer(value: int) -> str:
    """Another source for each number."""
    return SOURCE.replace("42", str(value))


@pytest.fixture
def gcc() -> str:
    """The compiler of this machine."""
    found = shutil.which("gcc") or shutil.which("cc")
    if found is None:
        if os.environ.get("CI") == "true":
            pytest.fail("CI needs a C compiler")
        pytest.skip("no C compiler")
    return found


def forget() -> None:
    """Make this process as a fresh one."""
    toolchain._LIBRARIES.clear()
    toolchain._KNOWN.clear()
    toolchain._trial.cache_clear()
    toolchain._cpu.cache_clear()
    toolchain._private_folder.cache_clear()


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A cache folder of the test's own, not made yet."""
    monkeypatch.delenv("CC", raising=False)
    monkeypatch.setenv("MICROGRAD_CACHE", str(tmp_path / "cache"))
    forget()
    yield tmp_path / "cache"
    forget()


@pytest.fixture
def no_compilers(monkeypatch: pytest.MonkeyPatch) -> None:
    """No compiler on the path, and no wheel."""
    monkeypatch.setenv("PATH", "")
    monkeypatch.setitem(sys.modules, "ziglang", None)


def script(path: Path, *lines: str) -> str:
    """A compiler that is a shell script."""
    path.write_text("\n".join(["#!/bin/sh", f"PATH={os.environ['PATH'] or os.defpath}", *lines, ""]))
    path.chmod(0o755)
    return str(path)


def objects(cache: Path) -> list[Path]:
    return sorted(cache.glob("*.so"))


def leftovers(cache: Path) -> list[Path]:
    return sorted(cache.glob("tmp-*"))


# ---- what works


def test_a_source_becomes_a_loaded_library(gcc: str, cache: Path) -> None:
    loaded = load("#include <math.h>\ndouble f(double x) { return K * exp(x); }", extra=("-DK=3",))
    loaded.library.f.restype, loaded.library.f.argtypes = ctypes.c_double, [ctypes.c_double]
    assert loaded.library.f(0.0) == 3.0
    assert isinstance(loaded, Loaded)
    assert loaded.compiler.split()[0] == (compiler() or [""])[0]
    assert not loaded.cached
    assert loaded.seconds > 0
    assert len(objects(cache)) == 1
    assert leftovers(cache) == []


def test_infinities_and_nans_keep_their_meaning(gcc: str) -> None:
    library = load("int is_nan(double x) { return x != x; }").library
    library.is_nan.argtypes = [ctypes.c_double]
    assert [library.is_nan(x) for x in (float("nan"), float("inf"), 1.0)] == [1, 0, 0]


def test_the_same_source_is_loaded_once_in_a_process(gcc: str, cache: Path) -> None:
    first = load(SOURCE)
    shutil.rmtree(cache)
    again = load(SOURCE)
    assert again.library is first.library
    assert again.cached
    assert again.seconds == 0.0


def test_sources_are_compiled_side_by_side_and_linked(gcc: str, cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(toolchain, "_candidates", lambda: iter([(gcc,)]))
    calling, called = "int two(void); int four(void) { return 2 * two(); }", "int two(void) { return 2; }"
    assert load(calling, called).library.four() == 4
    assert load(calling, called).cached
    assert len(objects(cache)) == 1
    assert leftovers(cache) == []
    with pytest.raises(NoCompiler, match=r"part1\.c:1:\d+: error"):
        load(calling, "int two(void) { return nothing; }")
    assert leftovers(cache) == []


def test_other_flags_make_another_object(gcc: str) -> None:
    source = "int answer(void) { return K; }"
    assert [load(source, extra=(f"-DK={k}",)).library.answer() for k in (1, 2)] == [1, 2]


def test_the_cache_folder_is_made_for_the_user_alone(gcc: str, cache: Path) -> None:
    old = os.umask(0)
    try:
        load(SOURCE)
    finally:
        os.umask(old)
    assert stat.S_IMODE(cache.stat().st_mode) == 0o700


@pytest.mark.parametrize(
    ("environment", "expected"),
    [
        ({"MICROGRAD_CACHE": "{}/m", "XDG_CACHE_HOME": "{}/x", "HOME": "{}/h"}, "m"),
        ({"MICROGRAD_CACHE": "", "XDG_CACHE_HOME": "{}/x", "HOME": "{}/h"}, "x/micrograd"),
        ({"MICROGRAD_CACHE": "", "XDG_CACHE_HOME": "relative", "HOME": "{}/h"}, "h/.cache/micrograd"),
        ({"MICROGRAD_CACHE": "", "XDG_CACHE_HOME": "", "HOME": "{}/h"}, "h/.cache/micrograd"),
    ],
)
def test_where_the_cache_is(
    gcc: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, environment: dict[str, str], expected: str
) -> None:
    for name, value in environment.items():
        monkeypatch.setenv(name, value.format(tmp_path))
    load(SOURCE)
    assert len(objects(tmp_path / expected)) == 1


# ---- which compiler


def test_no_compiler_is_said_in_one_line(no_compilers: None, cache: Path) -> None:
    assert compiler() is None
    with pytest.raises(NoCompiler, match=r"^no C compiler found: install gcc or clang, or pip install ziglang, or set CC$"):
        load(SOURCE)
    assert issubclass(NoCompiler, RuntimeError)
    assert not cache.exists()


def test_a_system_that_is_not_posix_has_no_compiler(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(toolchain.os, "name", "nt")
    with pytest.raises(NoCompiler, match="Linux or macOS"):
        load(SOURCE)
    assert compiler() is None


def test_cc_is_split_as_a_shell_does(gcc: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CC", f"{gcc} -DK=5 '-DL=K + 1'")
    assert compiler() == [gcc, "-DK=5", "-DL=K + 1"]
    loaded = load("int answer(void) { return L; }")
    assert loaded.library.answer() == 6
    assert loaded.compiler == f"{gcc} -DK=5 '-DL=K + 1'"


@pytest.mark.parametrize("cc", ["gcc 'open quote", "no-such-compiler", "false", "true", "/", "", " "])
def test_a_cc_that_is_no_compiler_is_passed_over(gcc: str, monkeypatch: pytest.MonkeyPatch, cc: str) -> None:
    monkeypatch.setenv("CC", cc)
    assert load(SOURCE).library.answer() == 42
    assert compiler() == [shutil.which("cc") or gcc]


def test_a_program_that_cannot_start_is_passed_over(gcc: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    broken = tmp_path / "broken"
    broken.write_bytes(b"\x7fELF, cut short")
    broken.chmod(0o755)
    monkeypatch.setenv("CC", str(broken))
    assert load(SOURCE).library.answer() == 42


def test_the_path_is_searched_for_cc_then_gcc_then_clang_and_then_comes_the_wheel(
    gcc: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder, wheel = tmp_path / "bin", tmp_path / "site" / "ziglang"
    folder.mkdir()
    wheel.mkdir(parents=True)
    (wheel / "__init__.py").touch()
    commands = [[script(folder / name, f'exec {gcc} "$@"')] for name in ("cc", "gcc", "clang")]
    commands.append([script(wheel / "zig", 'test "$1" = cc || exit 1', "shift", f'exec {gcc} "$@"'), "cc"])
    monkeypatch.setenv("PATH", str(folder))
    monkeypatch.syspath_prepend(str(wheel.parent))
    monkeypatch.delitem(sys.modules, "ziglang", raising=False)
    for command in commands:
        assert compiler() == command
        assert load(SOURCE).library.answer() == 42
        Path(command[0]).unlink()
        forget()
    assert compiler() is None


def test_a_failing_compiler_is_quoted(
    no_compilers: None, cache: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    cc = script(
        tmp_path / "cc", "echo 'program.c: in a function' >&2", "echo 'program.c:1: error: no luck in' $LC_ALL >&2", "exit 1"
    )
    monkeypatch.setenv("CC", cc)
    with pytest.raises(NoCompiler) as caught:
        load(SOURCE)
    assert str(caught.value) == f"{cc}: program.c:1: error: no luck in C"
    assert compiler() is None
    assert objects(cache) == leftovers(cache) == []


def test_a_compiler_that_fails_in_silence(no_compilers: None, monkeypatch: pytest.MonkeyPatch) -> None:
    false = shutil.which("false", path=os.defpath)
    monkeypatch.setenv("CC", str(false))
    with pytest.raises(NoCompiler, match=f"^{false}: ended with status 1 and said nothing$"):
        load(SOURCE)


def test_every_compiler_is_quoted_on_a_source_that_does_not_compile(
    gcc: str, cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "ziglang", None)  # slow
    monkeypatch.setenv("CC", "false")
    with pytest.raises(NoCompiler, match=r"/false: ended with status 1.*; .*program\.c:1:\d+: error: ") as caught:
        load("int answer(void) { return forty_two; }")
    assert "\n" not in str(caught.value)
    assert str(cache) not in str(caught.value)
    assert objects(cache) == leftovers(cache) == []


def test_what_a_compiler_leaves_behind_is_removed(gcc: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    temporary = tmp_path / "temporary"
    temporary.mkdir()
    monkeypatch.setenv("TMPDIR", str(temporary))
    monkeypatch.setenv("CC", script(tmp_path / "cc", 'touch "$TMPDIR/left.s"', f'exec {gcc} "$@"'))
    assert load(SOURCE).library.answer() == 42
    assert list(temporary.iterdir()) == []


def test_a_source_that_one_compiler_refuses_goes_to_the_next(
    gcc: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("CC", script(tmp_path / "old", 'grep -q answer "$9" && exit 1', f'exec {gcc} -DOLD "$@"'))
    assert "old" in (compiler() or [""])[0]
    assert load("#ifdef OLD\n#error old\n#endif\n" + SOURCE).library.answer() == 42


def test_a_broken_compiler_is_tried_once_in_a_process(gcc: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    log = tmp_path / "log"
    monkeypatch.setenv("CC", script(tmp_path / "broken", f"echo called >> {log}", "exit 1"))
    load(SOURCE)
    calls = log.read_text()
    assert calls
    load(answer(43))
    compiler()
    assert log.read_text() == calls


@pytest.mark.parametrize("refused", ["-march=native", "-m*=native"])
def test_a_flag_for_the_cpu_that_a_compiler_refuses_is_left_out(
    gcc: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, refused: str
) -> None:
    log = tmp_path / "log"
    refuses = f'for a in "$@"; do case "$a" in {refused}) exit 1;; esac; done'
    ignores = 'for a in "$@"; do shift; test "$a" = -mcpu=native || set -- "$@" "$a"; done'  # not every gcc knows it
    monkeypatch.setenv("CC", script(tmp_path / "cc", refuses, f'echo "$@" >> {log}', ignores, f'exec {gcc} "$@"'))
    loaded = load(SOURCE)
    assert loaded.library.answer() == 42
    assert loaded.compiler == str(tmp_path / "cc")
    last = log.read_text().splitlines()[-1]
    assert ("-mcpu=native" in last) == (refused == "-march=native")
    assert "-march=native" not in last


@pytest.mark.parametrize("garbage", ["echo garbage", "printf '\\177ELF'", ":"])
def test_an_object_that_does_not_load_is_not_kept(
    gcc: str, cache: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, no_compilers: None, garbage: str
) -> None:
    """The compiler works for the trial and not for the source."""
    find = 'for a in "$@"; do test "$last" = -o && object=$a; last=$a; done; dir=${object%/*}'
    lines = [find, f'if grep -q answer "$dir/program.c"; then {garbage} > "$object"; exit 0; fi', f'exec {gcc} "$@"']
    monkeypatch.setenv("CC", script(tmp_path / "cc", *lines))
    assert compiler() == [str(tmp_path / "cc")]
    with pytest.raises(NoCompiler, match="made an object that does not load") as caught:
        load(SOURCE)
    assert "\n" not in str(caught.value)
    assert "tmp-" not in str(caught.value)
    assert objects(cache) == leftovers(cache) == []


def test_a_compiler_that_makes_garbage_of_everything_does_not_work(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, no_compilers: None
) -> None:
    monkeypatch.setenv("CC", script(tmp_path / "cc", "exit 0"))
    assert compiler() is None


def test_a_server_that_the_compiler_leaves_running_is_not_waited_for(gcc: str, tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "end")
    cc = script(tmp_path / "cc", f"cat {tmp_path / 'end'} &", f'exec {gcc} "$@"')
    done = subprocess.Popen(
        [sys.executable, "-c", ANSWER],
        env={**os.environ, "PYTHONPATH": str(ROOT), "CC": cc},
        stdout=subprocess.PIPE,
        text=True,
    )
    try:
        assert done.communicate(timeout=60)[0] == NEW
    finally:
        os.close(os.open(tmp_path / "end", os.O_RDWR | os.O_NONBLOCK))  # opened for writing and closed: the servers end
        done.kill()


def test_the_ziglang_wheel_compiles(cache: Path, tmp_path: Path) -> None:
    pytest.importorskip("ziglang")
    environment = {"PATH": "", "HOME": str(tmp_path / "home"), "CC": ""}
    assert run_fresh(ANSWER, **environment) == NEW
    assert run_fresh(ANSWER, **environment) == WARM
    assert not (tmp_path / "home").exists()


# ---- a cache that cannot be used


def below_a_file(folder: Path) -> None:
    folder.parent.write_text("a file where a folder should be")


def a_file(folder: Path) -> None:
    folder.write_text("a file where the folder should be")


def a_link(folder: Path) -> None:
    (folder.parent / "elsewhere").mkdir(mode=0o700)
    folder.symlink_to(folder.parent / "elsewhere")


def a_link_to_itself(folder: Path) -> None:
    folder.symlink_to(folder)


def for_the_group(folder: Path) -> None:
    folder.mkdir()
    folder.chmod(0o720)


def for_all(folder: Path) -> None:
    folder.mkdir()
    folder.chmod(0o702)


def in_a_folder_for_all(folder: Path) -> None:
    folder.mkdir(mode=0o700)
    folder.parent.chmod(0o777)


def of_another_user(folder: Path) -> None:
    if os.geteuid() != 0:
        pytest.skip("only root can give a folder away")
    folder.mkdir(mode=0o700)
    os.chown(folder, 12345, 12345)


UNUSABLE = [below_a_file, a_file, a_link, a_link_to_itself, for_the_group, for_all, in_a_folder_for_all, of_another_user]


def contents(folder: Path) -> list[tuple[str, int]]:
    return sorted((str(path), path.lstat().st_mode) for path in folder.rglob("*"))


@pytest.mark.parametrize("spoil", UNUSABLE)
def test_a_cache_that_is_not_safe_is_left_alone(gcc: str, tmp_path: Path, spoil: object) -> None:
    parent = tmp_path / "parent"
    if spoil is not below_a_file:
        parent.mkdir()
    assert callable(spoil)
    spoil(parent / "cache")
    before = contents(tmp_path)
    for _ in range(2):  # silently, with warnings as errors: the object is made each time
        assert run_fresh(ANSWER, "-Werror", MICROGRAD_CACHE=str(parent / "cache")) == NEW
    assert contents(tmp_path) == before


@pytest.mark.skipif(not Path("/proc/self").is_dir(), reason="needs Linux")
def test_a_cache_that_cannot_be_made(gcc: str) -> None:
    assert run_fresh(ANSWER, MICROGRAD_CACHE="/proc/no/such/folder") == NEW


def test_no_home(gcc: str, tmp_path: Path) -> None:
    code = "import os; os.environ.pop('HOME'); import pwd; pwd.getpwuid = {}.__getitem__" + ANSWER
    code += f"import os; print(os.listdir({str(tmp_path)!r}))"
    code = f"import os; os.chdir({str(tmp_path)!r})\n" + code
    assert run_fresh(code, HOME="x", MICROGRAD_CACHE="", XDG_CACHE_HOME="") == NEW + "[]\n"


def test_no_working_folder(gcc: str, tmp_path: Path) -> None:
    code = "import os, tempfile; d = tempfile.mkdtemp(); os.chdir(d); os.rmdir(d)" + ANSWER
    assert run_fresh(code, MICROGRAD_CACHE="relative") == NEW


def test_a_planted_object_is_not_loaded_from_an_unsafe_cache(gcc: str, cache: Path) -> None:
    """The object is whole and has the right name, but anybody could have put it there."""
    evil = load(answer(666))
    [planted] = objects(cache)
    key = toolchain._key((SOURCE,), (), (evil.compiler,))
    planted.rename(cache / toolchain._name(key, planted.read_bytes()))
    forget()
    assert load(SOURCE).library.answer() == 666  # it would be
    cache.chmod(0o777)
    forget()
    assert load(SOURCE).library.answer() == 42


def test_the_folder_of_the_process_is_removed_at_its_end(gcc: str, tmp_path: Path) -> None:
    temporary = tmp_path / "temporary"
    temporary.mkdir()
    code = f"{ANSWER}import os; print(len(os.listdir({str(temporary)!r})))"
    assert run_fresh(code, TMPDIR=str(temporary), MICROGRAD_CACHE="/dev/null") == NEW + "1\n"
    assert list(temporary.iterdir()) == []


def test_a_forked_child_leaves_the_folder_of_its_parent(gcc: str) -> None:
    code = f"""{ANSWER}
import os, sys
sys.stdout.flush()  # what is not written yet would be written by both
child = os.fork()
if child == 0:
    assert load("int answer(void) {{ return 43; }}").library.answer() == 43
    sys.exit()
assert os.waitpid(child, 0)[1] == 0
print(load("int answer(void) {{ return 44; }}").library.answer())
"""
    assert run_fresh(code, MICROGRAD_CACHE="/dev/null") == NEW + "44\n"


def test_a_full_disk_is_felt_only_when_the_compiler_writes(
    gcc: str, cache: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, no_compilers: None
) -> None:
    full = f'for a in "$@"; do case "$a" in {cache}/*) echo "ld: error: No space left on device" >&2; exit 1;; esac; done'
    monkeypatch.setenv("CC", script(tmp_path / "cc", full, f'exec {gcc} "$@"'))
    loaded = load(SOURCE)
    assert loaded.library.answer() == 42
    assert not loaded.cached
    assert compiler() == [str(tmp_path / "cc")]
    assert objects(cache) == leftovers(cache) == []


def refuse(*_: object, **__: object) -> None:
    raise PermissionError("read-only")


def test_a_read_only_cache_still_serves_what_it_holds(gcc: str, cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    load(SOURCE)
    forget()
    for name in ("utime", "unlink", "replace", "mkdir"):
        monkeypatch.setattr(toolchain.os, name, refuse)
    loaded = load(SOURCE)
    assert loaded.cached
    assert loaded.library.answer() == 42


def test_an_object_that_cannot_be_stored_is_still_loaded(gcc: str, cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(toolchain.os, "replace", refuse)
    assert load(SOURCE).library.answer() == 42
    assert objects(cache) == leftovers(cache) == []


def test_no_folder_at_all(gcc: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MICROGRAD_CACHE", "/dev/null")
    monkeypatch.setattr(toolchain.tempfile, "mkdtemp", refuse)
    with pytest.raises(NoCompiler, match="no folder to compile in"):
        load(SOURCE)
    assert compiler() is None


# ---- a damaged object


def damaged(path: Path, content: bytes) -> None:
    """A new file in its place: this process has the old one mapped."""
    path.unlink()
    path.write_bytes(content)


def cut(path: Path) -> None:
    damaged(path, path.read_bytes()[:-1])


def empty(path: Path) -> None:
    damaged(path, b"")


def flip_a_bit(path: Path) -> None:
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    damaged(path, content)


def put_a_script(path: Path) -> None:
    damaged(path, b"#!/bin/sh\n")


def put_another_object(path: Path) -> None:
    load(answer(666), extra=("-DANOTHER",))
    [other] = [each for each in objects(path.parent) if each != path]
    other.replace(path)


def put_a_sound_file_that_is_no_object(path: Path) -> None:
    content = b"the hash is right"
    path.unlink()
    path.with_name(f"{path.name.split('-')[0]}-{hashlib.sha256(content).hexdigest()}.so").write_bytes(content)


DAMAGES = [cut, empty, flip_a_bit, put_a_script, put_another_object, put_a_sound_file_that_is_no_object]


@pytest.mark.parametrize("damage", DAMAGES)
def test_a_damaged_object_is_deleted_and_made_again(gcc: str, cache: Path, damage: object) -> None:
    load(SOURCE)
    [path] = objects(cache)
    assert callable(damage)
    damage(path)
    assert run_fresh(ANSWER) == NEW
    [repaired] = objects(cache)
    assert repaired.name.split("-")[1] == hashlib.sha256(repaired.read_bytes()).hexdigest() + ".so"
    assert run_fresh(ANSWER) == WARM


def test_an_object_made_again_is_the_one_that_runs(gcc: str, cache: Path) -> None:
    """dlopen would give the library that it knows by the same path."""
    load(SOURCE)
    [path] = objects(cache)
    flip_a_bit(path)
    code = f"{ANSWER}again = load({SOURCE!r})\nprint(again.library.answer(), again.cached, again.library is loaded.library)"
    assert run_fresh(code) == NEW + "42 True True\n"


def test_a_folder_in_the_place_of_an_object(gcc: str, cache: Path) -> None:
    load(SOURCE)
    [path] = objects(cache)
    path.unlink()
    path.mkdir()
    assert run_fresh(ANSWER) == NEW


# ---- interrupted


HANGS = ["exec 3> {fifo}", "last=", 'for a in "$@"; do test "$last" = -o && printf "\\177ELF" > "$a"; last=$a; done']
HANGS += ["trap '' INT", "sleep 300 &", "echo $$ >&3", "wait"]


@dataclass
class Hanging:
    """A Python that waits for a compiler that hangs; the compiler and its child hold the writing end of `pipe`."""

    python: subprocess.Popen[str]
    pipe: TextIO

    def compiler_ended(self) -> bool:
        """Whether the compiler and its child are gone, or go soon."""
        ready, _, _ = select.select([self.pipe], [], [], 20)
        return bool(ready) and self.pipe.read() == ""


@pytest.fixture
def hanging(gcc: str, tmp_path: Path) -> Iterator[Hanging]:
    fifo = tmp_path / "fifo"
    os.mkfifo(fifo)
    cc = script(tmp_path / "hangs", *(line.replace("{fifo}", str(fifo)) for line in HANGS))
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "CC": cc}
    # a shell has its background jobs ignore SIGINT, and theirs
    code = f"import signal\nsignal.signal(signal.SIGINT, signal.default_int_handler)\n{ANSWER}"
    with subprocess.Popen([sys.executable, "-c", code], env=environment, stderr=subprocess.PIPE, text=True) as python:
        with open(fifo) as pipe:  # waits for the compiler to open the other end
            group = int(pipe.readline())
            yield Hanging(python, pipe)
        python.kill()
        with contextlib.suppress(ProcessLookupError):
            os.killpg(group, signal.SIGKILL)


def test_an_interrupt_kills_the_compiler_and_leaves_nothing(hanging: Hanging, cache: Path) -> None:
    assert len(leftovers(cache)) == 1
    hanging.python.send_signal(signal.SIGINT)
    assert "KeyboardInterrupt" in hanging.python.communicate(timeout=120)[1]
    assert hanging.compiler_ended()
    assert objects(cache) == leftovers(cache) == []
    assert run_fresh(ANSWER) == NEW


def test_a_python_that_is_killed_leaves_nothing_that_is_loaded(hanging: Hanging, cache: Path) -> None:
    hanging.python.kill()
    hanging.python.wait()
    [left] = leftovers(cache)
    assert (left / "program.so").exists()
    assert run_fresh(ANSWER) == NEW
    assert leftovers(cache) == [left]  # its compiler may be at work still
    os.utime(left, times=(0, 0))
    load(answer(43))
    assert leftovers(cache) == []  # but not days later


def test_a_compiler_that_is_killed(gcc: str, cache: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    cc = script(tmp_path / "cc", f'case "$*" in *-DX*) echo x >> {tmp_path}/killed; kill -9 $$;; esac', f'exec {gcc} "$@"')
    monkeypatch.setenv("CC", cc)
    loaded = load(SOURCE, extra=("-DX",))
    assert loaded.library.answer() == 42
    assert (tmp_path / "killed").exists()
    assert loaded.compiler != cc
    assert leftovers(cache) == []


def test_the_first_object_takes_one_run_of_the_compiler(gcc: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    log = tmp_path / "log"
    monkeypatch.setenv("CC", script(tmp_path / "cc", f"echo called >> {log}", f'exec {gcc} "$@"'))
    assert load(SOURCE).library.answer() == 42
    assert log.read_text() == "called\n"


# ---- at once


def test_two_processes_compile_the_same_at_once(gcc: str, cache: Path, tmp_path: Path) -> None:
    """Opening a named pipe waits for the other end: each compile of one process runs beside one of the other."""
    os.mkfifo(tmp_path / "meet")
    meet = f"if test $SIDE = left; then : > {tmp_path}/meet; else : < {tmp_path}/meet; fi"
    cc = script(tmp_path / "cc", meet, f'exec {gcc} "$@"')
    both = [
        subprocess.Popen(
            [sys.executable, "-c", ANSWER],
            env={**os.environ, "PYTHONPATH": str(ROOT), "CC": cc, "SIDE": side},
            stdout=subprocess.PIPE,
            text=True,
        )
        for side in ("left", "right")
    ]
    assert [process.communicate(timeout=120)[0] for process in both] == [NEW, NEW]
    assert leftovers(cache) == []
    assert run_fresh(ANSWER, CC=cc, SIDE="neither") == WARM


def test_threads_compile_the_same_at_once(gcc: str, cache: Path) -> None:
    start = threading.Barrier(4)

    def run(_: int) -> tuple[int, ctypes.CDLL]:
        start.wait()
        library = load(SOURCE).library
        return library.answer(), library

    with ThreadPoolExecutor(4) as pool:
        results = list(pool.map(run, range(4)))
    assert [number for number, _ in results] == [42] * 4
    assert len({id(library) for _, library in results}) == 1
    assert leftovers(cache) == []


# ---- the key


def test_a_second_process_calls_no_compiler(gcc: str, tmp_path: Path) -> None:
    log = tmp_path / "log"
    cc = script(tmp_path / "cc", f"echo called >> {log}", f'exec {gcc} "$@"')
    assert run_fresh(ANSWER, CC=cc) == NEW
    log.unlink()
    no_children = "import subprocess, os; subprocess.Popen = os.fork = os.posix_spawn = None" + ANSWER
    assert run_fresh(no_children, CC=cc) == WARM
    assert not log.exists()


def test_another_compiler_makes_another_object(gcc: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Even where the object of a compiler further down is there."""
    load(SOURCE)
    forget()
    cc = script(tmp_path / "cc", f'exec {gcc} "$@"')
    monkeypatch.setenv("CC", cc)
    loaded = load(SOURCE)
    assert not loaded.cached
    assert loaded.compiler == cc


@pytest.mark.parametrize("command", ["{}/my-cc", "env {}/my-cc", "env my-cc"])
def test_an_upgraded_compiler_makes_another_object(
    gcc: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, command: str
) -> None:
    link, old, new = tmp_path / "my-cc", tmp_path / "1.0", tmp_path / "1.1"
    for version in (old, new):
        script(version, f'exec {gcc} "$@"')
        os.utime(version, times=(1, 1))
    monkeypatch.setenv("CC", command.format(tmp_path))
    monkeypatch.setenv("PATH", f"{tmp_path}:{os.environ['PATH']}")

    def cached() -> bool:
        forget()
        return load(SOURCE).cached

    link.symlink_to(old)
    assert not cached()
    assert cached()
    os.utime(old, times=(2, 2))
    assert not cached()
    os.utime(old, times=(1, 1))
    link.unlink()
    link.symlink_to(new)  # of the same size and time
    assert not cached()


X86 = """processor\t: 0
model name\t: Some CPU
cpu MHz\t\t: {clock}
flags\t\t: fpu sse2 {flags}

processor\t: 1
model name\t: Some CPU
cpu MHz\t\t: 1000.0
flags\t\t: fpu sse2 {second}
"""
ARM = """processor\t: 0
BogoMIPS\t: {clock}
Features\t: fp asimd {flags}
CPU part\t: 0xd0c

processor\t: 1
Features\t: fp asimd {second}
"""


@pytest.mark.parametrize("cpuinfo", [X86, ARM])
@pytest.mark.skipif(os.uname().sysname != "Linux", reason="needs Linux")
def test_an_object_is_never_loaded_on_another_cpu(
    gcc: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, cpuinfo: str
) -> None:
    monkeypatch.setattr(toolchain, "CPUINFO", str(tmp_path / "cpuinfo"))

    def cached_with(**values: str) -> bool:
        (tmp_path / "cpuinfo").write_text(cpuinfo.format(**{"clock": "900", "flags": "avx2", "second": "", **values}))
        forget()
        return load(SOURCE).cached

    assert not cached_with()
    assert cached_with()
    assert cached_with(clock="1200", second="as the first")
    assert not cached_with(flags="avx2 avx512f")
    assert cached_with()


@pytest.mark.parametrize("content", [None, "", "clock: 900\n"])
def test_an_unknown_cpu_is_like_no_other(
    gcc: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, content: str | None
) -> None:
    monkeypatch.setattr(toolchain, "CPUINFO", str(tmp_path / "cpuinfo"))
    if content is not None:
        (tmp_path / "cpuinfo").write_text(content)
    assert not load(SOURCE).cached
    assert load(SOURCE).cached
    forget()
    assert not load(SOURCE).cached


def test_macos_names_its_cpu(monkeypatch: pytest.MonkeyPatch) -> None:
    class System:
        def sysctlbyname(self, name: bytes, value: ctypes.Array[ctypes.c_char], *_: object) -> None:
            value.value = b"Apple M1" if name == b"machdep.cpu.brand_string" else b""

    monkeypatch.setattr(toolchain.ctypes, "CDLL", lambda _: System())
    assert toolchain._macos_cpu() == "Apple M1"


# ---- eviction


def aged(cache: Path, sources: list[str]) -> dict[str, Path]:
    """The object of each source; the first was used longest ago."""
    paths: dict[str, Path] = {}
    for age, source in enumerate(sources):
        load(source)
        [paths[source]] = set(objects(cache)) - set(paths.values())
        os.utime(paths[source], times=(age, age))
    forget()
    return paths


def test_the_least_recently_used_objects_are_evicted(gcc: str, cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    paths = aged(cache, [answer(k) for k in range(4)])
    assert load(answer(0)).cached  # which makes it the last used
    monkeypatch.setattr(toolchain, "CACHE_OBJECTS", 3)
    load(answer(4))
    kept = [k for k in range(4) if paths[answer(k)].exists()]
    assert kept == [0, 3]
    assert len(objects(cache)) == 3


def test_objects_are_evicted_beyond_a_size(gcc: str, cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    paths = aged(cache, [answer(k) for k in range(3)])
    monkeypatch.setattr(toolchain, "CACHE_BYTES", int(2.5 * paths[answer(0)].stat().st_size))
    load(answer(3))
    assert [k for k in range(3) if paths[answer(k)].exists()] == [2]


def test_an_object_evicted_while_it_is_loaded_still_runs(gcc: str, cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(toolchain, "CACHE_OBJECTS", 0)
    loaded = load(SOURCE)
    assert objects(cache) == []
    assert loaded.library.answer() == 42


def test_eviction_goes_on_where_another_process_was_first(gcc: str, cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    paths = aged(cache, [answer(k) for k in range(3)])
    monkeypatch.setattr(toolchain, "CACHE_OBJECTS", 0)
    unlink = os.unlink

    def late(path: str, **where: int) -> None:
        unlink(path, **where)
        if path.endswith(".so"):
            raise FileNotFoundError(path)

    monkeypatch.setattr(toolchain.os, "unlink", late)
    load(answer(3))
    assert not any(path.exists() for path in paths.values())


def test_eviction_touches_nothing_else(gcc: str, cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(toolchain, "CACHE_OBJECTS", 0)
    cache.mkdir(mode=0o700)
    (cache / "notes.txt").touch()
    (cache / "tmp-young").mkdir()
    os.utime(cache / "notes.txt", times=(0, 0))
    load(SOURCE)
    assert sorted(path.name for path in cache.iterdir()) == ["notes.txt", "tmp-young"]
