//! Questions over HTTP: what a URL asks, and how one is refused.

use axum::extract::Query;
use axum::http::StatusCode;
use axum::response::Response;
use serde_json::{Value, json};

use super::accept::Records;
use super::intake::{NO_ROOM, ROOM_RETRY, count_no_room};
use super::query::Refused;
use super::reply::{error, with_retry_after};
use super::{Hub, query};
use crate::audit::read::query::Column;
use crate::json_place::JsonError;

pub(super) fn refused_query(hub: &Hub, refused: &Refused) -> Response {
    let status = match refused {
        Refused::Request(_) => StatusCode::BAD_REQUEST,
        Refused::Query(_) | Refused::Internal(_) => StatusCode::INTERNAL_SERVER_ERROR,
        Refused::Unrecorded(_) => StatusCode::SERVICE_UNAVAILABLE,
        Refused::NoRoom => {
            count_no_room(hub);
            let response = error(StatusCode::SERVICE_UNAVAILABLE, refused.kind(), NO_ROOM);
            return with_retry_after(response, Some(ROOM_RETRY));
        }
    };
    error(status, refused.kind(), &refused.to_string())
}

/// Columns that a table may have.
const MAX_COLUMNS: usize = 64;

/// Each once, and not more than a table needs: a row is made for each of many records.
fn columns_of(text: &str) -> Result<Vec<Column>, String> {
    if text.matches(',').count() >= MAX_COLUMNS * 2 {
        return Err(format!("at most {MAX_COLUMNS} columns"));
    }
    let columns = Column::parse_list(text)?;
    if columns.len() > MAX_COLUMNS {
        return Err(format!("at most {MAX_COLUMNS} columns"));
    }
    let mut names: Vec<&str> = columns.iter().map(Column::name).collect();
    names.sort_unstable();
    match names.windows(2).find(|two| two[0] == two[1]) {
        Some(twice) => Err(format!("{} stands there twice", twice[0].escape_debug())),
        None => Ok(columns),
    }
}

/// What a URL's keys say.
pub(super) struct Form {
    pub(super) request: query::Asked,
    /// How the answer is wanted; beats `Accept`.
    pub(super) records: Option<Records>,
    /// The columns of a table.
    pub(super) columns: Option<Vec<Column>>,
}

/// `?type=login&actor=alice&limit=10`: keys that take several may be repeated.
/// `format` and `fields` are about the answer.
pub(super) fn request_of(text: &str) -> Result<Form, String> {
    let (mut form, mut columns) = (None, None);
    let mut object = serde_json::Map::new();
    let pairs = Query::<Vec<(String, String)>>::try_from_uri(
        &format!("/?{text}")
            .parse()
            .map_err(|error: axum::http::uri::InvalidUri| error.to_string())?,
    )
    .map_err(|error| error.to_string())?;
    for (key, value) in pairs.0 {
        let value = match &*key {
            "limit" | "top" | "buckets" => match value.parse::<u64>() {
                Ok(number) => json!(number),
                Err(_) => return Err(format!("{key}: a number is expected")),
            },
            "count" | "follow" | "series" => match &*value {
                "" | "true" => json!(true),
                "false" => json!(false),
                _ => return Err(format!("{key}: true or false is expected")),
            },
            "fields" => {
                let new = columns_of(&value).map_err(|why| format!("fields: {why}"))?;
                if columns.replace(new).is_some() {
                    return Err("fields: only once".to_owned());
                }
                continue;
            }
            "format" => {
                let wanted = match &*value {
                    "json" => Records::Document,
                    "ndjson" => Records::Lines,
                    "ocsf" => Records::Ocsf,
                    "csv" => Records::Csv,
                    _ => return Err("format: json, ndjson, csv or ocsf is expected".to_owned()),
                };
                if form.replace(wanted).is_some() {
                    return Err("format: only once".to_owned());
                }
                continue;
            }
            "since" | "until" | "seq" | "order" | "group_by" | "within" => json!(value),
            _ => {
                let values = object.entry(key).or_insert_with(|| json!([]));
                if let Value::Array(values) = values {
                    values.push(json!(value));
                }
                continue;
            }
        };
        if object.insert(key.clone(), value).is_some() {
            return Err(format!("{key}: only once"));
        }
    }
    let asked: query::Asked = serde_json::from_value(Value::Object(object))
        .map_err(|error| JsonError::from(&error).to_string())?;
    if form == Some(Records::Ocsf) && (asked.count || asked.group_by.is_some()) {
        return Err("format: ocsf is for records, not for count or group_by".to_owned());
    }
    if form == Some(Records::Csv) && asked.count {
        return Err("format: csv is for records and group_by, not for count".to_owned());
    }
    if columns.is_some() && matches!(form, Some(Records::Document | Records::Lines | Records::Ocsf))
    {
        return Err("fields: only for csv".to_owned());
    }
    Ok(Form { request: asked, records: form, columns })
}
