//! The daemon's end of the control socket: it reads requests and passes them on, in order.
//!
//! A thread of its own, so that neither a flood of callers nor the writing of a long answer is work of the
//! daemon's. It makes no answer. What always holds:
//!
//! - everything has a bound: clients and what they leave unread (`places`), a request's octets, the time that a
//!   client may be silent or may take to read;
//! - of root, of others at the first socket, and of viewers one request each is with the daemon; viewers rest
//!   as long as their answer took;
//! - what comes by the viewers' socket changes nothing ([`Request::is_order`]).

use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;
use std::time::Duration;

use bytes::BytesMut;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::unix::OwnedReadHalf;
use tokio::net::{UnixListener, UnixStream};
use tokio::sync::{OwnedMutexGuard, mpsc, oneshot};
use tokio::task::AbortHandle;
use tokio::time::{Instant, interval, sleep, timeout};
use tokio_util::codec::{Decoder, LinesCodec, LinesCodecError};

use super::door::{Door, DoorError, Found};
use super::places::{Place, Places};
use super::protocol::{Answer, Envelope, Failure, Request};
use super::viewers_socket;

/// Longest request line.
const LINE: usize = 8 * 1024;
/// How long a client may take for a request.
const PATIENCE: Duration = Duration::from_secs(60);
/// How long a client may take to read an answer.
const TO_READ: Duration = Duration::from_secs(30);
/// How often it is looked whether the sockets are still there.
const LOOK: Duration = Duration::from_secs(2);
/// Longest rest of the viewers after an answer.
const LONGEST_REST: Duration = Duration::from_secs(1);
/// After an error that will not be gone at once.
const PAUSE: Duration = Duration::from_millis(100);
/// Requests that may be with the daemon, one for each line in which clients stand.
const LINES: usize = 3;

/// What the server has for the daemon.
#[derive(Debug)]
pub enum Message {
    /// A request that waits for its answer.
    Asked(Pending),
    /// A socket is lost and can't be made again, or no longer so.
    Trouble(Option<String>),
}

/// A request that waits for its answer.
#[derive(Debug)]
pub struct Pending {
    /// What is asked.
    pub request: Request,
    /// Where the answer goes.
    pub reply: oneshot::Sender<Answer>,
}

/// Where to listen, and for whom.
#[derive(Debug, Clone)]
pub struct Sockets {
    /// The socket for all requests: root's, and of a group.
    pub path: PathBuf,
    /// That group.
    pub group: Option<u32>,
    /// A group that may ask and not change, at a socket of its own beside the other.
    pub viewers: Option<u32>,
}

/// Sockets that are open, with nobody who accepts so far.
#[derive(Debug)]
pub struct Opened {
    entrances: Vec<(Entrance, std::os::unix::net::UnixListener)>,
}

/// The server at work; it and its sockets go when it is dropped.
#[derive(Debug)]
pub struct Server {
    stop: Option<oneshot::Sender<()>>,
    thread: Option<JoinHandle<()>>,
}

/// A socket, and who comes by it.
#[derive(Debug)]
struct Entrance {
    door: Door,
    path: PathBuf,
    role: Role,
    /// Why it is lost, as it was told.
    trouble: Option<String>,
}

/// What a client may.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Role {
    Operator,
    Viewer,
}

impl Opened {
    /// Makes the sockets. The process may need rights for it that it gives up later.
    ///
    /// # Errors
    /// Somebody serves there, or something is there that is not ours, or what the system says.
    pub fn at(sockets: &Sockets) -> Result<Self, DoorError> {
        let open = |path: &Path, group, role| {
            let (door, listener) = Door::open(path, group)?;
            let path = path.to_owned();
            let entrance = Entrance {
                door,
                path,
                role,
                trouble: None,
            };
            Ok((entrance, listener))
        };
        let mut entrances = vec![open(&sockets.path, sockets.group, Role::Operator)?];
        if sockets.viewers.is_some() {
            let path = viewers_socket(&sockets.path);
            entrances.push(open(&path, sockets.viewers, Role::Viewer)?);
        }
        Ok(Self { entrances })
    }

    /// Begins to accept; the daemon gets its messages through the receiver.
    ///
    /// # Errors
    /// There is no room for a thread.
    pub fn serve(self) -> io::Result<(Server, mpsc::Receiver<Message>)> {
        let (messages, receiver) = mpsc::channel(LINES);
        let (stop, stopped) = oneshot::channel();
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()?;
        let thread = std::thread::Builder::new()
            .name("control".into())
            .spawn(move || runtime.block_on(self.accept(messages, stopped)))?;
        let server = Server {
            stop: Some(stop),
            thread: Some(thread),
        };
        Ok((server, receiver))
    }

    async fn accept(self, messages: mpsc::Sender<Message>, mut stopped: oneshot::Receiver<()>) {
        let desk = Desk::new(messages);
        let mut entrances = Vec::new();
        for (entrance, listener) in self.entrances {
            match UnixListener::from_std(listener) {
                Ok(listener) => entrances.push((entrance, listener)),
                Err(error) => tracing::error!(%error, "cannot accept control clients"),
            }
        }
        let mut look = interval(LOOK);
        loop {
            tokio::select! {
                _ = &mut stopped => return,
                _ = look.tick() => if let Some(trouble) = mend(&mut entrances) {
                    let sent = desk.messages.send(Message::Trouble(trouble)).await;
                    if sent.is_err() {
                        return;
                    }
                },
                (role, accepted) = next(&entrances) => match accepted {
                    Ok(stream) => desk.welcome(stream, role),
                    Err(error) => {
                        tracing::warn!(%error, "cannot accept a control client");
                        sleep(PAUSE).await;
                    }
                },
            }
        }
    }
}

/// Makes lost sockets anew; all that is in the way, if that is news.
#[expect(
    clippy::option_option,
    reason = "whether there is news, and whether it is a trouble"
)]
fn mend(entrances: &mut [(Entrance, UnixListener)]) -> Option<Option<String>> {
    let mut is_news = false;
    for (entrance, listener) in &mut *entrances {
        is_news |= entrance.mend(listener);
    }
    let troubles = entrances
        .iter()
        .filter_map(|(entrance, _)| entrance.trouble.clone());
    let troubles: Vec<String> = troubles.collect();
    is_news.then(|| Some(troubles.join("; ")).filter(|all| !all.is_empty()))
}

/// The next client of any entrance.
async fn next(entrances: &[(Entrance, UnixListener)]) -> (Role, io::Result<UnixStream>) {
    let accepted = |at: usize| async move {
        match entrances.get(at) {
            Some((entrance, listener)) => {
                let accepted = listener.accept().await;
                (entrance.role, accepted.map(|(stream, _)| stream))
            }
            None => std::future::pending().await,
        }
    };
    tokio::select! {
        client = accepted(0) => client,
        client = accepted(1) => client,
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        drop(self.stop.take());
        if let Some(thread) = self.thread.take() {
            let _it_panicked = thread.join();
        }
    }
}

impl Entrance {
    /// Makes the socket anew if it is lost; whether there is another trouble than before.
    fn mend(&mut self, listener: &mut UnixListener) -> bool {
        if self.door.look() == Found::Ours {
            return false;
        }
        let made = (self.door.again()).map_err(|error| error.to_string());
        let path = self.path.display();
        let made = made.and_then(|(made, lacking)| {
            let made = UnixListener::from_std(made);
            let made = made.map_err(|error| format!("control socket {path}: {error}"))?;
            Ok((made, lacking))
        });
        let trouble = match made {
            Ok((made, lacking)) => {
                *listener = made;
                tracing::warn!("control socket {path}: it was lost, and is made again");
                lacking
            }
            Err(why) => Some(why),
        };
        let is_news = trouble != self.trouble;
        self.trouble = trouble;
        is_news
    }
}

/// What all clients share.
#[derive(Debug, Clone)]
struct Desk {
    messages: mpsc::Sender<Message>,
    places: Arc<Mutex<Places<AbortHandle>>>,
    /// Whoever has one has a request with the daemon.
    turns: [Arc<tokio::sync::Mutex<()>>; LINES],
}

/// A client's place, which is left with him.
struct Seat {
    desk: Desk,
    place: Place,
    role: Role,
    is_root: bool,
}

impl Desk {
    fn new(messages: mpsc::Sender<Message>) -> Self {
        let own = nix::unistd::geteuid().as_raw();
        Self {
            messages,
            places: Arc::new(Mutex::new(Places::new(own))),
            turns: Default::default(),
        }
    }

    fn places(&self) -> MutexGuard<'_, Places<AbortHandle>> {
        self.places.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn welcome(&self, stream: UnixStream, role: Role) {
        // Who can't be told is nobody in particular.
        let user = stream.peer_cred().map_or(u32::MAX, |found| found.uid());
        let (entered, is_root) = {
            let mut places = self.places();
            (places.enter(user), places.is_root(user))
        };
        let Some((place, gone)) = entered else {
            refuse(&stream);
            return;
        };
        if let Some(gone) = gone {
            gone.abort();
        }
        let seat = Seat {
            desk: self.clone(),
            place,
            role,
            is_root,
        };
        let task = tokio::spawn(async move {
            if let Err(error) = seat.serve(stream).await {
                tracing::debug!(%error, "a control client went away");
            }
        });
        self.places().ends_by(place, task.abort_handle());
    }
}

/// Says that there is no place, if that can be said at once.
fn refuse(stream: &UnixStream) {
    let message = "too many clients ask at once; try again";
    if let Ok(text) = line(failed(Failure::Busy, message.to_owned())) {
        let _gone_or_full = stream.try_write(&text);
    }
}

fn failed(reason: Failure, message: String) -> Answer {
    Answer::Failed {
        reason,
        message,
        remarks: Vec::new(),
    }
}

fn line(answer: Answer) -> io::Result<Vec<u8>> {
    let mut text = serde_json::to_vec(&Envelope::new(answer))?;
    text.push(b'\n');
    Ok(text)
}

impl Drop for Seat {
    fn drop(&mut self) {
        self.desk.places().leave(self.place);
    }
}

impl Seat {
    async fn serve(self, stream: UnixStream) -> io::Result<()> {
        let (read_half, mut write_half) = stream.into_split();
        let mut lines = Lines {
            half: read_half,
            codec: LinesCodec::new_with_max_length(LINE),
            buffer: BytesMut::new(),
        };
        loop {
            let read = match timeout(PATIENCE, lines.next()).await {
                Ok(Ok(None)) | Err(_) => return Ok(()),
                Ok(Ok(Some(line))) => serde_json::from_str::<Request>(&line)
                    .map_err(|error| format!("not a request that this version knows: {error}")),
                Ok(Err(LinesCodecError::MaxLineLengthExceeded)) => {
                    Err(format!("a request of more than {LINE} octets"))
                }
                Ok(Err(LinesCodecError::Io(error)))
                    if error.kind() == io::ErrorKind::InvalidData =>
                {
                    Err(format!("not a request: {error}"))
                }
                Ok(Err(LinesCodecError::Io(error))) => return Err(error),
            };
            let answer = match read {
                Ok(request) if self.role == Role::Viewer && request.is_order() => failed(
                    Failure::NotAllowed,
                    "this is the socket of [control] viewers, who may ask and not change anything"
                        .to_owned(),
                ),
                Ok(request) => match self.ask(request).await {
                    Some(answer) => answer,
                    None => return Ok(()),
                },
                Err(message) => failed(Failure::BadRequest, message),
            };
            let text = line(answer)?;
            self.waits_for_client(text.len());
            match timeout(TO_READ, write_half.write_all(&text)).await {
                Ok(written) => written?,
                Err(_) => return Err(io::ErrorKind::TimedOut.into()),
            }
            drop(text);
            self.waits_for_client(0);
        }
    }

    fn waits_for_client(&self, octets: usize) {
        let gone = self.desk.places().is_told(self.place, octets);
        gone.iter().for_each(AbortHandle::abort);
    }

    /// Has the daemon answer; none if it has ended.
    async fn ask(&self, request: Request) -> Option<Answer> {
        self.desk.places().asks(self.place);
        let [root, operators, viewers] = &self.desk.turns;
        let turns = match self.role {
            _ if self.is_root => root,
            Role::Operator => operators,
            Role::Viewer => viewers,
        };
        let turn = Arc::clone(turns).lock_owned().await;
        let asked = Instant::now();
        let (reply, answer) = oneshot::channel();
        let pending = Pending { request, reply };
        self.desk
            .messages
            .send(Message::Asked(pending))
            .await
            .ok()?;
        let answer = answer.await.ok()?;
        if self.role == Role::Viewer && !self.is_root {
            tokio::spawn(rest(turn, asked.elapsed()));
        }
        Some(answer)
    }
}

/// Keeps a turn for as long as its answer took.
async fn rest(turn: OwnedMutexGuard<()>, took: Duration) {
    sleep(took.min(LONGEST_REST)).await;
    drop(turn);
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
