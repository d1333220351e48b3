"""Forms as multipart/form-data (RFC 7578), as `curl -F` sends them. Their parts are texts; files are refused."""

from email.parser import HeaderParser

MULTIPART = "multipart/form-data"
MAX_BOUNDARY = 70  # characters, as RFC 2046 has it
MAX_HEADS = 64 * 1024  # bytes of all header lines that differ; to read them takes a thousand times longer than texts
_PLAIN = ("7bit", "8bit", "binary")
_CHARSETS = ("utf-8", "us-ascii")
_headers = HeaderParser()


class FormBroken(Exception):
    """The body is no form of texts; it says why."""


def fields_of(body: bytes, boundary: str, *, most: int) -> list[tuple[str, str]]:
    """Return the names and the texts of up to `most` fields, in their order. Raises FormBroken, UnicodeDecodeError."""
    if not 1 <= len(boundary) <= MAX_BOUNDARY:
        raise FormBroken("its content type names no boundary")
    parts = b"\r\n".join((b"", body)).split(f"\r\n--{boundary}".encode(), most + 2)
    if len(parts) > most + 2:
        raise FormBroken(f"it has more than {most} parts")
    if parts[0] or len(parts) == 1 or parts[-1].rstrip(b" \t\r\n") != b"--":
        raise FormBroken("it does not begin and end with its boundary")
    names: dict[bytes, str] = {}  # by heads: most parts of a long form have the same.
    room = MAX_HEADS
    fields = []
    for part in parts[1:-1]:
        head, found, text = part.partition(b"\r\n\r\n")
        if not found:
            raise FormBroken("a part has no header")
        if head not in names:
            room -= len(head)
            if room < 0:
                raise FormBroken(f"its parts have more than {MAX_HEADS} bytes of header lines")
            names[head] = _name_of(head)
        fields.append((names[head], text.decode()))
    return fields


def _name_of(head: bytes) -> str:
    """Return the name of the field that a part is, from what stands between the boundary and its text."""
    padding, found, lines = head.partition(b"\r\n")
    if padding.strip(b" \t") or not found:
        raise FormBroken("a part has no header")
    headers = _headers.parsestr(lines.decode())
    try:
        name = headers.get_param("name", header="content-disposition")
        filename = headers.get_param("filename", header="content-disposition")
        charset = headers.get_content_charset("utf-8")
    except (TypeError, ValueError) as error:  # Parameters in pieces (RFC 2231) can be wrong in ways that email ignores.
        raise FormBroken("a part has a header that nobody can read") from error
    if headers.get_content_disposition() != "form-data" or not isinstance(name, str):
        raise FormBroken("a part does not say which field it is")
    if filename is not None:
        raise FormBroken(f"the field {name} is a file: send its text as the field's value")
    if headers.get("content-transfer-encoding", "binary").lower() not in _PLAIN:
        raise FormBroken(f"the field {name} has a transfer encoding")
    if charset not in _CHARSETS:
        raise FormBroken(f"the field {name} is not UTF-8")
    return name
