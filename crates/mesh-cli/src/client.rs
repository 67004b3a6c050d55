//! The client of a leader's HTTP API: blocking, one request at a time, with errors that say what to do next.

use anyhow::{Context, Error, Result, anyhow, bail};
use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, utf8_percent_encode};
use serde::{Deserialize, Serialize, de::DeserializeOwned};
use std::{
    fmt,
    io::{BufRead, BufReader, ErrorKind},
    net::ToSocketAddrs,
    str::FromStr,
    time::Duration,
};
use ureq::{
    Agent, Body, RequestBuilder, Timeout,
    http::{Response, StatusCode},
    typestate::WithBody,
};

/// How long a leader may take to accept a connection.
const CONNECT: Duration = Duration::from_secs(5);
/// How long a leader may take for a whole reply. A write waits for the disk, so this is generous.
const REPLY: Duration = Duration::from_secs(30);
/// How much longer than it was given a leader may take to say that it has not got there.
const LATE: Duration = Duration::from_secs(2);
/// The longest reply that is read, in bytes: something else than a leader may answer, and never stop.
const LONGEST_REPLY: u64 = 4 << 30;

/// Where a leader's API answers, as `host:port`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct ApiAddr(String);

impl FromStr for ApiAddr {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        if text.starts_with("https://") {
            return Err("the API speaks plain HTTP: http://HOST:PORT, or HOST:PORT".into());
        }
        let authority = text.strip_prefix("http://").unwrap_or(text);
        let authority = authority.strip_suffix('/').unwrap_or(authority);
        crate::config::host_and_port(authority)?;
        Ok(Self(authority.into()))
    }
}

impl fmt::Display for ApiAddr {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// What is percent-encoded in paths and queries. Dots are, so that no key is `..`, which is a path of its own.
const ENCODED: &AsciiSet = &NON_ALPHANUMERIC.remove(b'-').remove(b'_');

/// A path of the API: each part is percent-encoded, so a key may hold any character.
pub(crate) fn path(parts: &[&str]) -> String {
    let mut path = String::from("/v1");
    for part in parts {
        path.push('/');
        path.extend(utf8_percent_encode(part, ENCODED));
    }
    path
}

/// Appends a query parameter to a path.
pub(crate) fn with_query(mut path: String, name: &str, value: &str) -> String {
    path.push(if path.contains('?') { '&' } else { '?' });
    path.push_str(name);
    path.push('=');
    path.extend(utf8_percent_encode(value, ENCODED));
    path
}

/// A reply that was understood, with its text as it came.
#[derive(Debug)]
pub(crate) struct Reply<T> {
    pub(crate) value: T,
    pub(crate) text: String,
    /// The token of what the reply has seen.
    pub(crate) token: Option<String>,
}

/// The leader did not get what the client has seen in time. Nothing was done.
#[derive(Debug)]
pub(crate) struct NotYet(String);

impl fmt::Display for NotYet {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl std::error::Error for NotYet {}

/// What a leader must have before it answers, and how long it may take to get it.
#[derive(Clone, Debug, Default)]
pub(crate) struct Session {
    pub(crate) after: Option<String>,
    pub(crate) within: Option<Duration>,
}

impl Session {
    /// How long a reply is waited for.
    fn patience(&self, attempt: Attempt<'_>) -> Duration {
        match (attempt, self.within) {
            (Attempt::Read, Some(within)) => within + LATE,
            (_, within) => REPLY + within.unwrap_or_default(),
        }
    }
}

/// A write was sent and got no whole reply: it is not known whether it is durable.
#[derive(Debug)]
pub(crate) struct NoReply(String);

impl fmt::Display for NoReply {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl std::error::Error for NoReply {}

/// A connection to one leader's API.
#[derive(Debug)]
pub(crate) struct Client {
    api: ApiAddr,
    agent: Agent,
    session: Session,
}

/// Whether a request that got no reply may have changed something.
#[derive(Clone, Copy)]
enum Attempt<'a> {
    Read,
    Write { key: Option<&'a str> },
}

impl Client {
    pub(crate) fn new(api: ApiAddr) -> Self {
        Self::with(api, Session::default())
    }

    /// For a client that has seen something.
    pub(crate) fn with(api: ApiAddr, session: Session) -> Self {
        let agent = Agent::config_builder()
            .http_status_as_error(false)
            .max_redirects(0)
            // A leader is reached directly: a proxy for the web knows nothing of it.
            .proxy(None)
            .timeout_connect(Some(CONNECT))
            .timeout_global(Some(session.patience(Attempt::Write { key: None })))
            .build()
            .into();
        Self { api, agent, session }
    }

    /// Where the leader's API answers.
    pub(crate) fn api(&self) -> &ApiAddr {
        &self.api
    }

    /// Reads. Changes nothing, whatever happens.
    pub(crate) fn get<T: DeserializeOwned>(&self, path: &str) -> Result<Reply<T>> {
        let timeout = Some(self.session.patience(Attempt::Read));
        let request = self.agent.get(self.url(path)).config().timeout_global(timeout).build();
        self.understand(request.call(), Attempt::Read)
    }

    /// Writes with POST.
    pub(crate) fn post<T: DeserializeOwned>(
        &self,
        path: &str,
        body: &impl Serialize,
        key: Option<&str>,
    ) -> Result<Reply<T>> {
        self.send(self.agent.post(self.url(path)), body, key)
    }

    /// Writes with PUT.
    pub(crate) fn put<T: DeserializeOwned>(
        &self,
        path: &str,
        body: &impl Serialize,
        key: Option<&str>,
    ) -> Result<Reply<T>> {
        self.send(self.agent.put(self.url(path)), body, key)
    }

    /// Writes with DELETE.
    pub(crate) fn delete<T: DeserializeOwned>(&self, path: &str) -> Result<Reply<T>> {
        let response = self.agent.delete(self.url(path)).call();
        self.understand(response, Attempt::Write { key: None })
    }

    /// Reads a reply that goes on for as long as the leader runs.
    pub(crate) fn stream(&self, path: &str) -> Result<impl BufRead + use<>> {
        let request =
            self.agent.get(self.url(path)).config().timeout_global(None).timeout_recv_response(Some(REPLY));
        let mut response = request.build().call().map_err(|error| self.explain(error, Attempt::Read))?;
        if response.status() != StatusCode::OK {
            return Err(self.refusal(&mut response));
        }
        let body = response.into_body().into_with_config().limit(u64::MAX).reader();
        Ok(BufReader::new(body))
    }

    /// What to say of an answer that no leader gives.
    pub(crate) fn not_a_leader(&self, what: impl fmt::Display) -> Error {
        anyhow!(
            "what answers at {} is not the API of a leader ({what}): give --api, or MESH_API, the address that follows \
             `api on` in the line that `mesh serve` prints",
            self.api
        )
    }

    fn url(&self, path: &str) -> String {
        let mut path = path.to_owned();
        if let Some(after) = &self.session.after {
            path = with_query(path, "after", after);
        }
        if let Some(within) = self.session.within {
            path = with_query(path, "within", &format!("{}ms", within.as_millis()));
        }
        format!("http://{}{path}", self.api)
    }

    fn send<T: DeserializeOwned>(
        &self,
        mut request: RequestBuilder<WithBody>,
        body: &impl Serialize,
        key: Option<&str>,
    ) -> Result<Reply<T>> {
        if let Some(key) = key {
            request = request.header("Idempotency-Key", key);
        }
        let body = serde_json::to_string(body).context("the request cannot be written as JSON")?;
        let response = request.content_type("application/json").send(body);
        self.understand(response, Attempt::Write { key })
    }

    fn understand<T: DeserializeOwned>(
        &self,
        response: Result<Response<Body>, ureq::Error>,
        attempt: Attempt<'_>,
    ) -> Result<Reply<T>> {
        let mut response = response.map_err(|error| self.explain(error, attempt))?;
        if response.status() != StatusCode::OK {
            return Err(self.refusal(&mut response));
        }
        let text = text_of(&mut response).map_err(|error| self.explain(error, attempt))?;
        let token = response.headers().get("mesh-token").and_then(|token| token.to_str().ok());
        let token = token.map(str::to_owned);
        match serde_json::from_str(&text) {
            Ok(value) => Ok(Reply { value, text, token }),
            Err(error) => Err(self.not_a_leader(error)),
        }
    }

    /// The API's own sentence, if it is one.
    fn refusal(&self, response: &mut Response<Body>) -> Error {
        #[derive(Deserialize)]
        struct Refusal {
            error: String,
            code: String,
        }
        let status = response.status();
        let refusal = text_of(response).ok().and_then(|text| serde_json::from_str::<Refusal>(&text).ok());
        match refusal {
            Some(Refusal { error, code }) if code == "not-yet" => Error::new(NotYet(error)),
            Some(Refusal { error, .. }) => anyhow!(error),
            None => self.not_a_leader(format_args!("HTTP status {status}")),
        }
    }

    fn explain(&self, error: ureq::Error, attempt: Attempt<'_>) -> Error {
        let api = &self.api;
        let advice = "is the leader running? Set --api or MESH_API to the address of a leader's API";
        match &error {
            // The system's resolver has no kind of error of its own, so it is asked again.
            ureq::Error::HostNotFound | ureq::Error::Io(_) if api.0.to_socket_addrs().is_err() => {
                anyhow!("no host is known by the name in {api}: {advice}")
            }
            ureq::Error::ConnectionFailed | ureq::Error::Timeout(Timeout::Connect | Timeout::Resolve) => {
                anyhow!("nothing answers at {api}: {advice}")
            }
            ureq::Error::Io(io)
                if matches!(
                    io.kind(),
                    ErrorKind::ConnectionRefused
                        | ErrorKind::HostUnreachable
                        | ErrorKind::NetworkUnreachable
                        | ErrorKind::AddrNotAvailable
                ) =>
            {
                anyhow!("nothing answers at {api} ({io}): {advice}")
            }
            ureq::Error::Protocol(_) | ureq::Error::Http(_) => self.not_a_leader(error),
            ureq::Error::BodyExceedsLimit(_) => {
                anyhow!("the reply of {api} is longer than {LONGEST_REPLY} bytes")
            }
            _ => {
                let missing = match &error {
                    ureq::Error::Timeout(_) => {
                        let seconds = self.session.patience(attempt).as_secs_f64();
                        format!("no whole reply came from {api} within {seconds} s")
                    }
                    other => format!("the connection to {api} broke before the reply was complete ({other})"),
                };
                match attempt {
                    Attempt::Read => anyhow!("{missing}: is it the API of a leader, and is the leader well?"),
                    Attempt::Write { key: Some(key) } => Error::new(NoReply(format!(
                        "{missing}, so it is not known whether the write is durable: run the same command again, with \
                         --idempotency-key {key} and at the same leader, and it counts once"
                    ))),
                    Attempt::Write { key: None } => Error::new(NoReply(format!(
                        "{missing}, so it is not known whether the write is durable: look before you repeat it, and give \
                         writes an --idempotency-key to be able to repeat them safely"
                    ))),
                }
            }
        }
    }
}

fn text_of(response: &mut Response<Body>) -> Result<String, ureq::Error> {
    response.body_mut().with_config().limit(LONGEST_REPLY).read_to_string()
}

/// Checks an idempotency key: what the API accepts, and a header can carry.
pub(crate) fn idempotency_key(text: &str) -> Result<String> {
    if text.is_empty() || text.len() > 255 {
        bail!("an idempotency key has 1 to 255 bytes");
    }
    if !text.bytes().all(|byte| byte.is_ascii_graphic()) {
        bail!("an idempotency key is made of visible ASCII characters, without spaces");
    }
    Ok(text.into())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_is_a_host_and_a_port() {
        for good in ["127.0.0.1:7101", "http://127.0.0.1:7101", "http://127.0.0.1:7101/"] {
            assert_eq!(good.parse(), Ok(ApiAddr("127.0.0.1:7101".into())), "{good}");
        }
        assert_eq!("[::1]:7101".parse(), Ok(ApiAddr("[::1]:7101".into())));
        for bad in [
            "",
            "localhost",
            ":7101",
            "localhost:",
            "localhost:x",
            "localhost:65536",
            "https://a:1",
            "a:1/v1",
        ] {
            assert!(bad.parse::<ApiAddr>().is_err(), "{bad}");
        }
    }

    #[test]
    fn keys_of_any_characters_stay_one_part_of_the_path() {
        assert_eq!(path(&["g-set", "a/b ?#%é..", "add"]), "/v1/g-set/a%2Fb%20%3F%23%25%C3%A9%2E%2E/add");
        assert_eq!(
            with_query(with_query("/v1/watch".into(), "prefix", "a&b"), "since", "{}"),
            "/v1/watch?prefix=a%26b&since=%7B%7D"
        );
    }

    #[test]
    fn idempotency_keys_fit_a_header() {
        assert!(idempotency_key("order-17").is_ok());
        for bad in [String::new(), "a b".into(), "é".into(), "a\n".into(), "x".repeat(256)] {
            assert!(idempotency_key(&bad).is_err(), "{bad:?}");
        }
    }
}
