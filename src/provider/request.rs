//! What a request has to be before a door opens: sent to us, by whom it says, and not too long.
//!
//! Each check refuses with the status that tells the other provider whose mistake it is (D2): 421 it
//! isn't us they want, 400 we can't read it, 403 we don't believe it, 413 and 408 it is too much.

use std::time::Duration;

use bytes::Bytes;
use http::{
    HeaderMap, HeaderValue, Method, Response, StatusCode,
    header::{ALLOW, CONTENT_TYPE, FROM, HOST},
    request::Parts,
    uri::Authority,
};
use http_body_util::{BodyExt, Full, LengthLimitError, Limited};
use hyper::body::{Body, Incoming};
use mimi_adapter::Domain;

use crate::mimi::directory::Endpoint;

/// How long a body may take. A peer that is slower has lost its line, or wants ours.
const BODY_TIME: Duration = Duration::from_secs(30);

/// No, and why, in words for whoever runs the other provider.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Refusal {
    pub status: StatusCode,
    pub reason: &'static str,
    pub allow: Option<Method>,
}

impl Refusal {
    pub fn new(status: StatusCode, reason: &'static str) -> Self {
        Self { status, reason, allow: None }
    }
}

impl From<Refusal> for Response<Full<Bytes>> {
    fn from(refusal: Refusal) -> Self {
        let mut response = Response::new(Full::from(format!("{}\n", refusal.reason)));
        *response.status_mut() = refusal.status;
        response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static("text/plain; charset=utf-8"));
        if let Some(method) = refusal.allow {
            let method = HeaderValue::from_str(method.as_str()).expect("a method is a token");
            response.headers_mut().insert(ALLOW, method);
        }
        response
    }
}

/// The target provider is in `:authority` or `Host`, where a port means nothing (P§4.1, T-02).
pub(super) fn check_target(request: &Parts, us: &Domain) -> Result<(), Refusal> {
    let authority = match request.uri.authority() {
        Some(authority) => authority.clone(),
        None => only(&request.headers, HOST)
            .and_then(|host| host.parse::<Authority>().ok())
            .ok_or(Refusal::new(StatusCode::BAD_REQUEST, "the Host header is missing or can't be read"))?,
    };
    match Domain::parse(authority.host()) {
        Ok(target) if target == *us => Ok(()),
        _ => Err(Refusal::new(StatusCode::MISDIRECTED_REQUEST, "the Host header names a provider that isn't here")),
    }
}

/// The source provider, as `From: mimi@b.example` claims it (P§4.1). Only an addr-spec will do, neither
/// a display name nor a quoted local part.
pub(super) fn sender(headers: &HeaderMap) -> Result<Domain, Refusal> {
    only(headers, FROM)
        .and_then(|from| from.strip_prefix("mimi@"))
        .and_then(|domain| Domain::parse(domain).ok())
        .ok_or(Refusal::new(StatusCode::BAD_REQUEST, "the From header has to be mimi@ and the provider's domain, once"))
}

fn only(headers: &HeaderMap, name: http::HeaderName) -> Option<&str> {
    let mut values = headers.get_all(name).iter();
    let first = values.next()?.to_str().ok()?;
    values.next().is_none().then_some(first)
}

/// D54.
pub(super) fn limit(endpoint: Endpoint) -> usize {
    const MIB: usize = 1024 * 1024;
    match endpoint {
        Endpoint::Notify => 8 * MIB,
        Endpoint::Update => 4 * MIB,
        _ => MIB,
    }
}

pub(super) async fn read(body: Incoming, limit: usize) -> Result<Bytes, Refusal> {
    let too_large = || Refusal::new(StatusCode::PAYLOAD_TOO_LARGE, "the body is larger than this endpoint takes");
    if body.size_hint().lower() > limit as u64 {
        return Err(too_large());
    }
    match tokio::time::timeout(BODY_TIME, Limited::new(body, limit).collect()).await {
        Ok(Ok(body)) => Ok(body.to_bytes()),
        Ok(Err(problem)) if problem.is::<LengthLimitError>() => Err(too_large()),
        Ok(Err(_)) => Err(Refusal::new(StatusCode::BAD_REQUEST, "the body broke off")),
        Err(_) => Err(Refusal::new(StatusCode::REQUEST_TIMEOUT, "the body took too long to arrive")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sender_in(values: &[&[u8]]) -> Result<String, u16> {
        let mut headers = HeaderMap::new();
        for value in values {
            headers.append(FROM, HeaderValue::from_bytes(value).unwrap());
        }
        sender(&headers).map(String::from).map_err(|refusal| refusal.status.as_u16())
    }

    #[test]
    fn the_sender_is_an_addr_spec_with_the_local_part_mimi() {
        assert_eq!(sender_in(&[b"mimi@b.example"]), Ok("b.example".into()));
        assert_eq!(sender_in(&[b"mimi@B.Example"]), Ok("b.example".into()));
        for bad in [
            &b""[..],
            b"mimi",
            b"mimi@",
            b"@b.example",
            b"b.example",
            b"bob@b.example",
            b"Mimi@b.example",
            b"\"mimi\"@b.example",
            b"<mimi@b.example>",
            b"B <mimi@b.example>",
            b"mimi@b.example (B)",
            b"mimi@b.example, mimi@c.example",
            b"mimi@b.example:443",
            b"mimi@b.example.",
            b"mimi@[192.0.2.1]",
            b"mimi@b_example",
            b"mimi @b.example",
            b"mimi@b\xc3\xbc.example",
        ] {
            assert_eq!(sender_in(&[bad]), Err(400), "{:?}", String::from_utf8_lossy(bad));
        }
        assert_eq!(sender_in(&[]), Err(400));
        assert_eq!(sender_in(&[b"mimi@b.example", b"mimi@b.example"]), Err(400));
    }

    #[test]
    fn the_target_is_our_domain_whatever_the_port() {
        let target = |uri: &str, hosts: &[&str]| {
            let mut request = http::Request::builder().uri(uri);
            for host in hosts {
                request = request.header(HOST, *host);
            }
            let us = Domain::parse("a.example").unwrap();
            check_target(&request.body(()).unwrap().into_parts().0, &us).map_err(|refusal| refusal.status.as_u16())
        };
        for host in ["a.example", "A.EXAMPLE", "a.example:8443", "a.example:1"] {
            assert_eq!(target("/x", &[host]), Ok(()), "{host}");
            assert_eq!(target(&format!("https://{host}/x"), &[]), Ok(()), "{host}");
        }
        for host in ["b.example", "a.example.", "xa.example", "x.a.example", "192.0.2.1", "[::1]:443"] {
            assert_eq!(target("/x", &[host]), Err(421), "{host}");
            assert_eq!(target(&format!("https://{host}/x"), &[]), Err(421), "{host}");
        }
        assert_eq!(target("https://b.example/x", &["a.example"]), Err(421));
        for hosts in [&[][..], &[""], &["a example"], &["a.example", "a.example"]] {
            assert_eq!(target("/x", hosts), Err(400), "{hosts:?}");
        }
    }

    #[test]
    fn bodies_have_the_limits_of_d54() {
        assert_eq!(limit(Endpoint::Update), 4_194_304);
        assert_eq!(limit(Endpoint::Notify), 8_388_608);
        assert_eq!(limit(Endpoint::SubmitMessage), 1_048_576);
        assert_eq!(limit(Endpoint::KeyMaterial), 1_048_576);
    }
}
