//! The command line's end of the control socket: blocking, one request at a time. A daemon that is busy with other
//! clients is asked again for a while.

use std::io::{self, BufRead, BufReader, Write};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::thread;
use std::time::Duration;

use serde::Deserialize;

use super::protocol::{Answer, Envelope, Failure, Request, VERSION};
use super::viewers_socket;

/// How long an answer may take; the daemon answers between two pieces of work.
const PATIENCE: Duration = Duration::from_secs(30);

/// How often a daemon that is busy is asked again, and after how long: for five seconds.
const TRIES: u32 = 100;
const AGAIN: Duration = Duration::from_millis(50);

/// Why there is no answer.
#[derive(Debug, thiserror::Error)]
pub enum ClientError {
    /// Nobody serves the socket.
    #[error("no dunlin answers at {}: {source}{}", path.display(), advice(source))]
    Connect {
        /// The path that was tried.
        path: PathBuf,
        /// What the system says.
        source: io::Error,
    },
    /// The connection broke.
    #[error("the daemon went away in the middle of its answer: {0}")]
    Broken(#[from] io::Error),
    /// The answer is of another version.
    #[error(
        "the daemon speaks version {0} of the control protocol and this command version {VERSION}; \
         use the command that came with the daemon"
    )]
    OtherVersion(u32),
    /// The answer makes no sense to this version.
    #[error("the daemon's answer can't be read; is it of another version? ({0})")]
    Strange(#[from] serde_json::Error),
}

/// An answer whose shape is not known.
#[derive(Debug, Deserialize)]
struct Anything {}

fn advice(source: &io::Error) -> &'static str {
    match source.kind() {
        io::ErrorKind::NotFound | io::ErrorKind::ConnectionRefused => {
            "; is `dunlin run` running here? If its socket is elsewhere, name it with --socket"
        }
        io::ErrorKind::PermissionDenied => {
            "; run this as root or as a member of the group in [control] group, or in [control] viewers"
        }
        _other => "",
    }
}

const fn is_end(kind: io::ErrorKind) -> bool {
    use io::ErrorKind as K;
    matches!(
        kind,
        K::ConnectionReset | K::BrokenPipe | K::UnexpectedEof | K::NotConnected
    )
}

/// A connection to the daemon.
#[derive(Debug)]
pub struct Client {
    path: PathBuf,
    lines: BufReader<UnixStream>,
}

impl Client {
    /// Connects to the daemon that serves `path`; who may not, as a viewer.
    ///
    /// # Errors
    /// [`ClientError::Connect`].
    pub fn connect(path: &Path) -> Result<Self, ClientError> {
        let connect = |source| ClientError::Connect {
            path: path.to_owned(),
            source,
        };
        let stream = UnixStream::connect(path).or_else(|error| {
            if error.kind() != io::ErrorKind::PermissionDenied {
                return Err(error);
            }
            // What is said of the first is what helps.
            UnixStream::connect(viewers_socket(path)).map_err(|_| error)
        });
        let stream = stream.map_err(connect)?;
        stream.set_read_timeout(Some(PATIENCE))?;
        stream.set_write_timeout(Some(PATIENCE))?;
        Ok(Self {
            path: path.to_owned(),
            lines: BufReader::new(stream),
        })
    }

    /// Asks and waits for the answer.
    ///
    /// # Errors
    /// If the daemon goes away or answers strangely.
    pub fn ask(&mut self, request: &Request) -> Result<Answer, ClientError> {
        let mut tries = 0;
        loop {
            tries += 1;
            let answer = self.ask_once(request);
            let again = match &answer {
                Ok(Answer::Failed { reason, .. }) => *reason == Failure::Busy,
                // Its place went to somebody else before it had asked. An order is not given twice.
                Err(ClientError::Broken(error)) => !request.is_order() && is_end(error.kind()),
                Ok(_) | Err(_) => false,
            };
            if !again || tries >= TRIES {
                return answer;
            }
            thread::sleep(AGAIN);
            *self = Self::connect(&self.path)?;
        }
    }

    fn ask_once(&mut self, request: &Request) -> Result<Answer, ClientError> {
        let mut line = serde_json::to_vec(request)?;
        line.push(b'\n');
        let written = self.lines.get_mut().write_all(&line);
        let mut answer = String::new();
        // Whoever is refused may have been told so before he asked.
        if self.lines.read_line(&mut answer)? == 0 {
            written?;
            return Err(ClientError::Broken(io::ErrorKind::UnexpectedEof.into()));
        }
        match serde_json::from_str::<Envelope>(&answer) {
            Ok(Envelope {
                protocol: VERSION,
                answer,
            }) => Ok(answer),
            Ok(Envelope { protocol, .. }) => Err(ClientError::OtherVersion(protocol)),
            Err(error) => match serde_json::from_str::<Envelope<Anything>>(&answer) {
                Ok(Envelope { protocol, .. }) if protocol != VERSION => {
                    Err(ClientError::OtherVersion(protocol))
                }
                Ok(_) | Err(_) => Err(error.into()),
            },
        }
    }
}
