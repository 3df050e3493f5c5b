//! What the homeserver calls: the application service API, and nothing else.

use std::{net::SocketAddr, sync::Arc};

use axum::{
    Router,
    body::Bytes,
    extract::{ConnectInfo, DefaultBodyLimit, Path, Request, State},
    http::{Extensions, HeaderMap, StatusCode, header},
    middleware::{self, Next},
    response::{IntoResponse, Response},
    routing::{get, post, put},
};
use matrix_sdk::ruma::{
    UserId,
    api::{IncomingRequest, appservice::event::push_events},
};
use mimi_adapter::{Ghost, Refusal};
use serde_json::{Value, json};
use sha2::{Digest, Sha256};
use tracing::{error, warn};

use crate::{config::Secret, homeserver::Homeserver, transactions::Transactions};

/// A transaction has at most 100 events of 64 KiB, and what a homeserver adds to each.
const MAX_BODY: usize = 32 << 20;

pub fn router(hs_token: &Secret, homeserver: Arc<Homeserver>, transactions: Arc<Transactions>) -> Router {
    let token: Token = Sha256::digest(hs_token.expose()).into();
    Router::new()
        .route("/_matrix/app/v1/transactions/{txn_id}", put(transaction).with_state(transactions))
        .route("/_matrix/app/v1/users/{user_id}", get(user).with_state(homeserver.clone()))
        .route("/_matrix/app/v1/rooms/{alias}", get(async || no(StatusCode::NOT_FOUND, "M_NOT_FOUND", "no such room")))
        .route("/_matrix/app/v1/ping", post(ping).with_state(homeserver))
        .fallback(async || no(StatusCode::NOT_FOUND, "M_UNRECOGNIZED", "no such request"))
        .method_not_allowed_fallback(async || no(StatusCode::METHOD_NOT_ALLOWED, "M_UNRECOGNIZED", "no such request"))
        .layer(middleware::from_fn_with_state(token, authenticate))
        .layer(DefaultBodyLimit::max(MAX_BODY))
}

/// The token's hash: compared in any time, it gives nothing away of the token.
type Token = [u8; 32];

async fn authenticate(State(token): State<Token>, headers: HeaderMap, request: Request, next: Next) -> Response {
    let shown = headers.get(header::AUTHORIZATION).and_then(|value| value.as_bytes().strip_prefix(b"Bearer "));
    match shown {
        Some(shown) if Token::from(Sha256::digest(shown)) == token => next.run(request).await,
        Some(_) => {
            warn!("Somebody called with another hs_token. If it was the homeserver: give it the registration again.");
            no(StatusCode::FORBIDDEN, "M_FORBIDDEN", "that is not the hs_token")
        }
        None => no(StatusCode::UNAUTHORIZED, "M_UNAUTHORIZED", "an hs_token is needed"),
    }
}

async fn transaction(
    State(transactions): State<Arc<Transactions>>,
    Path(txn_id): Path<String>,
    method: axum::http::Method,
    extensions: Extensions,
    body: Bytes,
) -> Response {
    if let Some(ConnectInfo(peer)) = extensions.get::<ConnectInfo<SocketAddr>>() {
        transactions.heard_over(*peer);
    }
    let mut request = axum::http::Request::new(body);
    *request.method_mut() = method;
    let transaction = match push_events::v1::Request::try_from_http_request(request, &[&txn_id]) {
        Ok(transaction) => transaction,
        Err(problem) => {
            error!(%txn_id, %problem, "The homeserver sent something that is no transaction.");
            return no(StatusCode::BAD_REQUEST, "M_BAD_JSON", "this is no transaction");
        }
    };
    transactions.homeserver.has_brought();
    match transactions.clone().accept(transaction.txn_id, transaction.events).await {
        Ok(()) => {
            transactions.have_read(&transaction.ephemeral);
            axum::Json(json!({})).into_response()
        }
        Err(_) => no(StatusCode::SERVICE_UNAVAILABLE, "M_UNKNOWN", "not now, please send it again"),
    }
}

async fn ping(State(homeserver): State<Arc<Homeserver>>) -> axum::Json<Value> {
    homeserver.pinged();
    axum::Json(json!({}))
}

/// The homeserver asks whether an account of our namespace should exist. A ghost may, as soon as somebody
/// looks for it.
async fn user(State(homeserver): State<Arc<Homeserver>>, Path(user_id): Path<String>) -> Response {
    let nobody = no(StatusCode::NOT_FOUND, "M_NOT_FOUND", "no such user");
    let Ok(id) = UserId::parse(user_id) else { return nobody };
    let Some(user) = homeserver.names.user(&id) else { return nobody };
    match homeserver.register_ghost(&id, &Ghost::new(user).name).await {
        Ok(()) => axum::Json(json!({})).into_response(),
        Err(failure) => match failure.refusal("No such user") {
            Refusal::Reject { .. } => nobody,
            Refusal::Retry { .. } => no(StatusCode::SERVICE_UNAVAILABLE, "M_UNKNOWN", "not now"),
        },
    }
}

fn no(status: StatusCode, errcode: &str, error: &str) -> Response {
    let body: Value = json!({ "errcode": errcode, "error": error });
    (status, axum::Json(body)).into_response()
}
