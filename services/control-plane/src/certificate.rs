//! The server certificate that this node shows, and what is wrong with it.

use std::sync::Arc;

use arc_swap::ArcSwapOption;
use signet_core::Time;
use signet_mtls::ServerCertificate;

use crate::server_identity::judge::Fault;

/// The server's certificate, once there is one, and what is wrong with what stands in its place.
#[derive(Default)]
pub(crate) struct Certificate {
    served: ArcSwapOption<ServerCertificate>,
    fault: ArcSwapOption<Fault>,
}

impl Certificate {
    pub(crate) fn set(&self, certificate: Arc<ServerCertificate>) {
        self.served.store(Some(certificate));
    }

    pub(crate) fn get(&self) -> Option<Arc<ServerCertificate>> {
        self.served.load_full()
    }

    pub(crate) fn set_fault(&self, fault: Option<Fault>) {
        self.fault.store(fault.map(Arc::new));
    }

    pub(crate) fn fault(&self) -> Option<Fault> {
        self.fault.load().as_deref().copied()
    }

    pub(crate) fn not_before(&self) -> Option<Time> {
        Some(self.get()?.current().not_before)
    }

    pub(crate) fn not_after(&self) -> Option<Time> {
        Some(self.get()?.current().not_after)
    }
}
