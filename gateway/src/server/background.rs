//! What goes on beside requests, for as long as the configuration has a use for it.

use std::sync::Arc;

use phantomgate_upstreams::Upstream;
use tokio::task::{AbortHandle, JoinSet};

use crate::gateway::Gateway;
use crate::signing::Signer;

/// Tasks; they end when this is dropped.
#[derive(Default)]
pub(super) struct Background {
    tasks: JoinSet<()>,
    upstreams: Vec<(Arc<Upstream>, AbortHandle)>,
    signer: Option<(Arc<Signer>, AbortHandle)>,
}

impl Background {
    /// Keeps `task` going to the end.
    pub(super) fn add(&mut self, task: impl Future<Output = ()> + Send + 'static) {
        self.tasks.spawn(task);
    }

    /// Does for `gateway` what has to be done, and ends what was done for an earlier one alone.
    pub(super) fn adopt(&mut self, gateway: &Gateway) {
        let is_kept = |upstream: &Arc<Upstream>| gateway.upstreams.iter().any(|own| Arc::ptr_eq(own, upstream));
        for (_, task) in self.upstreams.extract_if(.., |(upstream, _)| !is_kept(upstream)) {
            task.abort();
        }
        for upstream in &gateway.upstreams {
            if !self.upstreams.iter().any(|(own, _)| Arc::ptr_eq(own, upstream)) {
                let own = upstream.clone();
                let task = self.tasks.spawn(async move { own.run().await });
                self.upstreams.push((upstream.clone(), task));
            }
        }
        let is_kept = |own: &Arc<Signer>| gateway.signer.as_ref().is_some_and(|signer| Arc::ptr_eq(own, signer));
        if let Some((_, task)) = self.signer.take_if(|(signer, _)| !is_kept(signer)) {
            task.abort();
        }
        if let (Some(signer), None) = (&gateway.signer, &self.signer) {
            let own = signer.clone();
            let task = self.tasks.spawn(async move { own.keep_fresh().await });
            self.signer = Some((signer.clone(), task));
        }
        while self.tasks.try_join_next().is_some() {}
    }
}
