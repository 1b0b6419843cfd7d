//! YAML of any shape is read or refused, with no more problems than are kept and each in its place. Long texts are
//! the target `yaml_bombs`.
#![no_main]

use std::sync::Arc;

use libfuzzer_sys::fuzz_target;

fuzz_target!(|data: &[u8]| {
    if let Ok(text) = std::str::from_utf8(data) {
        let files = [(Arc::from("cluster.yaml"), text.to_owned())];
        match dunlin::datastore::read_cluster(&files) {
            Ok(loaded) => assert!(loaded.warnings.iter().count() <= 500),
            Err(problems) => {
                // As many as are kept of both severities.
                assert!(problems.iter().count() <= 1000);
                let lines = text.lines().count();
                for problem in problems.iter() {
                    assert!(problem.place.line == 0 || problem.place.line <= lines + 1);
                }
            }
        }
    }
});
