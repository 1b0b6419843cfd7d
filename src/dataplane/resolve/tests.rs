//! Next hops over foreign routes, by small views.

use super::super::next_hop::Unreachable;
use super::super::route::Shape;
use super::*;

fn view(routes: &[(&str, u8, Shape)]) -> KernelView {
    let mut view = KernelView::new(Ownership::default());
    view.dump_begins();
    for (index, name) in [(2, "eth0"), (3, "tunl0")] {
        let link = Link::named(index, name);
        view.dumped(&Change::Link(Box::new(link)));
    }
    let address = "10.9.0.1".parse().unwrap();
    view.dumped(&Change::Address(Address {
        interface: 2,
        address,
        len: 32,
    }));
    for (prefix, protocol, shape) in routes {
        let prefix = prefix.parse().unwrap();
        let (protocol, shape) = (*protocol, Arc::new(shape.clone()));
        let route = KernelRoute {
            prefix,
            table: 254,
            metric: 0,
            protocol,
            shape,
        };
        view.dumped(&Change::Route {
            route,
            replaced: false,
        });
    }
    view.dump_ends(true);
    view
}

fn gateway(via: &str) -> Hop {
    Hop::new(via.parse().unwrap(), 2)
}

fn connected() -> Shape {
    Shape::unicast([Hop {
        via: None,
        interface: Some(2),
        onlink: false,
        weight: 1,
    }])
}

fn found(view: &KernelView, next_hop: &NextHop) -> Result<Vec<Hop>, Unreachable> {
    match view.resolve(next_hop) {
        Resolution::Reachable { hops, .. } => Ok(hops.to_vec()),
        Resolution::Unreachable(reason) => Err(reason),
    }
}

fn routed(text: &str) -> NextHop {
    NextHop::routed(text.parse().unwrap())
}

#[test]
fn the_longest_route_that_is_not_ours_decides() {
    let ecmp = Shape::unicast([gateway("10.9.0.5"), gateway("10.9.0.6")]);
    let view = view(&[
        ("0.0.0.0/0", 4, Shape::unicast([gateway("10.9.0.254")])),
        ("10.9.0.0/24", 2, connected()),
        ("10.50.0.0/16", 4, ecmp),
        ("10.50.1.0/24", 4, Shape::blackhole()),
        ("10.50.2.0/24", 179, Shape::unicast([gateway("10.9.0.99")])),
    ]);
    assert_eq!(
        found(&view, &routed("10.9.0.7")),
        Ok(vec![gateway("10.9.0.7")])
    );
    let both = vec![gateway("10.9.0.5"), gateway("10.9.0.6")];
    assert_eq!(
        found(&view, &routed("10.50.2.2")),
        Ok(both),
        "never over our own"
    );
    assert_eq!(
        found(&view, &routed("10.50.1.1")),
        Err(Unreachable::Dropped)
    );
    assert_eq!(
        found(&view, &routed("8.8.8.8")),
        Ok(vec![gateway("10.9.0.254")])
    );
    assert_eq!(found(&view, &routed("10.9.0.1")), Err(Unreachable::Local));
    assert_eq!(
        found(&view, &routed("2001:db8::1")),
        Err(Unreachable::NoRoute)
    );
    assert_eq!(found(&view, &routed("fe80::1")), Err(Unreachable::NoScope));
    let neighbour = NextHop::on_link("fe80::1".parse().unwrap(), 2);
    assert_eq!(found(&view, &neighbour), Ok(vec![gateway("fe80::1")]));
}

#[test]
fn routes_that_lead_to_each_other_end() {
    let loose = |via: &str| {
        Shape::unicast([Hop {
            interface: None,
            ..gateway(via)
        }])
    };
    let view = view(&[
        ("10.1.0.0/16", 4, loose("10.2.0.1")),
        ("10.2.0.0/16", 4, loose("10.1.0.1")),
    ]);
    assert_eq!(found(&view, &routed("10.1.0.9")), Err(Unreachable::TooDeep));
}

#[test]
fn only_next_hops_that_changed_are_told_of() {
    let mut view = view(&[("10.9.0.0/24", 2, connected())]);
    let (near, far) = (routed("10.9.0.7"), routed("10.70.0.1"));
    let tunnel = NextHop::through("10.70.0.1".parse().unwrap(), "tunl0".into());
    for next_hop in [&near, &far, &tunnel] {
        view.track(next_hop, &NoRoutes);
    }
    while view.poll_changed(&NoRoutes).is_some() {}
    let route = KernelRoute {
        prefix: "10.70.0.0/16".parse().unwrap(),
        table: 254,
        metric: 0,
        protocol: 4,
        shape: Arc::new(Shape::unicast([gateway("10.9.0.254")])),
    };
    view.apply(&Change::Route {
        route,
        replaced: false,
    });
    assert_eq!(view.poll_changed(&NoRoutes), Some(far.clone()));
    assert_eq!(view.poll_changed(&NoRoutes), None);
    view.apply(&Change::LinkGone { index: 2 });
    let changed: Vec<NextHop> = core::iter::from_fn(|| view.poll_changed(&NoRoutes)).collect();
    assert_eq!(changed, [near, far.clone()]);
    assert_eq!(
        view.resolution(&far),
        Some(&Resolution::Unreachable(Unreachable::NoRoute))
    );
}

/// A route says the number of its object, and perhaps the hops that this stood for when it was told.
fn named(to: &str, object: u32, told: Option<Hop>) -> Change {
    let shape = Shape {
        object,
        ..Shape::unicast(told)
    };
    let route = KernelRoute {
        prefix: to.parse().unwrap(),
        table: 254,
        metric: 0,
        protocol: 4,
        shape: Arc::new(shape),
    };
    Change::Route {
        route,
        replaced: false,
    }
}

#[test]
fn a_route_leads_by_the_nexthop_object_that_it_names() {
    for told in [None, Some(gateway("10.9.0.99"))] {
        let mut view = view(&[("10.9.0.0/24", 2, connected())]);
        let hop = |id, via| Change::Object {
            id,
            object: Object::Hop(gateway(via)),
        };
        let next_hop = routed("10.70.0.1");
        view.track(&next_hop, &NoRoutes);
        let mut tell = |change: Change| {
            let anew = view.apply(&change);
            while view.poll_changed(&NoRoutes).is_some() {}
            let kept = view.resolution(&next_hop).cloned();
            assert_eq!(kept, Some(view.resolve(&next_hop)), "told in time");
            (found(&view, &next_hop), anew)
        };
        let _same = tell(hop(1, "10.9.0.1"));
        let _same = tell(hop(2, "10.9.0.2"));
        let group = Object::Group([(1, 1), (2, 3)].into());
        let _same = tell(Change::Object {
            id: 9,
            object: group,
        });
        let heavy = Hop {
            weight: 3,
            ..gateway("10.9.0.2")
        };
        let both = vec![gateway("10.9.0.1"), heavy];
        assert_eq!(tell(named("10.70.0.0/16", 9, told)), (Ok(both), false));
        // Replaced in place: no word about the route.
        let other = vec![gateway("10.9.0.7"), heavy];
        assert_eq!(tell(hop(1, "10.9.0.7")), (Ok(other), false));
        // A member goes, then the last: the route is gone, and others may be.
        let left = tell(Change::ObjectGone { id: 1 });
        assert_eq!(left, (Ok(vec![heavy]), true));
        let none = Err(Unreachable::NoRoute);
        assert_eq!(tell(Change::ObjectGone { id: 2 }), (none.clone(), true));

        // The link loses its carrier: object and route go without a word.
        let _same = tell(hop(3, "10.9.0.3"));
        let alone = tell(named("10.70.0.0/16", 3, told));
        assert_eq!(alone.0, Ok(vec![gateway("10.9.0.3")]));
        let mut link = Link::named(2, "eth0");
        link.lower_up = false;
        assert_eq!(tell(Change::Link(Box::new(link))), (none.clone(), true));
        let _same = tell(Change::Link(Box::new(Link::named(2, "eth0"))));
        let drops = Change::Object {
            id: 4,
            object: Object::Blackhole,
        };
        let _same = tell(drops);
        let dropped = tell(named("10.70.0.0/16", 4, None));
        assert_eq!(dropped.0, Err(Unreachable::Dropped));
    }
}

#[test]
fn a_dump_tells_of_objects_and_is_overtaken_by_what_happens_meanwhile() {
    let mut view = view(&[]);
    let hop = |id, via| Change::Object {
        id,
        object: Object::Hop(gateway(via)),
    };
    view.apply(&hop(5, "10.9.0.55"));
    view.dump_begins();
    let link = Link::named(2, "eth0");
    view.dumped(&Change::Link(Box::new(link)));
    for (id, via) in [(1, "10.9.0.1"), (2, "10.9.0.2")] {
        view.dumped(&hop(id, via));
        view.dumped(&named(&format!("10.7{id}.0.0/16"), id, None));
    }
    view.apply(&hop(1, "10.9.0.11"));
    view.dump_ends(true);
    let at = |n| found(&view, &routed(&format!("10.7{n}.0.1")));
    assert_eq!(at(1), Ok(vec![gateway("10.9.0.11")]));
    assert_eq!(at(2), Ok(vec![gateway("10.9.0.2")]));
    assert_eq!(view.state.objects.get(5), None, "the dump has not got it");
}

#[test]
fn routes_change_nothing_about_links_and_addresses() {
    let mut view = view(&[]);
    let (all, links) = (view.revision(), view.links_revision());
    for protocol in [4, Ownership::PROTOCOL] {
        let route = KernelRoute {
            prefix: "10.65.0.0/16".parse().unwrap(),
            table: 254,
            metric: 0,
            protocol,
            shape: Arc::new(connected()),
        };
        view.apply(&Change::Route {
            route: route.clone(),
            replaced: false,
        });
        view.apply(&Change::RouteGone(route));
    }
    assert_eq!((view.revision(), view.links_revision()), (all + 4, links));
    view.apply(&Change::Link(Box::new(Link::named(4, "eth1"))));
    assert_ne!(view.links_revision(), links);
}
