"""Kafka's jars: what is pinned is what runs."""

import hashlib
import io
from pathlib import Path, PurePosixPath

import pytest
from rich.console import Console

from workers.core.errors import UnreachableError
from workers.local import kafka_jars
from workers.local.download import DownloadReport
from workers.local.kafka_jars import Jar, JarCache, Report, kafka_version, maven_cache, read_pins

CONTENT = {"org/a/one/1.0/one-1.0.jar": b"first", "org/b/two/2.0/two-2.0.jar": b"second"}


class Repository:
    """Serves `CONTENT`, or what a test puts in its place."""

    def __init__(self) -> None:
        self.content = dict(CONTENT)
        self.served: list[str] = []
        self.failures = 0

    def __call__(self, jar: Jar, directory: Path, report: Report) -> Path:
        self.served.append(jar.path.name)
        if self.failures:
            self.failures -= 1
            raise ConnectionError("reset by peer")
        data = self.content[str(jar.path)]
        report.received(len(data))
        file = directory / jar.path.name
        file.write_bytes(data)
        return file


@pytest.fixture
def repository() -> Repository:
    return Repository()


def cache(directory: Path, repository: Repository) -> JarCache:
    pins = [Jar(PurePosixPath(path), hashlib.sha256(data).hexdigest()) for path, data in CONTENT.items()]
    report = DownloadReport("Kafka", Console(file=io.StringIO()))
    seen = directory / "home" / "seen.json"
    return JarCache(pins, directory / "m2", seen, repository, report, sleep=lambda _: None)


def test_missing_jars_are_downloaded_once(tmp_path: Path, repository: Repository) -> None:
    classpath = cache(tmp_path, repository).classpath()
    assert [file.read_bytes() for file in classpath] == list(CONTENT.values())
    assert cache(tmp_path, repository).classpath() == classpath
    assert sorted(repository.served) == ["one-1.0.jar", "two-2.0.jar"]
    assert not list((tmp_path / "m2").glob(".relayfleet-*"))


def test_a_wrong_jar_is_refused_by_name_and_never_reaches_the_cache(
    tmp_path: Path, repository: Repository
) -> None:
    repository.content["org/b/two/2.0/two-2.0.jar"] = b"tampered"
    with pytest.raises(UnreachableError, match=r"org/b/two/2\.0/two-2\.0\.jar: refused, its SHA-256 is"):
        cache(tmp_path, repository).classpath()
    assert not (tmp_path / "m2/org/b/two/2.0/two-2.0.jar").exists()


def test_a_damaged_cached_jar_is_downloaded_again(tmp_path: Path, repository: Repository) -> None:
    first = cache(tmp_path, repository).classpath()[0]
    first.write_bytes(b"damaged")
    assert cache(tmp_path, repository).classpath()[0].read_bytes() == b"first"
    assert repository.served.count("one-1.0.jar") == 2


def test_jars_of_others_in_the_cache_are_checked_before_use(tmp_path: Path, repository: Repository) -> None:
    there = tmp_path / "m2/org/a/one/1.0/one-1.0.jar"
    there.parent.mkdir(parents=True)
    there.write_bytes(b"first")
    cache(tmp_path, repository).classpath()
    assert repository.served == ["two-2.0.jar"]


def test_what_was_verified_is_not_read_again(
    tmp_path: Path, repository: Repository, monkeypatch: pytest.MonkeyPatch
) -> None:
    cache(tmp_path, repository).classpath()
    monkeypatch.setattr(kafka_jars, "sha256_of", lambda file: pytest.fail(f"{file} was read"))
    cache(tmp_path, repository).classpath()


@pytest.mark.parametrize("damage", [b"", b"[1]", b"{", b'{"org/a/one/1.0/one-1.0.jar": 1}'])
def test_a_damaged_memory_of_checks_only_means_checking_again(
    tmp_path: Path, repository: Repository, damage: bytes
) -> None:
    cache(tmp_path, repository).classpath()
    (tmp_path / "home" / "seen.json").write_bytes(damage)
    cache(tmp_path, repository).classpath()
    assert len(repository.served) == 2


def test_a_broken_connection_is_tried_again_but_not_for_ever(tmp_path: Path, repository: Repository) -> None:
    repository.failures = 2
    cache(tmp_path, repository).classpath()
    repository.failures = 100
    with pytest.raises(UnreachableError, match="reset by peer"):
        cache(tmp_path / "other", repository).classpath()


def test_the_pins_are_one_kafka_with_one_client_library_of_its_release() -> None:
    pins = read_pins()
    version = kafka_version(pins)
    assert version.startswith("4.")
    kafka = {
        jar.coordinates[1]: jar.coordinates[2] for jar in pins if jar.coordinates[0] == "org.apache.kafka"
    }
    assert set(kafka.values()) == {version}
    assert "kafka-clients" in kafka
    assert len({jar.coordinates[:2] for jar in pins}) == len(pins)
    assert all(len(bytes.fromhex(jar.sha256)) == 32 for jar in pins)


def test_the_maven_cache_is_the_users_own_unless_he_says_otherwise(tmp_path: Path) -> None:
    assert maven_cache({"M2_REPO": str(tmp_path)}) == tmp_path
    assert maven_cache({}) == Path.home() / ".m2" / "repository"


@pytest.mark.parametrize("terminal", [False, True])
def test_a_download_says_how_far_it_is(terminal: bool) -> None:
    out = io.StringIO()
    report = DownloadReport("Kafka 4", Console(file=out, force_terminal=terminal, width=100, highlight=False))
    report.begin(12)
    for _ in range(12):
        report.received(500_000)
        report.finished(Jar(PurePosixPath("a/b/1/b-1.jar"), ""))
    report.end()
    assert "12 of 12 jars downloaded, 6.0 MB" in out.getvalue()
    assert terminal or "10/12 jars" in out.getvalue()
