//! May this peer do that? The control plane decides; its answers are kept for as long as it says that they hold.
//!
//! Answers are asked for and told of over one connection: what changes while a question is under way is heard before
//! the next answer. Who hears nothing for 30 seconds denies everything, as a node of the control plane itself does.

mod answers;
mod bearer;
mod connection;
mod follow;
mod guarded;
mod handle;
mod issuer;
mod layer;
mod question;
mod refusal;
mod shown;
mod state;

pub use guarded::{Guarded, GuardedRequest};
pub use handle::{Authorizer, OngoingAccess};
pub use layer::{Require, Required};
pub use question::{AccessAnswer, PeerCertificate, Question, QuestionResource, QuestionSubject};
pub use shown::{AccessClaims, ShownToken};
