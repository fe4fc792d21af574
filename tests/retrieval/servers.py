"""EyeWiki-, PMC- and AAO-like servers on loopback, with pages in our own words, that misbehave on demand.

`Library` starts the three; its `place` is a `RetrievalPlace` that points at them. A fault is a
function that answers one request in its own way; ``site.faults`` are used up in order by the
requests whose path they match.
"""

from __future__ import annotations

import http.server
import json
import re
import socket
import struct
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from types import TracebackType
from typing import Any
from urllib.parse import parse_qs, urlsplit
from xml.sax.saxutils import escape

from fundus_r1.spec.placement import RetrievalPlace

Reply = tuple[int, str, bytes]
"""Status, media type, body."""


@dataclass
class Asked:
    """One request as a server saw it."""

    path: str
    parameters: dict[str, str]
    headers: dict[str, str]


@dataclass
class Fault:
    """Answers requests in place of the site.

    Args:
        act: writes to the handler, or closes it.
        times: for how many requests.
        path: only requests whose path and query this is found in.
    """

    act: Callable[[http.server.BaseHTTPRequestHandler], None]
    times: int = 1
    path: str = ""


class Site:
    """A server on a free port of loopback that keeps what it was asked.

    Args:
        answer: what a request gets; None is a 404.
        robots: text of robots.txt; None is a 404.
    """

    def __init__(self, answer: Callable[[Asked], Reply | None], robots: str | None = None, port: int = 0):
        self.asked: list[Asked] = []
        self.faults: list[Fault] = []
        self._answer = answer
        self._robots = robots
        site = self

        class Handler(http.server.BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_GET(self) -> None:
                site._serve(self)

            def log_message(self, *args: object) -> None:
                pass

        class Server(http.server.ThreadingHTTPServer):
            daemon_threads = True

            def handle_error(self, *args: object) -> None:
                """A client that goes away in the middle is what some tests are about."""

        self._http = Server(("127.0.0.1", port), Handler)
        self.port = self._http.server_port
        self.host = f"127.0.0.1:{self.port}"
        self.url = f"http://{self.host}"
        threading.Thread(target=self._http.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True).start()

    def _serve(self, handler: http.server.BaseHTTPRequestHandler) -> None:
        parts = urlsplit(handler.path)
        parameters = {
            name: values[0] for name, values in parse_qs(parts.query, keep_blank_values=True).items()
        }
        asked = Asked(
            parts.path, parameters, {name.lower(): value for name, value in handler.headers.items()}
        )
        self.asked.append(asked)
        for fault in self.faults:
            if fault.times > 0 and fault.path in handler.path and parts.path != "/robots.txt":
                fault.times -= 1
                fault.act(handler)
                return
        if parts.path == "/robots.txt":
            answer = None if self._robots is None else (200, "text/plain", self._robots.encode())
        else:
            answer = self._answer(asked)
        send(handler, *(answer or (404, "text/plain", b"there is no such page")))

    @property
    def pages_asked(self) -> list[Asked]:
        """What was asked beside robots.txt."""
        return [asked for asked in self.asked if asked.path != "/robots.txt"]

    def close(self) -> None:
        self._http.shutdown()
        self._http.server_close()


# ---- faults ----------------------------------------------------------------------------


def send(
    handler: http.server.BaseHTTPRequestHandler, status: int, media_type: str, body: bytes, **headers: str
) -> None:
    """A whole answer; ``Retry_After="3"`` is the header Retry-After."""
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    handler.send_response(status)
    for name, value in {"Content-Type": media_type, "Content-Length": str(len(body)), **named}.items():
        handler.send_header(name, value)
    handler.end_headers()
    handler.wfile.write(body)


def status(code: int, body: bytes = b"", **headers: str) -> Callable[[Any], None]:
    """Answers with a status."""
    return lambda handler: send(handler, code, "text/plain", body, **headers)


def redirect(target: str) -> Callable[[Any], None]:
    """Answers that the page is elsewhere."""
    return status(302, Location=target)


def reset(handler: Any) -> None:
    """Resets the connection."""
    handler.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    handler.connection.close()
    handler.close_connection = True


def half(handler: Any) -> None:
    """Sends half of what it said it would."""
    handler.send_response(200)
    handler.send_header("Content-Length", "1000")
    handler.end_headers()
    handler.wfile.write(b'{"query": {"sea')
    handler.close_connection = True


def garbled(handler: Any) -> None:
    """Half a JSON, sent as if it were whole."""
    send(handler, 200, "application/json", b'{"query": {"search": [{"ti')


def dripping(seconds: float) -> Callable[[Any], None]:
    """One byte of the head now and then, for so long at most."""

    def act(handler: Any) -> None:
        handler.close_connection = True
        end = time.monotonic() + seconds
        handler.wfile.write(b"HTTP/1.1 200 OK\r\nX-Slow: ")
        while time.monotonic() < end:
            handler.wfile.write(b"x")
            time.sleep(0.05)

    return act


def endless(handler: Any, most: int = 50_000_000) -> None:
    """A page of 50 MB, without a stated length."""
    handler.send_response(200)
    handler.send_header("Content-Type", "text/html")
    handler.end_headers()
    handler.close_connection = True
    for _ in range(most // 100_000):
        handler.wfile.write(b"x" * 100_000)


# ---- EyeWiki ---------------------------------------------------------------------------

WikiPage = dict[str, str]
"""Heading with its equal signs -> text; the lead has the heading ""."""
WIKI: dict[str, WikiPage] = {
    "Diabetic Retinopathy": {
        "": "Diabetic retinopathy is damage of the retinal vessels by diabetes.",
        "== Diagnosis ==": "The fundus is looked at through a wide pupil.",
        "=== Signs ===": (
            "Mild nonproliferative diabetic retinopathy on CFP has microaneurysms alone. Moderate "
            "nonproliferative diabetic retinopathy on CFP has microaneurysms and dot-blot retinal "
            "hemorrhages; hard exudates and cotton-wool spots may be seen. Severe nonproliferative diabetic "
            "retinopathy on CFP has extensive retinal hemorrhages, venous beading and intraretinal "
            "microvascular abnormalities."
        ),
        "=== Differential diagnosis ===": "Without any of these there is no diabetic retinopathy (no DR).",
        "== Management ==": "Blood sugar is lowered. Laser treatment is for advanced disease.",
    },
    "Proliferative Diabetic Retinopathy": {
        "": "The advanced stage of diabetic eye disease.",
        "== Signs ==": (
            "Proliferative diabetic retinopathy (PDR) is characterized on CFP by neovascularization of the "
            "disc or elsewhere. Vitreous hemorrhage and preretinal hemorrhage may be seen."
        ),
        "== Management ==": "Panretinal photocoagulation.",
    },
    "Drusen": {
        "": "Drusen are deposits below the retina.",
        "== Imaging ==": (
            "On OCT macular drusen are dome-shaped elevations of the retinal pigment epithelium."
        ),
        "== Differential diagnosis ==": "Subretinal fluid is absent where there are drusen alone.",
    },
    "Choroidal Neovascularization": {
        "": "Choroidal neovascularization (CNV) grows from the choroid.",
        "== Signs ==": (
            "On OCT choroidal neovascularization shows subretinal hyperreflective material with subretinal "
            "fluid. Intraretinal fluid and pigment epithelial detachment may accompany it."
        ),
    },
    "Diabetic Macular Edema": {
        "": "Diabetic macular edema is swelling of the macula.",
        "== Diagnostic criteria ==": (
            "On OCT diabetic macular edema is characterized by retinal thickening with intraretinal fluid. "
            "Hard exudates may be seen."
        ),
    },
    "Glaucoma": {
        "": "Glaucoma is a disease of the optic nerve.",
        "== Examination ==": (
            "On CFP glaucoma is characterized by optic disc cupping. Disc hemorrhages may be seen."
        ),
    },
    "Normal Retina": {
        "": "What a healthy eye looks like.",
        "== Imaging findings ==": (
            "A normal retina on OCT has a smooth foveal pit. There is no intraretinal fluid and no "
            "subretinal fluid in a normal eye."
        ),
    },
}  # fmt: skip


class EyeWiki(Site):
    """MediaWiki's API at ``/w/api.php``: search, extracts, parse.

    Args:
        extracts: whether the wiki has TextExtracts.
    """

    def __init__(
        self, pages: dict[str, WikiPage] | None = None, *, extracts: bool = True, robots: str | None = None
    ):
        self.pages = WIKI if pages is None else pages
        self._extracts = extracts
        super().__init__(self._api, robots)
        self.api = f"{self.url}/w/api.php"

    def _api(self, asked: Asked) -> Reply | None:
        if asked.path != "/w/api.php":
            return None
        match asked.parameters:
            case {"list": "search", "srsearch": words, "srlimit": limit}:
                hits = [{"ns": 0, "title": title} for title in self._found(words)[: int(limit)]]
                value: Any = {"batchcomplete": True, "query": {"search": hits}}
            case {"titles": title}:
                value = {"query": {"pages": [self._page(title)]}}
            case {"action": "parse", "page": title} if title in self.pages:
                value = {"parse": {"title": title, "text": _html(self.pages[title])}}
            case _:
                value = {"error": {"code": "missingtitle", "info": "The page does not exist."}}
        return 200, "application/json; charset=utf-8", json.dumps(value).encode()

    def _found(self, words: str) -> list[str]:
        wanted = set(re.findall(r"\w+", words.lower()))
        texts = {title: f"{title} {' '.join(page.values())}".lower() for title, page in self.pages.items()}
        found = [title for title, text in texts.items() if wanted <= set(re.findall(r"\w+", text))]
        return sorted(found, key=lambda title: -len(wanted & set(re.findall(r"\w+", title.lower()))))

    def _page(self, title: str) -> dict[str, Any]:
        if title not in self.pages:
            return {"title": title, "missing": True}
        page: dict[str, Any] = {
            "pageid": 7, "title": title, "fullurl": f"https://eyewiki.example/{title.replace(' ', '_')}"
        }  # fmt: skip
        if self._extracts:
            page["extract"] = "\n\n\n".join(
                f"{heading}\n{text}".strip() for heading, text in self.pages[title].items()
            )
        return page


def _html(page: WikiPage) -> str:
    blocks = []
    for heading, text in page.items():
        if heading:
            level = heading.count("=") // 2
            name = escape(heading.strip("= "))
            blocks.append(
                f'<h{level}><span class="mw-headline">{name}</span>'
                f'<span class="mw-editsection">[edit]</span></h{level}>'
            )
        blocks.append(text if text.startswith("<") else f"<p>{escape(text)}</p>")
    return f'<div class="mw-parser-output">{"".join(blocks)}<!-- NewPP limit report: cached --></div>'


# ---- PMC -------------------------------------------------------------------------------


@dataclass
class PmcArticle:
    """One article of the PMC-like server."""

    number: str
    title: str
    sections: dict[str, str]
    licence: str = "https://creativecommons.org/licenses/by/4.0/"
    folder: str = "PMC{number}.1/PMC{number}.1.xml"
    """Its key in the bucket."""
    xml: bytes | None = field(default=None, repr=False)
    """The whole article, in place of `title` and `sections`."""

    def jats(self) -> bytes:
        if self.xml is not None:
            return self.xml
        sections = "".join(
            f"<sec><title>{escape(heading)}</title><p>{escape(text)} <xref ref-type='bibr'>4</xref></p></sec>"
            for heading, text in self.sections.items()
        )
        return (
            '<article xmlns:xlink="http://www.w3.org/1999/xlink"><front><article-meta>'
            f'<article-id pub-id-type="pmcid">PMC{self.number}</article-id>'
            f"<title-group><article-title>{escape(self.title)}</article-title></title-group>"
            f'<permissions><license xlink:href="{self.licence}"><license-p>Open.</license-p></license>'
            "</permissions>"
            f"</article-meta></front><body>{sections}</body></article>"
        ).encode()


ARTICLES = (
    PmcArticle(
        "1001",
        "Color fundus photography in moderate nonproliferative diabetic retinopathy",
        {
            "Introduction": "Fundus photography is the standard of screening for diabetic retinopathy.",
            "Clinical findings": (
                "In moderate nonproliferative diabetic retinopathy the fundus photograph (CFP) shows more "
                "than microaneurysms: retinal hemorrhages are required, hard exudates may be seen."
            ),
            "Funding": "None.",
        },
    ),
    PmcArticle(
        "1002",
        "Optical coherence tomography of macular drusen",
        {"OCT imaging": "Macular drusen on OCT lift the retinal pigment epithelium; drusen are decisive."},
        licence="https://creativecommons.org/licenses/by-nc/4.0/",
        folder="oa_noncomm/xml/all/PMC{number}.xml",
    ),
    PmcArticle(
        "1003",
        "Choroidal neovascularization: optical coherence tomography",
        {"Imaging": "Choroidal neovascularization on OCT is characterized by subretinal fluid."},
        folder="oa_comm/xml/all/PMC{number}.xml",
    ),
)


class Pmc(Site):
    """E-utilities at ``/entrez/eutils`` and the open-access bucket at ``/bucket``."""

    def __init__(self, articles: Sequence[PmcArticle] = ARTICLES, robots: str | None = None):
        self.articles = {article.number: article for article in articles}
        super().__init__(self._answer_of, robots)
        self.eutils = f"{self.url}/entrez/eutils"
        self.bucket = f"{self.url}/bucket"

    def _answer_of(self, asked: Asked) -> Reply | None:
        match asked.path.removeprefix("/entrez/eutils/"), asked.parameters:
            case "esearch.fcgi", {"db": "pmc", "term": term, "retmax": limit}:
                found = [number for number in self.articles if self._matches(number, term)][: int(limit)]
                value = {
                    "header": {"type": "esearch"},
                    "esearchresult": {"count": str(len(found)), "idlist": found},
                }
                return 200, "application/json", json.dumps(value).encode()
            case "efetch.fcgi", {"db": "pmc", "id": number} if number in self.articles:
                xml = self.articles[number].jats()
                if not xml.lstrip().startswith(b"<article"):
                    return 200, "text/xml", xml
                return 200, "text/xml", b'<?xml version="1.0"?><pmc-articleset>' + xml + b"</pmc-articleset>"
        for number, article in self.articles.items():
            if asked.path == f"/bucket/{article.folder.format(number=number)}":
                return 200, "application/xml", article.jats()
        return None

    def _matches(self, number: str, term: str) -> bool:
        article = self.articles[number]
        text = f"{article.title} {' '.join(article.sections.values())}".lower()
        groups = re.findall(r"\(([^()]*)\)", term)
        return all(any(name.lower() in text for name in re.findall(r'"([^"]+)"', group)) for group in groups)


# ---- AAO -------------------------------------------------------------------------------

GUIDELINE = (
    [
        "Diabetic Retinopathy PPP", "SYMPTOMS", "Diabetic retinopathy often has no symptoms until it is",
        "advanced.",
        "CLINICAL FINDINGS", "Moderate nonproliferative diabetic retinopathy (NPDR) has retinal hemor-",
        "rhages and microaneurysms on color photographs.", "1",
    ],
    [
        "Diabetic Retinopathy PPP",
        "They are more than in mild NPDR. Venous beading is not expected in moderate NPDR.",
        "MANAGEMENT", "Patients are seen again within months.", "2",
    ],
    [
        "Diabetic Retinopathy PPP", "Diagnostic Criteria",
        "Neovascularization is decisive for proliferative diabetic",
        "retinopathy (PDR).", "3",
    ],
)  # fmt: skip
"""Lines of the pages of a guideline."""
DOCUMENT = "Assets/1/diabetic-retinopathy-ppp-pdf"


def pdf(pages: Sequence[Sequence[str]]) -> bytes:
    """A small PDF with these lines."""
    objects = [b"<</Type/Catalog/Pages 2 0 R>>", b"", b"<</Type/Font/Subtype/Type1/BaseFont/Helvetica>>"]
    kids = []
    for lines in pages:
        text = " ".join(
            f"({line.translate({40: '[', 41: ']'})}) Tj 0 -14 Td" for line in lines
        )  # round brackets would need escapes
        stream = f"BT /F1 11 Tf 50 780 Td {text} ET".encode("latin-1", "replace")
        objects.append(b"<</Length %d>>\nstream\n%s\nendstream" % (len(stream), stream))
        objects.append(
            b"<</Type/Page/Parent 2 0 R/MediaBox[0 0 595 842]/Contents %d 0 R"
            b"/Resources<</Font<</F1 3 0 R>>>>>>" % len(objects)
        )
        kids.append(b"%d 0 R" % len(objects))
    objects[1] = b"<</Type/Pages/Count %d/Kids[%s]>>" % (len(kids), b" ".join(kids))
    out, places = b"%PDF-1.4\n", []
    for number, content in enumerate(objects, start=1):
        places.append(len(out))
        out += b"%d 0 obj\n%s\nendobj\n" % (number, content)
    table = b"".join(b"%010d 00000 n \n" % place for place in places)
    count = len(objects) + 1
    return (
        out
        + b"xref\n0 %d\n0000000000 65535 f \n%s" % (count, table)
        + b"trailer\n<</Size %d/Root 1 0 R>>\nstartxref\n%d\n%%%%EOF\n" % (count, len(out))
    )


class Aao(Site):
    """Files below the base address."""

    def __init__(self, files: dict[str, bytes] | None = None, robots: str | None = None):
        self.files = {DOCUMENT: pdf(GUIDELINE)} if files is None else files
        super().__init__(self._file, robots)

    def _file(self, asked: Asked) -> Reply | None:
        body = self.files.get(asked.path.lstrip("/"))
        return None if body is None else (200, "application/pdf", body)


# ---- all three -------------------------------------------------------------------------


class Library:
    """An EyeWiki, a PMC and an AAO; a context manager. Each can be replaced before it is used."""

    def __init__(
        self, eyewiki: EyeWiki | None = None, pmc: Pmc | None = None, aao: Aao | None = None
    ):  # fmt: skip
        self.eyewiki = eyewiki or EyeWiki()
        self.pmc = pmc or Pmc()
        self.aao = aao or Aao()

    @property
    def sites(self) -> tuple[Site, Site, Site]:
        return self.eyewiki, self.pmc, self.aao

    @property
    def requests(self) -> int:
        """How often any of them was asked, robots.txt included."""
        return sum(len(site.asked) for site in self.sites)

    def place(self, **changes: Any) -> RetrievalPlace:
        """Where they answer; fast, and with short limits of time."""
        return RetrievalPlace.model_validate(
            {
                "eyewiki": (self.eyewiki.api,), "pmc": self.pmc.eutils, "pmc_bulk": self.pmc.bucket,
                "aao": self.aao.url, "requests_per_s": 1000.0, "timeout_s": 5.0, "deadline_s": 10.0,
                **changes,
            }
        )  # fmt: skip

    def close(self) -> None:
        for site in self.sites:
            site.close()

    def __enter__(self) -> Library:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()
