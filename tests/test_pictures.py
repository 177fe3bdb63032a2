"""Pictures: where they may lie, and messages that are pictures and no text."""

from collections.abc import Callable
from typing import Any
from urllib.parse import parse_qs

import pytest
from flask import Flask

from smstracker.simulator import SimulatorServer
from smstracker.sms.picture_addresses import MAX_LENGTH, find_address_problem, split_addresses
from smstracker.sms.picture_pages import describe_page
from tests.clients import Person, words
from tests.signing import sid
from tests.twilio_stub import created, wire

A, B = "https://a.example/1.jpg", "https://b.example/2.jpg"
MakeApp = Callable[..., Flask]


@pytest.mark.parametrize(
    "typed",
    [
        *(f"{A}{between}{B}" for between in ("\n", " ", "\t", "\u00a0", ", ", "; ", " ,", " , ")),
        *(f"{A}{between}{B}" for between in (",\n", "\n\n;", ";\n")),
        f"\n  {A}  \n {B} ",
    ],
)
def test_addresses_are_split_where_white_space_parts_them(typed: str) -> None:
    assert [address for _line, address in split_addresses(typed)] == [A, B]


@pytest.mark.parametrize(
    "address",
    [
        A,
        "HTTPS://A.Example:8443/a,b;c/w_300,h_200/x.jpg?size=1,2&of=https://b.example/2.jpg",
        "https://res.example.com/fetch/w_300/https://b.example/2.jpg",
        "https://xn--bcher-kva.example/gr%C3%B6%C3%9Fe.jpg?a=(1)~'!$&*+",
        "https://93.184.215.14/x.gif",
        "https://[2606:4700:4700::1111]/x.gif",
        "https://a.example./x",
        "https://a.example/" + "x" * (MAX_LENGTH - 18),
    ],
)
def test_address_that_twilio_may_fetch_stays_as_it_is(address: str) -> None:
    assert split_addresses(address) == [(1, address)]
    assert find_address_problem(address) is None


@pytest.mark.parametrize(
    ("address", "problem"),
    [
        (f"{A},{B}", "looks like two addresses joined by a comma"),
        (f"{A};http://b.example/2.jpg", "looks like two addresses joined by a semicolon"),
        (f"{A}|{B}", "looks like two addresses joined by a vertical bar. Put each on a line of"),
        (f"{A}|b.example/2.jpg", "has “|” in it. Write it as %7C, or put each address on a line"),
        (f"{A}|", "ends with a vertical bar"),
        (f"{A}{B}", "without a space between. Put each on a line of its own; if it is one, write"),
        *((text, "is in brackets or quotes") for text in (f'["{A}", "{B}"]', f"[{A}]", "[", "]")),
        *((f"{mark}{A}", "is in brackets or quotes") for mark in "({\"'`“„«"),
        (f"•{A}", "must begin with https://"),
        ("//host/x.png", "lacks “https:” before its //, as in https://example.org/picture.jpg"),
        (f"{A},", "ends with a comma"),
        ("http://a.example/1.jpg", "must begin with https://, not http://"),
        ("ftp://a.example/1.jpg", "must begin with https://, not ftp://"),
        ("a.example/1.jpg", "must begin with https://, as in https://example.org/picture.jpg"),
        ("https:/a.example/1.jpg", "must begin with https://"),
        ("C:\\pictures\\1.jpg", "“\\” in it"),
        ("file:///home/me/1.jpg", "is a file on your own device"),
        ("C:/pictures/1.jpg", "is a file on your own device"),
        ("data:image/png;base64,AAAA", "is a file on your own device"),
        ("https://", "has no host name"),
        ("https:///1.jpg", "has no host name"),
        ("https://:443/1.jpg", "has no host name"),
        ("https://a.example/my picture.jpg", "has a blank in it"),
        ("https://a.example/\u200b1.jpg", "cannot be seen (zero width space, U+200B)"),
        ("https://a.example/\x001.jpg", "cannot be seen (a control character, U+0000)"),
        ("<https://a.example/1.jpg>", "has “<” in it"),
        ("https://a.example/" + "x" * MAX_LENGTH, "has 2,066 characters"),
        ("https://me:secret@a.example/1.jpg", "has a user name or password"),
        ("https://me@a.example/1.jpg", "has a user name or password"),
        ("https://a.example/photo#1.jpg", "has a “#” in it"),
        ("https://a.example:x/", "has a port that is no number"),
        ("https://a.example:99999/", "has a port that is no number"),
        ("https://a.example:0/", "has a port that is no number"),
        ("https://my_pictures.example/1.jpg", "has an underscore in its host name"),
        ("https://bücher.example/1.jpg", "Write it as xn--bcher-kva.example."),
        ("https://straße.example/1.jpg", "Write it as xn--strae-oqa.example."),
        ("https://\u2603\u2603.\u00ad/1.jpg", "cannot be seen"),
        *(
            (f"https://{host}/1.jpg", "leads into a private network")
            for host in (
                *("localhost", "pictures.localhost", "nas", "nas.local", "x.internal"),
                *("127.0.0.1", "10.0.0.8", "192.168.1.5", "172.16.0.1", "169.254.169.254"),
                *("0.0.0.0", "100.64.0.1", "[::1]", "[fe80::1]", "[fd00::1]", "[::ffff:10.0.0.8]"),
            )
        ),
        *(
            (f"https://{host}/1.jpg", "has no valid host name")
            for host in (
                *("127.1", "2130706433", "0x7f.0.0.1", "256.1.1.1", "[::1", "-a.example"),
                *(
                    "a..example",
                    "a%20b.example",
                    "x" * 64 + ".example",
                    "a.example..",
                    "a,b.example",
                ),
            )
        ),
    ],
)
def test_each_fault_of_an_address_has_its_sentence(address: str, problem: str) -> None:
    assert problem in str(find_address_problem(address))


def test_every_line_with_a_fault_is_named(alice: Person) -> None:
    answer = alice.send(media_urls=f"{A}\r\nhttp://b.example/2.jpg\r\n\r\nhttps://nas/3.jpg")
    assert answer.status_code == 422
    assert "Line 2 must begin with https://, not http://." in words(answer.text)
    assert "Line 4 leads into a private network" in words(answer.text)
    assert alice.messages() == []


def test_addresses_joined_on_one_line_are_sent_as_two(make_app: MakeApp) -> None:
    with wire(created(sid(1))) as twilio:
        alice = Person.signed_in(make_app(TWILIO_API_BASE_URL=twilio.url), "alice@example.org")
        alice.send(media_urls=f"{A}, {B}")
        assert parse_qs(twilio.requests[0])["MediaUrl"] == [A, B]


def test_neither_text_nor_picture_is_refused(alice: Person) -> None:
    answer = alice.send(body=" \r\n ", media_urls=" \r\n ")
    assert answer.status_code == 422
    assert "Type a text, or add the address of a picture." in words(answer.text)


def test_bad_picture_without_text_is_told_once(alice: Person) -> None:
    page = words(alice.send(body="", media_urls="nonsense").text)
    assert "Line 1 must begin with" in page
    assert "Type a text" not in page


@pytest.mark.parametrize("body", ["", " \r\n", "\u200b\u3164"])
def test_picture_without_text_asks_twilio_for_no_text(make_app: MakeApp, body: str) -> None:
    with wire(created(sid(1))) as twilio:
        alice = Person.signed_in(make_app(TWILIO_API_BASE_URL=twilio.url), "alice@example.org")
        assert alice.send(body=body, media_urls=A).status_code == 303
        asked = parse_qs(twilio.requests[0], keep_blank_values=True)
    assert asked["MediaUrl"] == [A]
    assert "Body" not in asked
    assert alice.message().body == ""


def test_picture_without_text_is_delivered_and_shown(
    live: Flask, simulator: SimulatorServer
) -> None:
    alice = Person.signed_in(live, "alice@example.org")
    alice.send(recipient="+15005550006", body="", media_urls=A)
    assert simulator.ledger.wait_until_idle(30)
    message = alice.message()
    assert message.status == "delivered"
    page = words(alice.get(f"/messages/{message.public_id}").text)
    assert "Text none Pictures https://a.example/1.jpg" in page
    assert "1 picture without text" in words(alice.get("/messages").text)
    listed = alice.get("/messages.json").json["messages"][0]  # type: ignore[index]
    assert (listed["text"], listed["media_urls"]) == ("", [A])
    assert "1 picture" not in words(alice.get("/messages?text=picture").text)


def test_picture_without_text_is_sent_again(live: Flask, simulator: SimulatorServer) -> None:
    alice = Person.signed_in(live, "alice@example.org")
    first = alice.has_message(
        recipient="+15005550006",
        recipient_reversed="60005550051",
        body="",
        media_urls=[A, B],
        status="unreached",
        simulated=False,
    )
    path = f"/messages/{first.public_id}/again"
    assert "Text none Pictures 2 Type MMS" in words(alice.get(path).text)
    assert alice.post(path).status_code == 303
    [made] = simulator.ledger.messages()
    assert (made.body, made.media) == ("", (A, B))


def note(person: Person, **typed: Any) -> str:
    return words(person.client.post("/messages/check", data=person.compose(**typed)).text)


def test_same_picture_lately_is_told_and_no_other(alice: Person) -> None:
    alice.has_message(body="", media_urls=[B])
    alice.has_message(body="", media_urls=[A])
    assert "You sent this picture to this number" in note(alice, body=" ", media_urls=f"{B}\r\n")
    assert "You sent" not in note(alice, body="", media_urls="https://c.example/3.jpg")
    assert "You sent" not in note(alice, body="")
    assert "You sent" not in note(alice, body="Text", media_urls=A)


@pytest.mark.parametrize(
    ("address", "service"),
    [
        ("https://drive.google.com/file/d/1AbC/view?usp=sharing", "Google Drive"),
        ("https://drive.google.com/open?id=1AbC", "Google Drive"),
        ("https://www.dropbox.com/scl/fi/x/cat.jpg?rlkey=y&dl=0", "Dropbox"),
        ("https://www.dropbox.com/s/x/cat.jpg", "Dropbox"),
        ("https://onedrive.live.com/?id=1&cid=2", "OneDrive"),
        ("https://1drv.ms/i/s!Abc", "OneDrive"),
        ("https://contoso-my.sharepoint.com/:i:/g/personal/me/Abc?e=x", "SharePoint"),
        ("https://www.icloud.com/sharedalbum/B0abc", "iCloud"),
        ("https://share.icloud.com/photos/0abc", "iCloud"),
        ("https://photos.google.com/share/AF1Q/photo/AF1Q", "Google Photos"),
        ("https://photos.app.goo.gl/abc", "Google Photos"),
        ("https://app.box.com/s/abc", "Box"),
        ("https://imgur.com/a/abc", "Imgur"),
        ("https://github.com/a/b/blob/main/cat.png", "GitHub"),
        ("https://commons.wikimedia.org/wiki/File:Cat.jpg", "Wikipedia"),
        ("https://drive.google.com/a/example.org/file/d/1AbC/view", "Google Drive"),
        ("https://drive.google.com/u/0/open?id=1AbC", "Google Drive"),
        ("https://docs.google.com/drawings/d/1AbC/edit", "Google Docs"),
        ("https://docs.google.com/spreadsheets/d/e/1AbC/pubhtml", "Google Docs"),
        ("https://goo.gl/photos/abc", "Google Photos"),
        ("https://www.google.com/imgres?imgurl=https%3A%2F%2Fa.example%2Fcat.jpg", "Google Images"),
        ("https://www.google.co.uk/search?q=cat&tbm=isch", "Google Images"),
        ("https://i.imgur.com/abc.gifv", "Imgur"),
        ("https://imgur.com/abc.gifv", "Imgur"),
        ("https://imgbb.com/abc", "ImgBB"),
        ("https://gyazo.com/0123456789abcdef", "Gyazo"),
        ("https://prnt.sc/abc", "Lightshot"),
        ("https://unsplash.com/photos/a-cat-abc", "Unsplash"),
        ("https://unsplash.com/de/fotos/eine-katze-abc", "Unsplash"),
        ("https://www.canva.com/design/abc/view", "Canva"),
        ("https://x.com/somebody/status/1/photo/1", "X"),
        ("https://mobile.twitter.com/somebody/status/1", "X"),
        ("https://gitlab.com/a/b/-/blob/main/cat.png", "GitLab"),
        ("https://git.example.org/a/b/c/-/blob/main/cat.png", "GitLab"),
    ],
)
def test_page_around_a_picture_is_hinted_at_by_its_service(address: str, service: str) -> None:
    assert find_address_problem(address) is None
    assert f"a page of {service}, not a picture" in str(describe_page(address))


@pytest.mark.parametrize(
    "address",
    [
        A,
        "https://drive.google.com/uc?export=download&id=1AbC",
        "https://www.dropbox.com/scl/fi/x/cat.jpg?rlkey=y&raw=1",
        "https://www.dropbox.com/s/x/cat.jpg?dl=1",
        "https://dl.dropboxusercontent.com/s/x/cat.jpg",
        "https://contoso-my.sharepoint.com/:i:/g/personal/me/Abc?download=1",
        "https://onedrive.live.com/download?resid=1",
        "https://lh3.googleusercontent.com/abc",
        "https://i.imgur.com/abc.jpg",
        "https://imgur.com/abc.jpg",
        "https://github.com/a/b/raw/main/cat.png",
        "https://github.com/a/b/blob/main/cat.png?raw=true",
        "https://upload.wikimedia.org/wikipedia/commons/a/a0/Cat.jpg",
        "https://dropbox.com.example.org/s/x/cat.jpg?dl=0",
        "https://www.dropbox.com/s/raw/x/cat.jpg",
        "https://www.dropbox.com/s/dl/x/cat.jpg",
        "https://docs.google.com/uc?id=1AbC",
        "https://docs.google.com/a/example.org/uc?id=1AbC",
        "https://docs.google.com/drawings/d/1AbC/pub?w=960&h=720",
        "https://docs.google.com/drawings/d/1AbC/export/png",
        "https://docs.google.com/presentation/d/1AbC/export?format=png",
        "https://docs.google.com/spreadsheets/d/e/1AbC/pubchart?oid=1&format=image",
        "https://drive.google.com/thumbnail?id=1AbC",
        "https://i.gyazo.com/abc.png",
        "https://gyazo.com/abc.png",
        "https://gyazo.com/abc/raw",
        "https://image.prnt.sc/image/abc.png",
        "https://images.unsplash.com/photo-1?w=800",
        "https://unsplash.com/photos/abc/download?force=true",
        "https://pbs.twimg.com/media/abc.jpg",
        "https://gitlab.com/a/b/-/raw/main/cat.png",
        "https://i.ibb.co/abc/cat.jpg",
        "https://commons.wikimedia.org/wiki/Special:FilePath/Cat.jpg",
        "https://de.wikipedia.org/wiki/Spezial:Dateipfad/Cat.jpg",
        "https://commons.wikimedia.org/wiki/Special%3ARedirect/file/Cat.jpg",
    ],
)
def test_address_of_the_file_itself_is_not_hinted_at(address: str) -> None:
    assert describe_page(address) is None


def test_hint_at_a_page_comes_before_sending_and_keeps_nobody_from_it(alice: Person) -> None:
    page = "https://www.dropbox.com/s/x/cat.jpg?dl=0"
    told = note(alice, recipient="", media_urls=f"{A}\r\n{page}")
    assert "Picture line 2 looks like a page of Dropbox, not a picture." in told
    assert "with raw=1 in place of dl=0." in told
    assert "looks like a page of Dropbox" in words(alice.send(media_urls=page, check="1").text)
    assert alice.send(media_urls=page).status_code == 303


def test_hint_at_a_page_is_given_before_it_is_sent_again(alice: Person) -> None:
    first = alice.has_message(
        media_urls=["https://photos.app.goo.gl/abc"], status="failed", error_code="30008"
    )
    again = words(alice.get(f"/messages/{first.public_id}/again").text)
    assert "Picture 1 looks like a page of Google Photos, not a picture." in again
