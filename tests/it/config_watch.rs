//! Reading and watching real files: what editors, operators and ConfigMaps do to them.

#![expect(
    clippy::unwrap_used,
    clippy::expect_used,
    reason = "a test fails by panicking"
)]

use std::fs::{self, Permissions};
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::Path;
use std::time::Duration;

use dunlin::datastore::{SecretFiles, Watcher, load, load_with};
use dunlin::net::Secret;
use dunlin::topology::Authentication;

use crate::folder::Folder;

const NODE_A: &str = "[[node]]\nname = \"node-a\"\nipv4-address = \"10.0.0.1/24\"\n";
const NODE_B: &str = "[[node]]\nname = \"node-b\"\nipv4-address = \"10.0.0.2/24\"\n";

const NODE_B_YAML: &str = "apiVersion: projectcalico.org/v3\nkind: Node\nmetadata: {name: node-b}\n\
                           spec: {bgp: {ipv4Address: 10.0.0.2/24}}\n";

/// Makes the change, waits for it to be reported, and gives the nodes then read.
///
/// The limit is there so that a report that never comes fails the test; nothing waits for it.
async fn after(watcher: &mut Watcher, path: &Path, change: impl FnOnce()) -> Vec<String> {
    change();
    changed(watcher).await;
    nodes(path)
}

/// Waits for a change, under the same limit.
async fn changed(watcher: &mut Watcher) {
    tokio::time::timeout(Duration::from_secs(20), watcher.changed())
        .await
        .expect("the change is reported")
        .unwrap();
}

fn nodes(path: &Path) -> Vec<String> {
    load(path)
        .unwrap()
        .intent
        .nodes
        .into_iter()
        .map(|node| node.name)
        .collect()
}

fn run(test: impl Future<Output = ()>) {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .unwrap();
    runtime.block_on(test);
}

#[test]
fn a_file_is_watched_through_writes_renames_and_removal() {
    run(async {
        let folder = Folder::new("config");
        let path = folder.write("cluster.toml", NODE_A);
        let mut watcher = Watcher::new(&path).unwrap();
        assert_eq!(nodes(&path), ["node-a"]);

        let write = || drop(folder.write("cluster.toml", NODE_B));
        assert_eq!(after(&mut watcher, &path, write).await, ["node-b"]);
        let rename = || {
            fs::rename(folder.write(".cluster.toml.swp", NODE_A), &path).unwrap();
        };
        assert_eq!(after(&mut watcher, &path, rename).await, ["node-a"]);
        let replace = || {
            fs::rename(&path, folder.path("cluster.toml~")).unwrap();
            folder.write("cluster.toml", NODE_B);
        };
        assert_eq!(after(&mut watcher, &path, replace).await, ["node-b"]);

        fs::remove_file(&path).unwrap();
        watcher.changed().await.unwrap();
        let problems = load(&path).unwrap_err();
        assert!(problems.to_string().contains("can't be read"), "{problems}");
        let back = || drop(folder.write("cluster.toml", NODE_A));
        assert_eq!(after(&mut watcher, &path, back).await, ["node-a"]);
    });
}

#[test]
fn a_report_that_nobody_waited_for_comes_with_the_next_wait() {
    run(async {
        let folder = Folder::new("config");
        let path = folder.write("cluster.toml", NODE_A);
        let mut watcher = Watcher::new(&path).unwrap();
        folder.write("cluster.toml", NODE_B);
        // As in a `select!` whose other branch is quicker than the quiet time: the events are
        // taken, the report is not.
        let polled = tokio::time::timeout(Duration::from_millis(1), watcher.changed()).await;
        if polled.is_err() {
            assert_eq!(after(&mut watcher, &path, || ()).await, ["node-b"]);
        }
    });
}

#[test]
fn a_folder_is_one_cluster_and_watched_as_one() {
    run(async {
        let folder = Folder::new("config");
        let path = folder.path("cluster");
        fs::create_dir(&path).unwrap();
        folder.write("cluster/1.toml", NODE_A);
        let mut watcher = Watcher::new(&path).unwrap();
        assert_eq!(nodes(&path), ["node-a"]);

        let add = || drop(folder.write("cluster/2.toml", NODE_B));
        assert_eq!(after(&mut watcher, &path, add).await, ["node-a", "node-b"]);
        let remove = || fs::remove_file(path.join("1.toml")).unwrap();
        assert_eq!(after(&mut watcher, &path, remove).await, ["node-b"]);
        let swap = || {
            fs::create_dir(folder.path("next")).unwrap();
            folder.write("next/1.toml", NODE_A);
            fs::rename(&path, folder.path("before")).unwrap();
            fs::rename(folder.path("next"), &path).unwrap();
        };
        assert_eq!(after(&mut watcher, &path, swap).await, ["node-a"]);
        let in_the_new_one = || drop(folder.write("cluster/3.toml", NODE_B));
        assert_eq!(
            after(&mut watcher, &path, in_the_new_one).await,
            ["node-a", "node-b"]
        );
    });
}

#[test]
fn yaml_files_are_watched_through_links_too() {
    run(async {
        let (folder, elsewhere) = (Folder::new("config"), Folder::new("config"));
        folder.write("1.toml", NODE_A);
        let target = elsewhere.write("nodes.yaml", NODE_B_YAML);
        symlink(&target, folder.path("nodes.yaml")).unwrap();
        let mut watcher = Watcher::new(&folder.0).unwrap();
        assert_eq!(nodes(&folder.0), ["node-a", "node-b"]);
        let renamed = NODE_B_YAML.replace("node-b", "node-c");
        let change = || fs::write(&target, renamed).unwrap();
        assert_eq!(
            after(&mut watcher, &folder.0, change).await,
            ["node-a", "node-c"]
        );
    });
}

#[test]
fn a_config_map_swap_is_one_change() {
    run(async {
        let folder = Folder::new("config");
        // As the kubelet lays it out: cluster.toml -> ..data/cluster.toml, ..data -> ..1
        let version = |name: &str, text: &str| {
            fs::create_dir(folder.path(name)).unwrap();
            folder.write(&format!("{name}/cluster.toml"), text);
        };
        version("..1", NODE_A);
        symlink("..1", folder.path("..data")).unwrap();
        symlink("..data/cluster.toml", folder.path("cluster.toml")).unwrap();
        for path in [folder.path("cluster.toml"), folder.0.clone()] {
            let mut watcher = Watcher::new(&path).unwrap();
            assert_eq!(nodes(&path), ["node-a"]);
            let swap = || {
                version("..2", NODE_B);
                symlink("..2", folder.path("..data_tmp")).unwrap();
                fs::rename(folder.path("..data_tmp"), folder.path("..data")).unwrap();
                fs::remove_dir_all(folder.path("..1")).unwrap();
            };
            assert_eq!(after(&mut watcher, &path, swap).await, ["node-b"]);
            let swap_back = || {
                version("..1", NODE_A);
                symlink("..1", folder.path("..data_tmp")).unwrap();
                fs::rename(folder.path("..data_tmp"), folder.path("..data")).unwrap();
                fs::remove_dir_all(folder.path("..2")).unwrap();
            };
            assert_eq!(after(&mut watcher, &path, swap_back).await, ["node-a"]);
        }
    });
}

#[test]
fn a_path_that_is_not_there_yet_is_waited_for() {
    run(async {
        let folder = Folder::new("config");
        let path = folder.path("etc/dunlin/cluster.toml");
        let mut watcher = Watcher::new(&path).unwrap();
        assert!(load(&path).is_err());
        let appear = || {
            fs::create_dir_all(folder.path("etc/dunlin")).unwrap();
            folder.write("etc/dunlin/cluster.toml", NODE_A);
        };
        assert_eq!(after(&mut watcher, &path, appear).await, ["node-a"]);
    });
}

#[test]
fn what_a_folder_holds_besides_is_named_or_left_alone() {
    let folder = Folder::new("config");
    let empty = load(&folder.0).unwrap_err().to_string();
    assert!(
        empty.ends_with("there is no .toml or .yaml file to read"),
        "{empty}"
    );

    folder.write("1.toml", NODE_A);
    folder.write(".hidden.toml", "nonsense");
    folder.write("readme.md", "nonsense");
    fs::create_dir(folder.path("sub.toml")).unwrap();
    folder.write("more.json", "nonsense");
    folder.write("nodes.yml", NODE_B_YAML);
    let loaded = load(&folder.0).unwrap();
    assert_eq!(loaded.intent.nodes.len(), 2);
    assert!(loaded.warnings.is_empty(), "{}", loaded.warnings);

    fs::write(folder.path("2.toml"), [b'a', 0xFF]).unwrap();
    let problems = load(&folder.0).unwrap_err().to_string();
    assert!(problems.contains("2.toml: can't be read:"), "{problems}");
}

/// A cluster of one node and one peer with a password in a file.
const PEER_WITH_SECRETS: &str = "[[node]]\nname = \"a\"\nipv4-address = \"10.0.0.1/24\"\n[[bgp-peer]]\n\
     name = \"p\"\npeer-ip = \"10.0.0.9\"\nas-number = 1\npassword = { secret-key-ref = \
     { name = \"bgp\", key = \"tor\" } }\n";

/// Reads the cluster as the daemon does, and what protects its peer.
fn protection(path: &Path, secrets: Option<&Path>) -> (Authentication, SecretFiles) {
    let mut looked_at = SecretFiles::default();
    let loaded = load_with(path, secrets, &mut looked_at).unwrap();
    (loaded.intent.peers[0].authentication.clone(), looked_at)
}

fn md5(text: &str) -> Authentication {
    Authentication::Md5(Secret::new(text.as_bytes().to_vec()))
}

fn write_secret(path: &Path, text: &str, mode: u32) {
    // As careful people write it: the mode is right before anything is in it.
    let temporary = path.with_extension("new");
    fs::write(&temporary, "").unwrap();
    fs::set_permissions(&temporary, Permissions::from_mode(mode)).unwrap();
    fs::write(&temporary, text).unwrap();
    fs::rename(temporary, path).unwrap();
}

#[test]
fn secrets_are_read_beside_the_cluster_and_only_if_they_are_their_owners_alone() {
    let folder = Folder::new("secrets");
    let path = folder.write("cluster.toml", PEER_WITH_SECRETS);
    fs::create_dir_all(folder.path("secrets/bgp")).unwrap();
    let secret = folder.path("secrets/bgp/tor");
    assert!(matches!(
        protection(&path, None).0,
        Authentication::Missing(why) if why.contains("there is no secret at")
    ));
    write_secret(&secret, "hunter2\n", 0o640);
    assert!(matches!(
        protection(&path, None).0,
        Authentication::Missing(why) if why.contains("has mode 0640")
    ));
    write_secret(&secret, "hunter2\n", 0o400);
    assert_eq!(protection(&path, None).0, md5("hunter2"));
    // A folder of files is a cluster with its secrets inside.
    assert_eq!(protection(&folder.0, None).0, md5("hunter2"));
    let elsewhere = folder.path("elsewhere");
    fs::create_dir_all(elsewhere.join("bgp")).unwrap();
    write_secret(&elsewhere.join("bgp/tor"), "other", 0o600);
    assert_eq!(protection(&path, Some(&elsewhere)).0, md5("other"));
    // What can't be one secret: a folder, and a file without end.
    fs::remove_file(&secret).unwrap();
    fs::create_dir(&secret).unwrap();
    assert!(matches!(
        protection(&path, None).0,
        Authentication::Missing(why) if why.contains("it is no regular file")
    ));
    fs::remove_dir(&secret).unwrap();
    write_secret(&secret, &"x".repeat(100_000), 0o600);
    let problems = load(&path).unwrap_err().to_string();
    assert!(problems.contains("more than 80 octets"), "{problems}");
}

#[test]
fn a_changed_secret_is_a_change_of_the_cluster() {
    run(async {
        let folder = Folder::new("secrets");
        let path = folder.write("cluster.toml", PEER_WITH_SECRETS);
        let mut watcher = Watcher::new(&path).unwrap();
        let (got, secrets) = protection(&path, None);
        assert!(matches!(got, Authentication::Missing(_)));
        watcher.watch_secrets(secrets).unwrap();
        let secret = folder.path("secrets/bgp/tor");

        // Not even its folder was there.
        fs::create_dir_all(folder.path("secrets/bgp")).unwrap();
        write_secret(&secret, "first", 0o600);
        changed(&mut watcher).await;
        let (got, secrets) = protection(&path, None);
        assert_eq!(got, md5("first"));
        watcher.watch_secrets(secrets).unwrap();

        write_secret(&secret, "second", 0o600);
        changed(&mut watcher).await;
        assert_eq!(protection(&path, None).0, md5("second"));

        fs::set_permissions(&secret, Permissions::from_mode(0o644)).unwrap();
        changed(&mut watcher).await;
        assert!(matches!(
            protection(&path, None).0,
            Authentication::Missing(_)
        ));
    });
}

#[test]
fn a_secret_that_changes_between_reading_and_watching_is_not_lost() {
    run(async {
        let folder = Folder::new("secrets");
        let path = folder.write("cluster.toml", PEER_WITH_SECRETS);
        fs::create_dir_all(folder.path("secrets/bgp")).unwrap();
        let secret = folder.path("secrets/bgp/tor");
        write_secret(&secret, "first", 0o600);
        let mut watcher = Watcher::new(&path).unwrap();
        let (_, secrets) = protection(&path, None);
        write_secret(&secret, "second", 0o600);
        watcher.watch_secrets(secrets).unwrap();
        changed(&mut watcher).await;
        assert_eq!(protection(&path, None).0, md5("second"));
    });
}

#[test]
fn a_secret_that_kubernetes_swaps_is_one_change() {
    run(async {
        let folder = Folder::new("secrets");
        let path = folder.write("cluster.toml", PEER_WITH_SECRETS);
        let mount = folder.path("secrets/bgp");
        // As the kubelet lays it out: tor -> ..data/tor, ..data -> ..1
        let version = |name: &str, text: &str| {
            fs::create_dir_all(mount.join(name)).unwrap();
            write_secret(&mount.join(name).join("tor"), text, 0o400);
        };
        version("..1", "first");
        symlink("..1", mount.join("..data")).unwrap();
        symlink("..data/tor", mount.join("tor")).unwrap();
        let mut watcher = Watcher::new(&path).unwrap();
        let (got, secrets) = protection(&path, None);
        assert_eq!(got, md5("first"));
        watcher.watch_secrets(secrets).unwrap();
        version("..2", "second");
        symlink("..2", mount.join("..data_tmp")).unwrap();
        fs::rename(mount.join("..data_tmp"), mount.join("..data")).unwrap();
        changed(&mut watcher).await;
        assert_eq!(protection(&path, None).0, md5("second"));
    });
}

#[test]
fn a_bad_cluster_still_says_which_secrets_it_asked_for() {
    let folder = Folder::new("secrets");
    let path = folder.write(
        "cluster.toml",
        &format!("{PEER_WITH_SECRETS}colour = \"blue\"\n"),
    );
    let mut looked_at = SecretFiles::default();
    assert!(load_with(&path, None, &mut looked_at).is_err());
    let asked: Vec<&Path> = looked_at.paths().collect();
    assert_eq!(asked, [folder.path("secrets/bgp/tor")]);
}

/// As in the daemon, which waits for other things, too, and begins to wait anew whenever one of them happens.
#[test]
fn a_change_is_reported_however_often_the_wait_is_broken_off() {
    run(async {
        let folder = Folder::new("config");
        let path = folder.path("cluster.toml");
        fs::write(&path, NODE_A).unwrap();
        let mut watcher = Watcher::new(&path).unwrap();
        fs::write(&path, NODE_B).unwrap();
        let mut broken_off = 0;
        loop {
            tokio::select! {
                reported = watcher.changed() => break reported.unwrap(),
                () = tokio::time::sleep(Duration::from_millis(1)) => broken_off += 1,
            }
            assert!(broken_off < 20_000, "the change is reported");
        }
        assert!(broken_off > 0, "it was broken off");
        assert_eq!(nodes(&path), ["node-b"]);
    });
}
