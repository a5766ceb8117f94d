//! One address of an endpoint: the unit that requests are shared out to, that is checked and ejected. A name that stands for
//! several servers has one of these for each.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use parking_lot::Mutex;

use crate::ejection::Ejection;
use crate::endpoint::{Endpoint, EndpointUrl};
use crate::health::Health;
use crate::idle::IdleConnections;
use crate::state::{AddressState, State};

/// One address of an endpoint.
#[derive(Debug)]
pub(crate) struct Member {
    endpoint: Arc<Endpoint>,
    address: SocketAddr,
    pub(crate) under_way: AtomicUsize,
    pub(crate) health: Mutex<Health>,
    pub(crate) ejection: Mutex<Ejection>,
    /// Something has failed since the last answer: what spares an answer the lock above.
    pub(crate) is_suspect: AtomicBool,
    pub(crate) idle: IdleConnections,
}

/// Where something is that only one address has, such as an MCP session. It outlives the upstream it was made from: the
/// next configuration may have the same endpoint at another position.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Place {
    url: Arc<EndpointUrl>,
    address: SocketAddr,
}

impl Place {
    /// `address` of the endpoint `url`.
    pub fn new(url: Arc<EndpointUrl>, address: SocketAddr) -> Self {
        Self { url, address }
    }

    /// The endpoint it is at.
    pub fn url(&self) -> &EndpointUrl {
        &self.url
    }

    /// Its address.
    pub fn address(&self) -> SocketAddr {
        self.address
    }
}

impl Member {
    pub(crate) fn new(endpoint: Arc<Endpoint>, address: SocketAddr) -> Self {
        Self {
            endpoint,
            address,
            under_way: AtomicUsize::new(0),
            health: Mutex::default(),
            ejection: Mutex::default(),
            is_suspect: AtomicBool::new(false),
            idle: IdleConnections::default(),
        }
    }

    pub(crate) fn endpoint(&self) -> &Endpoint {
        &self.endpoint
    }

    pub(crate) fn address(&self) -> SocketAddr {
        self.address
    }

    pub(crate) fn place(&self) -> Place {
        Place { url: self.endpoint.shared_url(), address: self.address }
    }

    /// Requests under way.
    pub(crate) fn requests(&self) -> usize {
        self.under_way.load(Ordering::Relaxed)
    }

    /// Whether neither checks nor requests speak against it.
    pub(crate) fn is_well(&self) -> bool {
        self.health.lock().is_well() && !self.ejection.lock().is_out()
    }

    pub(crate) fn state(&self) -> State {
        if self.endpoint.is_draining() {
            State::Draining
        } else if !self.health.lock().is_well() {
            State::Unhealthy
        } else if self.ejection.lock().is_out() {
            State::Ejected
        } else {
            State::Healthy
        }
    }

    pub(crate) fn describe(&self) -> AddressState {
        AddressState { address: self.address.to_string(), state: self.state(), requests: self.requests() }
    }
}
