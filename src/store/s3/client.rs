//! The client: credentials and region by AWS's usual chain, endpoints by the
//! usual variables; its own retries and its own idea of too slow switched off.

use std::pin::Pin;
use std::task::{Context, Poll, ready};

use aws_config::retry::RetryConfig;
use aws_config::stalled_stream_protection::StalledStreamProtectionConfig;
use aws_config::timeout::TimeoutConfig;
use aws_config::{BehaviorVersion, Region};
use aws_sdk_s3::Client;
use aws_sdk_s3::config::{
    Credentials, RequestChecksumCalculation, ResponseChecksumValidation, SharedHttpClient,
};
use aws_smithy_http_client::proxy::ProxyConfig;
use aws_smithy_http_client::{Builder, Connector, tls};
use aws_smithy_runtime_api::box_error::BoxError;
use aws_smithy_runtime_api::client::http::{
    HttpClient as _, HttpConnector, HttpConnectorFuture, SharedHttpConnector, http_client_fn,
};
use aws_smithy_runtime_api::client::orchestrator::HttpRequest;
use aws_smithy_types::body::SdkBody;
use bytes::Bytes;
use http_body::{Frame, SizeHint};

use super::super::error::{StoreError, StoreErrorKind};
use super::super::limits::{Environment, Limits};
use super::super::redact::without_credentials;
use super::super::wire::Bound;

/// What an endpoint of one's own seldom cares about, and signatures need.
const ANY_REGION: &str = "us-east-1";

/// Two that differ in how much of an answer they take.
#[derive(Debug)]
pub(super) struct Clients {
    /// Any answer is a document, which the library collects.
    pub(super) documents: Client,
    /// A good answer is an object, which is handed on as it comes: only for that.
    pub(super) objects: Client,
    /// The endpoint, where it is not Amazon's own.
    pub(super) endpoint: Option<String>,
}

pub(super) async fn load(
    url: &str,
    environment: &Environment,
    limits: &Limits,
) -> Result<Clients, StoreError> {
    let timeouts = TimeoutConfig::builder().connect_timeout(limits.connect_timeout).build();
    let mut loader = aws_config::defaults(BehaviorVersion::latest())
        .http_client(http_client(Answers::Documents))
        .retry_config(RetryConfig::disabled())
        .stalled_stream_protection(StalledStreamProtectionConfig::disabled())
        .timeout_config(timeouts);
    let key = environment.get("AWS_ACCESS_KEY_ID").zip(environment.get("AWS_SECRET_ACCESS_KEY"));
    if let Some((id, secret)) = key {
        let token = environment.get("AWS_SESSION_TOKEN").map(str::to_owned);
        loader =
            loader.credentials_provider(Credentials::new(id, secret, token, None, "environment"));
    }
    let region = environment.get("AWS_REGION").or(environment.get("AWS_DEFAULT_REGION"));
    if let Some(region) = region {
        loader = loader.region(Region::new(region.to_owned()));
    }
    let endpoint = environment.get("AWS_ENDPOINT_URL_S3").or(environment.get("AWS_ENDPOINT_URL"));
    if let Some(endpoint) = endpoint {
        loader = loader.endpoint_url(endpoint);
    }
    let shared = loader.load().await;
    let endpoint = shared.endpoint_url().map(without_credentials);
    let own_endpoint = endpoint.is_some();
    if shared.region().is_none() && !own_endpoint {
        let message = "no AWS region is set";
        return Err(StoreError::new(StoreErrorKind::Usage, url, message)
            .hint("set AWS_REGION, or region in ~/.aws/config, to the bucket's region"));
    }
    // We always send a checksum of our own; stores that know no others reject
    // what the library would add (Cloudflare R2, older Ceph and MinIO).
    let mut config = aws_sdk_s3::config::Builder::from(&shared)
        .request_checksum_calculation(RequestChecksumCalculation::WhenRequired)
        .response_checksum_validation(ResponseChecksumValidation::WhenRequired)
        .force_path_style(own_endpoint);
    if shared.region().is_none() {
        config = config.region(Region::new(ANY_REGION));
    }
    let documents = config.build();
    let objects = documents.to_builder().http_client(http_client(Answers::Objects)).build();
    let (documents, objects) = (Client::from_conf(documents), Client::from_conf(objects));
    Ok(Clients { documents, objects, endpoint })
}

/// What good answers are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Answers {
    Documents,
    Objects,
}

/// The default client, which by itself does not know `HTTPS_PROXY`, and takes as much
/// of an answer as comes.
fn http_client(answers: Answers) -> SharedHttpClient {
    let default = Builder::new().build_with_connector_fn(|settings, components| {
        let mut builder = Connector::builder().proxy_config(ProxyConfig::from_env());
        builder.set_connector_settings(settings.cloned());
        builder.set_sleep_impl(components.and_then(|components| components.sleep_impl()));
        builder.tls_provider(tls::Provider::Rustls(tls::rustls_provider::CryptoMode::AwsLc)).build()
    });
    http_client_fn(move |settings, components| {
        let inner = default.http_connector(settings, components);
        SharedHttpConnector::new(Bounded { inner, answers })
    })
}

/// Takes no more of an answer than makes sense.
#[derive(Debug)]
struct Bounded {
    inner: SharedHttpConnector,
    answers: Answers,
}

impl HttpConnector for Bounded {
    fn call(&self, request: HttpRequest) -> HttpConnectorFuture {
        let (answer, answers) = (self.inner.call(request), self.answers);
        HttpConnectorFuture::new(async move {
            let answer = answer.await?;
            if answers == Answers::Objects && answer.status().is_success() {
                return Ok(answer);
            }
            Ok(answer.map(|body| SdkBody::from_body_1_x(Counted { body, left: Bound::DOCUMENT })))
        })
    }
}

/// A body that ends in an error where it becomes too much.
struct Counted {
    body: SdkBody,
    left: Bound,
}

impl http_body::Body for Counted {
    type Data = Bytes;
    type Error = BoxError;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BoxError>>> {
        let frame = ready!(Pin::new(&mut self.body).poll_frame(cx));
        Poll::Ready(frame.map(|frame| {
            let frame = frame?;
            if let Some(piece) = frame.data_ref() {
                self.left.after(piece)?;
            }
            Ok(frame)
        }))
    }

    fn size_hint(&self) -> SizeHint {
        http_body::Body::size_hint(&self.body)
    }
}
