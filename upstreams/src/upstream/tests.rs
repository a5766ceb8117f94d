use std::time::Duration;

use super::*;
use crate::config::{Limits, Selection};
use crate::state::State;

fn config(endpoints: &[&str]) -> Config {
    let mut config = Config::new("u", endpoints.iter().map(|url| url.parse().unwrap()));
    config.ejection.failures = 2;
    config
}

fn upstream(config: Config) -> Arc<Upstream> {
    Arc::new(Upstream::new(config))
}

fn url(text: &str) -> EndpointUrl {
    text.parse().unwrap()
}

const A: &str = "http://10.0.0.1:1";
const B: &str = "http://10.0.0.2:2";

/// Where the next request goes, once it has been answered.
fn goes_to(upstream: &Arc<Upstream>) -> String {
    let mut visit = upstream.enter().unwrap();
    visit.next(None, None).unwrap();
    visit.answered();
    visit.authority().unwrap().to_string()
}

fn goes_to_in_turn(upstream: &Arc<Upstream>, count: usize) -> Vec<String> {
    (0..count).map(|_| goes_to(upstream)).collect()
}

/// One request that finds no connection at `authority`; the others are answered.
fn fail_at(upstream: &Arc<Upstream>, authority: &str) {
    loop {
        let mut visit = upstream.enter().unwrap();
        visit.next(None, None).unwrap();
        if visit.authority().unwrap().as_ref() == authority {
            visit.failed_to_connect();
            return;
        }
        visit.answered();
    }
}

fn states(upstream: &Upstream) -> Vec<State> {
    upstream.state().endpoints.into_iter().map(|endpoint| endpoint.state).collect()
}

#[test]
fn endpoints_take_turns_by_their_weights() {
    let mut config = config(&[A, B]);
    assert_eq!(goes_to_in_turn(&upstream(config.clone()), 4), ["10.0.0.1:1", "10.0.0.2:2", "10.0.0.1:1", "10.0.0.2:2"]);
    config.endpoints[1].weight = 2;
    assert_eq!(goes_to_in_turn(&upstream(config), 3), ["10.0.0.2:2", "10.0.0.1:1", "10.0.0.2:2"]);
}

#[test]
fn an_endpoint_without_an_address_is_skipped() {
    let two = upstream(config(&["http://unresolved.internal", B]));
    assert_eq!(goes_to_in_turn(&two, 2), ["10.0.0.2:2", "10.0.0.2:2"]);
    assert!(two.is_resolved());
    assert_eq!(states(&two), [State::Unresolved, State::Healthy]);

    let none = upstream(config(&["http://unresolved.internal"]));
    assert_eq!(none.enter().unwrap().next(None, None).err(), Some(NoTarget::Nowhere));
    assert!(!none.is_resolved() && none.is_well());
}

#[test]
fn each_address_of_a_name_takes_part_and_those_that_stay_keep_what_is_known_of_them() {
    let one = upstream(config(&["http://api.internal:80"]));
    let endpoint = one.endpoints.lock()[0].0.clone();
    let addresses = |texts: &[&str]| texts.iter().map(|text| text.parse().unwrap()).collect::<Vec<SocketAddr>>();
    one.note_addresses(&endpoint, &addresses(&["10.0.0.1:80", "10.0.0.2:80"]));
    let mut visits: Vec<_> = (0..2).map(|_| one.enter().unwrap()).collect();
    for visit in &mut visits {
        visit.next(None, None).unwrap();
    }
    let seen: Vec<_> = visits.iter().map(|visit| visit.address().unwrap().to_string()).collect();
    assert_eq!(seen, ["10.0.0.1:80", "10.0.0.2:80"]);

    one.note_addresses(&endpoint, &addresses(&["10.0.0.2:80", "10.0.0.3:80"]));
    let state = one.state().endpoints.remove(0);
    let requests: Vec<_> = state.addresses.iter().map(|address| (address.address.as_str(), address.requests)).collect();
    assert_eq!(requests, [("10.0.0.2:80", 1), ("10.0.0.3:80", 0)]);
}

#[test]
fn a_request_that_finds_no_connection_goes_elsewhere_as_often_as_it_may() {
    let mut config = config(&[A, B, "http://10.0.0.3:3"]);
    config.retries = 1;
    let three = upstream(config);
    let mut visit = three.enter().unwrap();
    visit.next(None, None).unwrap();
    let first = visit.place().unwrap();
    assert!(visit.failed_to_connect());
    visit.next(None, None).unwrap();
    assert_ne!(visit.place().unwrap(), first);
    assert!(!visit.failed_to_connect(), "one retry");
}

#[test]
fn what_was_sent_is_tried_again_only_if_it_may_be_sent_twice() {
    let two = upstream(config(&[A, B]));
    let mut visit = two.enter().unwrap();
    visit.next(None, None).unwrap();
    assert!(!visit.was_not_answered(false));
    assert!(visit.was_not_answered(true));
    visit.next(None, None).unwrap();
    assert!(!visit.lost_an_idle_connection(false));
    assert!(visit.lost_an_idle_connection(true));
}

#[test]
fn one_that_fails_is_left_alone_and_tried_again_by_one_request() {
    let mut config = config(&[A, B]);
    config.ejection.period = Duration::ZERO; // it is due at once
    let two = upstream(config);
    fail_at(&two, "10.0.0.1:1");
    assert_eq!(states(&two), [State::Healthy, State::Healthy]);
    fail_at(&two, "10.0.0.1:1");
    assert_eq!(states(&two), [State::Ejected, State::Healthy]);
    assert_eq!(two.state().endpoints[0].counts.ejections, 1);

    let (mut trial, mut other) = (two.enter().unwrap(), two.enter().unwrap());
    trial.next(None, None).unwrap();
    other.next(None, None).unwrap();
    assert_eq!(trial.authority().unwrap().as_ref(), "10.0.0.1:1");
    assert_eq!(other.authority().unwrap().as_ref(), "10.0.0.2:2", "one is enough");
    drop(trial);
    assert_eq!(states(&two), [State::Ejected, State::Healthy], "that one did not find out");
    assert_eq!(goes_to(&two), "10.0.0.1:1", "so the next one tries");
    assert_eq!(states(&two), [State::Healthy, State::Healthy]);
}

#[test]
fn while_it_is_out_the_others_share_its_requests_evenly() {
    let three = upstream(config(&[A, B, "http://10.0.0.3:3"]));
    fail_at(&three, "10.0.0.2:2");
    fail_at(&three, "10.0.0.2:2");
    let mut seen = goes_to_in_turn(&three, 100);
    seen.sort();
    assert_eq!(seen.iter().filter(|authority| *authority == "10.0.0.1:1").count(), 50);
    assert_eq!(seen.iter().filter(|authority| *authority == "10.0.0.3:3").count(), 50);
}

#[test]
fn when_all_are_out_all_are_in_use_and_the_first_answer_ends_that() {
    let two = upstream(config(&[A, B]));
    for authority in ["10.0.0.1:1", "10.0.0.2:2"] {
        fail_at(&two, authority);
        fail_at(&two, authority);
    }
    assert_eq!(states(&two), [State::Ejected, State::Ejected]);
    assert!(two.state().panic && !two.is_well());
    let answered = goes_to(&two);
    assert!(!two.state().panic);
    assert_eq!(goes_to_in_turn(&two, 2), [answered.clone(), answered]);
}

#[test]
fn health_checks_take_one_out_and_bring_it_back() {
    let mut config = config(&[A, B]);
    let (interval, timeout) = (Duration::from_secs(5), Duration::from_secs(1));
    config.health =
        Some(crate::config::HealthCheck { path: None, interval, timeout, healthy_after: 1, unhealthy_after: 1 });
    let two = upstream(config);
    let member = two.endpoints.lock()[0].1[0].clone();
    two.note_check(&member, &pingora_core::Error::err(pingora_core::ErrorType::ConnectRefused));
    assert_eq!(states(&two), [State::Unhealthy, State::Healthy]);
    assert_eq!(goes_to_in_turn(&two, 2), ["10.0.0.2:2", "10.0.0.2:2"]);
    two.note_check(&member, &Ok(()));
    assert_eq!(states(&two), [State::Healthy, State::Healthy]);
    let counts = two.state().endpoints[0].counts;
    assert_eq!((counts.checks_passed, counts.checks_failed), (1, 1));
}

#[test]
fn more_requests_than_may_be_are_refused_and_all_are_forgotten_when_they_end() {
    let mut config = config(&[A, B]);
    config.limits = Limits { requests: Some(2), requests_per_endpoint: None };
    let two = upstream(config);
    let visits = [two.enter().unwrap(), two.enter().unwrap()];
    assert_eq!(two.enter().err(), Some(NoTarget::Overloaded));
    assert_eq!(two.state().requests, 2);
    drop(visits);
    assert_eq!(two.state().requests, 0);
    assert!(two.enter().is_ok());
}

#[test]
fn one_that_is_full_is_passed_over() {
    let mut config = config(&[A, B]);
    config.limits = Limits { requests: None, requests_per_endpoint: Some(1) };
    let two = upstream(config);
    let mut visits: Vec<_> = (0..3).map(|_| two.enter().unwrap()).collect();
    let outcomes: Vec<_> = visits.iter_mut().map(|visit| visit.next(None, None).map(drop)).collect();
    assert_eq!(outcomes, [Ok(()), Ok(()), Err(NoTarget::Overloaded)]);
    assert_ne!(visits[0].place(), visits[1].place());
    visits.clear();
    assert_eq!(two.state().endpoints.iter().map(|endpoint| endpoint.requests).sum::<usize>(), 0);
}

#[test]
fn a_session_stays_at_its_place_whoevers_turn_it_is() {
    let two = upstream(config(&[A, B]));
    let place = Place::new(Arc::new(url(B)), "10.0.0.2:2".parse().unwrap());
    for _ in 0..3 {
        let mut visit = two.enter().unwrap();
        visit.next(None, Some(&place)).unwrap();
        assert_eq!(visit.place().as_ref(), Some(&place));
    }
    two.drain(&url(B), true).unwrap();
    let mut visit = two.enter().unwrap();
    visit.next(None, Some(&place)).unwrap();
    assert_eq!(visit.place().as_ref(), Some(&place), "draining ends no session");
    assert_eq!(goes_to_in_turn(&two, 2), ["10.0.0.1:1", "10.0.0.1:1"]);
    assert_eq!(states(&two), [State::Healthy, State::Draining]);
    assert_eq!(two.drain(&url("http://10.0.0.9:9"), true), Err(UnknownEndpoint));
}

#[test]
fn a_session_whose_place_is_down_is_asked_for_there_and_then_elsewhere() {
    let two = upstream(config(&[A, B]));
    let place = Place::new(Arc::new(url(B)), "10.0.0.2:2".parse().unwrap());
    let mut visit = two.enter().unwrap();
    visit.next(None, Some(&place)).unwrap();
    assert!(visit.failed_to_connect());
    visit.next(None, Some(&place)).unwrap();
    assert_eq!(visit.place().as_ref(), Some(&place), "a single failure says little");
    assert!(visit.failed_to_connect());
    visit.next(None, Some(&place)).unwrap();
    assert_eq!(visit.authority().unwrap().as_ref(), "10.0.0.1:1");
}

#[test]
fn another_configuration_takes_over_what_is_known() {
    let old = upstream(config(&[A, B]));
    fail_at(&old, "10.0.0.1:1");
    fail_at(&old, "10.0.0.1:1");
    old.drain(&url(B), true).unwrap();
    let mut visit = old.enter().unwrap();
    visit.next(None, None).unwrap();

    let mut config = config(&[B, A, "http://10.0.0.3:3"]);
    config.selection = Selection::LeastConnections;
    let new = Arc::new(Upstream::replacing(&old, config));
    assert_eq!(states(&new), [State::Draining, State::Ejected, State::Healthy]);
    assert_eq!(new.state().endpoints[1].requests, 1, "it goes on");
    let place = Place::new(Arc::new(url(B)), "10.0.0.2:2".parse().unwrap());
    let mut later = new.enter().unwrap();
    later.next(None, Some(&place)).unwrap();
    assert_eq!(later.place().as_ref(), Some(&place), "a session finds its endpoint at another position");
    drop(visit);
    assert_eq!(new.state().endpoints[1].requests, 0);
}
