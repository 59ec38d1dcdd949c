"""The package mirror: recipes and their fingerprints, and what is written into packages and indexes."""

import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lab.mirror import MirrorError, available, repository
from lab.mirror.builders import deb, wheelhouse
from lab.mirror.recipe import RECIPES, DebianPackage, Requirements, Wheel, digest, load
from lab.mirror.repository import Suite

GOOD = """---
version: 1.2.3
date: 2026-01-01
builder: deb
sources:
  - {wheel: example==1.0, sha256: "%s"}
apt: {suites: [bookworm/example/1, trixie/example/1], origin: example}
package: {control: {Package: example}}
""" % ("ab" * 32)


def write(root: Path, name: str = "example-1", text: str = GOOD) -> Path:
    (root / name).mkdir(parents=True, exist_ok=True)
    (root / name / "recipe.yml").write_text(text)
    return root / name


@pytest.mark.parametrize("name", available())
def test_shipped_recipes_load(name: str) -> None:
    recipe = load(name)
    assert recipe.sources
    assert recipe.slug == f"{name}-{recipe.key[:16]}"
    assert load(name).key == recipe.key


def test_shipped_recipes_are_the_ones_the_lab_needs() -> None:
    assert {"mongodb-6.0.5", "mongodb-6.0.27", "mongodb-5.0.4", "linda-lab-api"} <= set(available())


def test_fields_of_a_recipe(tmp_path: Path) -> None:
    write(tmp_path)
    recipe = load("example-1", tmp_path)
    assert recipe.sources == (Wheel("example", "1.0", "ab" * 32),)
    assert recipe.publication is not None
    assert recipe.publication.suites == ("bookworm/example/1", "trixie/example/1")
    assert recipe.publication.component == "main"
    assert recipe.epoch == 1767225600
    assert recipe.options == {"package": {"control": {"Package": "example"}}}


def test_a_package_of_an_older_debian_is_a_source(tmp_path: Path) -> None:
    entry = f"  - {{debian: libold1=1.0~rc1-2+deb11u1, suite: bullseye, sha256: {'cd' * 32}}}\n"
    write(tmp_path, text=GOOD.replace("sources:\n", "sources:\n" + entry))
    assert DebianPackage("libold1", "1.0~rc1-2+deb11u1", "cd" * 32, "bullseye") in load("example-1", tmp_path).sources
    for old, new, words in [
        ("libold1=", "libold1 ", "package=version"),
        ("bullseye", "../sid", "must be a release"),
        ("cdcd", "zz", "sha256 must be 64"),
    ]:
        write(tmp_path, text=GOOD.replace("sources:\n", "sources:\n" + entry.replace(old, new, 1)))
        with pytest.raises(MirrorError, match=words):
            load("example-1", tmp_path)


@pytest.mark.parametrize(
    ("old", "new", "words"),
    [
        ("version: 1.2.3", "version: 1.2", "version = 1.2 has the wrong type"),
        ("version: 1.2.3\n", "", "version is missing"),
        ("date: 2026-01-01", "date: yesterday", "date = 'yesterday'"),
        ("date: 2026-01-01", "date: 1970-01-01", "before 1980"),
        ("builder: deb", "builder: rpm", "Known builders: deb, wheelhouse"),
        ("builder: deb", "builder: ../deb", "no builder"),
        ("example==1.0", "example>=1.0", "project==version"),
        ('sha256: "abab', 'sha256: "zz', "sha256 must be 64"),
        ("wheel: example", "whele: example", "neither `wheel` nor `requirements` nor `debian`"),
        ("{wheel: example==1.0, ", "{wheel: example==1.0, url: x, ", "unknown field url"),
        ("bookworm/example/1", "../etc", "must be a list of suites"),
        ("suites: [bookworm/example/1, trixie/example/1], ", "", "must be a list of suites"),
        ("origin: example", "origin: ''", "apt.origin"),
        ("sources:", "inputs: [{path: missing, as: x}]\nsources:", "missing does not exist"),
        ("sources:", "inputs: [{path: missing}]\nsources:", "exactly the fields path and as"),
        ("---\n", "---\n- ", "recipe.yml"),
    ],
)
def test_wrong_recipes_are_refused_by_name(tmp_path: Path, old: str, new: str, words: str) -> None:
    assert old in GOOD
    write(tmp_path, text=GOOD.replace(old, new, 1))
    with pytest.raises(MirrorError, match="Recipe example-1") as caught:
        load("example-1", tmp_path)
    assert words in str(caught.value)


def test_python_version_must_be_quoted(tmp_path: Path) -> None:
    entry = "  - {requirements: r.txt, python_version: 3.10, platforms: [any]}\n"
    directory = write(tmp_path, text=GOOD.replace("sources:\n", "sources:\n" + entry))
    (directory / "r.txt").write_text("")
    with pytest.raises(MirrorError, match="must be a quoted version"):
        load("example-1", tmp_path)


@pytest.mark.parametrize("name", ["nope", "../example-1", "", "Example-1"])
def test_unknown_recipes_are_refused(tmp_path: Path, name: str) -> None:
    write(tmp_path)
    with pytest.raises(MirrorError, match=r"Known recipes: example-1\."):
        load(name, tmp_path)


def test_key_follows_the_content_and_nothing_else(tmp_path: Path) -> None:
    recipes, shared = tmp_path / "one" / "recipes", tmp_path / "one" / "shared"
    directory = write(recipes, text=GOOD + "inputs: [{path: ../../shared, as: shared}]\n")
    (directory / "files").mkdir()
    shared.mkdir()
    text = (directory / "recipe.yml").read_text()
    seen = [load("example-1", recipes).key]
    changes: list[Callable[[], object]] = [
        lambda: (directory / "files" / "a").write_text("1"),
        lambda: (directory / "files" / "a").write_text("2"),
        lambda: (directory / "files" / "a").rename(directory / "files" / "b"),
        lambda: (directory / "files" / "b").chmod(0o755),
        lambda: (shared / "c").write_text("1"),
        lambda: (directory / "recipe.yml").write_text(text.replace("ab" * 32, "cd" * 32)),
    ]
    for change in changes:
        change()
        assert load("example-1", recipes).key not in seen
        seen.append(load("example-1", recipes).key)
    (directory / ".hidden").write_text("x")
    (directory / "__pycache__").mkdir()
    (directory / "__pycache__" / "a.pyc").write_text("x")
    (directory / "recipe.yml~").write_text("x")
    assert load("example-1", recipes).key == seen[-1]
    shutil.copytree(tmp_path / "one", tmp_path / "two")
    assert load("example-1", tmp_path / "two" / "recipes").key == seen[-1]


@given(st.lists(st.binary(max_size=4), max_size=4), st.lists(st.binary(max_size=4), max_size=4))
def test_digest_tells_lists_apart(one: list[bytes], other: list[bytes]) -> None:
    assert (digest(one) == digest(other)) == (one == other)


def test_requirements_of_the_application_are_pinned_and_complete() -> None:
    (source,) = [source for source in load("linda-lab-api").sources if isinstance(source, Requirements)]
    app = RECIPES.parent.parent / "app"
    wanted = {line.partition(">")[0].strip() for line in (app / "requirements.in").read_text().splitlines() if line and line[0] != "#"}
    pinned = {line.partition("==")[0] for line in source.text.splitlines() if line and line[0] not in " #"}
    assert wanted <= pinned
    assert all("==" in line for line in source.text.splitlines() if line and line[0] not in " #")
    assert "://" not in source.text


OBJDUMP = """
Dynamic Section:
  NEEDED               libssl.so.3
  NEEDED               libcrypto.so.3
  NEEDED               libc.so.6
Version References:
  required from libc.so.6:
    0x06969197 0x00 17 GLIBC_2.17
    0x069691b4 0x00 06 GLIBC_2.34
    0x09691a75 0x00 24 GLIBC_2.9
"""
SSL = {"libssl.so.3": "libssl3t64 | libssl3", "libcrypto.so.3": "libssl3t64 | libssl3"}


def test_dependencies_come_from_what_programs_need() -> None:
    assert deb.library_depends([OBJDUMP], SSL, "x") == ["libc6 (>= 2.34)", "libssl3t64 | libssl3"]
    assert deb.library_depends([OBJDUMP, OBJDUMP.replace("2.34", "2.36")], SSL, "x")[0] == "libc6 (>= 2.36)"
    assert deb.library_depends([], {}, "x") == []


@pytest.mark.parametrize(
    ("libraries", "words"),
    [({"libssl.so.3": "libssl3"}, "lacks ['libcrypto.so.3']"), ({**SSL, "libz.so.1": "zlib1g"}, "no program needs ['libz.so.1']")],
)
def test_library_map_must_fit(libraries: dict[str, str], words: str) -> None:
    with pytest.raises(MirrorError) as caught:
        deb.library_depends([OBJDUMP], libraries, "mongodb")
    assert words in str(caught.value)


def test_control_file_keeps_paragraphs() -> None:
    text = deb.control_file({"Package": "x", "Description": "short\nlong\n\nsecond\n"})
    assert text == "Package: x\nDescription: short\n long\n .\n second\n"


@pytest.mark.parametrize("script", sorted(RECIPES.glob("*/debian/*")), ids=lambda path: f"{path.parent.parent.name}-{path.name}")
def test_maintainer_scripts_are_shell(script: Path) -> None:
    assert script.read_text().startswith("#!/bin/sh\nset -e\n")
    subprocess.run(["sh", "-n", str(script)], check=True)


def test_release_fields_and_pool() -> None:
    suite = Suite("bookworm/mongodb-org/6.0", "mongodb", {"main": (), "extra": ()})
    assert repository.release_options(suite) == {
        "Origin": "mongodb",
        "Label": "mongodb",
        "Suite": "bookworm/mongodb-org/6.0",
        "Codename": "bookworm/mongodb-org/6.0",
        "Architectures": "amd64",
        "Components": "extra main",
    }
    path = repository.pool_path("main", Path("/somewhere/mongodb-org-server_6.0.5_amd64.deb"))
    assert str(path) == "pool/main/m/mongodb-org-server/mongodb-org-server_6.0.5_amd64.deb"


LISTING = """tru::1:1795411336:0:3:1:5
pub:u:255:22:197E28BE4BD2BD2F:1795411336:::u:::scSC:::::ed25519:::0:
fpr:::::::::C23387699DC3EA87E26547E8197E28BE4BD2BD2F:
uid:u::::1795411336::5D0E::mirror::::::::::0:
sub:u:255:18:AAAAAAAAAAAAAAAA:1795411336::::::e:::::cv25519::
fpr:::::::::00000000000000000000000000000000AAAAAAAA:
"""


def test_fingerprint_is_the_primary_keys() -> None:
    assert repository.fingerprint(LISTING) == "C23387699DC3EA87E26547E8197E28BE4BD2BD2F"
    for listing in ("", LISTING + LISTING.replace("C233", "D233")):
        with pytest.raises(MirrorError, match="should hold one key"):
            repository.fingerprint(listing)


def test_wheelhouse_pages() -> None:
    digests = {"a_b-1.0-py3-none-any.whl": "11", "C.d-2.0-1-cp313-cp313-linux_x86_64.whl": "22"}
    text = wheelhouse.requirements(digests)
    assert text == "c-d==2.0 \\\n    --hash=sha256:22\na-b==1.0 \\\n    --hash=sha256:11\n"
    page = wheelhouse.index("x <1>", digests)
    assert '<a href="a_b-1.0-py3-none-any.whl#sha256=11">' in page
    assert "x &lt;1&gt;" in page
    with pytest.raises(MirrorError, match="not the file name of a wheel"):
        wheelhouse.requirements({"a-1.0.tar.gz": "11"})
