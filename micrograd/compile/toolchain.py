"""From C source to a loaded shared object, through whatever C compiler is here and a cache on disk.

Nothing in the cache is trusted: its folder is used only if nobody else can write it, and an object carries the hash of its
own bytes in its name, so that one name never stands for two contents.  An object enters the cache by one rename, after it
was loaded; there are no locks.  Where the cache cannot be used, a folder of this process alone takes its place.
"""

from __future__ import annotations

import atexit
import contextlib
import ctypes
import functools
import hashlib
import importlib.util
import os
import shlex
import shutil
import signal
import stat
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

FORMAT = 1  # of the cache; a new number leaves every older object to be evicted
FLAGS = (
    *(
        "-std=gnu11",
        "-O2",
        "-ftree-vectorize",
        "-fPIC",
        "-shared",
    ),  # as fast as -O3 here, and compiled in two thirds of the time
    *("-fno-math-errno", "-fno-trapping-math", "-fopenmp-simd"),  # never -ffast-math: infinities and NaNs keep their meaning
)
NATIVE = (
    ("-march=native", "-mprefer-vector-width=512"),
    ("-march=native",),
    ("-mcpu=native",),
    (),
)  # compilers differ, and so do machines: the first that works
TRIAL = "#include <math.h>\ndouble trial(double x) { return exp(x); }\n"

CACHE_BYTES = 256 * 2**20
CACHE_OBJECTS = 1000
STALE_SECONDS = 24 * 3600  # no compile takes so long: its folder was left by a process that was killed


class NoCompiler(RuntimeError):  # noqa: N818 (it is a state of the machine, and reads as one)
    """Nothing here can compile the source; the message is one line and says why."""


@dataclass(frozen=True)
class Loaded:
    """A loaded shared object, and what it cost."""

    library: ctypes.CDLL
    compiler: str
    """The command, as one would type it."""
    seconds: float
    """Time in the compiler; 0.0 where the object was there already."""
    cached: bool
    """Whether it was there already: in this process or on disk."""


class _CompilerError(Exception):
    """One line on why a compiler made no object that loads."""


def load(*sources: str, extra: tuple[str, ...] = ()) -> Loaded:
    """The shared object that C sources compile to side by side, loaded; `extra` is further flags for the compiler.

    The object comes from this process, from the cache on disk or from the first compiler that can make it.  The cache is
    the folder ``$MICROGRAD_CACHE``, ``$XDG_CACHE_HOME/micrograd`` or ``~/.cache/micrograd``.  Raises :class:`NoCompiler`
    where no compiler is found, or none makes an object that loads.

    >>> from micrograd.compile.toolchain import load
    >>> loaded = load("int twice(int x) { return 2 * x; }")
    >>> loaded.library.twice(21)
    42
    """
    reasons: dict[str, None] = {}  # one compiler says the same in each folder
    for folder, command in _places():
        try:
            key = _key(sources, extra, command)
            library = _LIBRARIES.get(key) or _from_cache(folder, key)
            if library is not None:
                return Loaded(_LIBRARIES.setdefault(key, library), shlex.join(command), 0.0, True)
            library, seconds = _built(folder, command, extra, sources, key)
            return Loaded(_LIBRARIES.setdefault(key, library), shlex.join(command), seconds, False)
        except (_CompilerError, OSError) as fault:  # noqa: PERF203
            reasons[f"{shlex.join(command)}: {fault}"] = None
    raise NoCompiler("; ".join(reasons) or "there is no folder to compile in: neither the cache nor a temporary one")


def compiler() -> list[str] | None:
    """The command of the first C compiler that works here, or None; found by compiling a trifle, once a process.

    In this order: ``$CC``, then ``cc``, ``gcc`` and ``clang`` on the path, then the ``ziglang`` wheel.

    >>> from micrograd.compile.toolchain import compiler
    >>> compiler()  # doctest: +SKIP
    ['/usr/bin/cc']
    """
    with contextlib.suppress(NoCompiler):
        for folder, command in _places():
            with contextlib.suppress(_CompilerError, OSError):
                _native(folder, command)
                return list(command)
    return None


# What is loaded stays loaded, once: dlopen knows a library by its path, and would not see that a file was rebuilt.
_LIBRARIES: dict[str, ctypes.CDLL] = {}


# ---- compilers


def _places() -> Iterator[tuple[Path, tuple[str, ...]]]:
    """Where and by what command to try to compile, best first."""
    if os.name != "posix":
        raise NoCompiler("compiling to native code needs Linux or macOS")
    if next(_candidates(), None) is None:
        raise NoCompiler("no C compiler found: install gcc or clang, or pip install ziglang, or set CC")
    for folder in _folders():
        for command in _candidates():
            yield folder, command


def _candidates() -> Iterator[tuple[str, ...]]:
    """The commands that may be C compilers; the program of each exists."""
    with contextlib.suppress(ValueError):  # CC has an open quote
        words = shlex.split(os.environ.get("CC", ""))
        if words and (program := shutil.which(words[0])):
            yield (os.path.abspath(program), *words[1:])
    for name in ("cc", "gcc", "clang"):
        if program := shutil.which(name):
            yield (os.path.abspath(program),)
    wheel = importlib.util.find_spec("ziglang")
    for home in (wheel and wheel.submodule_search_locations) or ():
        if program := shutil.which("zig", path=home):  # what `python -m ziglang` runs
            yield (program, "cc")


def _native(folder: Path, command: tuple[str, ...]) -> tuple[str, ...]:
    """The flags by which this compiler compiles for this CPU; a _CompilerError if it compiles nothing."""
    accepted = _trial(folder, command)
    if isinstance(accepted, str):
        raise _CompilerError(accepted)
    return accepted


@functools.cache
def _trial(folder: Path, command: tuple[str, ...]) -> tuple[str, ...] | str:
    """The first of NATIVE with which a trifle compiles and loads, or why none does; asked once a process."""
    reason = ""
    for flags in NATIVE:
        try:
            _build(folder, command, flags, (TRIAL,))
            return flags
        except _CompilerError as fault:  # noqa: PERF203
            reason = str(fault)
    return reason


_KNOWN: dict[tuple[str, ...], tuple[str, ...]] = {}  # by command: the flags of most machines if they work, () if not


def _built(
    folder: Path, command: tuple[str, ...], extra: tuple[str, ...], sources: tuple[str, ...], key: str
) -> tuple[ctypes.CDLL, float]:
    """What sources compile to, by a compiler's flags.  A trifle is tried only where those of most machines do not work."""
    if command not in _KNOWN:
        _KNOWN[command] = ()
        with contextlib.suppress(_CompilerError):
            made = _build(folder, command, (*NATIVE[0], *extra), sources, key)
            _KNOWN[command] = NATIVE[0]
            return made
    return _build(folder, command, (*(_KNOWN[command] or _native(folder, command)), *extra), sources, key)


def _build(
    folder: Path, command: tuple[str, ...], flags: tuple[str, ...], sources: tuple[str, ...], key: str | None = None
) -> tuple[ctypes.CDLL, float]:
    """Compile and load in a new folder below `folder`, then store the object there under `key`; seconds in the compiler."""
    with tempfile.TemporaryDirectory(prefix="tmp-", dir=folder, ignore_cleanup_errors=True) as work:
        start = time.perf_counter()
        parts = [f"{work}/program.c", *(f"{work}/part{i}.c" for i in range(1, len(sources)))]
        for part, source in zip(parts, sources, strict=True):
            Path(part).write_text(source, encoding="utf-8")
        if len(parts) > 1:
            objects = [f"{part[:-2]}.o" for part in parts]
            pairs = zip(parts, objects, strict=True)
            _run([[*command, *FLAGS, "-c", "-o", made, part, *flags] for part, made in pairs], folder, work)
            parts = objects
        _run([[*command, *FLAGS, "-o", f"{work}/program.so", *parts, *flags, "-lm"]], folder, work)
        seconds = time.perf_counter() - start
        try:
            library = ctypes.CDLL(f"{work}/program.so")
        except OSError as error:
            raise _CompilerError(f"made an object that does not load ({str(error).replace(f'{work}/', '')})") from None
        if key is not None:
            _store(folder, key, Path(work, "program.so"))
        return library, seconds


# A compiler starts only on a word from this process: an interrupt while the child is made leaves one that ends by itself.
_ON_A_WORD = (shutil.which("sh") or "/bin/sh", "-c", 'read word && exec "$@"', "sh")


def _run(commands: list[list[str]], folder: Path, work: str) -> None:
    """Run compilers side by side to their end, or kill them with all their children when this process is interrupted."""
    environment = {
        **os.environ,
        **{"LC_ALL": "C", "TMPDIR": work},  # what the compiler leaves when it is killed goes with the folder
        **{"ZIG_GLOBAL_CACHE_DIR": str(folder / "zig"), "ZIG_LOCAL_CACHE_DIR": f"{work}/zig"},  # its own run-time is kept
    }
    # files: pipes would wait for any server that a compiler leaves running
    messages = [Path(work, f"messages{i}") for i in range(len(commands))]
    running: list[subprocess.Popen[bytes]] = []
    with contextlib.ExitStack() as stack:
        try:
            for command, file in zip(commands, messages, strict=True):
                output = stack.enter_context(file.open("wb"))
                process = subprocess.Popen(
                    [*_ON_A_WORD, *command],
                    stdin=subprocess.PIPE,
                    stdout=output,
                    stderr=output,
                    env=environment,
                    start_new_session=True,
                )
                running.append(stack.enter_context(process))
            for process in running:
                assert process.stdin is not None
                with contextlib.suppress(BrokenPipeError):
                    process.stdin.write(b"go\n")
                    process.stdin.close()
            for process in running:
                process.wait()
        except BaseException:
            for process in running:
                with contextlib.suppress(ProcessLookupError):
                    os.killpg(process.pid, signal.SIGKILL)
            raise
    for process, file in zip(running, messages, strict=True):
        if status := process.returncode:
            lines = file.read_text(encoding="utf-8", errors="replace").replace(f"{work}/", "").splitlines()
            said = [line.strip() for line in lines if line.strip()] or [f"ended with status {status} and said nothing"]
            raise _CompilerError(next((line for line in said if "error" in line.lower()), said[0]))


# ---- the key: all that an object depends on


def _key(sources: tuple[str, ...], extra: tuple[str, ...], command: tuple[str, ...]) -> str:
    """The hash of all that an object depends on."""
    parts = (FORMAT, FLAGS, NATIVE, extra, [_identity(word) for word in command], _cpu())
    return hashlib.sha256("\n".join((repr(parts), *sources)).encode()).hexdigest()


def _identity(word: str) -> tuple[str | int, ...]:
    """A word of a command; where it names a program or a file, with what changes when that is upgraded."""
    path = os.path.realpath(shutil.which(word) or word)
    try:
        status = os.stat(path)
    except OSError:  # a flag
        return (word,)
    return word, path, status.st_size, status.st_mtime_ns


@functools.cache
def _cpu() -> str:
    """The CPU and what it can execute.  One that cannot be known is like no other: its objects are for this process."""
    system = os.uname()
    model = _linux_cpu() if system.sysname == "Linux" else _macos_cpu() if system.sysname == "Darwin" else ""
    return f"{system.sysname} {system.machine} {sys.maxsize} {model or os.urandom(16).hex()}"


CPUINFO = "/proc/cpuinfo"
# The lines of it that stay while the machine runs (clock rates do not) and are equal for equal CPUs (core numbers are not).
_CPUINFO_LINES = {
    *("vendor_id", "cpu family", "model", "model name", "stepping", "flags"),  # x86
    *("CPU implementer", "CPU architecture", "CPU variant", "CPU part", "CPU revision", "Features"),  # ARM
    *("cpu", "revision", "isa", "uarch", "features"),  # POWER, RISC-V, s390
}


def _linux_cpu() -> str:
    """The first processor's lines of /proc/cpuinfo that say what it is."""
    lines: list[str] = []
    with contextlib.suppress(OSError), open(CPUINFO, encoding="utf-8", errors="replace") as file:
        for line in file:
            if not line.strip() and lines:
                break
            if line.partition(":")[0].strip() in _CPUINFO_LINES:
                lines.append(line.strip())
    return "; ".join(lines)


def _macos_cpu() -> str:
    """The name of the processor."""
    name = ctypes.create_string_buffer(256)
    size = ctypes.c_size_t(len(name))
    ctypes.CDLL(None).sysctlbyname(b"machdep.cpu.brand_string", name, ctypes.byref(size), None, 0)
    return name.value.decode(errors="replace")


# ---- the cache


def _folders() -> Iterator[Path]:
    """The folders to compile in: the cache if it is there and safe, then one of this process."""
    cache = _cache_folder()
    if cache is not None:
        yield cache
    with contextlib.suppress(OSError):  # no folder for temporary files either
        yield _private_folder(os.getpid())


def _cache_folder() -> Path | None:
    """The cache on disk, made if it is missing; None where it cannot be made, or others could put objects into it."""
    try:
        if named := os.environ.get("MICROGRAD_CACHE"):
            folder = Path(named).absolute()
        else:
            base = os.environ.get("XDG_CACHE_HOME", "")
            folder = Path(base if os.path.isabs(base) else os.path.expanduser("~/.cache"), "micrograd")
        if not folder.is_absolute():  # there is no home
            return None
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        status = os.lstat(folder)
        mine = stat.S_ISDIR(status.st_mode) and status.st_uid == os.geteuid() and not status.st_mode & 0o022
        return folder if mine and not any(map(_open_to_all, folder.resolve().parents)) else None
    except OSError:
        return None


def _open_to_all(folder: Path) -> bool:
    """Whether anybody could move away what is in this folder, and put something else into its place."""
    mode = os.lstat(folder).st_mode
    return bool(mode & stat.S_IWOTH) and not mode & stat.S_ISVTX


@functools.cache
def _private_folder(process: int) -> Path:
    """A folder for this process (a forked child has another), removed when it ends."""
    folder = Path(tempfile.mkdtemp(prefix="micrograd-"))

    def remove() -> None:
        if os.getpid() == process:
            shutil.rmtree(folder, ignore_errors=True)

    atexit.register(remove)
    return folder


def _from_cache(folder: Path, key: str) -> ctypes.CDLL | None:
    """The object under this key, loaded, if it is there and whole; a damaged one is deleted."""
    for name in os.listdir(folder):
        if name.startswith(key):
            path = folder / name
            with contextlib.suppress(OSError):
                if name == _name(key, path.read_bytes()):
                    library = ctypes.CDLL(str(path))
                    with contextlib.suppress(OSError):  # a read-only cache
                        os.utime(path)  # the least recently used are evicted
                    return library
            with contextlib.suppress(OSError):
                path.unlink()
    return None


def _name(key: str, content: bytes) -> str:
    return f"{key}-{hashlib.sha256(content).hexdigest()}.so"


def _store(folder: Path, key: str, path: Path) -> None:
    """Move a new object into the cache; the object is loaded already, so that a fault here costs only the next process."""
    with contextlib.suppress(OSError):
        os.replace(path, folder / _name(key, path.read_bytes()))
        _evict(folder)


def _evict(folder: Path) -> None:
    """Delete the least recently used objects beyond the limits, and what killed processes left behind."""
    objects = []
    with os.scandir(folder) as scan:
        entries = list(scan)
    for entry in entries:
        with contextlib.suppress(OSError):  # another process deleted it
            status = entry.stat(follow_symlinks=False)
            if entry.name.endswith(".so"):
                objects.append((status.st_mtime_ns, status.st_size, entry.path))
            elif entry.name.startswith("tmp-") and time.time() - status.st_mtime > STALE_SECONDS:
                shutil.rmtree(entry.path, ignore_errors=True)
    total = 0
    for count, (_, size, path) in enumerate(sorted(objects, reverse=True), start=1):
        total += size
        if count > CACHE_OBJECTS or total > CACHE_BYTES:
            with contextlib.suppress(OSError):  # whoever has it loaded keeps it
                os.unlink(path)
