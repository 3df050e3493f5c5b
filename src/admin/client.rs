//! An [`Operator`] at the other end of a unix socket: what the command line talks to.

use std::{error::Error, io, path::Path, time::Duration};

use async_trait::async_trait;
use mimi_adapter::{UserUri, uri::encode_segment};
use reqwest::{Method, RequestBuilder};
use serde::de::DeserializeOwned;

use super::{
    AbuseDetail, AbuseSummary, CodeSummary, ConsentRequest, ConsentScope, CreateDirect, CreateRoom, Delivery,
    ErrorKind, Find, Join, KeptMessage, Letters, Link, NewCode, Operator, OperatorError, Outbox, ReportAbuse,
    RoomDetail, RoomSummary, Status, Traced, TripStatus, Unlink,
    server::{Content, Created, Invited, Named, Ready},
};
use crate::mimi::uri::RoomUri;

pub struct Client {
    http: reqwest::Client,
    socket: String,
}

impl Client {
    pub fn new(socket: &Path) -> Result<Self, OperatorError> {
        // An invitation asks another provider before it answers.
        let http = reqwest::Client::builder().unix_socket(socket).timeout(Duration::from_secs(60)).tls_certs_only([]);
        let failed = |e| OperatorError::new(ErrorKind::Unavailable, format!("no HTTP client: {e}"), "");
        Ok(Self { http: http.build().map_err(failed)?, socket: socket.display().to_string() })
    }

    fn request(&self, method: Method, path: &str) -> RequestBuilder {
        self.http.request(method, format!("http://mimi-gateway{path}"))
    }

    async fn get<T: DeserializeOwned>(&self, path: &str) -> Result<T, OperatorError> {
        self.answer(self.request(Method::GET, path)).await
    }

    async fn answer<T: DeserializeOwned>(&self, request: RequestBuilder) -> Result<T, OperatorError> {
        let response = request.send().await.map_err(|e| self.unreachable(&e))?;
        let status = response.status();
        let body = response.bytes().await.map_err(|e| self.unreachable(&e))?;
        if status.is_success() {
            return serde_json::from_slice(&body).map_err(|e| self.another_version(&e.to_string()));
        }
        Err(serde_json::from_slice(&body)
            .unwrap_or_else(|_| self.another_version(&format!("{status}: {}", String::from_utf8_lossy(&body).trim()))))
    }

    fn unreachable(&self, error: &reqwest::Error) -> OperatorError {
        let mut causes = std::iter::successors(Some(error as &dyn Error), |&error| error.source());
        let kind = causes.find_map(|cause| cause.downcast_ref::<io::Error>()).map(io::Error::kind);
        let (message, next_step) = match kind {
            Some(io::ErrorKind::NotFound | io::ErrorKind::ConnectionRefused) => (
                format!("no gateway is listening at {}", self.socket),
                "start it with `mimi-gateway run`, or name its configuration with --config or its socket with --socket",
            ),
            Some(io::ErrorKind::PermissionDenied) => {
                (format!("{} is not yours to open", self.socket), "run this as the account that the gateway runs as")
            }
            _ if error.is_timeout() => (
                "the gateway has not answered within a minute".into(),
                "look at its log, then at `mimi-gateway status`",
            ),
            _ => (format!("the gateway at {} broke off: {error}", self.socket), "look at its log, then try again"),
        };
        OperatorError::new(ErrorKind::Unavailable, message, next_step)
    }

    fn another_version(&self, problem: &str) -> OperatorError {
        OperatorError::new(
            ErrorKind::Invalid,
            format!("the gateway at {} answered with something else: {problem}", self.socket),
            "is it of the same version as this command?",
        )
    }
}

fn path(room: &RoomUri) -> String {
    let mut path = String::from("/rooms/");
    encode_segment(room.as_str(), &mut path);
    path
}

#[async_trait]
impl Operator for Client {
    async fn status(&self) -> Result<Status, OperatorError> {
        self.get("/status").await
    }

    async fn not_ready(&self) -> Vec<String> {
        match self.request(Method::GET, "/ready").send().await {
            Ok(response) => match response.json::<Ready>().await {
                Ok(ready) => ready.reasons,
                Err(e) => vec![self.another_version(&e.to_string()).to_string()],
            },
            Err(e) => vec![self.unreachable(&e).to_string()],
        }
    }

    async fn rooms(&self) -> Result<Vec<RoomSummary>, OperatorError> {
        self.get("/rooms").await
    }

    async fn room(&self, room: &RoomUri) -> Result<RoomDetail, OperatorError> {
        self.get(&path(room)).await
    }

    async fn create_room(&self, new: CreateRoom) -> Result<RoomUri, OperatorError> {
        let created: Created = self.answer(self.request(Method::POST, "/rooms").json(&new)).await?;
        Ok(created.room)
    }

    async fn direct(&self, new: CreateDirect) -> Result<RoomUri, OperatorError> {
        let created: Created = self.answer(self.request(Method::POST, "/direct").json(&new)).await?;
        Ok(created.room)
    }

    async fn invite(&self, room: &RoomUri, user: &UserUri) -> Result<(), OperatorError> {
        let invited = Invited { user: user.clone() };
        self.answer(self.request(Method::POST, &format!("{}/invites", path(room))).json(&invited)).await
    }

    async fn link(&self, room: &RoomUri, link: Link) -> Result<(), OperatorError> {
        self.answer(self.request(Method::POST, &format!("{}/link", path(room))).json(&link)).await
    }

    async fn join(&self, new: Join) -> Result<(), OperatorError> {
        self.answer(self.request(Method::POST, "/join").json(&new)).await
    }

    async fn make_code(&self, room: &RoomUri, new: NewCode) -> Result<String, OperatorError> {
        self.answer(self.request(Method::POST, &format!("{}/codes", path(room))).json(&new)).await
    }

    async fn codes(&self, room: &RoomUri) -> Result<Vec<CodeSummary>, OperatorError> {
        self.get(&format!("{}/codes", path(room))).await
    }

    async fn withdraw_code(&self, room: &RoomUri, id: &str) -> Result<(), OperatorError> {
        let mut path = format!("{}/codes/", path(room));
        encode_segment(id, &mut path);
        self.answer(self.request(Method::DELETE, &path)).await
    }

    async fn unlink(&self, room: &RoomUri, how: Unlink) -> Result<(), OperatorError> {
        self.answer(self.request(Method::DELETE, &format!("{}/link", path(room))).query(&how)).await
    }

    async fn relink(&self, room: &RoomUri) -> Result<(), OperatorError> {
        self.answer(self.request(Method::POST, &format!("{}/relink", path(room)))).await
    }

    async fn outbox(&self, room: Option<&RoomUri>) -> Result<Outbox, OperatorError> {
        let which = Letters { id: None, room: room.cloned() };
        self.answer(self.request(Method::GET, "/outbox").query(&which)).await
    }

    async fn delivery(&self, id: i64, content: bool) -> Result<Delivery, OperatorError> {
        self.answer(self.request(Method::GET, &format!("/outbox/{id}")).query(&Content { content })).await
    }

    async fn trace(&self, id: &str) -> Result<Vec<Traced>, OperatorError> {
        self.answer(self.request(Method::GET, "/trace").query(&Named { id: id.to_owned() })).await
    }

    async fn retry(&self, which: Letters) -> Result<u64, OperatorError> {
        self.answer(self.request(Method::POST, "/outbox/retry").json(&which)).await
    }

    async fn redirect(&self, id: i64, room: &RoomUri) -> Result<(), OperatorError> {
        let to = Created { room: room.clone() };
        self.answer(self.request(Method::POST, &format!("/outbox/{id}/redirect")).json(&to)).await
    }

    async fn drop_letter(&self, id: i64) -> Result<(), OperatorError> {
        self.answer(self.request(Method::DELETE, &format!("/outbox/{id}"))).await
    }

    async fn trips(&self) -> Result<Vec<TripStatus>, OperatorError> {
        self.get("/breaker").await
    }

    async fn decide_trip(&self, id: i64, allow: bool) -> Result<u64, OperatorError> {
        let word = if allow { "allow" } else { "refuse" };
        self.answer(self.request(Method::POST, &format!("/breaker/{id}/{word}"))).await
    }

    async fn abuse_reports(&self) -> Result<Vec<AbuseSummary>, OperatorError> {
        self.get("/abuse").await
    }

    async fn abuse_report(&self, id: i64, content: bool) -> Result<AbuseDetail, OperatorError> {
        self.answer(self.request(Method::GET, &format!("/abuse/{id}")).query(&Content { content })).await
    }

    async fn drop_abuse_report(&self, id: i64) -> Result<(), OperatorError> {
        self.answer(self.request(Method::DELETE, &format!("/abuse/{id}"))).await
    }

    async fn kept_messages(&self, room: &RoomUri) -> Result<Vec<KeptMessage>, OperatorError> {
        self.get(&format!("{}/kept", path(room))).await
    }

    async fn report_abuse(&self, new: ReportAbuse) -> Result<(), OperatorError> {
        self.answer(self.request(Method::POST, "/abuse").json(&new)).await
    }

    async fn find(&self, find: Find) -> Result<Vec<UserUri>, OperatorError> {
        self.answer(self.request(Method::POST, "/find").json(&find)).await
    }

    async fn consents(&self) -> Result<Vec<ConsentRequest>, OperatorError> {
        self.get("/consents").await
    }

    async fn grant(&self, scope: ConsentScope) -> Result<(), OperatorError> {
        self.answer(self.request(Method::POST, "/consents/grant").json(&scope)).await
    }

    async fn revoke(&self, scope: ConsentScope) -> Result<(), OperatorError> {
        self.answer(self.request(Method::POST, "/consents/revoke").json(&scope)).await
    }
}
