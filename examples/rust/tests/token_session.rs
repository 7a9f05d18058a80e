//! cargo test, with a real token server: TOKEN_SERVER names its program.

use serde_json::{json, Value};
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::Arc;
use std::{env, fs, path::PathBuf, process, thread};
use token_session::{Client, Error, Meta, Session, COOKIE};

/// A token server of our own on a free port, and again on that one after a stop.
struct TokenServer {
    folder: PathBuf,
    port: String,
    process: Option<Child>,
}

impl TokenServer {
    fn new(name: &str) -> TokenServer {
        let folder = env::temp_dir().join(format!("token-{}-{name}", process::id()));
        let mut server = TokenServer {
            folder,
            port: "0".into(),
            process: None,
        };
        server.start();
        server
    }

    fn start(&mut self) {
        let mut process = Command::new(env::var("TOKEN_SERVER").expect("TOKEN_SERVER"))
            .args([
                "--port",
                &self.port,
                "--admin-address",
                "off",
                "--fsync",
                "everysec",
                "--grace",
                "10s",
                "--data-dir",
            ])
            .arg(&self.folder)
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        let mut log = BufReader::new(process.stderr.take().unwrap()).lines();
        let line = log
            .by_ref()
            .map_while(Result::ok)
            .find(|l| l.contains("msg=listening"))
            .expect("no server");
        self.port = line
            .rsplit(':')
            .next()
            .unwrap()
            .split_whitespace()
            .next()
            .unwrap()
            .into();
        // Nobody waits for the rest of the log, and the pipe must not fill.
        thread::spawn(move || log.for_each(drop));
        while !self.ready() {}
        self.process = Some(process);
    }

    fn ready(&self) -> bool {
        let mut conn = TcpStream::connect(format!("127.0.0.1:{}", self.port)).unwrap();
        conn.write_all(b"GET /readyz HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n")
            .unwrap();
        let mut answer = String::new();
        conn.read_to_string(&mut answer).unwrap();
        answer.starts_with("HTTP/1.1 200")
    }

    fn stop(&mut self) {
        if let Some(mut process) = self.process.take() {
            let _ = Command::new("kill").arg(process.id().to_string()).status();
            let _ = process.wait();
        }
    }

    fn client(&self) -> Client {
        Client::new(&format!("http://127.0.0.1:{}", self.port), None)
    }
}

impl Drop for TokenServer {
    fn drop(&mut self) {
        self.stop();
        let _ = fs::remove_dir_all(&self.folder);
    }
}

fn meta(value: Value) -> Meta {
    value.as_object().unwrap().clone()
}

/// What a browser sends after an answer.
fn cookie_after(session: &Session, before: &str) -> String {
    match session.set_cookie() {
        None => before.into(),
        Some(set) if set.contains("Max-Age=0") => String::new(),
        Some(set) => format!("a=b; {}", set.split(';').next().unwrap()),
    }
}

#[test]
fn sessions() {
    let mut server = TokenServer::new("sessions");
    let client = server.client();

    let mut session = Session::begin(&client, "a=b").unwrap();
    assert_eq!((&session.meta, session.set_cookie()), (&None, None));
    session
        .login(meta(json!({"user": "ada"})), Some("ada"))
        .unwrap();
    let first = cookie_after(&session, "");

    let mut session = Session::begin(&client, &first).unwrap();
    assert_eq!(session.meta, Some(meta(json!({"user": "ada"}))));
    session.update(&meta(json!({"year": 2026}))).unwrap();
    assert_eq!(
        session.meta,
        Some(meta(json!({"user": "ada", "year": 2026})))
    );
    let cookie = cookie_after(&session, &first);
    assert_ne!(cookie, first, "the spent token was left in the cookie");

    // Parallel requests with one cookie, within the grace.
    let cookies: Vec<String> = thread::scope(|s| {
        let tabs: Vec<_> = (0..10)
            .map(|_| {
                s.spawn(|| {
                    let session = Session::begin(&client, &cookie).unwrap();
                    assert!(session.meta.is_some());
                    cookie_after(&session, &cookie)
                })
            })
            .collect();
        tabs.into_iter().map(|tab| tab.join().unwrap()).collect()
    });
    let cookie = cookies.last().unwrap().clone();

    // The token server away is no log-out.
    server.stop();
    assert!(matches!(
        Session::begin(&client, &cookie),
        Err(Error::Unavailable(_))
    ));
    server.start();
    let session = Session::begin(&client, &cookie).unwrap();
    assert_eq!(
        session.meta,
        Some(meta(json!({"user": "ada", "year": 2026})))
    );
    let cookie = cookie_after(&session, &cookie);

    let garbled = format!("{COOKIE}={}", "x\"{}%".repeat(1000));
    let session = Session::begin(&client, &garbled).unwrap();
    assert_eq!((&session.meta, session.set_cookie()), (&None, None));

    let mut session = Session::begin(&client, &cookie).unwrap();
    let copied = cookie_after(&session, &cookie);
    session.logout().unwrap();
    assert_eq!(cookie_after(&session, &cookie), "");
    assert_eq!(Session::begin(&client, &copied).unwrap().meta, None);
}

#[test]
fn exchanges_travel_together() {
    let server = TokenServer::new("together");
    let client = server.client();
    thread::scope(|s| {
        for n in 0..50 {
            let client = &client;
            s.spawn(move || {
                let token = client.create(&meta(json!({"n": n})), None).unwrap();
                let (next, got) = client
                    .exchange(&token, Some(&meta(json!({"seen": true}))))
                    .unwrap();
                assert_eq!(got, meta(json!({"n": n, "seen": true})));
                assert_ne!(next, token);
            });
        }
    });
}

#[test]
fn a_bad_patch_fails_alone() {
    let server = TokenServer::new("alone");
    let client = server.client();
    // JSON that is nested too deep for the token server.
    let deep = (0..100).fold(json!({}), |inner, _| json!({ "deeper": inner }));
    thread::scope(|s| {
        for n in 0..20 {
            let (client, deep) = (&client, &deep);
            s.spawn(move || {
                let token = client.create(&meta(json!({})), None).unwrap();
                let patch = if n % 5 == 0 {
                    deep.clone()
                } else {
                    json!({ "n": n })
                };
                let got = client.exchange(&token, Some(&meta(patch)));
                assert_eq!(got.is_ok(), n % 5 != 0, "{got:?}");
            });
        }
    });
}

/// A connection that breaks behind a request must not make it two.
#[test]
fn nothing_is_sent_twice() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let client = Client::new(&format!("http://{}", listener.local_addr().unwrap()), None);
    let received = Arc::new(AtomicUsize::new(0));
    let count = received.clone();
    thread::spawn(move || {
        for conn in listener.incoming().map_while(Result::ok) {
            answer_once(conn, &count);
        }
    });
    client.delete("x").unwrap(); // leaves a connection behind
    assert!(matches!(
        client.exchange("x", None),
        Err(Error::Unavailable(_))
    ));
    assert_eq!(received.load(Ordering::SeqCst), 2);
}

/// Answers the first request of all, and closes the connection behind the next one.
fn answer_once(mut conn: TcpStream, received: &AtomicUsize) {
    let lines = BufReader::new(conn.try_clone().unwrap()).lines();
    for line in lines.map_while(Result::ok) {
        if line.ends_with(" HTTP/1.1") {
            if received.fetch_add(1, Ordering::SeqCst) > 0 {
                return;
            }
            conn.write_all(b"HTTP/1.1 202 Accepted\r\nContent-Length: 0\r\n\r\n")
                .unwrap();
        }
    }
}
