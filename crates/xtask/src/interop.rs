//! `cargo xtask interop`: clients that nobody here wrote, against a real server.
//!
//! The clients and what they try are in `tests/interop`, and what they need is installed below the target directory: a Python
//! environment, a folder of node modules. What a Debian package brings is installed where this may install.

use std::collections::BTreeMap;
use std::fs;
use std::io::{BufRead as _, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, Command, Stdio};
use std::sync::mpsc::{Receiver, RecvTimeoutError, channel};
use std::time::{Duration, Instant};

use serde_json::Value;

use crate::cross::{may_install, server, target_folder};
use crate::process::program;
use crate::source::read;
use crate::wasm;

const TESTS: &str = "tests/interop";
/// How long one client may take: the slowest takes 20 s on two cores.
const LONGEST: Duration = Duration::from_secs(120);
/// How long the server, and the device that the others act for, may take until they are there.
const START: Duration = Duration::from_secs(30);
/// Where the page is from that the server lets in; nothing else is likely to listen there.
const ORIGIN: &str = "http://127.0.0.1:47424";

/// Programs and the Debian packages that have them.
const PROGRAMS: [(&str, &str); 8] = [
    ("python3", "python3-venv"),
    ("node", "nodejs"),
    ("npm", "npm"),
    ("curl", "curl"),
    ("wget", "wget"),
    ("aria2c", "aria2"),
    ("gtlsclient", "ngtcp2-client"),
    ("chromium", "chromium"),
];
/// Prometheus' parser. Its package would start Prometheus: only the program is taken out of it.
const PROMTOOL: (&str, &str) = ("promtool", "prometheus");

struct Client {
    name: &'static str,
    script: &'static str,
}

/// In the order in which they run; promtool looks at what the others left.
const CLIENTS: [Client; 14] = [
    Client { name: "aioquic", script: "aioquic_native.py" },
    Client { name: "aioquic h3", script: "aioquic_h3.py" },
    Client { name: "aioquic WebTransport", script: "aioquic_webtransport.py" },
    Client { name: "curl-cffi", script: "libcurl_h3.py" },
    Client { name: "curl-cffi resumable", script: "resumable.py" },
    Client { name: "gtlsclient", script: "gtlsclient_h3.py" },
    Client { name: "curl", script: "curl.py" },
    Client { name: "tuspy", script: "tuspy_upload.py" },
    Client { name: "tus-js-client", script: "tus_js_client.mjs" },
    Client { name: "wget, aria2", script: "ranges.py" },
    Client { name: "Chromium", script: "chromium.mjs" },
    Client { name: "Chromium, our page", script: PAGE },
    Client { name: "hyperframe, hpack", script: "h2_hostile.py" },
    Client { name: "promtool", script: "promtool.py" },
];

/// The page that is ours: it needs the client core as WebAssembly.
const PAGE: &str = "page.mjs";

/// What came of one thing that a client tried.
struct Verdict {
    client: &'static str,
    what: String,
    /// Why it failed.
    failed: Option<String>,
}

/// Servers that the benchmark runs beside, and openssl for their certificate.
const PEERS: [&str; 3] = ["nginx", "caddy", "openssl"];

/// Runs all clients, or those whose names or scripts begin with one of `chosen`, or the benchmark.
pub(crate) fn run(root: &Path, chosen: &[String]) -> Result<(), String> {
    if chosen == ["bench"] {
        return bench(root);
    }
    let begins = |text: &str| chosen.iter().any(|word| text.to_lowercase().starts_with(&word.to_lowercase()));
    let clients: Vec<&Client> = CLIENTS
        .iter()
        .filter(|client| chosen.is_empty() || begins(client.name) || begins(client.script))
        .collect();
    if clients.is_empty() {
        return Err(format!("no such client: {chosen:?}"));
    }
    let started = Instant::now();
    let place = Place::install(root)?;
    if clients.iter().any(|client| client.script == PAGE) {
        place.page(root)?;
    }
    println!("installed in {:.1} s", started.elapsed().as_secs_f64());

    let mut world = World::start(root, &place)?;
    let mut verdicts = Vec::new();
    for client in clients {
        let begun = Instant::now();
        let before = verdicts.len();
        world.try_out(client, &place, &mut verdicts)?;
        let took = begun.elapsed().as_secs_f64();
        println!("{:<21} {:>3} cases in {took:>5.1} s", client.name, verdicts.len() - before);
        world.alive()?;
    }
    world.end();
    report(&verdicts, &place.folder)
}

/// Files to and from this server and others, as `bench/files.py` says.
fn bench(root: &Path) -> Result<(), String> {
    if let Some(missing) = PEERS.iter().find(|name| !there(root, name)) {
        return Err(format!("install {missing}: the benchmark runs beside it"));
    }
    let place = Place::install(root)?;
    let peers = place.folder.join("bench");
    npm(root, &peers)?;
    let world = World::start(root, &place)?;
    let mut command = world.command(&place, "bench/files.py")?;
    command.env("NTP_PEERS", &peers).stdin(Stdio::null());
    let status = command.status().map_err(|e| format!("{command:?}: {e}"))?;
    world.end();
    if status.success() { Ok(()) } else { Err(format!("the benchmark failed ({status})")) }
}

/// Installs what a folder's `package-lock.json` says, if that has changed.
fn npm(root: &Path, folder: &Path) -> Result<(), String> {
    once(&folder.join("package-lock.json"), &folder.join("node.installed"), || {
        let ci = ["ci", "--prefix", &folder.to_string_lossy()].map(str::to_owned);
        let quiet = ["--ignore-scripts", "--no-audit", "--no-fund", "--silent"].map(str::to_owned);
        program(root, "npm", ci.iter().chain(&quiet)).done()
    })
}

/// Where things are installed.
struct Place {
    folder: PathBuf,
    python: PathBuf,
    path: String,
}

impl Place {
    fn install(root: &Path) -> Result<Self, String> {
        debian(root)?;
        let folder = target_folder(root).join("interop");
        let at = |name: &str| folder.join(name);
        // Scripts are run from here: Node looks for its modules beside them.
        for part in ["lib", "clients", "bench"] {
            copy(&root.join(TESTS).join(part), &at(part))?;
        }
        for file in ["requirements.txt", "package.json", "package-lock.json"] {
            copy(&root.join(TESTS).join(file), &at(file))?;
        }
        let promtool = promtool(root, &at("debian"))?;
        let path = std::env::var("PATH").unwrap_or_default();
        let path = promtool.map_or(path.clone(), |folder| format!("{}:{path}", folder.display()));
        let python = at("python/bin/python");

        let requirements = at("requirements.txt");
        once(&requirements, &at("python.installed"), || {
            let home = at("python");
            program(root, "python3", ["-m", "venv", "--clear", &home.to_string_lossy()]).done()?;
            let pip = ["-m", "pip", "install", "--quiet", "--disable-pip-version-check", "--requirement"];
            let requirements = requirements.to_string_lossy();
            program(root, &python.to_string_lossy(), pip.into_iter().chain([&*requirements])).done()
        })?;
        npm(root, &folder)?;
        Ok(Self { folder, python, path })
    }

    /// Builds what our page loads.
    fn page(&self, root: &Path) -> Result<(), String> {
        let web = wasm::package(root)?;
        let to = self.folder.join("web");
        copy(&web, &to)?;
        copy(&web.join("pkg"), &to.join("pkg"))
    }
}

/// Installs Debian's packages whose programs are missing, in one call.
fn debian(root: &Path) -> Result<(), String> {
    let missing: Vec<&str> =
        PROGRAMS.iter().filter(|(name, _)| !there(root, name)).map(|(_, package)| *package).collect();
    if missing.is_empty() {
        return Ok(());
    }
    if !may_install() {
        return Err(format!("install what is missing: {}", missing.join(" ")));
    }
    println!("installing {}", missing.join(" "));
    program(root, "apt-get", ["update", "-qq"]).done()?;
    let install = ["install", "-y", "-qq", "--no-install-recommends"];
    program(root, "apt-get", install.iter().chain(&missing)).done()
}

/// The folder that has promtool, if it is not installed.
fn promtool(root: &Path, folder: &Path) -> Result<Option<PathBuf>, String> {
    let (name, package) = PROMTOOL;
    if there(root, name) {
        return Ok(None);
    }
    let bin = folder.join("usr/bin");
    if bin.join(name).is_file() {
        return Ok(Some(bin));
    }
    fs::create_dir_all(folder).map_err(|e| format!("{}: {e}", folder.display()))?;
    program(folder, "apt-get", ["download", "-qq", package]).done()?;
    for file in fs::read_dir(folder).map_err(|e| e.to_string())?.flatten() {
        if file.file_name().to_string_lossy().ends_with(".deb") {
            program(folder, "dpkg-deb", ["-x", &file.path().to_string_lossy(), "."]).done()?;
        }
    }
    Ok(Some(bin))
}

fn there(root: &Path, name: &str) -> bool {
    match name {
        // Debian's Python comes without its `ensurepip`.
        "python3" => program(root, name, ["-c", "import ensurepip, venv"]).works(),
        _ => program(root, "sh", ["-c", &format!("command -v {name}")]).works(),
    }
}

/// A file, or a folder of files and what is in it now only.
fn copy(from: &Path, to: &Path) -> Result<(), String> {
    let wrong = |e: std::io::Error| format!("{}: {e}", from.display());
    if from.is_file() {
        fs::create_dir_all(to.parent().unwrap_or(to)).map_err(wrong)?;
        return fs::copy(from, to).map(|_| ()).map_err(wrong);
    }
    if to.exists() {
        fs::remove_dir_all(to).map_err(wrong)?;
    }
    fs::create_dir_all(to).map_err(wrong)?;
    for file in fs::read_dir(from).map_err(wrong)?.flatten().filter(|file| file.path().is_file()) {
        fs::copy(file.path(), to.join(file.file_name())).map_err(wrong)?;
    }
    Ok(())
}

/// Does something when `what` is not what it was done for the last time, as noted in `done`.
fn once(what: &Path, done: &Path, act: impl FnOnce() -> Result<(), String>) -> Result<(), String> {
    let wanted = read(what)?;
    if fs::read_to_string(done).is_ok_and(|found| found == wanted) {
        return Ok(());
    }
    act()?;
    fs::write(done, wanted).map_err(|e| format!("{}: {e}", done.display()))
}

/// A child whose standard output is read line by line. It ends when its standard input is closed, and is killed when it is dropped.
struct Running {
    child: Child,
    lines: Receiver<String>,
    stdin: Option<ChildStdin>,
}

impl Running {
    fn start(command: &mut Command, log: &Path) -> Result<Self, String> {
        let errors = fs::File::create(log).map_err(|e| format!("{}: {e}", log.display()))?;
        let spawned = command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(errors).spawn();
        let mut child = spawned.map_err(|e| format!("{command:?}: {e}"))?;
        let stdin = child.stdin.take();
        let stdout = child.stdout.take().ok_or("no standard output")?;
        let (send, lines) = channel();
        std::thread::spawn(move || {
            BufReader::new(stdout).lines().map_while(Result::ok).all(|line| send.send(line).is_ok())
        });
        Ok(Self { child, lines, stdin })
    }

    /// The line of JSON that says that it is there.
    fn ready(&self, log: &Path) -> Result<Value, String> {
        let line = self
            .lines
            .recv_timeout(START)
            .map_err(|_| format!("nothing is ready:\n{}", fs::read_to_string(log).unwrap_or_default()))?;
        serde_json::from_str(&line).map_err(|e| format!("{line}: {e}"))
    }

    fn end(&mut self) {
        drop(self.stdin.take());
        // Whoever closes the pipe has asked for the end; a server drains first.
        for _ in 0..50 {
            if !matches!(self.child.try_wait(), Ok(None)) {
                return;
            }
            std::thread::sleep(Duration::from_millis(100));
        }
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        // It may have ended by itself: then there is nothing to kill.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// The server, and a device that is signed in.
struct World {
    server: Running,
    device: Running,
    environment: BTreeMap<&'static str, String>,
}

impl World {
    fn start(root: &Path, place: &Place) -> Result<Self, String> {
        let at = |name: &str| place.folder.join(name);
        let text = |value: &Value, name: &str| value[name].as_str().unwrap_or_default().to_owned();
        let ntp = server(root).ok_or("no server: build one with `cargo build --release`")?;
        let data = at("server");
        if data.exists() {
            fs::remove_dir_all(&data).map_err(|e| format!("{}: {e}", data.display()))?;
        }
        let log = at("server.log");
        let mut command = Command::new(&ntp);
        command.args(["serve", "--json", "--end-with-stdin", "--listen", "127.0.0.1:0"]);
        command.args([
            "--public-host",
            "localhost",
            "--open-registration",
            "true",
            "--ops-listen",
            "127.0.0.1:0",
        ]);
        // All clients are one address.
        command.args(["--tcp-burst", "10000", "--tcp-rate", "10000", "--auth-burst", "1000"]);
        command.args(["--web-origins", ORIGIN, "--data-dir"]).arg(&data);
        let server = Running::start(&mut command, &log)?;
        let told = server.ready(&log)?;
        let listening = text(&told, "listening");
        let port = listening.rsplit(':').next().unwrap_or_default().to_owned();

        let mut environment = BTreeMap::from([
            ("NTP_PORT", port),
            ("NTP_CONNECT", text(&told, "connect")),
            ("NTP_OPS", text(&told, "ops")),
            ("NTP_PID", server.child.id().to_string()),
            ("NTP", ntp.to_string_lossy().into_owned()),
            ("NTP_CA", at("certificate.pem").to_string_lossy().into_owned()),
            ("NODE_EXTRA_CA_CERTS", at("certificate.pem").to_string_lossy().into_owned()),
            ("NTP_ORIGIN", ORIGIN.to_owned()),
            ("NTP_SCRATCH", place.folder.to_string_lossy().into_owned()),
            ("PATH", place.path.clone()),
            ("PYTHONDONTWRITEBYTECODE", "1".to_owned()),
        ]);
        let python = |script: &str, environment: &BTreeMap<&'static str, String>| {
            let mut command = Command::new(&place.python);
            command.arg(at("lib").join(script)).envs(environment).current_dir(&place.folder);
            command
        };
        let status = python("certificate.py", &environment).status().map_err(|e| e.to_string())?;
        if !status.success() {
            return Err(format!("the server shows the web no certificate ({status})"));
        }
        let log = at("account.log");
        let device = Running::start(&mut python("account.py", &environment), &log)?;
        let told = device.ready(&log)?;
        environment.insert("NTP_TOKEN", text(&told, "token"));
        environment.insert("NTP_CONVERSATION", text(&told, "conversation"));
        Ok(Self { server, device, environment })
    }

    /// The server has not died, whatever it was sent.
    fn alive(&mut self) -> Result<(), String> {
        match self.server.child.try_wait() {
            Ok(None) => Ok(()),
            other => Err(format!("the server is gone: {other:?}")),
        }
    }

    /// A script in its interpreter, with a fresh folder of its own.
    fn command(&self, place: &Place, script: &str) -> Result<Command, String> {
        let scratch = place.folder.join("scratch").join(stem(script));
        let wrong = |e: std::io::Error| format!("{}: {e}", scratch.display());
        if scratch.exists() {
            fs::remove_dir_all(&scratch).map_err(wrong)?;
        }
        fs::create_dir_all(&scratch).map_err(wrong)?;
        let python = script.ends_with(".py");
        let mut command = Command::new(if python { place.python.as_path() } else { Path::new("node") });
        command.arg(place.folder.join(script)).current_dir(&place.folder);
        command.envs(&self.environment).env("NTP_SCRATCH", &scratch);
        Ok(command)
    }

    fn try_out(&self, client: &'static Client, place: &Place, to: &mut Vec<Verdict>) -> Result<(), String> {
        let mut command = self.command(place, &format!("clients/{}", client.script))?;
        let log = place.folder.join(format!("{}.log", stem(client.script)));
        let mut running = Running::start(&mut command, &log)?;
        let mut say = |what: String, failed| to.push(Verdict { client: client.name, what, failed });
        let (end, mut said) = (Instant::now() + LONGEST, false);
        loop {
            match running.lines.recv_timeout(end.saturating_duration_since(Instant::now())) {
                Ok(line) => {
                    said = true;
                    if let Some(what) = line.strip_prefix("ok ") {
                        say(what.to_owned(), None);
                    } else if let Some(rest) = line.strip_prefix("FAIL ") {
                        say(rest.to_owned(), Some(log.display().to_string()));
                    }
                }
                Err(RecvTimeoutError::Timeout) => {
                    say("it comes to an end".into(), Some(format!("not in {LONGEST:?}")));
                    return Ok(());
                }
                Err(RecvTimeoutError::Disconnected) => break,
            }
        }
        let status = running.child.wait().map_err(|e| format!("{}: {e}", client.name))?;
        // 1 is a failed case, which has its own line.
        if !said || !matches!(status.code(), Some(0 | 1)) {
            say("it runs".into(), Some(format!("{status}; {}", log.display())));
        }
        Ok(())
    }

    fn end(mut self) {
        self.device.end();
        self.server.end();
    }
}

/// A script's name without its folder and its language.
fn stem(script: &str) -> &str {
    let file = script.rsplit('/').next().unwrap_or(script);
    file.split('.').next().unwrap_or(file)
}

/// The table, and whether all of it passed.
fn report(verdicts: &[Verdict], folder: &Path) -> Result<(), String> {
    println!();
    for Verdict { client, what, failed } in verdicts {
        println!("{client:<21} {} {what}", if failed.is_some() { "FAILED" } else { "passed" });
    }
    let failed: Vec<&Verdict> = verdicts.iter().filter(|one| one.failed.is_some()).collect();
    println!("\ninterop: {} passed, {} failed", verdicts.len() - failed.len(), failed.len());
    if failed.is_empty() {
        return Ok(());
    }
    let lines = failed
        .iter()
        .map(|one| format!("{}: {} ({})", one.client, one.what, one.failed.as_deref().unwrap_or_default()));
    let all = lines.collect::<Vec<_>>().join("\n");
    Err(format!("{all}\nthe server's log: {}", folder.join("server.log").display()))
}
