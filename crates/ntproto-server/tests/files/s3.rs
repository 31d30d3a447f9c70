//! A bucket of a real S3 server, in another language: moto, installed by pip. Without Python or a network it is skipped; in CI that
//! is a failure.

use std::io::{Read as _, Write as _};
use std::net::{TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::time::{Duration, Instant};

use ntproto_server::files::FileStore;
use ntproto_server::files::s3::S3Files;
use ntproto_web::{ContentId, FileError, FileId, FileOp, FileOutcome};

use super::conformance::{conforms, done, sha256, write};

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

/// moto, in an environment of its own below the target directory.
fn installed() -> Result<PathBuf, String> {
    let home = Path::new(env!("CARGO_TARGET_TMPDIR")).join("python-moto");
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

struct Moto {
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
    fn start(server: &Path) -> Self {
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
        moto
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

    fn open(&self, bucket: &str, prefix: &str) -> Result<S3Files, String> {
        let variables = [
            ("AWS_ENDPOINT", format!("http://127.0.0.1:{}", self.port)),
            ("AWS_ALLOW_HTTP", "true".to_owned()),
            ("AWS_REGION", "us-east-1".to_owned()),
            ("AWS_ACCESS_KEY_ID", "somebody".to_owned()),
            ("AWS_SECRET_ACCESS_KEY", "something".to_owned()),
            ("HOME", "/nowhere".to_owned()),
        ];
        let variables = variables.map(|(name, value)| (name.to_owned(), value));
        S3Files::open_with(bucket, prefix, variables).map_err(|why| why.to_string())
    }
}

#[test]
fn a_bucket_conforms_and_a_large_file_is_put_together() {
    let server = match installed() {
        Ok(server) => server,
        Err(why) if std::env::var("CI").is_ok_and(|ci| ci == "true") => panic!("no {MOTO}: {why}"),
        Err(why) => return println!("skipped, as there is no {MOTO}: {why}"),
    };
    let moto = Moto::start(&server);
    let why = moto.open("nobodys", "").unwrap_err();
    assert!(why.contains("can't be used"), "{why}");
    for prefix in ["", "a/b"] {
        let mut n = 0;
        conforms(&mut || {
            n += 1;
            Box::new(moto.open("chat", prefix).unwrap())
        });
        assert!(n > 1, "it was opened anew");
    }

    // More than one part of a multipart upload; what lies behind a crash is of another length than what comes instead.
    let (file, bytes): (_, Vec<u8>) =
        (FileId([3; 16]), (0..20_000_000_u32).map(|n| (n % 253) as u8).collect());
    let (content, length) = (ContentId(sha256(&bytes)), bytes.len() as u64);
    let files = moto.open("chat", "large").unwrap();
    for (n, piece) in bytes[..5_000_000].chunks(1_000_000).enumerate() {
        write(&files, file, n as u64 * 1_000_000, piece);
        done(&files, FileOp::Sync { file });
    }
    drop(files);
    let files = moto.open("chat", "large").unwrap();
    // Confirmed were 3,500,000 only.
    let mut at = 3_500_000;
    for piece in bytes[3_500_000..].chunks(700_000) {
        write(&files, file, at, piece);
        done(&files, FileOp::Sync { file });
        at += piece.len() as u64;
    }
    let hash = files.perform(FileOp::Hash { file, length });
    assert_eq!(hash, Ok(FileOutcome::Hashed(content.0)));
    done(&files, FileOp::Keep { file, content, length });
    let read = files.perform(FileOp::Read { content, offset: 8_388_600, length: 100 }).unwrap();
    assert_eq!(read, FileOutcome::Data(bytes[8_388_600..8_388_700].to_vec().into()));

    // A peer that is gone fails what is asked of it, and nothing else.
    drop(moto);
    assert_eq!(files.perform(FileOp::Sync { file }), Ok(FileOutcome::Done), "nothing waits");
    assert_eq!(files.perform(FileOp::Delete { content }), Err(FileError::Io));
}
