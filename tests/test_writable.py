"""Where a file is written when its folder takes none, as on a hub that shares the course: `_writable`.

Root may write everywhere, so a folder that takes none is here one below a file, for every user on every system. What
follows for CIFAR-10: tests/test_fetching.py; for files of the project: tests/test_address.py.
"""
import os
import tempfile
from pathlib import Path

import pytest

import googlenet_utils as gu


@pytest.fixture(autouse=True)
def temporary(tmp_path, home, monkeypatch):
    """The system's temporary folder, the test's own; `home` is the home folder."""
    (tmp_path / "temporary").mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path / "temporary"))
    return tmp_path / "temporary"


@pytest.fixture
def shared(tmp_path):
    """A folder that cannot be made."""
    (tmp_path / "file").write_bytes(b"")
    return tmp_path / "file" / "course"


def below(top, path):
    """Where the same names stand below a home or a temporary folder."""
    return top / "googlenet-notebooks" / Path(*path.parts[1:])


def test_what_can_be_written_stays_where_it_is(tmp_path, capsys):
    path = tmp_path / "new" / "checkpoints" / "run.pt"
    assert gu._writable(path) == gu._writable(str(path)) == path
    assert list(path.parent.iterdir()) == []                # the folder was made; nothing is left of the trial
    assert capsys.readouterr().out == ""


def test_a_relative_path_stays_relative_to_where_one_is(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    assert (gu._writable("checkpoints/run.pt"), gu._writable("run.pt")) == (Path("checkpoints/run.pt"), Path("run.pt"))
    assert (tmp_path / "checkpoints").is_dir()
    assert capsys.readouterr().out == ""


def test_a_tilde_is_the_home_folder(tmp_path, home, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    assert gu._writable("~/checkpoints/run.pt") == home / "checkpoints" / "run.pt"
    assert not (tmp_path / "~").exists()
    assert capsys.readouterr().out == ""


def test_the_home_folder_takes_the_place_of_a_folder_that_takes_no_file_and_it_is_said_once(shared, home, capsys):
    places = [gu._writable(shared / name) for name in ("run.pt", "run.pt", "other.pt")]
    assert places == [below(home, shared / name) for name in ("run.pt", "run.pt", "other.pt")]
    assert capsys.readouterr().out == f"{shared} cannot be written: {places[0].parent} takes its place\n"
    gu._write_whole(places[0], b"weights")
    assert gu._writable(shared / "run.pt").read_bytes() == b"weights"      # where the next call looks for it


def test_a_read_only_folder_that_is_there_takes_no_file(guest_folder, monkeypatch):
    monkeypatch.setenv("HOME", str(guest_folder.path / "home"))
    (guest_folder.path / "home").mkdir()
    (guest_folder.path / "home").chmod(0o777)
    path = guest_folder.path / "run.pt"
    assert gu._writable(path) == path
    with guest_folder.as_guest(0o555):
        assert gu._writable(path) == below(guest_folder.path / "home", path)


def test_files_of_one_name_in_two_folders_do_not_replace_each_other(shared):
    assert len({gu._writable(shared / name / "run.pt") for name in ("monday", "tuesday")}) == 2


def test_a_path_that_climbs_stays_below_our_own_folder(tmp_path, home, shared, monkeypatch):
    monkeypatch.chdir(tmp_path)
    place = gu._writable(os.path.join(*[".."] * 40, *(shared / "run.pt").parts[1:]))
    assert home / "googlenet-notebooks" in Path(os.path.abspath(place)).parents


@pytest.mark.parametrize("where", ["below a file", "unknown"])
def test_without_a_home_that_takes_it_the_temporary_folder_does(shared, temporary, tmp_path, monkeypatch, where):
    monkeypatch.chdir(tmp_path)
    if where == "unknown":                                  # a container whose user has no name
        monkeypatch.setattr(os.path, "expanduser", lambda path: path)
    else:
        for name in ("HOME", "USERPROFILE"):
            monkeypatch.setenv(name, str(shared))
    assert gu._writable(shared / "run.pt") == below(temporary, shared / "run.pt")
    assert not (tmp_path / "~").exists()


def test_where_nothing_can_be_written_it_is_said_in_one_sentence(shared, monkeypatch, refuses):
    for name in ("HOME", "USERPROFILE"):
        monkeypatch.setenv(name, str(shared))
    monkeypatch.setattr(tempfile, "tempdir", str(shared))
    with refuses(RuntimeError, str(shared / "run.pt"), "cannot be written"):
        gu._writable(shared / "run.pt")


def test_two_processes_may_write_one_file_at_once(tmp_path, monkeypatch):
    fsync = os.fsync

    def meanwhile(descriptor):
        monkeypatch.setattr(os, "fsync", fsync)
        monkeypatch.setattr(os, "getpid", lambda: 1)
        gu._write_whole(tmp_path / "card.json", b"the other's")

    monkeypatch.setattr(os, "fsync", meanwhile)
    gu._write_whole(tmp_path / "card.json", b"ours")
    assert {path.name: path.read_bytes() for path in tmp_path.glob("card*")} == {"card.json": b"ours"}
