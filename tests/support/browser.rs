//! A headless Chromium, spoken to by the DevTools protocol.
#![allow(unreachable_pub, reason = "a module of a test")]

use std::io::{Read as _, Write as _};
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use futures_util::{SinkExt as _, StreamExt as _};
use serde_json::{Value, json};
use tokio::net::TcpStream;
use tokio_tungstenite::WebSocketStream;
use tokio_tungstenite::tungstenite::Message;

/// The longest that anything may take; a machine under load needs some of it.
pub const PATIENCE: Duration = Duration::from_secs(600);

/// The browser of this machine, if it has one.
pub fn find() -> Option<PathBuf> {
    let named = std::env::var_os("CHROMIUM").map(PathBuf::from);
    let usual = [
        "/usr/bin/chromium",
        "/usr/bin/chromium-browser",
        "/usr/bin/google-chrome",
    ];
    named
        .into_iter()
        .chain(usual.map(PathBuf::from))
        .find(|path| path.exists())
}

/// One page of a browser of its own; both end with it.
pub struct Browser {
    child: Child,
    profile: PathBuf,
    socket: WebSocketStream<TcpStream>,
    calls: u64,
    /// What the page wrote to its console, and what it was refused.
    pub complaints: Vec<String>,
}

impl Browser {
    pub async fn start(program: &Path) -> Self {
        let profile = std::env::temp_dir().join(format!("viewer-browser-{}", std::process::id()));
        let _ = std::fs::remove_dir_all(&profile);
        let child = Command::new(program)
            .args([
                "--headless",
                "--no-sandbox",
                "--disable-gpu",
                "--disable-quic",
                "--no-first-run",
            ])
            .args([
                "--disable-background-networking",
                "--disable-component-update",
                "--disable-sync",
            ])
            .args([
                "--disable-dev-shm-usage",
                "--hide-scrollbars",
                "--remote-debugging-port=0",
            ])
            .arg(format!("--user-data-dir={}", profile.display()))
            .arg("about:blank")
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        let deadline = Instant::now() + PATIENCE;
        let address = loop {
            // The first line is the port, written when it listens.
            let port = std::fs::read_to_string(profile.join("DevToolsActivePort"));
            let port = port.ok().and_then(|text| text.lines().next()?.parse().ok());
            if let Some(port) = port {
                break SocketAddr::from(([127, 0, 0, 1], port));
            }
            assert!(Instant::now() < deadline, "the browser does not start");
            tokio::time::sleep(Duration::from_millis(20)).await;
        };
        let target = loop {
            let list: Value =
                serde_json::from_str(&http(address, "/json/list")).unwrap_or_default();
            let pages = list.as_array().into_iter().flatten();
            let mut pages = pages.filter(|target| target["type"] == "page");
            if let Some(url) = pages
                .next()
                .and_then(|page| page["webSocketDebuggerUrl"].as_str())
            {
                break url.to_owned();
            }
            assert!(Instant::now() < deadline, "the browser has no page");
            tokio::time::sleep(Duration::from_millis(20)).await;
        };
        let stream = TcpStream::connect(address).await.unwrap();
        let (socket, _) = tokio_tungstenite::client_async(target, stream)
            .await
            .unwrap();
        let mut browser = Self {
            child,
            profile,
            socket,
            calls: 0,
            complaints: Vec::new(),
        };
        for domain in ["Page", "Runtime", "Log"] {
            browser.call(&format!("{domain}.enable"), json!({})).await;
        }
        browser
    }

    pub async fn call(&mut self, method: &str, params: Value) -> Value {
        let answer = self.ask(method, params).await;
        assert!(answer["error"].is_null(), "{method}: {answer}");
        answer["result"].clone()
    }

    async fn ask(&mut self, method: &str, params: Value) -> Value {
        self.calls += 1;
        let id = self.calls;
        let call = json!({ "id": id, "method": method, "params": params }).to_string();
        self.socket.send(Message::text(call)).await.unwrap();
        loop {
            let message = tokio::time::timeout(PATIENCE, self.socket.next()).await;
            let message = message.expect("the browser is silent").unwrap().unwrap();
            let message: Value =
                serde_json::from_str(message.to_text().unwrap()).unwrap_or_default();
            if message["id"] == id {
                return message;
            }
            let said = match message["method"].as_str() {
                Some("Runtime.exceptionThrown") => &message["params"]["exceptionDetails"],
                Some("Log.entryAdded") => &message["params"]["entry"]["text"],
                Some("Page.javascriptDialogOpening") => &message["params"],
                _ => continue,
            };
            self.complaints.push(said.to_string());
        }
    }

    /// The value of an expression in the page.
    pub async fn eval(&mut self, expression: &str) -> Value {
        let params =
            json!({ "expression": expression, "returnByValue": true, "awaitPromise": true });
        let result = self.call("Runtime.evaluate", params).await;
        assert!(
            result["exceptionDetails"].is_null(),
            "{expression}: {result}"
        );
        result["result"]["value"].clone()
    }

    /// Waits until an expression is true, and tells for how long.
    #[track_caller]
    pub fn until<'a>(&'a mut self, expression: &'a str) -> impl Future<Output = Duration> + 'a {
        let at = std::panic::Location::caller();
        async move {
            let begin = Instant::now();
            loop {
                // What fails while the page is loading is not true yet.
                let tried = format!(
                    "(() => {{ try {{ return Boolean({expression}); }} catch {{ return false; }} }})()"
                );
                let params = json!({ "expression": tried, "returnByValue": true });
                let answer = self.ask("Runtime.evaluate", params).await;
                if answer["result"]["result"]["value"] == true {
                    return begin.elapsed();
                }
                if begin.elapsed() > PATIENCE {
                    let text = self.eval("document.body.innerText").await;
                    panic!("{at}: never {expression}\n{text}\n{:?}", self.complaints);
                }
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
        }
    }

    pub async fn open(&mut self, url: &str) {
        self.call("Page.navigate", json!({ "url": url })).await;
        self.until("document.readyState === 'complete' && document.getElementById('main').childElementCount > 0").await;
    }

    /// A click with the mouse in the middle of an element.
    pub async fn click(&mut self, selector: &str) {
        self.click_on(&format!("document.querySelector({selector:?})"))
            .await;
    }

    /// The same for the element that an expression finds, once it is there: the page may be drawing it anew.
    pub async fn click_on(&mut self, element: &str) {
        let middle = self.middle_of(element).await;
        self.mouse("mousePressed", &middle).await;
        self.mouse("mouseReleased", &middle).await;
    }

    /// Where an element is, scrolled into the window.
    pub async fn middle_of(&mut self, element: &str) -> Value {
        let middle = format!(
            "(() => {{ const e = {element}; if (!e) return null; e.scrollIntoView({{ block: 'center' }}); const r = e.getBoundingClientRect(); return [r.x + r.width / 2, r.y + r.height / 2]; }})()"
        );
        let begin = Instant::now();
        loop {
            let middle = self.eval(&middle).await;
            if !middle.is_null() {
                return middle;
            }
            assert!(begin.elapsed() < PATIENCE, "there is never {element}");
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    }

    pub async fn mouse(&mut self, kind: &str, at: &Value) {
        let params =
            json!({ "type": kind, "x": at[0], "y": at[1], "button": "left", "clickCount": 1 });
        self.call("Input.dispatchMouseEvent", params).await;
    }

    /// A key that is pressed and let go.
    pub async fn press(&mut self, key: &str) {
        let code = match key {
            "Enter" => 13,
            "Escape" => 27,
            "ArrowUp" => 38,
            "ArrowDown" => 40,
            "ArrowLeft" => 37,
            "ArrowRight" => 39,
            _ => 0,
        };
        for kind in ["rawKeyDown", "keyUp"] {
            let params =
                json!({ "type": kind, "key": key, "code": key, "windowsVirtualKeyCode": code });
            self.call("Input.dispatchKeyEvent", params).await;
        }
    }

    pub async fn type_text(&mut self, text: &str) {
        self.call("Input.insertText", json!({ "text": text })).await;
    }

    pub async fn look(&mut self, width: u32, height: u32, scheme: &str) {
        let size =
            json!({ "width": width, "height": height, "deviceScaleFactor": 1, "mobile": false });
        self.call("Emulation.setDeviceMetricsOverride", size).await;
        let features = json!([{ "name": "prefers-color-scheme", "value": scheme }]);
        self.call(
            "Emulation.setEmulatedMedia",
            json!({ "features": features }),
        )
        .await;
    }

    /// A picture of the window, under `target/viewer/`.
    pub async fn picture(&mut self, name: &str) {
        self.eval("window.scrollTo(0, 0)").await;
        tokio::time::sleep(Duration::from_millis(1_000)).await;
        let png = self
            .call("Page.captureScreenshot", json!({ "format": "png" }))
            .await;
        let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("target/viewer");
        std::fs::create_dir_all(&folder).unwrap();
        let bytes = base64(png["data"].as_str().unwrap());
        std::fs::write(folder.join(format!("{name}.png")), bytes).unwrap();
    }
}

impl Drop for Browser {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
        let _ = std::fs::remove_dir_all(&self.profile);
    }
}

/// A plain request to the browser's own port.
fn http(address: SocketAddr, path: &str) -> String {
    let mut stream = std::net::TcpStream::connect(address).unwrap();
    let request = format!("GET {path} HTTP/1.1\r\nHost: {address}\r\nConnection: close\r\n\r\n");
    stream.write_all(request.as_bytes()).unwrap();
    stream
        .set_read_timeout(Some(Duration::from_secs(5)))
        .unwrap();
    let mut answer = Vec::new();
    let mut part = [0; 4096];
    // Chromium keeps the connection open, whatever it is told.
    loop {
        let text = String::from_utf8_lossy(&answer).into_owned();
        if let Some((head, body)) = text.split_once("\r\n\r\n") {
            let length = head.lines().find_map(|l| {
                l.to_lowercase()
                    .strip_prefix("content-length:")?
                    .trim()
                    .parse()
                    .ok()
            });
            if length.is_some_and(|length: usize| body.len() >= length) {
                return body.to_owned();
            }
        }
        match stream.read(&mut part) {
            Ok(0) | Err(_) => return String::new(),
            Ok(n) => answer.extend_from_slice(&part[..n]),
        }
    }
}

fn base64(text: &str) -> Vec<u8> {
    const DIGITS: &[u8] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    let digits = text
        .bytes()
        .filter_map(|b| DIGITS.iter().position(|d| *d == b));
    let digits: Vec<u32> = digits.map(|d| d as u32).collect();
    let bytes = digits.chunks(4).flat_map(|four| {
        let bits = four.iter().fold(0, |bits, d| bits << 6 | d) << (6 * (4 - four.len()));
        bits.to_be_bytes()[1..four.len()].to_vec()
    });
    bytes.collect()
}
