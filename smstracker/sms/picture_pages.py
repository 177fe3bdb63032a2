"""Recognition of addresses that show a picture in a page, as drives and galleries share. Pure."""

import re
from urllib.parse import parse_qs, urlsplit

# Name, host, path, and the query options that return the picture itself. A path of any length means
# that the host has only pages: its pictures are on other hosts, such as i.imgur.com.
_PAGES = [
    ("Google Drive", r"drive\.google\.com", r"/([au]/[^/]+/)?(file|drive|open|folderview)\b.*", ""),
    ("Google Docs", r"docs\.google\.com", r"(?!.*/(uc|pub(chart)?|export|thumbnail)(/|$)).+", ""),
    ("Google Photos", r"photos\.google\.com|photos\.app\.goo\.gl", r"/.+", ""),
    ("Google Photos", r"goo\.gl", r"/photos/.+", ""),
    ("Google Images", r"(?:www\.|images\.)?google\.[a-z.]+", r"/(?:imgres|search)", ""),
    ("Dropbox", r"(?:www\.)?dropbox\.com|db\.tt", r"/(?!s/(?:raw|dl)/).+", "raw=1 dl=1"),
    ("OneDrive", r"onedrive\.live\.com", r"/(?!download\b).*", "download=1"),
    ("OneDrive", r"1drv\.ms", r"/.+", "download=1"),
    ("SharePoint", r"[a-z0-9-]+\.sharepoint\.com", r"/:[a-z]:/.*", "download=1"),
    ("iCloud", r"(?:www\.|share\.)?icloud\.com", r"/.+", ""),
    ("Box", r"(?:[a-z0-9-]+\.)?(?:app\.)?box\.com", r"/(?:s|file|folder|v)/.*", ""),
    ("WeTransfer", r"we\.tl|(?:www\.)?wetransfer\.com", r"/.+", ""),
    ("MEGA", r"mega\.(?:nz|io)", r"/.+", ""),
    ("Imgur", r"(?:www\.|m\.)?imgur\.com", r"/[^.]+", ""),
    ("Imgur", r"(?:www\.|m\.|i\.)?imgur\.com", r"/.+\.gifv", ""),
    ("Flickr", r"(?:www\.)?flickr\.com|flic\.kr", r"/.+", ""),
    ("ImgBB", r"ibb\.co|(?:www\.)?imgbb\.com", r"/.+", ""),
    ("Gyazo", r"(?:www\.)?gyazo\.com", r"/[^./]+", ""),
    ("Lightshot", r"prnt\.sc|(?:www\.)?prntscr\.com", r"/.+", ""),
    ("Unsplash", r"(?:www\.)?unsplash\.com", r"/(?!.*/download$).+", ""),
    ("Canva", r"(?:www\.)?canva\.com", r"/design/.+", ""),
    ("Postimages", r"postimg\.cc", r"/.+", ""),
    ("GitHub", r"github\.com", r"/[^/]+/[^/]+/blob/.*", "raw=true raw=1"),
    ("GitLab", r".+", r"/.+/-/blob/.+", ""),
    # /wiki/Special:FilePath/Cat.jpg is the picture, in every language of the word.
    ("Wikipedia", r"[a-z.-]+\.wiki[pm]edia\.org", r"/wiki/(?![^/]*(?::|%3[Aa])[^/]+/).*", ""),
    ("Instagram", r"(?:www\.)?instagram\.com", r"/.+", ""),
    ("X", r"(?:www\.|mobile\.)?(?:x|twitter)\.com", r"/[^/]+/status/.+", ""),
    ("Facebook", r"(?:www\.|m\.)?facebook\.com|fb\.me", r"/.+", ""),
    ("Pinterest", r"(?:[a-z]+\.)?pinterest\.[a-z.]+|pin\.it", r"/.+", ""),
    ("Giphy", r"(?:www\.)?giphy\.com", r"/(?:gifs|stickers|clips)/.*", ""),
    ("Tenor", r"(?:www\.)?tenor\.com", r"/view/.*", ""),
]
_PATTERNS = [
    (name, re.compile(host), re.compile(path), raw.split()) for name, host, path, raw in _PAGES
]
# From the help pages of these services.
_DIRECT_ADDRESS_TIPS = {
    "Dropbox": "; on Dropbox that is the same one with raw=1 in place of dl=0",
    "GitHub": "; on GitHub that is the same one with ?raw=true behind it",
    "GitLab": "; on GitLab that is the same one with /raw/ in place of /blob/",
}


def describe_page(address: str) -> str | None:
    """Return a hint that follows "Line 2 " if the address is a page around a picture, else None."""
    try:
        parts = urlsplit(address)
    except ValueError:
        return None
    host, path = (parts.hostname or "").removesuffix("."), parts.path or "/"
    query = {f"{name}={values[-1].lower()}" for name, values in parse_qs(parts.query).items()}
    for name, hosts, paths, raw in _PATTERNS:
        if hosts.fullmatch(host) and paths.fullmatch(path) and not query.intersection(raw):
            tip = f"Give the address of the picture itself{_DIRECT_ADDRESS_TIPS.get(name, '')}."
            return (
                f"looks like a page of {name}, not a picture. Twilio refuses pages, and the "
                f"message would fail. {tip}"
            )
    return None
