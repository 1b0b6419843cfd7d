//! Listening sockets: accept and hand over, bounded by the daemon's queue.

use std::io;
use std::net::SocketAddr;

use socket2::{Domain, Protocol, Socket, Type};
use tokio::net::TcpListener;
use tokio::sync::mpsc;
use tokio::task::JoinHandle;

use super::Event;

/// Connections that may wait to be accepted: a whole cluster may start in one second, and a SYN
/// that finds no room is tried again only after a second or more.
const BACKLOG: i32 = 4096;

/// One listening socket with its accepting task; closes when dropped.
#[derive(Debug)]
pub struct Listener {
    address: SocketAddr,
    task: JoinHandle<()>,
}

impl Listener {
    /// Binds `address` and reports every connection into `events`.
    ///
    /// # Errors
    /// What the kernel says, such as an address in use.
    pub fn bind<E>(address: SocketAddr, events: mpsc::Sender<E>) -> io::Result<Self>
    where
        E: From<Event> + Send + 'static,
    {
        let socket = Socket::new(
            Domain::for_address(address),
            Type::STREAM,
            Some(Protocol::TCP),
        )?;
        socket.set_reuse_address(true)?;
        if address.is_ipv6() {
            // The two families have sockets of their own.
            socket.set_only_v6(true)?;
        }
        // An address that appears later (a node address set by another program) can be bound now.
        if address.is_ipv4() {
            socket.set_freebind_v4(true)?;
        } else {
            socket.set_freebind_v6(true)?;
        }
        socket.set_nonblocking(true)?;
        socket.bind(&address.into())?;
        socket.listen(BACKLOG)?;
        let listener = TcpListener::from_std(socket.into())?;
        let address = listener.local_addr()?;
        let task = tokio::spawn(accept(listener, events));
        Ok(Self { address, task })
    }

    /// The address that is bound.
    pub fn address(&self) -> SocketAddr {
        self.address
    }
}

impl Drop for Listener {
    fn drop(&mut self) {
        self.task.abort();
    }
}

async fn accept<E: From<Event>>(listener: TcpListener, events: mpsc::Sender<E>) {
    loop {
        match listener.accept().await {
            Ok((stream, remote)) => {
                let Ok(local) = stream.local_addr() else {
                    continue;
                };
                if events
                    .send(
                        Event::Accepted {
                            stream,
                            remote,
                            local,
                        }
                        .into(),
                    )
                    .await
                    .is_err()
                {
                    return;
                }
            }
            Err(error) => {
                // Mostly "too many open files": wait for some to close, do not spin.
                tracing::warn!(%error, "cannot accept a connection");
                tokio::time::sleep(std::time::Duration::from_millis(100)).await;
            }
        }
    }
}
