//! The command line: words in, a command out.

use crate::error::{Error, Result};
use crate::flow::FlowSpec;
use std::path::PathBuf;
use std::time::Duration;

/// What `--help` prints.
pub(crate) const HELP: &str = "\
dunlin-probe: counts packets between namespaces, times how fast what is deleted comes back (needs root)

  dunlin-probe traffic --flow NAME,FROM-NS,FROM-ADDRESS,TO-NS,TO-ADDRESS... [options]
    UDP packets with sequence numbers, each flow at its rate by absolute deadlines: what a stall held up is made
    up for. It ends after --seconds, on SIGTERM or SIGINT, or when stdin says `end`. A line `phase NAME` on stdin
    begins a new part of the report; what was sent before it and comes later counts for the part before.
    --rate N            packets a second and flow      (default 1000)
    --seconds N         how long                       (default until told)
    --size N            bytes of UDP payload           (default 64)
    --settle MS         wait for stragglers after the last packet (default 500)
    --json FILE         the report                     (default stdout)

  dunlin-probe repair --namespace NS --device NAME... [options]
    Deletes a random route, neighbour entry, FDB entry or address of dunlin's, again and again, and takes the time
    until the kernel says that it is back.
    --protocol N        routes of this protocol are dunlin's        (default 179)
    --device NAME       what is permanent on this device is dunlin's, too
    --kinds LIST        route, neighbour, fdb, address (default all)
    --every MS          between two deletions          (default 100)
    --seconds N         how long                       (default 30)
    --within MS         what is not back by then never came back    (default 5000)
    --seed N            which ones                     (default 1)
    --json FILE         the report                     (default stdout)

Namespaces are names as `ip netns` has them; `.` is the one that it runs in.
";

/// What to do.
pub(crate) enum Command {
    /// Print the help.
    Help,
    /// Count packets.
    Traffic(TrafficOptions),
    /// Delete and take the time.
    Repair(RepairOptions),
}

/// Options of `traffic`.
pub(crate) struct TrafficOptions {
    /// Between whom.
    pub(crate) flows: Vec<FlowSpec>,
    /// Packets a second and flow.
    pub(crate) rate: u32,
    /// How long.
    pub(crate) length: Option<Duration>,
    /// Bytes of UDP payload.
    pub(crate) size: usize,
    /// How long to wait for stragglers.
    pub(crate) settle: Duration,
    /// Where the report goes.
    pub(crate) json: Option<PathBuf>,
}

/// Options of `repair`.
pub(crate) struct RepairOptions {
    /// Where.
    pub(crate) namespace: String,
    /// Whose routes.
    pub(crate) protocol: u8,
    /// Which devices' entries and addresses.
    pub(crate) devices: Vec<String>,
    /// Which kinds.
    pub(crate) kinds: Vec<crate::object::Kind>,
    /// Between two deletions.
    pub(crate) every: Duration,
    /// How long.
    pub(crate) length: Duration,
    /// What takes longer is not repaired.
    pub(crate) within: Duration,
    /// Of the random choice.
    pub(crate) seed: u64,
    /// Where the report goes.
    pub(crate) json: Option<PathBuf>,
}

/// Understands the arguments after the program's name.
pub(crate) fn parse(arguments: impl Iterator<Item = String>) -> Result<Command> {
    let mut words = Words(arguments.collect::<Vec<_>>().into_iter());
    match words.0.next().as_deref() {
        Some("traffic") => traffic(words),
        Some("repair") => repair(words),
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

    fn millis(&mut self, option: &str) -> Result<Duration> {
        Ok(Duration::from_millis(self.number(option)?))
    }

    fn seconds(&mut self, option: &str) -> Result<Duration> {
        let value: f64 = self.number(option)?;
        Duration::try_from_secs_f64(value)
            .map_err(|_| Error::Usage(format!("{option}: `{value}` is no length of time")))
    }
}

fn traffic(mut words: Words) -> Result<Command> {
    let mut options = TrafficOptions {
        flows: Vec::new(),
        rate: 1000,
        length: None,
        size: 64,
        settle: Duration::from_millis(500),
        json: None,
    };
    while let Some(word) = words.0.next() {
        match word.as_str() {
            "--flow" => options.flows.push(FlowSpec::parse(&words.value(&word)?)?),
            "--rate" => options.rate = words.number(&word)?,
            "--seconds" => options.length = Some(words.seconds(&word)?),
            "--size" => options.size = words.number(&word)?,
            "--settle" => options.settle = words.millis(&word)?,
            "--json" => options.json = Some(words.value(&word)?.into()),
            _ => return Err(Error::Usage(format!("unknown option `{word}`"))),
        }
    }
    if options.flows.is_empty() {
        return Err(Error::Usage("no --flow".to_owned()));
    }
    if !(1..=100_000).contains(&options.rate) {
        return Err(Error::Usage("--rate is from 1 to 100000".to_owned()));
    }
    if !(crate::flow::HEADER..=65_000).contains(&options.size) {
        return Err(Error::Usage("--size is from 16 to 65000".to_owned()));
    }
    Ok(Command::Traffic(options))
}

fn repair(mut words: Words) -> Result<Command> {
    let mut namespace = None;
    let mut options = RepairOptions {
        namespace: String::new(),
        protocol: 179,
        devices: Vec::new(),
        kinds: crate::object::Kind::ALL.to_vec(),
        every: Duration::from_millis(100),
        length: Duration::from_secs(30),
        within: Duration::from_secs(5),
        seed: 1,
        json: None,
    };
    while let Some(word) = words.0.next() {
        match word.as_str() {
            "--namespace" => namespace = Some(words.value(&word)?),
            "--protocol" => options.protocol = words.number(&word)?,
            "--device" => options.devices.push(words.value(&word)?),
            "--kinds" => {
                let kinds = words.value(&word)?;
                options.kinds = kinds
                    .split(',')
                    .map(crate::object::Kind::parse)
                    .collect::<Result<_>>()?;
            }
            "--every" => options.every = words.millis(&word)?,
            "--seconds" => options.length = words.seconds(&word)?,
            "--within" => options.within = words.millis(&word)?,
            "--seed" => options.seed = words.number(&word)?,
            "--json" => options.json = Some(words.value(&word)?.into()),
            _ => return Err(Error::Usage(format!("unknown option `{word}`"))),
        }
    }
    options.namespace = namespace.ok_or_else(|| Error::Usage("no --namespace".to_owned()))?;
    Ok(Command::Repair(options))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn words(line: &str) -> Result<Command> {
        parse(line.split_whitespace().map(str::to_owned))
    }

    #[test]
    fn the_defaults_are_a_thousand_packets_a_second() {
        let Ok(Command::Traffic(options)) =
            words("traffic --flow x,a,10.0.0.1,b,10.0.0.2 --seconds 1.5")
        else {
            panic!("it is a good command");
        };
        assert_eq!((options.rate, options.size), (1000, 64));
        assert_eq!(options.length, Some(Duration::from_millis(1500)));
    }

    #[test]
    fn nonsense_is_refused() {
        for line in [
            "traffic",
            "traffic --flow x,a,10.0.0.1,b",
            "traffic --flow x,a,10.0.0.1,b,fd00::1",
            "traffic --flow x,a,10.0.0.1,b,10.0.0.2 --rate 0",
            "traffic --flow x,a,10.0.0.1,b,10.0.0.2 --size 3",
            "traffic --flow x,a,10.0.0.1,b,10.0.0.2 --seconds -1",
            "repair --device tunl0",
            "repair --namespace a --kinds routes",
            "walk",
        ] {
            assert!(matches!(words(line), Err(Error::Usage(_))), "{line}");
        }
    }
}
