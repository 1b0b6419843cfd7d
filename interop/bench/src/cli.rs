//! The command line: words in, a command out. It decides nothing but what was asked for.

use crate::daemon::Kind;
use crate::error::{Error, Result};
use crate::lineup::Entrant;
use crate::scenario::{Scenario, Sizes};
use std::path::PathBuf;
use std::time::Duration;

/// What `--help` prints.
pub(crate) const HELP: &str = "\
dunlin-bench: measures dunlin and other BGP daemons in the same, interleaved run (needs root)

  dunlin-bench run [options]        the scenarios
    --scenario LIST     s1, s1-same, s1-distinct, s2, s3, s4, s4-passive, storm, storm-active, s5, s6, s7, keepalive,
                        idle (default s1,storm; with --all and --quick every one)
    --daemons LIST      dunlin, bird, frr, frr-default, gobgp, openbgpd, mirror, mirror-batch (default dunlin,bird)
    --program NAME[:LABEL]=PATH   another program of a known kind, as bird:bird3=/opt/bird3/sbin/bird; may be repeated
    --runs N            rounds; each runs every daemon once (default 3)
    --prefixes N        s1 (all feeders together), s7, keepalive: table size (default 1000000, with --quick 50000)
    --kernel-routes N   s5, s6: routes                 (default 100000, with --quick 1000)
    --peers N           storm, s2, s3, s4: peers (default 300); keepalive (500); idle (1000); with --quick 60
    --hold SECONDS      storm, s2, s3, s4: hold time   (default 9, in s2, s3, s4 90)
    --load-hold SECONDS s1: hold time; 3 shows whether KEEPALIVEs stay on time under load (default 90)
    --ibgp | --ebgp     storm: the peers' kind         (default --ebgp)
    --routes N          storm: /26 blocks that each peer announces, at most 4 (default 0); everybody is to get
                        all; with --ibgp the last peer is an eBGP one
    --observe SECONDS   storm: watch for flaps; s4: be idle; idle: measure (default 15, 60, 61; with --quick 2)
    --timeout SECONDS   bound of one run               (default 120, with --all 180, with --quick 25)
    --budget SECONDS    bound of all runs              (default none, with --all three hours)
    --all               every scenario and every installed daemon; a daemon that failed in one is not tried again
    --quick             one round of every scenario, small, bounded to about three minutes
    --json FILE         write all figures
    --markdown FILE     write all tables, with the machine and where dunlin stands
    --plot FILE         write bar charts as SVG
    --dunlin PATH       the dunlin to test             (default: dunlin beside this program)

  dunlin-bench corpus [options] FILE...   throws messages at a daemon; a second session must not notice
    --daemon NAME       which daemon                   (default dunlin)
    --settle MS         wait for an answer to each     (default 20)
    --timeout SECONDS   bound of the whole             (default 120)
    --limit N           throw only N messages, evenly picked
    --json FILE, --dunlin PATH                         as above

  dunlin-bench bad-input fixtures FOLDER [options]   throws each NAME.hex below FOLDER, compares with NAME.expect
  dunlin-bench bad-input connections [options]       strangers, silent and slow peers, peers that do not read
    --dunlin PATH                                      as above
";

/// What to do.
pub(crate) enum Command {
    /// Print the help.
    Help,
    /// Run scenarios.
    Run(RunOptions),
    /// Throw a corpus.
    Corpus(CorpusOptions),
    /// Throw fixtures, or misbehave as a TCP peer.
    BadInput(BadInputOptions),
    /// Write routes and nothing else.
    WriteRoutes {
        /// Where they lead.
        gateway: std::net::Ipv4Addr,
        /// By which link.
        interface: u32,
    },
    /// Be the relay.
    Mirror {
        /// Lines of `ADDRESS AS`.
        peers_file: String,
        /// Hold time in seconds.
        hold_time: u16,
        /// One write a peer and round.
        batch: bool,
    },
}

/// Options of `run`.
pub(crate) struct RunOptions {
    /// What to run.
    pub(crate) scenarios: Vec<Scenario>,
    /// Against whom.
    pub(crate) kinds: Vec<Kind>,
    /// How many rounds.
    pub(crate) runs: usize,
    /// The sizes; peers and observation are a scenario's own, see `lineup::sizes`.
    pub(crate) sizes: Sizes,
    /// The programs by path.
    pub(crate) programs: Vec<Entrant>,
    /// How many peers, if said.
    pub(crate) peers: Option<usize>,
    /// How long to observe, if said.
    pub(crate) observe: Option<Duration>,
    /// Everything was asked for, so that gaps are told of and no error.
    pub(crate) all: bool,
    /// Small sizes.
    pub(crate) quick: bool,
    /// No run after this.
    pub(crate) budget: Option<Duration>,
    /// Where the JSON goes.
    pub(crate) json: Option<PathBuf>,
    /// Where the markdown goes.
    pub(crate) markdown: Option<PathBuf>,
    /// Where the picture goes.
    pub(crate) plot: Option<PathBuf>,
    /// The dunlin to test.
    pub(crate) dunlin: PathBuf,
}

/// Options of `corpus`.
pub(crate) struct CorpusOptions {
    /// The corpus files.
    pub(crate) files: Vec<PathBuf>,
    /// Against whom.
    pub(crate) kind: Kind,
    /// How long an answer may take before the next message goes.
    pub(crate) settle: Duration,
    /// Bound of the whole.
    pub(crate) timeout: Duration,
    /// At most this many messages.
    pub(crate) limit: Option<usize>,
    /// Where the JSON goes.
    pub(crate) json: Option<PathBuf>,
    /// The dunlin to test.
    pub(crate) dunlin: PathBuf,
}

/// Options of `bad-input`.
pub(crate) struct BadInputOptions {
    /// The folder of fixtures; without one, it is about connections.
    pub(crate) fixtures: Option<PathBuf>,
    /// The dunlin to test.
    pub(crate) dunlin: PathBuf,
}

/// Understands the arguments after the program's name.
pub(crate) fn parse(arguments: impl Iterator<Item = String>) -> Result<Command> {
    let mut words = Words(arguments.collect::<Vec<_>>().into_iter());
    match words.0.next().as_deref() {
        Some("run") => run(words),
        Some("corpus") => corpus(words),
        Some("bad-input") => bad_input(words),
        Some("mirror") => mirror(words, false),
        Some("mirror-batch") => mirror(words, true),
        Some("write-routes") => Ok(Command::WriteRoutes {
            gateway: words.number("write-routes")?,
            interface: words.number("write-routes")?,
        }),
        Some("--help" | "-h" | "help") | None => Ok(Command::Help),
        Some(other) => Err(Error::Usage(format!("unknown command `{other}`"))),
    }
}

/// The words not yet understood.
struct Words(std::vec::IntoIter<String>);

impl Words {
    fn value(&mut self, option: &str) -> Result<String> {
        self.0
            .next()
            .ok_or_else(|| Error::Usage(format!("{option} needs a value")))
    }

    fn number<T: std::str::FromStr>(&mut self, option: &str) -> Result<T> {
        let value = self.value(option)?;
        value
            .parse()
            .map_err(|_| Error::Usage(format!("{option}: `{value}` is no number that fits")))
    }

    fn seconds(&mut self, option: &str) -> Result<Duration> {
        Ok(Duration::from_secs(self.number(option)?))
    }

    fn list<T>(&mut self, option: &str, one: impl Fn(&str) -> Result<T>) -> Result<Vec<T>> {
        self.value(option)?.split(',').map(one).collect()
    }
}

fn beside_this_program() -> PathBuf {
    std::env::current_exe().map_or_else(|_| "dunlin".into(), |path| path.with_file_name("dunlin"))
}

fn run(mut words: Words) -> Result<Command> {
    let mut options = RunOptions {
        scenarios: Vec::new(),
        kinds: Vec::new(),
        runs: 3,
        sizes: Sizes {
            prefixes: 0,
            load_hold: 90,
            kernel_routes: 0,
            peers: 300,
            hold_time: 9,
            long_hold: 90,
            ibgp: false,
            routes: 0,
            observe: Duration::from_secs(15),
            idle: Duration::from_secs(60),
            timeout: Duration::ZERO,
        },
        programs: Vec::new(),
        peers: None,
        observe: None,
        all: false,
        quick: false,
        budget: None,
        json: None,
        markdown: None,
        plot: None,
        dunlin: beside_this_program(),
    };
    while let Some(word) = words.0.next() {
        match word.as_str() {
            "--scenario" => options.scenarios = words.list(&word, Scenario::parse)?,
            "--daemons" => options.kinds = words.list(&word, Kind::parse)?,
            "--runs" => options.runs = words.number(&word)?,
            "--prefixes" => options.sizes.prefixes = words.number(&word)?,
            "--kernel-routes" => options.sizes.kernel_routes = words.number(&word)?,
            "--peers" => options.peers = Some(words.number(&word)?),
            "--program" => options.programs.push(Entrant::parse(&words.value(&word)?)?),
            "--hold" => {
                options.sizes.hold_time = words.number(&word)?;
                options.sizes.long_hold = options.sizes.hold_time;
            }
            "--load-hold" => options.sizes.load_hold = words.number(&word)?,
            "--routes" => options.sizes.routes = words.number(&word)?,
            "--ibgp" => options.sizes.ibgp = true,
            "--ebgp" => options.sizes.ibgp = false,
            "--observe" => options.observe = Some(words.seconds(&word)?),
            "--timeout" => options.sizes.timeout = words.seconds(&word)?,
            "--budget" => options.budget = Some(words.seconds(&word)?),
            "--quick" => {
                options.quick = true;
                options.runs = 1;
            }
            "--all" => options.all = true,
            "--json" => options.json = Some(words.value(&word)?.into()),
            "--markdown" => options.markdown = Some(words.value(&word)?.into()),
            "--plot" => options.plot = Some(words.value(&word)?.into()),
            "--dunlin" => options.dunlin = words.value(&word)?.into(),
            _ => return Err(Error::Usage(format!("unknown option `{word}`"))),
        }
    }
    fill_in(&mut options);
    check_sizes(&options)?;
    Ok(Command::Run(options))
}

/// What was not said.
fn fill_in(options: &mut RunOptions) {
    let RunOptions { all, quick, .. } = *options;
    if options.scenarios.is_empty() {
        options.scenarios = match all || quick {
            true => Scenario::ALL.to_vec(),
            false => vec![Scenario::S1, Scenario::Storm],
        };
    }
    if options.kinds.is_empty() {
        options.kinds = vec![Kind::Dunlin, Kind::Bird];
        if all {
            let speakers = Kind::ALL.into_iter().filter(|kind| kind.is_speaker());
            options.kinds = speakers.filter(|kind| !kind.is_relay()).collect();
        }
    }
    // The bound of one run, and of all.
    let (one, whole) = match (all, quick) {
        (false, false) => (120, None),
        (true, false) => (180, Some(3 * 3600)),
        (false, true) => (25, Some(210)),
        (true, true) => (25, Some(1200)),
    };
    options.budget = options.budget.or(whole.map(Duration::from_secs));
    let sizes = &mut options.sizes;
    if sizes.timeout.is_zero() {
        sizes.timeout = Duration::from_secs(one);
    }
    if sizes.kernel_routes == 0 {
        sizes.kernel_routes = if quick { 1000 } else { 100_000 };
    }
    if sizes.prefixes == 0 {
        sizes.prefixes = if quick { 50_000 } else { 1_000_000 };
    }
    sizes.peers = options.peers.unwrap_or(sizes.peers);
}

fn check_sizes(options: &RunOptions) -> Result<()> {
    let sizes = &options.sizes;
    let wrong = |what: &str| Err(Error::Usage(what.to_owned()));
    if !(1..=1_000_000).contains(&sizes.prefixes) {
        return wrong("--prefixes is from 1 to 1000000");
    }
    if !(100..=1_000_000).contains(&sizes.kernel_routes) {
        return wrong("--kernel-routes is from 100 to 1000000");
    }
    if !(1..=10_000).contains(&sizes.peers) {
        return wrong("--peers is from 1 to 10000");
    }
    if sizes.routes > 4 {
        return wrong("--routes is at most 4");
    }
    if options.runs == 0 {
        return wrong("--runs is at least 1");
    }
    if matches!(sizes.hold_time, 1 | 2) || matches!(sizes.load_hold, 1 | 2) {
        return wrong("--hold is 0 or at least 3 (RFC 4271, section 4.2)");
    }
    Ok(())
}

fn corpus(mut words: Words) -> Result<Command> {
    let mut options = CorpusOptions {
        files: Vec::new(),
        kind: Kind::Dunlin,
        settle: Duration::from_millis(20),
        timeout: Duration::from_secs(120),
        limit: None,
        json: None,
        dunlin: beside_this_program(),
    };
    while let Some(word) = words.0.next() {
        match word.as_str() {
            "--limit" => options.limit = Some(words.number(&word)?),
            "--daemon" => options.kind = Kind::parse(&words.value(&word)?)?,
            "--settle" => options.settle = Duration::from_millis(words.number(&word)?),
            "--timeout" => options.timeout = words.seconds(&word)?,
            "--json" => options.json = Some(words.value(&word)?.into()),
            "--dunlin" => options.dunlin = words.value(&word)?.into(),
            // Both `--file A B` and plain names are understood.
            "--file" => {}
            _ if word.starts_with('-') => {
                return Err(Error::Usage(format!("unknown option `{word}`")));
            }
            _ => options.files.push(word.into()),
        }
    }
    if options.files.is_empty() {
        return Err(Error::Usage("no corpus file".to_owned()));
    }
    Ok(Command::Corpus(options))
}

fn bad_input(mut words: Words) -> Result<Command> {
    let fixtures = match words.0.next().as_deref() {
        Some("fixtures") => Some(words.value("fixtures")?.into()),
        Some("connections") => None,
        Some(_) | None => {
            let message = "bad-input needs `fixtures FOLDER` or `connections`";
            return Err(Error::Usage(message.to_owned()));
        }
    };
    let mut dunlin = beside_this_program();
    while let Some(word) = words.0.next() {
        match word.as_str() {
            "--dunlin" => dunlin = words.value(&word)?.into(),
            _ => return Err(Error::Usage(format!("unknown option `{word}`"))),
        }
    }
    Ok(Command::BadInput(BadInputOptions { fixtures, dunlin }))
}

fn mirror(mut words: Words, batch: bool) -> Result<Command> {
    let (mut peers_file, mut hold_time) = (None, 90);
    while let Some(word) = words.0.next() {
        match word.as_str() {
            "--peers-file" => peers_file = Some(words.value(&word)?),
            "--hold" => hold_time = words.number(&word)?,
            _ => return Err(Error::Usage(format!("unknown option `{word}`"))),
        }
    }
    let peers_file =
        peers_file.ok_or_else(|| Error::Usage("--peers-file is missing".to_owned()))?;
    Ok(Command::Mirror {
        peers_file,
        hold_time,
        batch,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn words(line: &str) -> Result<Command> {
        parse(line.split_whitespace().map(str::to_owned))
    }

    #[test]
    fn the_defaults_are_the_reference_scenario() {
        let Ok(Command::Run(options)) = words("run") else {
            panic!("run needs no options");
        };
        assert_eq!(
            (options.sizes.prefixes, options.sizes.peers, options.runs),
            (1_000_000, 300, 3)
        );
        assert_eq!(options.kinds, [Kind::Dunlin, Kind::Bird]);
    }

    #[test]
    fn what_is_said_counts_whatever_the_order() {
        for line in [
            "run --budget 7 --quick --all",
            "run --all --quick --budget 7",
        ] {
            let Ok(Command::Run(options)) = words(line) else {
                panic!("{line} is a good command");
            };
            assert_eq!(options.budget, Some(Duration::from_secs(7)));
            assert_eq!(options.sizes.timeout, Duration::from_secs(25));
            assert_eq!(options.scenarios, Scenario::ALL);
            assert!(
                options.kinds.contains(&Kind::Openbgpd) && !options.kinds.contains(&Kind::Mirror)
            );
        }
    }

    #[test]
    fn nonsense_is_refused() {
        for line in [
            "run --runs 0",
            "run --hold 2",
            "run --daemons quagga",
            "run --prefixes",
            "corpus",
            "bad-input",
            "bad-input fixtures",
            "run --program bird",
            "walk",
        ] {
            assert!(matches!(words(line), Err(Error::Usage(_))), "{line}");
        }
    }

    #[test]
    fn corpus_files_may_follow_the_option_or_stand_alone() {
        let Ok(Command::Corpus(options)) = words("corpus --daemon bird --file a.hex b.hex") else {
            panic!("it is a good command");
        };
        assert_eq!((options.files.len(), options.kind), (2, Kind::Bird));
    }
}
