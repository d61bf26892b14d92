"""A pass cannot be forged: what the tests evaluate is compared where the program never was."""

from __future__ import annotations

import math
from collections.abc import Iterator
from contextlib import suppress

import pytest

from clock import takes_at_most
from evenhand import sandbox
from evenhand.sandbox.inside.codec import encode
from evenhand.sandbox.process import Process, StoppedError
from sandbox_limits import ADD, LIMITS

pytestmark = pytest.mark.usefixtures("bubblewrap")

RIGHT = "def add(a, b): return a + b"

FORGED = {
    "os._exit": "import os; os._exit(0)",
    "os._exit in the function": "import os\ndef add(a, b): os._exit(0)",
    "sys.exit": "import sys; sys.exit(0)",
    "sys.exit in the function": "import sys\ndef add(a, b): sys.exit(0)",
    "SystemExit from a thread": "import os, threading\n"
    "threading.Thread(target=lambda: os._exit(0)).start()\ndef add(a, b): return a - b",
    "atexit": "import atexit, os\natexit.register(os._exit, 0)\ndef add(a, b): raise SystemExit(0)",
    "no assert": "import builtins\nbuiltins.AssertionError = type('E', (Exception,), {})\n"
    "def add(a, b): return 0",
    "equals everything": "class E:\n def __eq__(self, other): return True\n"
    " __hash__ = object.__hash__\ndef add(a, b): return E()",
    "an int that equals everything": "class E(int):\n def __eq__(self, other): return True\n"
    " __hash__ = int.__hash__\ndef add(a, b): return E(7)",
    "a class that equals everything": "class M(type):\n def __eq__(self, other): return True\n"
    " __hash__ = type.__hash__\nclass E(metaclass=M): pass\ndef add(a, b): return E",
    "says it is an int": "class E:\n __class__ = int\n def __eq__(self, other): return True\n"
    "def add(a, b): return E()",
    "built-ins of one's own": "import builtins\nbuiltins.int = builtins.bool = lambda *a: True\n"
    "builtins.compile = builtins.exec = lambda *a, **k: None\ndef add(a, b): return 0",
    "prints the success marker": "print('ok', 'passed', 'V', sep='\\n', flush=True)\n"
    "def add(a, b): return 0",
    "writes to every open file": "import os\nfor fd in range(64):\n"
    " for word in (b'V\\0\\0\\0\\3s0:', b'A\\0\\0\\0\\1y', b'L\\0\\0\\0\\0'):\n"
    "  try: os.write(fd, word)\n  except OSError: pass\ndef add(a, b): return 0",
    "half a message": "import os, time\ndef add(a, b):\n for fd in range(3, 16):\n"
    "  try: os.write(fd, b'A\\0\\0\\1\\0')\n  except OSError: pass\n time.sleep(99)",
    "half a message, then no more": "import os\ndef add(a, b):\n for fd in range(3, 16):\n"
    "  try: os.write(fd, b'A\\0\\0\\1\\0')\n  except OSError: pass\n os._exit(0)",
    "a message as it dies": "import os\nclass D:\n def __del__(self):\n  for fd in range(3, 16):\n"
    "   try: os.write(fd, b'V\\0\\0\\0\\3s0:')\n   except OSError: pass\n"
    "def add(a, b): D()",
    "closes every file": "import os\nos.closerange(0, 64)\ndef add(a, b): return 0",
    "an endless verdict": "import os\ntry:\n while True:\n  for fd in range(3, 16):\n"
    "   try: os.write(fd, b'V' * 4096)\n   except OSError: pass\nfinally: pass",
    "a codec of its own": "import sys\nfor module in list(sys.modules.values()):\n"
    " if hasattr(module, 'encode'): module.encode = lambda *a: b't2:h0:l0:'\n"
    "def add(a, b): return 0",
    "a trace of all that runs": "import sys\nseen = []\ndef trace(frame, *_):\n"
    " seen.append(repr(frame.f_locals))\n return trace\nsys.settrace(trace)\n"
    "def add(a, b): return 3 if '== 3' in str(seen) else 0",
    "no modules": "import sys\nsys.modules.clear()\ndef add(a, b): return 0",
    "patches the harness": "import sys\nfor name, module in list(sys.modules.items()):\n"
    " if 'sandbox' in name:\n  for held in list(vars(module)):\n"
    "   if not held.startswith('_'): setattr(module, held, lambda *a, **k: b's0:')\n"
    "def add(a, b): return 0",
    "reads the tests from the harness": "import sys\ndef add(a, b):\n frame = sys._getframe()\n"
    " seen = []\n while frame:\n  seen += map(repr, frame.f_locals.values())\n"
    "  frame = frame.f_back\n return 3 if '== 3' in ' '.join(seen) else -1",
    "reads the tests from memory": "import gc\ndef add(a, b):\n"
    " return 3 if any('== 3' in o for o in gc.get_objects() if isinstance(o, str)) else -1",
    "names beyond its own": "import builtins\nsorted = abs = len = lambda *a: 3\n"
    "def add(a, b): return 0",
    "a thread that goes on": "import threading\ndef spin():\n while True: pass\n"
    "threading.Thread(target=spin, daemon=True).start()\ndef add(a, b): return 0",
    "a fork that answers": "import os\nos.fork()\ndef add(a, b): return a + b",
    "a generator": "def add(a, b):\n while True: yield a + b",
    "too long an answer": "def add(a, b): return 'x' * 10**8",
    "too deep an answer": "def add(a, b):\n x = []\n for _ in range(10**5): x = [x]\n return x",
    "an answer that holds itself": "def add(a, b):\n x = []\n x.append(x)\n return x",
    "not a number, that equals everything": "class F(float):\n"
    " def __eq__(self, other): return True\n __hash__ = float.__hash__\n"
    "def add(a, b): return F('nan')",
    "a text that encodes itself": "class S(str):\n def __eq__(self, other): return True\n"
    " __hash__ = str.__hash__\n def encode(self, *_): return b'3'\ndef add(a, b): return S('3')",
    "every operator": "class E: pass\nfor name in dir(int):\n"
    " if name not in dir(object): setattr(E, name, lambda *_: 3)\n"
    "E.__iter__ = lambda _: iter([3])\ndef add(a, b): return E()",
    "any name": "def __getattr__(name): return lambda *_: 3",
    "not a number": "def add(a, b): return float('nan')",
    "the wrong function": "def plus(a, b): return a + b",
    "nothing": "",
}


@pytest.fixture(scope="module")
def tester() -> Iterator[sandbox.Tester]:
    tester = sandbox.Tester(limits=LIMITS)
    yield tester
    tester.close()


@pytest.mark.parametrize("name", FORGED)
@pytest.mark.slow
def test_does_not_pass(name: str, tester: sandbox.Tester) -> None:
    tested = tester.test([FORGED[name]], ADD)
    assert not tested.passed, tested
    assert tested.why
    assert tester.test([RIGHT], ADD).passed


EVERYTHING = "[None, True, -1, 1.5, 1j, 'é\\ud800', b'x', (), set(), frozenset({1}), {1: []}]"
FORMS = {
    "assert list(f(3)) == [0, 1, 2]": "def f(n): return range(n)",
    "assert list(f(3)) == [0, 1, 4]": "def f(n): return (i * i for i in range(n))",
    "assert set(f([1, 1, 2])) == {1, 2}": "def f(xs): return map(int, xs)",
    "assert f('abca') == {'a': 2, 'b': 1, 'c': 1}": "import collections\nf = collections.Counter",
    "assert f(1) == (1, 2)": "from typing import NamedTuple\nclass P(NamedTuple):\n x: int\n y: int"
    "\ndef f(x): return P(x, 2)",
    "import math\nassert math.isclose(f(0.1), 0.3, rel_tol=1e-9)": "def f(x): return 3 * x",
    "assert not f(2)": "def f(x): return x % 2",
    "assert f(2) is True": "def f(x): return not x % 2",
    "assert f([1, 'a', 2.5], int) == ['a', 2.5]": "def f(xs, t):\n"
    " return [x for x in xs if not isinstance(x, t)]",
    "x = [3, 1, 2]\nassert f(x) is None\nassert x == [1, 2, 3]": "def f(xs): xs.sort()",
    "x = {1: 2}\nf(x)\nassert x == {}": "def f(d): d.clear()",
    "assert f('a1').group(0) == '1'": "import re\ndef f(s): return re.search(r'\\d', s)",
    "assert f(2).x == 2 and f(3).double() == 6": "class f:\n def __init__(self, x): self.x = x\n"
    " def double(self): return 2 * self.x",
    "a = f(1)\na.next = f(2)\nassert a.next.x == 2 and a.next == a.next": "class f:\n"
    " def __init__(self, x): self.x = x",
    "try: f(-1)\nexcept ValueError as e: assert str(e) == 'less'\nelse: assert False": "def f(x):\n"
    " raise ValueError('less')",
    "try: f(-1)\nexcept ValueError: pass\nelse: assert 0": "class Less(ValueError): pass\n"
    "def f(x): raise Less",
    "assert f(1, key=2) == 3": "def f(a, *, key): return a + key",
    "assert f(10 ** 5000) == 10 ** 5000 + 1": "def f(x): return x + 1",
    f"assert f() == {EVERYTHING}": f"def f(): return {EVERYTHING}",
    "from fractions import Fraction\nassert f(Fraction(1, 2)) == Fraction(1, 4)": "def f(x):\n"
    " return x / 2",
    "from datetime import date\nassert f(date(2024, 2, 28)) == date(2024, 2, 29)": (
        "import datetime\ndef f(d): return d + datetime.timedelta(1)"
    ),
    "assert len(f(2)) == 2 and f(2)[1] == 1": "class f:\n def __init__(self, n): self.n = n\n"
    " def __len__(self): return self.n\n def __getitem__(self, i): return i",
}


@pytest.mark.parametrize(("test", "program"), FORMS.items())
def test_every_form_of_test(test: str, program: str, tester: sandbox.Tester) -> None:
    tested = tester.test([program], sandbox.Tests((test,), ("f",)))
    assert tested.passed, tested
    wrong = "class W: pass\ndef f(*args, **more): return W()"
    assert not tester.test([wrong], sandbox.Tests((test,), ("f",))).passed


def test_in_place_only_where_nothing_is_returned(tester: sandbox.Tester) -> None:
    """A program cannot bend a question until its answer fits."""
    asked = sandbox.Tests(("x = [3, 1]\nassert f(x) == sorted(x)",), ("f",))
    assert tester.test(["def f(xs): return sorted(xs)"], asked).passed
    assert not tester.test(["def f(xs):\n xs.clear()\n return []"], asked).passed


@pytest.mark.parametrize(
    ("program", "test"),
    [
        ("import os\ndef f(x): os._exit(0)", "try: f(1)\nexcept: pass"),
        ("def f(x): raise StopIteration", "assert all(map(lambda x: f(x) == x, [1, 2]))"),
        ("def f(x): raise SystemExit", "try: f(1)\nexcept (ValueError, SystemExit): pass"),
    ],
)
def test_a_test_that_is_easily_pleased(program: str, test: str, tester: sandbox.Tester) -> None:
    assert not tester.test([program], sandbox.Tests((test,), ("f",))).passed


def test_half_an_answer_is_no_job() -> None:
    """What a test leaves unread when it dies is the candidate's, and must not be run."""
    arguments = ("1", str(2**28), str(2**24), "")
    process = Process("bwrap", "tester", arguments, LIMITS, forks=True)
    process.begin_anew(math.inf)
    process.send(b"J", encode(("", [], "", ["import os; os.kill(os.getpid(), 9)"]), id))
    assert process.receive()[0] == b"C"
    process.send(b"A", encode(({}, []), id))
    with suppress(StoppedError):
        process.send(b"J", encode(("", [], "", []), id))
    with pytest.raises(StoppedError):
        process.receive()
    process.close()


ENDLESS = "class E:\n def __iter__(self): return self\n def __next__(self): return E()\nf = E"


@pytest.mark.parametrize(
    ("program", "test"),
    [
        (ENDLESS, "assert 1 in f()"),
        ("def f():\n while True: yield 1", "assert list(f()) == [1]"),
        ("def f():\n while True: yield 'x' * 10**6", "assert list(f()) == [1]"),
        ("def f(): return range(10**18)", "assert sum(f()) == 1"),
        ("def f(): return range(10**18)", "assert list(f()) == [1]"),
        ("def f(): return [[]] * 2_700_000", "assert sorted(f()) == [1]"),
        ("def f(): return 10**2_000_000", "assert f() ** f() == 1"),
    ],
)
@pytest.mark.slow
def test_an_answer_cannot_keep_the_tests(program: str, test: str, tester: sandbox.Tester) -> None:
    def ask() -> None:
        assert not tester.test([program], sandbox.Tests((test,), ("f",))).passed

    assert takes_at_most(ask, 2.0 * LIMITS.cpu)
    assert tester.test([RIGHT], ADD).passed


def test_first_reading_that_compiles(tester: sandbox.Tester) -> None:
    assert tester.test(["def add(a, b: return", RIGHT, "add = 0"], ADD).passed
    assert not tester.test(["def add(a, b): return 0", RIGHT], ADD).passed


@pytest.mark.slow
def test_many_on_one_tester_beside_each_other() -> None:
    programs = [[RIGHT], [FORGED["os._exit"]], [FORGED["sys.exit in the function"]]] * 20
    with sandbox.Pool(limits=LIMITS, workers=4) as pool:
        tested = pool.test((program, ADD) for program in programs)
    assert [result.passed for result in tested] == [True, False, False] * 20


def test_too_long_to_be_sent(tester: sandbox.Tester) -> None:
    assert "cannot be sent" in tester.test([RIGHT + "#" * 10**7], ADD).why
    assert tester.test([RIGHT], ADD).passed


@pytest.mark.parametrize(
    "test",
    [
        "import os\nwhile True: os.fork()",
        "import subprocess; subprocess.run(['/bin/sh', '-c', ':'])",
        "import socket; socket.socket()",
    ],
)
def test_tests_are_held_as_programs_are(test: str, tester: sandbox.Tester) -> None:
    tested = tester.test([RIGHT], sandbox.Tests((test,), ("add",)))
    assert tested.why.startswith("PermissionError"), tested
