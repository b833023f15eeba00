"""Whatever goes wrong with the C compiler or its cache, a program ends in a right answer or a clear error.

Each case runs in fresh processes, with a cache folder of its own.
"""

from __future__ import annotations

import os
import select
import shutil
import signal
import stat
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from conftest import ROOT

PROGRAM = """
import sys, warnings
HIDE
import micrograd
def loss(w, x, y):
    return ((w[0] * x[0] + w[1] * x[1]).tanh() - y) ** 2
program = micrograd.compile(loss, batch=(None, 0, 0), reduce="sum", backend="BACKEND")
value, gradient = program.value_and_grad([0.5, -1.0], [[1.0, 2.0], [-0.5, 0.25]], [1.0, -1.0])
expected, wanted = 0.0, [0.0, 0.0]
for x, y in (([1.0, 2.0], 1.0), ([-0.5, 0.25], -1.0)):
    v, g = micrograd.value_and_grad(loss)([0.5, -1.0], x, y)
    expected, wanted = expected + v, [a + b for a, b in zip(wanted, g)]
assert abs(value - expected) < 1e-14, (value, expected)
assert all(abs(a - b) < 1e-14 for a, b in zip(gradient, wanted)), (gradient, wanted)
print("right", program.stats.backend)
"""
WITHOUT_WHEEL = "sys.modules['ziglang'] = None"  # which then cannot be found

needs_compiler = pytest.mark.skipif(
    os.environ.get("CI") != "true" and not shutil.which("cc"), reason="needs a C compiler, which CI has"
)


def program(backend: str = "auto", hide: str = "") -> str:
    return PROGRAM.replace("BACKEND", backend).replace("HIDE", hide)


def run(cache: Path, code: str, *flags: str, **environment: str) -> subprocess.CompletedProcess[str]:
    """A fresh process with this cache."""
    return subprocess.run(
        [sys.executable, *flags, "-c", code],
        env={**os.environ, "PYTHONPATH": str(ROOT), "MICROGRAD_CACHE": str(cache), **environment},
        capture_output=True,
        text=True,
        check=False,
        timeout=120,
    )


def answer(done: subprocess.CompletedProcess[str]) -> str:
    """The backend that gave the right answer."""
    assert done.returncode == 0, done.stderr
    right, backend = done.stdout.split()
    assert right == "right"
    return backend


def objects(cache: Path) -> list[Path]:
    return sorted(p for p in cache.rglob("*.so") if p.is_file())


def counting_compiler(folder: Path, then: str = 'exec cc "$@"') -> tuple[str, Path]:
    """A C compiler that notes each of its calls in a file."""
    script, log = folder / "counting-cc", folder / "calls"
    script.write_text(f'#!/bin/sh\necho call >> "{log}"\n{then}\n')
    script.chmod(0o755)
    log.touch()
    return str(script), log


@pytest.fixture
def empty(tmp_path: Path) -> Iterator[Path]:
    """A cache folder that only this user can write, and that can be removed whatever a test did to it."""
    cache = tmp_path / "cache"
    cache.mkdir(mode=0o700)
    yield cache
    if cache.is_dir():
        cache.chmod(0o700)


# ------------------------------------------------------------------------------------------------------- no compiler


def test_without_a_compiler_numpy_runs_and_one_line_warns(empty: Path) -> None:
    done = run(empty, program(hide=WITHOUT_WHEEL), PATH="", CC="")
    assert answer(done) == "numpy"
    lines = [line for line in done.stderr.splitlines() if "Warning" in line]
    assert len(lines) == 1, done.stderr
    assert any(word in lines[0] for word in ("gcc", "ziglang")), lines


def test_the_warning_comes_once_however_many_programs_there_are(empty: Path) -> None:
    code = program(hide=WITHOUT_WHEEL) + "micrograd.compile(lambda x: x * 2)(1.0); micrograd.compile(lambda x: x * 3)(1.0)\n"
    done = run(empty, code, PATH="", CC="")
    assert answer(done) == "numpy"
    assert done.stderr.count("Warning") == 1, done.stderr


def test_native_without_a_compiler_is_an_error_that_says_what_to_install(empty: Path) -> None:
    done = run(empty, program("native", WITHOUT_WHEEL), PATH="", CC="")
    assert done.returncode == 1
    last = done.stderr.strip().splitlines()[-1]
    assert "compiler" in last
    assert "ziglang" in last
    assert "Error" in last or "NoCompiler" in last


def test_the_numpy_backend_never_looks_for_a_compiler(empty: Path, tmp_path: Path) -> None:
    compiler, log = counting_compiler(tmp_path)
    assert answer(run(empty, program("numpy"), "-Werror", CC=compiler)) == "numpy"
    assert log.read_text() == ""


EMPTY_OBJECT = 'while [ $# -gt 1 ]; do [ "$1" = -o ] && : > "$2"; shift; done'


@pytest.mark.parametrize("fault", ["exit 1", "exit 0", "kill -9 $$", 'echo "error: no licence" >&2; exit 3', EMPTY_OBJECT])
def test_a_compiler_that_fails_leaves_numpy(empty: Path, tmp_path: Path, fault: str) -> None:
    compiler, _ = counting_compiler(tmp_path, fault)
    done = run(empty, program(hide=WITHOUT_WHEEL), PATH="/nowhere", CC=compiler)
    assert answer(done) == "numpy"
    assert done.stderr.count("Warning") == 1, done.stderr
    assert objects(empty) == []


def test_a_compiler_that_is_not_there_is_passed_over(empty: Path) -> None:
    assert answer(run(empty, program(), CC="/nowhere/cc")) == ("native" if shutil.which("cc") else "numpy")


# ------------------------------------------------------------------------------------------------------------- cache


@needs_compiler
def test_a_second_process_calls_no_compiler(empty: Path, tmp_path: Path) -> None:
    compiler, log = counting_compiler(tmp_path)
    assert answer(run(empty, program(), "-Werror", CC=compiler)) == "native"
    first = log.read_text().count("call")
    assert first > 0
    assert answer(run(empty, program(), "-Werror", CC=compiler)) == "native"
    second = log.read_text().count("call") - first
    assert second == 0


@needs_compiler
def test_a_read_only_cache(empty: Path) -> None:
    empty.chmod(0o500)
    assert answer(run(empty, program(), "-Werror")) == "native"
    assert os.geteuid() == 0 or objects(empty) == []  # root may write anywhere


@needs_compiler
def test_a_cache_that_is_a_file_or_cannot_be_made(tmp_path: Path) -> None:
    file = tmp_path / "file"
    file.touch()
    for cache in (file, file / "below", Path("/proc/no/such/folder")):
        assert answer(run(cache, program())) == "native"


@needs_compiler
def test_no_home_and_no_cache_variable(tmp_path: Path) -> None:
    environment = {k: v for k, v in os.environ.items() if k not in ("HOME", "XDG_CACHE_HOME", "MICROGRAD_CACHE")}
    for home in ({}, {"HOME": "/nowhere"}, {"HOME": str(tmp_path)}):
        done = subprocess.run(
            [sys.executable, "-c", program()],
            env={**environment, "PYTHONPATH": str(ROOT), **home, **({} if home else {"XDG_CACHE_HOME": str(tmp_path)})},
            capture_output=True, text=True, check=False, timeout=120,
        )  # fmt: skip
        assert answer(done) == "native"


@needs_compiler
def test_a_cache_that_others_can_write_is_not_trusted(empty: Path) -> None:
    assert answer(run(empty, program())) == "native"
    for file in objects(empty):
        hostile(file)
    empty.chmod(0o777)
    assert answer(run(empty, program())) == "native"


def hostile(file: Path) -> None:
    """In the place of a cached object: one with other code, which ends the process when it is loaded."""
    source = file.parent / "hostile.c"
    source.write_text("#include <stdlib.h>\n__attribute__((constructor)) static void run(void) { _Exit(66); }\n")
    file.chmod(0o700)
    subprocess.run(["cc", "-shared", "-fPIC", "-o", str(file), str(source)], check=True)
    source.unlink()


@needs_compiler
def test_a_cache_that_is_a_link_to_a_folder_that_others_can_write(tmp_path: Path) -> None:
    shared, link = tmp_path / "shared", tmp_path / "link"
    shared.mkdir()
    shared.chmod(0o777)
    link.symlink_to(shared)
    assert answer(run(link, program())) == "native"
    assert objects(shared) == []


@needs_compiler
@pytest.mark.parametrize("damage", ["empty", "half", "noise", "text", "bit", "folder"])
def test_a_corrupt_cached_object_is_made_again(empty: Path, damage: str) -> None:
    assert answer(run(empty, program())) == "native"
    files = objects(empty)
    assert files
    for file in files:
        content = file.read_bytes()
        file.chmod(stat.S_IRWXU)
        middle = len(content) // 2
        changed = {
            "empty": b"",
            "half": content[:middle],
            "noise": bytes(len(content)),
            "text": b"not an object",
            "bit": content[:middle] + bytes([content[middle] ^ 1]) + content[middle + 1 :],
            "folder": None,
        }[damage]
        file.unlink()
        if changed is None:
            file.mkdir()
        else:
            file.write_bytes(changed)
    for _ in range(2):
        assert answer(run(empty, program(), "-Werror")) == "native"


@needs_compiler
def test_an_object_of_another_program_under_the_name_of_this_one_is_not_run(empty: Path) -> None:
    assert answer(run(empty, program())) == "native"
    known = set(objects(empty))
    other = "import micrograd\nassert micrograd.compile(lambda x: x * 7.0 - x.sin(), backend='native')(0.0) == 0.0\n"
    done = run(empty, other)
    assert done.returncode == 0, done.stderr
    foreign = next(p for p in objects(empty) if p not in known)
    for file in known:
        file.unlink()
        shutil.copy(foreign, file)
    assert answer(run(empty, program(), "-Werror")) == "native"


# ---------------------------------------------------------------------------------- interruptions, several processes


def start(cache: Path, code: str, **environment: str) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-c", code],
        env={**os.environ, "PYTHONPATH": str(ROOT), "MICROGRAD_CACHE": str(cache), **environment},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def wait_for(fifo: Path) -> None:
    """Until someone writes to it, a minute at most."""
    reader = os.open(fifo, os.O_RDONLY | os.O_NONBLOCK)
    try:
        assert select.select([reader], [], [], 60)[0], "the compiler was not called"
    finally:
        os.close(reader)


@needs_compiler
@pytest.mark.parametrize("how", [signal.SIGINT, signal.SIGTERM, signal.SIGKILL])
def test_an_interrupted_compile_leaves_a_cache_that_works(empty: Path, tmp_path: Path, how: signal.Signals) -> None:
    started = tmp_path / "started"
    os.mkfifo(started)
    slow, _ = counting_compiler(tmp_path, f'echo > "{started}"; sleep 5; exec cc "$@"')
    process = start(empty, "import signal; signal.signal(signal.SIGINT, signal.default_int_handler)\n" + program(), CC=slow)
    wait_for(started)
    process.send_signal(how)
    _, errors = process.communicate(timeout=60)
    assert process.returncode != 0
    if how is signal.SIGINT:
        assert "KeyboardInterrupt" in errors
    assert answer(run(empty, program(), "-Werror")) == "native"
    assert answer(run(empty, program(), "-Werror")) == "native"


@needs_compiler
def test_processes_that_compile_the_same_program_at_once(empty: Path) -> None:
    processes = [start(empty, program()) for _ in range(4)]
    for process in processes:
        output, errors = process.communicate(timeout=120)
        assert process.returncode == 0, errors
        assert output.split() == ["right", "native"]
    assert answer(run(empty, program(), "-Werror")) == "native"


@needs_compiler
def test_threads_that_call_one_program_at_once(empty: Path) -> None:
    code = """
import threading, micrograd, numpy as np
program = micrograd.compile(lambda w, x: (w * x).tanh() ** 2, batch=(None, 0), reduce="sum", backend="native")
x = np.linspace(-1, 1, 1000)
results = {}
def work(i):
    for _ in range(50):
        results.setdefault(i, set()).add(program.value_and_grad(float(i), x))
threads = [threading.Thread(target=work, args=(i,)) for i in range(4)]
[t.start() for t in threads]; [t.join() for t in threads]
for i in range(4):
    (value, gradient), = results[i]
    expected = np.sum(np.tanh(i * x) ** 2)
    assert abs(value - expected) <= 1e-12 * abs(expected), (i, value, expected)
print("right native")
"""
    assert answer(run(empty, code)) == "native"


@needs_compiler
def test_a_forked_child_runs_a_program_that_its_parent_compiled(empty: Path) -> None:
    code = """
import os, micrograd, warnings
warnings.simplefilter("ignore")
program = micrograd.compile(lambda x: x.exp() * x, batch=(0,), reduce="sum", backend="native", threads=2)
before = program([1.0, 2.0, 3.0])
child = os.fork()
if child == 0:
    os._exit(0 if program([1.0, 2.0, 3.0]) == before else 1)
assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
assert program([1.0, 2.0, 3.0]) == before
print("right native")
"""
    assert answer(run(empty, code)) == "native"
