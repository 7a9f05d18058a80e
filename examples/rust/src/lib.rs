//! Sessions of Token Server for a web server in Rust, with ureq.
//!
//! For each request: [`Session::begin`] exchanges the token of its cookie once. The old
//! token is spent, the new one is in [`Session::set_cookie`], which goes into the answer
//! whatever happens. A change of the metadata is one more exchange, at once, so it has to
//! come before the answer begins. A session without [`Session::meta`] is nobody's: send
//! them to the login page. [`Unavailable`](Error::Unavailable) is for an answer with 503.
//!
//! What must not be, and is not: a PUT or POST that is sent again, since its token may be
//! spent already, a redirect that is followed, an answer that is cached (send
//! `Cache-Control: no-store`), an error of the token server that looks like a log-out. A
//! page that sends several requests at once needs a token server with --grace, since each
//! of them presents the same token.

use serde_json::{json, Map, Value};
use std::sync::mpsc::{channel, Receiver, Sender};
use std::thread;
use std::time::Duration;

#[derive(Clone, Debug, PartialEq)]
pub enum Error {
    /// The token is spent, expired or unknown: the user has to log in.
    InvalidToken,
    /// No answer, or none that says anything of the token: keep the cookie.
    Unavailable(String),
    /// The token server refuses the request with this status, and has done nothing.
    Refused(u16),
}

pub type Meta = Map<String, Value>;

/// An exchange that waits for its answer.
struct Call {
    item: Value,
    answer: Sender<Result<Value, Error>>,
}

/// Calls one token server. Exchanges made while others are under way travel together.
#[derive(Clone)]
pub struct Client {
    agent: ureq::Agent,
    url: String,
    secret: Option<String>,
    calls: Sender<Call>,
}

const MAX_BATCH: usize = 256;
const MAX_ANSWER: u64 = 64 << 20; // bytes; what comes is spent already, and must be read

impl Client {
    pub fn new(url: &str, secret: Option<&str>) -> Client {
        let config = ureq::Agent::config_builder()
            .timeout_global(Some(Duration::from_secs(2)))
            // The server closes a connection that was idle for five minutes.
            .max_idle_age(Duration::from_secs(240))
            .max_redirects(0)
            .max_redirects_will_error(false)
            .http_status_as_error(false)
            .proxy(None) // it is on the LAN, whatever HTTP_PROXY says
            .build();
        let (calls, waiting) = channel();
        let client = Client {
            agent: config.into(),
            url: url.to_owned(),
            secret: secret.map(str::to_owned),
            calls,
        };
        let sender = (
            client.agent.clone(),
            client.url.clone(),
            client.secret.clone(),
        );
        // It ends with the last clone of the client.
        thread::spawn(move || {
            send_batches(waiting, |body| {
                call(
                    &sender.0,
                    &sender.1,
                    &sender.2,
                    "POST",
                    "/token/batch",
                    body,
                )
            })
        });
        client
    }

    pub fn create(&self, meta: &Meta, subject: Option<&str>) -> Result<String, Error> {
        self.call("POST", "/token", json!({"meta": meta, "subject": subject}))
    }

    /// Spends the token, and returns the next one and the metadata, patched.
    pub fn exchange(&self, token: &str, patch: Option<&Meta>) -> Result<(String, Meta), Error> {
        let (answer, receive) = channel();
        let item = json!({"exchange": {"token": token, "meta": patch}});
        let gone = |_| Error::Unavailable("the sender has ended".into());
        self.calls
            .send(Call { item, answer })
            .map_err(|_| gone(()))?;
        let mut ok = receive.recv().map_err(|_| gone(()))??;
        match (ok["token"].take(), ok["meta"].take()) {
            (Value::String(token), Value::Object(meta)) => Ok((token, meta)),
            _ => Err(Error::Unavailable("no exchange".into())),
        }
    }

    pub fn delete(&self, token: &str) -> Result<(), Error> {
        self.call("DELETE", "/token", json!({"token": token}))
            .map(drop)
    }

    pub fn end_subject(&self, subject: &str) -> Result<(), Error> {
        self.call("DELETE", "/subject", json!({"subject": subject}))
            .map(drop)
    }

    fn call(&self, method: &str, path: &str, body: Value) -> Result<String, Error> {
        call(&self.agent, &self.url, &self.secret, method, path, body)
    }
}

/// Sends a request once.
fn call(
    agent: &ureq::Agent,
    url: &str,
    secret: &Option<String>,
    method: &str,
    path: &str,
    body: Value,
) -> Result<String, Error> {
    let unavailable =
        |err: &dyn std::fmt::Display| Error::Unavailable(format!("token server: {err}"));
    let mut request = ureq::http::Request::builder()
        .method(method)
        .uri(format!("{url}{path}"))
        .header("Content-Type", "application/json");
    if let Some(secret) = secret {
        request = request.header("Authorization", format!("Bearer {secret}"));
    }
    let request = request
        .body(body.to_string())
        .map_err(|e| unavailable(&e))?;
    // DELETE has a body here, which HTTP allows.
    let request = agent
        .configure_request(request)
        .allow_non_standard_methods(true)
        .build();
    let mut answer = agent.run(request).map_err(|e| unavailable(&e))?;
    match answer.status().as_u16() {
        200 | 202 => answer
            .body_mut()
            .with_config()
            .limit(MAX_ANSWER)
            .read_to_string()
            .map_err(|e| unavailable(&e)),
        status @ 400..=499 => Err(Error::Refused(status)),
        status => Err(unavailable(&format!("status {status}"))),
    }
}

/// Sends what waits as one batch, again and again, until nobody can call any more.
fn send_batches(waiting: Receiver<Call>, send: impl Fn(Value) -> Result<String, Error>) {
    while let Ok(first) = waiting.recv() {
        let mut calls = vec![first];
        calls.extend(waiting.try_iter().take(MAX_BATCH - 1));
        send_batch(&calls, &send);
    }
}

fn send_batch(calls: &[Call], send: &impl Fn(Value) -> Result<String, Error>) {
    let items: Vec<&Value> = calls.iter().map(|c| &c.item).collect();
    let answers = send(json!({"batch": items})).and_then(|body| {
        serde_json::from_str::<Value>(&body).map_err(|e| Error::Unavailable(e.to_string()))
    });
    if matches!(answers, Err(Error::Refused(_))) && calls.len() > 1 {
        // One bad item has all refused, with nothing carried out: not the others' fault.
        let (left, right) = calls.split_at(calls.len() / 2);
        send_batch(left, send);
        send_batch(right, send);
        return;
    }
    for (i, call) in calls.iter().enumerate() {
        let answer = match &answers {
            Ok(body) => answer_of(&body["Ok"][i]),
            Err(err) => Err(err.clone()),
        };
        let _ = call.answer.send(answer); // its request may have been given up
    }
}

fn answer_of(item: &Value) -> Result<Value, Error> {
    match (item.get("Ok"), item["Err"].as_str()) {
        (Some(ok), _) => Ok(ok.clone()),
        (None, Some("InvalidToken")) => Err(Error::InvalidToken),
        (None, code) => Err(Error::Unavailable(code.unwrap_or("no answer").to_owned())),
    }
}

/// The session of one request.
pub struct Session<'a> {
    client: &'a Client,
    had: Option<String>,
    token: Option<String>,
    /// The metadata, or None where there is no session.
    pub meta: Option<Meta>,
}

/// `__Host-` needs https; for plain HTTP on loopback take a name without it.
pub const COOKIE: &str = "__Host-token";

impl<'a> Session<'a> {
    /// Exchanges the token in the value of a request's Cookie header.
    pub fn begin(client: &'a Client, cookies: &str) -> Result<Session<'a>, Error> {
        let had = cookies
            .split(';')
            .filter_map(|pair| pair.trim().split_once('='))
            .find(|(name, _)| *name == COOKIE)
            .map(|(_, value)| value.to_owned());
        let mut session = Session {
            client,
            token: had.clone(),
            had,
            meta: None,
        };
        if session.token.is_some() {
            match session.exchange(None) {
                // The cookie stays: a request beside this one may have set the next one.
                Err(Error::InvalidToken) => {}
                other => other?,
            }
        }
        Ok(session)
    }

    /// Patches the metadata: a member that is in the patch takes its value.
    pub fn update(&mut self, patch: &Meta) -> Result<(), Error> {
        self.exchange(Some(patch))
    }

    /// Begins a new session, and ends the one before. The subject is whose it is.
    pub fn login(&mut self, meta: Meta, subject: Option<&str>) -> Result<(), Error> {
        let token = self.client.create(&meta, subject)?;
        if let Some(before) = self.token.replace(token) {
            // If that fails it is nobody's but who has copied its token, until it expires.
            let _ = self.client.delete(&before);
        }
        self.meta = Some(meta);
        Ok(())
    }

    pub fn logout(&mut self) -> Result<(), Error> {
        if let Some(token) = &self.token {
            self.client.delete(token)?;
        }
        (self.token, self.meta) = (None, None);
        Ok(())
    }

    /// The value of the answer's Set-Cookie header, if the cookie has to change.
    pub fn set_cookie(&self) -> Option<String> {
        let attributes = "Path=/; HttpOnly; Secure; SameSite=Lax";
        match &self.token {
            token if *token == self.had => None,
            Some(token) => Some(format!("{COOKIE}={token}; {attributes}")),
            None => Some(format!("{COOKIE}=; {attributes}; Max-Age=0")),
        }
    }

    fn exchange(&mut self, patch: Option<&Meta>) -> Result<(), Error> {
        let token = self.token.as_deref().ok_or(Error::InvalidToken)?;
        let (token, meta) = self.client.exchange(token, patch)?;
        (self.token, self.meta) = (Some(token), Some(meta));
        Ok(())
    }
}
