//! The HTTP face of an [`Operator`].
//!
//! A room's URI is one percent-encoded path segment, as in MIMI's own endpoints (P§5). Errors are
//! [`OperatorError`]s in JSON.

use std::{
    fs, io,
    os::unix::{fs::PermissionsExt, net::UnixStream},
    path::Path as FilePath,
    sync::Arc,
};

use axum::{
    Json, Router,
    extract::{Path, Query, State},
    http::{StatusCode, header},
    response::{IntoResponse, Response},
    routing::{delete, get, post},
    serve::Listener,
};
use serde::{Deserialize, Serialize};
use tokio::net::UnixListener;
use tokio_util::sync::CancellationToken;

use super::{
    AbuseDetail, AbuseSummary, CodeSummary, ConsentRequest, ConsentScope, CreateDirect, CreateRoom, Delivery,
    ErrorKind, Find, Join, KeptMessage, Letters, Link, NewCode, Operator, OperatorError, Outbox, ReportAbuse,
    RoomDetail, RoomSummary, Status, Traced, TripStatus, Unlink, metrics,
};
use crate::mimi::uri::RoomUri;
use mimi_adapter::UserUri;

type Core = State<Arc<dyn Operator>>;
type Answer<T> = Result<Json<T>, OperatorError>;

/// Everything: for the socket.
pub fn router(operator: Arc<dyn Operator>) -> Router {
    Router::new()
        .route("/status", get(status))
        .route("/rooms", get(rooms).post(create_room))
        .route("/rooms/{room}", get(room))
        .route("/rooms/{room}/invites", post(invite))
        .route("/rooms/{room}/link", post(link))
        .route("/rooms/{room}/link", delete(unlink))
        .route("/rooms/{room}/relink", post(relink))
        .route("/rooms/{room}/codes", get(codes).post(make_code))
        .route("/rooms/{room}/codes/{id}", delete(withdraw_code))
        .route("/join", post(join))
        .route("/outbox", get(outbox))
        .route("/outbox/retry", post(retry))
        .route("/outbox/{id}", get(delivery).delete(drop_letter))
        .route("/outbox/{id}/redirect", post(redirect))
        .route("/trace", get(trace))
        .route("/breaker", get(trips))
        .route("/breaker/{id}/allow", post(allow_trip))
        .route("/breaker/{id}/refuse", post(refuse_trip))
        .route("/direct", post(direct))
        .route("/rooms/{room}/kept", get(kept))
        .route("/abuse", get(abuse_reports).post(report_abuse))
        .route("/abuse/{id}", get(abuse_report).delete(drop_abuse_report))
        .route("/find", post(find))
        .route("/consents", get(consents))
        .route("/consents/grant", post(grant))
        .route("/consents/revoke", post(revoke))
        .with_state(operator.clone())
        .merge(public_router(operator))
}

/// What changes nothing and names nobody: for a TCP address.
pub fn public_router(operator: Arc<dyn Operator>) -> Router {
    Router::new()
        .route("/health", get(async || "ok\n"))
        .route("/ready", get(ready))
        .route("/metrics", get(metrics))
        .with_state(operator)
}

/// Serves until `stop`, then finishes the requests that are under way.
pub async fn serve<L: Listener>(listener: L, router: Router, stop: CancellationToken) -> io::Result<()>
where
    L::Addr: std::fmt::Debug,
{
    axum::serve(listener, router).with_graceful_shutdown(stop.cancelled_owned()).await
}

/// A socket at `path` that only its owner can open. Takes the place of one that a dead gateway left behind,
/// and refuses to take that of a living one.
pub fn bind(path: &FilePath) -> io::Result<UnixListener> {
    if UnixStream::connect(path).is_ok() {
        return Err(io::Error::new(io::ErrorKind::AddrInUse, "another gateway is listening there (stop it first)"));
    }
    if let Some(directory) = path.parent() {
        fs::create_dir_all(directory)?;
    }
    // Bound under another name and moved: it must never be there with the mode that the umask gives it.
    let mut unfinished = path.as_os_str().to_owned();
    unfinished.push(".new");
    if let Err(e) = fs::remove_file(&unfinished)
        && e.kind() != io::ErrorKind::NotFound
    {
        return Err(e);
    }
    let listener = UnixListener::bind(&unfinished)?;
    fs::set_permissions(&unfinished, fs::Permissions::from_mode(0o600))?;
    fs::rename(&unfinished, path)?;
    Ok(listener)
}

async fn status(State(core): Core) -> Answer<Status> {
    core.status().await.map(Json)
}

#[derive(Serialize, Deserialize)]
pub(super) struct Ready {
    pub ready: bool,
    pub reasons: Vec<String>,
}

async fn ready(State(core): Core) -> Response {
    let reasons = core.not_ready().await;
    let code = if reasons.is_empty() { StatusCode::OK } else { StatusCode::SERVICE_UNAVAILABLE };
    (code, Json(Ready { ready: reasons.is_empty(), reasons })).into_response()
}

async fn metrics(State(core): Core) -> Result<Response, OperatorError> {
    let text = metrics::render(&core.status().await?, core.not_ready().await.is_empty());
    Ok(([(header::CONTENT_TYPE, "text/plain; version=0.0.4; charset=utf-8")], text).into_response())
}

async fn rooms(State(core): Core) -> Answer<Vec<RoomSummary>> {
    core.rooms().await.map(Json)
}

async fn room(State(core): Core, Path(room): Path<RoomUri>) -> Answer<RoomDetail> {
    core.room(&room).await.map(Json)
}

/// The room that now is there, or that something goes to.
#[derive(Serialize, Deserialize)]
pub(super) struct Created {
    pub room: RoomUri,
}

async fn create_room(State(core): Core, Json(new): Json<CreateRoom>) -> Answer<Created> {
    core.create_room(new).await.map(|room| Json(Created { room }))
}

async fn direct(State(core): Core, Json(new): Json<CreateDirect>) -> Answer<Created> {
    core.direct(new).await.map(|room| Json(Created { room }))
}

#[derive(Serialize, Deserialize)]
pub(super) struct Invited {
    pub user: UserUri,
}

async fn invite(State(core): Core, Path(room): Path<RoomUri>, Json(Invited { user }): Json<Invited>) -> Answer<()> {
    core.invite(&room, &user).await.map(Json)
}

async fn link(State(core): Core, Path(room): Path<RoomUri>, Json(link): Json<Link>) -> Answer<()> {
    core.link(&room, link).await.map(Json)
}

async fn unlink(State(core): Core, Path(room): Path<RoomUri>, Query(how): Query<Unlink>) -> Answer<()> {
    core.unlink(&room, how).await.map(Json)
}

async fn relink(State(core): Core, Path(room): Path<RoomUri>) -> Answer<()> {
    core.relink(&room).await.map(Json)
}

async fn join(State(core): Core, Json(new): Json<Join>) -> Answer<()> {
    core.join(new).await.map(Json)
}

async fn make_code(State(core): Core, Path(room): Path<RoomUri>, Json(new): Json<NewCode>) -> Answer<String> {
    core.make_code(&room, new).await.map(Json)
}

async fn codes(State(core): Core, Path(room): Path<RoomUri>) -> Answer<Vec<CodeSummary>> {
    core.codes(&room).await.map(Json)
}

async fn withdraw_code(State(core): Core, Path((room, id)): Path<(RoomUri, String)>) -> Answer<()> {
    core.withdraw_code(&room, &id).await.map(Json)
}

async fn outbox(State(core): Core, Query(Letters { room, .. }): Query<Letters>) -> Answer<Outbox> {
    core.outbox(room.as_ref()).await.map(Json)
}

#[derive(Serialize, Deserialize)]
pub(super) struct Content {
    #[serde(default)]
    pub content: bool,
}

async fn delivery(State(core): Core, Path(id): Path<i64>, Query(it): Query<Content>) -> Answer<Delivery> {
    core.delivery(id, it.content).await.map(Json)
}

/// What somebody looks for: native ids have all kinds of characters in them.
#[derive(Serialize, Deserialize)]
pub(super) struct Named {
    pub id: String,
}

async fn trace(State(core): Core, Query(Named { id }): Query<Named>) -> Answer<Vec<Traced>> {
    core.trace(&id).await.map(Json)
}

async fn retry(State(core): Core, Json(which): Json<Letters>) -> Answer<u64> {
    core.retry(which).await.map(Json)
}

async fn redirect(State(core): Core, Path(id): Path<i64>, Json(Created { room }): Json<Created>) -> Answer<()> {
    core.redirect(id, &room).await.map(Json)
}

async fn drop_letter(State(core): Core, Path(id): Path<i64>) -> Answer<()> {
    core.drop_letter(id).await.map(Json)
}

async fn trips(State(core): Core) -> Answer<Vec<TripStatus>> {
    core.trips().await.map(Json)
}

async fn allow_trip(State(core): Core, Path(id): Path<i64>) -> Answer<u64> {
    core.decide_trip(id, true).await.map(Json)
}

async fn refuse_trip(State(core): Core, Path(id): Path<i64>) -> Answer<u64> {
    core.decide_trip(id, false).await.map(Json)
}

async fn abuse_reports(State(core): Core) -> Answer<Vec<AbuseSummary>> {
    core.abuse_reports().await.map(Json)
}

async fn abuse_report(State(core): Core, Path(id): Path<i64>, Query(it): Query<Content>) -> Answer<AbuseDetail> {
    core.abuse_report(id, it.content).await.map(Json)
}

async fn drop_abuse_report(State(core): Core, Path(id): Path<i64>) -> Answer<()> {
    core.drop_abuse_report(id).await.map(Json)
}

async fn kept(State(core): Core, Path(room): Path<RoomUri>) -> Answer<Vec<KeptMessage>> {
    core.kept_messages(&room).await.map(Json)
}

async fn report_abuse(State(core): Core, Json(new): Json<ReportAbuse>) -> Answer<()> {
    core.report_abuse(new).await.map(Json)
}

async fn find(State(core): Core, Json(find): Json<Find>) -> Answer<Vec<UserUri>> {
    core.find(find).await.map(Json)
}

async fn consents(State(core): Core) -> Answer<Vec<ConsentRequest>> {
    core.consents().await.map(Json)
}

async fn grant(State(core): Core, Json(scope): Json<ConsentScope>) -> Answer<()> {
    core.grant(scope).await.map(Json)
}

async fn revoke(State(core): Core, Json(scope): Json<ConsentScope>) -> Answer<()> {
    core.revoke(scope).await.map(Json)
}

impl IntoResponse for OperatorError {
    fn into_response(self) -> Response {
        let code = match self.kind {
            ErrorKind::NotFound => StatusCode::NOT_FOUND,
            ErrorKind::Conflict => StatusCode::CONFLICT,
            ErrorKind::Invalid => StatusCode::UNPROCESSABLE_ENTITY,
            ErrorKind::Unavailable => StatusCode::SERVICE_UNAVAILABLE,
        };
        (code, Json(self)).into_response()
    }
}
