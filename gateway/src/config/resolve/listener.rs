//! Addresses to listen on, for agents and for the operator.

use std::net::SocketAddr;

use super::{Resolver, all_or_nothing};
use crate::config::tree::Step;
use crate::config::{AdminConfig, ListenerConfig, document};

impl Resolver<'_> {
    pub(super) fn listeners(&mut self, listeners: &[document::Listener]) -> Option<Vec<ListenerConfig>> {
        if listeners.is_empty() && !self.tree.was_removed(&path!["listeners"]) {
            return self.fault(&path!["listeners"], "is empty; add at least one address to listen on");
        }
        let mut resolved: Vec<ListenerConfig> = Vec::new();
        for (index, listener) in listeners.iter().enumerate() {
            let tls = listener.tls.as_ref().map(|tls| self.listener_tls(&path!["listeners", index, "tls"], tls));
            let path = path!["listeners", index, "address"];
            let Some(address) = self.address(&path, &listener.address) else { continue };
            if address.port() != 0 && resolved.iter().any(|other| other.address == address) {
                self.fault::<()>(&path, format!("{address} is listened on already; leave one of them out"));
            } else {
                resolved.push(ListenerConfig { address, tls: tls.flatten() }); // where it is wrong, that was told
            }
        }
        Some(resolved)
    }

    pub(super) fn admin(&mut self, admin: &document::Admin, listeners: &[ListenerConfig]) -> Option<AdminConfig> {
        let path = path!["admin", "address"];
        let address = self.address(&path, &admin.address);
        let token = admin.token.as_ref().map(|token| self.secret(&path!["admin", "token"], token));
        let address = address?;
        let collides = |other: &&SocketAddr| {
            let same_ip = address.ip() == other.ip() || address.ip().is_unspecified() || other.ip().is_unspecified();
            address.port() != 0 && address.port() == other.port() && same_ip
        };
        if let Some(other) = listeners.iter().map(|listener| &listener.address).find(collides) {
            self.fault::<()>(&path, format!("requests of agents arrive on {other}; choose another port"));
        }
        if !address.ip().is_loopback() && token.is_none() && !self.tree.was_removed(&path!["admin", "token"]) {
            let reason = format!("{address} can be reached from elsewhere; add `token`, or choose a loopback address");
            self.fault::<()>(&path, reason);
        }
        Some(AdminConfig { address, token: all_or_nothing(token)? })
    }

    fn address(&mut self, path: &[Step], text: &str) -> Option<SocketAddr> {
        match text.parse() {
            Ok(address) => Some(address),
            Err(_) => {
                self.fault(path, format!("{text:?} is no IP address with a port; write one such as 127.0.0.1:8080"))
            }
        }
    }
}
