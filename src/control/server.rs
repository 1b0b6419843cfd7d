//! The daemon's end of the control socket: it reads requests and passes them on, in order.
//!
//! Bounded: so many clients at once, one request of a client in work, a length limit on a line, and
//! a client that says nothing for a while is let go.

use std::io;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use bytes::BytesMut;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::unix::OwnedReadHalf;
use tokio::net::{UnixListener, UnixStream};
use tokio::sync::{Semaphore, mpsc, oneshot};
use tokio::task::JoinHandle;
use tokio_util::codec::{Decoder, LinesCodec, LinesCodecError};

use super::protocol::{Answer, Envelope, Failure, Request};

/// Clients served at once; more wait.
const CLIENTS: usize = 16;
/// Longest request line.
const LINE: usize = 64 * 1024;
/// How long a client may be silent.
const PATIENCE: Duration = Duration::from_secs(60);

/// A request that waits for its answer.
#[derive(Debug)]
pub struct Pending {
    /// What is asked.
    pub request: Request,
    /// Where the answer goes.
    pub reply: oneshot::Sender<Answer>,
}

/// The listening control socket; its file is removed when it is dropped.
#[derive(Debug)]
pub struct Server {
    path: PathBuf,
    task: JoinHandle<()>,
}

impl Server {
    /// Listens at `path`, open to root or also to the group `group`.
    ///
    /// A socket file that nobody serves is replaced; one that is served is an error: two daemons on
    /// one node would fight over the same routes.
    ///
    /// # Errors
    /// What the system says, in words that name the path.
    pub fn bind<E>(path: &Path, group: Option<u32>, requests: mpsc::Sender<E>) -> io::Result<Self>
    where
        E: From<Pending> + Send + 'static,
    {
        let named = |error: io::Error| {
            io::Error::new(
                error.kind(),
                format!("control socket {}: {error}", path.display()),
            )
        };
        if std::os::unix::net::UnixStream::connect(path).is_ok() {
            let taken = "another dunlin already serves it; stop that one or choose another path";
            return Err(named(io::Error::new(io::ErrorKind::AddrInUse, taken)));
        }
        if let Some(folder) = path.parent() {
            std::fs::create_dir_all(folder).map_err(named)?;
        }
        match std::fs::remove_file(path) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(named(error)),
            Ok(()) | Err(_) => {}
        }
        let listener = bind_private(path).map_err(named)?;
        if let Some(group) = group {
            std::os::unix::fs::chown(path, None, Some(group)).map_err(named)?;
            std::fs::set_permissions(path, std::fs::Permissions::from_mode(0o660))
                .map_err(named)?;
        }
        let task = tokio::spawn(accept(listener, requests));
        Ok(Self {
            path: path.to_owned(),
            task,
        })
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.task.abort();
        let _already_gone = std::fs::remove_file(&self.path);
    }
}

/// Binds with mode 0600 from the first moment on: bound under a name that nobody knows, made
/// private, then renamed to the name that clients use.
fn bind_private(path: &Path) -> io::Result<UnixListener> {
    let staging = path.with_extension(format!("{}.new", std::process::id()));
    let listener = UnixListener::bind(&staging)?;
    std::fs::set_permissions(&staging, std::fs::Permissions::from_mode(0o600))?;
    std::fs::rename(&staging, path)?;
    Ok(listener)
}

async fn accept<E>(listener: UnixListener, requests: mpsc::Sender<E>)
where
    E: From<Pending> + Send + 'static,
{
    let places = Arc::new(Semaphore::new(CLIENTS));
    loop {
        let Ok(place) = Arc::clone(&places).acquire_owned().await else {
            return;
        };
        match listener.accept().await {
            Ok((stream, _address)) => {
                let requests = requests.clone();
                tokio::spawn(async move {
                    if let Err(error) = serve(stream, requests).await {
                        tracing::debug!(%error, "a control client went away");
                    }
                    drop(place);
                });
            }
            Err(error) => {
                tracing::warn!(%error, "cannot accept a control client");
                tokio::time::sleep(Duration::from_millis(100)).await;
            }
        }
    }
}

async fn serve<E: From<Pending>>(stream: UnixStream, requests: mpsc::Sender<E>) -> io::Result<()> {
    let (read_half, mut write_half) = stream.into_split();
    let mut lines = Lines {
        half: read_half,
        codec: LinesCodec::new_with_max_length(LINE),
        buffer: BytesMut::new(),
    };
    loop {
        let read = match tokio::time::timeout(PATIENCE, lines.next()).await {
            Ok(Ok(None)) | Err(_) => return Ok(()),
            Ok(Ok(Some(line))) => serde_json::from_str::<Request>(&line)
                .map_err(|error| format!("not a request that this version knows: {error}")),
            Ok(Err(LinesCodecError::MaxLineLengthExceeded)) => {
                Err(format!("a request of more than {LINE} octets"))
            }
            Ok(Err(LinesCodecError::Io(error))) if error.kind() == io::ErrorKind::InvalidData => {
                Err(format!("not a request: {error}"))
            }
            Ok(Err(LinesCodecError::Io(error))) => return Err(error),
        };
        let answer = match read {
            Ok(request) => {
                let (reply, answer) = oneshot::channel();
                let pending = Pending { request, reply };
                if requests.send(pending.into()).await.is_err() {
                    return Ok(());
                }
                match answer.await {
                    Ok(answer) => answer,
                    Err(_daemon_stopped) => return Ok(()),
                }
            }
            Err(message) => Answer::Failed {
                reason: Failure::BadRequest,
                message,
                remarks: Vec::new(),
            },
        };
        let mut text = serde_json::to_vec(&Envelope::new(answer))?;
        text.push(b'\n');
        write_half.write_all(&text).await?;
    }
}

/// What a client says, line by line.
struct Lines {
    half: OwnedReadHalf,
    codec: LinesCodec,
    buffer: BytesMut,
}

impl Lines {
    async fn next(&mut self) -> Result<Option<String>, LinesCodecError> {
        loop {
            if let Some(line) = self.codec.decode(&mut self.buffer)? {
                return Ok(Some(line));
            }
            if self.half.read_buf(&mut self.buffer).await? == 0 {
                return self.codec.decode_eof(&mut self.buffer);
            }
        }
    }
}
