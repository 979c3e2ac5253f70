"""Fetching from a site on this machine that plays the FLAME site and Google Drive. No test needs the internet."""

import hashlib
import io
import os
import threading
import time
import zipfile
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pooch.core
import pytest

from deca_cli.assets import catalogue
from deca_cli.assets.catalogue import Asset
from deca_cli.assets.downloaders import Credentials, confirmation
from deca_cli.assets.fetch import Fetcher
from deca_cli.assets.store import accept_licences, is_here, path_of
from deca_cli.assets.transfer import Network
from deca_cli.errors import ModelError
from local_site import Answer, Asked, Route, Site, page, running_proxy, running_site

SECRET = "geheim&=%s ü"  # noqa: S105 - of nobody


@pytest.fixture(scope="module")
def running(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    with running_site(tmp_path_factory.mktemp("site")) as site:
        yield site


@pytest.fixture
def site(running: Site, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Site:
    """The site without routes, trusted; an empty cache; no waiting between attempts."""
    monkeypatch.setenv("DECA_HOME", str(tmp_path / "home"))
    monkeypatch.setenv("REQUESTS_CA_BUNDLE", str(running.authority))
    for name in ("HTTPS_PROXY", "https_proxy", "ALL_PROXY", "all_proxy", "NO_PROXY", "no_proxy"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setattr(pooch.core, "time", SimpleNamespace(sleep=lambda _: None))
    running.routes.clear()
    running.asked.clear()
    accept_licences(["flame", "deca", "vggface2", "flame-texture"])
    return running


def fetcher(said: list[str] | None = None, **options: object) -> Fetcher:
    network = Network(timeout_s=(5.0, float(options.pop("patience", 5.0))), **options)
    say = (said if said is not None else []).append
    return Fetcher(network, lambda: Credentials("me@example.org", SECRET), say, retries=2)


def small_asset(site: Site, content: bytes, path: str = "/file") -> Asset:
    """An asset with a known check sum behind an ordinary address."""
    return replace(
        catalogue.DISPLACEMENT,
        addresses=(site.address + path,),
        size=len(content),
        sha256=hashlib.sha256(content).hexdigest(),
    )


def displacement(seed: int = 0, scale: float = 1e-3) -> bytes:
    stream = io.BytesIO()
    np.save(stream, np.random.default_rng(seed).uniform(-scale, scale, (256, 256)))
    return stream.getvalue()


def flame_zip(content: bytes, name: str = "generic_model.pkl") -> bytes:
    stream = io.BytesIO()
    with zipfile.ZipFile(stream, "w") as archive:
        archive.writestr(name, content)
        archive.writestr("Readme.txt", "hello")
    return stream.getvalue()


def in_turn(*answers: Answer) -> Route:
    """The answers one after the other, the last one for ever."""
    left = list(answers)
    return lambda _: left.pop(0) if len(left) > 1 else left[0]


CONTENT = displacement()


# --------------------------------------------------------------------------- ordinary addresses


def test_a_file_arrives_once_and_is_kept(site: Site):
    site.routes["/file"] = lambda _: Answer(CONTENT)
    asset = small_asset(site, CONTENT)
    assert fetcher().fetch(asset).read_bytes() == CONTENT
    fetcher().fetch(asset)
    assert len(site.asked) == 1
    assert not [*path_of(asset).parent.parent.glob("downloads/*")]


def test_a_broken_transfer_goes_on_where_it_stopped(site: Site):
    site.routes["/file"] = in_turn(Answer(CONTENT, cut_after=196_608), Answer(CONTENT))
    assert fetcher().fetch(small_asset(site, CONTENT)).read_bytes() == CONTENT
    assert [asked.range_start for asked in site.asked] == [0, 196_608]


def test_the_next_run_goes_on_too(site: Site):
    site.routes["/file"] = lambda _: Answer(CONTENT, cut_after=65_536)
    asset = small_asset(site, CONTENT)
    with pytest.raises(ModelError, match=r"only \d+ of \d+ bytes|broke off"):
        fetcher().fetch(asset)
    site.asked.clear()
    site.routes["/file"] = lambda _: Answer(CONTENT)
    assert fetcher().fetch(asset).read_bytes() == CONTENT
    assert site.asked[0].range_start == 3 * 65_536


def test_a_site_that_cannot_continue_starts_anew(site: Site):
    site.routes["/file"] = in_turn(Answer(CONTENT, cut_after=196_608), Answer(CONTENT, ranges=False))
    assert fetcher().fetch(small_asset(site, CONTENT)).read_bytes() == CONTENT


def test_what_is_left_of_another_version_is_thrown_away(site: Site):
    asset = small_asset(site, CONTENT)
    part = path_of(asset).parent.parent / "downloads" / f".{asset.file}.part"
    part.parent.mkdir(parents=True)
    part.write_bytes(b"x" * (len(CONTENT) + 10))  # more than there is: the site answers 416
    site.routes["/file"] = lambda _: Answer(CONTENT)
    assert fetcher().fetch(asset).read_bytes() == CONTENT


def test_a_slow_site_is_left_and_asked_again(site: Site):
    site.routes["/file"] = in_turn(Answer(CONTENT, pause_s=1.0), Answer(CONTENT))
    assert fetcher(patience=0.3).fetch(small_asset(site, CONTENT)).read_bytes() == CONTENT
    assert len(site.asked) == 2


def test_a_site_that_never_answers_is_told_apart(site: Site):
    site.routes["/file"] = lambda _: Answer(CONTENT, pause_s=0.6)
    with pytest.raises(
        ModelError, match=r"localhost: it does not answer in time.*goes on where it stopped.*--from"
    ):
        replace(fetcher(patience=0.1), retries=0).fetch(small_asset(site, CONTENT))


def test_a_busy_site_is_asked_again(site: Site):
    site.routes["/file"] = in_turn(Answer(b"later", 503, "text/plain"), Answer(CONTENT))
    assert fetcher().fetch(small_asset(site, CONTENT)).read_bytes() == CONTENT


def test_a_wrong_check_sum_is_never_installed(site: Site):
    site.routes["/file"] = lambda _: Answer(displacement(seed=1))
    asset = small_asset(site, CONTENT)
    with pytest.raises(ModelError, match="another content for fixed-displacement than expected"):
        fetcher().fetch(asset)
    assert len(site.asked) == 3  # it tried again
    assert not is_here(asset)
    site.routes["/file"] = lambda _: Answer(CONTENT)
    assert fetcher().fetch(asset).read_bytes() == CONTENT


def test_a_file_with_another_git_name_or_digest_is_refused(site: Site):
    site.routes["/file"] = lambda _: Answer(CONTENT)
    blob = hashlib.sha1(b"blob %d\0" % len(CONTENT) + CONTENT).hexdigest()  # noqa: S324 - git's own
    right = replace(small_asset(site, CONTENT), sha256=None, git_blob=blob)
    assert fetcher().fetch(right).read_bytes() == CONTENT
    path_of(right).unlink()
    for wrong in (replace(right, git_blob="0" * 40), replace(right, git_blob=None, sha256="0123")):
        with pytest.raises(ModelError, match=r"not the published fixed_displacement_256.npy"):
            fetcher().fetch(wrong)
        assert not is_here(wrong)


def test_a_page_or_a_missing_file_says_what_to_do(site: Site):
    asset = small_asset(site, CONTENT)
    with pytest.raises(ModelError, match=r"no longer .404."):
        fetcher().fetch(asset)
    site.routes["/file"] = lambda _: page("Please log in")
    with pytest.raises(ModelError, match=r"login page.*--from FILE"):
        fetcher().fetch(asset)
    # A page that claims to be a file.
    site.routes["/file"] = lambda _: Answer(b"<!DOCTYPE html><html>Sign in</html>")
    with pytest.raises(ModelError, match="login page"):
        fetcher().fetch(asset)
    assert not is_here(asset)


def test_the_second_address_is_tried(site: Site):
    site.routes["/file"] = lambda _: Answer(CONTENT)
    asset = small_asset(site, CONTENT)
    broken = replace(asset, addresses=("https://localhost:1/file", *asset.addresses))
    assert replace(fetcher(), retries=0).fetch(broken).read_bytes() == CONTENT


def test_a_certificate_that_nobody_vouches_for_is_refused(site: Site, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.delenv("REQUESTS_CA_BUNDLE")
    site.routes["/file"] = lambda _: Answer(CONTENT)
    with pytest.raises(ModelError, match=r"its certificate cannot be verified.*REQUESTS_CA_BUNDLE"):
        replace(fetcher(), retries=0).fetch(small_asset(site, CONTENT))
    assert site.asked == []


@pytest.mark.parametrize("status", [302, 307])
def test_unencrypted_addresses_are_refused(site: Site, status: int):
    asset = replace(small_asset(site, CONTENT), addresses=("http://localhost/file",))
    with pytest.raises(ModelError, match="HTTPS, which is refused"):
        fetcher().fetch(asset)
    flame = replace(catalogue.FLAME, addresses=(site.address + "/flame",))
    target = {"Location": "http://localhost/elsewhere"}
    site.routes["/flame"] = lambda _: Answer(status=status, headers=target)
    with pytest.raises(ModelError, match="HTTPS, which is refused"):
        fetcher().fetch(flame)


@pytest.mark.parametrize("how", ["option", "environment", "option before environment"])
def test_a_proxy_is_used(site: Site, monkeypatch: pytest.MonkeyPatch, how: str):
    site.routes["/file"] = lambda _: Answer(CONTENT)
    with running_proxy() as (address, asked):
        if how != "option":
            monkeypatch.setenv("HTTPS_PROXY", address if how == "environment" else "http://localhost:1")
        used = fetcher() if how == "environment" else fetcher(proxy=address)
        assert used.fetch(small_asset(site, CONTENT)).read_bytes() == CONTENT
    assert asked == [site.address.removeprefix("https://")]


def test_a_proxy_that_is_not_there_is_named_without_its_password(site: Site):
    asset = small_asset(site, CONTENT)
    proxied = replace(fetcher(proxy=f"http://me:{'pass'}word@localhost:1"), retries=0)
    with pytest.raises(ModelError, match="the proxy cannot be reached") as raised:
        proxied.fetch(asset)
    assert "password" not in str(raised.value)
    assert site.asked == []


def test_two_processes_fetch_a_file_once(site: Site):
    """Here two threads, which the lock keeps apart just as well."""
    site.routes["/file"] = lambda _: Answer(CONTENT, pause_s=0.25)
    asset = small_asset(site, CONTENT)
    said: list[str] = []
    threads = [threading.Thread(target=lambda: fetcher(said).fetch(asset)) for _ in range(2)]
    for thread in threads:
        thread.start()
        time.sleep(0.05)
    for thread in threads:
        thread.join(timeout=20)
    assert len(site.asked) == 1
    assert said == ["Another deca works on fixed-displacement; waiting for it ..."]


def test_progress_is_reported_from_where_it_goes_on(site: Site):
    site.routes["/file"] = in_turn(Answer(CONTENT, cut_after=196_608), Answer(CONTENT))
    bars: list[tuple[str, int | None, int]] = []

    class Bar:
        def __init__(self, *given: object) -> None:
            bars.append(given)
            self.seen = 0

        def update(self, n: float) -> None:
            self.seen += n

        def close(self) -> None:
            bars[-1] = (*bars[-1], self.seen)

    fetcher(bar=Bar).fetch(small_asset(site, CONTENT))
    size = len(CONTENT)
    assert bars == [
        ("fixed_displacement_256.npy", size, 0, 196_608),
        ("fixed_displacement_256.npy", size, 196_608, size - 196_608),
    ]


def test_nothing_is_fetched_before_its_licence_is_accepted(
    site: Site, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setenv("DECA_HOME", str(tmp_path / "other"))
    site.routes["/file"] = lambda _: Answer(CONTENT)
    with pytest.raises(ModelError, match="--accept-licence deca"):
        fetcher().fetch(small_asset(site, CONTENT))
    assert site.asked == []


def test_what_nobody_may_pass_on_is_explained(site: Site):
    accept_licences(["bfm-albedo"])
    with pytest.raises(ModelError, match=r"BFM_to_FLAME.*--from FILE.*works without it"):
        fetcher().fetch(catalogue.ALBEDO)


# --------------------------------------------------------------------------- the FLAME site


def members_only(content: bytes) -> Route:
    def route(asked: Asked) -> Answer:
        if asked.form != {"username": "me@example.org", "password": SECRET}:
            return page("Username/Password Authentication Failed.", 401)
        return Answer(content, kind="application/zip")

    return route


@pytest.fixture
def flame(site: Site, flame_pickle: bytes) -> tuple[Asset, bytes]:
    asset = replace(catalogue.FLAME, addresses=(site.address + "/flame?domain=flame&sfile=FLAME2020.zip",))
    return asset, flame_zip(flame_pickle)


@pytest.fixture(scope="module")
def flame_pickle() -> bytes:
    """As much of a FLAME model as is looked at when it is recognised."""
    import pickle

    model = {"v_template": np.zeros((5023, 3)), "shapedirs": np.zeros((1, 3, 400)), "maker": "chumpy"}
    return pickle.dumps(model, 2)


def test_the_flame_form_gets_the_zip_and_the_model_is_taken_out(
    site: Site, flame: tuple[Asset, bytes], flame_pickle: bytes
):
    asset, archive = flame
    site.routes["/flame"] = members_only(archive)
    assert fetcher().fetch(asset).read_bytes() == flame_pickle
    assert site.asked[0].method == "POST"
    assert site.asked[0].query["sfile"] == "FLAME2020.zip"
    assert not [*path_of(asset).parent.parent.rglob("*.zip")]


def test_a_broken_flame_transfer_goes_on(site: Site, flame: tuple[Asset, bytes], flame_pickle: bytes):
    asset, archive = flame
    site.routes["/flame"] = in_turn(Answer(archive, cut_after=65536), Answer(archive))
    assert fetcher().fetch(asset).read_bytes() == flame_pickle
    assert [asked.range_start for asked in site.asked] == [0, 65536]
    assert all(asked.form["password"] == SECRET for asked in site.asked)


REFUSALS: dict[str, tuple[Callable[[], Answer], str]] = {
    "wrong password": (
        lambda: page("Username/Password Authentication Failed.", 401),
        "does not accept the user name",
    ),
    "wrong password, status 200": (
        lambda: page("Wrong username or password"),
        "does not accept the user name",
    ),
    "not activated": (
        lambda: page("Your account is not activated yet", 403),
        "not activated yet: open the link",
    ),
    "a login page": (lambda: page("Welcome to FLAME. Please choose."), "a web page instead of the file"),
    "a page as a zip": (lambda: Answer(b"<html>Log in</html>", kind="application/zip"), "a web page instead"),
    "a truncated zip": (lambda: Answer(flame_zip(os.urandom(5000))[:3000]), "ends too early"),
}


@pytest.mark.parametrize("name", REFUSALS)
def test_what_the_flame_site_says_is_told_apart(site: Site, flame: tuple[Asset, bytes], name: str):
    answer, expected = REFUSALS[name]
    asset, _ = flame
    site.routes["/flame"] = lambda _: answer()
    with pytest.raises(ModelError, match=expected) as raised:
        fetcher().fetch(asset)
    assert len(site.asked) == 1  # a refusal is not repeated
    assert not is_here(asset)
    assert SECRET not in str(raised.value)


def test_the_password_goes_nowhere_but_into_the_form(
    site: Site, flame: tuple[Asset, bytes], capfd: pytest.CaptureFixture, caplog: pytest.LogCaptureFixture
):
    asset, archive = flame
    caplog.set_level("DEBUG")
    site.routes["/flame"] = in_turn(
        Answer(status=302, headers={"Location": site.address + "/zip"}), Answer(b"", 500, "text/plain")
    )
    site.routes["/zip"] = lambda _: Answer(archive)
    fetcher().fetch(asset)
    redirected = [asked for asked in site.asked if asked.path == "/zip"]
    assert redirected[0].method == "GET"
    assert redirected[0].form == {}
    path_of(asset).unlink()
    with pytest.raises(ModelError) as raised:
        fetcher().fetch(asset)
    shown = capfd.readouterr()
    everywhere = "".join(
        file.read_text("latin1") for file in path_of(asset).parent.parent.rglob("*") if file.is_file()
    )
    for text in (
        str(raised.value),
        repr(Credentials("a", SECRET)),
        shown.out,
        shown.err,
        caplog.text,
        everywhere,
    ):
        assert "geheim" not in text


def test_a_flame_of_another_year_is_refused_with_the_cure(
    site: Site, flame: tuple[Asset, bytes], flame_pickle: bytes
):
    asset, _ = flame
    site.routes["/flame"] = lambda _: Answer(flame_zip(flame_pickle, "flame2023.pkl"))
    with pytest.raises(ModelError, match=r"FLAME 2023.*FLAME2020.zip"):
        fetcher().fetch(asset)
    replace(fetcher(), any_flame=True).fetch(asset)
    assert is_here(asset)


# --------------------------------------------------------------------------- Google Drive


def warning(site: Site) -> Answer:
    fields = "".join(
        f'<input type="hidden" name="{name}" value="{value}">'
        for name, value in {"id": "abc", "export": "download", "confirm": "t", "uuid": "1-2"}.items()
    )
    return page(
        f'Google Drive - Virus scan warning <form id="download-form" action="{site.address}/confirmed" method="get">'
        f"{fields}</form>"
    )


@pytest.fixture
def drive(site: Site) -> Asset:
    return replace(small_asset(site, CONTENT, "/download?id=abc&export=download"), source=catalogue.DRIVE)


def test_the_page_about_large_files_is_confirmed(site: Site, drive: Asset):
    site.routes["/download"] = lambda _: warning(site)
    site.routes["/confirmed"] = in_turn(Answer(CONTENT, cut_after=131_072), Answer(CONTENT))
    assert fetcher().fetch(drive).read_bytes() == CONTENT
    last = site.asked[-1]
    assert last.query == {"id": "abc", "export": "download", "confirm": "t", "uuid": "1-2"}
    assert last.range_start == 131_072


def test_a_small_file_needs_no_confirmation(site: Site, drive: Asset):
    site.routes["/download"] = lambda _: Answer(CONTENT)
    assert fetcher().fetch(drive).read_bytes() == CONTENT


def test_a_used_up_quota_is_told_apart(site: Site, drive: Asset):
    site.routes["/download"] = lambda _: page("Google Drive - Quota exceeded")
    with pytest.raises(ModelError, match=r"too many people.*tomorrow"):
        fetcher().fetch(drive)


def test_the_older_page_with_a_link_is_understood_and_other_sites_are_refused():
    link = (
        '<a id="uc-download-link" href="/uc?export=download&amp;confirm=xY1_&amp;id=abc">Download anyway</a>'
    )
    address = "https://drive.google.com/uc?id=abc"
    assert confirmation(link, address) == "https://drive.google.com/uc?export=download&confirm=xY1_&id=abc"
    assert confirmation("<p>nothing</p>", address) is None
    evil = '<form action="https://example.org/x"><input type="hidden" name="confirm" value="t"></form>'
    with pytest.raises(ModelError, match=r"leads to example\.org, which is refused"):
        confirmation(evil, address)
