//! `GET /v1/summary`: how many records there are, over time and of what, in one look.

use std::collections::BTreeMap;
use std::sync::Arc;

use axum::Extension;
use axum::extract::{Request, State};
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use serde_json::value::RawValue;

use crate::access::Right;
use crate::collector::budget::charged;
use crate::collector::gate::{self, Caller, misdirected};
use crate::collector::intake::{guest, peer};
use crate::collector::query;
use crate::collector::question::{Form, refused_query, request_of};
use crate::collector::reply::{App, error};

/// A summary looks for so long at most: at the newest records first, and it says how far it
/// came.
const WITHIN: &str = "10s";
/// Each of two looks.
const WITHIN_TWICE: &str = "5s";
/// Stretches of time, unless it is said how many.
const BUCKETS: usize = 60;
/// Values of each that are listed, at most.
const MAX_TOP: usize = 100;

pub(in crate::collector) async fn get_summary(
    State(app): State<App>,
    Extension(caller): Extension<Caller>,
    request: Request,
) -> Response {
    let asked = match request_of(request.uri().query().unwrap_or_default()) {
        Ok(Form { request, records: None, columns: None }) => of_summary(request),
        Ok(_) => Err("format, fields: a summary is one JSON document".to_owned()),
        Err(reason) => Err(reason),
    };
    let asked = match asked {
        Ok(asked) => asked,
        Err(reason) => {
            misdirected(&app.hub, peer(&request), "a summary that cannot be read");
            return error(StatusCode::BAD_REQUEST, "usage", &reason);
        }
    };
    let reader = caller.reader(guest(&request));
    let bytes = query::room(&asked, false);
    let answered = match query::answer(Arc::clone(&app.hub), (asked, bytes), reader).await {
        Ok(answered) => answered,
        Err(refused) => return refused_query(&app.hub, &refused),
    };
    // It may have taken long.
    if let Err(ended) = gate::still(&app.hub, &caller, Right::Query) {
        return error(ended.status, ended.kind, ended.message);
    }
    let document = answered.answer.to_json(&answered.question).and_then(|text| lifted(&text));
    match document {
        Ok(text) => {
            let body = charged((text + "\n").into_bytes(), answered.share);
            ([(header::CONTENT_TYPE, "application/json")], body).into_response()
        }
        Err(failed) => error(StatusCode::INTERNAL_SERVER_ERROR, "internal", &failed.to_string()),
    }
}

/// What is asked, with what a summary has and without what it has not.
fn of_summary(asked: query::Asked) -> Result<query::Asked, String> {
    let of_records = [
        ("limit", asked.limit.is_some()),
        ("order", asked.order.is_some()),
        ("count", asked.count),
        ("group_by", asked.group_by.is_some()),
        ("follow", asked.follow),
    ];
    if let Some((key, _)) = of_records.into_iter().find(|(_, given)| *given) {
        return Err(format!("{key}: this is for /v1/events; a summary has buckets, by and top"));
    }
    if asked.within.is_some() {
        return Err(format!("within: it is {WITHIN} for whoever asks over HTTP"));
    }
    if asked.top.is_some_and(|top| top > MAX_TOP) {
        return Err(format!("top: at most {MAX_TOP}"));
    }
    let buckets = asked.buckets.or(Some(BUCKETS));
    let within = if asked.series { WITHIN_TWICE } else { WITHIN };
    Ok(query::Asked { buckets, within: Some(within.to_owned()), ..asked })
}

/// The answer's document with the members of its summary among its own. They are not read
/// on the way: numbers stay as they are stored.
fn lifted(document: &str) -> serde_json::Result<String> {
    type Members<'a> = BTreeMap<&'a str, &'a RawValue>;
    let mut members: Members<'_> = serde_json::from_str(document)?;
    if let Some(summary) = members.remove("summary") {
        members.append(&mut serde_json::from_str::<Members<'_>>(summary.get())?);
    }
    serde_json::to_string(&members)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_summary_stands_at_the_top_with_its_numbers_as_they_are_stored() {
        let document = r#"{"begin":0,"end":9,"summary":{"total":2,"by":{"a":[{"value":18446744073709551617.10}]}}}"#;
        assert_eq!(
            lifted(document).expect("lifted"),
            r#"{"begin":0,"by":{"a":[{"value":18446744073709551617.10}]},"end":9,"total":2}"#
        );
    }

    #[test]
    fn what_is_no_question_for_a_summary_is_refused_by_its_key() {
        for (text, key) in [
            (r#"{"limit":3}"#, "limit"),
            (r#"{"order":"oldest"}"#, "order"),
            (r#"{"count":true}"#, "count"),
            (r#"{"group_by":"actor"}"#, "group_by"),
            (r#"{"follow":true}"#, "follow"),
        ] {
            let asked = serde_json::from_str(text).expect("a request");
            assert!(of_summary(asked).expect_err(text).starts_with(key));
        }
        let asked = of_summary(query::Asked::default()).expect("a summary");
        assert_eq!((asked.buckets, asked.within.as_deref()), (Some(60), Some("10s")));
    }
}
