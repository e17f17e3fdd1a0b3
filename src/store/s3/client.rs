//! The client: credentials and region by AWS's usual chain, endpoints by the
//! usual variables; its own retries and its own idea of too slow switched off.

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

use super::super::error::{StoreError, StoreErrorKind};
use super::super::limits::{Environment, Limits};

/// What an endpoint of one's own seldom cares about, and signatures need.
const ANY_REGION: &str = "us-east-1";

pub(super) async fn load(
    url: &str,
    environment: &Environment,
    limits: &Limits,
) -> Result<Client, StoreError> {
    let timeouts = TimeoutConfig::builder().connect_timeout(limits.connect_timeout).build();
    let mut loader = aws_config::defaults(BehaviorVersion::latest())
        .http_client(http_client())
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
    let own_endpoint = shared.endpoint_url().is_some();
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
    Ok(Client::from_conf(config.build()))
}

/// The default client, which by itself does not know `HTTPS_PROXY`.
fn http_client() -> SharedHttpClient {
    Builder::new().build_with_connector_fn(|settings, components| {
        let mut builder = Connector::builder().proxy_config(ProxyConfig::from_env());
        builder.set_connector_settings(settings.cloned());
        builder.set_sleep_impl(components.and_then(|components| components.sleep_impl()));
        builder.tls_provider(tls::Provider::Rustls(tls::rustls_provider::CryptoMode::AwsLc)).build()
    })
}
