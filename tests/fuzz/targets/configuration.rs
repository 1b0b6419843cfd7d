//! Configuration: no text panics, each problem has a place, and what is accepted can be planned or
//! refused with a reason.
#![no_main]

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;

use dunlin::daemon::config::{Surroundings, parse};
use dunlin::datastore::read_cluster;
use dunlin::topology::{Fabric, plan};
use libfuzzer_sys::fuzz_target;

/// Reads the text by the name's ending.
fn cluster(name: &Arc<str>, text: &str) {
    match read_cluster(&[(Arc::clone(name), text.to_owned())]) {
        Err(problems) => assert!(problems.has_errors()),
        Ok(loaded) => {
            assert!(!loaded.warnings.has_errors());
            let _fabric = Fabric::new(&loaded.intent);
            for node in &loaded.intent.nodes {
                let _a_reason_is_an_answer = plan(&loaded.intent, &node.name);
            }
        }
    }
}

fuzz_target!(|text: &str| {
    let name: Arc<str> = "fuzz.toml".into();
    cluster(&name, text);
    cluster(&"fuzz.yaml".into(), text);
    let surroundings = Surroundings {
        host_name: "fuzz".to_owned(),
        folder: PathBuf::from("."),
        environment: BTreeMap::new(),
    };
    if let Err(problems) = parse(&name, text, &surroundings) {
        assert!(problems.has_errors());
    }
});
