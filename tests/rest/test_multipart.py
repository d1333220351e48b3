"""Forms as multipart/form-data."""

from contextlib import suppress

import pytest
from hypothesis import given
from hypothesis import strategies as st

from server.rest.multipart import MAX_HEADS, FormBroken, fields_of

A = b'--x\r\nContent-Disposition: form-data; name="a"\r\n\r\n'
END = b"\r\n--x--\r\n"


@pytest.mark.parametrize(
    ("body", "fields"),
    [
        (b"--x--", []),
        (A + b"1" + END, [("a", "1")]),
        (A + b"" + END, [("a", "")]),
        (A + b"1\r\n" + A + b"2" + END, [("a", "1"), ("a", "2")]),
        (A + b"\r\n line\r\n\r\n--y\r\n--\n--x" + END, [("a", "\r\n line\r\n\r\n--y\r\n--\n--x")]),
        (A + "Grüße 🐢".encode() + END, [("a", "Grüße 🐢")]),
        ('--x\r\ncontent-disposition:form-data;name="ü;\\"b"\r\n\r\n1'.encode() + END, [('ü;"b', "1")]),
        (b"--x  \r\nContent-Type: text/plain; charset=UTF-8\r\n" + A[5:] + b"1" + END, [("a", "1")]),
        (A[:-2] + b"Content-Transfer-Encoding: 8bit\r\n\r\n1" + END, [("a", "1")]),
    ],
)
def test_a_form_holds_names_and_texts(body, fields):
    assert fields_of(body, "x", most=9) == fields


@pytest.mark.parametrize(
    ("body", "said"),
    [
        (b"", "boundary"),
        (b"--x", "boundary"),
        (b"--x\r\n", "boundary"),
        (b"preamble\r\n" + A + b"1" + END, "boundary"),
        (A + b"1" + END + b"more", "boundary"),
        (A + b"1" + END + A, "boundary"),
        (A + b"1\r\n--xy" + END, "no header"),
        (A + b"cut off", "boundary"),
        (A.replace(b"\r", b"") + b"1" + END, "no header"),
        (b"--x\r\n\r\n1" + END, "no header"),
        (b"--x\r\nA: b\r\n\r\n1" + END, "which field"),
        (A.replace(b"form-data", b"attachment") + b"1" + END, "which field"),
        (A.replace(b'; name="a"', b"") + b"1" + END, "which field"),
        (A[:-4] + b'; filename="f.txt"\r\n\r\n1' + END, "a is a file"),
        (A[:-4] + b"; filename*=utf-8''f\r\n\r\n1" + END, "a is a file"),
        (A[:-13] + b"; name*0=a; name*=b\r\n\r\n1" + END, "nobody can read"),
        (A[:-13] + b"; name*" + b"9" * 5000 + b"=a\r\n\r\n1" + END, "nobody can read"),
        (A[:-4] + b"; filename*0=a; filename*=b\r\n\r\n1" + END, "nobody can read"),
        (A[:-2] + b"Content-Type: text/plain; charset*0=a; charset*=b\r\n\r\n1" + END, "nobody can read"),
        (A[:-2] + b"Content-Transfer-Encoding: base64\r\n\r\nMQ==" + END, "transfer encoding"),
        (A[:-2] + b"Content-Type: text/plain; charset=latin-1\r\n\r\n1" + END, "not UTF-8"),
        (b"\r\n".join([A + b"1"] * 10) + END, "more than 9 parts"),
        (b"--x\r\nA: " + b"b" * MAX_HEADS + b"\r\n" + A[5:] + b"1" + END, "header lines"),
    ],
)
def test_what_is_no_form_of_texts_says_why(body, said):
    with pytest.raises(FormBroken, match=said):
        fields_of(body, "x", most=9)


@pytest.mark.parametrize("boundary", ["", "x" * 71])
def test_the_content_type_names_the_boundary(boundary):
    with pytest.raises(FormBroken, match="boundary"):
        fields_of(A + b"1" + END, boundary, most=9)


@given(
    st.lists(
        st.one_of(
            st.sampled_from([A, b"\r\n", b"--x", END, b"=", b";", b"*0*", b'"', b"filename", b"\xff"]),
            st.binary(max_size=9),
        )
    )
)
def test_whatever_is_sent_is_read_or_refused(pieces):
    for body in (b"".join(pieces), A[:-5] + b"".join(pieces) + b"\r\n\r\n" + END):
        with suppress(FormBroken, UnicodeDecodeError):
            assert all(isinstance(name, str) for name, _ in fields_of(body, "x", most=9))
