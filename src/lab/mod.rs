//! `dunlin lab`: a cluster of nodes with pods on this machine, in network namespaces.
//!
//! Two subnets joined by a router, nodes on both, pods behind the nodes, one `dunlin run` on each
//! node and on the router. The lab wires them, waits until every pod reaches every pod with real
//! packets, shows that live, and takes everything down. It needs nothing but this binary: links,
//! addresses and routes go by netlink, and the prober is its own.
//!
//! It is not a test double: the daemons are the ones that run on real nodes, started with the same
//! files. It decides nothing about routes (except with [`Routing::Static`], to test its wiring).
//!
//! Always holds: nothing outside namespaces whose names begin with the instance name is changed; a
//! daemon dies with the lab (unless kept on request); what a killed lab left behind is removed by
//! the next one.
//!
//! ```text
//!                    router  (bridge br-a, bridge br-b, forwards)
//!        172.31.1.0/24 │ fd00:31:1::/64      172.31.2.0/24 │ fd00:31:2::/64
//!              ┌───────┴──────┐                    ┌───────┴──────┐
//!            node-1         node-3               node-2         node-4
//!         10.244.1.0/26  10.244.3.0/26        10.244.2.0/26  10.244.4.0/26
//! ```
//!
//! With `--topology reflector` there is a node more on each subnet, without pods, that reflects. With
//! `--topology tor` a subnet is a rack with one or two routers of its own in the router's place, joined
//! by a third network.

mod cluster;
mod error;
mod files;
mod namespace;
mod netlink;
mod observe;
mod options;
mod plan;
mod privilege;
mod probe;
mod process;
mod show;
mod signals;
mod state;
mod tor;
mod wiring;

use std::path::Path;
use std::process::ExitCode;

use nix::sys::resource::{Resource, getrlimit, setrlimit};

use self::cluster::Cluster;
use self::options::{Backend, Encapsulation};
use self::plan::Plan;
use self::privilege::{Permission, Start};
use self::show::Screen;
use self::signals::Signals;
use self::state::{Cleaned, State};

pub use error::LabError;
pub use namespace::Step;
pub use options::{INSIDE_COMMAND, InsideOptions, LabOptions, Routing, Topology, TorSoftware};

/// What a shell reports for a program that Ctrl-C ended.
const INTERRUPTED: u8 = 130;
/// Files that are open besides the sockets of nodes and pods.
const SPARE_FILES: u64 = 64;

/// Runs `dunlin lab` to its end.
///
/// Must be called before any thread is started (no runtime yet): without root it moves the process
/// into a user namespace, which the kernel allows to single-threaded processes only. Without root
/// it also starts this program again with the same arguments.
pub fn run(options: &LabOptions) -> ExitCode {
    match attempt(options) {
        Ok(code) => code,
        Err(LabError::Interrupted) => ExitCode::from(INTERRUPTED),
        Err(error) => fail(&error),
    }
}

/// Enters a namespace and becomes dunlin there: what `dunlin lab-inside` does.
///
/// Must be called before any thread is started.
pub fn run_inside(options: &InsideOptions) -> ExitCode {
    match process::become_inside(options) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => fail(&error),
    }
}

fn fail(error: &LabError) -> ExitCode {
    eprintln!("dunlin lab: {error}");
    ExitCode::FAILURE
}

fn attempt(options: &LabOptions) -> Result<ExitCode, LabError> {
    let permission = match privilege::obtain()? {
        Start::Here(permission) => permission,
        Start::Done(code) => return Ok(code),
    };
    check_circumstances(options, permission)?;
    let signals = Signals::hold()?;
    let mut screen = Screen::new(!options.check);
    let folder = privilege::state_folder(&options.instance, permission);
    let mut state = State::acquire(&folder)?;
    state.sign(match permission {
        Permission::Root => std::process::id(),
        Permission::UserNamespace { seen_as } => seen_as,
    })?;
    let cleaned = state.clean(&options.instance)?;
    if cleaned != Cleaned::default() {
        screen.say(format!(
            "removed what an earlier lab left: {} namespaces, {} daemons",
            cleaned.namespaces, cleaned.daemons
        ));
    } else if options.clean {
        screen.say("nothing to remove");
    }
    if options.clean {
        state.remove()?;
        return Ok(ExitCode::SUCCESS);
    }

    let mut cluster = Cluster::new(options, permission, state);
    let result = stand(&mut cluster, options, &mut screen, &signals);
    if options.keep {
        screen.print(&cluster.hints());
        screen.say("It is left running; `dunlin lab --clean` removes it.");
        cluster.leave();
        return result;
    }
    // What went wrong first is what the user has to know.
    let down = cluster.take_down();
    let code = result?;
    down?;
    Ok(code)
}

/// From nothing to a cluster that is complete, and on until somebody ends it.
fn stand(
    cluster: &mut Cluster<'_>,
    options: &LabOptions,
    screen: &mut Screen,
    signals: &Signals,
) -> Result<ExitCode, LabError> {
    cluster.build(screen, signals)?;
    let complete = cluster.wait_until_complete(screen, signals);
    match complete {
        Ok(()) => cluster.summary(screen, signals),
        Err(error @ LabError::NotReached(_)) => {
            cluster.summary(screen, signals);
            if options.check || options.keep {
                return Err(error);
            }
            // Somebody is watching: leave it to them.
            screen.say(error.to_string());
        }
        Err(error) => return Err(error),
    }
    if options.check || options.keep {
        return Ok(ExitCode::SUCCESS);
    }
    screen.print(&cluster.hints());
    screen.say("Ctrl-C takes everything down.");
    match cluster.watch(screen, signals) {
        LabError::Interrupted => Ok(ExitCode::SUCCESS),
        error => Err(error),
    }
}

/// Refuses early what could only fail late.
fn check_circumstances(options: &LabOptions, permission: Permission) -> Result<(), LabError> {
    let refuse = |text: String| Err(LabError::Usage(text));
    if options.keep && permission != Permission::Root {
        return refuse("--keep needs root: without root the cluster ends with the lab".to_owned());
    }
    if options.ipv6 && !Path::new("/proc/sys/net/ipv6").exists() {
        return refuse("this kernel has no IPv6: add `--ipv6 false`".to_owned());
    }
    check_topology(options).map_err(LabError::Usage)?;
    let plan = Plan::new(options);
    let speakers = plan.members().count() + plan.tors.len();
    let sockets = plan.pods.len() * plan.families.len() + 4 * speakers;
    let needed = u64::try_from(sockets)
        .unwrap_or(u64::MAX)
        .saturating_add(SPARE_FILES);
    let limit = Resource::RLIMIT_NOFILE;
    let (soft, hard) = getrlimit(limit).map_err(LabError::system("read the limit of files"))?;
    if hard < needed {
        return refuse(format!(
            "this takes {needed} open files, but the limit is {hard}: raise it (`ulimit -Hn`) or \
             ask for fewer pods"
        ));
    }
    if soft < needed {
        let raise = setrlimit(limit, needed, hard);
        raise.map_err(LabError::system("raise the limit of open files"))?;
    }
    Ok(())
}

/// Refuses what does not go together.
fn check_topology(options: &LabOptions) -> Result<(), String> {
    let (topology, refuse) = match options.topology {
        Topology::Mesh => return Ok(()),
        Topology::Reflector => ("reflector", false),
        Topology::Tor => ("tor", options.encapsulation != Encapsulation::None),
    };
    if options.backend != Backend::Bgp {
        return Err(format!(
            "`--topology {topology}` is about BGP sessions: leave `--backend` away"
        ));
    }
    if refuse {
        return Err(
            "ToRs carry pods' packets as they are: leave `--encapsulation` away".to_owned(),
        );
    }
    if options.topology == Topology::Tor && options.routing == Routing::Static {
        return Err("static routes are for a lab without ToRs".to_owned());
    }
    if options.tor_software == TorSoftware::Bird && process::find_bird().is_none() {
        return Err(
            "there is no BIRD: `apt-get install --no-install-recommends bird2`, or leave \
             `--tor-software` away"
                .to_owned(),
        );
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_does_not_go_together_is_refused_with_the_way_out() {
        let tor = LabOptions {
            topology: Topology::Tor,
            ..LabOptions::default()
        };
        assert_eq!(check_topology(&tor), Ok(()));
        let wrapped = LabOptions {
            encapsulation: Encapsulation::Vxlan,
            ..tor.clone()
        };
        let refused = check_topology(&wrapped).unwrap_err();
        assert!(refused.contains("--encapsulation"), "{refused}");
        let silent = LabOptions {
            backend: Backend::Vxlan,
            ..tor
        };
        let refused = check_topology(&silent).unwrap_err();
        assert!(refused.contains("--backend"), "{refused}");
    }
}
