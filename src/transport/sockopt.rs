//! Socket options of a BGP connection; all through safe wrappers.

use std::io;
use std::time::Duration;

use socket2::SockRef;
use tokio::net::TcpStream;

/// What is set on every socket of a peer.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct SocketOptions {
    /// TTL or hop limit; the kernel's default if none.
    pub ttl: Option<u8>,
    /// How long sent data may stay unacknowledged before the kernel gives the connection up
    /// (RFC 5482). Without it a dead peer is noticed after 15 minutes of retransmission.
    pub user_timeout: Option<Duration>,
}

impl SocketOptions {
    /// Sets them on a connected stream.
    ///
    /// # Errors
    /// What the kernel says.
    pub fn apply(&self, stream: &TcpStream) -> io::Result<()> {
        // Messages are packed by ourselves, waiting for more would only delay the last one.
        stream.set_nodelay(true)?;
        self.apply_to(&SockRef::from(stream), stream.peer_addr()?.is_ipv4())
    }

    pub(super) fn apply_to(&self, socket: &SockRef<'_>, ipv4: bool) -> io::Result<()> {
        if let Some(ttl) = self.ttl {
            if ipv4 {
                socket.set_ttl_v4(u32::from(ttl))?;
            } else {
                socket.set_unicast_hops_v6(u32::from(ttl))?;
            }
        }
        // DSCP CS6, "network control" (RFC 4594 §3.1), as every peer marks BGP. Not being allowed
        // to mark is no reason to stay without a session.
        let marked = if ipv4 {
            socket.set_tos_v4(0xC0)
        } else {
            socket.set_tclass_v6(0xC0)
        };
        if let Err(error) = marked {
            tracing::debug!(%error, "cannot mark the socket as network control");
        }
        socket.set_tcp_user_timeout(self.user_timeout)
    }
}
