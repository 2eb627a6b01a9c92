//! The console: HTTP API, live events, metrics and the status page; the only room that knows HTTP serving.
//!
//! In: the live [`Board`] and, for history, the journal on disk. Out: answers over HTTP, and people's acts as commands to the core.
//! Invariant: every connection, request, body, listener and history reader has a bound; a slow or hostile visitor costs
//! the gateway nothing but one of a fixed number of places.
//!
//! ```text
//! connection ─▶ doors (places, idle time) ─▶ guard (host, token, time, headers) ─▶ pack (gzip) ─▶ api, history, events, metrics, page
//! ```

mod act;
mod api;
pub mod audits;
pub mod coverage;
mod doors;
mod events;
mod guard;
mod history;
pub mod indicators;
pub mod map;
mod metrics;
pub mod month;
pub mod now;
mod pack;
mod page;
mod query;
pub mod rates;
pub mod reload;
pub mod rows;
mod state;
pub mod status;
pub mod token;
pub mod trace;
pub mod traffic;
pub mod view;
pub mod window;

use std::io;
use std::net::IpAddr;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::extract::DefaultBodyLimit;
use axum::middleware::from_fn_with_state;
use axum::routing::{get, post};
use tokio::sync::watch;

use crate::gateway::board::Board;

use doors::Doors;
use state::Console;

/// Bytes in a request's body at most.
const BODY_BYTES_MAX: usize = 64 * 1024;

/// How long visitors may finish what they began after `stop`.
const STOP_GRACE: Duration = Duration::from_secs(3);

/// Serves the console until `stop` turns true (or its sender is gone); then no new visitor comes in and those inside have 3 s to finish.
///
/// `token` is what acts must carry (`Authorization: Bearer TOKEN`). A listener that is not bound to loopback asks for
/// it on every reading of data too; `/healthz` and the page's own files stay free.
///
/// # Errors
/// The listener has no address any more.
pub async fn serve(
    listener: tokio::net::TcpListener,
    board: Arc<Board>,
    token: String,
    mut stop: watch::Receiver<bool>,
) -> io::Result<()> {
    let address = listener.local_addr()?;
    let console = Arc::new(Console::new(board, token, is_loopback(address.ip()), stop.clone()));
    let app = router(Arc::clone(&console));
    let mut ending = stop.clone();
    let serving = axum::serve(Doors::new(listener), app).with_graceful_shutdown(async move {
        // An error means that the sender is gone: the gateway ends.
        let _ = ending.wait_for(|stop| *stop).await;
    });
    let last_call = async move {
        let _ = stop.wait_for(|stop| *stop).await;
        tokio::time::sleep(STOP_GRACE).await;
    };
    tokio::select! {
        served = std::future::IntoFuture::into_future(serving) => served,
        () = console.watch() => Ok(()),
        () = last_call => Ok(()),
    }
}

/// The token in the journal's folder; made (mode 0600) when there is none.
///
/// # Errors
/// The folder cannot be read or written.
pub fn token(folder: &Path) -> io::Result<String> {
    token::open(folder)
}

/// A token that stands in no file, for a console that only shows.
///
/// # Errors
/// The system has no random source.
pub fn random_token() -> io::Result<String> {
    token::random()
}

fn is_loopback(ip: IpAddr) -> bool {
    ip.to_canonical().is_loopback()
}

fn router(console: Arc<Console>) -> Router {
    Router::new()
        .route("/", get(page::html))
        .route("/page.css", get(page::css))
        .route("/page.js", get(page::js))
        .route("/healthz", get(api::healthz))
        .route("/metrics", get(api::metrics))
        .route("/api/v1/status", get(api::status))
        .route("/api/v1/points", get(api::points))
        .route("/api/v1/alarms", get(api::alarms))
        .route("/api/v1/alarms/{id}/ack", post(api::acknowledge))
        .route("/api/v1/coverage", get(coverage::coverage))
        .route("/api/v1/indicators", get(indicators::indicators))
        .route("/api/v1/coverage/month", get(month::month))
        .route("/api/v1/map", get(map::map))
        .route("/api/v1/alarms/{id}/{act}", post(act::act))
        .route("/api/v1/overlays", get(act::overlays))
        .route("/api/v1/reload", post(reload::reload))
        .route("/api/v1/documents", get(reload::documents))
        .route("/api/v1/rates", get(rates::rates))
        .route("/api/v1/history", get(history::history))
        .route("/api/v1/audits", get(audits::audits))
        .route("/api/v1/lines/{name}/trace", get(trace::trace))
        .route("/api/v1/events", get(events::events))
        .fallback(api::unknown)
        .method_not_allowed_fallback(api::wrong_method)
        .layer(DefaultBodyLimit::max(BODY_BYTES_MAX))
        .layer(axum::middleware::from_fn(pack::pack))
        .layer(from_fn_with_state(Arc::clone(&console), guard::admit))
        .layer(axum::middleware::from_fn(guard::protect))
        .with_state(console)
}
