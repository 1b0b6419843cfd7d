//! What the README shows is what dunlin reads: each of its files without an error or a warning, and with the
//! peers that the text around it promises.

use std::fs;
use std::os::unix::fs::PermissionsExt;

use dunlin::daemon::config;
use dunlin::datastore::{Loaded, load};
use dunlin::topology::{self, Plan};

use crate::folder::Folder;

const README: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/README.md");

/// The indented blocks that are TOML files: they begin with a table.
fn files() -> Vec<String> {
    let text = fs::read_to_string(README).unwrap();
    let mut blocks = vec![String::new()];
    for line in text.lines() {
        let block = blocks.last_mut().unwrap();
        match line.strip_prefix("    ") {
            Some(code) => *block += &format!("{code}\n"),
            None if line.is_empty() && !block.is_empty() => block.push('\n'),
            None if !block.is_empty() => blocks.push(String::new()),
            None => {}
        }
    }
    blocks.retain(|block| block.starts_with('['));
    blocks
}

fn the_one_with(words: &str) -> String {
    let found: Vec<String> = files()
        .into_iter()
        .filter(|file| file.contains(words))
        .collect();
    assert_eq!(found.len(), 1, "files of the README with {words:?}");
    found.into_iter().next().unwrap()
}

/// Reads a cluster with the secret that it names, and plans a node.
fn plan(cluster: &str, node: &str) -> Plan {
    let folder = Folder::new("readme");
    fs::create_dir_all(folder.path("secrets/bgp")).unwrap();
    let secret = folder.write("secrets/bgp/tor", "secret\n");
    fs::set_permissions(&secret, fs::Permissions::from_mode(0o600)).unwrap();
    let path = folder.write("cluster.toml", cluster);
    let Loaded {
        intent, warnings, ..
    } = load(&path).unwrap_or_else(|problems| panic!("{problems}\n{cluster}"));
    assert!(warnings.is_empty(), "{warnings}\n{cluster}");
    topology::plan(&intent, node).unwrap()
}

#[test]
fn this_node_s_file_is_read_without_a_warning() {
    let folder = Folder::new("readme");
    let path = folder.write("dunlin.toml", &the_one_with("[datastore]"));
    let read = config::load(&path, "host").unwrap();
    assert!(read.warnings.is_empty(), "{}", read.warnings);
    assert_eq!(read.config.datastore_path, folder.path("cluster.toml"));
}

#[test]
fn each_cluster_is_read_and_has_the_peers_that_it_says() {
    let mesh = plan(&the_one_with("name = \"node-b\""), "node-a");
    let names: Vec<&str> = mesh.peers.iter().map(|peer| &*peer.name).collect();
    assert_eq!(names, ["node-b", "rack1-tor"]);

    let mut reflector = the_one_with("route-reflector-cluster-id");
    reflector += "[[node]]\nname = \"node-a\"\nipv4-address = \"10.0.0.1/24\"\n";
    assert_eq!(plan(&reflector, "node-a").peers.len(), 1);
    assert_eq!(plan(&reflector, "reflector-1").peers.len(), 1);

    let tor = plan(&the_one_with("node-selector"), "node-a");
    let names: Vec<&str> = tor.peers.iter().map(|peer| &*peer.name).collect();
    assert_eq!(names, ["rack1-tor"]);
    assert_eq!(
        files().len(),
        4,
        "a file of the README that nobody has read"
    );
}
