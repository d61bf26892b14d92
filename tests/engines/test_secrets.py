"""Keys are found however a server escapes them, and ordinary words are left alone."""

from __future__ import annotations

import html
import json
from base64 import b64encode, encodebytes, urlsafe_b64encode
from collections.abc import Callable
from urllib.parse import quote

import pytest

from clock import cpu_seconds
from evenhand.engines.secrets import Redactor, decoded

KEY = 'sk-a/B+c"d&é€7890'


def utf16(text: str) -> str:
    return decoded(text.encode("utf-16"))


WAYS = [
    str,
    str.upper,
    json.dumps,
    lambda key: json.dumps(key).replace("/", r"\/"),
    lambda key: "".join(f"\\u{ord(letter):04x}" for letter in key),
    lambda key: "".join(f"\\u{ord(letter):04X}" for letter in key),
    lambda key: json.dumps(json.dumps(key)),
    quote,
    lambda key: quote(key, safe=""),
    lambda key: quote(quote(key, safe=""), safe=""),
    html.escape,
    lambda key: "".join(f"&#x{ord(letter):x};" for letter in key),
    lambda key: "".join(f"&#{ord(letter)};" for letter in key),
    lambda key: repr(key.encode()),
    lambda key: repr(key.encode("utf-16-le")) if key.isascii() else repr(key),
    lambda key: key.encode().decode("latin-1"),
    lambda key: key.encode().decode("ascii", "replace"),
    lambda key: key.encode("ascii", "replace").decode(),
    lambda key: key.encode("latin-1", "replace").decode("utf-8", "replace"),
    utf16,
    lambda key: decoded(key.encode("utf-16-le")),
    lambda key: decoded(key.encode("utf-16-be")),
    lambda key: key.encode("utf-16-le").decode("latin-1"),
    "\n".join,
    lambda key: f"{key[:10]}",
    lambda key: f"{key[:10]}...",
    lambda key: f"{key[:10]}****",
    lambda key: key.encode().hex(),
    lambda key: key[:5] + "\x1b[0m" + key[5:],
    lambda key: key[:5] + "\\\n" + key[5:],
]


@pytest.mark.parametrize("way", WAYS)
def test_a_key_is_found_however_it_is_written(way: object) -> None:
    told = Redactor([KEY])(f"refused: Bearer {way(KEY)}")  # type: ignore[operator]
    assert "[key]" in told
    assert "Bearer" not in told
    assert "sk-a" not in told.replace("\x00", "").replace("\n", "").lower()
    assert "890" not in told


@pytest.mark.parametrize("key", [KEY, "sk-0123456789", "12345678", "aB3-" * 50])
@pytest.mark.parametrize("front", ["", "u:", "me:", "user:", "Bearer ", "api-key:"])
@pytest.mark.parametrize("encode", [b64encode, urlsafe_b64encode, encodebytes])
def test_a_key_in_base64_is_found_with_all_that_tells_of_it(
    key: str, front: str, encode: Callable[[bytes], bytes]
) -> None:
    for text in (f"{front}{key}", f"{front}{key}:", f"{front}{key}@host"):
        encoded = encode(text.encode()).decode().strip()
        assert Redactor([key])(f"refused: Basic {encoded} it is") == "refused: Basic [key] it is"
        told = Redactor([key])(json.dumps({"Authorization": f"Basic {encoded}"}))
        assert encoded[-8:] not in told
        assert "[key]" in Redactor([key])(quote(encoded, safe=""))


LONG = 'sk-Zq7/Xw+9"Lp\\&é€Rk4mVt%Yh'


@pytest.mark.parametrize(
    "told",
    [
        LONG[:12],
        f"'{LONG[:14]}'",
        f"{LONG[:16]}[truncated]",
        f"it ends in {LONG[-10:]}",
        LONG.replace('"', '""'),
        LONG.encode("cp1252").decode("utf-8", "replace"),
        LONG.encode().decode("latin-1").encode().decode("latin-1"),
        LONG[:14].upper(),
    ],
)
def test_a_part_of_a_long_key_is_found(told: str) -> None:
    shown = Redactor([LONG], [LONG])(f"refused: {told} it is")
    assert "[key]" in shown
    assert shown.startswith("refused: ")
    assert shown.endswith(" it is")
    assert not any(LONG[at : at + 10].lower() in shown.lower() for at in range(len(LONG) - 9))


def test_parts_of_other_values_and_of_short_keys_stay() -> None:
    redact = Redactor(["https://example.com/team", "local-vllm-server"], ["local-vllm-server"])
    assert redact("https://example.org and vllm-server") == "https://example.org and vllm-server"


def test_other_base64_stays() -> None:
    text = f"image {b64encode(bytes(range(256))).decode()} and sk-0123456780"
    assert Redactor(["sk-0123456789"])(text) == text


@pytest.mark.parametrize("key", ["", "x", "1", "token", "1234567"])
def test_short_keys_are_left_alone(key: str) -> None:
    text = "token 1 of 1234567: Mexico"
    assert Redactor([key])(text) == text


def test_several_secrets_the_longest_first() -> None:
    assert Redactor(["12345678", "1234567890"])("a 1234567890 b 12345678 c") == "a [key] b [key] c"


@pytest.mark.parametrize("length", [200, 2000, 20_000])
def test_long_keys_are_found(length: int) -> None:
    key = ("aB3-" * length)[:length]
    assert Redactor([key])(f"bad key {key}, or {json.dumps(key)}") == 'bad key [key], or "[key]"'


def test_a_text_that_begins_like_a_key_stays() -> None:
    assert Redactor(["sk-0123456789"])("sk-01234 and sk-0123456789!") == "sk-01234 and [key]!"


@pytest.mark.slow
def test_a_long_text_takes_no_time() -> None:
    redact = Redactor(["aaaaaaaaaaaaaaaaaaaab" * 5])
    text = "a" * 65_536 + " x"
    assert "[key]" not in redact(text)
    assert cpu_seconds(lambda: redact(text), 5) < 5
