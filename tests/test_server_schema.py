"""The OpenAPI document holds: schemathesis asks what it allows, and what it does not."""

import pytest
import schemathesis
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis.errors import Unsatisfiable
from schemathesis import GenerationMode
from schemathesis.checks import CHECKS, load_all_checks

from servers import serving, toy

load_all_checks()
# Most texts that are allowed are no image, and most ids no session: refusing them is right.
UNFIT = CHECKS.get_by_names(["positive_data_acceptance"])
SESSION = "/v1/sessions/{session_id}"
OPERATIONS = {
    ("GET", "/healthz"),
    ("GET", "/metrics"),
    ("GET", "/v1/models"),
    ("GET", "/v1/models/{name}"),
    ("POST", "/v1/chat/completions"),
    ("POST", "/v1/regions"),
    ("POST", "/v1/sessions"),
    ("GET", SESSION),
    ("DELETE", SESSION),
    ("POST", f"{SESSION}/regions"),
    ("POST", f"{SESSION}/tracks"),
    ("DELETE", f"{SESSION}/tracks/{{track}}"),
    ("POST", f"{SESSION}/propagate"),
}


@pytest.fixture(scope="module")
def api():
    with serving(toy(), session_idle_s=2, max_sessions=8) as url:
        yield schemathesis.openapi.from_url(f"{url}/openapi.json")


def test_all_addresses_are_asked(api):
    found = {(one.ok().method.upper(), one.ok().path) for one in api.get_all_operations()}
    assert found == OPERATIONS


@pytest.mark.parametrize("mode", [GenerationMode.POSITIVE, GenerationMode.NEGATIVE])
@pytest.mark.parametrize(("method", "path"), sorted(OPERATIONS))
def test_answers_are_as_documented(api, method, path, mode):
    @given(case=api[path][method].as_strategy(generation_mode=mode))
    @settings(
        max_examples=6,
        deadline=None,
        derandomize=True,
        database=None,
        phases=[Phase.explicit, Phase.generate],
        suppress_health_check=list(HealthCheck),
    )
    def ask(case):
        case.call_and_validate(excluded_checks=UNFIT, timeout=60)

    try:
        ask()
    except Unsatisfiable:  # nothing can be wrong about a request that holds nothing
        assert mode is GenerationMode.NEGATIVE
        assert method != "POST"
