//! One module for each group of commands: what it takes, and what it does.

pub mod audit;
pub mod authorities;
pub mod authorization;
pub mod bootstrap;
pub mod certificates;
pub mod context;
pub mod devices;
pub mod doctor;
pub mod enrollment;
pub mod messages;
pub mod principals;
pub mod restore;
pub mod shell;
pub mod tenants;
pub mod tokens;
pub mod trust;
