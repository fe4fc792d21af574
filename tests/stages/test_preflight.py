"""Of a run's needs, those outside of Kubernetes: with a real S3 server, scripted endpoints, real folders."""

from __future__ import annotations

import datetime
import email.utils
import uuid
from collections.abc import Callable, Iterator
from contextlib import nullcontext
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from threading import Thread
from typing import Any

import pytest
from hub_server import COMMIT

from fundus_r1.models.mirror import weights_prefix
from fundus_r1.spec import RunSpec
from fundus_r1.spec.models import HubModel
from fundus_r1.spec.placement import Placement, StorePlace
from fundus_r1.stages.preflight import Check, missing, preflight
from fundus_r1.stages.preflight_store import check_store
from fundus_r1.storage.folder import FolderStore
from fundus_r1.storage.s3 import S3Store
from fundus_r1.storage.server import LocalS3
from fundus_r1.storage.trees import send_tree
from tests.models.servers import Server

TINY = {"kind": "tiny"}


@pytest.fixture
def s3(s3_server: LocalS3, monkeypatch: pytest.MonkeyPatch) -> dict[str, Any]:
    """A store's place, whose credentials are in the environment."""
    monkeypatch.setenv("FUNDUS_R1_S3_ACCESS_KEY", s3_server.access_key)
    monkeypatch.setenv("FUNDUS_R1_S3_SECRET_KEY", s3_server.secret_key)
    return {"endpoint": s3_server.endpoint, "prefix": f"tests/{uuid.uuid4().hex}"}


@pytest.fixture
def server() -> Iterator[Server]:
    running = Server()
    yield running
    running.close()


def run(tmp_path: Path, models: dict[str, Any] | None = None, **placement: Any) -> RunSpec:
    """Setup G with drawn data and without endpoints; its models are tiny or rules."""
    rules = {"writer": {"engine": "rules"}, "judge": {"engine": "rules"}}
    kinds = dict.fromkeys(("observer", "free_form", "student"), TINY)
    science = {
        "models": {**kinds, **rules, **(models or {})},
        "knowledge": {"sources": ["notes"]},
        "index": {"synthetic": {}},
    }
    place = {"store": {"kind": "folder", "path": str(tmp_path / "store")}, **placement}
    return RunSpec.model_validate({"science": science, "placement": place})


def look(spec: RunSpec) -> list[Check]:
    return preflight(spec, cluster=None)


def row(checks: list[Check], what: str) -> Check:
    found = [check for check in checks if check.what == what]
    assert len(found) == 1, [check.what for check in checks]
    return found[0]


def test_a_run_on_this_machine_with_all_it_needs_lacks_nothing(tmp_path: Path) -> None:
    checks = look(run(tmp_path))
    assert missing(checks) == []
    assert row(checks, "store: conditional put").found == "honoured"


def test_a_store_that_the_run_makes_itself_is_none_to_look_for(tmp_path: Path) -> None:
    assert missing(look(run(tmp_path, store={}))) == []


def test_an_s3_store_is_tried_and_nothing_stays(
    tmp_path: Path, s3: dict[str, Any], open_s3: Callable[[str], S3Store]
) -> None:
    checks = look(run(tmp_path, store=s3))
    assert missing(checks) == []
    assert row(checks, "store: objects").found == "done"
    assert row(checks, "store: conditional put").found == "honoured"
    assert row(checks, "store: clock").ok is True
    assert list(open_s3(s3["prefix"]).list("")) == []


def test_wrong_credentials_are_told_without_them(
    tmp_path: Path, s3: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("FUNDUS_R1_S3_SECRET_KEY", "a-wrong-secret")
    checks = look(run(tmp_path, store=s3))
    assert [check.what for check in missing(checks)] == ["store"]
    assert "a-wrong-secret" not in str(checks)
    assert "FUNDUS_R1_S3_SECRET_KEY" in row(checks, "store").todo


def test_missing_credentials_are_named_by_their_variables(
    tmp_path: Path, s3: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("FUNDUS_R1_S3_ACCESS_KEY")
    assert "FUNDUS_R1_S3_ACCESS_KEY" in row(look(run(tmp_path, store=s3)), "store").found


def test_a_store_that_is_not_there_is_a_row_and_the_rest_is_looked_at(
    tmp_path: Path, s3: dict[str, Any]
) -> None:
    place = s3 | {"endpoint": "http://127.0.0.1:9"}
    checks = look(run(tmp_path, store=place, data=[str(tmp_path / "no")]))
    assert [check.what for check in missing(checks)] == ["store", f"data {tmp_path / 'no'}"]
    assert row(checks, "store: clock").ok is None


def test_a_store_that_ignores_conditions_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    class Careless(FolderStore):
        def put(self, key: str, data: bytes, **conditions: Any) -> str:
            return super().put(key, data)

    store = Careless(tmp_path / "store")
    monkeypatch.setattr("fundus_r1.stages.preflight_store.open_store", lambda place: store)
    check = row(missing(look(run(tmp_path))), "store: conditional put")
    assert check.found == "ignores If-None-Match and If-Match"


@pytest.mark.parametrize(("minutes", "ok"), [(-4, True), (4, True), (6, False), (-20, False)])
def test_clocks_that_differ_by_minutes_break_signatures(
    minutes: float, ok: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Late(BaseHTTPRequestHandler):
        def date_time_string(self, timestamp: float | None = None) -> str:
            told = datetime.datetime.now(datetime.UTC) + datetime.timedelta(minutes=minutes)
            return email.utils.format_datetime(told, usegmt=True)

        def do_HEAD(self) -> None:
            self.send_response(403)
            self.end_headers()

        def log_message(self, *_: object) -> None:
            pass

    monkeypatch.delenv("FUNDUS_R1_S3_ACCESS_KEY", raising=False)
    with HTTPServer(("127.0.0.1", 0), Late) as late:
        Thread(target=late.serve_forever, args=(0.02,), daemon=True).start()
        place = StorePlace(endpoint=f"http://127.0.0.1:{late.server_address[1]}")
        checks, _ = check_store(Placement(store=place))
        late.shutdown()
    assert row(checks, "store: clock").ok is ok


def test_a_folder_is_no_store_for_a_cluster(tmp_path: Path) -> None:
    checks = look(run(tmp_path, cluster={"image": "x@sha256:1"}))
    assert [check.what for check in missing(checks)] == ["store"]


def judged(tmp_path: Path, url: str, named: str = "served", **endpoint: Any) -> RunSpec:
    models = {"judge": {"engine": "openai", "model": named}}
    return run(tmp_path, models, endpoints={"judge": {"url": url, **endpoint}})


def test_an_endpoint_that_has_its_model_is_there(tmp_path: Path, server: Server) -> None:
    assert row(look(judged(tmp_path, server.url)), "endpoint of the judge").ok is True


def test_an_endpoint_may_serve_the_model_under_another_id(tmp_path: Path, server: Server) -> None:
    spec = judged(tmp_path, server.url, "qwen3-max", model="served")
    assert missing(look(spec)) == []


def test_an_endpoint_without_the_model_says_what_it_has(tmp_path: Path, server: Server) -> None:
    check = row(look(judged(tmp_path, server.url, "other")), "endpoint of the judge")
    assert (check.ok, check.found) == (False, "answers, has served")


def test_an_endpoint_that_lists_no_models_is_no_failure(tmp_path: Path, server: Server) -> None:
    spec = judged(tmp_path, server.url.removesuffix("/v1"))
    assert row(look(spec), "endpoint of the judge").ok is None


def test_an_endpoint_that_is_away_is_missing(tmp_path: Path) -> None:
    check = row(look(judged(tmp_path, "http://127.0.0.1:9/v1")), "endpoint of the judge")
    assert check.ok is False
    assert check.todo


@pytest.mark.parametrize("status", [401, 403, 500])
def test_an_endpoint_that_refuses_or_fails_is_missing(tmp_path: Path, status: int) -> None:
    class Refusing(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_error(status)

        def log_message(self, *_: object) -> None:
            pass

    with HTTPServer(("127.0.0.1", 0), Refusing) as refusing:
        Thread(target=refusing.serve_forever, args=(0.02,), daemon=True).start()
        spec = judged(tmp_path, f"http://127.0.0.1:{refusing.server_address[1]}/v1")
        check = row(look(spec), "endpoint of the judge")
        refusing.shutdown()
    assert check.ok is False
    assert f"HTTP {status}" in check.found


def test_a_key_is_missing_by_the_name_of_its_variable(
    tmp_path: Path, server: Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("JUDGE_KEY", raising=False)
    spec = judged(tmp_path, server.url, api_key_env="JUDGE_KEY")
    assert "JUDGE_KEY" in row(missing(look(spec)), "endpoint of the judge").found
    monkeypatch.setenv("JUDGE_KEY", "a-key-nobody-may-see")
    checks = look(spec)
    assert missing(checks) == []
    assert "a-key-nobody-may-see" not in str(checks)


def test_a_model_without_an_endpoint_is_missing(tmp_path: Path) -> None:
    spec = run(tmp_path, {"judge": {"engine": "openai"}, "free_form": {"kind": "served", "name": "x"}})
    lacking = [check.what for check in missing(look(spec))]
    assert lacking == ["endpoint of the judge", "endpoint of the free_form"]


def test_the_judges_key_must_reach_the_pods_that_ask_it(
    tmp_path: Path, server: Server, s3: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("JUDGE_KEY", "k")
    models = {"judge": {"engine": "openai", "model": "served"}}
    ends = {"judge": {"url": server.url, "api_key_env": "JUDGE_KEY"}}
    unnamed = run(tmp_path, models, endpoints=ends, store=s3, cluster={})
    check = row(missing(look(unnamed)), "key of the judge in the pods of grpo")
    assert check.todo.endswith("placement.cluster.secrets.JUDGE_KEY")
    named = {"secrets": {"JUDGE_KEY": {"secret": "keys", "key": "judge"}}}
    assert missing(look(run(tmp_path, models, endpoints=ends, store=s3, cluster=named))) == []


def test_weights_without_a_commit_are_missing(tmp_path: Path) -> None:
    check = row(look(run(tmp_path, {"student": {"kind": "hub", "name": "a/b"}})), "weights of a/b")
    assert (check.ok, check.todo) == (False, "fundus-r1 pin looks up science.models.student.revision")


def test_weights_that_are_pinned_may_still_come_to_the_store(tmp_path: Path) -> None:
    ref = HubModel(name="a/b", revision=COMMIT)
    spec = run(tmp_path, {"student": ref.model_dump()})
    check = row(look(spec), "weights of a/b")
    assert (check.ok, check.found) == (None, "not in the store yet")
    config = tmp_path / "config.json"
    config.write_text("{}", encoding="utf-8")
    store = FolderStore(tmp_path / "store")
    send_tree(store, weights_prefix(ref), ["config.json"], lambda name: nullcontext(config))
    assert row(look(spec), "weights of a/b").ok is True


def test_a_model_folder_must_be_there(tmp_path: Path) -> None:
    folder = tmp_path / "model"
    spec = run(tmp_path, {"student": {"kind": "folder", "path": str(folder)}})
    assert [check.what for check in missing(look(spec))] == ["model model"]
    folder.mkdir()
    (folder / "config.json").write_text("{}", encoding="utf-8")
    assert missing(look(spec)) == []


@pytest.mark.parametrize("place", ["s3://fundus-r1/nothing-here", "s3://no-such-bucket-of-ours"])
def test_a_bucket_without_the_model_or_the_data_is_missing(
    tmp_path: Path, s3: dict[str, Any], place: str
) -> None:
    models = {"student": {"kind": "folder", "path": place}}
    checks = look(run(tmp_path, models, store=s3, data=[place]))
    assert len(missing(checks)) == 2
    assert row(checks, f"data {place}").ok is False


def test_data_on_a_volume_that_is_not_mounted_here_are_left_to_its_claim(tmp_path: Path) -> None:
    assert row(look(run(tmp_path, data=["pvc://eyes/raw"])), "data pvc://eyes/raw").ok is None


def test_a_run_that_draws_no_data_must_name_some(tmp_path: Path) -> None:
    spec = run(tmp_path)
    index = spec.science.index.model_copy(update={"synthetic": None})
    lacking = spec.model_copy(update={"science": spec.science.model_copy(update={"index": index})})
    assert [check.what for check in missing(look(lacking))] == ["data"]


def test_data_in_a_folder_are_there(tmp_path: Path) -> None:
    assert row(look(run(tmp_path, data=[str(tmp_path)])), f"data {tmp_path}").ok is True


@pytest.mark.parametrize(("image", "ok"), [("x/y@sha256:12", True), ("x/y:latest", None), (None, None)])
def test_an_image_by_its_tag_may_change(
    tmp_path: Path, s3: dict[str, Any], image: str | None, ok: bool | None
) -> None:
    spec = run(tmp_path, store=s3, cluster={"image": image})
    assert row(look(spec), "image of the jobs").ok is ok
