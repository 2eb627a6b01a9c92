//! The HTTP side of asking: a running gateway's console.
//!
//! In: paths of its API. Out: answers, or a refusal with its exit code.
//! Invariant: no proxy, no redirect: the token goes to the address that was named and nowhere else.

use std::io::Write;
use std::path::PathBuf;
use std::time::Duration;

use anyhow::Context;
use reqwest::{Method, Response, StatusCode, Url};
use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::cli::ask::{NO, Refusal, UNREACHABLE, USAGE};
use crate::console::view::RefusalView;

/// A gateway on this box or in this district answers a connection within this.
const CONNECT_MAX: Duration = Duration::from_secs(3);

/// Silence in the middle of an answer.
const SILENCE_MAX: Duration = Duration::from_secs(40);

/// Bytes of an answer that is not streamed.
const ANSWER_BYTES_MAX: usize = 64 * 1024 * 1024;

/// A console's address and the token for it.
pub(crate) struct Client {
    http: reqwest::Client,
    url: Url,
    token: Option<String>,
    /// The file of the token, also one that could not be read.
    tried: Option<PathBuf>,
}

impl Client {
    pub(crate) fn new(url: &str, token: Option<String>) -> anyhow::Result<Self> {
        let parsed =
            Url::parse(url).ok().filter(|url| matches!(url.scheme(), "http" | "https") && url.has_host());
        let Some(url) = parsed else {
            return Err(
                Refusal::new(USAGE, format!("\"{url}\" is no address like http://127.0.0.1:8080")).into()
            );
        };
        // Another part of the program may have installed it already.
        let _ = rustls::crypto::ring::default_provider().install_default();
        let http = reqwest::Client::builder()
            .no_proxy()
            .redirect(reqwest::redirect::Policy::none())
            .connect_timeout(CONNECT_MAX)
            .read_timeout(SILENCE_MAX)
            .build()
            .context("cannot start an HTTP client")?;
        Ok(Self { http, url, token, tried: None })
    }

    /// Says in messages where the token was looked for.
    pub(crate) fn tried(self, file: PathBuf) -> Self {
        Self { tried: Some(file), ..self }
    }

    /// Why it does not let this one act.
    fn barred(&self) -> String {
        match (&self.tried, &self.token) {
            (Some(file), Some(_)) => format!(
                "the gateway does not take the token in {}; name its own file with --token-file",
                file.display()
            ),
            (Some(file), None) => format!(
                "the gateway wants its token, and none can be read in {}; name its file with --token-file",
                file.display()
            ),
            (None, _) => {
                "the gateway wants its token; name its file (`token` in its journal's folder) with --token-file"
                    .to_owned()
            }
        }
    }

    /// The address, for messages.
    pub(crate) fn url(&self) -> &str {
        self.url.as_str()
    }

    /// Whether anybody answers there.
    pub(crate) async fn answers(&self) -> bool {
        self.send(Method::GET, &["healthz"], &[], None).await.is_ok()
    }

    /// The JSON at `path`.
    pub(crate) async fn get<T: DeserializeOwned>(&self, path: &[&str]) -> anyhow::Result<T> {
        let answer = self.send(Method::GET, path, &[], None).await?;
        self.parse(self.good(answer).await?).await
    }

    /// What stands at `path` for these questions.
    pub(crate) async fn query<T: DeserializeOwned>(
        &self,
        path: &[&str],
        query: &[(&str, &str)],
    ) -> anyhow::Result<T> {
        let answer = self.send(Method::GET, path, query, None).await?;
        self.parse(self.good(answer).await?).await
    }

    /// What comes back for `body`.
    pub(crate) async fn post<T: DeserializeOwned>(
        &self,
        path: &[&str],
        body: &impl Serialize,
    ) -> anyhow::Result<T> {
        let answer = self.send(Method::POST, path, &[], Some(serde_json::to_vec(body)?)).await?;
        self.parse(self.good(answer).await?).await
    }

    /// Passes the answer on in pieces as they come; an answer that is cut is an error.
    pub(crate) async fn stream(
        &self,
        path: &[&str],
        query: &[(&str, &str)],
        each: &mut dyn FnMut(&[u8]) -> anyhow::Result<()>,
    ) -> anyhow::Result<()> {
        let answer = self.send(Method::GET, path, query, None).await?;
        let mut answer = self.good(answer).await?;
        while let Some(piece) = answer.chunk().await.map_err(|error| self.unreachable(&error))? {
            each(&piece)?;
        }
        Ok(())
    }

    async fn send(
        &self,
        method: Method,
        path: &[&str],
        query: &[(&str, &str)],
        body: Option<Vec<u8>>,
    ) -> anyhow::Result<Response> {
        let mut url = self.url.clone();
        if let Ok(mut segments) = url.path_segments_mut() {
            segments.pop_if_empty().extend(path);
        }
        if !query.is_empty() {
            url.query_pairs_mut().extend_pairs(query);
        }
        let mut request = self.http.request(method, url);
        if let Some(token) = &self.token {
            request = request.bearer_auth(token);
        }
        if let Some(body) = body {
            request = request.header("content-type", "application/json").body(body);
        }
        request.send().await.map_err(|error| self.unreachable(&error).into())
    }

    fn unreachable(&self, error: &reqwest::Error) -> Refusal {
        // The innermost cause is the one that a person can act on: refused, timed out, no such host.
        let mut cause: &dyn std::error::Error = error;
        while let Some(inner) = cause.source() {
            cause = inner;
        }
        Refusal::new(UNREACHABLE, format!("no answer from the gateway at {}: {cause}", self.url))
    }

    async fn good(&self, answer: Response) -> anyhow::Result<Response> {
        let status = answer.status();
        if status.is_success() {
            return Ok(answer);
        }
        let said = self.bytes(answer).await.unwrap_or_default();
        let said: Option<RefusalView> = serde_json::from_slice(&said).ok();
        let text =
            said.as_ref().map_or_else(|| format!("the gateway answers {status}"), |said| said.error.clone());
        Err(match (status, said.and_then(|said| said.nearest)) {
            (StatusCode::UNAUTHORIZED, _) => Refusal::new(NO, self.barred()),
            (StatusCode::UNPROCESSABLE_ENTITY, _) => Refusal::new(USAGE, text),
            (StatusCode::SERVICE_UNAVAILABLE | StatusCode::GATEWAY_TIMEOUT, _) => {
                Refusal::new(UNREACHABLE, text)
            }
            (_, Some(nearest)) => Refusal::new(NO, format!("{text}; did you mean {nearest}?")),
            (_, None) => Refusal::new(NO, text),
        }
        .into())
    }

    async fn parse<T: DeserializeOwned>(&self, answer: Response) -> anyhow::Result<T> {
        let bytes = self.bytes(answer).await?;
        serde_json::from_slice(&bytes)
            .with_context(|| format!("{} does not answer as a lifeline console does", self.url))
    }

    async fn bytes(&self, mut answer: Response) -> anyhow::Result<Vec<u8>> {
        let mut bytes = Vec::new();
        while let Some(piece) = answer.chunk().await.map_err(|error| self.unreachable(&error))? {
            anyhow::ensure!(bytes.len() + piece.len() <= ANSWER_BYTES_MAX, "the answer is too long");
            bytes.write_all(&piece)?;
        }
        Ok(bytes)
    }
}
