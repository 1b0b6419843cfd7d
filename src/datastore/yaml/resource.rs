//! Documents and lists of resources: the envelope of `apiVersion`, `kind`, `metadata`, `spec`.
//!
//! It takes the envelope apart and knows no kind.

use core::ops::Range;

use super::entries::Entries;
use super::tree::{Malformed, Node, Value, parse};
use crate::datastore::problem::Problems;
use crate::datastore::source::Source;

/// The groups that Calico's resources are of: its own API, and the custom resources behind it.
const GROUPS: [&str; 2] = ["projectcalico.org/v3", "crd.projectcalico.org/v1"];

/// One resource, as it stands in the text.
pub(crate) struct Resource<'n> {
    pub(crate) api_version: &'n str,
    pub(crate) kind: &'n str,
    /// `metadata.name`.
    pub(crate) name: Option<&'n Node>,
    /// `metadata.labels`.
    pub(crate) labels: Option<&'n Node>,
    pub(crate) spec: Option<&'n Entries>,
    pub(crate) span: Range<usize>,
}

impl Resource<'_> {
    /// Whether it is of Calico's API.
    pub(crate) fn is_calicos(&self) -> bool {
        self.api_version.is_empty() || GROUPS.contains(&self.api_version)
    }
}

/// Parses the text and hands each resource to `take`; what is no resource is noted.
pub(crate) fn resources(
    source: &Source<'_>,
    problems: &mut Problems,
    mut take: impl FnMut(&Resource<'_>, &mut Problems),
) {
    let documents = match parse(source) {
        Ok(documents) => documents,
        Err(error) => return note(source, &error, problems),
    };
    for document in &documents {
        let envelope = Envelope {
            source,
            api_version: "",
            kind: "",
        };
        envelope.open(document, problems, &mut take);
    }
}

fn note(source: &Source<'_>, error: &Malformed, problems: &mut Problems) {
    problems.error(&source.place(&error.span), error.to_string());
}

/// What a list says of its items, where they don't say it themselves.
struct Envelope<'s, 'n> {
    source: &'s Source<'s>,
    api_version: &'n str,
    kind: &'n str,
}

impl<'n> Envelope<'_, 'n> {
    // Nesting is bounded by the tree's.
    fn open(
        &self,
        node: &'n Node,
        problems: &mut Problems,
        take: &mut impl FnMut(&Resource<'_>, &mut Problems),
    ) {
        let place = self.source.place(&node.span);
        match &node.value {
            Value::Null => {}
            Value::Sequence(items) => {
                for item in items {
                    self.open(item, problems, take);
                }
            }
            Value::Mapping(entries) => self.open_mapping(node, entries, problems, take),
            _ => {
                let message = format!(
                    "expected a resource with \"apiVersion\", \"kind\" and \"spec\", found {}",
                    node.kind()
                );
                problems.error(&place, message);
            }
        }
    }

    fn open_mapping(
        &self,
        node: &'n Node,
        entries: &'n Entries,
        problems: &mut Problems,
        take: &mut impl FnMut(&Resource<'_>, &mut Problems),
    ) {
        let word = |key: &str| node.get(key).and_then(Node::text);
        let api_version = word("apiVersion").unwrap_or(self.api_version);
        let kind = word("kind").unwrap_or(self.kind);
        if kind.is_empty() {
            let message = "this is no resource: it has no \"kind\"";
            problems.error(&self.source.place(&node.span), message);
            return;
        }
        let list = kind.strip_suffix("List");
        if let (Some(kind), Some(items)) = (list, node.get("items")) {
            let inside = Envelope {
                source: self.source,
                api_version: if kind.is_empty() { "" } else { api_version },
                kind,
            };
            inside.open(items, problems, take);
            return;
        }
        if list.is_some_and(|kind| !kind.is_empty()) && !entries.contains_key("spec") {
            return;
        }
        let metadata = node.get("metadata");
        let spec = node.get("spec");
        let resource = Resource {
            api_version,
            kind,
            name: metadata.and_then(|metadata| metadata.get("name")),
            labels: metadata.and_then(|metadata| metadata.get("labels")),
            spec: spec.and_then(Node::entries),
            span: node.span.clone(),
        };
        if let Some(spec) = spec
            && resource.spec.is_none()
            && spec.value != Value::Null
            && resource.is_calicos()
        {
            let found = spec.kind();
            let message = format!("\"spec\" of {kind}: expected a mapping, found {found}");
            problems.error(&self.source.place(&spec.span), message);
            return;
        }
        take(&resource, problems);
    }
}
