//! Who of the tenant is refused, and what was granted to whom, in memory: for programs that decide without waiting whom
//! they let in, such as a message broker's plugin.
//!
//! All of it comes first, then each change, over one stream. Who hears nothing for too long refuses everybody, as a
//! node of the control plane itself does.

mod broker;
mod follow;
mod handle;
mod known;
mod settings;
mod state;

pub use broker::ShownBrokerToken;
pub use handle::Refusals;
pub use settings::RefusalSettings;
