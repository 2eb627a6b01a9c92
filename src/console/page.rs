//! The status page: three files that are part of the program and need nothing from outside.
//!
//! In: nothing. Out: HTML, CSS, JavaScript; the page fetches its data from the API.

use axum::http::header;
use axum::response::{IntoResponse, Response};

pub(crate) async fn html() -> Response {
    ([(header::CONTENT_TYPE, "text/html; charset=utf-8")], include_str!("page.html")).into_response()
}

pub(crate) async fn css() -> Response {
    ([(header::CONTENT_TYPE, "text/css; charset=utf-8")], include_str!("page.css")).into_response()
}

pub(crate) async fn js() -> Response {
    ([(header::CONTENT_TYPE, "text/javascript; charset=utf-8")], include_str!("page.js")).into_response()
}
