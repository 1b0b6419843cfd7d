//! An address that IPAM has given to a pod is no tunnel device's, and the node whose device has another one, or
//! none, says so until there is one on record.

use dunlin::problem::{Code, Problem, Severity, Subject};
use dunlin::time::Duration;
use dunlin::topology::{Intent, PoolMode, plan};

use crate::sim_mesh::cluster;
use crate::sim_world::World;

const N1: &str = "n1";

/// Two nodes; IPAM has given these addresses of the first one's.
fn tunnelled(given: &[std::net::IpAddr]) -> Intent {
    let mut intent = cluster(2);
    for pool in &mut intent.pools {
        (pool.ipip_mode, pool.vxlan_mode) = (PoolMode::Never, PoolMode::Always);
    }
    intent.nodes[0].given = given.to_vec();
    intent
}

fn given_away(world: &World, name: &str) -> Vec<Problem> {
    let mut problems = world.node(name).problems(world.now);
    problems.retain(|problem| problem.code == Code::TunnelAddressGiven);
    problems
}

#[test]
fn a_tunnel_address_that_ipam_has_given_away_is_said_until_one_is_on_record() {
    let first = tunnelled(&[]).nodes[0].blocks[0].address();
    let mut intent = tunnelled(&[first]);
    let mut world = World::new(15);
    world.dual_stack = true;
    for name in [N1, "n2"] {
        world.boot(plan(&intent, name).unwrap(), 15, true);
    }
    world.run(Duration::from_secs(60));
    let [problem] = &given_away(&world, N1)[..] else {
        panic!("{:?}", world.node(N1).problems(world.now));
    };
    assert_eq!(problem.subject, Subject::Record("node n1".to_owned()));
    assert_eq!(problem.severity(), Severity::Warning);
    assert!(problem.what.contains(&first.to_string()), "{problem}");
    assert!(problem.remedy.contains("tunnel-addr"), "{problem}");
    assert_eq!(given_away(&world, "n2"), [], "it is the other node's");
    // The device has what the line says.
    let kernel = world.hosts[N1].kernel.as_ref().unwrap();
    let on_device = |address| kernel.on_made.iter().any(|own| own.address == address);
    assert!(!on_device(first), "{:?}", kernel.on_made);
    let vtep = world.node(N1).chooser().me().vtep(first_family(first));
    let instead = vtep.unwrap().address;
    assert!(on_device(instead) && problem.what.contains(&instead.to_string()));

    intent.nodes[0].tunnels.vxlan_v4 = Some("192.0.2.1".parse().unwrap());
    for name in [N1, "n2"] {
        world.replan(name, plan(&intent, name).unwrap());
    }
    world.run(Duration::from_secs(60));
    assert_eq!(given_away(&world, N1), []);
}

fn first_family(address: std::net::IpAddr) -> dunlin::net::Family {
    dunlin::net::Prefix::host(address).family()
}

#[test]
fn a_block_that_ipam_has_given_away_as_a_whole_leaves_no_tunnel_address_and_that_is_said() {
    let blocks = tunnelled(&[]).nodes[0].blocks.clone();
    let v4 = blocks.iter().find(|block| block.address().is_ipv4());
    let std::net::IpAddr::V4(first) = v4.unwrap().address() else {
        panic!("{blocks:?}");
    };
    let all = (0..64).map(|more| std::net::Ipv4Addr::from(u32::from(first) + more).into());
    let mut intent = tunnelled(&all.collect::<Vec<_>>());
    // It has no other.
    intent.nodes[0]
        .blocks
        .retain(|block| block.address().is_ipv6() || block.address() == first);
    let mut world = World::new(16);
    world.dual_stack = true;
    world.boot(plan(&intent, N1).unwrap(), 16, true);
    world.run(Duration::from_secs(60));
    let [problem] = &given_away(&world, N1)[..] else {
        panic!("{:?}", world.node(N1).problems(world.now));
    };
    assert!(problem.what.contains("has none"), "{problem}");
}
