//! Calls of the system that no crate has a safe form of.
//!
//! The one file with `unsafe` in it. It decides nothing: two functions hand a slice to the kernel, one tells the C library
//! how much to keep, and one asks it for what nobody uses.

use std::io;
use std::os::fd::{AsRawFd, BorrowedFd};

fn too_long() -> io::Error {
    io::Error::new(io::ErrorKind::InvalidInput, "longer than any socket option")
}

#[expect(
    unsafe_code,
    reason = "no crate has a safe call for TCP_MD5SIG, TCP_AO_ADD_KEY, IP_MINTTL, TCP_SAVE_SYN"
)]
pub(crate) fn set(
    socket: BorrowedFd<'_>,
    level: libc::c_int,
    option: libc::c_int,
    value: &[u8],
) -> io::Result<()> {
    let length = libc::socklen_t::try_from(value.len()).map_err(|_| too_long())?;
    // SAFETY: the descriptor is open while it is borrowed, and the kernel reads `length` octets at
    // `value`, which are all there; it keeps no pointer to them.
    let result = unsafe {
        libc::setsockopt(
            socket.as_raw_fd(),
            level,
            option,
            value.as_ptr().cast(),
            length,
        )
    };
    if result == 0 {
        Ok(())
    } else {
        Err(io::Error::last_os_error())
    }
}

#[expect(unsafe_code, reason = "no crate has a safe call for TCP_SAVED_SYN")]
pub(crate) fn get(
    socket: BorrowedFd<'_>,
    level: libc::c_int,
    option: libc::c_int,
    value: &mut [u8],
) -> io::Result<usize> {
    let mut length = libc::socklen_t::try_from(value.len()).map_err(|_| too_long())?;
    // SAFETY: the descriptor is open while it is borrowed; the kernel writes at most `length` octets
    // at `value`, which are all ours, and how many it wrote to `length`.
    let result = unsafe {
        libc::getsockopt(
            socket.as_raw_fd(),
            level,
            option,
            value.as_mut_ptr().cast(),
            &raw mut length,
        )
    };
    if result == 0 {
        Ok(length as usize)
    } else {
        Err(io::Error::last_os_error())
    }
}

/// Has what is freed at the end of a thread's heap go back at once, if it is so many octets; in the same measure, what is
/// asked for is a mapping of its own. By itself the library raises both with what a process once had, and keeps the ends
/// of all heaps but the first whatever [`give_memory_back`] says.
#[cfg(target_env = "gnu")]
#[expect(unsafe_code, reason = "no crate has a safe call for mallopt")]
pub(crate) fn keep_little_memory(octets: libc::c_int) {
    // SAFETY: it takes no pointer; it is called before there is another thread.
    let _set = unsafe {
        [
            libc::mallopt(libc::M_TRIM_THRESHOLD, octets),
            libc::mallopt(libc::M_MMAP_THRESHOLD, octets),
        ]
    };
}

/// Other C libraries keep little by themselves.
#[cfg(not(target_env = "gnu"))]
pub(crate) fn keep_little_memory(_octets: libc::c_int) {}

/// Gives memory back to the system that was freed and that the C library keeps for later.
#[cfg(target_env = "gnu")]
#[expect(unsafe_code, reason = "no crate has a safe call for malloc_trim")]
pub(crate) fn give_memory_back() {
    // SAFETY: it takes no pointer and may be called at any time, by any thread.
    let _any = unsafe { libc::malloc_trim(0) };
}

/// Other C libraries give it back by themselves.
#[cfg(not(target_env = "gnu"))]
pub(crate) fn give_memory_back() {}
