//! DynamoDB Local for tests: AWS's own, installed once into the project's `.local/`, started in memory on a free port, gone
//! with the test.
//!
//! It knows the service's rules better than any other stand-in, real transaction conflicts and their reasons among them.
//! It needs Java 17 or newer, and npm to be installed (`install.sh` beside this crate says what is missing). It runs under AWS's own
//! licence (`.local/dynamodb-local/server/LICENSE.txt`), as a tool of the tests only. It has no option not to listen on every
//! address of the machine; on Linux a small preloaded library (`loopback.c`) keeps it to loopback.
//!
//! ```no_run
//! let server = dynamodb_local::DynamoDbLocal::start()?;
//! println!("{}", server.endpoint());
//! # Ok::<(), dynamodb_local::StartError>(())
//! ```
//!
//! Source: <https://docs.aws.amazon.com/amazondynamodb/latest/developerguide/DynamoDBLocal.html>

use std::io::{self, Read as _, Write as _};
use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, Command, ExitStatus, Stdio};
use std::time::{Duration, Instant};

/// How long it may take to start: a Java program, on a machine that compiles beside.
const START: Duration = Duration::from_secs(60);
/// How often to look whether it has.
const LOOK: Duration = Duration::from_millis(50);
/// Ports that are tried: another program may take one between its choice and its use.
const TRIES: u32 = 5;

/// The server did not come up.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// It could not be installed; `install.sh` has said on stderr what is missing.
    #[error(
        "DynamoDB Local could not be installed ({0}); the lines above say what is missing. `make setup` installs it"
    )]
    Install(ExitStatus),
    /// A program of the machine is missing: `bash`, `sh`, or what they call.
    #[error("{program} could not be started: {why}")]
    Program {
        /// Which.
        program: &'static str,
        /// Why.
        why: io::Error,
    },
    /// It ended, or never answered.
    #[error("DynamoDB Local did not start on any of {TRIES} ports; its last words: {0}")]
    Silent(String),
}

/// A running server, empty at first. Dropping it stops it; so does the end of this process, however it ends.
#[derive(Debug)]
pub struct DynamoDbLocal {
    port: u16,
    process: Child,
    /// Open as long as this process lives: its end stops the server.
    alive: Option<ChildStdin>,
}

impl DynamoDbLocal {
    /// Installs it if need be, and starts one. Blocks until it answers, seconds at most in the ordinary case.
    pub fn start() -> Result<Self, StartError> {
        let server = installed()?;
        let mut words = String::new();
        for _ in 0..TRIES {
            match Self::start_on(
                free_port().map_err(|why| StartError::Program { program: "a free port", why })?,
                &server,
            ) {
                Ok(server) => return Ok(server),
                Err(StartError::Silent(said)) => words = said,
                Err(other @ (StartError::Install(_) | StartError::Program { .. })) => return Err(other),
            }
        }
        Err(StartError::Silent(words))
    }

    fn start_on(port: u16, server: &Path) -> Result<Self, StartError> {
        // The shell stands between: its `read` ends when our end of the pipe is closed, by a drop or by a kill.
        let script = r#"[ ! -e "$1" ] || export LD_PRELOAD="$1"
                        java -Xmx512m -Djava.library.path=./DynamoDBLocal_lib -jar DynamoDBLocal.jar \
                            -inMemory -sharedDb -disableTelemetry -port "$0" < /dev/null 2>&1 &
                        read -r _
                        kill -9 $! 2> /dev/null
                        wait"#;
        let failed = |why| StartError::Program { program: "sh", why };
        let mut process = Command::new("sh")
            .args(["-c", script, &port.to_string()])
            .arg(server.with_file_name("loopback.so"))
            .current_dir(server)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .map_err(failed)?;
        let alive = process.stdin.take();
        let mut out = process.stdout.take();
        let mut started = Self { port, process, alive };
        // What it says is read until it has answered or ended; later words would block it once the pipe is full.
        let (said, words) = std::sync::mpsc::channel::<String>();
        std::thread::spawn(move || {
            let mut buffer = [0_u8; 4_096];
            while let Some(read) = out.as_mut().and_then(|out| out.read(&mut buffer).ok()).filter(|read| *read > 0) {
                let text = String::from_utf8_lossy(buffer.get(..read).unwrap_or_default()).into_owned();
                // Nobody listens once it has started.
                said.send(text).ok();
            }
        });
        let mut heard = String::new();
        let began = Instant::now();
        while began.elapsed() < START {
            heard.extend(words.try_iter());
            // A port that was taken by another program answers too, so our own has to be alive afterwards.
            let refused = heard.contains("Address already in use") || heard.contains("Exception");
            if refused {
                break;
            }
            if started.answers() && heard.contains("Initializing DynamoDB Local") {
                return Ok(started);
            }
            match words.recv_timeout(LOOK) {
                Ok(more) => heard.push_str(&more),
                Err(std::sync::mpsc::RecvTimeoutError::Timeout) => {}
                // Its output ended: so did it.
                Err(std::sync::mpsc::RecvTimeoutError::Disconnected) => break,
            }
        }
        started.stop();
        Err(StartError::Silent(heard))
    }

    /// Its address: `http://127.0.0.1:<port>`. Any region and any credentials see the same tables.
    pub fn endpoint(&self) -> String {
        format!("http://127.0.0.1:{}", self.port)
    }

    fn answers(&self) -> bool {
        let address = SocketAddr::from((Ipv4Addr::LOCALHOST, self.port));
        let ask = || -> io::Result<bool> {
            let mut stream = TcpStream::connect_timeout(&address, Duration::from_secs(1))?;
            stream.set_read_timeout(Some(Duration::from_secs(5)))?;
            stream.write_all(b"GET / HTTP/1.1\r\nHost: 127.0.0.1\r\nConnection: close\r\n\r\n")?;
            let mut head = [0_u8; 5];
            stream.read_exact(&mut head)?;
            Ok(&head == b"HTTP/")
        };
        ask().unwrap_or(false)
    }

    fn stop(&mut self) {
        drop(self.alive.take());
        // The shell ends when it has stopped the server; it cannot be told better.
        self.process.wait().ok();
    }
}

impl Drop for DynamoDbLocal {
    fn drop(&mut self) {
        self.stop();
    }
}

/// The folder of the server, which is installed into it if it is not there.
fn installed() -> Result<PathBuf, StartError> {
    let here = Path::new(env!("CARGO_MANIFEST_DIR"));
    let failed = |why| StartError::Program { program: "bash", why };
    let status = Command::new("bash").arg(here.join("install.sh")).status().map_err(failed)?;
    if !status.success() {
        return Err(StartError::Install(status));
    }
    // Whole, as the server is started in a folder of its own.
    here.join("../../.local/dynamodb-local").canonicalize().map(|folder| folder.join("server")).map_err(failed)
}

fn free_port() -> io::Result<u16> {
    Ok(TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?.local_addr()?.port())
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The addresses that listen on this port, as `/proc/net` writes them.
    #[cfg(target_os = "linux")]
    fn listeners(port: u16) -> Vec<String> {
        let tables = ["/proc/net/tcp", "/proc/net/tcp6"].map(|table| std::fs::read_to_string(table).unwrap());
        let addresses = tables.iter().flat_map(|table| table.lines()).filter_map(|line| {
            let mut words = line.split_whitespace().skip(1);
            let (local, state) = (words.next()?, words.nth(1)?);
            let (address, at) = local.split_once(':')?;
            (state == "0A" && at == format!("{port:04X}")).then(|| address.to_owned())
        });
        addresses.collect()
    }

    #[test]
    fn a_server_answers_and_is_gone_when_it_is_dropped() {
        let server = DynamoDbLocal::start().unwrap();
        let address = SocketAddr::from((Ipv4Addr::LOCALHOST, server.port));
        assert!(server.answers());
        #[cfg(target_os = "linux")]
        assert_eq!(listeners(server.port), ["0000000000000000FFFF00000100007F"], "loopback only");
        drop(server);
        assert!(TcpStream::connect(address).is_err());
    }
}
