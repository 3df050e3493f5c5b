//! Requests to the homeserver, as the bot or as a ghost, and what its refusals mean for us.
//!
//! Plain requests over our own HTTP client: an application service speaks for its users by `?user_id=` on
//! each request, for which matrix-sdk's `Client` (one user, one access token, one sync loop) has no place.
//!
//! The one thing to get right is [`Failure::refusal`]: a `Reject` gives a message up for good, so only the
//! homeserver itself can cause one, with a Matrix error code. An error page of a proxy, a `502`, a time-out
//! or a wrong token say nothing about the message.

use std::{borrow::Cow, collections::BTreeSet, io, time::Duration};

use futures::TryStreamExt;
use matrix_sdk::ruma::{
    MxcUri, OwnedMxcUri, OwnedUserId, UserId,
    api::{
        AppserviceUserIdentity, IncomingResponse, MatrixVersion, OutgoingRequest, OutgoingRequestAppserviceExt,
        SupportedVersions,
        auth_scheme::{AuthScheme, SendAccessToken},
        error::{ErrorBody, ErrorKind, RetryAfter},
        path_builder::PathBuilder,
    },
};
use mimi_adapter::{Opened, Refusal, file::CHUNK};
use reqwest::{
    StatusCode,
    header::{CONTENT_LENGTH, CONTENT_TYPE, RETRY_AFTER},
};
use tokio_util::io::{ReaderStream, StreamReader};
use tracing::error;

use crate::{config::Secret, media};

/// How long one request may take. Several make one delivery, which has half a minute.
const PATIENCE: Duration = Duration::from_secs(20);
const CONNECT: Duration = Duration::from_secs(5);
/// How long a file may come. If nothing comes for as long as a request may take, it is over before.
const TRANSFER: Duration = Duration::from_secs(3600);

pub struct Client {
    http: reqwest::Client,
    homeserver: String,
    as_token: Secret,
    bot: OwnedUserId,
}

impl Client {
    /// Fails if the machine has no working TLS.
    pub fn new(homeserver: String, as_token: Secret, bot: OwnedUserId) -> Result<Self, reqwest::Error> {
        // The homeserver is a neighbour: a proxy from the environment is for the world outside.
        let http = reqwest::Client::builder()
            .no_proxy()
            .timeout(PATIENCE)
            .read_timeout(PATIENCE)
            .connect_timeout(CONNECT)
            .build()?;
        Ok(Self { http, homeserver, as_token, bot })
    }

    /// The octets of a file, as the homeserver brings them.
    pub async fn download(&self, at: &MxcUri) -> Result<Opened, Failure> {
        let unknown = || Failure::Refused {
            status: StatusCode::NOT_FOUND,
            kind: ErrorKind::NotFound,
            message: "there is no such file".into(),
            after: None,
        };
        let path = media::path(at).ok_or_else(unknown)?;
        let url = format!("{}/_matrix/client/v1/media/download/{path}", self.homeserver);
        let request = self.http.get(url).bearer_auth(self.as_token.expose()).timeout(TRANSFER);
        let response = request.send().await.map_err(Failure::Unreachable)?;
        if !response.status().is_success() {
            return Err(failure(response).await);
        }
        let length = response.headers().get(CONTENT_LENGTH).and_then(|length| length.to_str().ok()?.parse().ok());
        let octets = response.bytes_stream().map_err(|error| io::Error::other(error.without_url()));
        Ok(Opened { size: length, octets: Box::pin(StreamReader::<_, bytes::Bytes>::new(octets)) })
    }

    /// Puts a file into the media repository.
    pub async fn upload(
        &self,
        name: &str,
        media_type: &str,
        file: Opened,
        patience: Duration,
    ) -> Result<OwnedMxcUri, Failure> {
        let octets = ReaderStream::with_capacity(file.octets, CHUNK);
        let mut request = self
            .http
            .post(format!("{}/_matrix/media/v3/upload", self.homeserver))
            .bearer_auth(self.as_token.expose())
            .header(CONTENT_TYPE, media_type)
            .timeout(patience)
            .body(reqwest::Body::wrap_stream(octets));
        if let Some(size) = file.size {
            request = request.header(CONTENT_LENGTH, size);
        }
        if !name.is_empty() {
            request = request.query(&[("filename", name)]);
        }
        let response = request.send().await.map_err(Failure::Unreachable)?;
        if !response.status().is_success() {
            return Err(failure(response).await);
        }
        #[derive(serde::Deserialize)]
        struct Uploaded {
            content_uri: OwnedMxcUri,
        }
        let unusable = |_| Failure::Unusable { what: "its answer to a file is not Matrix".into(), after: None };
        Ok(response.json::<Uploaded>().await.map_err(unusable)?.content_uri)
    }

    /// Asks as `user`, somebody of our namespace. The bot is one of them.
    pub async fn ask<R>(&self, user: &UserId, request: R) -> Result<R::IncomingResponse, Failure>
    where
        R: OutgoingRequest,
        for<'a> R::Authentication: AuthScheme<Input<'a> = SendAccessToken<'a>>,
        for<'a> R::PathBuilder: PathBuilder<Input<'a> = Cow<'a, SupportedVersions>>,
    {
        // Every path we use has been stable since long before this version (2024-06).
        let versions = SupportedVersions { versions: [MatrixVersion::V1_11].into(), features: BTreeSet::new() };
        let token = SendAccessToken::Always(self.as_token.expose());
        // Without an identity the token means the bot: also before the homeserver has the account.
        let identity = if user == self.bot { Default::default() } else { AppserviceUserIdentity::new(user) };
        let request = request
            .try_into_http_request_with_identity::<Vec<u8>>(&self.homeserver, token, identity, Cow::Owned(versions))
            .map_err(|error| Failure::Unusable { what: error.to_string(), after: None })?;
        let request = reqwest::Request::try_from(request).map_err(Failure::Unreachable)?;
        let response = self.http.execute(request).await.map_err(Failure::Unreachable)?;

        let status = response.status();
        let after = response.headers().get(RETRY_AFTER).and_then(|value| RetryAfter::try_from(value).ok());
        let mut answer = http::Response::builder().status(status);
        answer.headers_mut().expect("a status is always fine").extend(response.headers().clone());
        let body = response.bytes().await.map_err(Failure::Unreachable)?;
        let answer = answer.body(body).expect("a status and headers that were read are fine");
        if status.is_success() {
            return R::IncomingResponse::try_from_http_response(answer)
                .map_err(|_| Failure::Unusable { what: format!("its answer ({status}) is not Matrix"), after: None });
        }
        Err(Failure::of(status, answer.body(), after.map(delay)))
    }
}

async fn failure(response: reqwest::Response) -> Failure {
    let status = response.status();
    let after = response.headers().get(RETRY_AFTER).and_then(|value| RetryAfter::try_from(value).ok());
    match response.bytes().await {
        Ok(body) => Failure::of(status, &body, after.map(delay)),
        Err(error) => Failure::Unreachable(error),
    }
}

fn delay(after: RetryAfter) -> Duration {
    match after {
        RetryAfter::Delay(delay) => delay,
        RetryAfter::DateTime(then) => then.elapsed().map_or_else(|ahead| ahead.duration(), |_| Duration::ZERO),
    }
}

/// Why there is no answer that we can use.
#[derive(Debug, thiserror::Error)]
pub enum Failure {
    /// Nobody knows whether the homeserver did what we asked.
    #[error("the homeserver can't be reached: {}", cause(.0))]
    Unreachable(reqwest::Error),
    /// Something answered, but not as a homeserver does: a proxy before it, perhaps.
    #[error("the homeserver can't be understood: {what}")]
    Unusable { what: String, after: Option<Duration> },
    /// The homeserver said no, in Matrix's words.
    #[error("the homeserver says: {message} ({}, {status})", .kind.errcode())]
    Refused { status: StatusCode, kind: ErrorKind, message: String, after: Option<Duration> },
}

/// reqwest says "error sending request" and hides why.
fn cause(error: &reqwest::Error) -> String {
    let mut deepest: &dyn std::error::Error = error;
    while let Some(source) = deepest.source() {
        deepest = source;
    }
    if error.is_timeout() { "it takes too long".into() } else { deepest.to_string() }
}

impl Failure {
    fn of(status: StatusCode, body: &[u8], after: Option<Duration>) -> Self {
        let Ok(ErrorBody::Standard(error)) = serde_json::from_slice(body).map(ErrorBody::Standard) else {
            return Self::Unusable { what: format!("it answers {status} without a Matrix error"), after };
        };
        let in_body = match &error.kind {
            ErrorKind::LimitExceeded(limit) => limit.retry_after.map(delay),
            _ => None,
        };
        Self::Refused { status, kind: error.kind, message: error.message, after: after.or(in_body) }
    }

    pub fn kind(&self) -> Option<&ErrorKind> {
        match self {
            Self::Refused { kind, .. } => Some(kind),
            Self::Unreachable(_) | Self::Unusable { .. } => None,
        }
    }

    /// This user may not do that here: isn't in the room, isn't registered, hasn't the power.
    pub fn is_forbidden(&self) -> bool {
        matches!(self.kind(), Some(ErrorKind::Forbidden))
    }

    pub fn is_not_found(&self) -> bool {
        matches!(self.kind(), Some(ErrorKind::NotFound))
    }

    /// The homeserver has looked at the request and not done it. Otherwise it may have.
    pub fn is_certain(&self) -> bool {
        matches!(self, Self::Refused { status, .. } if status.is_client_error())
    }

    /// The homeserver has understood us and says no to just this. Trying again won't help.
    pub fn is_final(&self) -> bool {
        use ErrorKind::{Exclusive, LimitExceeded, MissingToken, NotJson, Unauthorized, UnknownToken, Unrecognized};
        let about_us = |kind: &ErrorKind| {
            matches!(
                kind,
                UnknownToken(_) | MissingToken | Unauthorized | Exclusive | LimitExceeded(_) | Unrecognized | NotJson
            )
        };
        self.is_certain() && !self.kind().is_some_and(about_us)
    }

    /// Whose turn is it now? `what` is the sentence for the person, up to the homeserver's own words.
    pub fn refusal(self, what: &str) -> Refusal {
        use ErrorKind::{Exclusive, LimitExceeded, MissingToken, Unauthorized, UnknownToken};
        match self {
            Self::Refused { ref message, .. } if self.is_final() => Refusal::reject(format!("{what}: {message}")),
            Self::Refused { kind: UnknownToken(_) | MissingToken | Unauthorized | Exclusive, .. } => {
                error!(
                    problem = %self,
                    "The homeserver does not accept us. Print the registration again, give it to the homeserver, restart that."
                );
                Refusal::retry(self)
            }
            // A path that the homeserver doesn't know, or a body that has suffered on the way.
            Self::Refused { status, ref kind, .. } if status.is_client_error() && !matches!(kind, LimitExceeded(_)) => {
                error!(problem = %self, "The homeserver does not understand us. Is there a proxy before it?");
                Refusal::retry(self)
            }
            Self::Refused { after, .. } | Self::Unusable { after, .. } => Refusal::Retry { after, source: self.into() },
            Self::Unreachable(_) => Refusal::retry(self),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn refusal(status: u16, body: &str) -> Refusal {
        let after = Some(Duration::from_secs(7)).filter(|_| status == 503);
        Failure::of(StatusCode::from_u16(status).unwrap(), body.as_bytes(), after).refusal("Not sent")
    }

    #[test]
    fn only_the_homeserver_itself_gives_a_message_up() {
        for (status, body) in [
            (403, r#"{"errcode":"M_FORBIDDEN","error":"You are banned"}"#),
            (413, r#"{"errcode":"M_TOO_LARGE","error":"event too large"}"#),
            (400, r#"{"errcode":"M_UNKNOWN","error":"no"}"#),
            (400, r#"{"errcode":"M_BAD_JSON","error":"no such content"}"#),
            (404, r#"{"errcode":"M_NOT_FOUND","error":"no"}"#),
            (418, r#"{"errcode":"ORG.EXAMPLE.TEAPOT","error":"no"}"#),
        ] {
            assert!(matches!(refusal(status, body), Refusal::Reject { .. }), "{status} {body}");
        }
        for (status, body) in [
            (403, "<h1>nginx</h1>"),
            (404, "{}"),
            (404, ""),
            (400, r#"{"errcode":"M_NOT_JSON","error":"Content not JSON."}"#),
            (404, r#"{"errcode":"M_UNRECOGNIZED","error":"Unrecognized request"}"#),
            (401, r#"{"errcode":"M_UNKNOWN_TOKEN","error":"Unrecognised access token"}"#),
            (400, r#"{"errcode":"M_EXCLUSIVE","error":"Invalid user localpart for this application service."}"#),
            (429, r#"{"errcode":"M_LIMIT_EXCEEDED","error":"Too many requests"}"#),
            (500, r#"{"errcode":"M_UNKNOWN","error":"Internal server error"}"#),
            (502, "<h1>Bad Gateway</h1>"),
            (503, ""),
            (504, r#"{"errcode":"M_FORBIDDEN","error":"odd"}"#),
        ] {
            assert!(matches!(refusal(status, body), Refusal::Retry { .. }), "{status} {body}");
        }
    }

    #[test]
    fn the_sender_reads_the_homeservers_words() {
        let Refusal::Reject { reason } = refusal(403, r#"{"errcode":"M_FORBIDDEN","error":"You are banned"}"#) else {
            panic!("a ban is final");
        };
        assert_eq!(reason, "Not sent: You are banned");
    }

    #[test]
    fn the_homeserver_says_how_long_to_wait() {
        let after = |status, body| match refusal(status, body) {
            Refusal::Retry { after, .. } => after,
            Refusal::Reject { reason } => panic!("{reason}"),
        };
        let limited = r#"{"errcode":"M_LIMIT_EXCEEDED","error":"slow down","retry_after_ms":1500}"#;
        assert_eq!(after(429, limited), Some(Duration::from_millis(1500)));
        assert_eq!(after(503, "busy"), Some(Duration::from_secs(7)));
        assert_eq!(after(503, limited), Some(Duration::from_secs(7)));
        assert_eq!(after(500, ""), None);
    }

    #[test]
    fn after_a_refusal_the_outcome_is_certain_and_after_a_breakdown_it_is_not() {
        let certain = |status: u16, body: &str| {
            Failure::of(StatusCode::from_u16(status).unwrap(), body.as_bytes(), None).is_certain()
        };
        assert!(certain(403, r#"{"errcode":"M_FORBIDDEN","error":"no"}"#));
        assert!(!certain(500, r#"{"errcode":"M_UNKNOWN","error":"no"}"#));
        assert!(!certain(502, "<h1>Bad Gateway</h1>"));
        assert!(!certain(403, "<h1>nginx</h1>"));
    }
}
