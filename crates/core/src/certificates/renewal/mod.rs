//! When a certificate is renewed: the rules that the server, the SDK, the agent and the simulation share.
//!
//! A holder keeps a [`Schedule`] with each certificate and asks it what to do ([`Schedule::next`]). Whatever is random
//! is drawn once and kept, never again at each look, so that a fleet stays spread as it was drawn:
//!
//! * The renewal happens at one instant of the window, by default the middle third of the lifetime. An operator may
//!   steer the window (in the spirit of RFC 9773); the place in it stays the one that was drawn ([`JitterSeed`]).
//! * After a failure come two quick tries with full jitter, for what passes by itself. What lasts longer holds up the
//!   whole fleet, and nobody is told when it ends. So each holder then draws from the last quarter of the time that it
//!   has left: who is near its end comes first, the fleet that a recovered control plane lets go is spread over hours,
//!   and every holder still asks again before expiry, in the last minutes more and more often.
//! * Who comes late (asleep, switched off, steered into the past) renews soon, spread by jitter: others woke too.
//! * After expiry there is the out-of-band path for as long as the tenant's grace lasts, then a new enrollment.
//!
//! All instants here are the server's; [`Schedule::clock`] holds how far the holder's clock is off.

mod advice;
mod clock;
mod schedule;
mod window;

pub use advice::{Advice, AdviceReason, Steering, advise};
pub use clock::ClockOffset;
pub use schedule::{Failure, LONGEST_SLEEP, MAX_GRACE, Next, Schedule};
pub use window::{JitterSeed, Window};
