"""Programs that mean harm: each is contained, fails its tests, and ends in time."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from evenhand import sandbox
from evenhand.sandbox import Limits, Ran, run_program
from sandbox_limits import ADD, LIMITS

pytestmark = [pytest.mark.slow, pytest.mark.usefixtures("bubblewrap")]

MARK = "reached-by-a-hostile-program"

HOSTILE = {
    "network, tcp": "import socket; socket.create_connection(('127.0.0.1', {port}), 1)",
    "network, udp": "import socket; socket.socket(socket.AF_INET, socket.SOCK_DGRAM)",
    "network, dns": "import socket; socket.getaddrinfo('example.com', 80)",
    "network, unix socket": "import socket; socket.socket(socket.AF_UNIX).connect('{home}/s')",
    "reads passwd": "print(open('/etc/passwd').read())",
    "reads shadow": "print(open('/etc/shadow').read())",
    "reads the home": "import os; print(os.listdir('{home}'), open('{home}/secret').read())",
    "reads the real home": "import os; print(os.listdir(os.path.expanduser('~')))",
    "environment": "import os; print(os.environ['EVENHAND_TEST_SECRET'])",
    "environment of the parent": "print(open('/proc/1/environ').read())",
    "environment of any process": "print(open('/proc/{pid}/environ').read())",
    "writes outside": "open('{home}/written', 'w').write('x')",
    "writes over Python": "import os; open(os.__file__, 'a').write('x')",
    "writes into the root": "open('/written', 'w').write('x')",
    "deletes the home": "import shutil; shutil.rmtree('{home}')",
    "fork bomb": "import os\nwhile True: os.fork()",
    "stubborn fork bomb": "import os\nwhile True:\n try: os.fork()\n except OSError: pass",
    "processes by system calls": "import ctypes\nlibc = ctypes.CDLL(None)\n"
    "made = [libc.syscall(57), libc.syscall(58), libc.syscall(56, 17, 0, 0, 0, 0)]\n"
    "made.append(libc.syscall(435, ctypes.create_string_buffer(88), 88))\nassert max(made) >= 0",
    "subprocess": "import subprocess; subprocess.run(['/bin/sh', '-c', 'echo {mark}'], check=True)",
    "replaces itself": "import os; os.execv('/bin/sh', ['sh', '-c', 'echo {mark}'])",
    "thread bomb": "import threading, time\n"
    "while True: threading.Thread(target=time.sleep, args=(99,)).start()",
    "memory bomb": "held = []\nwhile True: held.append(bytearray(10**7))",
    "memory bomb at once": "held = bytearray(10**12)",
    "memory by shared memory": "from multiprocessing import shared_memory as s\n"
    "held = [s.SharedMemory(create=True, size=2**24) for _ in range(999)]",
    "memory by mappings": "import mmap\nheld = []\n"
    "while True: held.append(mmap.mmap(-1, 2**22)); held[-1].write(b'x' * 2**22)",
    "memory by mappings, untouched": "import mmap\nx = [mmap.mmap(-1, 2**30) for _ in range(9)]",
    "memory in files": "import os\n"
    "for i in range(999): open(f'/tmp/{{i}}', 'wb').write(os.urandom(2**22))",
    "output flood": "while True: print('x' * 10_000)",
    "output flood on standard error": "import sys\nwhile True: sys.stderr.write('x' * 10_000)",
    "infinite loop": "while True: pass",
    "infinite loop, deaf": "import signal\n"
    "for number in range(1, 64):\n"
    " try: signal.signal(number, signal.SIG_IGN)\n"
    " except (OSError, ValueError): pass\n"
    "while True: pass",
    "sleeps": "import time; time.sleep(10_000)",
    "sleeps, then computes": "import time\ntime.sleep(0.9)\nwhile True: time.sleep(0.001)",
    "stops itself": "import os, signal; os.kill(os.getpid(), signal.SIGSTOP)",
    "lets all others go first": "import os\n"
    "os.sched_setscheduler(0, os.SCHED_IDLE, os.sched_param(0))",
    "lets others go first": "import os; os.nice(19)",
    "waits for itself": "import threading; threading.Lock().acquire(); threading.Event().wait()",
    "zombies": "import os\nfor _ in range(100):\n if not os.fork(): os._exit(0)\nassert False",
    "daemon": "import os\nif not os.fork():\n os.setsid()\n if not os.fork():\n  while True: pass\n"
    "assert False",
    "signals to the parent": "import os\nos.kill(os.getppid(), 9)\nassert False",
    "signals to all": "import os, signal\nos.kill(-1, signal.SIGKILL)\nassert False",
    "signals to the tests": "import os\nfor pid in range(2, 99_999):\n"
    " try: os.kill(pid, 9) if pid != os.getpid() else None\n except OSError: pass\nassert False",
    "deep recursion": "import sys\nsys.setrecursionlimit(10**9)\ndef f(): f()\nf()",
    "deep recursion in C": "x = []\nfor _ in range(10**6): x = [x]\nrepr(x)",
    "huge integer": "x = 7 ** (10 ** 10)",
    "huge integer as text": "import sys; sys.set_int_max_str_digits(0); str(7 ** 10**7)",
    "giant file": "f = open('/tmp/f', 'wb')\nwhile True: f.write(b'x' * 10**6)",
    "giant hole": "import os; os.truncate(os.open('/tmp/f', os.O_CREAT | os.O_RDWR), 10**12)",
    "files without number": "i = 0\nwhile True: open(f'/tmp/{{i}}', 'w').close(); i += 1",
    "symlink out": "import os; os.symlink('{home}/secret', '/tmp/l'); print(open('/tmp/l').read())",
    "hard link out": "import os; os.link('{home}/secret', '/tmp/l'); print(open('/tmp/l').read())",
    "way out of the root": "import os; print(open('/tmp/../../../..{home}/secret').read())",
    "mounts": "import ctypes; libc = ctypes.CDLL(None, use_errno=True)\n"
    "assert libc.mount(b'none', b'/tmp', b'proc', 0, None) == 0",
    "new user namespace": "import ctypes\nassert ctypes.CDLL(None).unshare(0x10000000) == 0",
    "debugs its parent": "import ctypes\nassert ctypes.CDLL(None).ptrace(16, 1, 0, 0) == 0",
    "outlives its parent": "import ctypes\n"
    "assert ctypes.CDLL(None).prctl(1, 0) == 0\nwhile True: pass",
    "becomes root": "import os; os.setuid(0)",
    "closes the devices": "import os; os.chmod('/dev/null', 0o666)",
    "takes the devices": "import os; os.chown('/dev/null', os.getuid(), os.getgid())",
    "touches the devices": "import os; os.utime('/dev/null')",
    "device": "import os; os.mknod('/tmp/d', 0o600 | 0x6000, os.makedev(8, 0))",
    "crash": "import ctypes; ctypes.string_at(0)",
    "kills itself": "import os; os.kill(os.getpid(), 9)",
    "null bytes": "x = 1\x00",
    "half a character": "x = '\ud800'; raise ValueError",
    "no Python at all": "rm -rf / --no-preserve-root",
}


@pytest.fixture(scope="module")
def host(tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, object]]:
    """Things to reach for: a folder with a secret, a variable, a listening socket."""
    home = tmp_path_factory.mktemp("home")
    (home / "secret").write_text(MARK)
    reached: list[object] = []
    with socket.create_server(("127.0.0.1", 0)) as server, pytest.MonkeyPatch.context() as patch:
        patch.setenv("EVENHAND_TEST_SECRET", MARK)
        server.settimeout(0.2)
        stop = threading.Event()
        listening = threading.Thread(target=_listen, args=(server, reached, stop))
        listening.start()
        yield {"home": home, "port": server.getsockname()[1], "pid": os.getpid(), "mark": MARK}
        stop.set()
        listening.join()
    assert not reached
    assert (home / "secret").read_text() == MARK
    assert [path.name for path in home.iterdir()] == ["secret"]
    assert not Path("/written").exists()


def _listen(server: socket.socket, reached: list[object], stop: threading.Event) -> None:
    while not stop.is_set():
        try:
            reached.append(server.accept())
        except TimeoutError:
            continue


@pytest.fixture(scope="module")
def runs(host: dict[str, object]) -> dict[str, tuple[Ran, float, float]]:
    """name -> how it ended, how many seconds it took, and the load meanwhile."""

    def run(text: str) -> tuple[Ran, float, float]:
        start, load = time.monotonic(), os.getloadavg()[0]
        ran = run_program(text.format(**host), limits=LIMITS)
        return ran, time.monotonic() - start, load

    with ThreadPoolExecutor(len(os.sched_getaffinity(0))) as threads:
        return dict(zip(HOSTILE, threads.map(run, HOSTILE.values()), strict=True))


@pytest.mark.parametrize("name", HOSTILE)
def test_is_contained(name: str, runs: dict[str, tuple[Ran, float, float]]) -> None:
    ran, took, load = runs[name]
    assert ran.status != "ok"
    assert MARK not in ran.stdout + ran.stderr
    assert len(ran.stdout) + len(ran.stderr) <= 2 * LIMITS.output
    assert ran.cpu_seconds <= LIMITS.cpu + 0.2
    # Twice the limit, on a computer that has nothing else to do.
    assert took < 2.0 * LIMITS.cpu * max(1.0, load)


@pytest.fixture(scope="module")
def tested(host: dict[str, object]) -> dict[str, tuple[sandbox.Tested, sandbox.Tested]]:
    """name -> how the tests of it went, and those of a right program that came after it."""
    programs = [text.format(**host) for text in HOSTILE.values()]
    right = "def add(a, b): return a + b"
    with sandbox.Pool(limits=LIMITS, workers=4) as pool:
        results = pool.test(([text], ADD) for program in programs for text in (program, right))
    return dict(zip(HOSTILE, zip(results[::2], results[1::2], strict=True), strict=True))


@pytest.mark.parametrize("name", HOSTILE)
def test_fails_its_tests(
    name: str, tested: dict[str, tuple[sandbox.Tested, sandbox.Tested]]
) -> None:
    hostile, next_one = tested[name]
    assert not hostile.passed
    assert hostile.why
    assert MARK not in hostile.why
    assert next_one.passed, next_one


ENDINGS = [
    ("ok", "print('fine')"),
    ("error", "raise ValueError"),
    ("timeout", "while True: pass"),
    ("memory", "held = bytearray(10**10)"),
    ("memory", "import mmap; held = mmap.mmap(-1, 10**10)"),
    ("output", "while True: print('x' * 10_000)"),
    ("killed", "import os; os.abort()"),
]


@pytest.mark.parametrize(("status", "program"), ENDINGS)
def test_says_how_it_ended(status: str, program: str) -> None:
    assert run_program(program, limits=LIMITS).status == status


def test_cpu_time_decides_and_not_the_clock() -> None:
    """Beside four busy neighbors a program of 0.5 s of CPU time takes longer, and is let be."""
    busy = [subprocess.Popen([sys.executable, "-c", "while True: pass"]) for _ in range(4)]
    try:
        ran = run_program(
            "import time\nwhile time.process_time() < 0.6: pass\nprint('done')", limits=LIMITS
        )
    finally:
        for process in busy:
            process.kill()
            process.wait()
    assert (ran.status, ran.stdout) == ("ok", "done\n")
    assert ran.cpu_seconds == pytest.approx(0.6, abs=0.15)


def test_what_is_allowed() -> None:
    program = """
import asyncio, os, tempfile, threading
with tempfile.TemporaryFile() as file:
    file.write(b"x" * 2**20)
thread = threading.Thread(target=print, args=("thread",))
thread.start()
thread.join()
async def main():
    await asyncio.sleep(0)
asyncio.run(main())
print(os.getuid(), dict(os.environ).get("HOME"), os.listdir("/tmp"))
"""
    ran = run_program(program, limits=LIMITS)
    assert (ran.status, ran.stdout) == ("ok", "thread\n65534 None []\n"), ran


def test_traceback_is_that_of_the_program() -> None:
    ran = run_program("def f():\n    return 1 / 0\nf()", limits=LIMITS)
    assert ran.stderr.splitlines() == [
        "Traceback (most recent call last):",
        '  File "<program>", line 3, in <module>',
        '  File "<program>", line 2, in f',
        "ZeroDivisionError: division by zero",
    ]
    assert (ran.status, ran.exit_code) == ("error", 1)


def test_programs_do_not_see_each_other() -> None:
    limits = Limits(cpu=1)
    run_program("open('/tmp/left', 'w').write('x')", limits=limits)
    assert run_program("import os; print(os.listdir('/tmp'))", limits=limits).stdout == "[]\n"
