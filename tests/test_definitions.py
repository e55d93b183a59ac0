import bz2
import gzip
import http.server
import itertools
import json
import re
import threading
import zipfile
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from glyffctl.core.data import definitions
from glyffctl.core.data.cleaning import CODE_POINT, RULES, clean
from glyffctl.core.data.definitions import (
    Entry,
    cache_file,
    download_unihan,
    installed_definitions,
    read_definitions,
)
from glyffctl.core.errors import DefinitionsError, OutputError
from glyffctl.core.text.han import HAN
from tests.conftest import least_seconds

READINGS = "# Unihan_Readings\nU+9502\tkDefinition\tlithium (element 3, Li)\nU+9502\tkMandarin\tlǐ\n"
SOURCES = "U+9502\tkRSUnicode\t167.7\nU+20000\tkRSUnicode\t1'.2 4.1\n"


# --- reading ---


def test_unihan_of_the_system_is_read_with_radicals(unihan):
    entries = read_definitions(unihan)
    assert len(entries) > 22_000
    assert entries[0x9502] == Entry("lithium (element 3, Li)", 167)
    assert any(codepoint > 0xFFFF for codepoint in entries) and 0xF900 in entries
    assert all(entry.radical in range(1, 215) for entry in entries.values())


def write_zip(path: Path, **files: str) -> Path:
    with zipfile.ZipFile(path, "w") as archive:
        for name, text in files.items():
            archive.writestr(f"{name}.txt", text)
    return path


def test_every_way_to_pack_unihan_reads_the_same(tmp_path):
    expected = {0x9502: Entry("lithium (element 3, Li)", 167)}
    (tmp_path / "Unihan_IRGSources.txt.gz").write_bytes(gzip.compress(SOURCES.encode(), mtime=0))
    (tmp_path / "Unihan_Readings.txt").write_text(READINGS, encoding="utf-8")
    (tmp_path / "Unihan_Readings.txt.gz").write_bytes(gzip.compress(READINGS.encode(), mtime=0))
    (tmp_path / "Unihan_Readings.txt.bz2").write_bytes(bz2.compress(READINGS.encode()))
    write_zip(tmp_path / "Unihan.zip", Unihan_Readings=READINGS, Unihan_IRGSources=SOURCES)
    for name in ("Unihan.zip", *(f"Unihan_Readings.txt{end}" for end in ("", ".gz", ".bz2"))):
        assert read_definitions(tmp_path / name) == expected, name


@pytest.mark.parametrize(
    "text",
    [
        "U+9502\tlithium\nU+20000\t\"oh\", he said\n",
        "U+9502\tkDefinition\tlithium\nU+20000\tkDefinition\t\"oh\", he said\n",
        "锂\tlithium\n𠀀\t\"oh\", he said\n",
        "definition\tcharacter\nlithium\t锂\n\"oh\", he said\t𠀀\n",
        '锂,lithium\r\n𠀀,"""oh"", he said"\r\n',
        'codepoint,text\nU+9502,lithium\nU+20000,"""oh"", he said"\n',
        "".join(json.dumps(row) + "\n" for row in (
            {"character": "锂", "definition": "lithium"}, {"codepoint": "U+20000", "text": '"oh", he said'})),
        "\ufeff# mine\n锂\tlithium\n\n𠀀\t\"oh\", he said",
        "U+9502 锂\tkDefinition\tlithium\nU+20000 𠀀\tkDefinition\t\"oh\", he said\n",
        "U+9502 锂\tlithium\n20000 𠀀\t\"oh\", he said\n9fff\t",
        "9502\tlithium\n20000\t\"oh\", he said\n",
        "锂;lithium\n𠀀;\"\"\"oh\"\", he said\"\n",
        "Character;Definition\n锂;lithium\n𠀀;\"\"\"oh\"\", he said\"\n",
        ",character,definition,,\n0,锂,lithium,,\n,,,,\n1,𠀀,\"\"\"oh\"\", he said\",,\n",
        '# mine\ncharacter, definition\n锂, "lithium"\n𠀀, """oh"", he said"\n',
        'character\tdefinition\n锂\t"lithium"\n𠀀\t"""oh"", he said"\n',
        "codepoint,char,text\nU+9502,锂,lithium\n,𠀀,\"\"\"oh\"\", he said\"\n",
        '{"codepoint": 38146, "character": "锂", "definition": ["lithium", ""]}\n'
        '{"char": "𠀀", "text": ["\\"oh\\", he said"]}',
        '# mine\n\n{"char": "锂", "definition": null, "text": "lithium", "n": 1}\n'
        '{"char": "𠀀", "text": "\\"oh\\", he said"}',
    ],
)  # fmt: skip
@pytest.mark.parametrize("end", ["\n", "\r\n", "\r", "mixed"])
@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16"])
def test_tables_of_every_kind(tmp_path, text, end, encoding):
    path = tmp_path / "mine.txt"
    ends = itertools.cycle(["\n", "\r", "\r\n"] if end == "mixed" else [end])
    text = re.sub(r"\r?\n", lambda _: next(ends), text.removeprefix("\ufeff"))
    path.write_text(text, encoding=encoding, newline="")
    entries = {c: entry for c, entry in read_definitions(path).items() if c != 0x9FFF}
    assert entries == {0x9502: Entry("lithium", None), 0x20000: Entry('"oh", he said', None)}


def test_the_tables_that_are_described_are_read(tmp_path):
    page = (Path(__file__).parents[1] / "examples" / "data.md").read_text(encoding="utf-8")
    tables = re.findall(r"```(tsv|csv|jsonl)\n(.*?)```", page, re.DOTALL)
    assert [form for form, _ in tables] == ["tsv", "csv", "jsonl"]
    for form, text in tables:
        (tmp_path / form).write_text(text, encoding="utf-8")
        assert read_definitions(tmp_path / form) == {0x706B: Entry("fire, flame", None), 0x9502: Entry("lithium", None)}


@pytest.mark.parametrize("form", ["tsv", "csv", "jsonl", "unihan"])
def test_rows_for_one_character_are_joined_and_rows_without_a_definition_known(tmp_path, form):
    rows = [
        ("行", "to walk, to go"),
        ("木", ""),
        ("行", "a row"),
        ("火", " "),
        ("行", "to walk, to go"),
        ("火", "fire"),
    ]
    unihan = [f"U+{ord(character):04X}\tkDefinition\t{text}\n" for character, text in rows]
    lines = {
        "tsv": [f"{character}\t{text}\n" for character, text in rows],
        "csv": ["character,definition\n", *(f'{character},"{text}"\n' for character, text in rows)],
        "jsonl": [json.dumps({"character": c, **({"definition": text} if text else {})}) + "\n" for c, text in rows],
        "unihan": ["U+884C\tkMandarin\txíng\n", *unihan, "U+6728\tkDefinition\n"],
    }
    path = tmp_path / "table"
    path.write_text("".join(lines[form]), encoding="utf-8")
    assert {chr(c): entry.definition for c, entry in read_definitions(path).items()} == {
        "行": "to walk, to go; a row",
        "木": "",
        "火": "fire",
    }


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ('火\t"fire, ""bright"" flame"\n木\t"tree"\n', ('fire, "bright" flame', "tree")),
        ('# a "list"\n火\t"fire\tflame"\n木\ttree\n', ("fire\tflame", "tree")),
        ('火\t"fire" and flame\n木\t"tree"\n', ('"fire" and flame', '"tree"')),
        ('火\t"fire"\n木\ta 5" tree\n', ('"fire"', 'a 5" tree')),
        ('火\t"fire\n木\t"tree\n', ('"fire', '"tree')),
        ("火\tfire\u2028flame\x85\x0b\x0c\n木\ttree\n", ("fire\u2028flame", "tree")),
    ],
)
def test_quotation_marks_in_tsv_are_quoting_only_where_all_of_them_are(tmp_path, text, expected):
    path = tmp_path / "table.tsv"
    path.write_text(text, encoding="utf-8")
    assert tuple(entry.definition for entry in read_definitions(path).values()) == expected


@pytest.mark.parametrize(
    ("old", "name"),
    [
        ({"Unihan_RadicalStrokeCounts": SOURCES}, "Unihan_Readings"),
        ({"Unihan_RadicalStrokeCounts": SOURCES.replace("kRSUnicode", "kRSKangXi")}, "Unihan_Readings"),
        ({"Unihan_RadicalStrokeCounts": "U+9502\tkRSKangXi\t999.1\n", "Unihan_IRGSources": SOURCES}, "Unihan_Readings"),
        ({"kRSUnicode": "9502\t167.7\n20000\t1'.2 4.1\n"}, "kDefinition"),
        ({"kRSUnicode": "U+9502 锂\tkRSUnicode\t167.7\n"}, "Unihan-kDefinition"),
    ],
)
def test_radicals_are_found_wherever_a_version_of_unihan_has_them(tmp_path, old, name):
    expected = {0x9502: Entry("lithium (element 3, Li)", 167)}
    files = {name: READINGS, **old}
    for file, text in files.items():
        (tmp_path / f"{file}.txt").write_text(text, encoding="utf-8")
    assert read_definitions(tmp_path / f"{name}.txt") == expected
    inside = {f"Unihan/{file}": text for file, text in files.items()}
    archive = write_zip(tmp_path / "Unihan.zip", **inside, **{f"__MACOSX/Unihan/._{file}": "x" for file in files})
    assert read_definitions(archive) == expected


def test_the_single_file_of_old_versions_has_its_radicals_in_it(tmp_path):
    (tmp_path / "Unihan.txt").write_text(READINGS + SOURCES, encoding="utf-8")
    assert read_definitions(tmp_path / "Unihan.txt") == {0x9502: Entry("lithium (element 3, Li)", 167)}


def test_a_character_beside_its_code_point_may_have_been_normalized(tmp_path):
    path = tmp_path / "kDefinition.txt"
    path.write_text("U+F900 \u8c48\tkDefinition\thow?\n", encoding="utf-8")  # U+F900 in NFC is U+8C48
    assert read_definitions(path) == {0xF900: Entry("how?", None)}


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "defines no character"),
        (b"\n\n", "defines no character"),
        (b"# mine", "defines no character"),
        ("锂\tlithium".encode("utf-16-le"), "line 1: .*UTF-8"),
        ("锂\tlithium".encode("utf-16")[:-1], "ends in the middle of a character"),
        ("木\ttree\r锂\tlithium".encode("gbk"), "line 2: the byte 0xEF .*UTF-8"),
        ("木\ttree\r火\tfire\r\n水\tcaf".encode() + b"\xe9", "line 3: the byte 0xE9"),
        (bytes(range(128, 256)), "line 1: the byte 0x80"),
        (bytes(5000), "line 1: a zero byte"),
        (b"word,meaning\n", "line 1: 'word' is not one character.*header"),
        ("锂\n".encode(), "line 1: '锂' has no tab or comma"),
        ("锂\tlithium\n\n木\n".encode(), "line 3 has 1 field, line 1 has 2"),
        ("锂\tlithium\tLi\n".encode(), "line 1 has 3 columns, and no line names them"),
        ("锂,lithium, a metal\n".encode(), "line 1 has 3 columns, and no line names them.*quotation marks"),
        ("锂,lithium\n木,tree, wood\n".encode(), "line 2 has 3 fields, line 1 has 2: put quotation marks"),
        ("character,definition\n锂,lithium, a metal\n".encode(), "line 2 has 3 fields, the header names 2"),
        ("character;definition\n锂;lithium; a metal\n".encode(), "line 2 has 3 fields.*semicolons"),
        ("character\tdefinition\n锂\tlithium\ta metal\n".encode(), "line 2 has 3 fields.*take tabs out"),
        ('character,definition\n锂,"lithium\n木,tree\n火,"fire"\n'.encode(), "line 2: a quot"),
        (
            'character,definition\n锂,"lithium\n木,tree"\n'.encode(),
            "line 2: a quotation mark opened there takes in the next line",
        ),
        ('character,definition\n锂,"lithium\n'.encode(), "line 2: a quotation mark is opened there and not closed"),
        ('character,definition\n锂,"a "light" metal"\n'.encode(), "line 2: a quoted field has a quotation mark inside"),
        ("character,sound\n锂,li".encode(), "line 1 names the columns 'character, sound'"),
        ("character,definition,Definition\n锂,li,x".encode(), "line 1: two columns are named 'definition'"),
        ("codepoint,character,definition\nU+9502,木,x\n".encode(), "line 2: U\\+9502 锂 and U\\+6728 木"),
        (b"character,definition\n,lithium\n", "line 2 names no character"),
        ("锂电\tlithium battery".encode(), "line 1: '锂电' is 2 characters"),
        ("U+9502 木\tlithium".encode(), "line 1: 'U\\+9502 木': U\\+9502 is 锂"),
        (b"20001\tnail\n", "line 1: 20001 may be decimal or hexadecimal"),
        (b"U+FFFFFF\tnothing", "line 1: 'U\\+FFFFFF' is not the code point"),
        (b"U+D800\tnothing", "line 1: 'U\\+D800' is not the code point"),
        (b'{"character": 3, "definition": "x"}\n', "line 1: character is a number"),
        (b'{"definition": "x"}\n', "line 1: no character .*'definition'"),
        ('{"character": "锂", "meaning": "x"}\n'.encode(), "no row has a definition.*'character, meaning'"),
        ('{"character": "锂", "definition": 3}\n'.encode(), "line 1: definition is a number, 3"),
        ('{"character": "锂", "definition": true}\n'.encode(), "line 1: definition is a boolean, True"),
        ('{"character": "锂", "definition": {"en": "x"}}\n'.encode(), "line 1: definition is an object"),
        ('{"character": "锂", "definition": ["x", 1]}\n'.encode(), "line 1: definition is a list, "),
        ('{"character": "锂", "definition": "x", "definition": "y"}\n'.encode(), "line 1: it names 'definition' twice"),
        ('[{"character": "锂", "definition": "x"}]\n'.encode(), "line 1: it is a JSON array"),
        ('[\n{"character": "锂", "definition": "x"}\n]\n'.encode(), "line 1: a JSON array begins"),
        ('{\n"character": "锂", "definition": "x"\n}\n'.encode(), "line 1, column 2: not a whole JSON object"),
        ('{"character": "锂", "definition": "x"}\n{"char'.encode(), "line 2, column 2: not a whole JSON object"),
        (b"U+9502\tkDefinition\tlithium\nU+4E00 one\n", "line 2: 'U\\+4E00 one' is not a line of Unihan"),
        (gzip.compress(READINGS.encode(), mtime=0)[:-20], "get the file again"),
        (bz2.compress(READINGS.encode())[:-20], "get the file again"),
        (b"U+9502\tkMandarin\tl\n", "defines no character"),
    ],
)
def test_files_that_cannot_be_read_are_named(tmp_path, content, message):
    path = tmp_path / "broken.txt"
    path.write_bytes(content)
    with pytest.raises(DefinitionsError, match=rf"broken\.txt.*{message}"):
        read_definitions(path)


def test_missing_files_and_foreign_or_broken_archives_are_named(tmp_path):
    with pytest.raises(DefinitionsError, match="does not exist"):
        read_definitions(tmp_path / "none.txt")
    with pytest.raises(DefinitionsError, match=r"holds no Unihan_Readings\.txt"):
        read_definitions(write_zip(tmp_path / "a.zip", other="x"))
    with pytest.raises(DefinitionsError, match=r"a\.xlsx is a spreadsheet.*CSV"):
        read_definitions(write_zip(tmp_path / "a.xlsx", **{"xl/workbook": "x"}))
    archive = write_zip(tmp_path / "b.zip", Unihan_Readings=READINGS * 100)
    data = bytearray(archive.read_bytes())
    data[100:110] = b"0123456789"
    archive.write_bytes(data)
    with pytest.raises(DefinitionsError, match=r"b\.zip.*get the file again"):
        read_definitions(archive)


# --- fetching ---


class Host(http.server.HTTPServer):
    status, body, missing = 200, b"", 0


@pytest.fixture
def server(monkeypatch):
    """A loopback server that answers with `status` and `body`, and promises `missing` bytes more."""

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_GET(self):
            self.send_response(host.status)
            self.send_header("Content-Length", str(len(host.body) + host.missing))
            self.end_headers()
            self.wfile.write(host.body)

        def log_message(self, *_):
            pass

    host = Host(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=host.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    monkeypatch.setenv(definitions.URL_VARIABLE, f"http://127.0.0.1:{host.server_port}/Unihan.zip")
    yield host
    host.shutdown()
    thread.join()
    host.server_close()


@pytest.fixture(scope="module")
def whole_zip(unihan, tmp_path_factory):
    text = bz2.decompress(unihan.read_bytes()).decode()
    lines = "\n".join(line for line in text.splitlines() if "\tkDefinition\t" in line)
    return write_zip(tmp_path_factory.mktemp("zip") / "Unihan.zip", Unihan_Readings=lines).read_bytes()


def test_a_download_is_checked_and_kept_in_the_cache(server, whole_zip, tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    monkeypatch.setattr(definitions, "_SYSTEM_FOLDER", tmp_path / "nothing")
    assert installed_definitions() is None
    server.body = whole_zip
    progress = list(download_unihan(cache_file()))
    assert progress[-1] == (len(whole_zip), len(whole_zip))
    assert installed_definitions() == tmp_path / "glyffctl" / "Unihan.zip"
    assert len(read_definitions(cache_file())) > 20_000


def damaged(data: bytes) -> bytes:
    middle = len(data) // 2
    return data[:middle] + bytes(64) + data[middle + 64 :]


@pytest.mark.parametrize("fault", ["404", "html", "cut", "short", "damaged", "few"])
def test_a_download_that_went_wrong_leaves_nothing(server, whole_zip, tmp_path, fault):
    if fault == "404":
        server.status = 404
    if fault == "short":
        server.missing = 1000
    server.body = {
        "html": b"<html>log in to the network</html>",
        "cut": whole_zip[:-2000],
        "short": whole_zip[:-1000],
        "damaged": damaged(whole_zip),
        "few": write_zip(tmp_path / "few.zip", Unihan_Readings=READINGS).read_bytes(),
    }.get(fault, b"")
    with pytest.raises(DefinitionsError, match="`definitions`"):
        list(download_unihan(tmp_path / "cache" / "Unihan.zip"))
    assert list((tmp_path / "cache").iterdir()) == []


def test_without_a_network_the_error_says_how_to_get_the_file(tmp_path, monkeypatch):
    monkeypatch.setenv(definitions.URL_VARIABLE, "http://127.0.0.1:9/Unihan.zip")
    with pytest.raises(DefinitionsError, match=r"cannot download http.*unicode-data"):
        list(download_unihan(tmp_path / "Unihan.zip"))
    (tmp_path / "file").write_text("")
    with pytest.raises(OutputError):
        list(download_unihan(tmp_path / "file" / "Unihan.zip"))


# --- cleaning ---


@pytest.mark.parametrize(
    ("before", "after"),
    [
        ("lithium (element 3, Li)", "lithium (element 3, Li)"),
        ("(same as U+5C4D 屍) a corpse", "a corpse"),
        ("crane; small swan; non-classical form of U+9D12 鴒, wagtail", "crane; small swan; wagtail"),
        ("(same as U+65D2 旒, a corrupted form of U+8352 荒) a cup with pendants", "a cup with pendants"),
        ("happy; peaceful (interchangeable 潭) deep water", "happy; peaceful; deep water"),
        ("(J) non-standard form of U+559C 喜, to like", "(J) to like"),
        ("(Cant.) 火㶽, to instant-boil", "(Cant.) to instant-boil"),
        ("robe, (Cant., same as 褲) drawers", "robe, (Cant.) drawers"),
        ("to stare; (same as 傚 [U+509A] and 桮 [U+686E]) cup", "to stare; cup"),
        ("variant of U+801C 耜: a farming instrument", "a farming instrument"),
        ("ancient form of the tenth of the Branches, U+9149 酉", "ancient form of the tenth of the Branches"),
        ("xenon (obsolete; 氙 U+6C19 now in use instead)", "xenon (obsolete)"),
        ("old translation of (鋱) Tb, (same as U+91E4 釤) a sickle", "old translation of Tb, a sickle"),
        ("Compoy (干貝); also called (江瑤柱) it is esteemed", "Compoy; it is esteemed"),
        ("a square meter; one hundredth of a 公畝", "a square meter"),
        ("songs of the people of 楚, music", "songs of the people, music"),
        ("used with “pong” (U+4E53 乓) for “ping pong”", "used with “pong” for “ping pong”"),
        ("(corrupted form) to cut; (archaic) to mince", "to cut; (archaic) to mince"),
        ("wink,, (interchangeable 眴 瞚), to indicate", "wink, to indicate"),
        ("the sound of breathing in; oh! (cf. U+311B BOPOMOFO LETTER O, which is derived from it)",
         "the sound of breathing in; oh!"),
        ("variant of U+78C1 磁", ""),
        ("old form of 貫; component in 贯,貫,實, etc.; not to be confused with 毋", ""),
        ("Variant of U+4E99 亙", ""),
        ("燃烧，发光", ""),
        ("《火》！", ""),
        ("燃烧，fire；flame（火）", "fire；flame"),
    ],
)  # fmt: skip
def test_what_points_elsewhere_goes_and_meaning_stays(before, after):
    assert clean(before).text == after
    assert clean(before).rules == () if before == after else clean(before).rules


def test_rules_are_named_once_and_say_why():
    assert len({rule.name for rule in RULES}) == len(RULES)
    assert all(rule.why for rule in RULES)
    assert clean("(same as 屍) a corpse").rules == ("cross-reference in brackets",)


def test_all_of_unihan_comes_out_clean(unihan):
    empty = changed_without_pointer = 0
    for entry in read_definitions(unihan).values():
        before, after = entry.definition, clean(entry.definition).text
        pointer = HAN.search(before) or CODE_POINT.search(before)
        assert not HAN.search(after) and not CODE_POINT.search(after)
        assert "  " not in after and "()" not in after and not re.search(r"^[,;:]|[,;:]$|[,;] ?[,;]", after)
        assert pointer or len(after) >= len(before) - 40
        empty += not after
        changed_without_pointer += not pointer and before != after
    assert empty <= 20
    assert changed_without_pointer <= 150  # notes such as "(corrupted form)" and doubled commas


def balanced(text: str) -> bool:
    stack: list[str] = []
    for character in text:
        if character in "([":
            stack.append(")" if character == "(" else "]")
        elif character in ")]" and (not stack or stack.pop() != character):
            return False
    return not stack


WORDS = [
    *("to hope", "a", "of", "same as", "form of", "variant of", "used for", "see", "cf.", "etc.", "ancient"),
    *("(Cant.)", "(J)", "屍", "㐀𠀀", "U+5C4D", "U+20000", "U+3021 HANGZHOU NUMERAL ONE", "1", "and", "or"),
]
PIECES = st.sampled_from([*WORDS, "(", ")", "[", "]", ",", ";", ":", ".", " ", "  ", "=", "“", "”", "-"])
TEXTS = st.one_of(
    st.text(max_size=60),
    st.lists(PIECES, max_size=25).map("".join),
    st.lists(PIECES, max_size=15).map(" ".join),
)


@given(TEXTS)
def test_cleaning_twice_is_cleaning_once_and_nothing_forbidden_stays(text):
    result = clean(text)
    assert clean(result.text) == (result.text, ())
    assert not HAN.search(result.text) and not CODE_POINT.search(result.text)
    assert "  " not in result.text and result.text == result.text.strip()
    assert len(result.text) <= len(text)
    assert bool(result.rules) == (result.text != text)


@given(st.recursive(
    st.lists(st.sampled_from([*WORDS, ",", ";", " "]), max_size=6).map(" ".join),
    lambda inner: st.tuples(inner, st.sampled_from(["()", "[]"]), inner, inner).map(
        lambda p: f"{p[0]} {p[1][0]}{p[2]}{p[1][1]} {p[3]}"),
    max_leaves=8,
))  # fmt: skip
def test_balanced_brackets_stay_balanced(text):
    assert balanced(text)
    assert balanced(clean(text).text)


PLAIN = ["to hope", "lithium", "element 3", "small swan", "same as ever", "form"]


@given(st.lists(st.sampled_from(PLAIN), min_size=1), st.sampled_from([", ", "; ", " (Cant.) ", " "]))
def test_text_with_nothing_to_remove_is_unchanged(phrases, separator):
    text = separator.join(phrases)
    assert clean(text) == (text, ())


@pytest.mark.parametrize("word", ["of ", "a ", "(", "same as ", "汉 ", ", ", "same as 汉 ", "(same as 汉) x", "U+"])
def test_long_texts_are_cleaned_in_passable_time(word):
    text = word * (10_000 // len(word))
    assert least_seconds(lambda: clean(text), tries=1) < 5
