//! AS_PATH: segments on the wire, and what policy and the decision process ask of a path.

use core::fmt;

use nom::Parser;
use nom::combinator::map_opt;
use nom::multi::count;
use nom::number::complete::{be_u8, be_u16, be_u32};

use super::{AsPath, Segment, SegmentKind};
use crate::net::Asn;
use crate::wire::error::{FaultKind, Parsed};

/// Numbers that one segment holds on the wire.
const MAX_SEGMENT: usize = 255;
/// The longest path that is taken from a peer. Real ones stay below 100; four octets each, this many
/// leave a quarter of an ordinary message for everything else when the path is sent on.
pub const MAX_PATH: usize = 750;

impl SegmentKind {
    const fn code(self) -> u8 {
        match self {
            Self::Set => 1,
            Self::Sequence => 2,
            Self::ConfedSequence => 3,
            Self::ConfedSet => 4,
        }
    }

    const fn from_code(code: u8) -> Option<Self> {
        Some(match code {
            1 => Self::Set,
            2 => Self::Sequence,
            3 => Self::ConfedSequence,
            4 => Self::ConfedSet,
            _ => return None,
        })
    }

    /// Whether it is one of the two that never leave a confederation (RFC 5065).
    pub const fn is_confederation(self) -> bool {
        matches!(self, Self::ConfedSequence | Self::ConfedSet)
    }
}

impl Segment {
    /// What it adds to the length of a path (RFC 4271 §9.1.2.2, RFC 5065 §5.3).
    fn weight(&self) -> usize {
        match self.kind {
            SegmentKind::Sequence => self.asns.len(),
            SegmentKind::Set => 1,
            SegmentKind::ConfedSequence | SegmentKind::ConfedSet => 0,
        }
    }
}

impl AsPath {
    /// A path of one AS_SEQUENCE; the empty path if there are no numbers.
    pub fn sequence(asns: Vec<Asn>) -> Self {
        if asns.is_empty() {
            return Self::default();
        }
        Self {
            segments: vec![Segment {
                kind: SegmentKind::Sequence,
                asns,
            }],
        }
    }

    /// The length that the decision process compares: a set counts 1, confederation segments 0.
    #[expect(
        clippy::len_without_is_empty,
        reason = "a length of 0 is not an empty path"
    )]
    pub fn len(&self) -> usize {
        self.segments.iter().map(Segment::weight).sum()
    }

    /// All numbers, the most recent first.
    pub fn iter(&self) -> impl Iterator<Item = Asn> + Clone {
        self.segments
            .iter()
            .flat_map(|segment| segment.asns.iter().copied())
    }

    /// The first number of a leading AS_SEQUENCE: the AS that sent it.
    pub fn first_as(&self) -> Option<Asn> {
        self.segments
            .first()
            .and_then(|segment| match segment.kind {
                SegmentKind::Sequence => segment.asns.first().copied(),
                SegmentKind::Set | SegmentKind::ConfedSequence | SegmentKind::ConfedSet => None,
            })
    }

    /// The neighbour AS that MED is compared within: the first number after confederation segments;
    /// `None` for a path from inside or one that starts with a set.
    pub fn neighbour_as(&self) -> Option<Asn> {
        let outside = self
            .segments
            .iter()
            .find(|segment| !segment.kind.is_confederation())?;
        match outside.kind {
            SegmentKind::Sequence => outside.asns.first().copied(),
            SegmentKind::Set | SegmentKind::ConfedSequence | SegmentKind::ConfedSet => None,
        }
    }

    /// The AS that originated the route, if the path ends in an AS_SEQUENCE.
    pub fn origin_as(&self) -> Option<Asn> {
        self.segments.last().and_then(|segment| match segment.kind {
            SegmentKind::Sequence => segment.asns.last().copied(),
            SegmentKind::Set | SegmentKind::ConfedSequence | SegmentKind::ConfedSet => None,
        })
    }

    /// Whether `asn` is anywhere in it.
    pub fn contains(&self, asn: Asn) -> bool {
        self.iter().any(|other| other == asn)
    }

    /// How often `asn` is in it.
    pub fn count(&self, asn: Asn) -> usize {
        self.iter().filter(|other| *other == asn).count()
    }

    /// Whether there is a set of either kind (RFC 9774).
    pub fn has_sets(&self) -> bool {
        self.segments
            .iter()
            .any(|segment| matches!(segment.kind, SegmentKind::Set | SegmentKind::ConfedSet))
    }

    /// Puts `asn` in front; a full segment, or another kind, starts a new AS_SEQUENCE.
    pub fn prepend(&mut self, asn: Asn) {
        match self.segments.first_mut() {
            Some(first)
                if first.kind == SegmentKind::Sequence && first.asns.len() < MAX_SEGMENT =>
            {
                first.asns.insert(0, asn);
            }
            Some(_) | None => {
                let segment = Segment {
                    kind: SegmentKind::Sequence,
                    asns: vec![asn],
                };
                self.segments.insert(0, segment);
            }
        }
    }

    /// Appends the value of AS_PATH. `narrow` numbers take two octets, AS_TRANS for the large ones.
    pub(super) fn encode_value(&self, narrow: bool, out: &mut Vec<u8>) {
        for segment in &self.segments {
            // Without numbers a segment is malformed; above 255 it takes another header.
            for asns in segment.asns.chunks(MAX_SEGMENT) {
                out.push(segment.kind.code());
                out.push(u8::try_from(asns.len()).unwrap_or(u8::MAX));
                for asn in asns {
                    if narrow {
                        out.extend_from_slice(&asn.to_two_octets().to_be_bytes());
                    } else {
                        out.extend_from_slice(&asn.0.to_be_bytes());
                    }
                }
            }
        }
    }
}

fn segment<'a>(
    mut asn: impl FnMut(&'a [u8]) -> Parsed<'a, Asn>,
) -> impl FnMut(&'a [u8]) -> Parsed<'a, Segment> {
    move |input| {
        let (input, kind) = map_opt(be_u8, SegmentKind::from_code).parse(input)?;
        let (input, len) = map_opt(be_u8, |len| (len > 0).then_some(len)).parse(input)?;
        let (input, asns) = count(&mut asn, usize::from(len)).parse(input)?;
        Ok((input, Segment { kind, asns }))
    }
}

/// Reads segments; says nothing about what they hold.
pub(super) fn parse(mut value: &[u8], four_octet_as: bool) -> Result<AsPath, FaultKind> {
    let mut segments = Vec::new();
    while !value.is_empty() {
        let parsed = if four_octet_as {
            segment(|i| be_u32.map(Asn).parse(i))(value)
        } else {
            segment(|i| be_u16.map(|n| Asn(u32::from(n))).parse(i))(value)
        };
        let (rest, segment) = parsed.map_err(|_| FaultKind::Segment)?;
        segments.push(segment);
        value = rest;
    }
    Ok(AsPath { segments })
}

/// What a path of a peer must satisfy beyond its syntax.
pub(super) fn check(path: &AsPath, permit_as_sets: bool) -> Result<(), FaultKind> {
    let mut numbers = 0_usize;
    for segment in &path.segments {
        // dunlin is in no confederation, so these segments come from outside one (RFC 5065 §5).
        let set = segment.kind == SegmentKind::Set && !permit_as_sets;
        if set || segment.kind.is_confederation() {
            return Err(FaultKind::ForbiddenSegment);
        }
        if segment.asns.contains(&Asn::ZERO) {
            return Err(FaultKind::AsZero);
        }
        numbers = numbers.saturating_add(segment.asns.len());
    }
    if numbers > MAX_PATH {
        Err(FaultKind::PathTooLong(numbers))
    } else {
        Ok(())
    }
}

/// The path that AS_PATH and AS4_PATH of a two-octet peer make together (RFC 6793 §4.2.3).
pub(super) fn merge(path: AsPath, mut as4: AsPath) -> AsPath {
    // RFC 6793 §3: confederation segments have no place in AS4_PATH; drop them and go on.
    as4.segments
        .retain(|segment| !segment.kind.is_confederation());
    let Some(mut lead) = path.len().checked_sub(as4.len()) else {
        return path;
    };
    let mut merged = AsPath::default();
    for mut segment in path.segments {
        let weight = segment.weight();
        if weight > lead {
            // Only a sequence can be cut; a set of weight 1 is not above 1.
            segment.asns.truncate(lead);
            lead = 0;
        } else {
            lead -= weight;
        }
        // Confederation segments weigh nothing; those before the cut are kept.
        if !segment.asns.is_empty() && (weight > 0 || lead > 0) {
            merged.segments.push(segment);
        }
        if lead == 0 {
            break;
        }
    }
    for segment in as4.segments {
        match merged.segments.last_mut() {
            Some(last)
                if last.kind == SegmentKind::Sequence
                    && segment.kind == SegmentKind::Sequence
                    && last.asns.len() + segment.asns.len() <= MAX_SEGMENT =>
            {
                last.asns.extend(segment.asns);
            }
            Some(_) | None => merged.segments.push(segment),
        }
    }
    merged
}

impl fmt::Display for AsPath {
    /// `65001 65002 {1 2}`; confederation segments as `(1 2)` and `[1 2]`.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (i, segment) in self.segments.iter().enumerate() {
            let (open, close) = match segment.kind {
                SegmentKind::Sequence => ("", ""),
                SegmentKind::Set => ("{", "}"),
                SegmentKind::ConfedSequence => ("(", ")"),
                SegmentKind::ConfedSet => ("[", "]"),
            };
            f.write_str(if i == 0 { "" } else { " " })?;
            f.write_str(open)?;
            for (j, asn) in segment.asns.iter().enumerate() {
                write!(f, "{}{asn}", if j == 0 { "" } else { " " })?;
            }
            f.write_str(close)?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn segment(kind: SegmentKind, asns: &[u32]) -> Segment {
        Segment {
            kind,
            asns: asns.iter().copied().map(Asn).collect(),
        }
    }

    fn path(segments: &[(SegmentKind, &[u32])]) -> AsPath {
        AsPath {
            segments: segments
                .iter()
                .map(|(kind, asns)| segment(*kind, asns))
                .collect(),
        }
    }

    use SegmentKind::{ConfedSequence, Sequence, Set};

    #[test]
    fn length_counts_a_set_once_and_a_confederation_not_at_all() {
        let p = path(&[
            (ConfedSequence, &[1, 2]),
            (Sequence, &[3, 4]),
            (Set, &[5, 6, 7]),
        ]);
        assert_eq!(p.len(), 3);
        assert_eq!(p.first_as(), None);
        assert_eq!(p.neighbour_as(), Some(Asn(3)));
        assert_eq!(p.origin_as(), None);
        assert_eq!(p.to_string(), "(1 2) 3 4 {5 6 7}");
        assert!(p.contains(Asn(6)) && !p.contains(Asn(8)));
    }

    #[test]
    fn prepending_starts_a_segment_where_it_must() {
        let mut full = path(&[(Sequence, &[9; 255])]);
        full.prepend(Asn(1));
        assert_eq!(full.segments.len(), 2);
        assert_eq!(full.first_as(), Some(Asn(1)));
        let mut set = path(&[(Set, &[7])]);
        set.prepend(Asn(1));
        set.prepend(Asn(2));
        assert_eq!(set, path(&[(Sequence, &[2, 1]), (Set, &[7])]));
    }

    #[test]
    fn a_long_segment_is_split_on_the_wire() {
        let mut out = Vec::new();
        path(&[(Sequence, &[70000; 300])]).encode_value(true, &mut out);
        assert_eq!(out.len(), 2 + 255 * 2 + 2 + 45 * 2);
        let back = parse(&out, false).unwrap();
        assert_eq!(back.len(), 300);
        assert!(back.iter().all(|asn| asn == Asn::TRANS));
    }

    #[test]
    fn merging_keeps_what_only_the_short_path_knows() {
        let merged = merge(
            path(&[(Sequence, &[10, 23456, 23456])]),
            path(&[(Sequence, &[70000, 80000])]),
        );
        assert_eq!(merged, path(&[(Sequence, &[10, 70000, 80000])]));
    }

    #[test]
    fn a_longer_as4_path_is_ignored() {
        let short = path(&[(Sequence, &[10])]);
        assert_eq!(merge(short.clone(), path(&[(Sequence, &[1, 2])])), short);
    }

    #[test]
    fn a_set_counts_one_when_merging_and_confederations_are_dropped() {
        let merged = merge(
            path(&[(Sequence, &[10, 20]), (Set, &[1, 2, 3])]),
            path(&[
                (ConfedSequence, &[5]),
                (Sequence, &[70000]),
                (Set, &[1, 2, 90000]),
            ]),
        );
        assert_eq!(
            merged,
            path(&[(Sequence, &[10, 70000]), (Set, &[1, 2, 90000])])
        );
        let same = merge(path(&[(Sequence, &[23456])]), path(&[(Sequence, &[70000])]));
        assert_eq!(same, path(&[(Sequence, &[70000])]));
    }
}
