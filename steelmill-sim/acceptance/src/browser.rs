//! A page in a headless Chromium, driven by WebDriver; each page has its own browser process.

use std::io::{BufRead as _, BufReader, Lines};
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdout, Command, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use fantoccini::actions::{
    InputSource as _, KeyAction, KeyActions, MOUSE_BUTTON_LEFT, MouseActions, PointerAction,
};
use fantoccini::wd::WebDriverCompatibleCommand;
use fantoccini::{Client, ClientBuilder};
use hyper_util::client::legacy::connect::HttpConnector;
use serde_json::{Value, json};

/// Width and height of the window in pixels.
const WINDOW: (u32, u32) = (1500, 950);

/// Chromium's arguments: headless, and without background network requests or stored state.
const ARGUMENTS: &[&str] = &[
    "--headless",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--hide-scrollbars",
    "--force-device-scale-factor=1",
];

/// Opens a page from disk and calls `then` with it.
///
/// # Panics
/// When the browser cannot be driven or `then` fails, with the error.
pub fn with_page(html: &str, then: impl AsyncFnOnce(&Page) -> Result<()>) {
    let folder = Folder::new();
    let file = folder.0.join("picture.html");
    std::fs::write(&file, html).expect("the page can be written");
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
    runtime.block_on(async {
        let driver = Driver::start().expect("chromedriver can be started: see `cargo xtask acceptance`");
        let page = Page::open(&driver, &file, &folder).await.expect("the page can be opened");
        let outcome = then(&page).await;
        let closed = page.client.close().await;
        outcome.unwrap_or_else(|error| panic!("{error:#}"));
        closed.expect("the browser can be closed");
    });
}

/// An open page.
pub struct Page {
    client: Client,
    address: String,
}

impl Page {
    async fn open(driver: &Driver, file: &Path, folder: &Folder) -> Result<Self> {
        let mut arguments: Vec<String> = ARGUMENTS.iter().map(|argument| (*argument).to_owned()).collect();
        arguments.push(format!("--window-size={},{}", WINDOW.0, WINDOW.1));
        arguments.push(format!("--user-data-dir={}", folder.0.join("browser").display()));
        let capabilities = json!({
            "goog:chromeOptions": { "args": arguments },
            "goog:loggingPrefs": { "browser": "ALL", "performance": "ALL" },
        });
        let Value::Object(capabilities) = capabilities else { unreachable!("it is one") };
        let client = ClientBuilder::new(HttpConnector::new())
            .capabilities(capabilities)
            .connect(&format!("http://127.0.0.1:{}", driver.port))
            .await
            .context("cannot start a browser")?;
        let address = format!("file://{}", file.display());
        client.goto(&address).await?;
        Ok(Self { client, address })
    }

    /// Evaluates a JavaScript expression in the page.
    ///
    /// # Errors
    /// When it throws.
    pub async fn value(&self, expression: &str) -> Result<Value> {
        let script = format!("return ({expression});");
        self.client.execute(&script, Vec::new()).await.with_context(|| format!("in the page: {expression}"))
    }

    /// Evaluates a JavaScript expression to a number.
    ///
    /// # Errors
    /// When it throws, or is no number.
    pub async fn number(&self, expression: &str) -> Result<f64> {
        let value = self.value(expression).await?;
        value.as_f64().with_context(|| format!("{expression} is {value}, not a number"))
    }

    /// Evaluates a JavaScript expression to a string.
    ///
    /// # Errors
    /// When it throws, or is no string.
    pub async fn text(&self, expression: &str) -> Result<String> {
        let value = self.value(expression).await?;
        let text = value.as_str().with_context(|| format!("{expression} is {value}, not a string"))?;
        Ok(text.to_owned())
    }

    /// Asserts that a JavaScript expression is `true`.
    ///
    /// # Errors
    /// When it is not.
    pub async fn expect(&self, condition: &str) -> Result<()> {
        let value = self.value(condition).await?;
        ensure!(value == Value::Bool(true), "{condition} is {value}");
        Ok(())
    }

    /// Waits until the page has been redrawn: two animation frames.
    ///
    /// # Errors
    /// When the page is gone.
    pub async fn settle(&self) -> Result<()> {
        let script = "const done = arguments[0]; requestAnimationFrame(() => requestAnimationFrame(() => done(true)));";
        self.client.execute_async(script, Vec::new()).await?;
        Ok(())
    }

    /// Clicks at window coordinates.
    ///
    /// # Errors
    /// When the page is gone.
    pub async fn click_at(&self, x: f64, y: f64) -> Result<()> {
        self.drag((x, y), (x, y)).await
    }

    /// Scrolls the first element that matches a selector into view, and clicks its centre.
    ///
    /// # Errors
    /// When no element matches.
    pub async fn click(&self, selector: &str) -> Result<()> {
        let selector = json!(selector);
        self.expect(&format!("document.querySelector({selector}) !== null")).await?;
        let middle = self
            .value(&format!(
                "(() => {{ const it = document.querySelector({selector}); it.scrollIntoView({{ block: 'nearest' }});
                const box = it.getBoundingClientRect(); return [box.x + box.width / 2, box.y + box.height / 2]; }})()"
            ))
            .await?;
        let at = |n: usize| middle[n].as_f64().context("the element has no coordinates");
        self.click_at(at(0)?, at(1)?).await
    }

    /// Drags with the left mouse button.
    ///
    /// # Errors
    /// When the page is gone.
    pub async fn drag(&self, from: (f64, f64), to: (f64, f64)) -> Result<()> {
        let move_to = |(x, y)| PointerAction::MoveTo { duration: Some(Duration::ZERO), x, y };
        let mouse = MouseActions::new("mouse".into())
            .then(move_to(from))
            .then(PointerAction::Down { button: MOUSE_BUTTON_LEFT })
            .then(move_to(to))
            .then(PointerAction::Up { button: MOUSE_BUTTON_LEFT });
        self.client.perform_actions(mouse).await?;
        self.settle().await
    }

    /// Turns the mouse wheel, with or without the control key held down.
    ///
    /// # Errors
    /// When the page is gone.
    pub async fn wheel(&self, (x, y): (i64, i64), delta_y: i64, with_control: bool) -> Result<()> {
        // By the DevTools protocol: chromedriver's wheel actions crash it while a key is held down.
        let modifiers = if with_control { 2 } else { 0 };
        let wheel = json!({ "type": "mouseWheel", "x": x, "y": y, "deltaX": 0, "deltaY": delta_y, "modifiers": modifiers });
        self.devtools("Input.dispatchMouseEvent", wheel).await?;
        self.settle().await
    }

    /// Types into the focused element.
    ///
    /// # Errors
    /// When the page is gone.
    pub async fn keys(&self, text: &str) -> Result<()> {
        let mut keys = KeyActions::new("keys".into());
        for value in text.chars() {
            keys = keys.then(KeyAction::Down { value }).then(KeyAction::Up { value });
        }
        self.client.perform_actions(keys).await?;
        self.settle().await
    }

    /// Emulates a system color scheme: `light` or `dark`.
    ///
    /// # Errors
    /// When the browser does not support it.
    pub async fn set_system_color_scheme(&self, scheme: &str) -> Result<()> {
        let features = json!([{ "name": "prefers-color-scheme", "value": scheme }]);
        self.devtools("Emulation.setEmulatedMedia", json!({ "features": features })).await?;
        self.settle().await
    }

    async fn devtools(&self, command: &str, params: Value) -> Result<()> {
        let body = json!({ "cmd": command, "params": params });
        self.client.issue_cmd(Raw { path: "goog/cdp/execute", body }).await?;
        Ok(())
    }

    /// The page's console messages and network requests since the last call, except the request for the page itself.
    ///
    /// # Errors
    /// When the browser keeps no such log.
    pub async fn console_and_requests(&self) -> Result<Vec<String>> {
        let log = async |kind: &str| -> Result<Vec<Value>> {
            let body = json!({ "type": kind });
            let log = self.client.issue_cmd(Raw { path: "se/log", body }).await?;
            Ok(log.as_array().context("the log is no list")?.clone())
        };
        let mut entries: Vec<String> =
            log("browser").await?.iter().map(|entry| entry["message"].to_string()).collect();
        let requests = log("performance").await?;
        ensure!(!requests.is_empty(), "the browser logs no requests");
        for entry in requests {
            let message: Value = serde_json::from_str(entry["message"].as_str().unwrap_or_default())?;
            let message = &message["message"];
            let (params, url) = (&message["params"], &message["params"]["request"]["url"]);
            // The browser's start page makes requests, too.
            let is_ours =
                message["method"] == "Network.requestWillBeSent" && params["documentURL"] == *self.address;
            if is_ours && *url != *self.address {
                entries.push(format!("request for {url}"));
            }
        }
        Ok(entries)
    }

    /// Resizes the window.
    ///
    /// # Errors
    /// When the page is gone.
    pub async fn resize(&self, width: u32, height: u32) -> Result<()> {
        self.client.set_window_size(width, height).await?;
        self.settle().await
    }

    /// A screenshot of the window, as a PNG.
    ///
    /// # Errors
    /// When the page is gone.
    pub async fn screenshot(&self) -> Result<Vec<u8>> {
        Ok(self.client.screenshot().await?)
    }
}

/// A WebDriver command that fantoccini has no method for.
#[derive(Debug)]
struct Raw {
    path: &'static str,
    body: Value,
}

impl WebDriverCompatibleCommand for Raw {
    fn endpoint(&self, base: &url::Url, session: Option<&str>) -> Result<url::Url, url::ParseError> {
        base.join(&format!("session/{}/{}", session.unwrap_or_default(), self.path))
    }

    fn method_and_body(&self, _: &url::Url) -> (http::Method, Option<String>) {
        (http::Method::POST, Some(self.body.to_string()))
    }
}

/// A running chromedriver, killed on drop.
struct Driver {
    process: Child,
    port: u16,
    /// Kept open: chromedriver must be able to write to it.
    _output: Lines<BufReader<ChildStdout>>,
}

impl Driver {
    /// Retries, because chromedriver ends if another process takes the free port that it has picked.
    fn start() -> Result<Self> {
        let mut outcome = Self::try_start();
        for _ in 0..4 {
            if outcome.is_ok() {
                break;
            }
            outcome = Self::try_start();
        }
        outcome
    }

    fn try_start() -> Result<Self> {
        let mut process = Command::new("chromedriver")
            .arg("--port=0")
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .context("cannot run chromedriver")?;
        let mut output = BufReader::new(process.stdout.take().context("its output was not piped")?).lines();
        // "ChromeDriver was started successfully on port 41067."
        let port = output.by_ref().map_while(Result::ok).find_map(|line| {
            let (_, port) = line.split_once("successfully on port ")?;
            port.trim_end_matches('.').parse().ok()
        });
        let Some(port) = port else {
            let ended = process.wait()?;
            anyhow::bail!("chromedriver ended before it printed its port: {ended}");
        };
        Ok(Self { process, port, _output: output })
    }
}

impl Drop for Driver {
    fn drop(&mut self) {
        // Errors mean that it has ended already.
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

/// A temporary folder, removed on drop.
struct Folder(PathBuf);

impl Folder {
    fn new() -> Self {
        static NEXT: AtomicU32 = AtomicU32::new(0);
        let number = NEXT.fetch_add(1, Ordering::Relaxed);
        let path = std::env::temp_dir().join(format!("steelmill-acceptance-{}-{number}", std::process::id()));
        std::fs::create_dir_all(&path).expect("a folder can be made");
        Self(path)
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        // It fails if the browser still writes to the folder.
        let _ = std::fs::remove_dir_all(&self.0);
    }
}
