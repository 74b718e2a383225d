//! A plugin of Eclipse Mosquitto (plugin API 5) that lets in whom the control plane lets in, for as long as it does.
//!
//! The broker has one thread, and nothing here makes it wait: a thread of our own follows the control plane
//! (`follow.rs`), and what it knows is looked up in memory (`plugin.rs`). All that touches C is in `ffi`.

mod config;
mod ffi;
mod follow;
mod holder;
mod journal;
mod names;
mod plugin;
mod sessions;
mod watch;

pub use config::{Config, ConfigError, TenantConfig};
pub use ffi::{mosquitto_plugin_cleanup, mosquitto_plugin_init, mosquitto_plugin_version};
