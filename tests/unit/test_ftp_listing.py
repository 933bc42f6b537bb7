import pytest

from dsgo.ftp_connection import parse_features
from dsgo.ftp_listing import Entry, parse_list, parse_mlsd


def test_mlsd():
    text = (
        "type=cdir;modify=20261121093100; .\r\n"
        "Type=pdir;modify=20261121093100; ..\r\n"
        "modify=20261121093100;perm=adfr;size=12;type=file;unique=1g2; name with  spaces \r\n"
        "Size=7;Modify=20261121093100.123;Type=file; 50%;type=dir; x\r\n"
        "type=dir;sizd=4096;size=4096; folder\r\n"
        "type=OS.unix=slink:/target;size=5; link\r\n"
        "type=file; /whole/path\u2028of\x85name\r\n"
    )
    assert parse_mlsd(text) == [
        Entry("name with  spaces ", False, 12),
        Entry("50%;type=dir; x", False, 7),
        Entry("folder", True, None),
        Entry("link", False, 5),
        Entry("path\u2028of\x85name", False, None),
    ]


@pytest.mark.parametrize(
    "line, expected",
    [
        ("-rw-r--r--    1 1000     1000         1234 Nov 21 09:31 plain.txt", Entry("plain.txt", False, 1234)),
        ("-rw-rw-rw-   1 owner   group    7045120 Sep 02  2019 two  spaces", Entry("two  spaces", False, 7045120)),
        ("drwxr-xr-x    2 ftp      ftp          4096 Jan  1 00:00 sub folder", Entry("sub folder", True, None)),
        ("lrwxrwxrwx 1 0 0 7 Nov 21 09:31 link -> target", Entry("link", False, None)),
        ("-rw-r--r--+ 1 a b 5 21 Nov 09:31 ünï -> x", Entry("ünï -> x", False, 5)),
        ("-rw-r--r-- 1 group 99 Nov 21 09:31 2024 Jan 01 10:00 x", Entry("2024 Jan 01 10:00 x", False, 99)),
        ("11-21-26  09:31AM       <DIR>          sub folder", Entry("sub folder", True, None)),
        ("11-21-2026  09:31                1234 file.txt", Entry("file.txt", False, 1234)),
    ],
)
def test_list(line, expected):
    assert parse_list(f"total 8\r\n{line}\r\n") == [expected]


def test_list_without_dot_entries_and_in_an_unknown_form():
    assert parse_list("drwxr-xr-x 2 a b 4096 Nov 21 09:31 .\r\ndrwxr-xr-x 2 a b 4096 Nov 21 09:31 ..\r\n") == []
    assert parse_list("+i8388621.48594,m825718503,r,s280,\tdjb.html\r\n") is None


def test_features():
    reply = "211-Features:\n MLST type*;size*;\n UTF8\n HASH SHA-1;SHA-256*\n SITE PUBLISH\n rest STREAM\n211 End"
    assert parse_features(reply) == {
        "MLST": "type*;size*;",
        "UTF8": "",
        "HASH": "SHA-1;SHA-256*",
        "SITE PUBLISH": "",
        "REST": "STREAM",
    }
