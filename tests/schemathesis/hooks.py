"""What schemathesis has to know of the collector beyond docs/openapi.yaml: how values of the
formats look that are the collector's own, and which keys exclude one another."""

import json
import uuid

import schemathesis
from hypothesis import strategies as st

# Bodies are not compressed here; tests/it/serve_streams.rs sends those that are.
schemathesis.openapi.format("auditctl-coding", st.sampled_from(["identity", "", "Identity"]))
# Another one each time: an id stands for one event.
schemathesis.openapi.format("auditctl-id", st.uuids().map(str))

number = st.integers(min_value=0, max_value=10_000)
# JSON's own words have no order.
word = st.text(alphabet="abcdefghijklmnopqrstuvwxyz_", min_size=1, max_size=12).filter(
    lambda text: text not in ("true", "false", "null")
)
path = st.builds("{}.{}".format, st.sampled_from(["details", "origin"]), word)
operator = st.sampled_from(["=", "!=", "~", "<", "<=", ">", ">="])

schemathesis.openapi.format(
    "auditctl-condition",
    st.builds("{} {} {}".format, path, operator, word | number.map(str))
    | st.builds("{} exists".format, path),
)
schemathesis.openapi.format(
    "auditctl-time",
    st.builds("{}{}".format, st.integers(0, 99), st.sampled_from("smhd"))
    | st.dates().map(str)
    | st.datetimes().map(lambda at: at.isoformat() + "Z"),
)
schemathesis.openapi.format(
    "auditctl-range",
    st.builds("{}..{}".format, number, number.map(lambda n: n + 10_000))
    | st.builds("{}..={}".format, number, number.map(lambda n: n + 10_000))
    | st.builds("{}..".format, number)
    | st.builds("..{}".format, number)
    | number.map(str),
)
schemathesis.openapi.format(
    "auditctl-field",
    st.sampled_from(
        ["type", "actor", "source", "target", "outcome", "minute", "hour", "day", "month"]
    )
    | path,
)

schemathesis.openapi.format(
    "auditctl-columns",
    st.lists(
        st.sampled_from(["seq", "timestamp", "event_type", "actor", "details"]) | path,
        min_size=1,
        max_size=4,
    ).map(",".join),
)

events = st.fixed_dictionaries({"event_type": word}, optional={"actor": word, "outcome": word})
schemathesis.openapi.media_type(
    "application/x-ndjson",
    st.lists(events, min_size=1, max_size=5).map(
        lambda all: "".join(json.dumps(one) + "\n" for one in all).encode()
    ),
)


@schemathesis.hook
def before_call(context, case, kwargs):
    """Makes valid requests of those whose parts are valid, each by itself."""
    meta = case.meta
    if meta is None or meta.generation.mode.is_negative:
        return
    # It names one event, and the body must not name another.
    body = case.body
    if not (isinstance(body, dict) and body.get("id") is None):
        for headers in [case.headers or {}, kwargs.get("headers") or {}]:
            headers.pop("Idempotency-Key", None)
    # Ids that come from one small set would be used for several events.
    for event in body if isinstance(body, list) else [body]:
        if isinstance(event, dict) and isinstance(event.get("id"), str):
            event["id"] = str(uuid.uuid4())
    query = case.query or {}
    # One excludes the other: docs/queries.md.
    if "group_by" in query:
        query.pop("count", None)
    # Over time for each value takes room.
    if "series" in query:
        query.pop("buckets", None)
    # Columns are those of a table.
    if query.get("format") != "csv":
        query.pop("fields", None)
    elif "count" in query:
        query.pop("count", None)
    if query.get("format") == "ocsf":
        query.pop("count", None)
        query.pop("group_by", None)
