//! In which form an answer is wanted: `Accept`, as RFC 9110, section 12.5.1, has it.
//!
//! Whoever accepts nothing of what there is, or says it in a way that cannot be read,
//! gets the first form: a probe that asks badly has to hear how things are all the same.

use std::str::FromStr;

use axum::http::{HeaderMap, header};
use headers_accept::Accept;
use mediatype::MediaType;

use super::HealthFormat;

/// An offer: a media type, and what is sent to those who accept it. One form may stand
/// under several types, since a range's parameters (`version=1.0.0`) have to fit.
type Offer<T> = (&'static str, T);

/// For `/health`: probes and people first.
pub(super) const HEALTH: &[Offer<HealthFormat>] = &[
    ("application/json", HealthFormat::Json),
    (TEXT, HealthFormat::Prometheus),
    (TEXT_VERSION, HealthFormat::Prometheus),
    (TEXT_UTF8, HealthFormat::Prometheus),
    (OPENMETRICS, HealthFormat::OpenMetrics),
    (OPENMETRICS_VERSION, HealthFormat::OpenMetrics),
    (OPENMETRICS_ESCAPED, HealthFormat::OpenMetrics),
    (OPENMETRICS_UTF8, HealthFormat::OpenMetrics),
];

/// For `/metrics`: Prometheus.
pub(super) const METRICS: &[Offer<HealthFormat>] = &[
    (TEXT, HealthFormat::Prometheus),
    (TEXT_VERSION, HealthFormat::Prometheus),
    (TEXT_UTF8, HealthFormat::Prometheus),
    (OPENMETRICS, HealthFormat::OpenMetrics),
    (OPENMETRICS_VERSION, HealthFormat::OpenMetrics),
    (OPENMETRICS_ESCAPED, HealthFormat::OpenMetrics),
    (OPENMETRICS_UTF8, HealthFormat::OpenMetrics),
];

const TEXT: &str = "text/plain";
const TEXT_VERSION: &str = "text/plain;version=0.0.4";
const TEXT_UTF8: &str = "text/plain;charset=utf-8";
const OPENMETRICS: &str = "application/openmetrics-text";
const OPENMETRICS_VERSION: &str = "application/openmetrics-text;version=1.0.0";
/// As Prometheus 3 asks: what we send needs no escaping.
const OPENMETRICS_ESCAPED: &str = "application/openmetrics-text;version=1.0.0;escaping=allow-utf-8";
const OPENMETRICS_UTF8: &str = "application/openmetrics-text;charset=utf-8";

/// An answer as one document, line by line, as a table, or as a SIEM's events, which no media
/// type names.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Records {
    Document,
    Lines,
    Ocsf,
    Csv,
}

/// For records.
pub(super) const RECORDS: &[Offer<Records>] = &[
    ("application/json", Records::Document),
    ("application/x-ndjson", Records::Lines),
    ("application/x-ndjson;charset=utf-8", Records::Lines),
    ("text/csv", Records::Csv),
    ("text/csv;charset=utf-8", Records::Csv),
];

/// A page for people, or the same for programs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Page {
    Html,
    Text,
    Json,
}

/// For `/`.
pub(super) const PAGE: &[Offer<Page>] = &[
    (TEXT, Page::Text),
    (TEXT_UTF8, Page::Text),
    ("application/json", Page::Json),
    ("text/html", Page::Html),
];

/// What of the offers the request's sender likes best; the first if it says nothing.
pub(super) fn wanted<T: Copy>(headers: &HeaderMap, offers: &[Offer<T>]) -> T {
    chosen(headers, offers).unwrap_or(offers[0].1)
}

fn chosen<T: Copy>(headers: &HeaderMap, offers: &[Offer<T>]) -> Option<T> {
    let texts: Vec<&str> =
        headers.get_all(header::ACCEPT).iter().filter_map(|value| value.to_str().ok()).collect();
    if texts.is_empty() {
        return None;
    }
    let accept = Accept::from_str(&texts.join(",")).ok()?;
    let types: Vec<MediaType<'_>> =
        offers.iter().filter_map(|(offer, _)| MediaType::parse(offer).ok()).collect();
    let best = accept.negotiate(&types)?;
    let at = types.iter().position(|offered| std::ptr::eq(offered, best))?;
    offers.get(at).map(|(_, form)| *form)
}

/// Whether a `Content-Type` names this media type, whatever its parameters.
pub(super) fn is_of(content_type: &str, wanted: &str) -> bool {
    let parsed = (MediaType::parse(content_type), MediaType::parse(wanted));
    matches!(parsed, (Ok(given), Ok(wanted)) if given.essence() == wanted)
}

#[cfg(test)]
mod tests {
    use axum::http::HeaderValue;

    use super::*;

    fn asking(accept: &[&'static str]) -> HeaderMap {
        let mut headers = HeaderMap::new();
        for text in accept {
            headers.append(header::ACCEPT, HeaderValue::from_static(text));
        }
        headers
    }

    #[test]
    fn every_offer_is_a_media_type() {
        for (offer, _) in HEALTH.iter().chain(METRICS) {
            assert!(MediaType::parse(offer).is_ok(), "{offer}");
        }
        assert!(RECORDS.iter().all(|(offer, _)| MediaType::parse(offer).is_ok()));
        assert!(PAGE.iter().all(|(offer, _)| MediaType::parse(offer).is_ok()));
    }

    /// C8.
    #[test]
    fn health_is_given_as_the_sender_likes_it_best_by_quality_not_by_a_word_found_somewhere() {
        use HealthFormat::{Json, OpenMetrics, Prometheus};
        let cases: &[(&[&'static str], HealthFormat)] = &[
            (&[], Json),
            (&["*/*"], Json),
            (&["application/json, text/plain, */*"], Json),
            (&["text/plain;q=0, */*"], Json),
            (&["TEXT/PLAIN"], Prometheus),
            (&["application/json;q=0.5, text/plain;q=0.9"], Prometheus),
            (&["application/json;q=0.5", "text/*"], Prometheus),
            (&["application/openmetrics-text;version=1.0.0,text/plain;version=0.0.4"], OpenMetrics),
            (&["application/openmetrics-text;q=0, text/plain"], Prometheus),
            (&["application/*"], Json),
            (&["application/json;q=0, */*;q=0.1"], Prometheus),
            // Nothing of it is there, or nothing can be read: it hears all the same.
            (&["image/png"], Json),
            (&["application/json;q=0"], Json),
            (&[", ;;"], Json),
            (&["text/html,application/xhtml+xml,application/xml;q=0.9,*/*;q=0.8"], Json),
        ];
        for (accept, expected) in cases {
            assert_eq!(wanted(&asking(accept), HEALTH), *expected, "{accept:?}");
        }
    }

    #[test]
    fn prometheus_gets_the_format_that_it_asks_for_first() {
        let version_2 = "application/openmetrics-text;version=1.0.0;q=0.5,\
                         application/openmetrics-text;version=0.0.1;q=0.4,\
                         text/plain;version=0.0.4;q=0.3,*/*;q=0.2";
        let version_3 = "application/openmetrics-text;version=1.0.0;escaping=allow-utf-8;q=0.6,\
                         application/openmetrics-text;version=0.0.1;q=0.5,\
                         text/plain;version=1.0.0;escaping=allow-utf-8;q=0.4,\
                         text/plain;version=0.0.4;q=0.3,*/*;q=0.2";
        for accept in [version_2, version_3] {
            let found = wanted(&asking(&[accept]), METRICS);
            assert_eq!(found, HealthFormat::OpenMetrics, "{accept}");
        }
        assert_eq!(wanted(&asking(&["*/*"]), METRICS), HealthFormat::Prometheus);
    }

    #[test]
    fn a_content_type_is_told_by_its_type_whatever_its_case_and_parameters() {
        for text in ["application/json", "Application/JSON; charset=utf-8", "application/json;x=1"]
        {
            assert!(is_of(text, "application/json"), "{text}");
        }
        for text in ["", "application/jsonp", "application/vnd.api+json", "text/plain", "json"] {
            assert!(!is_of(text, "application/json"), "{text}");
        }
    }
}
