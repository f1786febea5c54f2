"""Pickles that are read as data: what is refused, and that nothing a pickle names is run."""

from __future__ import annotations

import base64
import collections
import contextlib
import io
import os
import pickle
import zlib
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from jaxnas.errors import UserError
from jaxnas.pickles import read_numbers, read_pickle


class Calls:
    """Pickled as a call of any function with any arguments."""

    def __init__(self, function: Any, *arguments: Any) -> None:
        self.call = function, arguments

    def __reduce__(self) -> tuple[Any, tuple[Any, ...]]:
        return self.call


def refusal(path: Path, content: bytes) -> str:
    path.write_bytes(content)
    with pytest.raises(UserError) as error:
        read_pickle(path)
    assert str(path) in str(error.value)
    return str(error.value)


@pytest.mark.parametrize("protocol", range(6))
def test_a_pickle_that_runs_a_command_is_refused_and_does_not_run_it(tmp_path: Path, protocol: int) -> None:
    mark = tmp_path / "was here"
    attack = pickle.dumps({"data": Calls(os.system, f"touch '{mark}'")}, protocol)
    message = refusal(tmp_path / "batch", attack)
    assert "asks for posix.system, which no dataset needs: it may be malicious, and nothing of it was run" in message
    assert not mark.exists()
    with pytest.raises(UserError):  # the pickle is one that would have
        read_pickle(tmp_path / "batch")
    pickle.loads(attack)
    assert mark.exists()


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (Calls(eval, "1"), "builtins.eval"),
        (Calls(getattr, "a", "upper"), "builtins.getattr"),
        (Calls(np.fromfile, "/etc/passwd"), "fromfile"),
        (Path("/"), "asks for pathlib"),
        (np.float64(1), "scalar"),
        (np.datetime64(0, "s"), "scalar"),
        (b"".__class__.fromhex, "builtins.getattr"),
    ],
)
def test_whatever_no_dataset_needs_is_refused(tmp_path: Path, content: Any, words: str) -> None:
    assert words in refusal(tmp_path / "batch", pickle.dumps({"data": content}))


@pytest.mark.parametrize("code", [b"cposix\nsystem\n.", b"(S'true'\niposix\nsystem\n.", b"\x82\x01.", b"Pname\n.", b"N."])
def test_other_ways_of_naming_something_are_refused_too(tmp_path: Path, code: bytes) -> None:
    refusal(tmp_path / "batch", code)


def forged(code: str, shape: tuple[int, ...], data: Any) -> bytes:
    """An array as NumPy pickles it, but with whatever element type, shape and data."""
    honest = np.zeros(4, np.uint8).__reduce__()
    make, arguments, state = honest[:3]

    class Forged:
        def __reduce__(self) -> Any:
            return make, arguments, (state[0], shape, Calls(np.dtype, code, False, True), False, data)

    return pickle.dumps({"data": Forged()}, 2)


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (forged("O", (1,), [None]), "an array is of type 'O', not uint8"),
        (forged("O8", (1,), b"\0" * 8), "an array is of type 'O8'"),  # pointers from a file
        (forged("f4", (1,), b"\0" * 4), "an array is of type 'f4'"),
        (forged("u1", (2, 2), b"\0" * 3), "data of another size"),
        (forged("u1", (1 << 40, 2), b"\0" * 3), "data of another size"),
        (forged("u1", (-2, -2), b"\0" * 4), "ValueError"),
        (forged("u1", (4,), [0, 0, 0, 0]), "data of another size"),
    ],
)
def test_an_array_that_is_not_of_bytes_or_not_of_its_size_is_refused(tmp_path: Path, content: bytes, words: str) -> None:
    assert words in refusal(tmp_path / "batch", content)


@pytest.mark.parametrize("protocol", range(5))
@pytest.mark.parametrize("order", ["C", "F"])
def test_arrays_text_numbers_and_their_containers_are_read(tmp_path: Path, protocol: int, order: Any) -> None:
    pixels = np.asarray(np.random.default_rng(0).integers(0, 256, (3, 5), dtype=np.uint8), order=order)
    content = {"data": pixels, "labels": [1, 2, 3], "names": ["a", b"\xff"], "more": {"nested": (1.5, None, True)}}
    path = tmp_path / "batch"
    path.write_bytes(pickle.dumps(content, protocol))
    found = read_pickle(path)
    np.testing.assert_array_equal(found.pop("data"), content.pop("data"))
    assert found == content


def test_keys_of_python_2_become_text(tmp_path: Path) -> None:
    path = tmp_path / "batch"
    path.write_bytes(b"\x80\x02}q\x01(U\x06labelsq\x02]q\x03K\x06aU\x04nameq\x04U\x03catq\x05u.")
    assert read_pickle(path) == {"labels": [6], "name": b"cat"}


@pytest.mark.parametrize("cut", [0, 1, 20, -1])
def test_a_pickle_cut_short_is_refused(tmp_path: Path, cut: int) -> None:
    whole = pickle.dumps({"data": np.zeros((3, 5), np.uint8), "labels": [1, 2, 3]})
    assert "cut short or damaged" in refusal(tmp_path / "batch", whole[:cut])


def test_damage_anywhere_is_refused_or_read_but_never_a_traceback(tmp_path: Path) -> None:
    whole = pickle.dumps({"data": np.zeros((3, 5), np.uint8), "labels": [1, 2, 3], "name": "a" * 20}, 2)
    path = tmp_path / "batch"
    for at in range(len(whole)):
        path.write_bytes(whole[:at] + bytes([b"\0.\xff"[at % 3]]) + whole[at + 1 :])
        with contextlib.suppress(UserError):
            read_pickle(path)


def test_what_is_no_dictionary_is_refused(tmp_path: Path) -> None:
    assert "holds a list, not a dictionary" in refusal(tmp_path / "batch", pickle.dumps([1]))


# By PyTorch 2.13.0, in its older format, of {"seen": {11}, "params": np.float64(0.802426), "net_state_dict":
# torch.nn.Linear(2, 1).state_dict(), "more": [np.float32(0.5), torch.zeros(2, dtype=torch.int64)]}.
SAVED_BY_PYTORCH = (
    "c-n1J+fvg&7*5hcWf8=)fG8d*9%`Y5wu<6`;eu$@=tXXrOq#4DnkN0S8=N}R8E&ZHGxz{{;RATX1z!0AzJucvIOB|N5^x4(FLrkS<M)5xzoxt+"
    "-mmwIKgVBwcrsjAQyzWKh`R$RuMbI*)CvP0Sb=A((vZ1<4_O501H$9EoO{%uzU`VmlntE-BX75;!Q3~LA=5!NulEQebAphgM^*HU__;nuubS1f"
    "agD%VK~Bv^(QeP!$|x0mEW>C-uE$;9FbJcZKv_mc?Kjtv)zG8&#^}t@Y%=s(e$;HW3x*Yhw9t%1k{O0(n=s4t%#a|L1`s>OM{qz_MDmL&`ZhP-"
    "f@tW^s~KGuwmBTE*Xv8a#Yrwz;uvUHqOeUZMyMY@2nO|j5j?v6*<WgJfBN!q9)}V<o+;o?VW^A48jf^vRKqcSP&j<b4aQAQ4coOij$49Kk6K(X"
    "%E;r;rXjT#gooh7q=u9Eq}prht~ea0EFOfGQ!pa#dW;w$jd`&RPJI@H#_BY|a6Yf+V&+7oxk53LrjSK1F!{68NHCf}sg-KA*<!U+Ezgw8MVwAV"
    "v04$vRHe>w=BX;FvZ{1(R#jBFi}6h-#&nM3yoL*jKn>Sqxaf$k&WN+OYOPo;SBtphjH$Ayb~&lGj*0lnr<Eo-u4uR#b#P7Z6RAd%a?>`siR+2K"
    "pbMjf8yysrp>{WKN|hO7jRZkc2#x7wl=4o_*^#r1axCYJhFKw}^S_XlhBKICi!+a^BV?*+xY@-m4Rh%<JG?y<d-<2P+j|ErRVtNP+;LL6=HmgC"
    "b=-{yyq6AmpW}gs1sX5)a=g_0&@S)CnzCP~3@s=rX6ehT=9cvB`Ifx%pZM{0YuESh`2+518R`"
)


def test_what_pytorch_saved_is_read_without_its_tensors() -> None:
    file = io.BytesIO(zlib.decompress(base64.b85decode(SAVED_BY_PYTORCH)))
    magic, version, _, content = (read_numbers(file) for _ in range(4))
    assert (magic, version) == (0x1950A86A20F9469CFC6C, 1001)
    weights = {"weight": None, "bias": None}
    assert content == {"seen": {11}, "params": 0.802426, "net_state_dict": weights, "more": [0.5, None]}


@pytest.mark.parametrize("protocol", range(6))
def test_numbers_of_records_are_read(protocol: int) -> None:
    numbers = [np.float64(93.75), np.float32(0.5), np.int64(-7), np.int32(8), 0.1, 3, "x", None, True, (1, 2)]
    content = collections.OrderedDict(numbers=numbers, seen={1, 2})
    found = read_numbers(io.BytesIO(pickle.dumps(content, protocol)))
    assert found == content and [type(number) for number in found["numbers"][:4]] == [float, float, int, int]


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (Calls(os.system, "true"), "asks for posix.system, which no table needs: it may be malicious"),
        (Calls(getattr, "a", "upper"), "builtins.getattr"),
        (np.zeros(3), "_reconstruct"),
        (np.datetime64(0, "s"), "a number is of type 'M8'"),
        (np.complex128(1), "a number is of type 'c16'"),
        (collections.Counter("a"), "collections.Counter"),
    ],
)
def test_a_record_that_wants_more_than_numbers_is_refused(content: Any, words: str) -> None:
    file = io.BytesIO(pickle.dumps({"all_results": content}))
    with pytest.raises(UserError, match=words):
        read_numbers(file)


@pytest.mark.parametrize("cut", [0, 5, -1])
def test_a_record_cut_short_is_refused(cut: int) -> None:
    with pytest.raises(UserError, match="cut short or damaged"):
        read_numbers(io.BytesIO(pickle.dumps({"accuracy": [np.float64(1)] * 3})[:cut]))
