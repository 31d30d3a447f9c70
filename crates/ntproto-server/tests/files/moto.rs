//! A real S3 server, in another language: moto, installed by pip. Without Python or a network there is none; in CI that is a failure.

use std::io::{Read as _, Write as _};
use std::net::{TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::time::{Duration, Instant};

/// The peer, and its version.
const MOTO: &str = "moto[server,s3]==5.2.5";
/// It is up within.
const PATIENCE: Duration = Duration::from_secs(30);

fn run(command: &mut Command) -> Result<Output, String> {
    let output = command.output().map_err(|why| format!("{command:?}: {why}"))?;
    if output.status.success() {
        return Ok(output);
    }
    Err(format!("{command:?}: {}", String::from_utf8_lossy(&output.stderr)))
}

/// moto, in an environment of its own below the target directory. Two that install it at one time have one each.
fn installed() -> Result<PathBuf, String> {
    let of = std::env::current_exe().map_err(|why| why.to_string())?;
    let of = of.file_stem().and_then(|name| name.to_str()).and_then(|name| name.split('-').next());
    let home = Path::new(env!("CARGO_TARGET_TMPDIR")).join(format!("python-moto-{}", of.unwrap_or_default()));
    let (python, server) = (home.join("bin/python"), home.join("bin/moto_server"));
    let stamp = home.join("installed");
    if std::fs::read_to_string(&stamp).is_ok_and(|version| version == MOTO) {
        return Ok(server);
    }
    run(Command::new("python3").args(["-m", "venv", "--clear"]).arg(&home))?;
    run(Command::new(python).args(["-m", "pip", "install", "--quiet", "--disable-pip-version-check", MOTO]))?;
    std::fs::write(stamp, MOTO).map_err(|why| why.to_string())?;
    Ok(server)
}

/// One that runs, with a bucket `chat`.
pub(crate) struct Moto {
    child: Child,
    port: u16,
}

impl Drop for Moto {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

impl Moto {
    /// `None`, and a word about it, where there is none.
    pub(crate) fn start() -> Option<Self> {
        let server = match installed() {
            Ok(server) => server,
            Err(why) if std::env::var("CI").is_ok_and(|ci| ci == "true") => panic!("no {MOTO}: {why}"),
            Err(why) => {
                println!("skipped, as there is no {MOTO}: {why}");
                return None;
            }
        };
        let port = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
        let mut command = Command::new(server);
        command.args(["-H", "127.0.0.1", "-p", &port.to_string()]);
        let child = command.stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap();
        let moto = Self { child, port };
        let until = Instant::now() + PATIENCE;
        while !moto.make_bucket() {
            assert!(Instant::now() < until, "moto does not come up");
            std::thread::sleep(Duration::from_millis(100));
        }
        Some(moto)
    }

    fn make_bucket(&self) -> bool {
        let Ok(mut stream) = TcpStream::connect(("127.0.0.1", self.port)) else { return false };
        let request =
            "PUT /chat HTTP/1.1\r\nHost: localhost\r\nContent-Length: 0\r\nConnection: close\r\n\r\n";
        let mut answer = String::new();
        stream.write_all(request.as_bytes()).is_ok()
            && stream.read_to_string(&mut answer).is_ok()
            && answer.starts_with("HTTP/1.1 200")
    }

    /// What whoever opens its bucket has in the environment.
    pub(crate) fn variables(&self) -> [(String, String); 5] {
        [
            ("AWS_ENDPOINT", format!("http://127.0.0.1:{}", self.port)),
            ("AWS_ALLOW_HTTP", "true".to_owned()),
            ("AWS_REGION", "us-east-1".to_owned()),
            ("AWS_ACCESS_KEY_ID", "somebody".to_owned()),
            ("AWS_SECRET_ACCESS_KEY", "something".to_owned()),
        ]
        .map(|(name, value)| (name.to_owned(), value))
    }
}
