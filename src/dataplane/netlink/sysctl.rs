//! Settings of the kernel below `/proc/sys/net`, which shows those of the reading thread's network
//! namespace.
//!
//! What always holds: a setting is read first and written only if it is not what it has to be, what
//! was changed is logged, and no name of a link leads out of its folder.

use std::fs;
use std::io::{self, Write};
use std::path::{Path, PathBuf};

use super::super::device::Sysctl;
use super::super::route::Errno;
use crate::net::Family;

const ROOT: &str = "/proc/sys/net";
/// The longest name of a link, in bytes.
const LONGEST_NAME: usize = 15;
/// Entries beside the links' own.
const NO_LINKS: [&str; 3] = ["all", "default", "lo"];

/// Brings a setting to what it has to be.
pub(super) fn tune(setting: &Sysctl) -> Result<(), Errno> {
    tune_below(Path::new(ROOT), setting)
}

fn tune_below(root: &Path, setting: &Sysctl) -> Result<(), Errno> {
    let done = match setting {
        Sysctl::Forwarding(Family::Ipv4) => set(&root.join("ipv4/ip_forward"), "1"),
        Sysctl::Forwarding(Family::Ipv6) => forward6(&root.join("ipv6/conf")),
        Sysctl::LooseReversePath(name) => loosen(&root.join("ipv4/conf"), name),
        Sysctl::ForwardingOn(name) => component(&root.join("ipv4/conf"), name)
            .and_then(|link| set(&link.join("forwarding"), "1")),
        Sysctl::Ipv6On(name) => component(&root.join("ipv6/conf"), name)
            .and_then(|link| set(&link.join("disable_ipv6"), "0")),
    };
    done.map_err(|error| Errno(error.raw_os_error().unwrap_or(Errno::EINVAL.0)))
}

/// A kernel that forwards IPv6 no longer listens to routers' advertisements on links where
/// `accept_ra` is 1, and loses the default route that came with one: those go on listening. Where somebody
/// else had forwarding switched on before, that is how the host is meant, and nothing is touched.
fn forward6(conf: &Path) -> io::Result<()> {
    let switch = conf.join("all/forwarding");
    if read(&switch)? == "1" {
        return Ok(());
    }
    for entry in fs::read_dir(conf)? {
        let entry = entry?;
        let name = entry.file_name();
        if NO_LINKS.iter().any(|other| name == *other) {
            continue;
        }
        let accept = entry.path().join("accept_ra");
        // A link may be gone by now.
        if read(&accept).is_ok_and(|now| now == "1") {
            set(&accept, "2")?;
        }
    }
    set(&switch, "1")
}

/// The stricter of the link's own filter and that for all counts, but "loose" (2) is the greater
/// number: it wins over "strict" (1) wherever it stands.
fn loosen(conf: &Path, name: &str) -> io::Result<()> {
    let own = component(conf, name)?.join("rp_filter");
    let all = read(&conf.join("all/rp_filter"))?;
    let here = read(&own)?;
    if all.as_str().max(here.as_str()) == "1" {
        set(&own, "2")?;
    }
    Ok(())
}

/// The folder of a link; names that are none, or that stand for several, are refused.
fn component(conf: &Path, name: &str) -> io::Result<PathBuf> {
    let odd = name.len() > LONGEST_NAME
        || matches!(name, "" | "." | ".." | "all" | "default")
        || name.bytes().any(|byte| byte == b'/' || byte == 0);
    if odd {
        return Err(io::Error::from_raw_os_error(Errno::EINVAL.0));
    }
    Ok(conf.join(name))
}

fn read(path: &Path) -> io::Result<String> {
    Ok(fs::read_to_string(path)?.trim().to_owned())
}

fn set(path: &Path, to: &str) -> io::Result<()> {
    let from = read(path)?;
    if from == to {
        return Ok(());
    }
    fs::OpenOptions::new()
        .write(true)
        .open(path)?
        .write_all(to.as_bytes())?;
    tracing::info!(setting = %path.display(), from, to, "changed a setting of the kernel");
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_name_leads_out_of_the_folder() {
        let conf = Path::new("/proc/sys/net/ipv4/conf");
        for name in [
            "",
            ".",
            "..",
            "../all",
            "a/b",
            "/",
            "/etc",
            "all",
            "default",
            "a\0",
            "sixteen-letters.",
        ] {
            let refused = component(conf, name).unwrap_err();
            assert_eq!(refused.raw_os_error(), Some(Errno::EINVAL.0), "{name:?}");
        }
        for name in ["vxlan.calico", "vxlan-v6.calico", "eth0.100", "...", "-"] {
            let path = component(conf, name).unwrap();
            assert_eq!(path.parent(), Some(conf), "{name}");
        }
    }
}
