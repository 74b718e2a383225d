//! `principal device secret` and `principal message`: secrets that devices sign messages with, and messages.

mod secrets;
mod verify;

pub use secrets::SecretCommand;
pub use verify::MessageCommand;

pub use secrets::run as run_secret;
pub use verify::run as run_message;
